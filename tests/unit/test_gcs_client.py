"""The client follows the universe domain that the secret names, and keeps its connections."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Barrier, Thread

import pytest
from google.auth.credentials import Credentials

from replicate.breaker import Circuit
from replicate.errors import SettingsError
from replicate.gcs.client import MAX_IDLE_S, UPLOADS, GcsClient
from replicate.gcs.credentials import MAX_AGE_S, SecretCredentials
from replicate.protocol.deadline import Deadline
from replicate.protocol.parts import PARTS_AT_ONCE
from replicate.replicate_all import CONCURRENCY
from replicate.retry import DEFAULT_POLICY


class InUniverse(Credentials):
    """Credentials of one universe."""

    def __init__(self, domain: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._universe_domain = domain

    def refresh(self, request: object) -> None:
        del request
        self.token = "token"


class Vault:
    """A secret that holds nothing but a universe's domain, and a clock."""

    domain = "googleapis.com"
    now = 0.0

    def read(self, deadline: Deadline) -> str:
        del deadline
        return self.domain

    def credentials(self, text: str) -> Credentials:
        return InUniverse(text)


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.fixture
def client(vault: Vault) -> Iterator[GcsClient]:
    credentials = SecretCredentials(vault, Deadline(60), DEFAULT_POLICY, lambda: vault.now)
    made = GcsClient(credentials, Circuit(clock=lambda: vault.now))
    yield made
    made.close()


def test_one_client_serves_all_buckets_while_the_domain_is_the_same(client: GcsClient) -> None:
    one, two = client.bucket("one"), client.bucket("two")
    assert (one.name, two.name) == ("one", "two")
    assert one.client is two.client
    assert one.client.universe_domain == "googleapis.com"
    assert one.client._credentials is client.credentials  # noqa: SLF001 - it has no public name


def test_a_secret_of_another_universe_has_a_client_of_its_own(
    client: GcsClient, vault: Vault
) -> None:
    before = client.bucket("one").client
    vault.domain = "example.cloud"
    vault.now = MAX_AGE_S
    after = client.bucket("one").client
    assert after is not before
    assert after.universe_domain == "example.cloud"
    assert after.api_endpoint == "https://storage.example.cloud"


def test_a_bucket_s_name_that_is_none_names_the_setting(client: GcsClient) -> None:
    with pytest.raises(
        SettingsError, match=r"^GcsBucketName \(GCS_BUCKET_NAME\) is not valid: Bucket"
    ):
        client.bucket("-no-name-")


def test_each_upload_of_a_batch_in_parts_keeps_its_connection(client: GcsClient) -> None:
    everybody = Barrier(UPLOADS, timeout=10)
    opened = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            opened.append(self.client_address)

        def do_PUT(self) -> None:
            everybody.wait()  # so that all connections are in use at the same time
            self.send_response(308)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Write nothing to standard error."""

    class Server(ThreadingHTTPServer):
        request_queue_size = UPLOADS

    with Server(("127.0.0.1", 0), Handler) as server, ThreadPoolExecutor(UPLOADS) as pool:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        for _ in range(3):
            list(pool.map(client.uploads.put, [url] * UPLOADS))
        client.uploads.close()
        server.shutdown()
    assert len(opened) == UPLOADS == CONCURRENCY * PARTS_AT_ONCE


class KeepAlive(BaseHTTPRequestHandler):
    """Answers every request, and keeps the connection open."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.clients.add(self.client_address)  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize(("pause_s", "connections"), [(MAX_IDLE_S, 1), (MAX_IDLE_S + 1, 2)])
def test_connection_that_was_idle_for_long_is_not_used_again(
    client: GcsClient,
    vault: Vault,
    monkeypatch: pytest.MonkeyPatch,
    pause_s: float,
    connections: int,
) -> None:
    """A NAT drops it while the environment is frozen: the first request would get no response."""
    with ThreadingHTTPServer(("127.0.0.1", 0), KeepAlive) as server:
        server.clients = set()  # type: ignore[attr-defined]
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        for _ in range(2):
            client.start_invocation()
            assert client.bucket("one").exists(retry=None)
            client.circuit.responded()
            vault.now += pause_s
        client.close()
        server.shutdown()
        assert len(server.clients) == connections  # type: ignore[attr-defined]
