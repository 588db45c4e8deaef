"""Listings of millions of objects whose rows are made up on the fly.

The prefix states how many there are: `list-1000000-10000/` has a million, 10,000 in a folder. A
page is rendered once, and a copy with other numbers takes less than a millisecond, so the servers
leave the CPU to the clients.
"""

import base64
import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Self
from urllib.parse import quote

from tools.benchmarks.servers.web import Request, Response

PAGE = 1000
DAMAGED = 100
"""One page in so many lacks a replica, and another one has a replica of another size."""

_ROW = {"missing": 13, "different": 42}
_PREFIX = re.compile(r"list-(\d+)-(\d+)/")
_ITEMS = re.compile(r"\bitems\(([^()]*)\)")
_TIME = "2026-11-01T12:00:00"

# What differs between pages: the folder and the page in a key; the page in an ETag and in an MD5.
_FOLDER, _HIGH, _HEX, _B64 = b"@FOLDER@", b"@HI@", b"@HEX@", b"@B64@"
_KEY = f"{_FOLDER.decode()}{_HIGH.decode()}"


@dataclass(frozen=True, slots=True)
class Listed:
    """The keys below a prefix, in order: as much of a sequence as `bisect` needs."""

    prefix: str
    count: int
    per_folder: int

    @classmethod
    def of(cls, prefix: str) -> Self | None:
        """Return the objects below a prefix that this module knows."""
        found = _PREFIX.match(prefix)
        return cls(found[0], int(found[1]), int(found[2])) if found else None

    @classmethod
    def sized(cls, count: int, per_folder: int = 1_000_000) -> Self:
        return cls(f"list-{count}-{per_folder}/", count, per_folder)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> str:
        return f"{self.folder(number)}{number:012d}"

    def folder(self, number: int) -> str:
        return f"{self.prefix}{number // self.per_folder:06d}/"

    def folders(self) -> list[str]:
        return [self.folder(number) for number in range(0, self.count, self.per_folder)]

    def within(self, prefix: str) -> range:
        """Return the numbers of the keys that begin with `prefix`."""
        return range(bisect_left(self, prefix), bisect_left(self, prefix + chr(0x10FFFF)))

    def page(self, rows: Sequence[bytes], number: int, end: int) -> tuple[list[bytes], int]:
        """Return the rows from `number` to the end of its page or to `end`, and the next number."""
        page = number // PAGE
        stop = min(end, (page + 1) * PAGE)
        return [*rows[number % PAGE : stop - page * PAGE]], stop

    def fill(self, text: bytes, number: int) -> bytes:
        """Put the numbers of a page into its rows."""
        high = number // PAGE
        digest = high.to_bytes(6, "big")
        for token, value in (
            (_FOLDER, self.folder(number).encode()),
            (_HIGH, f"{high:09d}".encode()),
            (_HEX, digest.hex().encode()),
            (_B64, base64.b64encode(digest)),
        ):
            text = text.replace(token, value)
        return text


def list_s3(listed: Listed, request: Request) -> Response:
    """Respond to ListObjectsV2."""
    query = request.query
    numbers = listed.within(query.get("prefix", ""))
    start = max(numbers.start, bisect_right(listed, query.get("start-after", "")))
    start = int(query.get("continuation-token", start))
    size = min(int(query.get("max-keys", PAGE)), PAGE)
    folders: list[str] = []
    rows: list[bytes] = []
    if query.get("delimiter") and query["prefix"] == listed.prefix:
        folders, after = listed.folders(), numbers.stop
    else:
        rows, after = listed.page(_s3_rows(), start, min(start + size, numbers.stop))
    body = listed.fill(b"".join(rows), start)
    is_truncated = after < numbers.stop
    token = f"<NextContinuationToken>{after}</NextContinuationToken>" if is_truncated else ""
    common = "".join(
        f"<CommonPrefixes><Prefix>{each}</Prefix></CommonPrefixes>" for each in folders
    )
    head = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>source</Name>'
        f"<Prefix>{quote(query.get('prefix', ''))}</Prefix><KeyCount>{len(rows)}</KeyCount>"
        f"<MaxKeys>{size}</MaxKeys><IsTruncated>{str(is_truncated).lower()}</IsTruncated>"
        f"<EncodingType>url</EncodingType>{token}{common}"
    )
    xml = head.encode() + body + b"</ListBucketResult>"
    return Response("GET list", HTTPStatus.OK, {"Content-Type": "application/xml"}, xml)


def list_gcs(listed: Listed, request: Request) -> Response:
    """Respond to objects.list. All fields of an item are sent unless the request selects some."""
    query = request.query
    numbers = listed.within(query.get("prefix", ""))
    start = max(numbers.start, bisect_left(listed, query.get("startOffset", "")))
    end = numbers.stop
    if "endOffset" in query:
        end = min(end, bisect_left(listed, query["endOffset"]))
    start = int(query.get("pageToken", start))
    size = min(int(query.get("maxResults", PAGE)), PAGE)
    folders: list[str] = []
    rows: list[bytes] = []
    if query.get("delimiter") and query["prefix"] == listed.prefix:
        folders, after = listed.folders(), end
    else:
        made = _gcs_rows(query.get("fields", ""), _damage(start // PAGE))
        rows, after = listed.page(made, start, min(start + size, end))
    parts = [b'"kind":"storage#objects"']
    if after < end:
        parts.append(b'"nextPageToken":"%d"' % after)
    if folders:
        parts.append(b'"prefixes":["' + '","'.join(folders).encode() + b'"]')
    if items := listed.fill(b",".join(filter(None, rows)), start):
        parts.append(b'"items":[' + items + b"]")
    headers = {"Content-Type": "application/json; charset=UTF-8"}
    return Response("GET list", HTTPStatus.OK, headers, b"{" + b",".join(parts) + b"}")


def damages(count: int) -> tuple[int, int]:
    """Return how many of the first `count` objects are missing in GCS, and how many differ."""
    rows = ((_damage(page), page * PAGE) for page in range(-(-count // PAGE)))
    damaged = [damage for damage, first in rows if first + _ROW.get(damage, count) < count]
    return damaged.count("missing"), damaged.count("different")


def _damage(page: int) -> str:
    return {0: "missing", 1: "different"}.get(page % DAMAGED, "")


@cache
def _s3_rows() -> list[bytes]:
    return [
        (
            f"<Contents><Key>{_KEY}{low:03d}</Key><LastModified>{_TIME}.000Z</LastModified>"
            f"<ETag>&quot;{_HEX.decode()}{_low_digest(low).hex()}&quot;</ETag>"
            "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>"
            f"<Size>{_size(low)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        ).encode()
        for low in range(PAGE)
    ]


@cache
def _gcs_rows(fields: str, damage: str) -> list[bytes]:
    selected = _ITEMS.search(fields)
    names = selected[1].split(",") if selected else None
    rows = [_gcs_row(low, names, _size(low)) for low in range(PAGE)]
    if damage == "missing":
        rows[_ROW[damage]] = b""
    if damage == "different":
        rows[_ROW[damage]] = _gcs_row(_ROW[damage], names, size=1)
    return rows


def _gcs_row(low: int, names: Collection[str] | None, size: int) -> bytes:
    key = f"{_KEY}{low:03d}"
    digest = _low_digest(low)
    link = f"https://www.googleapis.com/storage/v1/b/destination/o/{key}"
    row = {
        "kind": "storage#object",
        "id": f"destination/{key}/1790000000000001",
        "selfLink": link,
        "mediaLink": f"{link}?generation=1790000000000001&alt=media",
        "name": key,
        "bucket": "destination",
        "generation": "1790000000000001",
        "metageneration": "1",
        "contentType": "application/octet-stream",
        "storageClass": "STANDARD",
        "size": str(size),
        "md5Hash": _B64.decode() + base64.b64encode(digest).decode(),
        "crc32c": "AAAAAA==",
        "etag": "CIGAgICAgP8CEAE=",
        "timeCreated": f"{_TIME}.000Z",
        "updated": f"{_TIME}.000Z",
        "timeStorageClassUpdated": f"{_TIME}.000Z",
        "customTime": f"{_TIME}Z",
        "metadata": {
            "s3-source-bucket": "source",
            "s3-source-key": key,
            "s3-source-etag": _HEX.decode() + digest.hex(),
            "s3-source-last-modified": f"{_TIME}Z",
            "s3-source-size": str(_size(low)),
        },
    }
    chosen = {name: row[name] for name in row if names is None or name in names}
    return json.dumps(chosen, separators=(",", ":")).encode()


def _low_digest(low: int) -> bytes:
    """Return the last ten bytes of an MD5. The first six are the number of the page."""
    return b"\xe1" * 8 + low.to_bytes(2, "big")


def _size(low: int) -> int:
    return 1000 + low
