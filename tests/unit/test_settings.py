"""`Settings` reads the environment variables."""

import pytest

from replicate.errors import SettingsError
from replicate.protocol.evidence import Deletes
from replicate.protocol.mapping import Naming, Tags
from replicate.protocol.parts import Sizes
from replicate.protocol.plan import Overwrite, Policy
from replicate.protocol.scope import Scope
from replicate.settings import PARAMETERS, Settings
from replicate.settlement.policy import RedeliveryPolicy

REQUIRED = {
    "GCS_BUCKET_NAME": "replica",
    "GCP_CREDENTIALS_SECRET": "gcp",
    "SOURCE_BUCKETS": "source",
    "AWS_REGION": "eu-west-1",
}


def named(variable: str) -> str:
    """Return how an error names the variable."""
    parameter = PARAMETERS.get(variable)
    return f"{parameter} ({variable})" if parameter else f"The environment variable {variable}"


def test_error_names_the_parameter_of_the_template_if_there_is_one() -> None:
    for variable, expected in (
        ("OVERWRITE", "Overwrite (OVERWRITE) has the invalid value"),
        ("WATCH_DELAY_SECONDS", "The environment variable WATCH_DELAY_SECONDS has the invalid"),
    ):
        with pytest.raises(SettingsError) as caught:
            Settings.from_environ(REQUIRED | {variable: "wrong"})
        assert caught.value.message.startswith(expected)


def test_required_variables_give_the_documented_defaults() -> None:
    settings = Settings.from_environ(REQUIRED)
    assert settings.naming == Naming("replica", "", ".s3-to-gcs-replicator/staging/")
    assert settings.sizes == Sizes()
    assert settings.credentials_secret == "gcp"
    assert settings.policy == Policy(Overwrite.CHANGED, deletes=Deletes.NONE, tags=Tags.OFF)
    assert settings.scope == Scope(frozenset({"source"}))
    assert settings.storage_classes == {}
    assert settings.google_domains == {"googleapis.com"}
    assert settings.redelivery == RedeliveryPolicy(first_s=60, longest_s=3600)
    assert (settings.first_timeout_s, settings.watch_delay_s, settings.settle_s) == (0.8, 240, 960)
    assert settings.compress_egress is False
    for absent in ("emulator", "state_machine", "event_queue_url", "reports_bucket"):
        assert getattr(settings, absent) == "", absent
    assert settings.failure_queue_url == ""
    assert settings.region == "eu-west-1"
    assert settings.service == "s3-to-gcs-replicator"
    assert settings.metrics_namespace == "S3ToGcsReplicator"


@pytest.mark.parametrize("missing", sorted(REQUIRED))
@pytest.mark.parametrize("value", [None, "", "  "])
def test_missing_variable_is_named(missing: str, value: str | None) -> None:
    environ = {k: v for k, v in REQUIRED.items() if k != missing}
    if value is not None:
        environ[missing] = value
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ(environ)
    assert caught.value.message == f"{named(missing)} is not set. Set it on the function."


def test_large_objects_are_not_smaller_than_those_in_parts() -> None:
    sizes = {"PARALLEL_FROM": "64 MiB", "LARGE_FROM": "64 MiB"}
    assert Settings.from_environ(REQUIRED | sizes).sizes.large_from == 64 * 1024**2
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ(REQUIRED | sizes | {"LARGE_FROM": "63 MiB"})
    assert caught.value.message == (
        "LargeObjectThreshold (LARGE_FROM) is less than ParallelThreshold (PARALLEL_FROM): an"
        " object that an execution copies is copied in parts. Set it to the same size or more."
    )


def test_all_variables_are_read() -> None:
    settings = Settings.from_environ(
        REQUIRED
        | {
            "SOURCE_BUCKETS": "a, b,,",
            "SOURCE_PREFIX": "year%3D2026/",
            "SOURCE_SUFFIX": "+1.jpg",
            "SOURCE_FILTER_ENCODING": "url",
            "GCS_KEY_PREFIX": "backup/",
            "STAGING_PREFIX": "staging/",
            "COMPRESS_EGRESS": "true",
            "OVERWRITE": "never",
            "REPLICATE_DELETES": "TRUE",
            "REPLICATE_LIFECYCLE_DELETES": "true",
            "REPLICATE_TAGS": "metadata",
            "POWERTOOLS_SERVICE_NAME": "service",
            "POWERTOOLS_METRICS_NAMESPACE": "Namespace",
            "STORAGE_CLASS_MAP": "standard_ia = nearline, GLACIER_IR=COLDLINE",
            "GOOGLE_API_DOMAINS": "googleapis.com, example.cloud",
            "STORAGE_EMULATOR_HOST": "http://gcs:1",
            "LARGE_STATE_MACHINE_ARN": "arn",
            "EVENT_QUEUE_URL": "https://events",
            "FAILURE_QUEUE_URL": "https://failures",
            "REPORTS_BUCKET": "reports",
            "RETRY_FIRST_SECONDS": "1",
            "RETRY_LONGEST_SECONDS": "2",
            "GCS_FIRST_TIMEOUT_SECONDS": "3.5",
            "WATCH_DELAY_SECONDS": "4",
            "EXECUTION_SETTLE_SECONDS": "5",
        }
    )
    assert settings.google_domains == {"googleapis.com", "example.cloud"}
    assert (settings.emulator, settings.state_machine) == ("http://gcs:1", "arn")
    assert settings.event_queue_url == "https://events"
    assert settings.failure_queue_url == "https://failures"
    assert settings.reports_bucket == "reports"
    assert settings.redelivery == RedeliveryPolicy(first_s=1, longest_s=2)
    assert (settings.first_timeout_s, settings.watch_delay_s, settings.settle_s) == (3.5, 4, 5)
    assert settings.scope == Scope(frozenset({"a", "b"}), "year=2026/", " 1.jpg")
    assert settings.naming == Naming("replica", "backup/", "staging/")
    assert settings.compress_egress
    assert settings.policy == Policy(Overwrite.NEVER, deletes=Deletes.ALL, tags=Tags.METADATA)
    assert (settings.service, settings.metrics_namespace) == ("service", "Namespace")
    assert settings.storage_classes == {"STANDARD_IA": "NEARLINE", "GLACIER_IR": "COLDLINE"}


CLASSES = (
    "pairs such as STANDARD_IA=NEARLINE,GLACIER_IR=COLDLINE, with the GCS classes ARCHIVE,"
    " COLDLINE, NEARLINE, STANDARD"
)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("OVERWRITE", "always", "changed, own or never"),
        ("REPLICATE_DELETES", "yes", "true or false"),
        ("REPLICATE_LIFECYCLE_DELETES", "1", "true or false"),
        ("REPLICATE_TAGS", "on", "off, contexts or metadata"),
        ("COMPRESS_EGRESS", "gzip", "true or false"),
        ("SOURCE_FILTER_ENCODING", "base64", "none or url"),
        ("STORAGE_CLASS_MAP", "STANDARD", CLASSES),
        ("STORAGE_CLASS_MAP", "STANDARD=FAST", CLASSES),
        ("STORAGE_CLASS_MAP", "=NEARLINE", CLASSES),
        ("RETRY_FIRST_SECONDS", "36001", "0 to 36000 seconds"),
        ("RETRY_LONGEST_SECONDS", "36001", "0 to 36000 seconds"),
        ("WATCH_DELAY_SECONDS", "-1", "0 to 900 seconds"),
        ("WATCH_DELAY_SECONDS", "901", "0 to 900 seconds"),
        ("WATCH_DELAY_SECONDS", "soon", "0 to 900 seconds"),
        ("EXECUTION_SETTLE_SECONDS", "-1", "0 to 3600 seconds"),
        ("EXECUTION_SETTLE_SECONDS", "3601", "0 to 3600 seconds"),
        ("EXECUTION_SETTLE_SECONDS", "soon", "0 to 3600 seconds"),
        ("GCS_FIRST_TIMEOUT_SECONDS", "0", "0.1 to 20 seconds"),
        ("GCS_FIRST_TIMEOUT_SECONDS", "21", "0.1 to 20 seconds"),
        ("GCS_FIRST_TIMEOUT_SECONDS", "fast", "0.1 to 20 seconds"),
        ("GCS_FIRST_TIMEOUT_SECONDS", "nan", "0.1 to 20 seconds"),
    ],
)
def test_invalid_value_is_named_with_the_allowed_values(
    name: str, value: str, expected: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ(REQUIRED | {name: value})
    assert caught.value.message == (
        f"{named(name)} has the invalid value {value!r}. Set it to {expected}."
    )


@pytest.mark.parametrize("name", ["SOURCE_PREFIX", "SOURCE_SUFFIX"])
def test_filter_that_is_no_text_in_utf_8_is_refused(name: str) -> None:
    environ = REQUIRED | {"SOURCE_FILTER_ENCODING": "url", name: "%FF"}
    where = {"SOURCE_PREFIX": "beginning", "SOURCE_SUFFIX": "end"}[name]
    with pytest.raises(SettingsError, match=rf"{name}\) .* '%FF'. Set it to the {where} of keys"):
        Settings.from_environ(environ)


def test_times_at_the_ends_of_their_ranges_are_accepted() -> None:
    names = ("RETRY_FIRST_SECONDS", "RETRY_LONGEST_SECONDS", "WATCH_DELAY_SECONDS")
    least = dict.fromkeys((*names, "EXECUTION_SETTLE_SECONDS"), "0")
    most = dict(zip(least, ("36000", "36000", "900", "3600"), strict=True))
    for environ, first_timeout in ((least, "0.1"), (most, "20")):
        settings = Settings.from_environ(
            REQUIRED | environ | {"GCS_FIRST_TIMEOUT_SECONDS": first_timeout}
        )
        assert [*map(int, environ.values())] == [
            settings.redelivery.first_s,
            settings.redelivery.longest_s,
            settings.watch_delay_s,
            settings.settle_s,
        ]
        assert settings.first_timeout_s == float(first_timeout)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2", 2),
        ("262144", 262144),
        ("64 KiB", 65536),
        ("256MiB", 1024**2 * 256),
        ("5 TiB", 5 * 1024**4),
    ],
)
def test_sizes_are_read_with_their_units(text: str, size: int) -> None:
    environ = REQUIRED | {
        "PARALLEL_FROM": text,
        "LARGE_FROM": text,
        "PART_SIZE": text,
        "SLICE_SIZE": text,
    }
    sizes = Settings.from_environ(environ).sizes
    assert (sizes.parallel_from, sizes.large_from, sizes.part, sizes.slice) == (size,) * 4


@pytest.mark.parametrize("text", ["0", "1", "-1", "1 GB", "many", "1.5 GiB", "GiB"])
@pytest.mark.parametrize("name", ["PARALLEL_FROM", "LARGE_FROM", "PART_SIZE", "SLICE_SIZE"])
def test_invalid_size_is_named_with_an_example(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}.*256 MiB"):
        Settings.from_environ(REQUIRED | {name: text})


def test_state_machine_requires_the_event_queue() -> None:
    machine = {"LARGE_STATE_MACHINE_ARN": "arn:aws:states:eu-west-1:1:stateMachine:large"}
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ(REQUIRED | machine)
    assert caught.value.message == (
        "The environment variable EVENT_QUEUE_URL is not set, and LARGE_STATE_MACHINE_ARN is: set"
        " both, so that events can wait for executions."
    )
    settings = Settings.from_environ(REQUIRED | machine | {"EVENT_QUEUE_URL": "queue"})
    assert (settings.event_queue_url, settings.watch_delay_s) == ("queue", 240)


def test_dead_letter_queue_needs_the_event_queue() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ(REQUIRED | {"FAILURE_QUEUE_URL": "https://sqs/failures"})
    assert caught.value.message == (
        "The environment variable EVENT_QUEUE_URL is not set, and FAILURE_QUEUE_URL is: set both,"
        " so that failed events can be delivered again."
    )
