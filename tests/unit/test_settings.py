"""Environment variables, read once."""

import pytest

from replicate.errors import SettingsError
from replicate.protocol.mapping import Naming, Tags
from replicate.protocol.plan import Overwrite, Policy
from replicate.settings import Settings

LEAST = {"GCS_BUCKET_NAME": "replica", "GCP_CREDENTIALS_SECRET": "gcp", "AWS_REGION": "eu-west-1"}


def test_the_least_that_is_needed_gives_the_documented_defaults() -> None:
    settings = Settings.from_environ(LEAST)
    assert settings.naming == Naming("replica", "")
    assert settings.credentials_secret == "gcp"
    assert settings.policy == Policy(Overwrite.CHANGED, deletes=False, tags=Tags.OFF)
    assert settings.lifecycle_deletes is False
    assert settings.source_buckets == frozenset()
    assert settings.storage_classes == {}
    assert settings.region == "eu-west-1"
    assert settings.service == "s3-to-gcs-replicator"
    assert settings.metrics_namespace == "S3ToGcsReplicator"


@pytest.mark.parametrize("missing", sorted(LEAST))
@pytest.mark.parametrize("value", [None, "", "  "])
def test_what_is_missing_is_named(missing: str, value: str | None) -> None:
    environ = {k: v for k, v in LEAST.items() if k != missing}
    if value is not None:
        environ[missing] = value
    with pytest.raises(SettingsError, match=missing):
        Settings.from_environ(environ)


def test_everything_can_be_set() -> None:
    settings = Settings.from_environ(
        LEAST
        | {
            "SOURCE_BUCKETS": "a, b,,",
            "GCS_KEY_PREFIX": "backup/",
            "OVERWRITE": "never",
            "REPLICATE_DELETES": "TRUE",
            "REPLICATE_LIFECYCLE_DELETES": "true",
            "REPLICATE_TAGS": "metadata",
            "POWERTOOLS_SERVICE_NAME": "service",
            "POWERTOOLS_METRICS_NAMESPACE": "Namespace",
            "STORAGE_CLASS_MAP": "standard_ia = nearline, GLACIER_IR=COLDLINE",
        }
    )
    assert settings.source_buckets == {"a", "b"}
    assert settings.naming.prefix == "backup/"
    assert settings.policy == Policy(Overwrite.NEVER, deletes=True, tags=Tags.METADATA)
    assert settings.lifecycle_deletes is True
    assert (settings.service, settings.metrics_namespace) == ("service", "Namespace")
    assert settings.storage_classes == {"STANDARD_IA": "NEARLINE", "GLACIER_IR": "COLDLINE"}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("OVERWRITE", "always", "changed or never"),
        ("REPLICATE_DELETES", "yes", "true or false"),
        ("REPLICATE_LIFECYCLE_DELETES", "1", "true or false"),
        ("REPLICATE_TAGS", "on", "off, contexts or metadata"),
        ("STORAGE_CLASS_MAP", "STANDARD", "GCS classes ARCHIVE, COLDLINE, NEARLINE, STANDARD"),
        ("STORAGE_CLASS_MAP", "STANDARD=FAST", "pairs"),
        ("STORAGE_CLASS_MAP", "=NEARLINE", "pairs"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_possible(name: str, value: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is '{value}': expected .*{expected}"):
        Settings.from_environ(LEAST | {name: value})
