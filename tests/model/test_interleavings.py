"""The real protocol under every schedule: any order of calls, crashes and deliveries whatsoever.

All histories of three changes of one object, a run for each change, each started with any number of
crashes behind it and delivered any number of times. What is checked is in `promises`.
"""

import os
from dataclasses import replace
from datetime import timedelta

import pytest
from fakes import PLAIN
from model.ages import live
from model.exploration import NAME, Scenario, explore
from model.histories import DELETE, DROP, History, histories
from model.promises import Promise
from model.runs import Protocol, byte_by_byte

from replicate.protocol.plan import Overwrite, Policy
from replicate.protocol.replicator import Expectation

CHANGED = Expectation.CHANGED
NEW = Expectation.NEW
HINTS = {"look first": Expectation.UNKNOWN, "probably changed": CHANGED, "probably new": NEW}
ANY_HINT = tuple(HINTS.values())

DELETES = Protocol(policy=Policy(deletes=True))
NO_DELETES = Protocol(policy=Policy(deletes=False))
SAME_SECOND = timedelta(0)

every_hint = pytest.mark.parametrize("hint", HINTS.values(), ids=HINTS.keys())
every_history = pytest.mark.parametrize("history", histories(3), ids=" ".join)
short_history = pytest.mark.parametrize("history", histories(2), ids=" ".join)


def holds(scenario: Scenario) -> None:
    """Every promise, in every state; the failure is a shortest schedule that breaks one."""
    report = explore(scenario)
    assert not report.broken, "\n\n".join(
        f"BROKEN: {promise}\n{schedule}" for promise, schedule in report.broken.items()
    )


def policies(history: History) -> tuple[Protocol, ...]:
    """With and without deletes, where there are any."""
    return (DELETES, NO_DELETES) if {DELETE, DROP} & set(history) else (DELETES,)


@every_hint
@every_history
def test_every_promise_holds(history: History, hint: Expectation) -> None:
    for protocol in policies(history):
        holds(Scenario(history=history, protocol=protocol, hints=(hint,)))


@pytest.mark.parametrize("history", histories(3, versioned=True), ids=" ".join)
def test_every_promise_holds_of_a_versioned_bucket(history: History) -> None:
    for protocol in policies(history):
        holds(Scenario(history=history, protocol=protocol, versioned=True))


@every_history
def test_every_promise_holds_when_all_happens_within_one_second(history: History) -> None:
    """S3's last-modified shows seconds: contents that come back look as if never gone."""
    for protocol in policies(history):
        holds(Scenario(history=history, protocol=protocol, tick=SAME_SECOND))


@short_history
def test_runs_started_with_different_hints_get_on(history: History) -> None:
    for protocol in policies(history):
        holds(Scenario(history=history, protocol=protocol, hints=ANY_HINT))


@short_history
def test_every_promise_holds_of_objects_read_piece_by_piece(history: History) -> None:
    """Without a checksum, so that nothing but the protocol keeps the pieces together."""
    for protocol in policies(history):
        pieces = replace(protocol, ports=byte_by_byte)
        holds(Scenario(history=history, protocol=pieces, hints=ANY_HINT, multipart=True))


@every_history
def test_overwrite_never_replaces_nothing(history: History) -> None:
    for deletes in (False, True):
        never = Protocol(policy=Policy(overwrite=Overwrite.NEVER, deletes=deletes))
        holds(Scenario(history=history, protocol=never, hints=(NEW,)))


FOUND = {
    "other bytes": live(NAME, b"theirs", PLAIN),
    "the same bytes": live(NAME, b"11", PLAIN),
    "a replica of another bucket's object": live(
        NAME,
        b"theirs",
        replace(PLAIN, metadata={"s3-source-bucket": "other", "s3-source-key": NAME}),
    ),
}


@pytest.mark.parametrize("found", FOUND)
@pytest.mark.parametrize("overwrite", Overwrite)
@short_history
def test_nothing_of_other_origin_is_deleted(
    history: History, overwrite: Overwrite, found: str
) -> None:
    protocol = Protocol(policy=Policy(overwrite=overwrite, deletes=True))
    holds(Scenario(history=history, protocol=protocol, hints=ANY_HINT, found=FOUND[found]))


@short_history
def test_what_a_crashed_run_had_sent_never_takes_the_destination_back(history: History) -> None:
    """However late it takes effect."""
    report = explore(Scenario(history=history, protocol=DELETES, stragglers=True))
    assert not report.broken.keys() - {Promise.EQUAL}


def test_what_a_crashed_run_had_sent_must_not_outlive_its_retry() -> None:
    """The one thing the protocol takes for granted. Then an object may be there that S3 deleted."""
    scenario = Scenario(history=("1", DELETE), protocol=DELETES, stragglers=True)
    assert explore(scenario).broken.keys() == {Promise.EQUAL}


@short_history
def test_leaving_out_what_makes_no_difference_makes_none(history: History) -> None:
    for protocol in policies(history):
        scenario = Scenario(history=history, protocol=protocol, hints=ANY_HINT)
        shortened, whole = explore(scenario), explore(replace(scenario, shortcuts=False))
        assert shortened.shown == whole.shown
        assert shortened.broken.keys() == whole.broken.keys()
        assert shortened.states < whole.states


@pytest.mark.skipif(
    "MODEL_EXHAUSTIVE" not in os.environ, reason="takes an hour: MODEL_EXHAUSTIVE=1"
)
@pytest.mark.timeout(0)
@pytest.mark.parametrize(
    ("history", "versioned"),
    [(history, kind) for kind in (False, True) for history in histories(3, versioned=kind)],
)
def test_every_promise_holds_whatever_the_hints(history: History, versioned: bool) -> None:  # noqa: FBT001
    for protocol in policies(history):
        holds(Scenario(history=history, protocol=protocol, hints=ANY_HINT, versioned=versioned))
