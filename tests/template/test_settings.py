"""Parameters become environment variables, and environment variables become Settings."""

import re
from collections.abc import Iterator, Mapping

import pytest
from template.stack import MACHINE, SECRET, Stack, variables

from replicate.protocol.evidence import Deletes
from replicate.protocol.mapping import Tags
from replicate.protocol.parts import Sizes
from replicate.protocol.plan import Overwrite, Policy
from replicate.protocol.scope import Scope
from replicate.settings import PARAMETERS, Settings
from tools.local.template import parameters

LAMBDA = {"AWS_REGION": "eu-central-1"}
"""What Lambda itself sets."""

LIBRARIES = {
    "POWERTOOLS_LOG_LEVEL",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
}
"""Variables that libraries read, not Settings."""

UNSET = {
    "PART_SIZE",
    "SLICE_SIZE",
    "STAGING_PREFIX",
    "WATCH_DELAY_SECONDS",
    "EXECUTION_SETTLE_SECONDS",
    "GCS_FIRST_TIMEOUT_SECONDS",
    "RETRY_FIRST_SECONDS",
    "RETRY_LONGEST_SECONDS",
}
"""Variables that the template leaves at their defaults. Tests and other deployments set them."""


class Environment(Mapping[str, str]):
    """Environment variables that record which of them were read."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.read.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def settings(**options: str) -> Settings:
    return Settings.from_environ({**variables(Stack(**options)), **LAMBDA})


def test_the_template_sets_the_variables_that_the_settings_read(stack: Stack) -> None:
    environment = Environment({**variables(stack), **LAMBDA})

    Settings.from_environ(environment)

    assert environment.read - LAMBDA.keys() - UNSET == variables(stack).keys() - LIBRARIES
    assert environment.read >= UNSET


def test_every_parameter_reaches_its_setting() -> None:
    found = settings(
        GcsKeyPrefix="backup/",
        StorageClassMap="STANDARD_IA=NEARLINE",
        Overwrite="never",
        ParallelThreshold="64 MiB",
        LargeObjectThreshold="1 TiB",
        CompressEgress="true",
    )

    assert found.naming.bucket == "replica"
    assert found.naming.prefix == "backup/"
    assert found.credentials_secret == SECRET
    assert found.scope == Scope(frozenset({"my-source-bucket"}))
    assert found.google_domains == {"googleapis.com"}
    assert found.storage_classes == {"STANDARD_IA": "NEARLINE"}
    assert found.policy == Policy(Overwrite.NEVER, deletes=Deletes.NONE, tags=Tags.OFF)
    assert (found.sizes.parallel_from, found.sizes.large_from) == (64 * 1024**2, 1024**4)
    assert found.compress_egress
    assert found.state_machine == MACHINE
    assert found.event_queue_url == "${EventQueue}"
    assert found.reports_bucket == "${ReportsBucket}"
    assert found.service == "stack"


def test_errors_name_the_parameter_that_sets_the_variable() -> None:
    """A variable gets the text of its parameter."""
    found = variables(Stack(**{name: f"text of {name}" for name in PARAMETERS.values()}))

    for variable, parameter in PARAMETERS.items():
        assert found[variable] == f"text of {parameter}"


def test_the_copying_has_the_defaults_of_the_code(stack: Stack) -> None:
    found = settings()

    assert found.sizes == Sizes()
    assert not found.compress_egress
    assert found.sizes.large_from == 16 * 1024**3
    assert variables(stack)["PARALLEL_FROM"] == "256 MiB"


@pytest.mark.parametrize("size", ["262144", "64 KiB", "64KiB", "256 MiB", "16 GiB", "5 TiB"])
def test_the_settings_accept_every_size_that_the_template_accepts(size: str) -> None:
    pattern = parameters()["LargeObjectThreshold"]["AllowedPattern"]

    assert re.fullmatch(pattern, size)
    sizes = settings(LargeObjectThreshold=size, ParallelThreshold=size).sizes
    assert sizes.large_from == sizes.parallel_from > 0


@pytest.mark.parametrize(
    ("value", "deletes"),
    [("false", Deletes.NONE), ("true", Deletes.BY_USERS), ("with-lifecycle", Deletes.ALL)],
)
def test_deletions_are_replicated_as_the_parameter_says(value: str, deletes: Deletes) -> None:
    assert settings(ReplicateDeletes=value).policy.deletes is deletes


@pytest.mark.parametrize(
    ("kind", "prefix", "decoded"),
    [
        ("new", "year%3D2026/a+b/", "year=2026/a b/"),
        ("existing", "year=2026/a b/", "year=2026/a b/"),
        ("existing", "a+b%20/", "a+b%20/"),
    ],
)
def test_prefix_and_suffix_reach_the_function_decoded(kind: str, prefix: str, decoded: str) -> None:
    """S3's own filter is URL-encoded, and EventBridge's is not."""
    found = settings(SourceBucketKind=kind, SourcePrefix=prefix, SourceSuffix=prefix).scope

    assert (found.prefix, found.suffix) == (decoded, decoded)


@pytest.mark.parametrize("name", ["Overwrite", "ReplicateDeletes", "ReplicateTags"])
def test_the_settings_accept_every_allowed_value(name: str) -> None:
    values = parameters()[name]["AllowedValues"]
    found = [settings(**{name: value}) for value in values]

    assert len({each.policy for each in found}) == len(values)


def test_local_runs_can_set_the_endpoints(stack: Stack) -> None:
    """`sam local` sets only variables that the template declares; empty counts as not set."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "STORAGE_EMULATOR_HOST"):
        assert variables(stack)[name] == ""
