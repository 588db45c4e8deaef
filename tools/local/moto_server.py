"""moto's server, as a module to run with the arguments of `moto.server`."""

import functools

from moto import backends, server
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from werkzeug.serving import WSGIRequestHandler

_services = functools.cache(lambda find=backends.list_of_moto_modules: frozenset(find()))
_service_of_host = functools.cache(DomainDispatcherApplication.get_backend_for_host)


def prepare() -> None:
    """Let moto find out once what it finds out at each request, in 1 ms: which services it has.

    It writes headers and body separately, which is slow unless each is sent at once.
    """
    backends.list_of_moto_modules = _services
    DomainDispatcherApplication.get_backend_for_host = _service_of_host  # type: ignore[method-assign]
    WSGIRequestHandler.disable_nagle_algorithm = True


if __name__ == "__main__":
    prepare()
    server.main()
