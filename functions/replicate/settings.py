"""The configuration of the function, from its environment variables."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import unquote_plus

from replicate.errors import SettingsError
from replicate.protocol.evidence import Deletes
from replicate.protocol.mapping import Naming, Tags
from replicate.protocol.parts import Sizes
from replicate.protocol.plan import Overwrite, Policy
from replicate.protocol.scope import Scope
from replicate.settlement.policy import RedeliveryPolicy

T = TypeVar("T")

GCS_STORAGE_CLASSES = frozenset({"STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"})

PARAMETERS: Mapping[str, str] = MappingProxyType(
    {
        "GCS_BUCKET_NAME": "GcsBucketName",
        "GCP_CREDENTIALS_SECRET": "GcpCredentialsSecretArn",
        "SOURCE_BUCKETS": "SourceBucketName",
        "SOURCE_PREFIX": "SourcePrefix",
        "SOURCE_SUFFIX": "SourceSuffix",
        "OVERWRITE": "Overwrite",
        "REPLICATE_TAGS": "ReplicateTags",
        "STORAGE_CLASS_MAP": "StorageClassMap",
        "PARALLEL_FROM": "ParallelThreshold",
        "LARGE_FROM": "LargeObjectThreshold",
        "COMPRESS_EGRESS": "CompressEgress",
    }
)
"""The template's parameter for each variable that can be missing or wrong, and has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The values of the environment variables. docs/CONFIGURATION.md explains each of them."""

    naming: Naming
    credentials_secret: str
    google_domains: frozenset[str]
    """Domains of Google's services. The secret names no other host."""
    emulator: str
    """Address of a GCS server other than Google's, as google-cloud-storage reads it."""
    scope: Scope
    policy: Policy
    storage_classes: Mapping[str, str]
    sizes: Sizes
    compress_egress: bool
    """Whether bytes that gzip makes smaller travel compressed."""
    state_machine: str
    """ARN of the state machine that copies large objects; empty without one."""
    event_queue_url: str
    reports_bucket: str
    """Holds the state and the reports of the reconcile; empty without one."""
    failure_queue_url: str
    """The dead-letter queue; empty if the invoker alone keeps what failed."""
    redelivery: RedeliveryPolicy
    first_timeout_s: float
    """How long the first request of an invocation to GCS waits at least."""
    watch_delay_s: int
    settle_s: int
    region: str
    service: str
    metrics_namespace: str

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """Read all variables. Raise SettingsError, which names a missing or wrong variable."""
        get = _Reader(environ)
        staging = get.text("STAGING_PREFIX") or ".s3-to-gcs-replicator/staging/"
        machine, queue = get.text("LARGE_STATE_MACHINE_ARN"), get.text("EVENT_QUEUE_URL")
        if machine and not queue:
            raise SettingsError(
                "The environment variable EVENT_QUEUE_URL is not set, and LARGE_STATE_MACHINE_ARN"
                " is: set both, so that events can wait for executions."
            )
        failures = get.text("FAILURE_QUEUE_URL")
        if failures and not queue:
            raise SettingsError(
                "The environment variable EVENT_QUEUE_URL is not set, and FAILURE_QUEUE_URL is: set"
                " both, so that failed events can be delivered again."
            )
        retry_s = partial(_seconds, longest=36_000)  # SQS hides a message for 12 hours at most
        sizes = Sizes(
            parallel_from=get.parsed("PARALLEL_FROM", _bytes, "256 MiB", _SIZE),
            large_from=get.parsed("LARGE_FROM", _bytes, "16 GiB", _SIZE),
            part=get.parsed("PART_SIZE", _bytes, "256 MiB", _SIZE),
            slice=get.parsed("SLICE_SIZE", _bytes, "2 GiB", _SIZE),
        )
        if sizes.large_from < sizes.parallel_from:
            raise SettingsError(
                "LargeObjectThreshold (LARGE_FROM) is less than ParallelThreshold (PARALLEL_FROM):"
                " an object that an execution copies is copied in parts. Set it to the same size or"
                " more."
            )
        return cls(
            naming=Naming(get.required("GCS_BUCKET_NAME"), get.text("GCS_KEY_PREFIX"), staging),
            credentials_secret=get.required("GCP_CREDENTIALS_SECRET"),
            google_domains=frozenset(_items(get.text("GOOGLE_API_DOMAINS") or "googleapis.com")),
            emulator=get.text("STORAGE_EMULATOR_HOST"),
            scope=_scope(get),
            policy=Policy(
                overwrite=get.parsed("OVERWRITE", Overwrite, "changed", "changed, own or never"),
                deletes=_deletes(get),
                tags=get.parsed("REPLICATE_TAGS", Tags, "off", "off, contexts or metadata"),
            ),
            storage_classes=get.parsed(
                "STORAGE_CLASS_MAP",
                _storage_classes,
                "",
                "pairs such as STANDARD_IA=NEARLINE,GLACIER_IR=COLDLINE, with the GCS classes "
                + ", ".join(sorted(GCS_STORAGE_CLASSES)),
            ),
            sizes=sizes,
            compress_egress=get.parsed("COMPRESS_EGRESS", _boolean, "false", "true or false"),
            state_machine=machine,
            event_queue_url=queue,
            reports_bucket=get.text("REPORTS_BUCKET"),
            failure_queue_url=failures,
            redelivery=RedeliveryPolicy(
                first_s=get.parsed("RETRY_FIRST_SECONDS", retry_s, "60", "0 to 36000 seconds"),
                longest_s=get.parsed(
                    "RETRY_LONGEST_SECONDS", retry_s, "3600", "0 to 36000 seconds"
                ),
            ),
            first_timeout_s=get.parsed(
                "GCS_FIRST_TIMEOUT_SECONDS", _short_time, "0.8", "0.1 to 20 seconds"
            ),
            watch_delay_s=get.parsed(
                "WATCH_DELAY_SECONDS",
                partial(_seconds, longest=900),  # what SQS accepts
                "240",
                "0 to 900 seconds",
            ),
            settle_s=get.parsed(
                "EXECUTION_SETTLE_SECONDS",
                partial(_seconds, longest=3600),
                "960",
                "0 to 3600 seconds",
            ),
            region=get.required("AWS_REGION"),
            service=get.text("POWERTOOLS_SERVICE_NAME") or "s3-to-gcs-replicator",
            metrics_namespace=get.text("POWERTOOLS_METRICS_NAMESPACE") or "S3ToGcsReplicator",
        )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads environment variables. An empty variable counts as not set."""

    environ: Mapping[str, str]

    def text(self, name: str) -> str:
        return self.environ.get(name, "").strip()

    def required(self, name: str) -> str:
        if value := self.text(name):
            return value
        raise SettingsError(f"{_named(name)} is not set. Set it on the function.")

    def parsed(self, name: str, parse: Callable[[str], T], default: str, expected: str) -> T:
        value = self.text(name) or default
        try:
            return parse(value)
        except ValueError:
            raise SettingsError(
                f"{_named(name)} has the invalid value {value!r}. Set it to {expected}."
            ) from None


def _named(variable: str) -> str:
    """Return how an error names a variable: who deployed the template knows its parameter."""
    parameter = PARAMETERS.get(variable)
    return f"{parameter} ({variable})" if parameter else f"The environment variable {variable}"


def _scope(get: _Reader) -> Scope:
    """Read which objects are replicated. The texts of a bucket's own filter are URL-encoded."""
    known = partial(_known, known={"none", "url"})
    is_encoded = get.parsed("SOURCE_FILTER_ENCODING", known, "none", "none or url") == "url"
    decode = partial(unquote_plus, errors="strict") if is_encoded else str
    return Scope(
        frozenset(_items(get.required("SOURCE_BUCKETS"))),
        get.parsed("SOURCE_PREFIX", decode, "", "the beginning of keys"),
        get.parsed("SOURCE_SUFFIX", decode, "", "the end of keys"),
    )


def _deletes(get: _Reader) -> Deletes:
    """Read which deletions are replicated. Lifecycle rules have a variable of their own."""
    any_deletes = get.parsed("REPLICATE_DELETES", _boolean, "false", "true or false")
    lifecycle = get.parsed("REPLICATE_LIFECYCLE_DELETES", _boolean, "false", "true or false")
    if not any_deletes:
        return Deletes.NONE
    return Deletes.ALL if lifecycle else Deletes.BY_USERS


def _items(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


def _boolean(value: str) -> bool:
    return {"true": True, "false": False}[_known(value.lower(), {"true", "false"})]


_SIZE = "a size such as 262144, 64 KiB, 256 MiB or 16 GiB"
MIN_SIZE = 2
"""Smallest size of a setting in bytes. An object of one byte has no parts that could be copied."""
_UNITS = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}


def _bytes(value: str) -> int:
    digits = value.rstrip("KMGTiB ").strip()
    unit = value[len(digits) :].strip()
    size = int(digits) * _UNITS[_known(unit, _UNITS.keys())]
    if size < MIN_SIZE:
        raise ValueError(value)
    return size


def _seconds(value: str, longest: int) -> int:
    seconds = int(value)
    if not 0 <= seconds <= longest:
        raise ValueError(value)
    return seconds


def _short_time(value: str) -> float:
    seconds = float(value)
    if not 0.1 <= seconds <= 20:  # noqa: PLR2004 - the range in the error
        raise ValueError(value)
    return seconds


def _storage_classes(value: str) -> Mapping[str, str]:
    pairs = dict(_pair(item) for item in _items(value))
    return MappingProxyType(pairs)


def _pair(item: str) -> tuple[str, str]:
    source, equals, destination = item.partition("=")
    if not (source.strip() and equals):
        raise ValueError(item)
    return source.strip().upper(), _known(destination.strip().upper(), GCS_STORAGE_CLASSES)


def _known(value: str, known: Collection[str]) -> str:
    if value not in known:
        raise ValueError(value)
    return value
