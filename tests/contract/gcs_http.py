"""A raw HTTP client for GCS: nothing between the test and the bytes on the wire."""

import base64
import hashlib
import http.client
import json
import random
import socket
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import google_crc32c

KIB = 1024
STEP = 256 * KIB


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.body)

    @property
    def persisted(self) -> int:
        """The bytes that a 308 reports as safe."""
        span = self.headers.get("Range")
        return int(span.removeprefix("bytes=0-")) + 1 if span else 0


Upload = Callable[..., Reply]
"""`(name, data, query, headers)` -> the response to the request that completes the upload."""


@dataclass(frozen=True, slots=True)
class Gcs:
    """One bucket on one server."""

    url: str
    bucket: str
    token: str

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection of its own."""
        parts = urlsplit(self.url)
        if parts.scheme == "https":
            return http.client.HTTPSConnection(parts.netloc, timeout=30)
        return http.client.HTTPConnection(parts.netloc, timeout=30)

    def request(
        self,
        method: str,
        target: str,
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | Mapping[str, Any] | None = None,
    ) -> Reply:
        """Send one request; a dictionary goes as JSON, an iterable in chunks."""
        token = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        sent = {**token, **(headers or {})}
        if isinstance(body, Mapping):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        chunked = body is not None and not isinstance(body, bytes)
        with closing(self.connect()) as connection:
            connection.request(
                method, self.target(target, query), body, sent, encode_chunked=chunked
            )
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())

    def target(self, target: str, query: Mapping[str, object] | None = None) -> str:
        """Return a path with its query, from a path or from an address on this server."""
        asked = target.removeprefix(self.url)
        return f"{asked}?{urlencode(query)}" if query else asked

    def path(self, name: str) -> str:
        """Return the path of an object."""
        return f"/storage/v1/b/{self.bucket}/o/{quote(name, safe='')}"

    @property
    def uploads(self) -> str:
        return f"/upload/storage/v1/b/{self.bucket}/o"

    def media(
        self,
        name: str,
        data: bytes,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Upload with `uploadType=media`."""
        asked = {"uploadType": "media", "name": name, **(query or {})}
        return self.request("POST", self.uploads, query=asked, headers=headers, body=data)

    def multipart(
        self,
        name: str,
        data: bytes,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        resource: Mapping[str, Any] | None = None,
        part_type: str | None = None,
    ) -> Reply:
        """Upload resource and bytes in one request; `part_type` describes the bytes' part."""
        described = json.dumps({"name": name, **(resource or {})}).encode()
        body = b"".join(
            (
                b"--frontier\r\ncontent-type: application/json; charset=UTF-8\r\n\r\n",
                described,
                b"\r\n--frontier\r\n",
                f"content-type: {part_type}\r\n\r\n".encode() if part_type else b"\r\n",
                data,
                b"\r\n--frontier--",
            )
        )
        sent = {"Content-Type": 'multipart/related; boundary="frontier"', **(headers or {})}
        asked = {"uploadType": "multipart", **(query or {})}
        return self.request("POST", self.uploads, query=asked, headers=sent, body=body)

    def resumable(
        self,
        name: str,
        data: bytes,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        resource: Mapping[str, Any] | None = None,
    ) -> Reply:
        """Upload in a session, all bytes in one PUT; `headers` go with the bytes."""
        session = self.start(name, query, resource=resource)
        return self.put(session, data, headers=headers)

    def start(
        self,
        name: str,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        resource: Mapping[str, Any] | None = None,
    ) -> str:
        """Open a session and return its address."""
        asked = {"uploadType": "resumable", **(query or {})}
        described = {"name": name, **(resource or {})}
        reply = self.request("POST", self.uploads, query=asked, headers=headers, body=described)
        assert reply.status == 200, reply
        return reply.headers["Location"]

    def put(
        self,
        session: str,
        data: bytes | Iterable[bytes],
        content_range: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send bytes to a session; `content_range` is what follows `bytes `."""
        ranged = {"Content-Range": f"bytes {content_range}"} if content_range else {}
        return self.request("PUT", session, headers={**ranged, **(headers or {})}, body=data)

    def status(self, session: str, total: int | str = "*") -> Reply:
        """Ask a session how far it got."""
        return self.put(session, b"", f"*/{total}")

    def await_persisted(self, session: str, wanted: int, seconds: float = 60.0) -> Reply:
        """Ask until `wanted` bytes are safe, or time is up."""
        give_up = time.monotonic() + seconds
        while (reply := self.status(session)).persisted < wanted and time.monotonic() < give_up:
            time.sleep(0.02)
        return reply

    def stays_missing(self, name: str, seconds: float = 0.3) -> bool:
        """Say whether an object does not appear, now or a little later."""
        give_up = time.monotonic() + seconds
        while (status := self.get(name).status) == 404 and time.monotonic() < give_up:
            time.sleep(0.05)
        return status == 404

    def begin_put(
        self, session: str, sent: bytes, length: int, content_range: str | None
    ) -> http.client.HTTPConnection:
        """Start a PUT of `length` bytes and send only the first of them."""
        connection = self.connect()
        connection.putrequest("PUT", self.target(session))
        connection.putheader("Authorization", f"Bearer {self.token}")
        connection.putheader("Content-Length", str(length))
        if content_range:
            connection.putheader("Content-Range", f"bytes {content_range}")
        connection.endheaders()
        connection.send(sent)
        return connection

    def get(self, name: str, **query: object) -> Reply:
        """Read a resource."""
        return self.request("GET", self.path(name), query=query)

    def download(
        self, name: str, headers: Mapping[str, str] | None = None, **query: object
    ) -> Reply:
        """Read an object's bytes."""
        return self.request(
            "GET", self.path(name), query={"alt": "media", **query}, headers=headers
        )

    def patch(self, name: str, changes: Mapping[str, Any], **query: object) -> Reply:
        """Change an object's fields."""
        return self.request("PATCH", self.path(name), query=query, body=changes)

    def delete(self, name: str, **query: object) -> Reply:
        """Delete an object."""
        return self.request("DELETE", self.path(name), query=query)

    def listing(self, **query: object) -> Reply:
        """List the bucket."""
        return self.request("GET", f"/storage/v1/b/{self.bucket}/o", query=query)

    def compose(
        self,
        name: str,
        sources: list[dict[str, Any]],
        destination: Mapping[str, Any] | None = None,
        *,
        delete_sources: bool = False,
        **query: object,
    ) -> Reply:
        """Concatenate objects."""
        body: dict[str, Any] = {"sourceObjects": sources, "destination": destination or {}}
        if delete_sources:
            body["deleteSourceObjects"] = True
        return self.request("POST", f"{self.path(name)}/compose", query=query, body=body)

    def rewrite(
        self, name: str, to: str, resource: Mapping[str, Any] | None = None, **query: object
    ) -> Reply:
        """Copy an object."""
        path = f"{self.path(name)}/rewriteTo/{self.path(to).removeprefix('/storage/v1/')}"
        return self.request("POST", path, query=query, body=resource or {})


def reset(connection: http.client.HTTPConnection) -> None:
    """Close a connection with RST."""
    assert isinstance(connection.sock, socket.socket)
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def crc32c(data: bytes) -> str:
    """Return a checksum as the API spells it."""
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def md5(data: bytes) -> str:
    """Return a checksum as the API spells it."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def noise(size: int, seed: int = 1) -> bytes:
    """Return bytes that repeat nowhere, the same in every run."""
    return random.Random(seed).randbytes(size)  # noqa: S311 - no secret
