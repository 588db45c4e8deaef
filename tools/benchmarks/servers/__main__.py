"""A server as a process: prints its URL and serves until SIGTERM."""

import argparse
import ssl
from pathlib import Path

from tools.benchmarks.servers.aws import Aws
from tools.benchmarks.servers.gcs import Gcs
from tools.benchmarks.servers.web import Server


def main() -> None:
    """Serve `aws` or `gcs`."""
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks.servers")
    parser.add_argument("service", choices=["aws", "gcs"])
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--secret", type=Path, help="the value of the secret in Secrets Manager")
    options = parser.parse_args()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    tls.load_cert_chain(options.certificate)
    application = Aws(options.secret.read_text()) if options.service == "aws" else Gcs()
    with Server(application, tls) as server:
        print(server.url, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
