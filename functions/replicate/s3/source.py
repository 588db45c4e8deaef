"""Implement the port `Source` with boto3. All bytes of an object are read from one version."""

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
from replicate.s3.errors import SourceAbsentError, translate_errors

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from types_boto3_s3 import S3Client

T = TypeVar("T")

DRAINED_BYTES = 64 * 1024
"""Largest rest of an unread body that `close` reads, so that the connection can be used again.

To read 64 KiB takes at most 0.2 ms of CPU: a whole copy takes 3 s for a GiB (docs/BENCHMARK.md). A
new connection costs more: it needs a TLS handshake and two round trips.
"""


class S3Source:
    """S3 as the source. Safe across threads. With `tags` it also reads the tags of each object."""

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
            # The response to HEAD has no body that names the error. The response to GET has one.
            with self.open(ref) as body:
                return body.object if body else None
        return self._with_tags(found) if self._tags else found

    @contextmanager
    def open(
        self, ref: SourceRef, version: SourceObject | None = None, span: Span | None = None
    ) -> Iterator["S3Body | None"]:
        """See `Source.open`."""

        def get(s3: "S3Client") -> S3Body:
            arguments = _conditions(version) if version else {}
            output = s3.get_object(Bucket=ref.bucket, Key=ref.key, **arguments)
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
            if version is None and self._tags:
                body.object = self._with_tags(body.object)
            yield body
        finally:
            body.close()

    def resume(self, version: SourceObject, span: Span) -> "StreamingBody":
        """Return a stream of a byte range of this version.

        Raise SourceChangedError when S3 no longer has the version.
        """
        ref = version.ref
        arguments = _conditions(version)
        is_whole = span == Span(0, version.size)
        if not is_whole:
            arguments["Range"] = f"bytes={span.start}-{span.end - 1}"

        def get(s3: "S3Client") -> "StreamingBody":
            output = s3.get_object(Bucket=ref.bucket, Key=ref.key, **arguments)
            if is_whole or _is_range(output, span, version.size):
                return output["Body"]
            output["Body"].close()
            raise SourceUnavailableError(
                f"S3 did not send the requested byte range of {ref.uri}. Try again."
            )

        try:
            return self._call(ref, get)
        except SourceAbsentError:
            raise SourceChangedError from None

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
        if None in found:  # S3 described the first part before
            raise SourceUnavailableError(
                f"S3 no longer describes the parts of {version.ref.uri}. Try again."
            )
        return found == [(size, layout.count) for size in sizes]

    def _part(self, version: SourceObject, number: int) -> tuple[int, int] | None:
        """Return the size of one part in bytes, and the number of parts. None if S3 does not tell.

        Without versioning the response may describe a later object: the request has no `If-Match`,
        because some implementations of S3 do not support it here. The response to a HEAD has no
        body that names an error, so a GET tells whether it may pass.
        """
        ref = version.ref
        part: Any = {
            "Bucket": ref.bucket,
            "Key": ref.key,
            "PartNumber": number,
            **_version_id(version),
        }

        def head(s3: "S3Client") -> tuple[int, int] | None:
            return _size_and_count(s3.head_object(**part))

        def get(s3: "S3Client") -> tuple[int, int] | None:
            output = s3.get_object(**part)
            output["Body"].close()
            return _size_and_count(output)

        for request in (head, get):
            try:
                return self._call(ref, request)
            except ReplicationError as error:
                if error.retryable:
                    raise
            except (SourceAbsentError, SourceChangedError):
                pass
        return None

    def _require(self, version: SourceObject) -> None:
        """Raise SourceChangedError unless S3 still has this version.

        The response to a HEAD has no body that names an error, so a GET tells whether it may pass.
        """
        ref = version.ref
        arguments = _conditions(version)
        try:
            self._call(ref, lambda s3: s3.head_object(Bucket=ref.bucket, Key=ref.key, **arguments))
        except SourceAbsentError:
            raise SourceChangedError from None
        except ReplicationError as error:
            if error.retryable:
                raise
            with self.open(ref, version) as body:
                if body is None:
                    raise SourceChangedError from None

    def read(self, stream: "StreamingBody", buffer: memoryview, ref: SourceRef) -> int:
        """Read up to `len(buffer)` bytes of a stream and return their number.

        Raise SourceUnavailableError when there are none: the stream ended early.
        """
        left = self._deadline.require()
        with translate_errors(ref):
            if left < self._policy.io_timeout_s:
                stream.set_socket_timeout(left)
            count = stream.readinto(buffer)  # type: ignore[arg-type] # it takes any buffer
        if not count:
            raise SourceUnavailableError(
                f"The connection to S3 ended early while reading {ref.uri}. Try again."
            )
        return count

    def backoff(self) -> Backoff:
        """Return a new `Backoff` for attempts to resume a stream."""
        return Backoff(self._policy, self._deadline)

    def _with_tags(self, version: SourceObject) -> SourceObject:
        """Add the tags, which need a request of their own.

        S3 does not change the ETag or the date of an object when its tags change.
        """
        ref = version.ref
        arguments = _version_id(version)
        try:
            output = self._call(
                ref, lambda s3: s3.get_object_tagging(Bucket=ref.bucket, Key=ref.key, **arguments)
            )
        except SourceAbsentError:
            return version  # it was deleted meanwhile: the protocol reads it again
        return replace(version, tags={tag["Key"]: tag["Value"] for tag in output["TagSet"]})

    def _call(self, ref: SourceRef, request: Callable[["S3Client"], T]) -> T:
        """Send a request and read its response. Retry both: a read has no side effects."""

        def attempt() -> T:
            with translate_errors(ref):
                return request(self._clients.client("s3", self._deadline))

        return retrying(attempt, self._policy, self._deadline)


def _conditions(version: SourceObject) -> dict[str, Any]:
    """Return the arguments of a request that only this version satisfies."""
    return {"IfMatch": f'"{version.etag}"', **_version_id(version)}


def _version_id(version: SourceObject) -> dict[str, Any]:
    return {"VersionId": version.version_id} if version.version_id else {}


def _size_and_count(output: Mapping[str, Any]) -> tuple[int, int] | None:
    count = output.get("PartsCount")
    return None if count is None else (int(output["ContentLength"]), int(count))


def _is_range(output: Mapping[str, Any], span: Span, size: int) -> bool:
    """Return whether a response is the requested range."""
    return (
        output["ResponseMetadata"]["HTTPStatusCode"] == HTTPStatus.PARTIAL_CONTENT
        and output.get("ContentRange") == f"bytes {span.start}-{span.end - 1}/{size}"
    )


class S3Body:
    """The bytes of one version, or a range of them. A broken stream is resumed where it ended."""

    def __init__(
        self, source: S3Source, version: SourceObject, span: Span, stream: "StreamingBody"
    ) -> None:
        self._source = source
        self._span = span
        self._size = span.end - span.start
        self._stream: StreamingBody | None = stream
        self._position = 0
        self.object = version

    def readinto(self, buffer: memoryview) -> int:
        """See `Body.readinto`."""
        size = min(len(buffer), self._size - self._position)
        count = 0
        backoff: Backoff | None = None
        while count < size:
            if self._stream is None:
                rest = Span(self._span.start + self._position, self._span.end)
                self._stream = self._source.resume(self.object, rest)
            try:
                received = self._source.read(self._stream, buffer[count:size], self.object.ref)
            except SourceUnavailableError as error:
                self._close_stream()
                backoff = backoff or self._source.backoff()
                backoff.failed(error)
                continue
            backoff = None  # failures before a success do not count
            count += received
            self._position += received
        return count

    def rewind(self, offset: int) -> None:
        """See `Body.rewind`."""
        if offset != self._position:
            self._close_stream()
            self._position = offset

    def close(self) -> None:
        """Close the stream. Read a short rest first, so that its connection can be used again."""
        unread = self._size - self._position
        if self._stream is not None and 0 < unread <= DRAINED_BYTES:
            with suppress(ReplicationError):  # these bytes are not needed
                self._source.read(self._stream, memoryview(bytearray(unread)), self.object.ref)
        self._close_stream()

    def _close_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
