"""Both servers as processes, and everything that a client needs to reach them."""

import json
import socket
import ssl
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import certifi
import trustme

from tools.benchmarks.servers.aws import BUCKET as SOURCE
from tools.benchmarks.servers.gcs import BUCKET as DESTINATION
from tools.benchmarks.servers.journal import Record
from tools.benchmarks.servers.web import ADMIN
from tools.build import certificates
from tools.common import http
from tools.common.processes import Child, plain_environment
from tools.local.gcs.keyring import Keyring

REGION = "us-east-1"

_PREFER_AES_128 = """\
openssl_conf = top
[top]
ssl_conf = ssl
[ssl]
system_default = tls
[tls]
Ciphersuites = TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384
"""
"""S3 chooses this cipher. Python has no setting for it before 3.15."""

_AUTHORITY = "The benchmark's own authority"
_ROOT = Path(__file__).parents[2]


class ServerError(Exception):
    """A client sent something that no client may send."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A running server. `authorities` is the file with the certificate that it is signed by."""

    url: str
    authorities: str

    def take(self, **settings: int | str) -> Record:
        """Return the record since the last call. Set what `Server.administer` knows.

        Raises ServerError.
        """
        url = f"{self.url}{ADMIN}?{urlencode(settings)}"
        record = Record.from_json(http.call("POST", url, verify=self.authorities))
        if record.errors:
            raise ServerError("\n".join(record.errors[:10]))
        return record

    def cipher(self) -> str:
        """Return the cipher that the server chooses."""
        host, port = urlsplit(self.url).hostname or "", urlsplit(self.url).port
        tls = ssl.create_default_context(cafile=self.authorities)
        with (
            socket.create_connection((host, port)) as connection,
            tls.wrap_socket(connection, server_hostname=host) as secure,
        ):
            agreed = secure.cipher()
        return agreed[0] if agreed else "none"


@dataclass(frozen=True, slots=True)
class Site:
    """The servers and the function's environment."""

    directory: Path
    aws: Endpoint
    gcs: Endpoint
    key: str
    """The content of the Google service account's key file."""

    @property
    def artifact(self) -> Path:
        """The folder with the function and the certificate authorities that its build adds."""
        return self.directory / "artifact"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a Lambda function that uses these servers."""
        authorities = self.aws.authorities
        return {
            **plain_environment(),
            "HOME": str(self.directory),
            "PYTHONDONTWRITEBYTECODE": "",
            "SSL_CERT_FILE": authorities,
            "AWS_CA_BUNDLE": authorities,
            "REQUESTS_CA_BUNDLE": authorities,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",  # from AWS's documentation
            "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "AWS_SESSION_TOKEN": "x" * 800,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": self.aws.url,
            "AWS_LAMBDA_FUNCTION_NAME": "replicate",
            "GCS_BUCKET_NAME": DESTINATION,
            "GCP_CREDENTIALS_SECRET": "gcp",
            "SOURCE_BUCKETS": SOURCE,
            "STORAGE_EMULATOR_HOST": self.gcs.url,
            "POWERTOOLS_SERVICE_NAME": "replicate",
            "POWERTOOLS_METRICS_NAMESPACE": "Benchmark",
        }

    def take(self, **settings: int | str) -> tuple[Record, Record]:
        """Return the records of both servers, see `Endpoint.take`."""
        return self.aws.take(**settings), self.gcs.take(**settings)


@contextmanager
def running(directory: Path) -> Iterator[Site]:
    """Run both servers."""
    authority = trustme.CA()
    known = Path(certifi.where()).read_text(encoding="utf-8")  # each client reads all of them
    bundle = f"# Label: {_AUTHORITY}\n{authority.cert_pem.bytes().decode()}{known}"
    (directory / "authorities.pem").write_text(bundle, encoding="utf-8")
    certificate = authority.issue_cert("localhost").private_key_and_cert_chain_pem
    certificate.write_to_path(directory / "server.pem")
    (directory / "openssl.cnf").write_text(_PREFER_AES_128)
    with ExitStack() as stack:
        gcs = stack.enter_context(_server(directory, "gcs", [], {}))
        key = json.dumps(Keyring(3600).create_key(gcs.url))
        (directory / "key.json").write_text(key)
        secret = ["--secret", str(directory / "key.json")]
        openssl = {"OPENSSL_CONF": str(directory / "openssl.cnf")}
        aws = stack.enter_context(_server(directory, "aws", secret, openssl))
        site = Site(directory, aws, gcs, key)
        site.artifact.mkdir()
        (site.artifact / "replicate").symlink_to(_ROOT / "functions" / "replicate")
        amazon = (*certificates.AMAZON, _AUTHORITY)
        certificates.write(bundle, site.artifact / "certificates", amazon)
        yield site


@contextmanager
def _server(
    directory: Path, service: str, arguments: list[str], environment: Mapping[str, str]
) -> Iterator[Endpoint]:
    certificate = str(directory / "server.pem")
    server = Child(
        [
            *(sys.executable, "-m", "tools.benchmarks.servers", service),
            *("--certificate", certificate, *arguments),
        ],
        env={**plain_environment(), **environment},
        cwd=_ROOT,
        log=directory / f"{service}.log",
    )
    try:
        url = server.wait_for_output(r"(https://\S+)")
        yield Endpoint(url, str(directory / "authorities.pem"))
    finally:
        server.stop()
