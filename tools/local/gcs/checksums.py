"""The checksums a client sends, compared with the content before the object is visible."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from werkzeug.datastructures import Headers

from tools.local.gcs.errors import invalid
from tools.local.gcs.spool import Content

_DIGEST_BYTES = {"crc32c": 4, "md5": 16}
_LABELS = {"crc32c": "CRC32C", "md5": "MD5 hash"}


@dataclass(frozen=True, slots=True)
class Checksum:
    """One checksum that the client expects: `crc32c` or `md5`, and base64."""

    kind: str
    value: str

    def __post_init__(self) -> None:
        try:
            digest = base64.b64decode(self.value, validate=True)
        except ValueError:
            digest = b""
        if len(digest) != _DIGEST_BYTES[self.kind]:
            raise invalid(f'Invalid {_LABELS[self.kind]} value "{self.value}".')

    def check(self, content: Content) -> None:
        """Refuse content with another checksum."""
        actual = content.crc32c if self.kind == "crc32c" else content.md5
        if actual != self.value:
            label = _LABELS[self.kind]
            raise invalid(
                f'Provided {label} "{self.value}" doesn\'t match calculated {label} "{actual}".'
            )


def of_resource(resource: Mapping[str, Any]) -> Iterator[Checksum]:
    """Yield the checksums in an object resource that came with an upload."""
    for field, kind in (("crc32c", "crc32c"), ("md5Hash", "md5")):
        if resource.get(field) is not None:
            yield Checksum(kind, str(resource[field]))


def of_headers(headers: Headers) -> Iterator[Checksum]:
    """Yield the checksums in `X-Goog-Hash`, which can hold several."""
    for item in ",".join(headers.getlist("X-Goog-Hash")).split(","):
        kind, _, value = item.strip().partition("=")
        if kind in _DIGEST_BYTES:
            yield Checksum(kind, value)
