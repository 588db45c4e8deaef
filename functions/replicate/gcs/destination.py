"""The destination: objects in GCS, each write under a precondition."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from google.api_core.exceptions import NotFound
from google.cloud.storage import Blob, Bucket

from replicate.errors import (
    DestinationBucketNotFoundError,
    DestinationChangedError,
    DestinationForbiddenError,
    DestinationUnavailableError,
)
from replicate.gcs import resource
from replicate.gcs.client import GcsClient
from replicate.gcs.errors import MALFORMED, malformed, translated
from replicate.gcs.resumable_upload import ResumableUpload
from replicate.protocol.checksums import combined_crc32c, encode_crc32c
from replicate.protocol.deadline import Deadline
from replicate.protocol.mapping import Naming
from replicate.protocol.model import Attributes, Precondition, Replica
from replicate.protocol.ports import GatedBody
from replicate.retry import RetryPolicy, retrying

T = TypeVar("T")

ONE_REQUEST_BYTES = 1024 * 1024
"""Up to this size an object is written by one request, which holds it in memory three times: ten
objects of 8 MiB at a time took 403 MiB, with this limit 118."""


class GcsDestination:
    """GCS as the protocol's destination, for one invocation."""

    def __init__(
        self, client: GcsClient, naming: Naming, deadline: Deadline, policy: RetryPolicy
    ) -> None:
        self._client = client
        self._naming = naming
        self._deadline = deadline
        self._policy = policy

    def head(self, name: str) -> Replica | None:
        """See `Destination.head`."""

        def reload(blob: Blob, timeout: float) -> Replica | None:
            try:
                blob.reload(timeout=timeout, retry=None)
            except NotFound:
                return None
            return resource.replica(blob)

        return retrying(lambda: self._call(name, reload), self._policy, self._deadline)

    def write(
        self,
        name: str,
        attributes: Attributes,
        body: GatedBody,
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        """See `Destination.write`."""
        if body.size <= ONE_REQUEST_BYTES:
            return self._write_at_once(name, attributes, body, precondition, storage_class)

        def open_session(blob: Blob, timeout: float) -> str:
            resource.describe(blob, attributes, storage_class)
            address: str = blob.create_resumable_upload_session(
                size=body.size,
                checksum=None,
                timeout=timeout,
                retry=None,
                **_conditions(precondition),
            )
            return address

        upload = ResumableUpload(
            name=name,
            uri=self._naming.uri(name),
            attributes=attributes,
            body=body,
            open_session=lambda: self._call(name, open_session),
            http=self._client.uploads,
            deadline=self._deadline,
            policy=self._policy,
        )
        try:
            return upload.run()
        except DestinationChangedError as lost:
            ours = _is_copy(attributes, body) if upload.response_lost else None
            return self._explain(name, lost, precondition, ours)

    def _write_at_once(
        self,
        name: str,
        attributes: Attributes,
        body: GatedBody,
        precondition: Precondition,
        storage_class: str | None,
    ) -> Replica:
        """Send metadata and bytes in one request: GCS checks the CRC32C before it shows them."""
        data = _read_all(body)

        def upload(blob: Blob, timeout: float) -> Replica:
            resource.describe(blob, attributes, storage_class)
            blob.crc32c = encode_crc32c(body.crc32c)
            blob.upload_from_string(
                data,
                content_type=attributes.content_type,
                checksum=None,  # ours is set already, from the bytes as they streamed
                timeout=timeout,
                retry=None,
                **_conditions(precondition),
            )
            return resource.replica(blob)

        return self._change(name, upload, precondition, _is_copy(attributes, body))

    def compose(
        self,
        name: str,
        attributes: Attributes,
        sources: Sequence[Replica],
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        """See `Destination.compose`."""
        crc32c = combined_crc32c([(source.crc32c, source.size) for source in sources])

        def join(blob: Blob, timeout: float) -> Replica:
            resource.describe(blob, attributes, storage_class)
            try:
                blob.compose(
                    [blob.bucket.blob(each.name, generation=each.generation) for each in sources],
                    if_source_generation_match=[each.generation for each in sources],
                    delete_source_objects=True,
                    timeout=timeout,
                    retry=None,
                    **_conditions(precondition),
                )
            except NotFound:  # a source is gone: another run composed or deleted it
                raise DestinationChangedError from None
            return resource.replica(blob)

        return self._change(
            name,
            join,
            precondition,
            lambda found: found.attributes == attributes and found.crc32c == crc32c,
            sources,
        )

    def list_prefix(self, prefix: str) -> Iterable[Replica]:
        """See `Destination.list_prefix`."""

        def ask(bucket: Bucket, timeout: float) -> Sequence[Replica]:
            found = bucket.list_blobs(prefix=prefix, timeout=timeout, retry=None)
            return [resource.replica(blob) for blob in found]

        uri = self._naming.uri(prefix)
        return retrying(lambda: self._with_bucket(uri, ask), self._policy, self._deadline)

    def patch(self, name: str, attributes: Attributes, current: Replica) -> Replica:
        """See `Destination.patch`."""
        precondition = Precondition.unchanged(current)

        def patch(blob: Blob, timeout: float) -> Replica:
            resource.change(blob, attributes, current.attributes)
            blob.patch(timeout=timeout, retry=None, **_conditions(precondition))
            return resource.replica(blob)

        try:
            return self._change(
                name,
                patch,
                precondition,
                lambda found: (
                    found.attributes == attributes and found.generation == current.generation
                ),
            )
        except DestinationBucketNotFoundError:  # or the object is gone: the next look finds out
            raise DestinationChangedError from None

    def delete(self, name: str, precondition: Precondition) -> None:
        """See `Destination.delete`."""

        def delete(blob: Blob, timeout: float) -> None:
            try:
                blob.delete(timeout=timeout, retry=None, **_conditions(precondition))
            except NotFound:
                return

        try:
            retrying(lambda: self._call(name, delete), self._policy, self._deadline)
        except DestinationChangedError as lost:
            self._explain(name, lost, precondition, None)

    def granted(self, permissions: Sequence[str]) -> Sequence[str]:
        """Return those of the permissions on the bucket that the credentials have."""

        def ask(bucket: Bucket, timeout: float) -> Sequence[str]:
            try:
                return list(
                    bucket.test_iam_permissions(list(permissions), timeout=timeout, retry=None)
                )
            except MALFORMED as error:
                raise malformed(error) from error

        uri = self._naming.uri("")
        return retrying(lambda: self._with_bucket(uri, ask), self._policy, self._deadline)

    def _change(
        self,
        name: str,
        change: Callable[[Blob, float], Replica],
        precondition: Precondition,
        is_ours: Callable[[Replica], bool],
        sources: Sequence[Replica] = (),
    ) -> Replica:
        """Send a change under a precondition until it is answered: it takes effect once at most.

        After a lost response, a failed precondition may be the change's own success.
        """
        response_lost = False

        def attempt() -> Replica:
            nonlocal response_lost
            try:
                return self._call(name, change)
            except DestinationUnavailableError:
                response_lost = True
                raise
            except DestinationChangedError as lost:
                ours = is_ours if response_lost else None
                return self._explain(name, lost, precondition, ours, sources)

        return retrying(attempt, self._policy, self._deadline)

    def _explain(
        self,
        name: str,
        lost: DestinationChangedError,
        precondition: Precondition,
        is_ours: Callable[[Replica], bool] | None,
        sources: Sequence[Replica] = (),
    ) -> Replica:
        """Read the object again after a failed precondition, and return it if it is what we wrote.

        `is_ours` is None when no response was lost. Raises DestinationForbiddenError when it is
        still the object that the precondition names: generations are never used again, so it never
        was another one. Raises `lost` in all other cases.
        """
        if is_ours is None and not precondition.generation:
            raise lost  # no object at all proves nothing: the protocol asks again
        found = self.head(name)
        if found is None:
            raise lost
        if is_ours is not None and is_ours(found):
            return found
        if _holds(precondition, found) and all(self._is_unchanged(each) for each in sources):
            raise DestinationForbiddenError(
                f"GCS refuses {self._naming.uri(name)}, although it has not changed:"
                f" {lost.message or 'it does not say why.'}"
                " Look for a policy on the bucket, project or organization."
            )
        raise lost

    def _is_unchanged(self, source: Replica) -> bool:
        """Whether a source of a compose is still at the generation that it was pinned to."""
        found = self.head(source.name)
        return found is not None and found.generation == source.generation

    def _call(self, name: str, request: Callable[[Blob, float], T]) -> T:
        """Send one request about an object and read its response."""
        return self._with_bucket(
            self._naming.uri(name), lambda bucket, timeout: request(bucket.blob(name), timeout)
        )

    def _with_bucket(self, uri: str, request: Callable[[Bucket, float], T]) -> T:
        timeout = self._deadline.limit(self._policy.io_timeout_s)
        with translated(uri), self._client.credentials.within(self._deadline):
            return request(self._client.bucket(self._naming.bucket), timeout)


def _conditions(precondition: Precondition) -> dict[str, Any]:
    return {
        "if_generation_match": precondition.generation,
        "if_metageneration_match": precondition.metageneration,
    }


def _holds(precondition: Precondition, found: Replica) -> bool:
    """Tell whether a precondition with a generation holds for the object."""
    return found.generation == precondition.generation and precondition.metageneration in {
        None,
        found.metageneration,
    }


def _is_copy(attributes: Attributes, body: GatedBody) -> Callable[[Replica], bool]:
    """Tell whether an object is the copy that is being written."""
    return lambda found: (
        found.attributes == attributes and found.crc32c == encode_crc32c(body.crc32c)
    )


def _read_all(body: GatedBody) -> bytes:
    """Read and check the whole of a small object. Raises IntegrityError."""
    data = bytearray(body.size)
    body.readinto(memoryview(data))
    body.verify()
    return bytes(data)
