"""The function's own AWS credentials, and the clients that use them."""

import json
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from replicate.aws_clients import AwsClients, AwsKeys
from replicate.errors import OutOfTimeError, SettingsError, SourceUnavailableError, UnavailableError
from replicate.protocol.deadline import Deadline
from replicate.protocol.model import SourceRef
from replicate.retry import DEFAULT_POLICY, RetryPolicy
from replicate.s3 import S3Source
from replicate.wiring import Environment

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_secretsmanager import SecretsManagerClient

REGION = "eu-west-1"
THREADS = 10


class Container:
    """The server beside a function under SnapStart: its keys expire, and it may be down."""

    def __init__(self) -> None:
        self.asked = 0
        self.up = True
        self.lasts = timedelta(hours=1)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                known = self.headers["Authorization"] == "who-is-asking"
                self.send_response(200 if outer.up and known else 500)
                self.end_headers()
                self.wfile.write(outer.response())

            def log_message(self, *_: object) -> None:
                """Be quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/credentials"

    def response(self) -> bytes:
        return json.dumps(
            {
                "AccessKeyId": f"AKIA{self.asked}",
                "SecretAccessKey": "secret",
                "Token": "token",
                "Expiration": (datetime.now(UTC) + self.lasts).isoformat(),
            }
        ).encode()


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that botocore could find by itself."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "1")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere")


@pytest.fixture
def container(alone: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    del alone
    made = Container()
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", made.url)
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "who-is-asking")
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0.01)
    yield made
    made.server.shutdown()
    made.server.server_close()


def clients(policy: RetryPolicy = DEFAULT_POLICY) -> AwsClients:
    return AwsClients(REGION, policy)


def test_the_environments_keys_are_used_as_they_are(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    assert clients().keys() == AwsKeys("AKIA", "s", None)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t")
    assert clients().keys() == AwsKeys("AKIA", "s", "t")
    assert container.asked == 0


def test_under_snapstart_keys_are_requested_once_for_everything(container: Container) -> None:
    made = clients()
    assert made.keys() == made.keys() == AwsKeys("AKIA1", "secret", "token")
    assert container.asked == 1


def test_keys_that_expire_are_renewed(container: Container) -> None:
    container.lasts = timedelta(minutes=5)  # botocore renews what lasts less than ten
    made = clients()
    assert made.keys() != made.keys()


def test_keys_that_cannot_be_renewed_are_unavailable(container: Container) -> None:
    container.lasts = timedelta(minutes=-5)
    made = clients()
    container.up = False
    with pytest.raises(UnavailableError, match="could not be renewed"):
        made.keys()
    with pytest.raises(SourceUnavailableError, match="could not be renewed"):
        S3Source(made, Deadline(10), RetryPolicy(attempts=1)).head(SourceRef("bucket", "key"))
    container.up, container.lasts = True, timedelta(hours=1)
    assert made.keys().token == "token"


def test_keys_that_could_never_be_read_are_unavailable_and_not_quoted(
    container: Container,
) -> None:
    container.up = False
    environ = {"AWS_REGION": REGION, "GCS_BUCKET_NAME": "b", "GCP_CREDENTIALS_SECRET": "s"}
    with pytest.raises(UnavailableError, match="could not be renewed") as caught:
        Environment.from_environ(environ)
    assert caught.value.__suppress_context__
    container.up = True
    Environment.from_environ(environ).close()


@pytest.mark.usefixtures("alone")
def test_a_function_without_a_role_is_told_so() -> None:
    made = clients()
    with pytest.raises(SettingsError, match="give the function a role"):
        made.keys()
    with pytest.raises(SettingsError, match="give the function a role"):
        S3Source(made, Deadline(10), DEFAULT_POLICY).head(SourceRef("bucket", "key"))


def timeouts(client: "S3Client | SecretsManagerClient") -> tuple[float, float]:
    config: Any = client.meta.config
    return config.connect_timeout, config.read_timeout


@pytest.mark.parametrize(
    ("left", "timeout"), [(900, 20), (20, 20), (19, 4), (4, 4), (3.9, 1), (1, 1), (0.5, 1)]
)
def test_near_the_deadline_a_client_waits_less(left: float, timeout: float) -> None:
    made = clients()
    stopped = Deadline(left, clock=lambda: 0.0)
    for client in (made.client("s3", stopped), made.client("secretsmanager", stopped)):
        assert timeouts(client) == (timeout, timeout)
    made.close()


@pytest.mark.usefixtures("alone")
def test_a_client_leaves_retries_and_checksums_to_the_replicator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The SDK's own defaults would repeat requests, hash every byte and queue ten threads."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    config: Any = clients().client("s3", Deadline(60)).meta.config
    assert config.retries == {"mode": "standard", "total_max_attempts": 1}
    assert config.request_checksum_calculation == "when_required"
    assert config.response_checksum_validation == "when_required"
    assert config.max_pool_connections == THREADS
    assert config.tcp_keepalive is True
    assert config.user_agent.startswith("s3-to-gcs-replicator")
    assert config.s3["us_east_1_regional_endpoint"] == "regional"


def test_s3_states_dates_and_checksums(aws: str) -> None:
    del aws
    made = clients()
    s3 = made.client("s3", Deadline(60))
    bucket = f"dates-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket=bucket, Key="key", Body=b"123456789", ChecksumAlgorithm="CRC32")
    read = s3.get_object(Bucket=bucket, Key="key")
    assert read["Body"].read() == b"123456789"
    assert read["ChecksumCRC32"] == "y/Q5Jg=="
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"][0]["LastModified"]
    for date in (read["LastModified"], listed):  # in two forms
        assert timedelta(0) <= datetime.now(UTC) - date < timedelta(minutes=2)
    s3.delete_object(Bucket=bucket, Key="key")
    s3.delete_bucket(Bucket=bucket)
    made.close()


def test_a_policy_with_a_short_timeout_has_no_longer_ones() -> None:
    made = clients(RetryPolicy(io_timeout_s=2))
    for left, timeout in ((900, 2), (2, 2), (1.5, 1)):
        client = made.client("s3", Deadline(left, clock=lambda: 0.0))
        assert timeouts(client) == (timeout, timeout)


def test_after_the_deadline_there_is_no_client() -> None:
    with pytest.raises(OutOfTimeError):
        clients().client("s3", Deadline(0))


def test_a_client_is_built_once_by_ten_threads_that_need_it_first() -> None:
    made = clients()
    start = threading.Barrier(THREADS)
    near_the_end = Deadline(2, clock=lambda: 0.0)

    def need(_: int) -> object:
        start.wait(10)
        return made.client("s3", near_the_end)

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(need, range(THREADS)))
    assert len({*map(id, found)}) == 1
    assert made.client("s3", near_the_end) is found[0]
    assert made.client("s3", Deadline(60)) is not found[0]


def test_keys_tell_no_secret() -> None:
    assert "secret" not in repr(AwsKeys("AKIA", "secret-key", "secret-token"))
