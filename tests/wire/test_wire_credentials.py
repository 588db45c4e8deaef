"""Revoked tokens and keys, and faults of the services that issue them."""

import json
from collections.abc import Iterator

import pytest
from wire.cases import (
    ALWAYS,
    BEFORE_REQUEST,
    BEFORE_RESPONSE,
    COLD,
    CREATE_LARGE,
    CREATE_SMALL,
    DELETE,
    INSIDE,
    OVERWRITE_SMALL,
    PATCH,
    STEP_KINDS,
    Case,
    Scenario,
    Step,
    fault_of,
    refuse,
    run_case,
)
from wire.harness import Harness
from wire.proxy import CutError, Exchange, Fault, Phase, Place

from replicate.handler import Function

REFUSED = frozenset({"credentials_invalid"})
MID_UPLOAD = Place(Phase.REQUEST_BODY, INSIDE)


class Key:
    """A service account key in its own secret, and a function that has not read it yet."""

    def __init__(self, harness: Harness) -> None:
        self._clouds = harness.clouds
        self._secret = harness.key.split("/")[0]
        self._info = harness.clouds.new_key()
        self._clouds.secrets.create_secret(Name=self._secret, SecretString=json.dumps(self._info))
        environment = harness.clouds.new_environment(GCP_CREDENTIALS_SECRET=self._secret)
        harness.function = Function(environment)

    def revoke(self) -> None:
        """Revoke the key and its tokens."""
        assert self._clouds.server.revoke_key(self._info["private_key_id"])

    def rotate(self) -> None:
        """Store a new key in the secret, and revoke the old one."""
        old, new = self._info, self._clouds.new_key()
        self._clouds.secrets.put_secret_value(SecretId=self._secret, SecretString=json.dumps(new))
        self._clouds.server.revoke_key(old["private_key_id"])
        self._info = new


@pytest.fixture
def key(harness: Harness) -> Key:
    """Return a new key, and make the function cold."""
    return Key(harness)


def cut(_harness: Harness, _exchange: Exchange) -> None:
    raise CutError


def service_faults() -> Iterator[Case]:
    for place in Step("token").places():
        yield Case(COLD, Step("token"), place, "cut", cut)
    for status in (500, 503):
        yield Case(COLD, Step("token"), BEFORE_REQUEST, str(status), refuse(status))
        yield Case(COLD, Step("secret"), BEFORE_REQUEST, str(status), refuse(status))
    yield Case(COLD, Step("secret"), BEFORE_RESPONSE, "cut", cut)
    unavailable = frozenset({"destination_unavailable"})
    yield Case(COLD, Step("token"), BEFORE_RESPONSE, "always-cut", cut, ALWAYS, codes=unavailable)
    yield Case(COLD, Step("secret"), BEFORE_RESPONSE, "always-cut", cut, ALWAYS, codes=REFUSED)


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("case", [*service_faults()], ids=str)
def test_run_recovers_from_faults_of_the_secret_and_token_services(
    harness: Harness, case: Case
) -> None:
    run_case(harness, case)


@pytest.mark.parametrize(
    "case",
    [
        Case(scenario, step, BEFORE_REQUEST, "401", refuse(401))
        for scenario, step in STEP_KINDS
        # The requests of an upload session have no token.
        if step.side == "destination" and step.name not in {"gcs.put", "gcs.final"}
    ],
    ids=str,
)
def test_rejected_token_is_replaced_during_the_run(harness: Harness, case: Case) -> None:
    run_case(harness, case)
    assert harness.steps.count("secret") == 1
    assert harness.steps.count("token") == 1


ROTATIONS = [
    (CREATE_SMALL, "gcs.insert", BEFORE_REQUEST),
    (OVERWRITE_SMALL, "gcs.get", BEFORE_RESPONSE),
    (CREATE_LARGE, "gcs.start", BEFORE_REQUEST),
    (CREATE_LARGE, "gcs.start", BEFORE_RESPONSE),
    (CREATE_LARGE, "gcs.put", BEFORE_REQUEST),
    (CREATE_LARGE, "gcs.put", MID_UPLOAD),
    (CREATE_LARGE, "gcs.final", BEFORE_REQUEST),
    (CREATE_LARGE, "gcs.final", BEFORE_RESPONSE),
    (PATCH, "gcs.patch", BEFORE_REQUEST),
    (DELETE, "gcs.delete", BEFORE_REQUEST),
    (COLD, "token", BEFORE_REQUEST),
]


@pytest.mark.parametrize(("scenario", "step", "place"), ROTATIONS, ids=str)
def test_run_continues_with_the_new_key_when_the_key_is_rotated(
    harness: Harness, key: Key, scenario: Scenario, step: str, place: Place
) -> None:
    run_case(harness, Case(scenario, Step(step), place, "rotate", lambda *_: key.rotate()))


@pytest.mark.parametrize(("scenario", "step", "place"), ROTATIONS[:-1], ids=str)
def test_run_fails_when_the_key_is_revoked_and_succeeds_after_its_replacement(
    harness: Harness, key: Key, scenario: Scenario, step: str, place: Place
) -> None:
    event = scenario.prepare(harness)
    revoked = Case(scenario, Step(step), place, "revoke", lambda *_: key.revoke())
    harness.inject(fault_of(harness, revoked))
    first = harness.invoke(event)
    harness.stop_faults()
    harness.observe()
    if first.error_code:
        assert (first.error_code, first.is_retryable) == ("credentials_invalid", True)
    assert harness.open_sessions() == []
    key.rotate()
    assert harness.invoke(event).error_code == ""
    harness.assert_equal()


@pytest.mark.usefixtures("key")
def test_secret_and_token_are_read_once_for_many_runs(harness: Harness) -> None:
    for number in range(3):
        harness.put(b"%d" % number)
        assert harness.invoke(harness.event(fresh=False)).error_code == ""
    assert harness.steps.count("secret") == 1
    assert harness.steps.count("token") == 1


def test_rotated_secret_is_read_once_more_after_a_refusal(harness: Harness, key: Key) -> None:
    harness.put(b"before")
    assert harness.invoke(harness.event()).error_code == ""
    key.rotate()
    for data in (b"after", b"and after that"):
        harness.put(data)
        assert harness.invoke(harness.event(fresh=False)).error_code == ""
    assert harness.steps.count("secret") == 2
    assert harness.steps.count("token") == 2
    harness.assert_equal()


def test_secret_is_read_again_when_its_key_is_revoked_before_the_first_use(
    harness: Harness, key: Key
) -> None:
    """Google returns `invalid_grant`, because the secret was read just before its rotation."""
    harness.put(b"anything")
    harness.inject(Fault("token", BEFORE_REQUEST, lambda _: key.rotate()))
    assert harness.invoke(harness.event()).error_code == ""
    assert harness.steps.count("secret") == 2
    assert harness.steps.count("token") == 2
