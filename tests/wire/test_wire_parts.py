"""Medium objects: four parts at a time, each request of them disturbed in every way."""

import json
import os
import subprocess
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from threading import Barrier, Event
from typing import TYPE_CHECKING, Any

import pytest
from contract.gcs_http import crc32c, noise
from wire import invocation_process
from wire.cases import (
    ALWAYS,
    BEFORE_REQUEST,
    BEFORE_RESPONSE,
    CUTS,
    INSIDE,
    MID_REQUEST,
    MID_RESPONSE,
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
    destination_described,
    destination_overwritten,
    source_becomes_small,
    source_deleted,
    source_described,
    staged_objects_deleted,
)
from wire.harness import KIB, MIB, SHORT_DELAY, SHORT_TIMEOUT, SOURCE, Clouds, Harness
from wire.proxy import (
    TIMEOUT_S,
    CannedResponseError,
    CutError,
    Exchange,
    ExchangeAction,
    Fault,
    Phase,
    Place,
    response,
)

from replicate.handler import Function
from replicate.protocol import parts
from replicate.wiring import Environment

if TYPE_CHECKING:
    from types_boto3_s3.literals import ChecksumAlgorithmType

PARTS = 2
"""Of an object here, not four as in a deployment: a second part runs beside the one with the fault.
Tests with more parts have the fixture `four_parts`."""

PART = 64 * KIB
MEDIUM = noise(4 * PART)
IN_SESSIONS = noise(2 * MIB + 300 * KIB + 7)
"""Each of its two parts needs an upload session."""

SIZES = {"PARALLEL_FROM": "64 KiB", "PART_SIZE": "12 MiB"}
"""Objects up to 48 MiB have four parts in a deployment."""


@pytest.fixture(scope="module")
def environments(clouds: Clouds) -> tuple[Environment, Environment]:
    """Return two warm execution environments that copy in parts. The second one is impatient."""
    return (
        clouds.warm_environment(**SIZES),
        clouds.warm_environment(SHORT_TIMEOUT, **SIZES),
    )


@pytest.fixture
def harness(
    harness: Harness,
    environments: tuple[Environment, Environment],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Harness]:
    """Let the function copy in two parts."""
    monkeypatch.setattr(parts, "PARTS_AT_ONCE", PARTS)
    harness.function = Function(environments[0])
    harness.clear_requests()
    yield harness
    harness.stop_faults()
    harness.clear_staged()


@pytest.fixture
def four_parts(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the function copy in four parts, as a deployed one does."""
    del harness  # it sets two
    monkeypatch.setattr(parts, "PARTS_AT_ONCE", 4)


def _create(harness: Harness) -> dict[str, Any]:
    harness.put(MEDIUM, checksum="CRC64NVME", colour="red")
    return harness.event()


def _overwrite(harness: Harness) -> dict[str, Any]:
    harness.put_replicated(b"small", colour="red")
    harness.put(MEDIUM, checksum="CRC64NVME", colour="green")
    return harness.event(fresh=False)


_PART = ("gcs.staged-get", "s3.resume", "gcs.insert", "gcs.staged-patch")
_COPY = (*(Step(name) for name in _PART), Step("gcs.compose"))
_STEPS = (Step("gcs.get"), Step("s3.head"), *_COPY, Step("s3.head", 1))
CREATE = Scenario("create", _create, _STEPS)
OVERWRITE = Scenario("overwrite", _overwrite, _STEPS)
CHANGES = [Step(name) for name in ("gcs.insert", "gcs.staged-patch", "gcs.compose")]


@pytest.mark.usefixtures("four_parts")
@pytest.mark.parametrize("scenario", [CREATE, OVERWRITE], ids=str)
def test_run_sends_these_requests_when_nothing_disturbs_it(
    harness: Harness, scenario: Scenario
) -> None:
    event = scenario.prepare(harness)
    run = harness.invoke(event)
    assert run.error_code == "", run.message
    assert run.result["verified_by"]["source"] == "crc64nvme"
    expected = Counter(step.name for step in scenario.steps) + Counter(_PART * 3)
    assert Counter(harness.steps) == expected
    assert harness.steps[-2:] == ["gcs.compose", "s3.head"]
    harness.assert_equal()


FIRST_READS = [
    (Step("gcs.bucket", nth), place, action)
    for nth in range(2)
    for place, action in (
        (BEFORE_REQUEST, refuse(503)),
        (Place(Phase.RESPONSE_HEAD, INSIDE), fin),
        (MID_RESPONSE, fin),
    )
]


@pytest.mark.parametrize(("step", "place", "action"), FIRST_READS)
def test_first_run_survives_a_broken_response_about_the_bucket(
    harness: Harness, step: Step, place: Place, action: Action
) -> None:
    """A response head that is cut off inside looks complete, but without a content type."""
    environment = harness.clouds.new_environment(SHORT_DELAY, **SIZES)
    harness.function = Function(environment)
    run_case(harness, Case(OVERWRITE, step, place, "", action))


# Broken connections


READS = {"gcs.get", "s3.head"}
"""The first and last requests of a run, which test_wire_cuts.py, test_wire_refusals.py and
test_wire_stalls.py disturb in every way. Here each is cut once."""

OWN_STEPS = [step for step in OVERWRITE.steps if step.name not in READS]
"""The requests that only a copy in parts sends."""


def cuts() -> Iterator[Case]:
    for step in OVERWRITE.steps:
        for place in CUTS.intersection(step.places()):
            if step in OWN_STEPS or place == BEFORE_RESPONSE:
                yield Case(OVERWRITE, step, place, "fin", fin)


@pytest.mark.parametrize("case", sorted(cuts(), key=str), ids=str)
def test_run_survives_one_cut_anywhere(harness: Harness, case: Case) -> None:
    run_case(harness, case)


def lasting_cuts() -> Iterator[Case]:
    for step in OWN_STEPS:
        codes = frozenset({f"{step.side}_unavailable"})
        yield Case(OVERWRITE, step, BEFORE_REQUEST, "always", fin, ALWAYS, codes=codes)
    for step in CHANGES:
        codes = frozenset({"destination_unavailable"})
        yield Case(OVERWRITE, step, BEFORE_RESPONSE, "always", fin, ALWAYS, codes=codes)


@pytest.mark.parametrize("case", [*lasting_cuts()], ids=str)
def test_run_that_is_cut_off_again_and_again_can_be_repeated(harness: Harness, case: Case) -> None:
    run_case(harness, case)


def stalls() -> Iterator[Case]:
    for step in OWN_STEPS:
        for place in {BEFORE_RESPONSE, MID_RESPONSE}.intersection(step.places()):
            yield Case(OVERWRITE, step, place, "stall", stall)


@pytest.mark.parametrize("case", sorted(stalls(), key=str), ids=str)
def test_run_survives_one_stall_of_a_request_about_parts(
    harness: Harness, environments: tuple[Environment, Environment], case: Case
) -> None:
    harness.function = Function(environments[1])
    run_case(harness, case)


# Refusals


def refusals() -> Iterator[Case]:
    for step in OWN_STEPS:
        yield Case(OVERWRITE, step, BEFORE_REQUEST, "503", refuse(503))
        yield Case(OVERWRITE, step, BEFORE_RESPONSE, "429", refuse(429))  # the server has done it


@pytest.mark.parametrize("case", [*refusals()], ids=str)
def test_run_survives_one_refusal_anywhere(harness: Harness, case: Case) -> None:
    run_case(harness, case)


def wrong_answers() -> Iterator[Case]:
    """Yield responses that claim a lost race that nobody has won."""
    for name, *statuses in (
        ("gcs.get", 404),
        ("gcs.staged-get", 404),
        ("s3.resume", 404, 412),
        ("gcs.insert", 412),
        ("gcs.staged-patch", 404, 412),
        ("gcs.compose", 404, 412),
    ):
        for status in statuses:
            for place in (BEFORE_REQUEST, BEFORE_RESPONSE):
                case = Case(OVERWRITE, Step(name), place, str(status), refuse(status))
                if str(case) not in map(str, REFUSED):
                    yield case


REFUSED = [
    Case(OVERWRITE, Step(name), BEFORE_REQUEST, str(status), refuse(status))
    for name, status in (("gcs.staged-patch", 412), ("gcs.compose", 404), ("gcs.compose", 412))
]


@pytest.mark.parametrize("case", [*wrong_answers()], ids=str)
def test_run_looks_again_after_a_lost_race_that_nobody_has_won(
    harness: Harness, case: Case
) -> None:
    run_case(harness, case)


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_precondition_that_holds_and_is_refused_is_a_policy_of_the_bucket(
    harness: Harness, case: Case
) -> None:
    event = case.scenario.prepare(harness)
    fault = harness.inject(fault_of(harness, case))
    assert harness.invoke(event).error_code == "destination_forbidden"
    harness.stop_faults()
    assert fault.triggered
    assert harness.observe() != harness.current
    assert harness.invoke(event).error_code == ""
    harness.assert_equal()


# Others who act at the same time


def source_overwritten(harness: Harness) -> None:
    harness.put(noise(4 * PART, seed=2), checksum="CRC64NVME", colour="yellow")


SOURCE_CHANGES = (source_overwritten, source_becomes_small, source_described, source_deleted)
DESTINATION_CHANGES = (
    destination_overwritten,
    destination_deleted,
    destination_described,
    staged_objects_deleted,
)
MOMENTS = {
    (Step("gcs.get"), BEFORE_RESPONSE): DESTINATION_CHANGES,
    (Step("s3.resume"), MID_RESPONSE): SOURCE_CHANGES,
    (Step("s3.resume", 1), BEFORE_REQUEST): SOURCE_CHANGES,
    (Step("gcs.insert"), BEFORE_REQUEST): DESTINATION_CHANGES,
    (Step("gcs.staged-patch", 1), BEFORE_RESPONSE): (staged_objects_deleted,),
    (Step("gcs.compose"), BEFORE_REQUEST): SOURCE_CHANGES + DESTINATION_CHANGES,
    (Step("gcs.compose"), BEFORE_RESPONSE): SOURCE_CHANGES,
}
"""The requests next to which each change may make a difference. Before the run reads a side, a
change of it is what the run reads; after its last read, it is noticed at the commit or after it."""


RACES = [
    Case(OVERWRITE, step, place, change.__name__, once(change))
    for (step, place), changes in MOMENTS.items()
    for change in changes
]


@pytest.mark.parametrize("case", RACES, ids=str)
def test_run_ends_equal_when_others_interfere(harness: Harness, case: Case) -> None:
    run_case(harness, case)


@pytest.mark.parametrize("place", [BEFORE_REQUEST, BEFORE_RESPONSE], ids=str)
@pytest.mark.parametrize(
    "step", ["gcs.staged-get", "s3.resume", "gcs.insert", "gcs.staged-patch", "gcs.compose"]
)
def test_two_runs_of_one_event_leave_one_object(
    harness: Harness, environments: tuple[Environment, Environment], step: str, place: Place
) -> None:
    """S3 may deliver an event twice. The second run does everything while the first one waits."""
    event = OVERWRITE.prepare(harness)

    def run_meanwhile(_: Exchange) -> None:
        other = Harness(harness.clouds, Function(environments[1]), key=harness.key)
        ended.append(other.invoke(event).error_code)

    ended: list[str] = []
    harness.inject(Fault(step, place, run_meanwhile))
    assert harness.invoke(event).error_code == ""
    harness.stop_faults()
    assert ended == [""]
    harness.assert_equal()


@pytest.mark.usefixtures("four_parts")
def test_event_that_is_delivered_four_times_at_once_leaves_one_object(
    harness: Harness, clouds: Clouds
) -> None:
    event = OVERWRITE.prepare(harness)
    runs = [
        Harness(clouds, Function(clouds.new_environment(SHORT_DELAY, **SIZES)), key=harness.key)
        for _ in range(4)
    ]
    with ThreadPoolExecutor(len(runs)) as pool:
        ended = [*pool.map(lambda run: run.invoke(event).error_code, runs)]
    assert ended == [""] * len(runs)
    harness.assert_equal()


# Parts that need a session of their own


def _create_in_sessions(harness: Harness) -> dict[str, Any]:
    harness.put(IN_SESSIONS, colour="red")
    return harness.event(fresh=False)


_SESSION = ("gcs.start", "gcs.put", "gcs.final")
SESSIONS = Scenario("sessions", _create_in_sessions, tuple(Step(name) for name in _SESSION))


def session_cases() -> Iterator[Case]:
    for name in _SESSION:
        for place in (MID_REQUEST, BEFORE_RESPONSE):
            orphan = name == "gcs.start" and place == BEFORE_RESPONSE
            yield Case(SESSIONS, Step(name), place, "rst", rst, leaves_session=orphan)
        yield Case(SESSIONS, Step(name, 1), BEFORE_REQUEST, "503", refuse(503))
    yield Case(SESSIONS, Step("gcs.put"), BEFORE_REQUEST, "410", refuse(410), leaves_session=True)
    yield Case(SESSIONS, Step("gcs.final"), BEFORE_REQUEST, "412", refuse(412))
    yield Case(SESSIONS, Step("gcs.final"), BEFORE_RESPONSE, "412", refuse(412))


@pytest.mark.parametrize("case", [*session_cases()], ids=str)
def test_session_of_a_part_survives_one_disturbance(harness: Harness, case: Case) -> None:
    run_case(harness, case)


# One part that fails


def give_up() -> CannedResponseError:
    """Return a refusal that no run waits for: it fails at once."""
    return CannedResponseError(response(503, {"Retry-After": "3600"}))


@pytest.mark.usefixtures("four_parts")
def test_part_that_fails_stops_the_others_and_cancels_their_sessions(harness: Harness) -> None:
    """Two parts are slow: at 500 KiB/s the rest of each would take 4 s."""
    harness.put(noise(MIB) * 16, checksum="CRC64NVME")
    event = harness.event(fresh=False)
    started = Barrier(3)

    def wait_for_the_others(_: Exchange) -> None:
        started.wait(TIMEOUT_S)

    def fail(_: Exchange) -> None:
        started.wait(TIMEOUT_S)
        raise give_up()

    for _ in range(2):
        harness.inject(Fault("s3.resume", MID_RESPONSE, wait_for_the_others, chunk_delay_s=0.002))
    harness.inject(Fault("gcs.final", BEFORE_REQUEST, fail))
    run = harness.invoke(event)
    harness.stop_faults()
    assert (run.error_code, run.is_retryable) == ("destination_unavailable", True)
    assert harness.steps.count("gcs.final") <= 2, "a slow part was finished"
    assert harness.steps.count("gcs.cancel") >= 3
    assert harness.open_sessions() == []
    assert harness.observe() is None
    assert harness.invoke(event).error_code == ""
    harness.assert_equal()


@pytest.mark.usefixtures("four_parts")
@pytest.mark.parametrize("missing", [1, 3])
def test_retry_reads_only_the_ranges_that_are_missing(harness: Harness, missing: int) -> None:
    event = OVERWRITE.prepare(harness)
    done = Barrier(4)

    def fail_when_the_others_are_done(_: Exchange) -> None:
        done.wait(TIMEOUT_S)
        raise give_up()

    def wait_for_the_others(_: Exchange) -> None:
        done.wait(TIMEOUT_S)

    for _ in range(missing):
        harness.inject(Fault("s3.resume", BEFORE_REQUEST, fail_when_the_others_are_done))
    for _ in range(4 - missing):
        harness.inject(Fault("gcs.staged-patch", BEFORE_RESPONSE, wait_for_the_others))
    first = harness.invoke(event)
    harness.stop_faults()
    assert (first.error_code, first.is_retryable) == ("source_unavailable", True)
    assert len(harness.staged()) == 4 - missing
    harness.clear_requests()
    assert harness.invoke(event).error_code == ""
    assert harness.steps.count("s3.resume") == missing
    harness.assert_equal()


# Integrity


def another_range(exchange: Exchange) -> None:
    """Send as many bytes as were requested, from elsewhere in the object."""
    size = len(MEDIUM)
    other = noise(PART, seed=3)
    headers = {"Content-Range": f"bytes {size - PART}-{size - 1}/{size}"}
    if exchange.request.headers["range"] == f"bytes={size - PART}-{size - 1}":
        headers = {"Content-Range": f"bytes 0-{PART - 1}/{size}"}
    raise CannedResponseError(response(206, headers, other))


def the_whole_object(_: Exchange) -> None:
    raise CannedResponseError(response(200, {"ETag": '"any"'}, MEDIUM))


def a_range_of_another_size(exchange: Exchange) -> None:
    span = exchange.request.headers["range"].removeprefix("bytes=")
    headers = {"Content-Range": f"bytes {span}/{len(MEDIUM) + 1}"}
    raise CannedResponseError(response(206, headers, noise(PART, seed=3)))


@pytest.mark.usefixtures("four_parts")
@pytest.mark.parametrize("action", [another_range, the_whole_object, a_range_of_another_size])
def test_response_that_is_not_the_requested_range_is_refused(
    harness: Harness, action: ExchangeAction
) -> None:
    event = OVERWRITE.prepare(harness)
    fault = harness.inject(Fault("s3.resume", BEFORE_REQUEST, action, times=ALWAYS))
    first = harness.invoke(event)
    harness.stop_faults()
    assert fault.triggered
    assert (first.error_code, first.is_retryable) == ("source_unavailable", True)
    assert harness.staged() == []
    assert harness.invoke(event).error_code == ""
    harness.assert_equal()


def _put(checksum: "ChecksumAlgorithmType") -> Callable[[Harness], None]:
    return lambda harness: harness.put(MEDIUM, checksum=checksum)


def _put_multipart(harness: Harness) -> None:
    harness.put_multipart(*(noise(5 * MIB, seed) for seed in range(2)), b"and a tail")


def _put_with_composite_checksum(harness: Harness) -> None:
    """S3 appends the number of parts to a composite checksum; moto does not."""
    _put_multipart(harness)
    parts = [noise(5 * MIB, 0), noise(5 * MIB, 1), b"and a tail"]
    digest = sha256(b"".join(sha256(part).digest() for part in parts)).digest()
    value = f"{b64encode(digest).decode()}-{len(parts)}"

    def describe(_: Exchange) -> None:
        found = harness.clouds.s3.head_object(Bucket=SOURCE, Key=harness.key)
        headers = {**found["ResponseMetadata"]["HTTPHeaders"], "x-amz-checksum-sha256": value}
        headers["x-amz-checksum-type"] = "COMPOSITE"
        lines = [f"{name}: {text}" for name, text in headers.items() if name != "connection"]
        raise CannedResponseError(("\r\n".join(["HTTP/1.1 200 OK", *lines]) + "\r\n\r\n").encode())

    harness.inject(Fault("s3.head", BEFORE_RESPONSE, describe, times=ALWAYS))


CHECKSUMS: list[tuple[str, Callable[[Harness], None]]] = [
    ("crc64nvme", _put("CRC64NVME")),
    ("crc32", _put("CRC32")),
    ("crc32c", _put("CRC32C")),
    ("etag-md5 of 3 parts", _put_multipart),
    ("sha256 of 3 parts", _put_with_composite_checksum),
]


@pytest.mark.usefixtures("four_parts")
@pytest.mark.parametrize(("verified_by", "prepare"), CHECKSUMS)
def test_part_with_wrong_bytes_is_found_before_the_commit(
    harness: Harness, verified_by: str, prepare: Callable[[Harness], None]
) -> None:
    prepare(harness)
    event = harness.event(fresh=False)
    fault = harness.inject(Fault("s3.resume", MID_RESPONSE, skip=1, flip=True))
    first = harness.invoke(event)
    assert fault.triggered == 1
    assert (first.error_code, first.is_retryable) == ("integrity", True)
    assert "gcs.compose" not in harness.steps
    assert harness.observe() is None
    assert harness.staged() == []
    second = harness.invoke(event)
    assert second.error_code == "", second.message
    assert second.result["verified_by"] == {"source": verified_by, "destination": "crc32c"}
    harness.stop_faults()
    harness.assert_equal()


@pytest.mark.parametrize(
    ("scenario", "step"), [(OVERWRITE, "gcs.insert"), (SESSIONS, "gcs.put")], ids=str
)
def test_bytes_that_change_on_their_way_to_gcs_are_refused(
    harness: Harness, scenario: Scenario, step: str
) -> None:
    case = Case(
        scenario, Step(step), MID_REQUEST, "", nothing, flip=True, codes=frozenset({"integrity"})
    )
    run_case(harness, case)


def test_composed_object_that_is_not_the_parts_is_deleted(harness: Harness) -> None:
    """GCS reports another checksum than that of the parts. It is a defect of GCS, or of a tool."""
    event = OVERWRITE.prepare(harness)

    def report_another_checksum(_: Exchange) -> None:
        live = harness.clouds.gcs.get(harness.key).json
        body = json.dumps({**live, "crc32c": crc32c(b"other")}).encode()
        raise CannedResponseError(response(200, {"Content-Type": "application/json"}, body))

    harness.inject(Fault("gcs.compose", BEFORE_RESPONSE, report_another_checksum))
    first = harness.invoke(event)
    assert (first.error_code, first.is_retryable) == ("integrity", True)
    assert harness.observe() is None
    assert harness.invoke(event).error_code == ""
    harness.assert_equal()


# A run that is killed, and memory


KILLS = [
    ("s3.resume", MID_RESPONSE),
    ("gcs.insert", BEFORE_RESPONSE),
    ("gcs.staged-patch", BEFORE_REQUEST),
    ("gcs.compose", BEFORE_REQUEST),
    ("gcs.compose", BEFORE_RESPONSE),
]


@pytest.mark.usefixtures("four_parts")
@pytest.mark.parametrize(("step", "place"), KILLS, ids=str)
def test_parts_of_a_killed_run_are_used_by_the_next_one(
    harness: Harness, step: str, place: Place
) -> None:
    event = OVERWRITE.prepare(harness)
    reached, dead = Event(), Event()

    def wait_for_the_end(_: Exchange) -> None:
        reached.set()
        dead.wait(TIMEOUT_S)
        raise CutError(reset=True)

    harness.inject(Fault(step, place, wait_for_the_end))
    run = invocation_process.start(event, harness.clouds.environ | SIZES)
    try:
        assert reached.wait(TIMEOUT_S), "the run never came there"
    finally:
        run.kill()
        run.join()
        dead.set()
    harness.stop_faults()
    complete = sum("s3-staged-checksum" in each.get("metadata", {}) for each in harness.staged())
    is_committed = harness.observe() == harness.current
    harness.clear_requests()
    assert harness.invoke(event).error_code == ""
    assert harness.steps.count("s3.resume") == (0 if is_committed else 4 - complete)
    harness.assert_equal()


MEASURED = f"""
import runpy, sys
runpy.run_path({invocation_process.__file__!r}, run_name="__main__")
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_memory_does_not_grow_with_the_size_of_the_parts(harness: Harness) -> None:
    """Four parts of 12 MiB take as much memory as four parts of 2 MiB."""
    peaks = []
    for size in (8 * MIB, 48 * MIB):
        harness.put(noise(MIB) * (size // MIB), checksum="CRC64NVME")
        variables = harness.clouds.environ | SIZES | {"PYTHONPATH": os.pathsep.join(sys.path)}
        printed = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", MEASURED, json.dumps(harness.event(fresh=False))],
            env=variables,
            stdout=subprocess.PIPE,
            timeout=60,
            check=True,
        ).stdout.decode()
        peaks.append(int(printed.split()[-2]))  # in KiB
        harness.assert_equal()
    assert peaks[1] - peaks[0] < 8 * KIB, peaks
