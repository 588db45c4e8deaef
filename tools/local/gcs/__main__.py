"""Run the server until SIGTERM or Ctrl-C: `python -m tools.local.gcs --bucket replica`."""

import argparse
from pathlib import Path

from werkzeug.serving import load_ssl_context

from tools.local.gcs.server import GcsServer


def main() -> None:
    """Start the server, print its URL, and wait."""
    arguments = _parser().parse_args()
    certificate = arguments.certfile
    with GcsServer(
        arguments.bucket,
        host=arguments.host,
        port=arguments.port,
        auth=not arguments.no_auth,
        token_seconds=arguments.token_seconds,
        public_url=arguments.public_url,
        ssl_context=certificate and load_ssl_context(certificate, arguments.keyfile),
        data_dir=arguments.data_dir,
        seconds_between_writes=arguments.seconds_between_writes,
    ) as server:
        server.run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.local.gcs", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--public-url", help="base URL in responses, instead of the Host header's")
    parser.add_argument("--bucket", action="append", default=[], help="create it; repeatable")
    parser.add_argument("--data-dir", type=Path, help="the directory for temporary data")
    parser.add_argument("--token-seconds", type=float, default=3600, help="lifetime of a token")
    parser.add_argument(
        "--seconds-between-writes",
        type=float,
        default=0,
        help="respond 429 to a faster write of the same object; GCS has a limit of about 1",
    )
    parser.add_argument("--no-auth", action="store_true", help="require no tokens")
    parser.add_argument("--certfile", help="serve TLS with this certificate")
    parser.add_argument("--keyfile", help="its key, if it is in another file")
    return parser


if __name__ == "__main__":
    main()
