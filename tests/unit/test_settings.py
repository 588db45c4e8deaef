"""`Settings` reads the environment variables."""

import pytest

from replicate.errors import SettingsError
from replicate.protocol.mapping import Naming
from replicate.protocol.plan import Overwrite, Policy
from replicate.settings import Settings

REQUIRED = {
    "GCS_BUCKET_NAME": "replica",
    "GCP_CREDENTIALS_SECRET": "gcp",
    "AWS_REGION": "eu-west-1",
}


def test_required_variables_give_the_documented_defaults() -> None:
    settings = Settings.from_environ(REQUIRED)
    assert settings.naming == Naming("replica", "")
    assert settings.credentials_secret == "gcp"
    assert settings.policy == Policy(Overwrite.CHANGED, deletes=False)
    assert settings.source_buckets == frozenset()
    assert settings.storage_classes == {}


@pytest.mark.parametrize("missing", sorted(REQUIRED))
@pytest.mark.parametrize("value", [None, "", "  "])
def test_missing_variable_is_named(missing: str, value: str | None) -> None:
    environ = {k: v for k, v in REQUIRED.items() if k != missing}
    if value is not None:
        environ[missing] = value
    with pytest.raises(SettingsError, match=missing):
        Settings.from_environ(environ)


def test_all_variables_are_read() -> None:
    settings = Settings.from_environ(
        REQUIRED
        | {
            "SOURCE_BUCKETS": "a, b,,",
            "GCS_KEY_PREFIX": "backup/",
            "OVERWRITE": "never",
            "REPLICATE_DELETES": "TRUE",
            "STORAGE_CLASS_MAP": "standard_ia = nearline, GLACIER_IR=COLDLINE",
        }
    )
    assert settings.source_buckets == {"a", "b"}
    assert settings.naming.prefix == "backup/"
    assert settings.policy == Policy(Overwrite.NEVER, deletes=True)
    assert settings.storage_classes == {"STANDARD_IA": "NEARLINE", "GLACIER_IR": "COLDLINE"}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("OVERWRITE", "always", "changed or never"),
        ("REPLICATE_DELETES", "yes", "true or false"),
        ("STORAGE_CLASS_MAP", "STANDARD", "pairs"),
        ("STORAGE_CLASS_MAP", "STANDARD=FAST", "pairs"),
        ("STORAGE_CLASS_MAP", "=NEARLINE", "pairs"),
    ],
)
def test_invalid_value_is_named_with_the_allowed_values(
    name: str, value: str, expected: str
) -> None:
    with pytest.raises(SettingsError, match=f"{name}.*{expected}"):
        Settings.from_environ(REQUIRED | {name: value})
