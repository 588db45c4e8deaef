"""The real protocol under every schedule: any order of calls, crashes and deliveries.

The tests explore all histories of three changes of one object. Each change has a run, which may
crash and may be delivered again any number of times. `promises` has the checks.
"""

import os
from dataclasses import replace
from datetime import timedelta

import pytest
from fakes import PLAIN
from model.ages import live
from model.exploration import NAME, Scenario, explore
from model.histories import DELETE, DROP, EXPIRE, History, histories
from model.promises import Promise
from model.runs import Protocol, byte_by_byte

from replicate.protocol import run
from replicate.protocol.evidence import HINT, Deletes, Evidence
from replicate.protocol.model import Expectation
from replicate.protocol.plan import Overwrite, Policy

CHANGED = Expectation.CHANGED
NEW = Expectation.NEW
EXPECTATIONS = {"look first": Expectation.UNKNOWN, "probably changed": CHANGED, "probably new": NEW}
ANY_EXPECTATION = tuple(EXPECTATIONS.values())

DELETES = Protocol(policy=Policy(deletes=Deletes.ALL))
BY_USERS = Protocol(policy=Policy(deletes=Deletes.BY_USERS))
NO_DELETES = Protocol(policy=Policy(deletes=Deletes.NONE))
SAME_SECOND = timedelta(0)

each_expectation = pytest.mark.parametrize(
    "expectation", EXPECTATIONS.values(), ids=EXPECTATIONS.keys()
)
each_history = pytest.mark.parametrize("history", histories(3), ids=" ".join)
each_short_history = pytest.mark.parametrize("history", histories(2), ids=" ".join)


def holds(scenario: Scenario) -> None:
    """Check every promise in every state. A failure shows a shortest schedule that breaks one."""
    report = explore(scenario)
    assert not report.broken, "\n\n".join(
        f"BROKEN: {promise}\n{schedule}" for promise, schedule in report.broken.items()
    )


def has_deletes(history: History) -> bool:
    """Return whether the source is ever absent. Otherwise the policy of deletes has no effect."""
    return bool({DELETE, DROP} & set(history))


def policies(history: History) -> tuple[Protocol, ...]:
    """Return the protocol with deletes, and without them if the history has any."""
    return (DELETES, NO_DELETES) if has_deletes(history) else (DELETES,)


@each_expectation
@each_history
def test_every_promise_holds(history: History, expectation: Expectation) -> None:
    holds(Scenario(history=history, protocol=DELETES, expectations=(expectation,)))


@pytest.mark.parametrize("history", [*filter(has_deletes, histories(3))], ids=" ".join)
def test_every_promise_holds_where_deletes_are_not_replicated(history: History) -> None:
    """Short histories have both policies with every expectation."""
    holds(Scenario(history=history, protocol=NO_DELETES))


@pytest.mark.parametrize("history", histories(3, versioned=True), ids=" ".join)
def test_every_promise_holds_for_a_versioned_bucket(history: History) -> None:
    for protocol in policies(history) if DROP in history else (DELETES,):
        holds(Scenario(history=history, protocol=protocol, versioned=True))


@each_history
def test_every_promise_holds_when_all_changes_happen_within_one_second(history: History) -> None:
    """S3's last-modified has a resolution of one second, so restored contents look unchanged."""
    holds(Scenario(history=history, protocol=DELETES, tick=SAME_SECOND))


@each_short_history
def test_every_promise_holds_with_mixed_expectations(history: History) -> None:
    for protocol in policies(history):
        holds(Scenario(history=history, protocol=protocol, expectations=ANY_EXPECTATION))


@each_short_history
def test_every_promise_holds_for_objects_read_in_pieces(history: History) -> None:
    """The objects have no checksum, so only the protocol can keep the pieces together."""
    for protocol in policies(history):
        pieces = replace(protocol, ports=byte_by_byte)
        holds(
            Scenario(history=history, protocol=pieces, expectations=ANY_EXPECTATION, multipart=True)
        )


@each_history
def test_nothing_is_replaced_when_overwrite_is_never(history: History) -> None:
    for protocol in policies(history):
        never = replace(protocol, policy=replace(protocol.policy, overwrite=Overwrite.NEVER))
        holds(Scenario(history=history, protocol=never, expectations=(NEW,)))


FOREIGN_OBJECTS = {
    "other bytes": live(NAME, b"theirs", PLAIN),
    "the same bytes": live(NAME, b"11", PLAIN),
    "a replica of another bucket's object": live(
        NAME,
        b"theirs",
        replace(PLAIN, metadata={"s3-source-bucket": "other", "s3-source-key": NAME}),
    ),
}


@pytest.mark.parametrize("initial", FOREIGN_OBJECTS)
@pytest.mark.parametrize("overwrite", Overwrite)
@each_short_history
def test_foreign_object_is_never_deleted(
    history: History, overwrite: Overwrite, initial: str
) -> None:
    """With overwrite=own a run fails instead of replacing it."""
    protocol = Protocol(policy=Policy(overwrite=overwrite, deletes=Deletes.ALL))
    report = explore(
        Scenario(
            history=history,
            protocol=protocol,
            expectations=ANY_EXPECTATION,
            initial=FOREIGN_OBJECTS[initial],
        )
    )
    assert report.broken.keys() == ({Promise.SUCCESS} if overwrite is Overwrite.OWN else set())


GONE = [
    pytest.param(
        history,
        versioned,
        expectations,
        id=" ".join((*history, *["versioned"] * versioned, *["mixed"] * (length < 3))),
    )
    for length, expectations in ((3, (Expectation.UNKNOWN,)), (2, ANY_EXPECTATION))
    for versioned in (False, True)
    for history in histories(length, versioned=versioned, expiring=True)
    if {DELETE, DROP, EXPIRE} & set(history)
]


@pytest.mark.parametrize(("history", "versioned", "expectations"), GONE)
def test_only_deletions_by_users_are_replicated_without_those_of_lifecycle_rules(
    history: History, expectations: tuple[Expectation, ...], *, versioned: bool
) -> None:
    """A crash may leave the replica of an object that a user deleted, and does no other harm."""
    undisturbed = Scenario(
        history=history,
        protocol=BY_USERS,
        expectations=expectations,
        versioned=versioned,
        crashes=False,
        duplicates=False,
    )
    holds(undisturbed)
    holds(replace(undisturbed, crashes=True, duplicates=True, leaves_extra=True))


def test_crash_can_leave_the_replica_of_an_object_that_a_user_deleted() -> None:
    """Its creation's next run finds a replica that it may not delete: it does not know whose."""
    scenario = Scenario(history=("1", DELETE), protocol=BY_USERS)
    assert explore(scenario).broken.keys() == {Promise.EQUAL}


@pytest.mark.parametrize(
    ("protocol", "expectation"),
    [(DELETES, Expectation.UNKNOWN), (BY_USERS, Expectation.UNKNOWN), (BY_USERS, NEW)],
    ids=["all deletes", "by users", "by users, probably new"],
)
@pytest.mark.parametrize("history", histories(2, expiring=True), ids=" ".join)
def test_request_for_a_copy_deletes_nothing_that_was_there(
    history: History, protocol: Protocol, expectation: Expectation
) -> None:
    requested = Scenario(
        history=history,
        protocol=protocol,
        expectations=(expectation,),
        requests=1,
        crashes=False,
        duplicates=False,
    )
    holds(requested)
    holds(replace(requested, crashes=True, duplicates=True, leaves_extra=True))


def test_promises_are_broken_when_any_event_or_request_is_evidence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scenario = Scenario(history=("1", EXPIRE), protocol=BY_USERS, requests=1)
    assert Promise.KEPT not in explore(scenario).broken
    monkeypatch.setattr(Evidence, "permits_deletion", lambda *_: True)
    assert Promise.KEPT in explore(scenario).broken


def test_deleted_object_stays_when_a_run_does_not_take_back_what_it_created(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scenario = Scenario(history=("1", DELETE), protocol=BY_USERS, crashes=False, duplicates=False)
    assert not explore(scenario).broken
    monkeypatch.setattr(run, "OWN_WRITE", HINT)
    assert explore(scenario).broken.keys() == {Promise.EQUAL}


@each_short_history
def test_late_request_of_a_crashed_run_never_restores_an_older_version(history: History) -> None:
    """The request may take effect at any later time."""
    report = explore(Scenario(history=history, protocol=DELETES, stragglers=True))
    assert not report.broken.keys() - {Promise.EQUAL}


def test_late_request_of_a_crashed_run_can_restore_a_deleted_object() -> None:
    """The protocol assumes that such a request takes effect before the retry of its event ends."""
    scenario = Scenario(history=("1", DELETE), protocol=DELETES, stragglers=True)
    assert explore(scenario).broken.keys() == {Promise.EQUAL}


@each_short_history
def test_shortcuts_do_not_change_the_findings(history: History) -> None:
    for protocol in policies(history):
        scenario = Scenario(history=history, protocol=protocol, expectations=ANY_EXPECTATION)
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
def test_every_promise_holds_with_mixed_expectations_in_long_histories(
    history: History, *, versioned: bool
) -> None:
    for protocol in policies(history):
        holds(
            Scenario(
                history=history,
                protocol=protocol,
                expectations=ANY_EXPECTATION,
                versioned=versioned,
            )
        )
