"""The HTTP/1.1 server: the listening socket, and a thread for each connection.

Not `werkzeug.serving`: it closes the connection after each response, says `100 Continue` at
once, writes head and body in two segments, and takes more than twice the time per request.
"""

import io
import socket
import socketserver
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast
from urllib.parse import urlsplit

from werkzeug.datastructures import Headers

from tools.local.gcs.body import Body
from tools.local.gcs.errors import ApiError, ConnectionCutError, invalid
from tools.local.gcs.faults import Fault
from tools.local.gcs.messages import Request, Response, error_response


class Connection(BaseHTTPRequestHandler):
    """One client's connection; it carries one request after another."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 300  # seconds without a request, or within one
    rbufsize = 64 * 1024
    server: "HttpServer"
    rfile: io.BufferedReader

    _reset = False

    def handle(self) -> None:
        """Serve requests until one side closes the connection."""
        try:
            super().handle()
        except (OSError, ConnectionCutError):
            self.close_connection = True

    def finish(self) -> None:
        """Close, with RST where a fault says so."""
        super().finish()
        if self._reset:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()

    def handle_expect_100(self) -> bool:
        """Leave `100 Continue` to the first read of the body: an error may come first."""
        return True

    def _serve(self) -> None:
        try:
            request = self._request()
        except ApiError as error:
            self.close_connection = True
            self._send(error_response(error), None)
            return
        try:
            response = self.server.handler(request)
        except ConnectionCutError:
            self.close_connection = True
            self._reset = bool(request.fault and request.fault.reset)
            return
        if request.body.awaits_continue:  # the client may send its body or not
            self.close_connection = True
        self._send(response, request.fault)
        if not request.body.awaits_continue:
            request.body.drain()  # closing with unread bytes would destroy the response

    do_GET = _serve  # noqa: N815 - the base class looks methods up by name
    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_GET  # noqa: N815 - same

    def _request(self) -> Request:
        try:
            target = self.path.encode("latin-1").decode()
        except UnicodeDecodeError as error:
            raise invalid("The request target is not UTF-8.") from error
        url = urlsplit(target)
        headers = Headers([(key, _text(value)) for key, value in self.headers.items()])
        expects_continue = self.headers.get("Expect", "").lower() == "100-continue"
        send_continue = self._send_continue if expects_continue else None
        body = Body(self.rfile, _body_length(self.headers), send_continue)
        server_url = self.server.url_for(headers.get("Host"))
        return Request(self.command, url.path, url.query, headers, body, server_url)

    def _send_continue(self) -> None:
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _send(self, response: Response, fault: Fault | None) -> None:
        """Send the response, or as many bytes of it as the fault allows."""
        left = fault.response_bytes if fault else None
        if left is not None:
            self.close_connection = True
            self._reset = bool(fault and fault.reset)
        try:
            if fault and fault.stall_response:
                self.server.stopping.wait(fault.stall_response)
            for data in self._encoded(response):
                self.wfile.write(data[:left])
                if left is not None:
                    left = max(left - len(data), 0)
        finally:
            response.close()

    def _encoded(self, response: Response) -> Iterator[bytes]:
        """Yield the response as it goes on the wire; a small one in one segment."""
        headers = response.headers
        if self.close_connection:
            headers.add("Connection", "close")
        headers.add("Date", self.date_time_string())
        headers.add("Server", "UploadServer (local)")
        head = f"{self.protocol_version} {response.status}\r\n{headers}".encode()
        if self.command != "HEAD":
            for data in response.iter_encoded():
                yield head + data
                head = b""
        yield head

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Write nothing: the request log has every request."""


class HttpServer(ThreadingHTTPServer):
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
        stopping: threading.Event,
    ) -> None:
        self.handler = handler
        self.stopping = stopping
        self._public_url = public_url and public_url.rstrip("/")
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, Connection)

    def url_for(self, host: str | None) -> str:
        """Return the URL of this server for a client that reaches it as `host`, a name and port."""
        host = host or "{}:{}".format(*self.server_address[:2])
        return self._public_url or f"http://{host}"

    def server_bind(self) -> None:
        """Bind without the base class's reverse name look-up."""
        socketserver.TCPServer.server_bind(self)

    def get_request(self) -> tuple[socket.socket, object]:
        """Accept a connection and remember it."""
        connection, address = super().get_request()
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


def _text(header: str) -> str:
    """Return a header as UTF-8 where it is; `http.server` decodes all of them as Latin-1."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeDecodeError:
        return header


def _body_length(headers: Message) -> int | None:
    """Return the length of a body, None where it comes in chunks."""
    coding = headers.get("Transfer-Encoding", "identity").lower()
    if coding == "chunked":
        return None
    text = headers.get("Content-Length", "0")
    if coding != "identity" or not (text.isascii() and text.isdigit()):
        raise ApiError(400, "badRequest", "The length of the body is not known.")
    return int(text)
