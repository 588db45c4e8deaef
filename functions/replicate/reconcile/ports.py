"""The ports of a reconcile. `s3`, `gcs` and `sqs` implement them; tests have fakes in memory."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from replicate.errors import ReplicationError
from replicate.protocol.model import SourceRef
from replicate.reconcile.rows import ReplicaRow, SourceRow

Row = TypeVar("Row")
Pages: TypeAlias = Generator[Sequence[Row], None, None]
"""Pages of a listing. Closing it stops the reading ahead."""


class SourceListing(Protocol):
    """The listing of an S3 bucket, in the byte order of keys."""

    def pages(
        self, bucket: str, prefix: str, after: str, to: str | None = None
    ) -> Pages[SourceRow]:
        """Yield the pages of the keys that begin with `prefix` and are greater than `after`.

        Pages after one that reaches `to` are not read.

        Raise SourceForbiddenError, SourceBucketNotFoundError.
        """

    def first(self, bucket: str, prefix: str, after: str) -> str | None:
        """Return the first of these keys; None if there is none."""


class ReplicaListing(Protocol):
    """The listing of the GCS bucket, in the byte order of names."""

    def pages(self, prefix: str, after: str, to: str | None = None) -> Pages[ReplicaRow]:
        """Yield the pages of the replicas whose keys begin with `prefix` and are after `after`.

        Pages after one that reaches `to` are not read.

        Raise DestinationForbiddenError, DestinationBucketNotFoundError.
        """


class Reports(Protocol):
    """The bucket that holds the state and the reports of runs."""

    @property
    def bucket(self) -> str:
        """Its name."""

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file; None if there is none."""

    def write(self, name: str, data: bytes, content_type: str) -> None:
        """Write a file. It replaces one of the same name."""

    def write_stream(self, name: str, chunks: Iterable[bytes], content_type: str) -> None:
        """Write a file of any size in constant memory."""


class Nominations(Protocol):
    """The event queue."""

    def send(self, refs: Sequence[SourceRef]) -> None:
        """Store one event for each key, which may have changed. Some may be stored twice."""


class Journal(Protocol):
    """The log and the metrics."""

    def failed_without_object(self, error: ReplicationError) -> None:
        """Record the failure of a step."""

    def stepped(self, step: str, result: Mapping[str, Any]) -> None:
        """Record the end of a step."""

    def reconciled(self, counts: Mapping[str, int], repeated: int | None) -> None:
        """Record a complete run.

        `repeated` are the differences of a report, if the report before it found some, too.
        """
