"""moto's server: AWS on a port of this process."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from moto.server import ThreadedMotoServer

from tools.local import moto_server as moto


@contextmanager
def moto_server() -> Iterator[tuple[str, int]]:
    """Run moto; yield its host and port."""
    moto.prepare()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for each request takes long
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        yield server.get_host_and_port()
    finally:
        server.stop()
