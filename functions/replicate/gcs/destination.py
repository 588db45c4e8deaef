"""Implement the port `Destination` with google-cloud-storage. Each write has a precondition."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from google.api_core.exceptions import NotFound
from google.cloud.storage import Blob, Bucket

from replicate.errors import (
    ComponentGoneError,
    DestinationBucketNotFoundError,
    DestinationChangedError,
    DestinationForbiddenError,
    DestinationUnavailableError,
    IntegrityError,
    LostRaceError,
)
from replicate.gcs import bucket as buckets
from replicate.gcs import resource
from replicate.gcs.client import GcsClient
from replicate.gcs.compressed_upload import CompressedUpload
from replicate.gcs.errors import admit_request, translate_errors, translate_malformed
from replicate.gcs.resumable_upload import ResumableUpload
from replicate.gcs.streamed_upload import StreamedUpload
from replicate.protocol.checksums import combined_crc32c, encode_crc32c
from replicate.protocol.deadline import Deadline
from replicate.protocol.mapping import Naming
from replicate.protocol.model import Attributes, Precondition, Replica
from replicate.protocol.ports import GatedBody
from replicate.retry import RetryPolicy, retrying

T = TypeVar("T")
U = TypeVar("U", bound=ResumableUpload)

PATCH_DELAYS = 10
"""How many times longer the waits between attempts of a patch are: seconds.

A part is patched right after it was written, and GCS takes about one write a second of one name.
Source: "Cloud Storage quotas and limits".
"""

ONE_REQUEST_BYTES = 1024 * 1024
"""Largest object that is written by one request. Such a request holds the bytes three times.

Measured with ten objects of 8 MiB in one event: with a limit of 8 MiB the function used 403 MiB of
memory, and with this limit 118 MiB.
"""


class GcsDestination:
    """GCS as the destination. Safe across threads."""

    def __init__(
        self, client: GcsClient, naming: Naming, deadline: Deadline, policy: RetryPolicy
    ) -> None:
        self._client = client
        self._naming = naming
        self._root = naming.uri("")  # gs://bucket/
        self._deadline = deadline
        self._policy = policy
        self._has_no_obstacle = False

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
            written = self._write_at_once(name, attributes, body, precondition, storage_class)
        else:
            written, _ = self._upload(
                StreamedUpload, name, attributes, body, precondition, storage_class
            )
        if not body.is_stored_as(written.crc32c, written.size):
            raise self._other_bytes(written, body, "GCS stored other bytes than those sent for")
        return written

    def write_compressed(
        self,
        name: str,
        attributes: Attributes,
        body: GatedBody,
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> tuple[Replica, int]:
        """See `Destination.write_compressed`."""
        written, upload = self._upload(
            CompressedUpload, name, attributes, body, precondition, storage_class
        )
        if not body.is_stored_as(written.crc32c, written.size):
            raise self._other_bytes(
                written,
                body,
                "GCS made other bytes of the compressed ones of",
                " If the error stays, set CompressEgress (COMPRESS_EGRESS) to false.",
            )
        return written, upload.bytes_sent

    def _other_bytes(
        self, written: Replica, body: GatedBody, problem: str, remedy: str = ""
    ) -> IntegrityError:
        """Delete an object of other bytes than those that were sent. Return the error about it.

        If it stayed, the next run might find its provenance, and no checksum that both sides state.
        """
        self.delete(written.name, Precondition(written.generation))
        found, sent = (written.crc32c, written.size), (encode_crc32c(body.crc32c), body.size)
        return IntegrityError(
            f"{problem} {self._root}{written.name}: CRC32C and size {found} instead of {sent}. The"
            f" object was deleted. Try again.{remedy}"
        )

    def _upload(
        self,
        kind: type[U],
        name: str,
        attributes: Attributes,
        body: GatedBody,
        precondition: Precondition,
        storage_class: str | None,
    ) -> tuple[Replica, U]:
        """Write in a resumable session. Return the object, and the upload that has made it."""

        def open_session(blob: Blob, timeout: float) -> str:
            resource.describe(blob, attributes, storage_class)
            session_uri: str = blob.create_resumable_upload_session(
                size=body.size,
                checksum=None,
                timeout=timeout,
                retry=None,
                **_conditions(precondition),
            )
            return session_uri

        upload = kind(
            name=name,
            uri=self._root + name,
            attributes=attributes,
            body=body,
            open_session=lambda: self._call(name, open_session),
            http=self._client.uploads,
            circuit=self._client.circuit,
            deadline=self._deadline,
            policy=self._policy,
        )
        try:
            return upload.run(), upload
        except DestinationChangedError as lost_race:
            is_copy = _is_copy(attributes, encode_crc32c(body.crc32c))
            is_written = is_copy if upload.response_lost else None
            found = self._resolve_failed_precondition(name, lost_race, precondition, is_written)
            return found, upload

    def _write_at_once(
        self,
        name: str,
        attributes: Attributes,
        body: GatedBody,
        precondition: Precondition,
        storage_class: str | None,
    ) -> Replica:
        """Send metadata and bytes in one request. GCS compares the CRC32C before it commits."""
        data = _read_all(body)
        crc32c = encode_crc32c(body.crc32c)

        def upload(blob: Blob, timeout: float) -> Replica:
            conditions = _conditions(precondition)
            resource.describe(blob, attributes, storage_class)
            blob.crc32c = crc32c
            blob.upload_from_string(
                data,
                content_type=attributes.content_type,
                checksum=None,  # `blob.crc32c` has it already
                timeout=timeout,
                retry=None,
                **conditions,
            )
            return resource.replica(blob)

        return self._write_and_retry(name, upload, precondition, _is_copy(attributes, crc32c))

    def compose(
        self,
        name: str,
        attributes: Attributes,
        components: Sequence[Replica],
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        """See `Destination.compose`."""
        crc32c = combined_crc32c([(each.crc32c, each.size) for each in components])

        def join(blob: Blob, timeout: float) -> Replica:
            resource.describe(blob, attributes, storage_class)
            try:
                blob.compose(
                    [
                        blob.bucket.blob(each.name, generation=each.generation)
                        for each in components
                    ],
                    if_source_generation_match=[each.generation for each in components],
                    delete_source_objects=True,
                    timeout=timeout,
                    retry=None,
                    **_conditions(precondition),
                )
            except NotFound:  # another run composed or deleted it
                raise ComponentGoneError from None
            return resource.replica(blob)

        return self._write_and_retry(
            name,
            join,
            precondition,
            _is_copy(attributes, crc32c),
            components,
            is_quick=False,
        )

    def staging_obstacle(self) -> str | None:
        """See `Destination.staging_obstacle`. The bucket is read until there is no obstacle."""
        if self._has_no_obstacle:
            return None
        prefix = self._naming.staging
        obstacle = self._read_settings(
            lambda bucket, timeout: buckets.staging_obstacle(bucket, timeout, prefix)
        )
        self._has_no_obstacle = not obstacle
        return obstacle or None

    def bucket_settings(self) -> buckets.BucketSettings | None:
        """Describe the bucket; None if the credentials may not read its settings."""
        return self._read_settings(buckets.settings)

    def list_prefix(self, prefix: str) -> Iterable[Replica]:
        """See `Destination.list_prefix`."""

        def list_blobs(bucket: Bucket, timeout: float) -> Sequence[Replica]:
            with translate_malformed():
                found = bucket.list_blobs(prefix=prefix, timeout=timeout, retry=None)
                return [resource.replica(blob) for blob in found]

        return retrying(
            lambda: self._with_bucket(self._root + prefix, list_blobs, is_quick=False),
            self._policy,
            self._deadline,
        )

    def patch(self, name: str, attributes: Attributes, current: Replica) -> Replica:
        """See `Destination.patch`."""
        precondition = Precondition.unchanged(current)

        def patch(blob: Blob, timeout: float) -> Replica:
            resource.change(blob, attributes, current.attributes)
            blob.patch(timeout=timeout, retry=None, **_conditions(precondition))
            return resource.replica(blob)

        try:
            return self._write_and_retry(
                name,
                patch,
                precondition,
                lambda found: (
                    found.attributes == attributes and found.generation == current.generation
                ),
                policy=replace(
                    self._policy, first_delay_s=self._policy.first_delay_s * PATCH_DELAYS
                ),
            )
        except DestinationBucketNotFoundError:
            # A 404 may also mean that the object is gone. The protocol reads it again.
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
        except DestinationChangedError as lost_race:
            self._resolve_failed_precondition(name, lost_race, precondition, None)

    def granted(self, permissions: Sequence[str]) -> Sequence[str]:
        """Return those of the given permissions that the credentials have on the bucket."""

        def test_permissions(bucket: Bucket, timeout: float) -> Sequence[str]:
            asked = list(permissions)
            with translate_malformed():
                return list(bucket.test_iam_permissions(asked, timeout=timeout, retry=None))

        return retrying(
            lambda: self._with_bucket(self._root, test_permissions), self._policy, self._deadline
        )

    def read(self, name: str) -> bytes:
        """Return all bytes of an object, as they are stored. They are held in memory."""

        def download(blob: Blob, timeout: float) -> bytes:
            with translate_malformed():
                return bytes(
                    blob.download_as_bytes(
                        raw_download=True, checksum=None, timeout=timeout, retry=None
                    )
                )

        return retrying(
            lambda: self._call(name, download, is_quick=False), self._policy, self._deadline
        )

    def _write_and_retry(
        self,
        name: str,
        write: Callable[[Blob, float], Replica],
        precondition: Precondition,
        is_written: Callable[[Replica], bool],
        components: Sequence[Replica] = (),
        *,
        policy: RetryPolicy | None = None,
        is_quick: bool = True,
    ) -> Replica:
        """Send a write until a response arrives. Its precondition lets it take effect only once.

        If a response was lost, the write itself may be why the precondition fails afterwards.
        `is_written` returns whether an object is the result of the write.
        """
        response_lost = False

        def attempt() -> Replica:
            nonlocal response_lost
            try:
                return self._call(name, write, is_quick=is_quick)
            except DestinationUnavailableError:
                response_lost = True
                raise
            except (DestinationChangedError, ComponentGoneError) as lost_race:
                return self._resolve_failed_precondition(
                    name, lost_race, precondition, is_written if response_lost else None, components
                )

        return retrying(attempt, policy or self._policy, self._deadline)

    def _resolve_failed_precondition(
        self,
        name: str,
        lost_race: LostRaceError,
        precondition: Precondition,
        is_written: Callable[[Replica], bool] | None,
        components: Sequence[Replica] = (),
    ) -> Replica:
        """Read the object again after a failed precondition, and return it if the write made it.

        `is_written` is None if no response was lost. Raise DestinationForbiddenError if the
        object still satisfies the precondition and the `components` of a compose are unchanged: GCS
        never uses a generation twice, so nothing changed meanwhile and a policy refused the write.
        Raise `lost_race` in all other cases.
        """
        if is_written is None and not precondition.generation:
            raise lost_race  # an absent object proves nothing: the protocol reads again
        found = self.head(name)
        if found is None:
            raise lost_race
        if is_written is not None and is_written(found):
            return found
        if _holds(precondition, found) and all(self._is_unchanged(each) for each in components):
            raise DestinationForbiddenError(
                f"GCS refuses to write {self._root}{name}, although it has not changed:"
                f" {lost_race.message or 'it does not say why.'}"
                " Look for a policy on the bucket, project or organization."
            )
        raise lost_race

    def _is_unchanged(self, component: Replica) -> bool:
        """Return whether a component still has the generation that the compose named."""
        found = self.head(component.name)
        return found is not None and found.generation == component.generation

    def _call(self, name: str, request: Callable[[Blob, float], T], *, is_quick: bool = True) -> T:
        """Send one request about an object and read its response."""
        return self._with_bucket(
            self._root + name,
            lambda bucket, timeout: request(bucket.blob(name), timeout),
            is_quick=is_quick,
        )

    def _read_settings(self, read: Callable[[Bucket, float], T]) -> T:
        """Read settings of the bucket, and repeat the requests after a transient failure."""

        def attempt() -> T:
            name = self._naming.bucket
            with (
                admit_request(self._client.circuit, self._deadline) as timeout,
                translate_errors(self._root),
                self._client.bucket_to_read(name) as bucket,
                translate_malformed(),
            ):
                return read(bucket, timeout)

        return retrying(attempt, self._policy, self._deadline)

    def _with_bucket(
        self, uri: str, request: Callable[[Bucket, float], T], *, is_quick: bool = True
    ) -> T:
        at_least_s = 0.0 if is_quick else self._policy.io_timeout_s
        with (
            admit_request(self._client.circuit, self._deadline, at_least_s=at_least_s) as timeout,
            translate_errors(uri),
        ):
            return request(self._client.bucket(self._naming.bucket), timeout)


def _conditions(precondition: Precondition) -> dict[str, Any]:
    return {
        "if_generation_match": precondition.generation,
        "if_metageneration_match": precondition.metageneration,
    }


def _holds(precondition: Precondition, found: Replica) -> bool:
    """Return whether an object satisfies a precondition that has a generation."""
    return found.generation == precondition.generation and precondition.metageneration in {
        None,
        found.metageneration,
    }


def _is_copy(attributes: Attributes, crc32c: str) -> Callable[[Replica], bool]:
    """Return a function that tells whether an object has these attributes and bytes."""
    return lambda found: found.attributes == attributes and found.crc32c == crc32c


def _read_all(body: GatedBody) -> bytes:
    """Read and verify all bytes. Raise IntegrityError if they do not match their checksum."""
    data = bytearray(body.size)
    body.readinto(memoryview(data))
    body.verify()
    return bytes(data)
