"""Each part of the protocol is needed: without it, a schedule is found that breaks a promise.

And the whole protocol keeps every promise of the same scenario. docs/GUARANTEES.md has the table.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fakes import PLAIN, FakeGcs, FakeS3
from model.ages import live
from model.exploration import NAME, Scenario, explore
from model.histories import DELETE
from model.promises import Promise
from model.runs import Protocol, byte_by_byte, faithful
from model.variants import (
    Blind,
    OnGeneration,
    SourceFirst,
    SourceFirstUnverified,
    Trusting,
    Unconditional,
    Unverified,
    WithoutIfMatch,
    loosely,
)

from replicate.protocol.plan import Overwrite, Policy
from replicate.protocol.replicator import Expectation

NEW = (Expectation.NEW,)
DELETES = Policy(deletes=True)
SAME_SECOND = timedelta(0)

SCENARIOS = (
    Scenario(history=("1", DELETE)),
    Scenario(history=("1", "1'")),
    Scenario(history=("1", "2")),
    Scenario(history=("1", "2", "1")),
    Scenario(history=("1", "2", "1"), tick=SAME_SECOND),
)

WHOLE, FORWARD, EQUAL, SUCCESS = Promise.WHOLE, Promise.FORWARD, Promise.EQUAL, Promise.SUCCESS

VARIANTS: dict[str, tuple[dict[str, Any], set[Promise]]] = {
    "no precondition, no verify": (
        {"protocol": loosely(Unverified), "gcs": Unconditional},
        {EQUAL, FORWARD, WHOLE},
    ),
    "precondition, source read first, no verify": (
        {"protocol": loosely(SourceFirstUnverified)},
        {EQUAL, FORWARD},
    ),
    "precondition, destination read first, no verify": (
        {"protocol": loosely(Unverified)},
        {EQUAL},
    ),
    "verify only": ({"gcs": Unconditional}, {EQUAL, FORWARD, WHOLE}),
    "precondition on the generation only": ({"gcs": OnGeneration}, {FORWARD}),
    "source read first": ({"protocol": loosely(SourceFirst)}, {FORWARD}),
    "optimistic create, no verify": (
        {"protocol": loosely(Unverified), "hints": NEW},
        {EQUAL},
    ),
    "the protocol, with optimistic create": ({"hints": NEW}, set()),
    "the protocol": ({}, set()),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_table_of_variants(variant: str) -> None:
    """Exactly the promises that it says, for every variant of the protocol."""
    changed, expected = VARIANTS[variant]
    protocol = replace(changed.get("protocol", Protocol()), policy=DELETES)
    broken: set[Promise] = set()
    for scenario in SCENARIOS:
        crashes = len(scenario.history) < 3  # what takes three changes is found without
        variation = replace(
            scenario, **{**changed, "protocol": protocol, "crashes": crashes, "duplicates": False}
        )
        broken |= explore(variation).broken.keys()
    assert broken == expected


MUTATIONS: dict[str, tuple[Scenario, Promise]] = {
    "a delete is lost without the verify": (
        Scenario(history=("1", DELETE), protocol=loosely(Unverified)),
        Promise.EQUAL,
    ),
    "contents that come back are lost without the verify": (
        Scenario(history=("1", "2", "1"), tick=SAME_SECOND, protocol=loosely(Unverified)),
        Promise.EQUAL,
    ),
    "a delete is lost by an optimistic create without the verify": (
        Scenario(history=("1", DELETE), hints=NEW, protocol=loosely(Unverified)),
        Promise.EQUAL,
    ),
    "an older version comes back when the source is read first": (
        Scenario(history=("1", "1'"), protocol=loosely(SourceFirst)),
        Promise.FORWARD,
    ),
    "an older version comes back without a precondition": (
        Scenario(history=("1", "2"), gcs=Unconditional),
        Promise.FORWARD,
    ),
    "metadata come to lie around other bytes without a precondition": (
        Scenario(history=("1", "2", "1"), gcs=Unconditional),
        Promise.WHOLE,
    ),
    "an older version comes back through a patch without the metageneration": (
        Scenario(history=("1", "2", "1"), gcs=OnGeneration),
        Promise.FORWARD,
    ),
    "a patch sets the time back, and is refused, without the metageneration": (
        Scenario(history=("1", "1'", "1"), gcs=OnGeneration),
        Promise.SUCCESS,
    ),
    "a version is mislabelled without If-Match": (
        Scenario(history=("1", "2"), multipart=True, s3=WithoutIfMatch),
        Promise.WHOLE,
    ),
    "a version is torn without If-Match": (
        Scenario(
            history=("1", "2"),
            multipart=True,
            s3=WithoutIfMatch,
            protocol=Protocol(ports=byte_by_byte),
        ),
        Promise.WHOLE,
    ),
    "a checksum finds it, and the run fails, without If-Match": (
        Scenario(history=("1", "2"), s3=WithoutIfMatch),
        Promise.SUCCESS,
    ),
    "a run takes its lost races for a refusal without a look at the destination": (
        Scenario(history=("1", "2"), protocol=loosely(Blind)),
        Promise.SUCCESS,
    ),
    "somebody else's object is deleted without a look at the provenance": (
        Scenario(
            history=("1", DELETE),
            found=live(NAME, b"theirs", PLAIN),
            protocol=loosely(Trusting),
        ),
        Promise.OURS,
    ),
    "somebody else's object is replaced without a precondition": (
        Scenario(
            history=("1", "2"),
            gcs=Unconditional,
            protocol=Protocol(policy=Policy(overwrite=Overwrite.NEVER)),
        ),
        Promise.KEPT,
    ),
}


def undisturbed(scenario: Scenario) -> Scenario:
    """Deletes are replicated; no crash and no second delivery is needed to break a promise."""
    policy = replace(scenario.protocol.policy, deletes=True)
    protocol = replace(scenario.protocol, policy=policy)
    return replace(scenario, protocol=protocol, crashes=False, duplicates=False)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_without_one_part(mutation: str) -> None:
    """A promise is broken; by the whole protocol, in the same scenario, none is."""
    scenario, promise = MUTATIONS[mutation]
    mutated = undisturbed(scenario)
    whole = replace(mutated.protocol, ports=faithful)
    assert promise in explore(mutated).broken
    assert not explore(replace(mutated, protocol=whole, s3=FakeS3, gcs=FakeGcs)).broken


def test_a_broken_promise_comes_with_a_schedule_to_follow() -> None:
    scenario, promise = MUTATIONS["a delete is lost without the verify"]
    schedule = explore(undisturbed(scenario)).broken[promise]
    assert [step.split(" of ")[0] for step in schedule.splitlines()] == [
        "the source changes: 1",
        "run 1: GCS head -> None",
        "run 1: S3 HEAD -> 6512",
        "run 1: S3 GET -> b'11' as 6512",
        "the source changes: -",
        "run 1: S3 read -> b'11'",
        "run 2: GCS head -> None",
        "run 2: S3 HEAD -> None",
        "run 1: GCS write -> 6512",
    ]
