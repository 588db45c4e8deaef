"""The checksums a client sends, compared with the content before the object is visible."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from werkzeug.datastructures import Headers

from tools.local.gcs.errors import invalid
from tools.local.gcs.spool import Content

Checksum: TypeAlias = tuple[str, str]
"""`crc32c` or `md5`, and base64."""

_LABELS = {"crc32c": "CRC32C", "md5": "MD5 hash"}


def of_resource(resource: Mapping[str, Any]) -> Iterator[Checksum]:
    """Yield the checksums in an object resource that came with an upload."""
    for field, kind in (("crc32c", "crc32c"), ("md5Hash", "md5")):
        if resource.get(field) is not None:
            yield kind, resource[field]


def of_headers(headers: Headers) -> Iterator[Checksum]:
    """Yield the checksums in `X-Goog-Hash`, which can hold several."""
    for item in ",".join(headers.getlist("X-Goog-Hash")).split(","):
        kind, _, value = item.strip().partition("=")
        if kind in _LABELS:
            yield kind, value


def check(content: Content, expected: Iterable[Checksum]) -> None:
    """Refuse content with another checksum."""
    calculated = {"crc32c": content.crc32c, "md5": content.md5}
    for kind, value in expected:
        if value != calculated[kind]:
            label, actual = _LABELS[kind], calculated[kind]
            raise invalid(
                f'Provided {label} "{value}" doesn\'t match calculated {label} "{actual}".'
            )
