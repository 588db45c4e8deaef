"""A web server in this process, for the parts of AWS that moto lacks."""

import threading
from collections.abc import Callable

from werkzeug import Request, Response
from werkzeug.serving import WSGIRequestHandler, make_server


class WebServer:
    """Responds to requests on a free port, each on a thread of its own. `close` it."""

    def __init__(self, respond: Callable[[Request], Response]) -> None:
        self._server = make_server(
            "127.0.0.1",
            0,
            Request.application(respond),
            threaded=True,
            request_handler=_QuietHandler,
        )
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05])
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _QuietHandler(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - Werkzeug's name
        """Log nothing: the function logs its requests."""
