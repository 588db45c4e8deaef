"""The listening socket, with plain connections or TLS."""

import socket
import socketserver
import ssl
import sys
import threading
import traceback
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from typing import cast

from tools.local.gcs.connection import Connection
from tools.local.gcs.messages import Request, Response


class Listener(ThreadingHTTPServer):
    """The listening socket: a thread for each connection; `close` ends all of them."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 256
    allow_reuse_address = True

    def __init__(
        self,
        address: tuple[str, int],
        handler: Callable[[Request], Response],
        *,
        public_url: str | None,
        ssl_context: ssl.SSLContext | None,
        stopping: threading.Event,
    ) -> None:
        self.handler = handler
        self.stopping = stopping
        self.public_url = public_url and public_url.rstrip("/")
        self._ssl_context = ssl_context
        self.scheme = "https" if ssl_context else "http"
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, Connection)

    @property
    def address(self) -> tuple[str, int]:
        """The host and port it listens on."""
        host, port = self.server_address[:2]
        return str(host), int(port)

    @property
    def url(self) -> str:
        """The public address where one is configured, or its own."""
        return self.public_url or "{}://{}:{}".format(self.scheme, *self.address)

    def server_bind(self) -> None:
        """Bind without the base class's reverse name look-up."""
        socketserver.TCPServer.server_bind(self)

    def get_request(self) -> tuple[socket.socket, object]:
        """Accept a connection; its own thread does the TLS handshake."""
        connection, address = super().get_request()
        if self._ssl_context:
            connection = self._ssl_context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        with self._open_lock:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """Close a connection and forget it."""
        with self._open_lock:
            self._open.discard(cast("socket.socket", request))
        super().shutdown_request(request)

    def close(self) -> None:
        """Stop listening, end every connection and wait for its thread."""
        self.stopping.set()
        self.shutdown()
        with self._open_lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the client was faster
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Print a bug's traceback; a client that went away is no bug."""
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()
