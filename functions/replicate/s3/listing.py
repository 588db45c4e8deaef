"""Implement the port `SourceListing` with boto3's paginator."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus
from xml.sax.saxutils import unescape

from replicate.aws_clients import AwsClients
from replicate.errors import SourceForbiddenError
from replicate.parallel import read_ahead
from replicate.protocol.deadline import Deadline
from replicate.protocol.model import SourceRef
from replicate.reconcile.ports import Pages
from replicate.reconcile.rows import SourceRow
from replicate.retry import TRANSIENT, Backoff, RetryPolicy, retrying
from replicate.s3.errors import translate_errors

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_ROWS = "Rows"
_IS_LISTING = re.compile(r"(<\?xml[^>]*>)?\s*<ListBucketResult\b")
_UNUSUAL = re.compile(r"&#|<!")
_FIELD = re.compile(r"<(\w+)>([^<]*)</\1>")
_QUOTES = {"&quot;": '"', "&apos;": "'"}


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
        return read_ahead(self._pages(bucket, prefix, after, to))

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

    def _pages(self, bucket: str, prefix: str, after: str, to: str | None) -> Pages[SourceRow]:
        """Yield the pages. After a failure, list on after the last key."""
        backoff = Backoff(self._policy, self._deadline)
        while True:
            try:
                for rows in self._listed(bucket, prefix, after):
                    backoff.progressed()
                    if rows:
                        after = rows[-1].key
                        yield rows
                        if to is not None and after >= to:
                            return
            except TRANSIENT as error:
                backoff.failed(error)
            else:
                return

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
    """Translate errors of a listing. A refusal names the missing right."""
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
    """Read a page in place of botocore, which takes six times the CPU for it.

    What is unusual is left to botocore: errors, and text with comments or character references.
    """
    if response_dict["status_code"] == HTTPStatus.OK:
        page = read_page(response_dict["body"].decode(errors="replace"))
        if page is not None:
            customized_response_dict.update(page)
            response_dict["body"] = b""


def read_page(text: str) -> dict[str, Any] | None:
    """Return the rows of a page, and what the paginator needs. None if the text is unusual."""
    if not (_IS_LISTING.match(text) and text.rstrip().endswith("</ListBucketResult>")):
        return None
    if _UNUSUAL.search(text):
        return None
    head, *described = text.split("<Contents>")
    rows = []
    is_encoded = "<EncodingType>url</EncodingType>" in text
    for each in described:
        row, _, rest = each.partition("</Contents>")
        head += rest
        fields = dict(_FIELD.findall(row))
        key, etag = fields["Key"], fields["ETag"]
        if "&" in key:
            key = unescape(key, _QUOTES)
        if is_encoded and ("%" in key or "+" in key):
            key = unquote_plus(key)
        rows.append(
            SourceRow(
                key,
                etag[6:-6] if etag.startswith("&quot;") else etag.strip('"'),
                int(fields["Size"]),
                f"{fields['LastModified'][:19]}Z",
                fields.get("StorageClass") or "STANDARD",
            )
        )
    page = dict(_FIELD.findall(head))
    if int(page.get("KeyCount", len(rows))) != len(rows):
        return None
    found = {_ROWS: rows, "IsTruncated": page.get("IsTruncated") == "true"}
    if token := page.get("NextContinuationToken"):
        found["NextContinuationToken"] = unescape(token, _QUOTES)
    return found


def rows_of(page: Mapping[str, Any]) -> Sequence[SourceRow]:
    """Return the rows of a page that `read_page` or botocore has read."""
    rows: Sequence[SourceRow] | None = page.get(_ROWS)
    if rows is not None:
        return rows
    return [
        SourceRow(
            described["Key"],
            described["ETag"].strip('"'),
            described["Size"],
            f"{described['LastModified'].astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            described.get("StorageClass") or "STANDARD",
        )
        for described in page.get("Contents", ())
    ]
