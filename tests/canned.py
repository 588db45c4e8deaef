"""A server that answers as it was told, for answers that no other server gives."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = tuple[int, bytes]


class Canned:
    """Gives one answer after the other, the last one for ever."""

    def __init__(self, url: str, answers: list[Answer]) -> None:
        self.url = url
        self.asked = 0
        self._answers = answers

    def next(self) -> Answer:
        self.asked += 1
        return self._answers[min(self.asked, len(self._answers)) - 1]


@contextmanager
def answering(*answers: Answer) -> Iterator[Canned]:
    """Run such a server."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status, body = canned.next()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        canned = Canned(f"http://127.0.0.1:{server.server_port}", [*answers])
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield canned
        server.shutdown()
