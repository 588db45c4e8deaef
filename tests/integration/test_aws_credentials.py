"""The function's own credentials: from its environment, or from a server that SnapStart adds."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from replicate.aws_credentials import AwsKeys, find
from replicate.errors import SettingsError, UnavailableError

REGION = "eu-west-1"


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
                assert self.headers["Authorization"] == "who-is-asking"
                self.send_response(200 if outer.up else 500)
                self.end_headers()
                self.wfile.write(outer.answer())

            def log_message(self, *_: object) -> None:
                """Be quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/credentials"

    def answer(self) -> bytes:
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
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere")


@pytest.fixture
def container(alone: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    del alone
    made = Container()
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", made.url)
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "who-is-asking")
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_the_environments_keys_are_used_as_they_are(container: Container) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    assert find(environ, REGION)() == AwsKeys("AKIA", "s", "t")
    assert find(environ | {"AWS_SESSION_TOKEN": ""}, REGION)() == AwsKeys("AKIA", "s", None)
    assert container.asked == 0


def test_under_snapstart_they_are_asked_for_and_kept(container: Container) -> None:
    credentials = find({}, REGION)
    assert credentials() == credentials() == AwsKeys("AKIA1", "secret", "token")
    assert container.asked == 1


def test_keys_that_expire_are_renewed(container: Container) -> None:
    container.lasts = timedelta(minutes=5)  # botocore renews what lasts less than ten
    credentials = find({}, REGION)
    assert credentials() != credentials()


def test_keys_that_cannot_be_renewed_are_a_failure_to_be_tried_again(container: Container) -> None:
    container.lasts = timedelta(minutes=-5)
    credentials = find({}, REGION)
    container.up = False
    with pytest.raises(UnavailableError, match="could not be renewed"):
        credentials()
    container.up, container.lasts = True, timedelta(hours=1)
    assert credentials().token == "token"


@pytest.mark.usefixtures("alone")
def test_a_function_without_a_role_is_told_so() -> None:
    with pytest.raises(SettingsError, match="give the function a role"):
        find({}, REGION)()


def test_keys_tell_no_secret() -> None:
    assert "secret" not in repr(AwsKeys("AKIA", "secret-key", "secret-token"))
