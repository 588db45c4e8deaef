"""An HTTP server with canned responses, for responses that no other test server gives."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Response = tuple[int, bytes]


class CannedServer:
    """Returns one response after the other, and the last one again and again."""

    def __init__(self, url: str, responses: list[Response]) -> None:
        self.url = url
        self.bodies: list[bytes] = []
        """Those of the requests so far."""
        self._answers = responses

    @property
    def request_count(self) -> int:
        return len(self.bodies)

    def next(self, body: bytes) -> Response:
        self.bodies.append(body)
        return self._answers[min(self.request_count, len(self._answers)) - 1]


@contextmanager
def serve_responses(*responses: Response) -> Iterator[CannedServer]:
    """Run a server on a free port of loopback that returns these responses."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status, body = canned.next(sent)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST  # noqa: N815 - the names that the base class looks for

        def log_message(self, *_: object) -> None:
            """Write nothing to standard error."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        canned = CannedServer(f"http://127.0.0.1:{server.server_port}", [*responses])
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield canned
        server.shutdown()
