"""Compressed objects: each chunk of them disturbed, whether the service checks gzip or not.

Never is anything visible but a whole version, and no staged object is left.
"""

import gzip
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from contract.gcs_http import noise
from wire.cases import (
    ALWAYS,
    BEFORE,
    BEFORE_REQUEST,
    BEFORE_RESPONSE,
    INSIDE,
    MID_REQUEST,
    Action,
    Case,
    Scenario,
    Step,
    fault_of,
    fin,
    nothing,
    once,
    refuse,
    rst,
    run_case,
    stall,
)
from wire.concurrent_changes import (
    destination_deleted,
    destination_overwritten,
    source_becomes_small,
    source_deleted,
    staged_objects_deleted,
)
from wire.harness import KIB, MIB, SHORT_TIMEOUT, Clouds, Harness
from wire.proxy import CannedResponseError, Exchange, Phase, Place, response
from wire.test_wire_slices import execute

from replicate.gcs import compressed_upload
from replicate.handler import Function
from replicate.wiring import Environment
from tools.local.gcs import Fault as ServerFault

TEXT = noise((2 * MIB + 300 * KIB) // 2).hex().encode()
"""Three chunks of a MiB at most, of which each takes a little more than half of its bytes."""

IN_PARTS = {"PARALLEL_FROM": "1 MiB", "PART_SIZE": "1 MiB"}
IN_SLICES = {"PARALLEL_FROM": "1 MiB", "LARGE_FROM": "1 MiB", "SLICE_SIZE": "1536 KiB"}
PARTS = 4
BEFORE_BODY = Place(Phase.REQUEST_BODY, BEFORE)
INTEGRITY = frozenset({"integrity"})


@pytest.fixture(scope="module")
def environments(clouds: Clouds) -> Iterator[dict[str, Environment]]:
    """Yield warm execution environments that compress, as the tests need them."""
    with pytest.MonkeyPatch.context() as small:
        small.setattr(compressed_upload, "CHUNK_PIECES", 1)
        yield {
            "patient": clouds.warm_environment(COMPRESS_EGRESS="true"),
            "impatient": clouds.warm_environment(SHORT_TIMEOUT, COMPRESS_EGRESS="true"),
            "parts": clouds.warm_environment(COMPRESS_EGRESS="true", **IN_PARTS),
            "slices": clouds.warm_environment(COMPRESS_EGRESS="true", **IN_SLICES),
        }


@pytest.fixture
def harness(harness: Harness, environments: dict[str, Environment]) -> Iterator[Harness]:
    """Let the function compress."""
    harness.function = Function(environments["patient"])
    harness.clear_requests()
    yield harness
    harness.stop_faults()
    harness.clouds.server.clear_faults()
    harness.clear_staged()


def _overwrite(harness: Harness) -> dict[str, object]:
    harness.put_replicated(b"small", colour="red")
    harness.put(TEXT, colour="green")
    return harness.event(fresh=False)


FIRST, SECOND, LAST = Step("gcs.put"), Step("gcs.put", 1), Step("gcs.final")
CHUNKS = (FIRST, SECOND, LAST)
STEPS = (Step("gcs.start"), *CHUNKS, Step("gcs.compose"))
OVERWRITE = Scenario("overwrite", _overwrite, STEPS)


def test_object_travels_in_fewer_bytes_and_is_equal(harness: Harness) -> None:
    run = harness.invoke(_overwrite(harness))
    assert run.error_code == "", run.message
    names = ["gcs.get", "s3.head", "s3.get", "gcs.staged-get"]
    assert harness.steps == [*names, *(step.name for step in STEPS), "s3.head"]
    sent = [each for each in harness.requests if each.step in {"gcs.put", "gcs.final"}]
    assert {each.headers["content-encoding"] for each in sent} == {"gzip"}
    assert run.result["bytes_copied"] == len(TEXT)
    assert run.result["bytes_sent"] == sum(each.sent for each in sent) < 0.6 * len(TEXT)
    harness.assert_equal()


def session_is_gone(harness: Harness, exchange: Exchange) -> None:
    assert harness.clouds.gcs.request("DELETE", exchange.request.target).status == 499
    raise CannedResponseError(response(410))


def survived() -> Iterator[Case]:
    """Yield what one retry within the run overcomes."""
    for step in STEPS[1:]:
        yield Case(OVERWRITE, step, MID_REQUEST, "cut", rst)
        yield Case(OVERWRITE, step, BEFORE_RESPONSE, "lost", fin)
    for step in (SECOND, LAST):
        for action, what in ((refuse(503), "503"), (refuse(429), "429"), (session_is_gone, "410")):
            yield Case(OVERWRITE, step, BEFORE_REQUEST, what, action)
    for step, changes in CHANGES.items():
        for change in changes:
            yield Case(OVERWRITE, step, BEFORE_REQUEST, change.__name__, once(change))


def both_overwritten(harness: Harness) -> None:
    """Make what is staged useless: the compose fails, and another version is copied."""
    destination_overwritten(harness)
    source_becomes_small(harness)


CHANGES = {
    SECOND: (source_becomes_small, source_deleted),
    Step("gcs.compose"): (
        source_becomes_small,
        destination_overwritten,
        destination_deleted,
        staged_objects_deleted,
        both_overwritten,
    ),
}


@pytest.mark.parametrize("case", [*survived()], ids=str)
def test_run_survives(harness: Harness, case: Case) -> None:
    run = run_case(harness, case)
    if case.what == "lost":
        sent = (each.sent for each in harness.requests if each.step in {"gcs.put", "gcs.final"})
        assert run.result["bytes_sent"] == sum(sent)


@pytest.mark.parametrize("step", [SECOND, LAST], ids=str)
def test_run_survives_a_stall(
    harness: Harness, environments: dict[str, Environment], step: Step
) -> None:
    harness.function = Function(environments["impatient"])
    run_case(harness, Case(OVERWRITE, step, BEFORE_RESPONSE, "stall", stall))


@pytest.mark.parametrize("step", [SECOND, LAST], ids=str)
def test_run_that_is_always_refused_leaves_nothing(harness: Harness, step: Step) -> None:
    codes = frozenset({"destination_unavailable"})
    run_case(
        harness,
        Case(OVERWRITE, step, BEFORE_REQUEST, "503", refuse(503), ALWAYS, codes=codes),
    )


def reports(persisted: int) -> Action:
    """Let the request pass, and say that so many bytes are stored, whatever is true."""

    def action(_harness: Harness, _exchange: Exchange) -> None:
        stored = {"Range": f"bytes=0-{persisted - 1}"} if persisted else {}
        raise CannedResponseError(response(308, stored))

    return action


LESS = [0, MIB, MIB + 256 * KIB]
MORE = [2 * MIB + 256 * KIB, len(TEXT)]


@pytest.mark.parametrize("persisted", [*LESS, *MORE])
def test_run_is_not_misled_by_the_number_of_stored_bytes(harness: Harness, persisted: int) -> None:
    """GCS says after the second chunk what it has. If it has less, that is sent again."""
    codes = INTEGRITY if persisted in MORE else frozenset[str]()
    run_case(
        harness,
        Case(OVERWRITE, SECOND, BEFORE_RESPONSE, "308", reports(persisted), codes=codes),
    )


# Damage on the way


def sent_as(damage: Callable[[bytes], bytes], by: int = 0) -> Action:
    """Send a damaged or shifted member in place of the client, and return GCS's own answer."""

    def action(harness: Harness, exchange: Exchange) -> None:
        body, headers = damage(exchange.read_ahead()), exchange.request.headers
        first, last, total = map(int, re.findall(r"\d+", headers["content-range"]))
        kept = {
            "content-range": f"bytes {first + by}-{last + by}/{total}",
            "content-encoding": headers["content-encoding"],
        }
        reply = harness.clouds.gcs.request("PUT", exchange.request.target, headers=kept, body=body)
        exchange.request.status = reply.status
        raise CannedResponseError(response(reply.status, dict(reply.headers), reply.body))

    return action


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda member: member[:-2000],
    "more after it": lambda member: member + b"\0",
    "of other bytes": lambda member: gzip.compress(gzip.decompress(member)[::-1]),
}


REFUSED = {"flip", "truncated", "more after it", "later"}
"""What a strict GCS refuses. The others are whole members of the right size, of other bytes."""

HARMLESS = {(SECOND, "later"), (LAST, "earlier")}
"""GCS stores nothing of these: bytes before the chunk are missing, or all but a few are stored."""


def damaged() -> Iterator[Case]:
    for step in (SECOND, LAST):
        yield Case(OVERWRITE, step, MID_REQUEST, "flip", nothing, flip=True, codes=INTEGRITY)
        for what, action in (
            *((what, sent_as(damage)) for what, damage in DAMAGES.items()),
            ("later", sent_as(bytes, 256 * KIB)),
            ("earlier", sent_as(bytes, -256 * KIB)),
        ):
            codes = frozenset[str]() if (step, what) in HARMLESS else INTEGRITY
            yield Case(OVERWRITE, step, BEFORE_BODY, what, action, codes=codes)


@pytest.mark.parametrize("part", [BEFORE, INSIDE])
def test_bytes_that_s3_damaged_are_never_visible(harness: Harness, part: float) -> None:
    """What is compressed and stored is then the same: only the source's checksum differs."""
    place = Place(Phase.RESPONSE_BODY, part)
    case = Case(OVERWRITE, Step("s3.get"), place, "flip", nothing, flip=True, codes=INTEGRITY)
    run_case(harness, case)


@pytest.mark.parametrize("case", [*damaged()], ids=str)
def test_damaged_member_is_never_visible(harness: Harness, case: Case) -> None:
    run_case(harness, case)
    refused = [each.status for each in harness.requests if each.status in {400, 503}]
    status = 400 if case.codes else 503
    assert refused == ([status] if case.what in REFUSED else [])


@pytest.mark.parametrize("case", [*damaged()], ids=str)
def test_damaged_member_is_never_visible_when_gcs_does_not_check(
    harness: Harness, case: Case
) -> None:
    """What decodes is stored, filled up with zeros. Only our own CRC32C differs."""
    harness.clouds.server.add_fault(ServerFault(method="PUT", trust_gzip=True, times=None))
    if case.what == "more after it":  # what decodes is right
        case = replace(case, codes=frozenset())
    run_case(harness, case)


@pytest.mark.parametrize("is_trusting", [False, True], ids=["checks", "trusts"])
@pytest.mark.parametrize("what", ["cut", "flip", *DAMAGES])
def test_part_of_an_object_is_as_safe(
    harness: Harness, environments: dict[str, Environment], what: str, *, is_trusting: bool
) -> None:
    harness.function = Function(environments["parts"])
    if is_trusting:
        harness.clouds.server.add_fault(ServerFault(method="PUT", trust_gzip=True, times=None))
    second = Step("gcs.final", 1)
    case = Case(OVERWRITE, second, MID_REQUEST, what, rst)
    for each in damaged():
        if (each.step, each.what) == (LAST, what):
            case = replace(each, step=second)
    if is_trusting and what == "more after it":  # what decodes is right
        case = replace(case, codes=frozenset())
    run_case(harness, case)
    assert harness.steps.count("gcs.final") >= PARTS
    assert harness.steps.count("gcs.compose") == 1


def test_execution_compresses_its_slices_and_the_commit_has_their_sum(
    harness: Harness, environments: dict[str, Environment]
) -> None:
    """The second part is cut off once. So it is sent twice, and counted twice."""
    harness.function = Function(environments["slices"])
    harness.put(TEXT, checksum="CRC64NVME")
    second = Step("gcs.final", 1)
    fault = harness.inject(fault_of(harness, Case(OVERWRITE, second, MID_REQUEST, "cut", rst)))
    executed = execute(harness)
    harness.stop_faults()
    assert executed
    assert fault.triggered
    harness.observe()
    harness.assert_equal()
    sent = [each.sent for each in harness.requests if each.step == "gcs.final"]
    assert len(sent) > 2 * PARTS - 1
    assert executed["result"]["bytes_copied"] == len(TEXT)
    assert sum(sent) <= executed["result"]["bytes_sent"] < 0.7 * len(TEXT)
