"""Outages of the services that the function needs. Everybody else still reaches them.

function ──> Gate ──> S3, GCS and the token service <── tests, the soak, rclone
"""

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from itertools import cycle
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tools.common import http
from tools.local.aws import Aws
from tools.local.google_cloud import GoogleCloud
from tools.local.lambda_service import cancel_others

T = TypeVar("T")

PIECE_BYTES = 256 * 1024

_TOKENS_PATH = b"/token"
_Refusal = Callable[[bytes], int | None]
"""Which status a gate answers to a path; None lets the request pass."""


class Service(StrEnum):
    """A service that can have an outage, as a report names it."""

    GCS = "GCS"
    TOKENS = "token service"
    S3 = "S3"


def _refusal(service: Service) -> _Refusal:
    """Return what a gate refuses in an outage."""
    if service is Service.S3:
        return lambda _: 503
    # No token is valid for long: while none is issued, GCS refuses those that the function has.
    of_tokens, of_gcs = (503, 401) if service is Service.TOKENS else (None, 503)
    return lambda path: of_tokens if path.startswith(_TOKENS_PATH) else of_gcs


class Gates:
    """What is between one function and its services. `close` it."""

    def __init__(self, aws: Aws, google: GoogleCloud, *, retry_after_s: int) -> None:
        """In an outage one of two requests gets no response, the other one this `Retry-After`.

        The function does not wait for more than 30 seconds: it fails at once.
        """
        answers = [f"\r\nRetry-After: {retry_after_s}", None]
        self._gates = [Gate(url, answers) for url in (aws.endpoint_url, google.url)]
        self._s3, self._google = self._gates
        name = f"gcp-credentials-{urlsplit(self._google.url).port}"
        key = http.call("POST", f"{self._google.url}/_local/keys", {})
        self.environment = {
            "AWS_ENDPOINT_URL_S3": self._s3.url,
            "STORAGE_EMULATOR_HOST": self._google.url,
            "GCP_CREDENTIALS_SECRET": aws.create_secret(name, json.dumps(key)),
        }
        """The function's variables."""

    @contextmanager
    def outage(self, service: Service) -> Iterator[None]:
        """Let a service refuse all requests of the function within the block."""
        gate = self._s3 if service is Service.S3 else self._google
        gate.shut(_refusal(service))
        try:
            yield
        finally:
            gate.open()

    def refused(self) -> int:
        """Count the requests that were refused so far."""
        return sum(gate.refused for gate in self._gates)

    def close(self) -> None:
        for gate in self._gates:
            gate.close()


class Gate:
    """A relay on a free port, which refuses requests while it is shut. `close` it."""

    def __init__(self, upstream: str, answers: list[str | None]) -> None:
        """`answers` are headers of the refusals, in turn; None ends the connection instead."""
        address = urlsplit(upstream)
        self._upstream = (address.hostname, address.port)
        self._answers = cycle(answers)
        self._refusal: _Refusal | None = None
        self.refused = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gate")
        self._thread.start()
        self._server = self._run(
            asyncio.start_server(self._connected, "127.0.0.1", limit=PIECE_BYTES)
        )
        self.url = "http://{}:{}".format(*self._server.sockets[0].getsockname())

    def shut(self, refusal: _Refusal) -> None:
        """Refuse requests from now on, and end all connections."""
        self._refusal = refusal
        self._run(cancel_others())

    def open(self) -> None:
        """Let requests pass again."""
        self._refusal = None

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._run(cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _connected(self, client: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                head = await client.readuntil(b"\r\n\r\n")
                refused = self._refusal and self._refusal(head.split(maxsplit=2)[1])
                if refused:
                    await self._refuse(refused, client, writer)
                else:
                    await self._relay(head, client, writer)
        finally:
            writer.close()

    async def _refuse(
        self, status: int, client: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.refused += 1
        headers = next(self._answers)
        if headers is None:
            return
        closing = "Content-Length: 0\r\nConnection: close"
        writer.write(f"HTTP/1.1 {status} Refused\r\n{closing}{headers}\r\n\r\n".encode())
        while await client.read(PIECE_BYTES):  # to close before its end would reset the connection
            pass

    async def _relay(
        self, head: bytes, client: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        server, to_server = await asyncio.open_connection(*self._upstream)
        to_server.write(head)
        ways = [
            asyncio.create_task(_copy(client, to_server)),
            asyncio.create_task(_copy(server, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            to_server.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await source.read(PIECE_BYTES):
            sink.write(piece)
            await sink.drain()
