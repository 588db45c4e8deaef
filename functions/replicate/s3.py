"""The source: objects in S3, each read at one version."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus

from replicate.connections import BrokenConnectionError, Response
from replicate.deadline import Deadline
from replicate.errors import SourceChangedError, SourceUnavailableError
from replicate.objects import Parts, SourceObject, SourceRef
from replicate.retry import Patience, may_pass, retrying
from replicate.s3_answers import broken, describe, error_code, part, refuse, tags
from replicate.s3_client import S3Client, query


class S3Source:
    """S3 as the protocol's source, for one invocation."""

    def __init__(self, client: S3Client, deadline: Deadline, *, tags: bool = False) -> None:
        self._client = client
        self._tags = tags
        self.deadline = deadline

    def head(self, ref: SourceRef) -> SourceObject | None:
        with self._ask("HEAD", ref) as response:
            if response.status == HTTPStatus.OK:
                return self._described(ref, response)
        # An answer to HEAD has no body and so no reason; the answer to a GET has.
        with self.open(ref) as body:
            return body.object if body else None

    @contextmanager
    def open(
        self, ref: SourceRef, version: SourceObject | None = None
    ) -> Iterator["S3Body | None"]:
        response = self._get(ref, version)
        if response is None:
            if version is not None:
                raise SourceChangedError
            yield None
            return
        with response:
            body = S3Body(self, version or self._described(ref, response), response)
            try:
                yield body
            finally:
                body.close()

    def _described(self, ref: SourceRef, response: Response) -> SourceObject:
        """What an answer's headers say of the object; and its tags, which cost a request."""
        source = describe(ref, response.headers)
        return replace(source, tags=self._read_tags(source)) if self._tags else source

    def _read_tags(self, source: SourceObject) -> dict[str, str]:
        """Tags of this version. They change without a trace in what a HEAD or GET tells."""
        asked = query({"tagging": "", "versionId": source.version_id})
        with self._ask("GET", source.ref, query=asked) as response:
            if response.status == HTTPStatus.OK:
                return tags(source.ref, response)
            code = error_code(response)
            if response.status == HTTPStatus.NOT_FOUND and code != "NoSuchBucket":
                return {}  # gone meanwhile, as the next look will find
            refuse(source.ref, response, code)

    def resume(self, version: SourceObject, offset: int) -> Response:
        """The rest of exactly this version. Raises SourceChangedError."""
        response = self._get(version.ref, version, offset)
        if response is None:
            raise SourceChangedError
        rest = f"bytes {offset}-{version.size - 1}/{version.size}"
        if response.status == HTTPStatus.OK if not offset else _is(rest, response):
            return response
        response.close()
        raise SourceUnavailableError(
            f"S3 ignored that only a part of {version.ref.uri} was asked for. Try again."
        )

    def part(self, version: SourceObject, number: int) -> tuple[int, int] | None:
        """The size of one part, and how many there are; None where S3 does not say.

        Perhaps of a later version: not every S3 understands `If-Match` here.
        """
        asked = query({"partNumber": str(number), "versionId": version.version_id})
        with self._ask("HEAD", version.ref, query=asked) as response:
            if response.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
                return None
            return part(version.ref, response.headers)

    def require(self, version: SourceObject) -> None:
        """Raises SourceChangedError, unless this very version can still be read."""
        asked = query({"versionId": version.version_id})
        with self._ask("HEAD", version.ref, _same(version), asked) as response:
            if response.status in {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.NOT_FOUND}:
                raise SourceChangedError
            if response.status != HTTPStatus.OK:
                refuse(version.ref, response, "")

    def _get(
        self, ref: SourceRef, version: SourceObject | None = None, offset: int = 0
    ) -> Response | None:
        """Ask for an object's bytes; None when there is no object. Raises SourceChangedError."""
        headers = _same(version) if version else {}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        response = self._ask(
            "GET", ref, headers, query({"versionId": version.version_id if version else None})
        )
        if response.status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            return response
        with response:
            if response.status == HTTPStatus.PRECONDITION_FAILED:
                raise SourceChangedError
            code = error_code(response)
            if response.status == HTTPStatus.NOT_FOUND and code != "NoSuchBucket":
                return None
            refuse(ref, response, code)

    def _ask(
        self,
        method: str,
        ref: SourceRef,
        headers: Mapping[str, str] | None = None,
        query: str = "",
    ) -> Response:
        """Send one request; again when that may help, because reading changes nothing."""
        headers = {"x-amz-checksum-mode": "ENABLED", **(headers or {})}

        def attempt() -> Response:
            try:
                response = self._client.request(method, ref, headers, self.deadline, query)
            except BrokenConnectionError as error:
                raise broken(ref, error) from error
            if may_pass(response.status):
                with response:
                    refuse(ref, response, error_code(response))
            return response

        return retrying(attempt, self.deadline)


def _same(version: SourceObject) -> dict[str, str]:
    """Ask for nothing but these very bytes."""
    return {"If-Match": f'"{version.etag}"'}


def _is(wanted: str, response: Response) -> bool:
    """Whether an answer has the range that was asked for, and says so."""
    found = response.headers.get("Content-Range")
    return response.status == HTTPStatus.PARTIAL_CONTENT and found == wanted


class S3Body:
    """The bytes of one version. A stream that breaks off is continued where it ended."""

    def __init__(self, source: S3Source, version: SourceObject, response: Response) -> None:
        self._source = source
        self._response: Response | None = response
        self._position = 0
        self.object = version

    def readinto(self, buffer: memoryview) -> int:
        wanted = min(len(buffer), self.object.size - self._position)
        count = 0
        patience = Patience(self._source.deadline)
        while count < wanted:
            if self._response is None:
                self._response = self._source.resume(self.object, self._position)
            try:
                got = self._response.readinto(buffer[count:wanted])
            except BrokenConnectionError as error:
                self.close()
                patience.failed(broken(self.object.ref, error))
                continue
            if got:
                patience.progressed()
            else:
                self.close()
                patience.failed(broken(self.object.ref, "it ended early"))
            count += got
            self._position += got
        return count

    def parts(self) -> Parts | None:
        first = self._source.part(self.object, 1)
        return Parts(count=first[1], size=first[0]) if first else None

    def is_cut_like(self, parts: Parts) -> bool:
        last = self.object.size - (parts.count - 1) * parts.size
        sizes = [parts.size] * (parts.count - 1) + [last]
        found = [self._source.part(self.object, number) for number in range(1, parts.count + 1)]
        self._source.require(self.object)
        if None in found:  # it did say so of the first, before
            raise SourceUnavailableError(
                f"S3 no longer says how {self.object.ref.uri} is cut into parts. Try again."
            )
        return found == [(size, parts.count) for size in sizes]

    def rewind(self, offset: int) -> None:
        if offset != self._position:
            self.close()
            self._position = offset

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None
