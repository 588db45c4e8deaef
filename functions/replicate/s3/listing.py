"""Implement the port `SourceListing` with boto3's paginator."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from replicate.aws_clients import AwsClients
from replicate.errors import SourceForbiddenError
from replicate.protocol.deadline import Deadline
from replicate.protocol.model import SourceRef
from replicate.reconcile import paging
from replicate.reconcile.ports import Pages
from replicate.reconcile.rows import SourceRow
from replicate.retry import Backoff, RetryPolicy, retrying
from replicate.s3.errors import translate_errors

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_ROOT = "ListBucketResult"
_ROWS = "Rows"


class S3Listing:
    """Listings of S3 buckets."""

    def __init__(self, clients: AwsClients, deadline: Deadline, policy: RetryPolicy) -> None:
        self._clients = clients
        self._deadline = deadline
        self._policy = policy

    def pages(
        self, bucket: str, prefix: str, after: str, to: str | None = None
    ) -> Pages[SourceRow]:
        """See `SourceListing.pages`."""
        backoff = Backoff(self._policy, self._deadline)
        return paging.pages(partial(self._listed, bucket, prefix), after, to, backoff)

    def first(self, bucket: str, prefix: str, after: str) -> str | None:
        """See `SourceListing.first`."""

        def first() -> str | None:
            with _translate(bucket):
                page = self._client().list_objects_v2(
                    Bucket=bucket, Prefix=prefix, MaxKeys=1, **_after(after)
                )
                rows = rows_of(page)
            return rows[0].key if rows else None

        return retrying(first, self._policy, self._deadline)

    def _listed(self, bucket: str, prefix: str, after: str) -> Iterator[Sequence[SourceRow]]:
        pages = iter(
            self._client()
            .get_paginator("list_objects_v2")
            .paginate(Bucket=bucket, Prefix=prefix, **_after(after))
        )
        while True:
            self._deadline.require()
            with _translate(bucket):
                page = next(pages, None)
                if page is None:
                    return
                rows = rows_of(page)
            yield rows

    def _client(self) -> "S3Client":
        client = self._clients.client("s3", self._deadline)
        # With `*` it comes before botocore's handler, which would parse the page once more.
        client.meta.events.register("before-parse.*.ListObjectsV2", _parse, unique_id=__name__)
        return client


def _after(key: str) -> Any:  # noqa: ANN401 - boto3's types allow no mapping
    return {"StartAfter": key} if key else {}


@contextmanager
def _translate(bucket: str) -> Iterator[None]:
    """Translate errors of a listing. A refusal names the missing permission."""
    try:
        with translate_errors(SourceRef(bucket, "")):
            yield
    except SourceForbiddenError as error:
        raise SourceForbiddenError(
            f"S3 denied the listing of s3://{bucket}. Allow the function's role s3:ListBucket on"
            " the bucket.",
            request_id=error.request_id,
        ) from error


def _parse(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object
) -> None:
    """Parse a page in place of botocore, which takes ten times the CPU for it.

    botocore parses everything else: errors, and what is no listing, which `rows_of` refuses.
    """
    if response_dict["status_code"] == HTTPStatus.OK and (page := read_page(response_dict["body"])):
        customized_response_dict.update(page)
        response_dict["body"] = b""


def read_page(text: bytes) -> dict[str, Any] | None:
    """Return the rows of a page, and what the paginator needs. None if the text is no page."""
    try:
        root = ET.fromstring(text)  # noqa: S314 - from S3; botocore does the same
    except ET.ParseError:
        return None
    namespace = root.tag.removesuffix(_ROOT)
    if namespace == root.tag:
        return None
    found = {
        _ROWS: _rows(root, namespace),
        "IsTruncated": root.findtext(f"{namespace}IsTruncated") == "true",
    }
    if token := root.findtext(f"{namespace}NextContinuationToken"):
        found["NextContinuationToken"] = token
    return found


def _rows(root: ET.Element, namespace: str) -> list[SourceRow]:
    is_encoded = root.findtext(f"{namespace}EncodingType") == "url"
    key, etag, size, modified, storage_class = (
        namespace + name for name in ("Key", "ETag", "Size", "LastModified", "StorageClass")
    )
    rows = []
    for described in root.iter(f"{namespace}Contents"):
        fields: dict[str, Any] = {field.tag: field.text for field in described}
        rows.append(
            SourceRow(
                unquote_plus(fields[key]) if is_encoded else fields[key],
                fields[etag].strip('"'),
                int(fields[size]),
                f"{fields[modified][:19]}Z",
                fields.get(storage_class) or "STANDARD",
            )
        )
    return rows


def rows_of(page: Mapping[str, Any]) -> Sequence[SourceRow]:
    """Return the rows of a page that `read_page` has read. Raise ValueError if it is no page.

    botocore takes any other document for an empty page, and then every replica has no source.
    """
    if _ROWS not in page:
        raise ValueError("a success without a listing")
    rows: Sequence[SourceRow] = page[_ROWS]
    return rows
