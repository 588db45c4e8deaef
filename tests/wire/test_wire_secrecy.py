"""No log line, error or response contains a secret."""

import io
import json
import logging
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from wire.cases import BEFORE_REQUEST, CREATE_LARGE, Case, Step, fault_of, refuse
from wire.harness import SOURCE, Context, Harness
from wire.proxy import CannedResponseError, CutError, Exchange, Fault

from replicate.errors import ReplicationError
from replicate.handler import Function

TOKEN = re.compile(r"ya29\.local-[\w-]+")
SESSION = re.compile(r"upload_id=[\w-]+")
CALLERS_KEY = "the-key-of-a-caller"
SIGNATURE = re.compile(r"Signature=|AWS4-HMAC-SHA256")


@dataclass
class OutputRecorder:
    """Records all output of a function: responses, errors, standard output and logs."""

    harness: Harness
    capfd: pytest.CaptureFixture[str]
    log: io.StringIO
    recorded: list[str] = field(default_factory=list)

    def deliver(self) -> str:
        """Deliver the event of the source; record the traceback that Lambda would log."""
        text = ""
        try:
            self.recorded.append(
                repr(self.harness.function.handle(self.harness.event(), self._context()))
            )
        except ReplicationError as error:
            text = str(error)
            self.recorded += traceback.format_exception(error)
        return text

    def call_api(self) -> int:
        """Request the replication through the API; return the status of the response."""
        body = json.dumps({"s3_bucket": SOURCE, "s3_key": self.harness.key})
        request = {
            "version": "2.0",
            "rawPath": "/v1/replicate",
            "headers": {"content-type": "application/json", "x-api-key": CALLERS_KEY},
            "requestContext": {
                "http": {"method": "POST", "path": "/v1/replicate"},
                "stage": "$default",
            },
            "body": body,
            "isBase64Encoded": False,
        }
        response = self.harness.function.handle(request, self._context())
        self.recorded.append(repr(response))
        return int(response["statusCode"])

    def output(self) -> str:
        output = self.capfd.readouterr()
        self.recorded += [output.out, output.err, self.log.getvalue()]
        return "\n".join(self.recorded)

    def _context(self) -> Context:
        context = self.harness.context = Context(60, self.harness.clock)
        return context


@pytest.fixture
def recorder(
    harness: Harness, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[OutputRecorder]:
    """Return a recorder, with the level of all loggers set to DEBUG.

    With ApplicationLogLevel=DEBUG Lambda does the same to the root logger.
    """
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "DEBUG")
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield OutputRecorder(harness, capfd, log)
    root.setLevel(before)
    root.removeHandler(handler)


@dataclass(frozen=True)
class Secret:
    """A secret, and every content that it had."""

    harness: Harness
    contents: list[str] = field(default_factory=list)

    def store(self, text: str) -> None:
        secrets, name = self.harness.clouds.secrets, self.harness.key.split("/")[0]
        if self.contents:
            secrets.put_secret_value(SecretId=name, SecretString=text)
        else:
            secrets.create_secret(Name=name, SecretString=text)
            environment = self.harness.clouds.new_environment(GCP_CREDENTIALS_SECRET=name)
            self.harness.function = Function(environment)
        self.contents.append(text)

    def pieces(self) -> Iterator[str]:
        """Yield every line of a private key, and other text that looks like a part of a key."""
        for text in self.contents:
            yield from re.findall(r"[A-Za-z0-9+/=]{24,}", text.replace("\\n", "\n"))


@pytest.fixture
def secret(harness: Harness) -> Secret:
    return Secret(harness)


def test_no_secret_is_written_during_a_rotation_and_faults(
    recorder: OutputRecorder, secret: Secret
) -> None:
    harness = recorder.harness
    old = harness.clouds.new_key()
    secret.store(json.dumps(old))
    CREATE_LARGE.prepare(harness)

    def cut(_: Exchange) -> None:
        raise CutError

    for step in ("gcs.get", "gcs.start", "gcs.put", "gcs.final", "gcs.query"):
        harness.inject(Fault(step, BEFORE_REQUEST, cut, times=100))
        assert "_unavailable" in recorder.deliver() or step == "gcs.query"
        assert recorder.call_api() in {200, 201, 503}
        harness.stop_faults()
        harness.clouds.gcs.delete(harness.key)
    for status, code in ((404, "destination_bucket_not_found"), (403, "destination_forbidden")):
        harness.inject(fault_of(harness, refused(status)))
        assert code in recorder.deliver()
        harness.stop_faults()
    harness.clouds.server.revoke_key(old["private_key_id"])
    assert "credentials_invalid" in recorder.deliver()
    assert recorder.call_api() == 500
    secret.store(json.dumps(harness.clouds.new_key()))
    assert recorder.call_api() == 201
    output_text = recorder.output()
    tokens = {
        s.headers["authorization"]
        for s in harness.clouds.google.requests
        if "authorization" in s.headers
    }
    assert len(tokens) == 2, "two tokens could have been logged"
    assert not TOKEN.search(output_text)
    assert not SESSION.search(output_text)
    assert [piece for piece in secret.pieces() if piece in output_text] == []
    assert not SIGNATURE.search(output_text)


def test_no_secret_is_logged_by_the_libraries_at_debug_level(
    recorder: OutputRecorder, secret: Secret
) -> None:
    """The libraries log requests, responses and addresses at the level DEBUG."""
    secret.store(json.dumps(recorder.harness.clouds.new_key()))
    CREATE_LARGE.prepare(recorder.harness)
    assert recorder.deliver() == ""
    assert recorder.call_api() == 200
    logging.getLogger("somebody").debug("this was recorded")
    output_text = recorder.output()
    assert "this was recorded" in output_text
    assert not TOKEN.search(output_text)
    assert not SESSION.search(output_text)
    assert not SIGNATURE.search(output_text)
    assert "not-a-secret" not in output_text
    assert CALLERS_KEY not in output_text
    assert [piece for piece in secret.pieces() if piece in output_text] == []


@pytest.mark.parametrize("step", ["gcs.put", "gcs.final"])
def test_no_session_address_is_logged_when_response_headers_are_malformed(
    recorder: OutputRecorder, step: str
) -> None:
    """urllib3 logs a warning about such headers with the address of the request."""
    CREATE_LARGE.prepare(recorder.harness)

    def garble(_: Exchange) -> None:
        raise CannedResponseError(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nno header\r\n\r\n")

    fault = recorder.harness.inject(Fault(step, BEFORE_REQUEST, garble))
    assert recorder.deliver() == ""
    assert fault.triggered
    assert not SESSION.search(recorder.output())


def refused(status: int) -> Case:
    """Return the case in which GCS refuses to start an upload."""
    return Case(CREATE_LARGE, Step("gcs.start"), BEFORE_REQUEST, str(status), refuse(status))


MALFORMED_SECRETS: dict[str, tuple[Callable[[dict[str, str]], str], str]] = {
    "not-json": (lambda key: json.dumps(key)[:-200], "it is not JSON"),
    "a-list": (lambda key: json.dumps([key]), "it is not a JSON object"),
    "a-text": (lambda key: json.dumps(key["private_key"]), "it is not a JSON object"),
    "no-type": (lambda key: json.dumps({**key, "type": None}), "type"),
    "no-email": (lambda key: json.dumps({**key, "client_email": ""}), "client_email"),
    "no-key": (lambda key: json.dumps({**key, "private_key": 5}), "private_key"),
    "half-a-key": (
        lambda key: json.dumps({**key, "private_key": key["private_key"][:700]}),
        "private_key",
    ),
    "damaged-key": (
        lambda key: json.dumps({**key, "private_key": key["private_key"].replace("A", "!")}),
        "private_key",
    ),
    "a-key-for-federation": (
        lambda key: json.dumps({**key, "type": "external_account"}),
        "audience",
    ),
}


@pytest.mark.parametrize("name", MALFORMED_SECRETS)
def test_error_names_the_malformed_field_without_its_content(
    recorder: OutputRecorder, secret: Secret, name: str
) -> None:
    corrupt, field_name = MALFORMED_SECRETS[name]
    secret.store(corrupt(recorder.harness.clouds.new_key()))
    recorder.harness.put(b"anything")
    error_code = recorder.deliver()
    assert "credentials_invalid" in error_code
    assert field_name in error_code
    assert recorder.call_api() == 500
    output_text = recorder.output()
    assert [piece for piece in secret.pieces() if piece in output_text] == []
