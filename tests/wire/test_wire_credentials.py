"""Tokens and keys that die, and the services behind them that fail."""

import json
from collections.abc import Iterator

import pytest
from wire.cases import (
    ANSWERED,
    ARRIVAL,
    COLD,
    CREATE_LARGE,
    CREATE_SMALL,
    DELETE,
    EACH_STEP,
    FOREVER,
    INSIDE,
    OVERWRITE_SMALL,
    PATCH,
    Case,
    Scenario,
    Step,
    fault_of,
    play,
    refuse,
)
from wire.proxy import CutError, Exchange, Fault, Phase, Place
from wire.stage import Stage

from replicate.handler import Function

REFUSED = frozenset({"credentials_invalid"})
MID_UPLOAD = Place(Phase.REQUEST_BODY, INSIDE)


class Key:
    """A service account key in a secret of its own, and a function that has yet to read it."""

    def __init__(self, stage: Stage) -> None:
        self._clouds = stage.clouds
        self._secret = stage.key.split("/")[0]
        self._info = stage.clouds.new_key()
        self._clouds.secrets.create_secret(Name=self._secret, SecretString=json.dumps(self._info))
        environment = stage.clouds.cold(GCP_CREDENTIALS_SECRET=self._secret)
        stage.function = Function(environment)

    def revoke(self) -> None:
        """Make the key and its tokens worthless."""
        assert self._clouds.server.revoke_key(self._info["private_key_id"])

    def rotate(self) -> None:
        """Put a new key into the secret, and make the old one worthless."""
        old, new = self._info, self._clouds.new_key()
        self._clouds.secrets.put_secret_value(SecretId=self._secret, SecretString=json.dumps(new))
        self._clouds.server.revoke_key(old["private_key_id"])
        self._info = new


@pytest.fixture
def key(stage: Stage) -> Key:
    """Return a key of the test's own; the function is cold."""
    return Key(stage)


def cut(_stage: Stage, _exchange: Exchange) -> None:
    raise CutError


def troubles_of_the_services() -> Iterator[Case]:
    for place in Step("token").places():
        yield Case(COLD, Step("token"), place, "cut", cut)
    for status in (500, 503):
        yield Case(COLD, Step("token"), ARRIVAL, str(status), refuse(status))
        yield Case(COLD, Step("secret"), ARRIVAL, str(status), refuse(status))
    yield Case(COLD, Step("secret"), ANSWERED, "cut", cut)
    unavailable = frozenset({"destination_unavailable"})
    yield Case(COLD, Step("token"), ANSWERED, "always-cut", cut, FOREVER, codes=unavailable)
    yield Case(COLD, Step("secret"), ANSWERED, "always-cut", cut, FOREVER, codes=REFUSED)


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("case", [*troubles_of_the_services()], ids=str)
def test_a_run_survives_trouble_with_secrets_and_tokens(stage: Stage, case: Case) -> None:
    play(stage, case)


@pytest.mark.parametrize(
    "case",
    [
        Case(scenario, step, ARRIVAL, "401", refuse(401))
        for scenario, step in EACH_STEP
        # The requests of an upload's session carry no token.
        if step.side == "destination" and step.name not in {"gcs.put", "gcs.final"}
    ],
    ids=str,
)
def test_a_token_that_is_not_accepted_is_replaced_in_the_middle_of_a_run(
    stage: Stage, case: Case
) -> None:
    play(stage, case)
    assert stage.steps.count("secret") == 1
    assert stage.steps.count("token") == 1


ROTATIONS = [
    (CREATE_SMALL, "gcs.insert", ARRIVAL),
    (OVERWRITE_SMALL, "gcs.get", ANSWERED),
    (CREATE_LARGE, "gcs.start", ARRIVAL),
    (CREATE_LARGE, "gcs.start", ANSWERED),
    (CREATE_LARGE, "gcs.put", ARRIVAL),
    (CREATE_LARGE, "gcs.put", MID_UPLOAD),
    (CREATE_LARGE, "gcs.final", ARRIVAL),
    (CREATE_LARGE, "gcs.final", ANSWERED),
    (PATCH, "gcs.patch", ARRIVAL),
    (DELETE, "gcs.delete", ARRIVAL),
    (COLD, "token", ARRIVAL),
]


@pytest.mark.parametrize(("scenario", "step", "place"), ROTATIONS, ids=str)
def test_a_run_goes_on_with_the_new_key_when_the_old_one_is_replaced(
    stage: Stage, key: Key, scenario: Scenario, step: str, place: Place
) -> None:
    play(stage, Case(scenario, Step(step), place, "rotate", lambda *_: key.rotate()))


@pytest.mark.parametrize(("scenario", "step", "place"), ROTATIONS[:-1], ids=str)
def test_a_revoked_key_ends_a_run_and_its_replacement_repeats_it(
    stage: Stage, key: Key, scenario: Scenario, step: str, place: Place
) -> None:
    event = scenario.prepare(stage)
    revoked = Case(scenario, Step(step), place, "revoke", lambda *_: key.revoke())
    stage.spoil(fault_of(stage, revoked))
    first = stage.invoke(event)
    stage.settle()
    stage.look()
    if first.failure:
        assert (first.failure, first.is_retryable) == ("credentials_invalid", True)
    assert stage.open_sessions() == []
    key.rotate()
    assert stage.invoke(event).failure == ""
    stage.assert_equal()


@pytest.mark.usefixtures("key")
def test_secret_and_token_are_read_once_for_many_runs(stage: Stage) -> None:
    for number in range(3):
        stage.put(b"%d" % number)
        assert stage.invoke(stage.event(fresh=False)).failure == ""
    assert stage.steps.count("secret") == 1
    assert stage.steps.count("token") == 1


def test_a_rotation_is_noticed_by_the_refusal_and_read_once_more(stage: Stage, key: Key) -> None:
    stage.put(b"before")
    assert stage.invoke(stage.event()).failure == ""
    key.rotate()
    for data in (b"after", b"and after that"):
        stage.put(data)
        assert stage.invoke(stage.event(fresh=False)).failure == ""
    assert stage.steps.count("secret") == 2
    assert stage.steps.count("token") == 2
    stage.assert_equal()


def test_a_key_that_died_before_its_first_use_is_read_once_more(stage: Stage, key: Key) -> None:
    """Google answers `invalid_grant`, because the secret was read just before it was rotated."""
    stage.put(b"anything")
    stage.spoil(Fault("token", ARRIVAL, lambda _: key.rotate()))
    assert stage.invoke(stage.event()).failure == ""
    assert stage.steps.count("secret") == 2
    assert stage.steps.count("token") == 2
