"""Run the server until SIGTERM or Ctrl-C: `python -m tools.local.gcs --bucket replica`."""

import argparse
import json
import signal
import ssl
import threading
from pathlib import Path

from tools.local.gcs.server import GcsServer


def main() -> None:
    """Start the server, say where it is, and wait for the end."""
    arguments = _parser().parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with GcsServer(
        arguments.bucket,
        host=arguments.host,
        port=arguments.port,
        auth=not arguments.no_auth,
        token_seconds=arguments.token_seconds,
        public_url=arguments.public_url,
        ssl_context=_ssl_context(arguments.certfile, arguments.keyfile),
        data_dir=arguments.data_dir,
        seconds_between_writes=arguments.seconds_between_writes,
    ) as server:
        print(json.dumps({"url": server.url}), flush=True)
        stop.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.local.gcs", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--public-url", help="base URL in answers, instead of the Host header's")
    parser.add_argument("--bucket", action="append", default=[], help="create it; repeatable")
    parser.add_argument("--data-dir", type=Path, help="where the temporary data lies")
    parser.add_argument("--token-seconds", type=float, default=3600, help="tokens live so long")
    parser.add_argument(
        "--seconds-between-writes",
        type=float,
        default=0,
        help="answer 429 to a faster write of the same object; GCS has a limit of about 1",
    )
    parser.add_argument("--no-auth", action="store_true", help="ask for no tokens")
    parser.add_argument("--certfile", type=Path, help="serve TLS with this certificate")
    parser.add_argument("--keyfile", type=Path, help="its key, where it is another file")
    return parser


def _ssl_context(certfile: Path | None, keyfile: Path | None) -> ssl.SSLContext | None:
    if certfile is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certfile, keyfile)
    return context


if __name__ == "__main__":
    main()
