"""Where the wire tests play: S3 and GCS behind a proxy each, the whole function in between.

A test owns one key. What it may show at the destination is written down here, apart from the
product's own code: nothing at all, or one whole version of the source, bytes and metadata together.
"""

import base64
import hashlib
import json
import re
import ssl
import tempfile
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
from contract.gcs_http import Gcs, noise
from moto.server import ThreadedMotoServer
from werkzeug.serving import WSGIRequestHandler
from wire.proxy import Fault, Proxy, Seen

from replicate.errors import ReplicationError
from replicate.handler import Function
from replicate.protocol.deadline import MARGIN_S, Deadline
from replicate.retry import RetryPolicy
from replicate.wiring import Environment
from tools.local.gcs import GcsServer

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import CompletedPartTypeDef
    from types_boto3_secretsmanager import SecretsManagerClient

REGION = "us-east-1"
SOURCE = "wire-source"
DESTINATION = "wire-destination"
SECRET = "wire/gcp"
KIB, MIB = 1024, 1024 * 1024
LARGE_BYTES = 8 * MIB + 300 * KIB + 7
"""More than one request may carry; the tail that is held back has 44 KiB and 7 bytes."""

BRIEF = RetryPolicy(first_delay_s=0.01)
"""Pauses between attempts are short: their length is nothing that breaks."""

IMPATIENT = RetryPolicy(first_delay_s=0.01, io_timeout_s=0.3)
"""For connections that stand still."""

State = tuple[str, int, str, str, frozenset[tuple[str, str]]]
"""All of an object that must belong together: MD5, size, type, custom time, metadata."""


def aws_step(method: str, target: str, headers: Mapping[str, str]) -> str:
    """What a request to AWS is for."""
    if "x-amz-target" in headers:
        return "secret"
    if "partNumber=" in target and method == "HEAD":
        return "s3.part"
    return "s3.resume" if "range" in headers else f"s3.{method.lower()}"


def gcs_step(method: str, target: str, headers: Mapping[str, str]) -> str:
    """What a request to Google is for."""
    url = urlsplit(target)
    if url.path.endswith("/token"):
        return "token"
    if not url.path.startswith("/upload/"):
        return f"gcs.{method.lower()}"
    if method == "POST":
        return "gcs.insert" if "uploadType=multipart" in url.query else "gcs.start"
    if method == "DELETE":
        return "gcs.cancel"
    return _put_step(*headers["content-range"].removeprefix("bytes ").split("/"))


def _put_step(span: str, total: str) -> str:
    """What a PUT to an upload's session is for; the end of it may have no bytes."""
    if total == "*":
        return "gcs.ask"
    if span == "*":
        return "gcs.final"
    return "gcs.final" if int(span.split("-")[1]) + 1 == int(total) else "gcs.put"


class Clouds:
    """AWS, Google and a function between them, for as many tests as like. `close` it."""

    def __init__(self) -> None:
        with ExitStack() as opened:  # what is open already is closed where the rest fails
            self._open(opened)
            self._opened = opened.pop_all()

    def _open(self, opened: ExitStack) -> None:
        WSGIRequestHandler.disable_nagle_algorithm = True  # it writes head and body apart
        moto = ThreadedMotoServer(port=0, verbose=False)
        moto.start()
        opened.callback(moto.stop)
        host, port = moto.get_host_and_port()
        self._trusted, serving = _authority()
        opened.callback(self._trusted.close)
        self.aws = opened.enter_context(closing(Proxy((host, port), aws_step, serving)))
        self.google = opened.enter_context(closing(Proxy(("", 0), gcs_step, serving)))
        self.server = opened.enter_context(GcsServer([DESTINATION], public_url=self.google.url))
        self.google.upstream = ("127.0.0.1", self.server.port)
        variables = opened.enter_context(pytest.MonkeyPatch.context())
        for name, value in self.environ.items():  # the SDKs read theirs whenever they like
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
        opened.callback(  # moto's state outlives its server
            self.secrets.delete_secret, SecretId=SECRET, ForceDeleteWithoutRecovery=True
        )
        direct = f"http://127.0.0.1:{self.server.port}"
        self.gcs = Gcs(direct, DESTINATION, self.server.issue_token())
        self.blobs = {name: noise(LARGE_BYTES, seed) for seed, name in enumerate(("one", "two"))}
        for name, data in self.blobs.items():
            self.s3.put_object(Bucket=SOURCE, Key=f"blobs/{name}", Body=data)
        self._environments = opened.enter_context(ExitStack())
        self.environment = self.cold()
        self.impatient = self.cold(IMPATIENT)
        for environment in (self.environment, self.impatient):  # now they are warm
            environment.destination(Deadline(10)).head("nothing")

    def new_key(self) -> dict[str, str]:
        """A service account key whose token endpoint is behind the proxy."""
        return self.server.create_key() | {"token_uri": f"{self.google.url}/token"}

    def store_secret(self, value: object) -> None:
        """Change the secret, as a rotation does."""
        text = value if isinstance(value, str) else json.dumps(value)
        self.secrets.put_secret_value(SecretId=SECRET, SecretString=text)

    @property
    def environ(self) -> dict[str, str]:
        """The function's environment variables."""
        return {
            "AWS_ACCESS_KEY_ID": "AKIAWIRE",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.aws.url,
            "GCS_BUCKET_NAME": DESTINATION,
            "GCP_CREDENTIALS_SECRET": SECRET,
            "SOURCE_BUCKETS": SOURCE,
            "REPLICATE_DELETES": "true",
            "STORAGE_EMULATOR_HOST": self.google.url,
            "AWS_CA_BUNDLE": self._trusted.name,
            "REQUESTS_CA_BUNDLE": self._trusted.name,
        }

    def cold(self, retries: RetryPolicy = BRIEF, **changes: str) -> Environment:
        """A new execution environment, which holds no token yet."""
        environment = Environment.from_environ(self.environ | changes, retries)
        return self._environments.enter_context(closing(environment))

    def close(self) -> None:
        """End everything."""
        self._opened.close()


def _authority() -> tuple[IO[bytes], ssl.SSLContext]:
    """A file with an authority that is to be trusted, and what serves with its certificate."""
    authority = trustme.CA()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    trusted = tempfile.NamedTemporaryFile(suffix=".pem")  # noqa: SIM115 - until the clouds close
    trusted.write(authority.cert_pem.bytes())
    trusted.flush()
    return trusted, serving


class Clock:
    """The product's clock: the real one, and what a test puts it forward by."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class Context:
    """What Lambda says about an invocation."""

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

    told: Mapping[str, Any]
    failure: str
    """The error's code; empty after a success."""
    text: str
    seconds: float
    in_time: bool
    """Whether it ended before Lambda would have ended it."""

    @property
    def is_retryable(self) -> bool:
        return self.failure in _retryable_codes(ReplicationError)


def _retryable_codes(kind: type[ReplicationError]) -> set[str]:
    own = {kind.code} if kind.retryable else set()
    return own.union(*map(_retryable_codes, kind.__subclasses__()))


@dataclass(slots=True)
class Stage:
    """One test's key on both sides, and everything that may be seen of it."""

    clouds: Clouds
    function: Function
    clock: Clock = field(default_factory=Clock)
    context: Context | None = None
    key: str = field(default_factory=lambda: f"{uuid.uuid4().hex}/ö b+c.bin")
    allowed: set[State | None] = field(default_factory=lambda: {None})
    current: State | None = None
    violations: list[object] = field(default_factory=list)

    # The source

    def put(self, data: bytes, **metadata: str) -> None:
        """Write the source."""
        self.clouds.s3.put_object(
            Bucket=SOURCE, Key=self.key, Body=data, Metadata=metadata, ContentType="text/x-wire"
        )
        self._learn(hashlib.md5(data, usedforsecurity=False).hexdigest(), metadata)

    def put_large(self, blob: str, **metadata: str) -> None:
        """Write a source that needs a resumable upload."""
        self._copy(f"blobs/{blob}", metadata)
        digest = hashlib.md5(self.clouds.blobs[blob], usedforsecurity=False).hexdigest()
        self._learn(digest, metadata)

    def put_in_parts(self, *parts: bytes) -> None:
        """Write the source by a multipart upload."""
        s3 = self.clouds.s3
        upload = s3.create_multipart_upload(Bucket=SOURCE, Key=self.key, ContentType="text/x-wire")[
            "UploadId"
        ]
        sent: list[CompletedPartTypeDef] = []
        for number, part in enumerate(parts, start=1):
            answer = s3.upload_part(
                Bucket=SOURCE, Key=self.key, UploadId=upload, PartNumber=number, Body=part
            )
            sent.append({"PartNumber": number, "ETag": answer["ETag"]})
        s3.complete_multipart_upload(
            Bucket=SOURCE, Key=self.key, UploadId=upload, MultipartUpload={"Parts": sent}
        )
        self._learn(hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest(), {})

    def describe(self, **metadata: str) -> None:
        """Replace the source's metadata; the bytes stay."""
        assert self.current
        self._copy(self.key, metadata)
        self._learn(self.current[0], metadata)

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

    def _learn(self, md5: str, metadata: Mapping[str, str]) -> None:
        """Write down what a replica of the source as it is now looks like."""
        head = self.clouds.s3.head_object(Bucket=SOURCE, Key=self.key)
        modified = head["LastModified"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        provenance = {
            "s3-source-bucket": SOURCE,
            "s3-source-key": self.key,
            "s3-source-etag": head["ETag"].strip('"'),
            "s3-source-last-modified": f"{modified}Z",
            "s3-source-size": str(head["ContentLength"]),
        }
        described = frozenset({**metadata, **provenance}.items())
        self.current = (md5, head["ContentLength"], "text/x-wire", modified, described)
        self.allowed.add(self.current)

    # The destination

    def look(self) -> State | None:
        """What anybody sees at the destination; it is remembered when it must never be seen."""
        reply = self.clouds.gcs.get(self.key)
        state = None if reply.status == 404 else _state(reply.json)
        if state not in self.allowed:
            self.violations.append(state)
        return state

    def meddle(self, data: bytes = b"somebody else's") -> None:
        """Let another program write the destination."""
        reply = self.clouds.gcs.media(self.key, data)
        assert reply.status == 200, reply
        self.allow(reply.json)

    def allow(self, resource: Mapping[str, Any]) -> None:
        """Let the destination look like this, for it was not the function that made it so."""
        self.allowed.add(_state(resource))

    def assert_equal(self) -> None:
        """The destination is the source, there is nothing besides, and never was anything wrong."""
        assert self.look() == self.current
        assert self.violations == []
        prefix = self.key.split("/")[0]
        listed = self.clouds.gcs.listing(prefix=prefix).json.get("items", [])
        assert [each["name"] for each in listed] == ([self.key] if self.current else [])

    def open_sessions(self) -> list[object]:
        """Uploads of this key that nobody ended."""
        return [each for each in self.clouds.server.sessions() if each["name"] == self.key]

    # The function

    def event(self, *, fresh: bool = True, kind: str = "ObjectCreated:Put") -> dict[str, Any]:
        """The notification of the source's last change; a fresh one promises something new."""
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
        told: Mapping[str, Any] = {}
        failure = text = ""
        started = time.monotonic()
        try:
            answer = self.function.handle(event, context)
            told = answer["results"][0]
        except ReplicationError as error:
            code = re.search(re.escape(self.key) + r": (\w+): ", error.message)
            failure, text = code[1] if code else error.code, error.message
        left = context.get_remaining_time_in_millis()
        return Invocation(told, failure, text, time.monotonic() - started, left > 0)

    def leave(self, seconds: float) -> None:
        """Let so much of the invocation's working time remain from now on."""
        assert self.context
        remaining = self.context.get_remaining_time_in_millis() / 1000 - MARGIN_S
        self.clock.ahead += remaining - seconds

    def proxy(self, step: str) -> Proxy:
        """The one that a step goes through."""
        return self.clouds.aws if step.startswith(("s3.", "secret")) else self.clouds.google

    def spoil(self, fault: Fault) -> Fault:
        """Let a fault wait for its step."""
        self.proxy(fault.step).add(fault)
        return fault

    def settle(self) -> None:
        """The faults are over, and whatever was still under way has ended."""
        self.clouds.aws.settle()
        self.clouds.google.settle()

    @property
    def seen(self) -> list[Seen]:
        """All requests that the function made, in order."""
        return sorted(self.clouds.aws.seen + self.clouds.google.seen, key=lambda seen: seen.at)

    @property
    def steps(self) -> list[str]:
        """What these requests were for."""
        return [seen.step for seen in self.seen]

    def forget_steps(self) -> None:
        """Let the record begin here."""
        self.clouds.aws.seen.clear()
        self.clouds.google.seen.clear()


@contextmanager
def staged(clouds: Clouds) -> Iterator[Stage]:
    """Set the stage for one key, and watch the destination after every answer of GCS."""
    stage = Stage(clouds, Function(clouds.environment))
    stage.forget_steps()

    def watch() -> None:
        with suppress(OSError):
            stage.look()

    clouds.google.watch = watch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Deadline.__init__, "__kwdefaults__", {"clock": stage.clock})
        try:
            yield stage
        finally:
            clouds.google.watch = lambda: None
            stage.settle()


def _state(resource: Mapping[str, Any]) -> State:
    """Read an object resource independently of the product."""
    digest = base64.b64decode(resource["md5Hash"]).hex()
    custom = resource.get("customTime", "")[:19]
    described = frozenset(resource.get("metadata", {}).items())
    return (digest, int(resource["size"]), resource["contentType"], custom, described)
