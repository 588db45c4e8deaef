"""Implement the port `ReplicaListing` with google-cloud-storage."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from replicate.errors import DestinationForbiddenError
from replicate.gcs.client import GcsClient
from replicate.gcs.errors import translate_errors, translate_malformed
from replicate.protocol.deadline import Deadline
from replicate.protocol.mapping import Naming
from replicate.reconcile import paging
from replicate.reconcile.ports import Pages
from replicate.reconcile.rows import ReplicaRow
from replicate.retry import Backoff, RetryPolicy

_FIELDS = "items(name,size,md5Hash,generation,updated,metadata),nextPageToken"


class GcsListing:
    """The listing of the bucket."""

    def __init__(
        self, client: GcsClient, naming: Naming, deadline: Deadline, policy: RetryPolicy
    ) -> None:
        self._client = client
        self._naming = naming
        self._deadline = deadline
        self._policy = policy

    def pages(self, prefix: str, after: str, to: str | None = None) -> Pages[ReplicaRow]:
        """See `ReplicaListing.pages`."""
        backoff = Backoff(self._policy, self._deadline)
        return paging.pages(partial(self._listed, prefix), after, to, backoff)

    def _listed(self, prefix: str, start: str) -> Iterator[Sequence[ReplicaRow]]:
        """Yield the pages of the names from `start` on.

        A page is read as it came: a `Blob` for each row takes twice the CPU of everything else.
        """
        pages = None
        while True:
            timeout = self._deadline.limit(self._policy.io_timeout_s)
            with self._requesting():
                if pages is None:
                    pages = (
                        self._client.bucket(self._naming.bucket)
                        .list_blobs(
                            prefix=self._naming.prefix + prefix or None,
                            start_offset=self._naming.prefix + start or None,
                            projection="noAcl",
                            fields=_FIELDS,
                            timeout=timeout,
                            retry=None,
                        )
                        .pages
                    )
                with translate_malformed():
                    page = next(pages, None)
                    if page is None:
                        return
                    rows = self._rows(page.raw_page.get("items", ()))
            yield rows

    def _rows(self, items: Sequence[Mapping[str, Any]]) -> list[ReplicaRow]:
        start = len(self._naming.prefix)
        return [
            ReplicaRow(
                item["name"][start:],
                int(item["size"]),
                item["generation"],
                item["updated"],
                item.get("metadata") or {},
                item.get("md5Hash"),
            )
            for item in items
        ]

    @contextmanager
    def _requesting(self) -> Iterator[None]:
        """Translate errors of a listing. A refusal names the missing permission."""
        uri = self._naming.uri("")
        try:
            with translate_errors(uri):
                yield
        except DestinationForbiddenError as error:
            raise DestinationForbiddenError(
                f"GCS denied the listing of {uri}. Grant the credentials storage.objects.list on"
                " the bucket.",
                request_id=error.request_id,
            ) from error
