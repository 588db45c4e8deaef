"""The checksums a client promises, compared with what arrived before anything becomes visible."""

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tools.local.gcs.errors import invalid
from tools.local.gcs.spool import Content

_DIGEST_BYTES = {"crc32c": 4, "md5": 16}
_LABELS = {"crc32c": "CRC32C", "md5": "MD5 hash"}


@dataclass(frozen=True, slots=True)
class Promise:
    """One checksum that the client claims."""

    kind: str
    value: str

    def __post_init__(self) -> None:
        try:
            digest = base64.b64decode(self.value, validate=True)
        except (binascii.Error, ValueError):
            digest = b""
        if len(digest) != _DIGEST_BYTES[self.kind]:
            raise invalid(f'Invalid {_LABELS[self.kind]} value "{self.value}".')

    def check(self, content: Content) -> None:
        """Refuse content that is not what was promised."""
        actual = content.crc32c if self.kind == "crc32c" else content.md5
        if actual != self.value:
            label = _LABELS[self.kind]
            raise invalid(
                f'Provided {label} "{self.value}" doesn\'t match calculated {label} "{actual}".'
            )


def promised_by_resource(resource: Mapping[str, Any]) -> Iterator[Promise]:
    """Yield the checksums in an object resource that came with an upload."""
    for field, kind in (("crc32c", "crc32c"), ("md5Hash", "md5")):
        if resource.get(field) is not None:
            yield Promise(kind, str(resource[field]))


def promised_by_headers(headers: Mapping[str, str]) -> Iterator[Promise]:
    """Yield the checksums in `X-Goog-Hash`, which may hold several."""
    for item in headers.get("x-goog-hash", "").split(","):
        kind, _, value = item.strip().partition("=")
        if kind in _DIGEST_BYTES:
            yield Promise(kind, value)


def promised_by_content_md5(headers: Mapping[str, str]) -> Iterator[Promise]:
    """Yield the checksum of a body that is the whole object."""
    if value := headers.get("content-md5"):
        yield Promise("md5", value)
