"""Both servers as processes of their own, and what a client must know to reach them."""

import http.client
import json
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import certifi
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tools.benchmarks.servers.aws import BUCKET as SOURCE
from tools.benchmarks.servers.gcs import BUCKET as DESTINATION
from tools.benchmarks.servers.journal import Taken
from tools.build import certificates

_PREFER_AES_128 = """\
openssl_conf = top
[top]
ssl_conf = ssl
[ssl]
system_default = tls
[tls]
Ciphersuites = TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384
"""
"""What S3 chooses; Python has no way to say it before 3.15."""

_AUTHORITY = "The benchmark's own authority"
_ROOT = Path(__file__).parents[2]
_ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
_SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105 - from AWS's documentation


class ServerError(Exception):
    """A server did not start, or it saw something that no client may do."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A running server."""

    url: str
    cipher: str
    tls: ssl.SSLContext

    def take(self, **settings: int) -> Taken:
        """What it was asked since the last time; set `delay_ms`, `prime` a size of objects.

        Raises ServerError.
        """
        query = "?" + urlencode(settings)
        host, port = urlsplit(self.url).hostname or "", urlsplit(self.url).port
        connection = http.client.HTTPSConnection(host, port, context=self.tls)
        connection.request("POST", f"/_bench/journal{query}")
        taken: dict[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        if taken["faults"]:
            raise ServerError("\n".join(taken["faults"][:10]))
        return Taken.from_json(taken)


@dataclass(frozen=True, slots=True)
class Site:
    """Where everything is."""

    directory: Path
    aws: Endpoint
    gcs: Endpoint
    key: str
    """The Google service account key, as a file of Google's holds it."""

    @property
    def artifact(self) -> Path:
        """The function, and beside it the certificate authorities that its build puts there."""
        return self.directory / "artifact"

    @property
    def environment(self) -> dict[str, str]:
        """As Lambda's, and where the authorities and the servers are to be found."""
        authorities = str(self.directory / "authorities.pem")
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.directory),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "PYTHONDONTWRITEBYTECODE": "",
            "SSL_CERT_FILE": authorities,
            "AWS_CA_BUNDLE": authorities,
            "REQUESTS_CA_BUNDLE": authorities,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": _ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET_KEY,
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


@contextmanager
def running(directory: Path) -> Iterator[Site]:
    """Start both servers, and end them. Raises ServerError."""
    authority = trustme.CA()
    known = Path(certifi.where()).read_text(encoding="utf-8")  # a client pays for reading them all
    bundle = f"# Label: {_AUTHORITY}\n{authority.cert_pem.bytes().decode()}{known}"
    (directory / "authorities.pem").write_text(bundle, encoding="utf-8")
    certificate = authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem
    certificate.write_to_path(directory / "server.pem")
    (directory / "openssl.cnf").write_text(_PREFER_AES_128)
    tls = ssl.create_default_context(cafile=str(directory / "authorities.pem"))
    with ExitStack() as stack:
        gcs = stack.enter_context(_server(directory, tls, ["gcs"], {}))
        (directory / "key.json").write_text(_service_account_key(gcs.url + "/token"))
        prefer = {"OPENSSL_CONF": str(directory / "openssl.cnf")}
        secret = ["aws", "--secret", str(directory / "key.json")]
        aws = stack.enter_context(_server(directory, tls, secret, prefer))
        site = Site(directory, aws, gcs, (directory / "key.json").read_text())
        _build(site.artifact, bundle)
        yield site


def _build(artifact: Path, bundle: str) -> None:
    """Lay the function out as its build does; ours is one more of AWS's authorities."""
    artifact.mkdir()
    (artifact / "replicate").symlink_to(_ROOT / "functions" / "replicate")
    amazon = (*certificates.AMAZON, _AUTHORITY)
    certificates.write(bundle, artifact / "certificates", amazon)


@contextmanager
def _server(
    directory: Path, tls: ssl.SSLContext, arguments: list[str], environment: Mapping[str, str]
) -> Iterator[Endpoint]:
    command = [sys.executable, "-m", "tools.benchmarks.servers", *arguments]
    with subprocess.Popen(  # noqa: S603 - our own module
        [*command, "--certificate", str(directory / "server.pem")],
        env={"PATH": "/usr/bin:/bin", **environment},
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise ServerError("unreachable: both are pipes")
        url = process.stdout.readline().strip()
        if not url:
            raise ServerError(f"The server did not start: {command}")
        yield Endpoint(url, _cipher(url, tls), tls)
        process.stdin.close()


def _cipher(url: str, tls: ssl.SSLContext) -> str:
    connection = http.client.HTTPSConnection(urlsplit(url).netloc, context=tls)
    connection.connect()
    agreed = connection.sock.cipher() if isinstance(connection.sock, ssl.SSLSocket) else None
    connection.close()
    return agreed[0] if agreed else "none"


def _service_account_key(token_uri: str) -> str:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    key = {
        "type": "service_account",
        "project_id": "benchmark",
        "private_key_id": "0" * 40,
        "private_key": private.decode(),
        "client_email": "replicator@benchmark.iam.gserviceaccount.com",
        "client_id": "0",
        "token_uri": token_uri,
    }
    return json.dumps(key)
