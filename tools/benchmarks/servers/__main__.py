"""A server as a process of its own: says its address, and ends when its standard input does."""

import argparse
import ssl
import sys
from pathlib import Path

from tools.benchmarks.servers.aws import Aws
from tools.benchmarks.servers.gcs import Gcs
from tools.benchmarks.servers.web import Server


def main() -> None:
    """Serve `aws` or `gcs`; the secret is the Google key that Secrets Manager holds."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.benchmarks.servers", description=main.__doc__
    )
    parser.add_argument("service", choices=["aws", "gcs"])
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--secret", type=Path)
    options = parser.parse_args()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    tls.load_cert_chain(options.certificate)
    application = Aws(options.secret.read_text()) if options.service == "aws" else Gcs()
    server = Server(application, tls)
    server.start()
    sys.stdout.write(server.url + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
