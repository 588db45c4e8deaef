"""The AWS credentials of the function, and the clients that use them."""

import json
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from google.auth import aws

from replicate.aws_clients import AwsClients, AwsKeys
from replicate.errors import (
    DestinationUnavailableError,
    OutOfTimeError,
    SettingsError,
    SourceUnavailableError,
    UnavailableError,
)
from replicate.gcs.secret import Secret
from replicate.gcs.trusted_hosts import TrustedHosts
from replicate.protocol.deadline import Deadline
from replicate.protocol.model import SourceRef
from replicate.retry import DEFAULT_POLICY, RetryPolicy
from replicate.s3 import S3Source
from replicate.wiring import Environment

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_secretsmanager import SecretsManagerClient
    from types_boto3_sqs import SQSClient
    from types_boto3_stepfunctions import SFNClient

REGION = "eu-west-1"
THREADS = 10


class Container:
    """A container credentials endpoint. Its keys expire, and it may be down."""

    def __init__(self) -> None:
        self.request_count = 0
        self.is_up = True
        self.lifetime = timedelta(hours=1)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.request_count += 1
                known = self.headers["Authorization"] == "who-is-asking"
                self.send_response(200 if outer.is_up and known else 500)
                self.end_headers()
                self.wfile.write(outer.response())

            def log_message(self, *_: object) -> None:
                """Write nothing to standard error."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/credentials"

    def response(self) -> bytes:
        return json.dumps(
            {
                "AccessKeyId": f"AKIA{self.request_count}",
                "SecretAccessKey": "secret",
                "Token": "token",
                "Expiration": (datetime.now(UTC) + self.lifetime).isoformat(),
            }
        ).encode()


@pytest.fixture
def no_default_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide all credentials that botocore could find."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "1")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere")


@pytest.fixture
def container(no_default_credentials: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    del no_default_credentials
    server = Container()
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", server.url)
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "who-is-asking")
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0.01)
    yield server
    server.server.shutdown()
    server.server.server_close()


def make_clients(policy: RetryPolicy = DEFAULT_POLICY) -> AwsClients:
    return AwsClients(REGION, policy)


def test_keys_of_the_environment_are_used(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    assert make_clients().keys() == AwsKeys("AKIA", "s", None)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t")
    assert make_clients().keys() == AwsKeys("AKIA", "s", "t")
    assert container.request_count == 0


def test_keys_of_a_container_endpoint_are_requested_once(container: Container) -> None:
    clients = make_clients()
    assert clients.keys() == clients.keys() == AwsKeys("AKIA1", "secret", "token")
    assert container.request_count == 1


def test_expiring_keys_are_renewed(container: Container) -> None:
    container.lifetime = timedelta(minutes=5)  # botocore renews what lasts less than ten
    clients = make_clients()
    assert clients.keys() != clients.keys()


def federation(clients: AwsClients) -> aws.Credentials:
    """Return Google credentials that use the AWS keys of the function."""
    described = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/x",
        "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request",
        "token_url": "https://sts.googleapis.com/v1/token",
    }
    trusted = TrustedHosts(frozenset({"googleapis.com"}), "")
    secret = Secret(clients, "secret", REGION, RetryPolicy(attempts=1), trusted)
    made = secret.credentials(json.dumps(described))
    assert isinstance(made, aws.Credentials)
    return made


def test_unavailable_error_is_raised_when_keys_cannot_be_renewed(container: Container) -> None:
    container.lifetime = timedelta(minutes=-5)
    clients = make_clients()
    container.is_up = False
    with pytest.raises(UnavailableError, match="could not be renewed"):
        clients.keys()
    with pytest.raises(SourceUnavailableError, match="could not be renewed"):
        S3Source(clients, Deadline(10), RetryPolicy(attempts=1)).head(SourceRef("bucket", "key"))
    with pytest.raises(DestinationUnavailableError, match="could not be renewed") as caught:
        federation(clients).retrieve_subject_token(None)
    assert caught.value.from_aws, "it says nothing about Google"
    container.is_up, container.lifetime = True, timedelta(hours=1)
    assert clients.keys().token == "token"


def test_unavailable_error_without_a_cause_is_raised_when_keys_cannot_be_read(
    container: Container,
) -> None:
    container.is_up = False
    environ = {
        "AWS_REGION": REGION,
        "GCS_BUCKET_NAME": "b",
        "GCP_CREDENTIALS_SECRET": "s",
        "SOURCE_BUCKETS": "a",
    }
    with pytest.raises(UnavailableError, match="could not be renewed") as caught:
        Environment.from_environ(environ)
    assert caught.value.__suppress_context__
    container.is_up = True
    Environment.from_environ(environ).close()


@pytest.mark.usefixtures("no_default_credentials")
def test_settings_error_is_raised_when_the_function_has_no_role() -> None:
    clients = make_clients()
    with pytest.raises(SettingsError, match="Give it an execution role"):
        clients.keys()
    with pytest.raises(SettingsError, match="Give it an execution role"):
        S3Source(clients, Deadline(10), DEFAULT_POLICY).head(SourceRef("bucket", "key"))


def timeouts(
    client: "S3Client | SecretsManagerClient | SQSClient | SFNClient",
) -> tuple[float, float]:
    config: Any = client.meta.config
    return config.connect_timeout, config.read_timeout


@pytest.mark.parametrize(
    ("left", "timeout"), [(900, 20), (20, 20), (19, 4), (4, 4), (3.9, 1), (1, 1), (0.5, 1)]
)
def test_client_timeouts_are_shorter_near_the_deadline(left: float, timeout: float) -> None:
    clients = make_clients()
    stopped = Deadline(left, clock=lambda: 0.0)
    for client in (
        clients.client("s3", stopped),
        clients.client("secretsmanager", stopped),
        clients.client("sqs", stopped),
        clients.client("stepfunctions", stopped),
    ):
        assert timeouts(client) == (timeout, timeout)
    clients.close()


@pytest.mark.usefixtures("no_default_credentials")
def test_client_does_not_retry_or_compute_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default the SDK repeats requests, hashes every byte and lets threads wait."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    config: Any = make_clients().client("s3", Deadline(60)).meta.config
    assert config.retries == {"mode": "standard", "total_max_attempts": 1}
    assert config.request_checksum_calculation == "when_required"
    assert config.response_checksum_validation == "when_required"
    assert config.max_pool_connections >= THREADS
    assert config.tcp_keepalive is True
    assert config.user_agent.startswith("s3-to-gcs-replicator")
    assert config.s3["us_east_1_regional_endpoint"] == "regional"


def test_dates_and_checksums_of_s3_are_read(aws: str) -> None:
    del aws
    clients = make_clients()
    s3 = clients.client("s3", Deadline(60))
    bucket = f"dates-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket=bucket, Key="key", Body=b"123456789", ChecksumAlgorithm="CRC32")
    read = s3.get_object(Bucket=bucket, Key="key")
    assert read["Body"].read() == b"123456789"
    assert read["ChecksumCRC32"] == "y/Q5Jg=="
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"][0]["LastModified"]
    for date in (read["LastModified"], listed):  # S3 writes them in two formats
        assert timedelta(0) <= datetime.now(UTC) - date < timedelta(minutes=2)
    s3.delete_object(Bucket=bucket, Key="key")
    s3.delete_bucket(Bucket=bucket)
    clients.close()


def test_client_timeouts_do_not_exceed_the_timeout_of_the_policy() -> None:
    clients = make_clients(RetryPolicy(io_timeout_s=2))
    for left, timeout in ((900, 2), (2, 2), (1.5, 1)):
        client = clients.client("s3", Deadline(left, clock=lambda: 0.0))
        assert timeouts(client) == (timeout, timeout)


def test_no_client_is_built_after_the_deadline() -> None:
    with pytest.raises(OutOfTimeError):
        make_clients().client("s3", Deadline(0))


def test_client_is_built_once_when_ten_threads_need_it() -> None:
    clients = make_clients()
    start = threading.Barrier(THREADS)
    near_the_end = Deadline(2, clock=lambda: 0.0)

    def get_client(_: int) -> object:
        start.wait(10)
        return clients.client("s3", near_the_end)

    with ThreadPoolExecutor(THREADS) as pool:
        returned = list(pool.map(get_client, range(THREADS)))
    assert len({*map(id, returned)}) == 1
    assert clients.client("s3", near_the_end) is returned[0]
    assert clients.client("s3", Deadline(60)) is not returned[0]


def test_repr_of_keys_has_no_secret() -> None:
    assert "secret" not in repr(AwsKeys("AKIA", "secret-key", "secret-token"))
