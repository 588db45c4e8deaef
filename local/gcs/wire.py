"""HTTP/1.1 on sockets: bodies as they arrive, answers in one segment, endings on demand."""

import http
import io
import socket
import socketserver
import ssl
import struct
import sys
import threading
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, cast
from urllib.parse import parse_qs, urlsplit

from local.gcs.errors import ApiError, ConnectionCutError, invalid
from local.gcs.exchange import Body, FileSlice, Request, Response, error_response
from local.gcs.faults import Fault

_IDLE_SECONDS = 300
_SMALL_BYTES = 64 * 1024
_MAX_LINE = 64 * 1024
_REASONS = {308: "Resume Incomplete", 499: "Client Closed Request"}


class _Framed:
    """A body on the connection: Content-Length or chunked, told apart by the headers."""

    def __init__(
        self, source: io.BufferedReader, length: int | None, before: Callable[[], None]
    ) -> None:
        self._source = source
        self._chunked = length is None
        self._left = length or 0
        self._before = before
        self.finished = length == 0

    def read(self, limit: int) -> bytes:
        """Return what has arrived, at most `limit` bytes; empty only at the end."""
        if self.finished:
            return b""
        try:
            return self._read(limit)
        except OSError as error:
            raise ConnectionCutError from error

    def _read(self, limit: int) -> bytes:
        self._before()
        if self._chunked and not self._left:
            self._left = self._next_chunk()
            if not self._left:
                self.finished = True
                return b""
        piece = self._source.read1(min(limit, self._left))
        if not piece:
            raise ConnectionCutError
        self._left -= len(piece)
        if not self._left and self._chunked:
            self._line()
        self.finished = not self._left and not self._chunked
        return piece

    def _next_chunk(self) -> int:
        try:
            size = int(self._line().split(b";")[0], 16)
        except ValueError:  # what follows cannot be told apart any more
            raise ConnectionCutError from None
        if not size:
            while self._line():  # trailers, up to the empty line
                pass
        return size

    def _line(self) -> bytes:
        line = self._source.readline(_MAX_LINE)
        if not line.endswith(b"\n"):
            raise ConnectionCutError
        return line.strip()


class Connection(BaseHTTPRequestHandler):
    """One client's connection; the requests on it are served one after another."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _IDLE_SECONDS
    rbufsize = _SMALL_BYTES
    server: "Listener"
    rfile: io.BufferedReader

    _continue_due = False
    _reset = False

    def handle(self) -> None:
        """Serve requests until one side has had enough."""
        try:
            if isinstance(self.connection, ssl.SSLSocket):
                self.connection.do_handshake()
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
        """Wait with "100 Continue" until somebody wants the body: a refusal may come first."""
        self._continue_due = True
        return True

    def _send_continue(self) -> None:
        if self._continue_due:
            self._continue_due = False
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _serve(self) -> None:
        stream = None
        try:
            length = self._body_length()
            stream = _Framed(self.rfile, length, self._send_continue)
            request = self._request(Body(stream, length))
        except ApiError as error:
            self.close_connection = True
            self._send(error_response(error), None)
            return
        try:
            response = self.server.answer(request)
        except ConnectionCutError:
            self.close_connection = True
            self._reset = bool(request.fault and request.fault.reset)
            return
        self._send(response, request.fault)
        if not self.close_connection:
            self._leave_body_behind(request, stream)

    do_GET = _serve  # noqa: N815 - the base class looks methods up by name
    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_GET  # noqa: N815 - same

    def _leave_body_behind(self, request: Request, stream: _Framed) -> None:
        """Read what nobody wanted: closing on unread bytes would destroy the answer."""
        if self._continue_due:  # the client still waits for leave to send it
            self._continue_due = False
            self.close_connection = not stream.finished
            return
        request.body.drain()

    def _request(self, body: Body) -> Request:
        url = urlsplit(self.path)
        try:
            queries = parse_qs(url.query, keep_blank_values=True, errors="strict")
        except ValueError as error:
            raise invalid("The query string is not UTF-8.") from error
        return Request(
            method=self.command,
            path=url.path,
            queries=queries,
            headers=self._plain_headers(),
            body=body,
            base_url=self.server.base_url(self.headers.get("Host")),
        )

    def _plain_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for key, value in self.headers.items():
            known = headers.get(key.lower())
            headers[key.lower()] = f"{known},{value}" if known else value
        return headers

    def _body_length(self) -> int | None:
        coding = self.headers.get("Transfer-Encoding", "identity").lower()
        if coding == "chunked":
            return None
        text = self.headers.get("Content-Length", "0")
        if coding != "identity" or not (text.isascii() and text.isdigit()):
            raise ApiError(400, "badRequest", "The length of the body cannot be told.")
        return int(text)

    def _send(self, response: Response, fault: Fault | None) -> None:
        body = response.body
        try:
            if fault and fault.stall_answer:
                self.server.stopping.wait(fault.stall_answer)
            if fault and (fault.lose_response or fault.cut_response_after is not None):
                self._send_beginning(response, fault)
            elif isinstance(body, bytes):
                content = b"" if self.command == "HEAD" else body
                self.wfile.write(self._head(response, len(body)) + content)
            elif isinstance(body, FileSlice):
                self._send_file(response, body)
            else:
                self._send_chunks(response)
        finally:
            if isinstance(body, FileSlice):
                body.file.close()

    def _send_file(self, response: Response, body: FileSlice) -> None:
        head = self._head(response, body.count)
        if self.command == "HEAD":
            self.wfile.write(head)
        elif body.count <= _SMALL_BYTES:
            self.wfile.write(head + _read(body))
        else:
            self.wfile.write(head)
            self.connection.sendfile(body.file, body.offset, body.count)

    def _send_chunks(self, response: Response) -> None:
        self.wfile.write(self._head(response, None))
        for piece in cast("io.BufferedIOBase", response.body):
            if piece:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def _send_beginning(self, response: Response, fault: Fault) -> None:
        """Send as much of the answer as the fault allows, and close."""
        self.close_connection = True
        self._reset = fault.reset
        body = response.body
        if fault.lose_response or not isinstance(body, bytes | FileSlice):
            return
        content = _read(body) if isinstance(body, FileSlice) else body
        whole = self._head(response, len(content)) + content
        self.wfile.write(whole[: fault.cut_response_after])

    def _head(self, response: Response, length: int | None) -> bytes:
        reason = _REASONS.get(response.status) or _phrase(response.status)
        lines = [f"{self.protocol_version} {response.status} {reason}"]
        lines += [f"{key}: {value}" for key, value in response.headers.items()]
        lines.append(f"Date: {self.date_time_string()}")
        lines.append("Server: UploadServer (local)")
        if length is None:
            lines.append("Transfer-Encoding: chunked")
        elif response.status != http.HTTPStatus.NOT_MODIFIED:
            lines.append(f"Content-Length: {length}")
        if self.close_connection:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is not even a request; the base class calls this while parsing."""
        self.close_connection = True
        reason = message or explain or _phrase(code)
        self._send(error_response(ApiError(code, "badRequest", reason)), None)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing: the journal has every request."""


class Listener(ThreadingHTTPServer):
    """The listening socket: a thread for each connection, all of them gone after `close`."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 256
    allow_reuse_address = True
    address_family: ClassVar[int] = socket.AF_INET  # type: ignore[misc]

    def __init__(
        self,
        address: tuple[str, int],
        answer: Callable[[Request], Response],
        *,
        public_url: str | None,
        ssl_context: ssl.SSLContext | None,
        stopping: threading.Event,
    ) -> None:
        self.answer = answer
        self.stopping = stopping
        self._public_url = public_url
        self._ssl_context = ssl_context
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, Connection)

    @property
    def url(self) -> str:
        """The address to ask: the public one where one is configured."""
        host, port = self.server_address[:2]
        return self.base_url(f"{host!s}:{port}")

    def base_url(self, host: str | None) -> str:
        """Return the address under which this client sees the server."""
        if self._public_url:
            return self._public_url
        return f"{'https' if self._ssl_context else 'http'}://{host}" if host else self.url

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
        """Report a bug of ours; a client that went away is none."""
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()


def _read(body: FileSlice) -> bytes:
    body.file.seek(body.offset)
    return body.file.read(body.count)


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
