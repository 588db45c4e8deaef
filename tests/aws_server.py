"""moto's server: AWS on a port of this process."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

from moto import backends
from moto.server import ThreadedMotoServer
from werkzeug.serving import WSGIRequestHandler

_services = functools.cache(lambda find=backends.list_of_moto_modules: frozenset(find()))


@contextmanager
def moto_server() -> Iterator[tuple[str, int]]:
    """Run moto; yield its host and port.

    moto looks through its folder at each request, which takes 1 ms: here it does that once. It
    writes headers and body separately, which is slow unless each is sent at once.
    """
    backends.list_of_moto_modules = _services
    WSGIRequestHandler.disable_nagle_algorithm = True
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        yield server.get_host_and_port()
    finally:
        server.stop()
