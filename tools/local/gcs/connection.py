"""One HTTP/1.1 connection: answers in one segment, and the endings that a fault asks for."""

import http
import io
import socket
import ssl
import struct
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from tools.local.gcs.errors import ApiError, ConnectionCutError, invalid
from tools.local.gcs.exchange import Body, FileSlice, Request, Response, error_response
from tools.local.gcs.faults import Fault
from tools.local.gcs.framing import Framed

if TYPE_CHECKING:
    from tools.local.gcs.listener import Listener

_IDLE_SECONDS = 300
_SMALL_BYTES = 64 * 1024
_REASONS = {308: "Resume Incomplete", 499: "Client Closed Request"}


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
        try:
            length = self._body_length()
            request = self._request(length)
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
        if self._continue_due and length != 0:  # the client may send its body or not: who knows
            self.close_connection = True
            self._send(response, request.fault)
            return
        self._continue_due = False
        self._send(response, request.fault)
        request.body.drain()  # closing on unread bytes would destroy the answer

    do_GET = _serve  # noqa: N815 - the base class looks methods up by name
    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_GET  # noqa: N815 - same

    def _request(self, length: int | None) -> Request:
        url = urlsplit(self.path)
        try:
            queries = parse_qs(url.query, keep_blank_values=True, errors="strict")
        except ValueError as error:
            raise invalid("The query string is not UTF-8.") from error
        headers = self._plain_headers()
        is_gzip = headers.get("content-encoding") == "gzip"
        return Request(
            method=self.command,
            path=url.path,
            queries=queries,
            headers=headers,
            body=Body(Framed(self.rfile, length, self._send_continue), length, is_gzip=is_gzip),
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
                self._send_chunks(response, body)
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

    def _send_chunks(self, response: Response, pieces: Iterator[bytes]) -> None:
        self.wfile.write(self._head(response, None))
        for piece in pieces:
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


def _read(body: FileSlice) -> bytes:
    body.file.seek(body.offset)
    return body.file.read(body.count)


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
