"""The source: objects in S3, each read at one version."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from replicate.aws_clients import AwsClients
from replicate.errors import ReplicationError, SourceChangedError, SourceUnavailableError
from replicate.protocol.deadline import Deadline
from replicate.protocol.model import PartLayout, SourceObject, SourceRef, Span
from replicate.retry import TRANSIENT, Backoff, RetryPolicy, retrying
from replicate.s3.description import describe
from replicate.s3.errors import SourceAbsentError, translated

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from types_boto3_s3 import S3Client

T = TypeVar("T")

DRAINED_BYTES = 64 * 1024
"""So much of an unread body is read to its end, because that is cheaper than a new connection."""


class S3Source:
    """S3 as the protocol's source, for one invocation."""

    def __init__(
        self, clients: AwsClients, deadline: Deadline, policy: RetryPolicy, *, tags: bool = False
    ) -> None:
        self._clients = clients
        self._deadline = deadline
        self._policy = policy
        self._tags = tags

    def head(self, ref: SourceRef) -> SourceObject | None:
        """See `Source.head`."""
        try:
            found = self._call(
                ref,
                lambda s3: describe(
                    ref, s3.head_object(Bucket=ref.bucket, Key=ref.key, ChecksumMode="ENABLED")
                ),
            )
        except TRANSIENT:
            raise
        except (ReplicationError, SourceAbsentError):
            # A response to HEAD has no body and so names no reason; the response to a GET does.
            with self.open(ref) as body:
                return body.object if body else None
        return self._with_tags(found)

    @contextmanager
    def open(
        self, ref: SourceRef, version: SourceObject | None = None, span: Span | None = None
    ) -> Iterator["S3Body | None"]:
        """See `Source.open`."""

        def get(s3: "S3Client") -> S3Body:
            pinned = _pinned(version) if version else {}
            output = s3.get_object(Bucket=ref.bucket, Key=ref.key, **pinned)
            try:
                found = version or describe(ref, output)
                return S3Body(self, found, Span(0, found.size), output["Body"])
            except BaseException:
                output["Body"].close()
                raise

        try:
            if version is not None and span is not None:
                body = S3Body(self, version, span, self.resume(version, span))
            else:
                body = self._call(ref, get)
        except SourceAbsentError:
            if version is not None:
                raise SourceChangedError from None
            yield None
            return
        try:
            if version is None:
                body.object = self._with_tags(body.object)
            yield body
        finally:
            body.close()

    def resume(self, version: SourceObject, span: Span) -> "StreamingBody":
        """Return a byte range of exactly this version. Raise SourceChangedError."""
        ref = version.ref
        wanted: dict[str, Any] = _pinned(version)
        is_whole = span == Span(0, version.size)
        if not is_whole:
            wanted["Range"] = f"bytes={span.start}-{span.end - 1}"
        try:
            output = self._call(
                ref, lambda s3: s3.get_object(Bucket=ref.bucket, Key=ref.key, **wanted)
            )
        except SourceAbsentError:
            raise SourceChangedError from None
        if is_whole or _is_range(output, span, version.size):
            return output["Body"]
        output["Body"].close()
        raise SourceUnavailableError(
            f"S3 ignored that only a part of {ref.uri} was requested. Try again."
        )

    def part_layout(self, version: SourceObject) -> PartLayout | None:
        """See `Layouts.part_layout`."""
        first = self._part(version, 1)
        return PartLayout(count=first[1], size=first[0]) if first else None

    def has_layout(self, version: SourceObject, layout: PartLayout) -> bool:
        """See `Layouts.has_layout`."""
        last = version.size - (layout.count - 1) * layout.size
        sizes = [layout.size] * (layout.count - 1) + [last]
        found = [self._part(version, number) for number in range(1, layout.count + 1)]
        self._require(version)
        if None in found:  # the first part was described before
            raise SourceUnavailableError(
                f"S3 no longer describes the parts of {version.ref.uri}. Try again."
            )
        return found == [(size, layout.count) for size in sizes]

    def _part(self, version: SourceObject, number: int) -> tuple[int, int] | None:
        """Return the size of one part in bytes, and the number of parts; None where S3 names none.

        They may be those of a later version: not every S3 understands `If-Match` here.
        """
        ref = version.ref
        wanted: dict[str, Any] = {"VersionId": version.version_id} if version.version_id else {}

        def head(s3: "S3Client") -> tuple[int, int] | None:
            output = s3.head_object(Bucket=ref.bucket, Key=ref.key, PartNumber=number, **wanted)
            return _part(output)

        try:
            return self._call(ref, head)
        except TRANSIENT:
            raise
        except (ReplicationError, SourceAbsentError, SourceChangedError):
            return None

    def _require(self, version: SourceObject) -> None:
        """Raise SourceChangedError unless this very version can still be read."""
        ref = version.ref
        pinned = _pinned(version)
        try:
            self._call(ref, lambda s3: s3.head_object(Bucket=ref.bucket, Key=ref.key, **pinned))
        except SourceAbsentError:
            raise SourceChangedError from None

    def read(self, stream: "StreamingBody", buffer: memoryview, ref: SourceRef) -> int:
        """Read the next bytes of a stream, within the time that is left."""
        with translated(ref):
            left = self._deadline.require()
            if left < self._policy.io_timeout_s:
                stream.set_socket_timeout(left)
            return stream.readinto(buffer)  # type: ignore[arg-type] # any buffer will do

    def backoff(self) -> Backoff:
        """Return the waits between attempts to go on with a stream."""
        return Backoff(self._policy, self._deadline)

    def _with_tags(self, version: SourceObject) -> SourceObject:
        """Add the version's tags, which cost a request, where they are replicated.

        No response to HEAD or GET tells when tags change.
        """
        if not self._tags:
            return version
        ref = version.ref
        wanted: dict[str, Any] = {"VersionId": version.version_id} if version.version_id else {}
        try:
            output = self._call(
                ref, lambda s3: s3.get_object_tagging(Bucket=ref.bucket, Key=ref.key, **wanted)
            )
        except SourceAbsentError:
            return version  # the object was deleted meanwhile: the next look finds that out
        return replace(version, tags={tag["Key"]: tag["Value"] for tag in output["TagSet"]})

    def _call(self, ref: SourceRef, request: Callable[["S3Client"], T]) -> T:
        """Send a request and read its response; repeat both, because reading changes nothing."""

        def attempt() -> T:
            with translated(ref):
                return request(self._clients.client("s3", self._deadline))

        return retrying(attempt, self._policy, self._deadline)


def _pinned(version: SourceObject) -> dict[str, Any]:
    """Ask for nothing but these very bytes."""
    pinned = {"IfMatch": f'"{version.etag}"'}
    if version.version_id:
        pinned["VersionId"] = version.version_id
    return pinned


def _part(output: Mapping[str, Any]) -> tuple[int, int] | None:
    count = output.get("PartsCount")
    return None if count is None else (int(output["ContentLength"]), int(count))


def _is_range(output: Mapping[str, Any], span: Span, size: int) -> bool:
    """Whether a response holds the range that was requested, and says so."""
    return (
        output["ResponseMetadata"]["HTTPStatusCode"] == HTTPStatus.PARTIAL_CONTENT
        and output.get("ContentRange") == f"bytes {span.start}-{span.end - 1}/{size}"
    )


class S3Body:
    """The bytes of one version. A stream that breaks off is continued where it ended."""

    def __init__(
        self, source: S3Source, version: SourceObject, span: Span, stream: "StreamingBody"
    ) -> None:
        self._source = source
        self._span = span
        self._stream: StreamingBody | None = stream
        self._position = 0
        self.object = version

    def readinto(self, buffer: memoryview) -> int:
        """See `Body.readinto`."""
        wanted = min(len(buffer), self._span.size - self._position)
        count = 0
        backoff: Backoff | None = None
        while count < wanted:
            if self._stream is None:
                rest = Span(self._span.start + self._position, self._span.end)
                self._stream = self._source.resume(self.object, rest)
            try:
                received = (
                    self._source.read(self._stream, buffer[count:wanted], self.object.ref)
                    or self._ended_early()
                )
            except SourceUnavailableError as error:
                self._drop()
                backoff = backoff or self._source.backoff()
                backoff.failed(error)
                continue
            backoff = None  # the failures before this progress do not count
            count += received
            self._position += received
        return count

    def rewind(self, offset: int) -> None:
        """See `Body.rewind`."""
        if offset != self._position:
            self._drop()
            self._position = offset

    def close(self) -> None:
        """Give the connection back where it can be used again."""
        unread = self._span.size - self._position
        if self._stream is not None and 0 < unread <= DRAINED_BYTES:
            with suppress(ReplicationError):  # nobody needs these bytes
                self._source.read(self._stream, memoryview(bytearray(unread)), self.object.ref)
        self._drop()

    def _ended_early(self) -> int:
        raise SourceUnavailableError(
            f"The connection to S3 ended early while reading {self.object.ref.uri}. Try again."
        )

    def _drop(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
