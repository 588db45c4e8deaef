"""A simulated internet between the function and both clouds: a CONNECT proxy and TLS servers.

The function runs as in production, without changed endpoints. It can connect only to the proxy. The
proxy records each requested host, and forwards known hosts to servers on loopback.
"""

import http.client
import json
import selectors
import socket
import socketserver
import ssl
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Literal

import boto3
import trustme
from aws_server import moto_server
from botocore.config import Config

from tools.local.gcs import GcsServer

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_secretsmanager import SecretsManagerClient

REGION: Literal["eu-west-1"] = "eu-west-1"
SOURCE = "production-source"
DOTTED = "production.source"
DESTINATION = "production-destination"
SECRET = "production/gcp"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAPRODUCTION", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}
AWS_DOMAINS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
GOOGLE_DOMAINS = (".googleapis.com", ".example.cloud")

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request that arrived over TLS."""

    host: str
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def __str__(self) -> str:
        return f"{self.method} https://{self.host}{self.path}"


class Certificates:
    """Issues a certificate for each host that a client names."""

    def __init__(self) -> None:
        self._authority = trustme.CA()
        self._stranger = trustme.CA()
        self._contexts: dict[tuple[str, str], ssl.SSLContext] = {}
        self.kind = "right"
        """The kind of certificate to serve: `right`, `other-name` or `other-authority`."""
        self._file = tempfile.NamedTemporaryFile(suffix=".pem")  # noqa: SIM115 - see close
        self._file.write(self._authority.cert_pem.bytes())
        self._file.flush()
        self.bundle = self._file.name
        self.serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.serving.sni_callback = self._select

    def close(self) -> None:
        self._file.close()

    def _select(
        self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext
    ) -> None:
        """Serve the certificate for the name. Clients send no name for an IP address."""
        host = "other.example" if self.kind == "other-name" else name or "127.0.0.1"
        key = (self.kind, host)
        if key not in self._contexts:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority = self._stranger if self.kind == "other-authority" else self._authority
            authority.issue_cert(host).configure_cert(context)
            self._contexts[key] = context
        connection.context = self._contexts[key]


class _Threads(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A server on a free port, whose open connections can be cut."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, handler: type[socketserver.BaseRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), handler)
        self.port = int(self.server_address[1])
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    def get_request(self) -> tuple[socket.socket, Any]:
        client, address = super().get_request()
        self._open.add(client)
        return client, address

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as in the base class
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect, as they do after a wrong certificate."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def cut(self) -> None:
        """Close every connection, so that the next request opens a new one."""
        for client in list(self._open):
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        self.cut()
        self.server_close()


class Front(_Threads):
    """Terminates TLS, records each request, and forwards it to a server with plain HTTP."""

    def __init__(self, certificates: Certificates, paths: Mapping[str, str] | None = None) -> None:
        self._certificates = certificates
        self.paths = paths or {}
        self.upstream = 0
        self.requests: list[RecordedRequest] = []
        super().__init__(_Request)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a client. The TLS handshake happens in the thread of the connection."""
        client, address = socketserver.TCPServer.get_request(self)
        tls = self._certificates.serving.wrap_socket(
            client, server_side=True, do_handshake_on_connect=False
        )
        self._open.add(tls)
        return tls, address


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Front

    def _pass_on(self) -> None:
        assert "transfer-encoding" not in self.headers
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append(
            RecordedRequest(headers["host"], self.command, self.path, headers, body)
        )
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=30)
        target = self.server.paths.get(headers["host"] + self.path, self.path)
        upstream.request(self.command, target, body, headers)
        response = upstream.getresponse()
        data = response.read()
        upstream.close()
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in {"connection", "content-length", "transfer-encoding"}:
                self.send_header(name, value)
        if self.command == "HEAD":
            self.send_header("Content-Length", response.getheader("content-length", "0"))
        elif response.status != http.HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815 - theirs

    def log_message(self, *_: object) -> None:
        """Write nothing to standard error."""


class Proxy(_Threads):
    """An HTTP proxy for CONNECT. `targets` has the requested targets, in order."""

    def __init__(self, route: Callable[[str, int], int | None]) -> None:
        self.route = route
        self.targets: list[str] = []
        super().__init__(_Tunnel)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def hosts(self) -> set[str]:
        """Return every host that was requested."""
        return set(self.targets)


class _Tunnel(socketserver.StreamRequestHandler):
    server: Proxy
    rbufsize = 0  # the bytes after the headers belong to the tunnel

    def handle(self) -> None:
        method, target, _ = self.rfile.readline().decode().split()
        while self.rfile.readline().strip():
            pass
        self.server.targets.append(target if method == "CONNECT" else f"{method} {target}")
        host, _, port = target.rpartition(":")
        to = self.server.route(host, int(port)) if method == "CONNECT" else None
        if to is None:
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", to)) as upstream:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _relay(self.connection, upstream)


def _relay(one: socket.socket, other: socket.socket) -> None:
    """Forward bytes in both directions until one side closes."""
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in selector.select():
                source: Any = key.fileobj
                data = source.recv(256 * 1024)
                if not data:
                    return
                key.data.sendall(data)


class Internet:
    """Both clouds, reachable by their own host names only through the proxy. Call `close`."""

    def __init__(self, gcs_url: str | None = "https://storage.googleapis.com") -> None:
        """Start the servers. `gcs_url` is the URL of GCS; None is a private one on localhost."""
        self.certificates = Certificates()
        self.aws = Front(self.certificates)
        sts = {f"sts.{domain[1:]}/v1/token": "/sts/token" for domain in GOOGLE_DOMAINS}
        self.google = Front(self.certificates, sts)
        self._moto = ExitStack()
        _, self.aws.upstream = self._moto.enter_context(moto_server())
        self.gcs = GcsServer(
            [DESTINATION], public_url=gcs_url or f"https://localhost:{self.google.port}"
        )
        self.google.upstream = self.gcs.port
        self.proxy = Proxy(self._route)
        session = boto3.Session(
            KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"], region_name=REGION
        )
        endpoint = f"http://127.0.0.1:{self.aws.upstream}"
        direct = Config(proxies={})  # ignores the environment variables
        self.s3: S3Client = session.client("s3", endpoint_url=endpoint, config=direct)
        self.secrets: SecretsManagerClient = session.client(
            "secretsmanager", endpoint_url=endpoint, config=direct
        )

    def create_bucket(self, name: str) -> None:
        self.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})

    def delete_bucket(self, name: str) -> None:
        """Delete a bucket and its objects, because the state of moto belongs to the process."""
        for item in self.s3.list_objects_v2(Bucket=name).get("Contents", []):
            self.s3.delete_object(Bucket=name, Key=item["Key"])
        self.s3.delete_bucket(Bucket=name)

    def store_secret(self, value: Mapping[str, Any], name: str = SECRET) -> None:
        """Create the secret with this value, without previous versions."""
        with suppress(self.secrets.exceptions.ResourceNotFoundException):
            self.secrets.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
        self.secrets.create_secret(Name=name, SecretString=json.dumps(value))

    def key(self, token_uri: str | None = None) -> dict[str, str]:
        """Return a service account key as Google writes it."""
        return self.gcs.create_key() | {
            "token_uri": token_uri or "https://oauth2.googleapis.com/token"
        }

    def federation(
        self, domain: str = "googleapis.com", *, impersonate: bool = False
    ) -> dict[str, Any]:
        """Return a federation configuration as Google writes it."""
        configuration = self.gcs.external_account(impersonate=impersonate)
        configuration |= {"token_url": f"https://sts.{domain}/v1/token", "universe_domain": domain}
        if impersonate:
            address = configuration["service_account_impersonation_url"].replace(
                "https://storage.", "https://iamcredentials."
            )
            configuration["service_account_impersonation_url"] = address
        return configuration

    @property
    def requests(self) -> list[RecordedRequest]:
        """Return every request that arrived at a cloud."""
        return [*self.aws.requests, *self.google.requests]

    def clear_requests(self) -> None:
        """Clear the recorded requests."""
        for journal in (self.aws.requests, self.google.requests, self.proxy.targets):
            journal.clear()

    def cut(self) -> None:
        """Close every connection."""
        for server in (self.proxy, self.aws, self.google):
            server.cut()

    def close(self) -> None:
        self.s3.close()
        self.secrets.close()
        self.proxy.close()
        self.aws.close()
        self.google.close()
        self.gcs.close()
        self._moto.close()
        self.certificates.close()

    def _route(self, host: str, port: int) -> int | None:
        if port == http.client.HTTPS_PORT:
            for front, domains in ((self.aws, AWS_DOMAINS), (self.google, GOOGLE_DOMAINS)):
                if host.endswith(domains):
                    return front.port
        return port if host in {"127.0.0.1", "localhost"} else None


@dataclass(slots=True)
class _SocketAudit:
    """An audit hook that collects the hosts that this process looks up or connects to."""

    is_installed: bool = False
    hosts: set[str] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.hosts is None:
            return
        if event == "socket.connect" and isinstance(arguments[1], tuple):
            self.hosts.add(str(arguments[1][0]))
        elif event == "socket.getaddrinfo":
            self.hosts.add(str(arguments[0]))


_AUDIT = _SocketAudit()


@contextmanager
def watched_hosts() -> Iterator[set[str]]:
    """Collect the hosts that the sockets of this process connect to, the proxy included."""
    with _AUDIT.lock:
        if not _AUDIT.is_installed:
            sys.addaudithook(_AUDIT)
            _AUDIT.is_installed = True
        hosts: set[str] = set()
        _AUDIT.hosts = hosts
        try:
            yield hosts
        finally:
            _AUDIT.hosts = None
