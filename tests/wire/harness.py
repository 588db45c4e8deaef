"""The harness of the wire tests: S3 and GCS behind a proxy each, and the whole function.

A test has a key of its own. The harness records which states the destination may show: no object,
or one whole version of the source with its metadata. It does not use the code under test for this.
"""

import base64
import hashlib
import json
import re
import ssl
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlsplit

import boto3
import pytest
import trustme
from aws_server import moto_server
from contract.gcs_http import Gcs, noise
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from wire.proxy import Fault, Proxy, RecordedRequest

from replicate.errors import ReplicationError
from replicate.handler import Function
from replicate.protocol.deadline import MARGIN_S, Deadline
from replicate.retry import RetryPolicy
from replicate.wiring import Environment
from tools.local.gcs import GcsServer

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.literals import ChecksumAlgorithmType
    from types_boto3_s3.type_defs import CompletedPartTypeDef
    from types_boto3_secretsmanager import SecretsManagerClient

REGION = "us-east-1"
SOURCE = "wire-source"
DESTINATION = "wire-destination"
SECRET = "wire/gcp"
STAGING = ".s3-to-gcs-replicator/staging/"
"""The prefix of staged objects, by default."""
KIB, MIB = 1024, 1024 * 1024
LARGE_BYTES = 2 * MIB + 300 * KIB + 7
"""Needs an upload session. The last request has 44 KiB and 7 bytes."""

UNSEEN = frozenset({"gcs.bucket", "gcs.list", "gcs.staged-get"})
"""Steps that neither change nor read an object under its final name."""

SHORT_DELAY = RetryPolicy(first_delay_s=0.01)
"""Short pauses between attempts, to save time."""

SHORT_TIMEOUT = RetryPolicy(first_delay_s=0.01, io_timeout_s=1.0, attempts_after_timeout=5)
"""For stalled connections. A busy machine answers every other request within a second."""

State = tuple[str, int, str, str, frozenset[tuple[str, str]]]
"""The fields that must be of one version: MD5, size, type, custom time, metadata."""


def aws_step(method: str, target: str, headers: Mapping[str, str]) -> str:
    """Return the name of the step that a request to AWS is."""
    if "x-amz-target" in headers:
        return "secret"
    if "partNumber=" in target and method == "HEAD":
        return "s3.part"
    return "s3.resume" if "range" in headers else f"s3.{method.lower()}"


def gcs_step(method: str, target: str, headers: Mapping[str, str]) -> str:
    """Return the name of the step that a request to Google is."""
    url = urlsplit(target)
    if url.path.endswith("/token"):
        return "token"
    if not url.path.startswith("/upload/"):
        return _object_step(method, url.path)
    if method == "POST":
        return "gcs.insert" if "uploadType=multipart" in url.query else "gcs.start"
    if method == "DELETE":
        return "gcs.cancel"
    return _put_step(*headers["content-range"].removeprefix("bytes ").split("/"))


def _object_step(method: str, path: str) -> str:
    """Return the name of a request about the bucket, its objects or one of them."""
    if path.endswith("/o"):
        return "gcs.list"
    if "/o/" not in path:
        return "gcs.bucket"
    if path.endswith("/compose"):
        return "gcs.join" if quote_plus(STAGING) in path else "gcs.compose"
    staged = "staged-" if quote_plus(STAGING) in path else ""
    return f"gcs.{staged}{method.lower()}"


def _put_step(span: str, total: str) -> str:
    """Return the name of a PUT to an upload session. The last one may have no bytes."""
    if total == "*":
        return "gcs.query"
    if span == "*":
        return "gcs.final"
    return "gcs.final" if int(span.split("-")[1]) + 1 == int(total) else "gcs.put"


class Clock:
    """The clock of the function: the real one, plus `ahead` seconds. It can be stopped."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._stopped: float | None = None

    def __call__(self) -> float:
        return time.monotonic() + self.ahead if self._stopped is None else self._stopped

    def stop(self) -> None:
        """Let no time pass, however slow the machine is."""
        self._stopped = self()

    def go_on(self) -> None:
        """Let time pass again."""
        if self._stopped is not None:
            self.ahead = self._stopped - time.monotonic()
            self._stopped = None


class Clouds:
    """AWS, Google and the function, shared by all tests. Call `close` at the end."""

    def __init__(self) -> None:
        with ExitStack() as opened:  # closes what is open when the rest fails
            self._open(opened)
            self._opened = opened.pop_all()

    def _open(self, opened: ExitStack) -> None:
        host, port = opened.enter_context(moto_server())
        self._trusted, serving = _authority()
        opened.callback(self._trusted.close)
        self.aws = opened.enter_context(closing(Proxy((host, port), aws_step, serving)))
        self.google = opened.enter_context(closing(Proxy(("", 0), gcs_step, serving)))
        self.server = opened.enter_context(GcsServer([DESTINATION], public_url=self.google.url))
        self.google.upstream = ("127.0.0.1", self.server.port)
        variables = opened.enter_context(pytest.MonkeyPatch.context())
        self.clock = Clock()
        variables.setattr(Deadline.__init__, "__kwdefaults__", {"clock": self.clock})
        for name, value in self.environ.items():  # the SDKs may read them at any time
            if name.startswith(("AWS_", "STORAGE_", "REQUESTS_")):
                variables.setenv(name, value)
        self._aws = boto3.Session("AKIAWIRE", "not-a-secret", region_name=REGION)
        endpoint = f"http://{host}:{port}"
        self.s3: S3Client = opened.enter_context(
            closing(self._aws.client("s3", endpoint_url=endpoint))
        )
        self.secrets: SecretsManagerClient = opened.enter_context(
            closing(self._aws.client("secretsmanager", endpoint_url=endpoint))
        )
        self.s3.create_bucket(Bucket=SOURCE)
        self.key = self.new_key()
        self.secrets.create_secret(Name=SECRET, SecretString=json.dumps(self.key))
        opened.callback(  # moto keeps its state in the process, longer than its server
            self.secrets.delete_secret, SecretId=SECRET, ForceDeleteWithoutRecovery=True
        )
        direct = f"http://127.0.0.1:{self.server.port}"
        self.gcs = Gcs(direct, DESTINATION, self.server.issue_token())
        self.blobs = {name: noise(LARGE_BYTES, seed) for seed, name in enumerate(("one", "two"))}
        for name, data in self.blobs.items():
            self.s3.put_object(Bucket=SOURCE, Key=f"blobs/{name}", Body=data)
        self._environments = opened.enter_context(ExitStack())
        self.environment = self.new_environment()
        self.short_timeout = self.new_environment(SHORT_TIMEOUT)
        for environment in (self.environment, self.short_timeout):  # now they are warm
            environment.deadline.restart(10)
            environment.destination.head("nothing")

    def new_key(self) -> dict[str, str]:
        """Return a service account key whose token endpoint is behind the proxy."""
        return self.server.create_key() | {"token_uri": f"{self.google.url}/token"}

    def store_secret(self, value: object) -> None:
        """Replace the secret, as a rotation does."""
        text = value if isinstance(value, str) else json.dumps(value)
        self.secrets.put_secret_value(SecretId=SECRET, SecretString=text)

    @property
    def environ(self) -> dict[str, str]:
        """Return the environment variables of the function."""
        return {
            "AWS_ACCESS_KEY_ID": "AKIAWIRE",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.aws.url,
            "GCS_BUCKET_NAME": DESTINATION,
            "GCP_CREDENTIALS_SECRET": SECRET,
            "SOURCE_BUCKETS": SOURCE,
            "REPLICATE_DELETES": "true",
            "REPLICATE_LIFECYCLE_DELETES": "true",  # any event deletes: test_evidence.py has others
            "GCS_FIRST_TIMEOUT_SECONDS": "10",
            "STORAGE_EMULATOR_HOST": self.google.url,
            "AWS_CA_BUNDLE": self._trusted.name,
            "REQUESTS_CA_BUNDLE": self._trusted.name,
        }

    def new_environment(self, retries: RetryPolicy = SHORT_DELAY, **changes: str) -> Environment:
        """Return a new execution environment, which has no token yet."""
        environment = Environment.from_environ(self.environ | changes, retries)
        return self._environments.enter_context(closing(environment))

    @contextmanager
    def environments_of_a_test(self) -> Iterator[None]:
        """Close the environments that are built meanwhile: each has 7 MiB."""
        kept = self._environments
        with ExitStack() as self._environments:
            yield
        self._environments = kept

    def close(self) -> None:
        """Close all clients, servers and proxies."""
        self._opened.close()


def _authority() -> tuple[IO[bytes], ssl.SSLContext]:
    """Return a file with a certificate authority, and a TLS context with its certificate."""
    authority = trustme.CA()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    trusted = tempfile.NamedTemporaryFile(suffix=".pem")  # noqa: SIM115 - until the clouds close
    trusted.write(authority.cert_pem.bytes())
    trusted.flush()
    return trusted, serving


class Context:
    """The context object that Lambda passes with an invocation."""

    function_name = "replicate"
    memory_limit_in_mb = 512
    invoked_function_arn = f"arn:aws:lambda:{REGION}:123456789012:function:replicate"
    aws_request_id = "11111111-2222-3333-4444-555555555555"

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._end = Deadline(seconds, clock=clock)

    def get_remaining_time_in_millis(self) -> int:
        return int(self._end.remaining() * 1000)


@dataclass(frozen=True, slots=True)
class Invocation:
    """How an invocation for one change ended."""

    result: Mapping[str, Any]
    error_code: str
    """The code of the error, or an empty string after a success."""
    message: str
    seconds: float
    in_time: bool
    """Whether it ended before the timeout of Lambda."""

    @property
    def is_retryable(self) -> bool:
        return self.error_code in _retryable_codes(ReplicationError)


def _retryable_codes(kind: type[ReplicationError]) -> set[str]:
    own = {kind.code} if kind.retryable else set()
    return own.union(*map(_retryable_codes, kind.__subclasses__()))


@dataclass(slots=True)
class Harness:
    """The key of one test in both stores, and the states that the destination may show."""

    clouds: Clouds
    function: Function
    context: Context | None = None
    key: str = field(default_factory=lambda: f"{uuid.uuid4().hex}/ö b+c.bin")
    allowed: set[State | None] = field(default_factory=lambda: {None})
    current: State | None = None
    violations: list[object] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    """Held while another program writes the destination, until the new state is allowed."""
    _old_sessions: set[object] = field(init=False)

    def __post_init__(self) -> None:
        self._old_sessions = {each["id"] for each in self.clouds.server.sessions()}

    @property
    def clock(self) -> Clock:
        """Return the clock of the deadlines."""
        return self.clouds.clock

    # The source

    def put(
        self, data: bytes, checksum: "ChecksumAlgorithmType" = "CRC32", **metadata: str
    ) -> None:
        """Write the source."""
        self.clouds.s3.put_object(
            Bucket=SOURCE,
            Key=self.key,
            Body=data,
            Metadata=metadata,
            ContentType="text/x-wire",
            ChecksumAlgorithm=checksum,
        )
        self._record_version(hashlib.md5(data, usedforsecurity=False).hexdigest(), metadata)

    def put_replicated(self, data: bytes, **metadata: str) -> None:
        """Write the source, and its replica as an earlier run has left it."""
        self.put(data, "CRC32", **metadata)
        assert self.current
        *_, content_type, modified, described = self.current
        resource = {
            "contentType": content_type,
            "customTime": f"{modified}Z",
            "metadata": dict(described),
        }
        assert self.clouds.gcs.multipart(self.key, data, resource=resource).status == 200

    def put_large(self, blob: str, **metadata: str) -> None:
        """Write a source that needs an upload session."""
        self._copy(f"blobs/{blob}", metadata)
        digest = hashlib.md5(self.clouds.blobs[blob], usedforsecurity=False).hexdigest()
        self._record_version(digest, metadata)

    def put_multipart(self, *parts: bytes) -> None:
        """Write the source by a multipart upload."""
        s3 = self.clouds.s3
        upload = s3.create_multipart_upload(Bucket=SOURCE, Key=self.key, ContentType="text/x-wire")[
            "UploadId"
        ]
        sent: list[CompletedPartTypeDef] = []
        for number, part in enumerate(parts, start=1):
            response = s3.upload_part(
                Bucket=SOURCE, Key=self.key, UploadId=upload, PartNumber=number, Body=part
            )
            sent.append({"PartNumber": number, "ETag": response["ETag"]})
        s3.complete_multipart_upload(
            Bucket=SOURCE, Key=self.key, UploadId=upload, MultipartUpload={"Parts": sent}
        )
        self._record_version(hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest(), {})

    def replace_metadata(self, **metadata: str) -> None:
        """Replace the metadata of the source and keep the bytes."""
        assert self.current
        self._copy(self.key, metadata)
        self._record_version(self.current[0], metadata)

    def free_memory(self) -> None:
        """Delete a large source: moto has its bytes in memory."""
        if self.current and self.current[1] > MIB:
            self.remove()

    def remove(self) -> None:
        """Delete the source."""
        self.clouds.s3.delete_object(Bucket=SOURCE, Key=self.key)
        self.current = None

    def _copy(self, source: str, metadata: Mapping[str, str]) -> None:
        self.clouds.s3.copy_object(
            Bucket=SOURCE,
            Key=self.key,
            CopySource={"Bucket": SOURCE, "Key": source},
            Metadata=metadata,
            MetadataDirective="REPLACE",
            ContentType="text/x-wire",
        )

    def _record_version(self, md5: str, metadata: Mapping[str, str]) -> None:
        """Record the state of a replica of the current source. A HEAD would take 10 ms of CPU."""
        found = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_object(SOURCE, self.key)
        assert found
        modified = found.last_modified.strftime("%Y-%m-%dT%H:%M:%S")
        provenance = {
            "s3-source-bucket": SOURCE,
            "s3-source-key": self.key,
            "s3-source-etag": found.etag.strip('"'),
            "s3-source-last-modified": f"{modified}Z",
            "s3-source-size": str(found.size),
        }
        described = frozenset({**metadata, **provenance}.items())
        self.current = (md5, found.size, "text/x-wire", modified, described)
        self.allowed.add(self.current)

    # The destination

    def observe(self) -> State | None:
        """Return the state of the destination. Record a violation if it is not allowed."""
        with self.lock:
            reply = self.clouds.gcs.get(self.key)
            state = None if reply.status == 404 else self._state(reply.json)
            if state not in self.allowed:
                self.violations.append(state)
            return state

    def overwrite_destination(self, data: bytes = b"somebody else's") -> None:
        """Let another program write the destination."""
        with self.lock:
            reply = self.clouds.gcs.media(self.key, data)
            assert reply.status == 200, reply
            self.allow(reply.json)

    def allow(self, resource: Mapping[str, Any]) -> None:
        """Allow the destination to show this state, which another program wrote."""
        self.allowed.add(self._state(resource))

    def assert_equal(self) -> None:
        """Check that the destination equals the source, with no other object and no violation."""
        assert self.observe() == self.current
        assert self.violations == []
        prefix = self.key.split("/")[0]
        listed = self.clouds.gcs.listing(prefix=prefix).json.get("items", [])
        assert [each["name"] for each in listed] == ([self.key] if self.current else [])
        assert self.staged() == []

    def staged(self) -> list[Mapping[str, Any]]:
        """Return the staged objects of all keys. Each test removes its own."""
        found: list[Mapping[str, Any]] = self.clouds.gcs.listing(prefix=STAGING).json.get(
            "items", []
        )
        return found

    def clear_staged(self) -> None:
        """Delete all staged objects, as the bucket's lifecycle rule does."""
        for each in self.staged():
            self.clouds.gcs.delete(each["name"])

    def open_sessions(self) -> list[object]:
        """Return the open upload sessions of this key and of its parts."""
        return [
            each
            for each in self.clouds.server.sessions()
            if each["name"] == self.key
            or (str(each["name"]).startswith(STAGING) and each["id"] not in self._old_sessions)
        ]

    def _state(self, resource: Mapping[str, Any]) -> State | None:
        """Return the state that an object resource describes; None if it was replaced."""
        if "md5Hash" in resource:
            digest = base64.b64decode(resource["md5Hash"]).hex()
        else:  # a composed object has no MD5
            reply = self.clouds.gcs.download(resource["name"], generation=resource["generation"])
            if reply.status == 404:
                return None
            digest = hashlib.md5(reply.body, usedforsecurity=False).hexdigest()
        custom = resource.get("customTime", "")[:19]
        described = frozenset(resource.get("metadata", {}).items())
        return (digest, int(resource["size"]), resource["contentType"], custom, described)

    # The function

    def event(self, *, fresh: bool = True, kind: str = "ObjectCreated:Put") -> dict[str, Any]:
        """Return the notification of the last change of the source. A fresh one is expected new."""
        at = datetime.now(UTC) - timedelta(minutes=0 if fresh else 10)
        described = {"key": quote_plus(self.key, safe="/")}
        if self.current:
            described["size"] = self.current[1]  # type: ignore[assignment]
        record = {
            "eventSource": "aws:s3",
            "eventName": kind,
            "eventTime": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "s3": {"bucket": {"name": SOURCE}, "object": described},
        }
        return {"Records": [record]}

    def invoke(self, event: object, seconds: float = 60.0) -> Invocation:
        """Run the function once, as Lambda does."""
        context = self.context = Context(seconds, self.clock)
        result: Mapping[str, Any] = {}
        error_code = message = ""
        started = time.monotonic()
        try:
            response = self.function.handle(event, context)
            result = response["results"][0]
        except ReplicationError as error:
            code = re.search(re.escape(self.key) + r": (\w+): ", error.message)
            error_code, message = code[1] if code else error.code, error.message
        left = context.get_remaining_time_in_millis()
        return Invocation(result, error_code, message, time.monotonic() - started, left > 0)

    def limit_time(self, seconds: float) -> None:
        """Advance the clock until `seconds` of the working time of the invocation remain."""
        assert self.context
        remaining = self.context.get_remaining_time_in_millis() / 1000 - MARGIN_S
        self.clock.ahead += remaining - seconds

    def proxy(self, step: str) -> Proxy:
        """Return the proxy of a step."""
        return self.clouds.aws if step.startswith(("s3.", "secret")) else self.clouds.google

    def inject(self, fault: Fault) -> Fault:
        """Add a fault, which waits for its step."""
        self.proxy(fault.step).add(fault)
        return fault

    def stop_faults(self) -> None:
        """End all faults, and wait until no exchange is under way."""
        self.clouds.aws.stop_faults()
        self.clouds.google.stop_faults()

    @property
    def requests(self) -> list[RecordedRequest]:
        """Return all requests of the function, in order."""
        return sorted(
            self.clouds.aws.requests + self.clouds.google.requests, key=lambda request: request.at
        )

    @property
    def steps(self) -> list[str]:
        """Return the names of the steps of these requests."""
        return [request.step for request in self.requests]

    def clear_requests(self) -> None:
        """Clear the recorded requests."""
        self.clouds.aws.requests.clear()
        self.clouds.google.requests.clear()


@contextmanager
def harness_for_new_key(clouds: Clouds) -> Iterator[Harness]:
    """Build a harness that observes the destination after every response of GCS about it."""
    harness = Harness(clouds, Function(clouds.environment))
    harness.clear_requests()

    def watch(step: str) -> None:
        if step not in UNSEEN:
            with suppress(OSError):
                harness.observe()

    clouds.google.watch = watch
    try:
        with clouds.environments_of_a_test():
            yield harness
    finally:
        clouds.google.watch = lambda _: None
        clouds.clock.go_on()
        harness.stop_faults()
        harness.free_memory()
