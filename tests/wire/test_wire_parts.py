"""Medium objects: four parts at a time, each request of them disturbed in every way."""

import json
import os
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from threading import Barrier, Event
from typing import TYPE_CHECKING, Any

import pytest
from contract.gcs_http import crc32c, noise
from wire import killed
from wire.cases import (
    ANSWERED,
    ARRIVAL,
    FOREVER,
    INSIDE,
    Blow,
    Case,
    Scenario,
    Step,
    fault_of,
    nothing,
    play,
    refuse,
    stall,
)
from wire.proxy import (
    PATIENCE_S,
    AnswerError,
    CutError,
    Exchange,
    Fault,
    Phase,
    Place,
    Strike,
    answer,
)
from wire.stage import BRIEF, IMPATIENT, KIB, MIB, SOURCE, Clouds, Stage

from replicate.handler import Function
from replicate.wiring import Environment

if TYPE_CHECKING:
    from types_boto3_s3.literals import ChecksumAlgorithmType

PART = 64 * KIB
MEDIUM = noise(4 * PART)
SIZES = {"PARALLEL_FROM": "64 KiB", "PART_SIZE": "12 MiB"}
"""Objects up to 48 MiB have four parts."""

MID_ANSWER = Place(Phase.RESPONSE_BODY, INSIDE)
MID_REQUEST = Place(Phase.REQUEST_BODY, INSIDE)


@pytest.fixture(scope="module")
def environments(clouds: Clouds) -> tuple[Environment, Environment]:
    """Return two warm execution environments that copy in parts. The second one is impatient."""
    patient, impatient = clouds.cold(BRIEF, **SIZES), clouds.cold(IMPATIENT, **SIZES)
    for environment in (patient, impatient):
        environment.deadline.restart(10)
        environment.destination.staging_obstacle()
    return patient, impatient


@pytest.fixture
def stage(stage: Stage, environments: tuple[Environment, Environment]) -> Iterator[Stage]:
    """Let the function copy in parts."""
    stage.function = Function(environments[0])
    stage.forget_steps()
    yield stage
    stage.settle()
    stage.clear_staged()


def _create(stage: Stage) -> dict[str, Any]:
    stage.put(MEDIUM, checksum="CRC64NVME", colour="red")
    return stage.event()


def _overwrite(stage: Stage) -> dict[str, Any]:
    stage.put(b"small", colour="red")
    assert stage.invoke(stage.event()).failure == ""
    stage.forget_steps()
    stage.put(MEDIUM, checksum="CRC64NVME", colour="green")
    return stage.event(fresh=False)


_PART = ("gcs.staged-get", "s3.resume", "gcs.insert", "gcs.staged-patch")
_COPY = (*(Step(name) for name in _PART), Step("gcs.compose"))
CREATE = Scenario("create", _create, (Step("s3.get"), *_COPY, Step("s3.head")))
OVERWRITE = Scenario(
    "overwrite", _overwrite, (Step("gcs.get"), Step("s3.head"), *_COPY, Step("s3.head", 1))
)
CHANGES = [Step(name) for name in ("gcs.insert", "gcs.staged-patch", "gcs.compose")]


@pytest.mark.parametrize("scenario", [CREATE, OVERWRITE], ids=str)
def test_a_run_sends_these_requests_when_nothing_disturbs_it(
    stage: Stage, scenario: Scenario
) -> None:
    event = scenario.prepare(stage)
    run = stage.invoke(event)
    assert run.failure == "", run.text
    assert run.told["verified_by"]["source"] == "crc64nvme"
    expected = Counter(step.name for step in scenario.steps) + Counter(_PART * 3)
    assert Counter(stage.steps) == expected
    assert stage.steps[-2:] == ["gcs.compose", "s3.head"]
    stage.assert_equal()


# Broken connections


def fin(_stage: Stage, _exchange: Exchange) -> None:
    raise CutError


def rst(_stage: Stage, _exchange: Exchange) -> None:
    raise CutError(reset=True)


def cuts() -> Iterator[Case]:
    for step in OVERWRITE.steps:
        for place in step.places():
            yield Case(OVERWRITE, step, place, "fin", fin)
        for place in {MID_REQUEST, ANSWERED, MID_ANSWER}.intersection(step.places()):
            yield Case(OVERWRITE, step, place, "rst", rst)


@pytest.mark.parametrize("case", sorted(cuts(), key=str), ids=str)
def test_a_run_survives_one_cut_anywhere(stage: Stage, case: Case) -> None:
    play(stage, case)


def lasting_cuts() -> Iterator[Case]:
    for step in OVERWRITE.steps:
        codes = frozenset({f"{step.side}_unavailable"})
        yield Case(OVERWRITE, step, ARRIVAL, "always", fin, FOREVER, codes=codes)
    for step in CHANGES:
        codes = frozenset({"destination_unavailable"})
        yield Case(OVERWRITE, step, ANSWERED, "always", fin, FOREVER, codes=codes)


@pytest.mark.parametrize("case", [*lasting_cuts()], ids=str)
def test_a_run_that_is_cut_off_again_and_again_can_be_repeated(stage: Stage, case: Case) -> None:
    play(stage, case)


def stalls() -> Iterator[Case]:
    for step in OVERWRITE.steps:
        for place in {MID_REQUEST, ANSWERED, MID_ANSWER}.intersection(step.places()):
            yield Case(OVERWRITE, step, place, "stall", stall)


@pytest.mark.parametrize("case", sorted(stalls(), key=str), ids=str)
def test_a_run_survives_one_stall(
    stage: Stage, environments: tuple[Environment, Environment], case: Case
) -> None:
    stage.function = Function(environments[1])
    play(stage, case)


# Refusals


def refusals() -> Iterator[Case]:
    for status in (429, 503):
        for step in OVERWRITE.steps:
            yield Case(OVERWRITE, step, ARRIVAL, str(status), refuse(status))
        for step in CHANGES:  # GCS has done it
            yield Case(OVERWRITE, step, ANSWERED, str(status), refuse(status))


@pytest.mark.parametrize("case", [*refusals()], ids=str)
def test_a_run_survives_one_refusal_anywhere(stage: Stage, case: Case) -> None:
    play(stage, case)


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
            for place in (ARRIVAL, ANSWERED):
                case = Case(OVERWRITE, Step(name), place, str(status), refuse(status))
                if str(case) not in map(str, REFUSED):
                    yield case


REFUSED = [
    Case(OVERWRITE, Step(name), ARRIVAL, str(status), refuse(status))
    for name, status in (("gcs.staged-patch", 412), ("gcs.compose", 404), ("gcs.compose", 412))
]


@pytest.mark.parametrize("case", [*wrong_answers()], ids=str)
def test_a_run_looks_again_after_a_lost_race_that_nobody_has_won(stage: Stage, case: Case) -> None:
    play(stage, case)


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_precondition_that_holds_and_is_refused_is_a_policy_of_the_bucket(
    stage: Stage, case: Case
) -> None:
    event = case.scenario.prepare(stage)
    fault = stage.spoil(fault_of(stage, case))
    assert stage.invoke(event).failure == "destination_forbidden"
    stage.settle()
    assert fault.struck
    assert stage.look() != stage.current
    assert stage.invoke(event).failure == ""
    stage.assert_equal()


# Others who act at the same time


def source_overwritten(stage: Stage) -> None:
    stage.put(noise(4 * PART, seed=2), checksum="CRC64NVME", colour="yellow")


def source_becomes_small(stage: Stage) -> None:
    stage.put(b"three", colour="yellow")


def source_described(stage: Stage) -> None:
    stage.describe(colour="black")


def source_deleted(stage: Stage) -> None:
    stage.remove()


def destination_overwritten(stage: Stage) -> None:
    stage.meddle()


def destination_deleted(stage: Stage) -> None:
    stage.clouds.gcs.delete(stage.key)


def destination_described(stage: Stage) -> None:
    """Change the metageneration alone."""
    reply = stage.clouds.gcs.patch(stage.key, {"metadata": {"mine": "now"}})
    if reply.status == 200:
        stage.allow(reply.json)


def staged_objects_deleted(stage: Stage) -> None:
    """Do what the bucket's lifecycle rule may do at any time."""
    stage.clear_staged()


SOURCE_DEEDS = (source_overwritten, source_becomes_small, source_described, source_deleted)
DESTINATION_DEEDS = (
    destination_overwritten,
    destination_deleted,
    destination_described,
    staged_objects_deleted,
)
BEFORE_THE_COMMIT = [
    (Step("gcs.get"), ANSWERED),
    (Step("s3.head"), ANSWERED),
    (Step("s3.resume"), MID_ANSWER),
    (Step("s3.resume", 3), ARRIVAL),
    (Step("gcs.insert"), ARRIVAL),
    (Step("gcs.staged-patch", 3), ANSWERED),
    (Step("gcs.compose"), ARRIVAL),
]


def once(deed: Callable[[Stage], None]) -> Blow:
    return lambda stage, _: deed(stage)


RACES = [
    *(
        Case(OVERWRITE, step, place, deed.__name__, once(deed))
        for step, place in BEFORE_THE_COMMIT
        for deed in SOURCE_DEEDS + DESTINATION_DEEDS
    ),
    *(
        Case(OVERWRITE, Step("gcs.compose"), ANSWERED, deed.__name__, once(deed))
        for deed in SOURCE_DEEDS
    ),
]


@pytest.mark.parametrize("case", RACES, ids=str)
def test_a_run_ends_equal_whoever_interferes(stage: Stage, case: Case) -> None:
    play(stage, case)


@pytest.mark.parametrize("place", [ARRIVAL, ANSWERED], ids=str)
@pytest.mark.parametrize(
    "step", ["gcs.staged-get", "s3.resume", "gcs.insert", "gcs.staged-patch", "gcs.compose"]
)
def test_two_runs_of_one_event_leave_one_object(
    stage: Stage, environments: tuple[Environment, Environment], step: str, place: Place
) -> None:
    """S3 may deliver an event twice. The second run does everything while the first one waits."""
    event = OVERWRITE.prepare(stage)

    def run_meanwhile(_: Exchange) -> None:
        other = Stage(stage.clouds, Function(environments[1]), key=stage.key)
        ended.append(other.invoke(event).failure)

    ended: list[str] = []
    stage.spoil(Fault(step, place, run_meanwhile))
    assert stage.invoke(event).failure == ""
    stage.settle()
    assert ended == [""]
    stage.assert_equal()


def test_an_event_that_is_delivered_four_times_at_once_leaves_one_object(
    stage: Stage, clouds: Clouds
) -> None:
    event = OVERWRITE.prepare(stage)
    runs = [Stage(clouds, Function(clouds.cold(BRIEF, **SIZES)), key=stage.key) for _ in range(4)]
    with ThreadPoolExecutor(len(runs)) as pool:
        ended = [*pool.map(lambda run: run.invoke(event).failure, runs)]
    assert ended == [""] * len(runs)
    stage.assert_equal()


# Parts that need a session of their own


def _create_in_sessions(stage: Stage) -> dict[str, Any]:
    stage.put_large("one", colour="red")
    return stage.event(fresh=False)


_SESSION = ("gcs.start", "gcs.put", "gcs.final")
SESSIONS = Scenario("sessions", _create_in_sessions, tuple(Step(name) for name in _SESSION))


def session_cases() -> Iterator[Case]:
    for name in _SESSION:
        for place in (MID_REQUEST, ANSWERED):
            orphan = name == "gcs.start" and place == ANSWERED
            yield Case(SESSIONS, Step(name), place, "rst", rst, leaves_session=orphan)
        yield Case(SESSIONS, Step(name, 3), ARRIVAL, "503", refuse(503))
    yield Case(SESSIONS, Step("gcs.put"), ARRIVAL, "410", refuse(410), leaves_session=True)
    yield Case(SESSIONS, Step("gcs.final"), ARRIVAL, "412", refuse(412))
    yield Case(SESSIONS, Step("gcs.final"), ANSWERED, "412", refuse(412))


@pytest.mark.parametrize("case", [*session_cases()], ids=str)
def test_a_part_s_session_survives_one_disturbance(stage: Stage, case: Case) -> None:
    play(stage, case)


# One part that fails


def give_up() -> AnswerError:
    """Return a refusal that no run waits for: it fails at once."""
    return AnswerError(answer(503, {"Retry-After": "3600"}))


def test_a_part_that_fails_stops_the_others_and_cancels_their_sessions(stage: Stage) -> None:
    """Two parts are slow: at 500 KiB/s the rest of each would take 4 s."""
    stage.put(noise(MIB) * 16, checksum="CRC64NVME")
    event = stage.event(fresh=False)
    started = Barrier(3)

    def wait_for_the_others(_: Exchange) -> None:
        started.wait(PATIENCE_S)

    def fail(_: Exchange) -> None:
        started.wait(PATIENCE_S)
        raise give_up()

    for _ in range(2):
        stage.spoil(Fault("s3.resume", MID_ANSWER, wait_for_the_others, drip=0.002))
    stage.spoil(Fault("gcs.final", ARRIVAL, fail))
    run = stage.invoke(event)
    stage.settle()
    assert (run.failure, run.is_retryable) == ("destination_unavailable", True)
    assert stage.steps.count("gcs.final") <= 2, "a slow part was finished"
    assert stage.steps.count("gcs.cancel") >= 3
    assert stage.open_sessions() == []
    assert stage.look() is None
    assert stage.invoke(event).failure == ""
    stage.assert_equal()


@pytest.mark.parametrize("missing", [1, 3])
def test_a_retry_reads_only_the_ranges_that_are_missing(stage: Stage, missing: int) -> None:
    event = OVERWRITE.prepare(stage)
    done = Barrier(4)

    def fail_when_the_others_are_done(_: Exchange) -> None:
        done.wait(PATIENCE_S)
        raise give_up()

    def wait_for_the_others(_: Exchange) -> None:
        done.wait(PATIENCE_S)

    for _ in range(missing):
        stage.spoil(Fault("s3.resume", ARRIVAL, fail_when_the_others_are_done))
    for _ in range(4 - missing):
        stage.spoil(Fault("gcs.staged-patch", ANSWERED, wait_for_the_others))
    first = stage.invoke(event)
    stage.settle()
    assert (first.failure, first.is_retryable) == ("source_unavailable", True)
    assert len(stage.staged()) == 4 - missing
    stage.forget_steps()
    assert stage.invoke(event).failure == ""
    assert stage.steps.count("s3.resume") == missing
    stage.assert_equal()


# Integrity


def another_range(exchange: Exchange) -> None:
    """Send as many bytes as were requested, from elsewhere in the object."""
    size = len(MEDIUM)
    other = noise(PART, seed=3)
    headers = {"Content-Range": f"bytes {size - PART}-{size - 1}/{size}"}
    if exchange.seen.headers["range"] == f"bytes={size - PART}-{size - 1}":
        headers = {"Content-Range": f"bytes 0-{PART - 1}/{size}"}
    raise AnswerError(answer(206, headers, other))


def the_whole_object(_: Exchange) -> None:
    raise AnswerError(answer(200, {"ETag": '"any"'}, MEDIUM))


def a_range_of_another_size(exchange: Exchange) -> None:
    span = exchange.seen.headers["range"].removeprefix("bytes=")
    headers = {"Content-Range": f"bytes {span}/{len(MEDIUM) + 1}"}
    raise AnswerError(answer(206, headers, noise(PART, seed=3)))


@pytest.mark.parametrize("strike", [another_range, the_whole_object, a_range_of_another_size])
def test_a_response_that_is_not_the_requested_range_is_refused(
    stage: Stage, strike: Strike
) -> None:
    event = OVERWRITE.prepare(stage)
    fault = stage.spoil(Fault("s3.resume", ARRIVAL, strike, times=FOREVER))
    first = stage.invoke(event)
    stage.settle()
    assert fault.struck
    assert (first.failure, first.is_retryable) == ("source_unavailable", True)
    assert stage.staged() == []
    assert stage.invoke(event).failure == ""
    stage.assert_equal()


def _put(checksum: "ChecksumAlgorithmType") -> Callable[[Stage], None]:
    return lambda stage: stage.put(MEDIUM, checksum=checksum)


def _put_in_parts(stage: Stage) -> None:
    stage.put_in_parts(*(noise(5 * MIB, seed) for seed in range(2)), b"and a tail")


def _put_with_composite_checksum(stage: Stage) -> None:
    """S3 appends the number of parts to a composite checksum; moto does not."""
    _put_in_parts(stage)
    parts = [noise(5 * MIB, 0), noise(5 * MIB, 1), b"and a tail"]
    digest = sha256(b"".join(sha256(part).digest() for part in parts)).digest()
    value = f"{b64encode(digest).decode()}-{len(parts)}"

    def describe(_: Exchange) -> None:
        found = stage.clouds.s3.head_object(Bucket=SOURCE, Key=stage.key)
        headers = {**found["ResponseMetadata"]["HTTPHeaders"], "x-amz-checksum-sha256": value}
        headers["x-amz-checksum-type"] = "COMPOSITE"
        lines = [f"{name}: {text}" for name, text in headers.items() if name != "connection"]
        raise AnswerError(("\r\n".join(["HTTP/1.1 200 OK", *lines]) + "\r\n\r\n").encode())

    stage.spoil(Fault("s3.head", ANSWERED, describe, times=FOREVER))


CHECKSUMS: list[tuple[str, Callable[[Stage], None]]] = [
    ("crc64nvme", _put("CRC64NVME")),
    ("crc32", _put("CRC32")),
    ("crc32c", _put("CRC32C")),
    ("etag-md5 of 3 parts", _put_in_parts),
    ("sha256 of 3 parts", _put_with_composite_checksum),
]


@pytest.mark.parametrize(("verified_by", "prepare"), CHECKSUMS)
def test_a_part_with_wrong_bytes_is_found_before_the_commit(
    stage: Stage, verified_by: str, prepare: Callable[[Stage], None]
) -> None:
    prepare(stage)
    event = stage.event(fresh=False)
    fault = stage.spoil(Fault("s3.resume", MID_ANSWER, skip=1, flip=True))
    first = stage.invoke(event)
    assert fault.struck == 1
    assert (first.failure, first.is_retryable) == ("integrity", True)
    assert "gcs.compose" not in stage.steps
    assert stage.look() is None
    assert stage.staged() == []
    second = stage.invoke(event)
    assert second.failure == "", second.text
    assert second.told["verified_by"] == {"source": verified_by, "destination": "crc32c"}
    stage.settle()
    stage.assert_equal()


@pytest.mark.parametrize(
    ("scenario", "step"), [(OVERWRITE, "gcs.insert"), (SESSIONS, "gcs.put")], ids=str
)
def test_bytes_that_change_on_their_way_to_gcs_are_refused(
    stage: Stage, scenario: Scenario, step: str
) -> None:
    case = Case(
        scenario, Step(step), MID_REQUEST, "", nothing, flip=True, codes=frozenset({"integrity"})
    )
    play(stage, case)


def test_a_composed_object_that_is_not_the_parts_is_deleted(stage: Stage) -> None:
    """GCS reports another checksum than that of the parts. It is a defect of GCS, or of a tool."""
    event = OVERWRITE.prepare(stage)

    def report_another_checksum(_: Exchange) -> None:
        live = stage.clouds.gcs.get(stage.key).json
        body = json.dumps({**live, "crc32c": crc32c(b"other")}).encode()
        raise AnswerError(answer(200, {"Content-Type": "application/json"}, body))

    stage.spoil(Fault("gcs.compose", ANSWERED, report_another_checksum))
    first = stage.invoke(event)
    assert (first.failure, first.is_retryable) == ("integrity", True)
    assert stage.look() is None
    assert stage.invoke(event).failure == ""
    stage.assert_equal()


# A run that is killed, and memory


KILLS = [
    ("s3.resume", MID_ANSWER),
    ("gcs.insert", ANSWERED),
    ("gcs.staged-patch", ARRIVAL),
    ("gcs.compose", ARRIVAL),
    ("gcs.compose", ANSWERED),
]


@pytest.mark.parametrize(("step", "place"), KILLS, ids=str)
def test_the_parts_of_a_killed_run_are_used_by_the_next_one(
    stage: Stage, step: str, place: Place
) -> None:
    event = OVERWRITE.prepare(stage)
    reached, dead = Event(), Event()

    def wait_for_the_end(_: Exchange) -> None:
        reached.set()
        dead.wait(PATIENCE_S)
        raise CutError(reset=True)

    stage.spoil(Fault(step, place, wait_for_the_end))
    run = _start(stage, event)
    try:
        assert reached.wait(PATIENCE_S), "the run never came there"
    finally:
        run.kill()
        run.wait()
        dead.set()
    stage.settle()
    complete = sum("s3-staged-checksum" in each.get("metadata", {}) for each in stage.staged())
    is_committed = stage.look() == stage.current
    stage.forget_steps()
    assert stage.invoke(event).failure == ""
    assert stage.steps.count("s3.resume") == (0 if is_committed else 4 - complete)
    stage.assert_equal()


MEASURED = f"""
import runpy, sys
runpy.run_path({killed.__file__!r}, run_name="__main__")
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_memory_does_not_grow_with_the_size_of_the_parts(stage: Stage) -> None:
    """Four parts of 12 MiB take as much memory as four parts of 2 MiB."""
    peaks = []
    for size in (8 * MIB, 48 * MIB):
        stage.put(noise(MIB) * (size // MIB), checksum="CRC64NVME")
        run = _start(stage, stage.event(fresh=False), ["-c", MEASURED], stdout=PIPE)
        printed = run.communicate(timeout=60)[0].decode()
        assert run.returncode == 0
        peaks.append(int(printed.split()[-2]))  # in KiB
        stage.assert_equal()
    assert peaks[1] - peaks[0] < 8 * KIB, peaks


def _start(
    stage: Stage, event: object, program: Sequence[str] = (killed.__file__,), stdout: int = DEVNULL
) -> Popen[bytes]:
    """Run the function once in a process of its own."""
    variables = {
        **stage.clouds.environ,
        **SIZES,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PATH": os.environ["PATH"],
    }
    return Popen(  # noqa: S603 - our own program
        [sys.executable, *program, json.dumps(event)],
        env=variables,
        cwd=Path(killed.__file__).parent,
        stdout=stdout,
    )
