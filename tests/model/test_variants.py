"""Each part of the protocol is needed: without it, a schedule exists that breaks a promise.

The whole protocol keeps every promise in the same scenario. docs/GUARANTEES.md has the table.
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
    SourceFirst,
    SourceFirstWithoutVerify,
    WithoutIfMatch,
    WithoutMetageneration,
    WithoutPrecondition,
    WithoutProvenanceCheck,
    WithoutRead,
    WithoutVerify,
    flawed_protocol,
)

from replicate.protocol.evidence import Deletes
from replicate.protocol.model import Expectation
from replicate.protocol.plan import Overwrite, Policy

NEW = (Expectation.NEW,)
DELETES = Policy(deletes=Deletes.ALL)
SAME_SECOND = timedelta(0)

SCENARIOS = (
    Scenario(history=("1", DELETE)),
    Scenario(history=("1", "1'")),
    Scenario(history=("1", "2")),
    Scenario(history=("1", "2", "1")),
    Scenario(history=("1", "2", "1"), tick=SAME_SECOND),
    Scenario(history=("1", "2", "1"), multipart=True),  # without a checksum of S3
)

WHOLE, FORWARD, EQUAL, SUCCESS = Promise.WHOLE, Promise.FORWARD, Promise.EQUAL, Promise.SUCCESS

VARIANTS: dict[str, tuple[dict[str, Any], set[Promise]]] = {
    "no precondition, no verify": (
        {"protocol": flawed_protocol(WithoutVerify), "gcs": WithoutPrecondition},
        {EQUAL, FORWARD, WHOLE},
    ),
    "precondition, source read first, no verify": (
        {"protocol": flawed_protocol(SourceFirstWithoutVerify)},
        {EQUAL, FORWARD},
    ),
    "precondition, destination read first, no verify": (
        {"protocol": flawed_protocol(WithoutVerify)},
        {EQUAL},
    ),
    "verify only": ({"gcs": WithoutPrecondition}, {EQUAL, FORWARD, WHOLE}),
    "precondition on the generation only": ({"gcs": WithoutMetageneration}, {FORWARD}),
    "source read first": ({"protocol": flawed_protocol(SourceFirst)}, {FORWARD}),
    "optimistic create, no verify": (
        {"protocol": flawed_protocol(WithoutVerify), "expectations": NEW},
        {EQUAL},
    ),
    "the protocol, with optimistic create": ({"expectations": NEW}, set()),
    "the protocol": ({}, set()),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variant_breaks_exactly_the_documented_promises(variant: str) -> None:
    """The set of broken promises is exactly the documented one, for every variant."""
    changed, expected = VARIANTS[variant]
    protocol = replace(changed.get("protocol", Protocol()), policy=DELETES)
    broken: set[Promise] = set()
    for scenario in SCENARIOS:
        crashes = len(scenario.history) < 3  # crashes are not needed when there are three changes
        variation = replace(
            scenario, **{**changed, "protocol": protocol, "crashes": crashes, "duplicates": False}
        )
        broken |= explore(variation).broken.keys()
    assert broken == expected


MUTATIONS: dict[str, tuple[Scenario, Promise]] = {
    "a delete is lost without the verify": (
        Scenario(history=("1", DELETE), protocol=flawed_protocol(WithoutVerify)),
        Promise.EQUAL,
    ),
    "restored contents are lost without the verify": (
        Scenario(
            history=("1", "2", "1"), tick=SAME_SECOND, protocol=flawed_protocol(WithoutVerify)
        ),
        Promise.EQUAL,
    ),
    "a delete is lost by an optimistic create without the verify": (
        Scenario(history=("1", DELETE), expectations=NEW, protocol=flawed_protocol(WithoutVerify)),
        Promise.EQUAL,
    ),
    "an older version is restored when the source is read first": (
        Scenario(history=("1", "1'"), protocol=flawed_protocol(SourceFirst)),
        Promise.FORWARD,
    ),
    "an older version is restored without a precondition": (
        Scenario(history=("1", "2"), gcs=WithoutPrecondition),
        Promise.FORWARD,
    ),
    "metadata of one version is put on the bytes of another without a precondition": (
        Scenario(history=("1", "2", "1"), gcs=WithoutPrecondition),
        Promise.WHOLE,
    ),
    "an older version is restored by a patch without the metageneration": (
        Scenario(history=("1", "2", "1"), gcs=WithoutMetageneration),
        Promise.FORWARD,
    ),
    "a patch sets the custom time back and is refused without the metageneration": (
        Scenario(history=("1", "1'", "1"), gcs=WithoutMetageneration),
        Promise.SUCCESS,
    ),
    "bytes of one version get the metadata of another without If-Match": (
        Scenario(history=("1", "2"), multipart=True, s3=WithoutIfMatch),
        Promise.WHOLE,
    ),
    "bytes of two versions are mixed without If-Match": (
        Scenario(
            history=("1", "2"),
            multipart=True,
            s3=WithoutIfMatch,
            protocol=Protocol(ports=byte_by_byte),
        ),
        Promise.WHOLE,
    ),
    "a run fails with a wrong checksum without If-Match": (
        Scenario(history=("1", "2"), s3=WithoutIfMatch),
        Promise.SUCCESS,
    ),
    "a run reports its lost races as a refusal without reading the destination": (
        Scenario(history=("1", "2"), protocol=flawed_protocol(WithoutRead)),
        Promise.SUCCESS,
    ),
    "a foreign object is deleted without a check of the provenance": (
        Scenario(
            history=("1", DELETE),
            initial=live(NAME, b"theirs", PLAIN),
            protocol=flawed_protocol(WithoutProvenanceCheck),
        ),
        Promise.FOREIGN_KEPT,
    ),
    "a foreign object is replaced without a precondition": (
        Scenario(
            history=("1", "2"),
            gcs=WithoutPrecondition,
            protocol=Protocol(policy=Policy(overwrite=Overwrite.NEVER)),
        ),
        Promise.NOT_OVERWRITTEN,
    ),
}


def undisturbed(scenario: Scenario) -> Scenario:
    """Return the scenario with deletes, but without crashes and second deliveries."""
    policy = replace(scenario.protocol.policy, deletes=Deletes.ALL)
    protocol = replace(scenario.protocol, policy=policy)
    return replace(scenario, protocol=protocol, crashes=False, duplicates=False)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_promise_is_broken_when_one_part_is_missing(mutation: str) -> None:
    """The whole protocol breaks none in the same scenario."""
    scenario, promise = MUTATIONS[mutation]
    mutated = undisturbed(scenario)
    whole = replace(mutated.protocol, ports=faithful)
    assert promise in explore(mutated).broken
    assert not explore(replace(mutated, protocol=whole, s3=FakeS3, gcs=FakeGcs)).broken


def test_broken_promise_is_reported_with_a_schedule() -> None:
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
