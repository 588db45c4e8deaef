"""What may be said and what not: no log line, error or answer holds anything secret."""

import io
import json
import logging
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from wire.cases import ARRIVAL, CREATE_LARGE, Case, Step, fault_of, refuse
from wire.proxy import AnswerError, CutError, Exchange, Fault
from wire.stage import SOURCE, Context, Stage

from replicate.errors import ReplicationError
from replicate.handler import Function

TOKEN = re.compile(r"ya29\.local-[\w-]+")
SESSION = re.compile(r"upload_id=[\w-]+")
CALLERS_KEY = "the-key-of-a-caller"
SIGNATURE = re.compile(r"Signature=|AWS4-HMAC-SHA256")


@dataclass
class Ear:
    """Hears all that a function says, in whatever way, while it is made to fail."""

    stage: Stage
    capfd: pytest.CaptureFixture[str]
    log: io.StringIO
    heard: list[str] = field(default_factory=list)

    def deliver(self) -> str:
        """Deliver the source's event; what Lambda would log of its failure is heard as well."""
        text = ""
        try:
            self.heard.append(repr(self.stage.function.handle(self.stage.event(), self._context())))
        except ReplicationError as error:
            text = str(error)
            self.heard += traceback.format_exception(error)
        return text

    def ask(self) -> int:
        """Ask the API for the source; returns the status of its answer."""
        body = json.dumps({"s3_bucket": SOURCE, "s3_key": self.stage.key})
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
        answer = self.stage.function.handle(request, self._context())
        self.heard.append(repr(answer))
        return int(answer["statusCode"])

    def everything(self) -> str:
        output = self.capfd.readouterr()
        self.heard += [output.out, output.err, self.log.getvalue()]
        return "\n".join(self.heard)

    def _context(self) -> Context:
        context = self.stage.context = Context(60, self.stage.clock)
        return context


@pytest.fixture
def ear(
    stage: Stage, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ear]:
    """Return an ear, with all loggers told to say as much as they can.

    With ApplicationLogLevel=DEBUG Lambda does the same to the root logger.
    """
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "DEBUG")
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield Ear(stage, capfd, log)
    root.setLevel(before)
    root.removeHandler(handler)


@dataclass(frozen=True)
class Secret:
    """A secret of the test's own, and all that was ever in it."""

    stage: Stage
    contents: list[str] = field(default_factory=list)

    def store(self, text: str) -> None:
        secrets, name = self.stage.clouds.secrets, self.stage.key.split("/")[0]
        if self.contents:
            secrets.put_secret_value(SecretId=name, SecretString=text)
        else:
            secrets.create_secret(Name=name, SecretString=text)
            environment = self.stage.clouds.cold(GCP_CREDENTIALS_SECRET=name)
            self.stage.function = Function(environment)
        self.contents.append(text)

    def pieces(self) -> Iterator[str]:
        """Every line of a private key, and whatever else looks like a part of one."""
        for text in self.contents:
            yield from re.findall(r"[A-Za-z0-9+/=]{24,}", text.replace("\\n", "\n"))


@pytest.fixture
def secret(stage: Stage) -> Secret:
    return Secret(stage)


def test_nothing_secret_is_said_through_a_rotation_and_faults(ear: Ear, secret: Secret) -> None:
    stage = ear.stage
    old = stage.clouds.new_key()
    secret.store(json.dumps(old))
    CREATE_LARGE.prepare(stage)

    def cut(_: Exchange) -> None:
        raise CutError

    for step in ("gcs.get", "gcs.start", "gcs.put", "gcs.final", "gcs.ask"):
        stage.spoil(Fault(step, ARRIVAL, cut, times=100))
        assert "_unavailable" in ear.deliver() or step == "gcs.ask"
        assert ear.ask() in {200, 201, 503}
        stage.settle()
        stage.clouds.gcs.delete(stage.key)
    for status, code in ((400, "destination_rejected"), (403, "destination_forbidden")):
        stage.spoil(fault_of(stage, refused(status)))
        assert code in ear.deliver()
        stage.settle()
    stage.clouds.server.revoke_key(old["private_key_id"])
    assert "credentials_invalid" in ear.deliver()
    assert ear.ask() == 500
    secret.store(json.dumps(stage.clouds.new_key()))
    assert ear.ask() == 201
    said = ear.everything()
    tokens = {
        s.headers["authorization"] for s in stage.clouds.google.seen if "authorization" in s.headers
    }
    assert len(tokens) == 2, "there was something to give away"
    assert not TOKEN.search(said)
    assert not SESSION.search(said)
    assert [piece for piece in secret.pieces() if piece in said] == []
    assert not SIGNATURE.search(said)


def test_the_libraries_say_nothing_secret_when_everything_is_logged(
    ear: Ear, secret: Secret
) -> None:
    """They log requests, responses and addresses at the level DEBUG."""
    secret.store(json.dumps(ear.stage.clouds.new_key()))
    CREATE_LARGE.prepare(ear.stage)
    assert ear.deliver() == ""
    assert ear.ask() == 200
    logging.getLogger("somebody").debug("this was heard")
    said = ear.everything()
    assert "this was heard" in said
    assert not TOKEN.search(said)
    assert not SESSION.search(said)
    assert not SIGNATURE.search(said)
    assert "not-a-secret" not in said
    assert CALLERS_KEY not in said
    assert [piece for piece in secret.pieces() if piece in said] == []


@pytest.mark.parametrize("step", ["gcs.put", "gcs.final"])
def test_a_response_with_malformed_headers_gives_no_address_away(ear: Ear, step: str) -> None:
    """urllib3 warns of such headers, with the address of the request."""
    CREATE_LARGE.prepare(ear.stage)

    def garble(_: Exchange) -> None:
        raise AnswerError(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nno header\r\n\r\n")

    fault = ear.stage.spoil(Fault(step, ARRIVAL, garble))
    assert ear.deliver() == ""
    assert fault.struck
    assert not SESSION.search(ear.everything())


def refused(status: int) -> Case:
    """GCS does not start an upload."""
    return Case(CREATE_LARGE, Step("gcs.start"), ARRIVAL, str(status), refuse(status))


WRONG: dict[str, tuple[Callable[[dict[str, str]], str], str]] = {
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


@pytest.mark.parametrize("name", WRONG)
def test_a_malformed_secret_names_the_field_and_not_the_content(
    ear: Ear, secret: Secret, name: str
) -> None:
    spoil, field_name = WRONG[name]
    secret.store(spoil(ear.stage.clouds.new_key()))
    ear.stage.put(b"anything")
    failure = ear.deliver()
    assert "credentials_invalid" in failure
    assert field_name in failure
    assert ear.ask() == 500
    said = ear.everything()
    assert [piece for piece in secret.pieces() if piece in said] == []
