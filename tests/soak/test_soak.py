"""A small soak, and tests that it reports what is wrong."""

import io
import json
import re
import subprocess
import sys
import time
import zlib
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tools.common.processes import plain_environment
from tools.common.reconciling import Report
from tools.common.sizes import MIB
from tools.local.audit import Content, Pair
from tools.local.event_source_mapping import Batch
from tools.local.gcs.faults import Fault
from tools.local.lambda_service import Delivery
from tools.local.notifications import Json, notification, record
from tools.local.outages import Service
from tools.local.runtime import EXITED, REPOSITORY, FunctionError
from tools.soak.changes import ChangeKind, ChangePlan
from tools.soak.comparison import (
    Comparison,
    RcloneError,
    compare_by_audit,
    compare_by_reconcile,
    disagreement,
    expected_open_sessions,
    parse_rclone,
    untested_outages,
)
from tools.soak.fault_injector import FaultInjector
from tools.soak.options import Options, parse
from tools.soak.picture import draw
from tools.soak.stats import Outage, RunStats


def test_a_small_soak_finds_both_sides_equal_and_writes_its_report(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    sizes = ["--objects", "12", "--changes", "18", "--workers", "2", "--largest-mib", "1"]
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            [
                *(sys.executable, "-m", "tools.soak", *sizes, "--seed", "29", "--faults", "0.1"),
                *("--kill-every-s", "2", "--stop-every-s", "0", "--outage-s", "1", "--window", "3"),
                *("--large", "0.2", "--out", tmp_path / "out"),
            ],
            cwd=REPOSITORY,
            env={**plain_environment(), "TMPDIR": str(tmp_path / "tmp")},
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"The soak does not end. It has printed {error.stdout!r}")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    report = (tmp_path / "out/SOAK.md").read_text()
    assert "**Equal, and nothing was redriven.** `python -m tools.soak --seed 29 " in report
    assert re.search(r"\| executions: succeeded +\| +[1-9]", report)
    assert all(re.search(rf"\| {service} +\|", report) for service in Service)
    assert "(soak-reconcile.png)" in report
    assert report in done.stdout.replace("\r", "")
    assert "the reconcile: size, ETag and time in the listings" in report
    assert "<h1>" in (tmp_path / "out/soak-reconcile.html").read_text()
    assert "MiB per second written to GCS" in (tmp_path / "out/soak-lag.svg").read_text()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_command_of_a_run_repeats_its_options() -> None:
    options = parse(["--objects", "7", "--kill-every-s", "1.5", "--seed", "9"])
    assert options.command == "python -m tools.soak --seed 9 --objects 7 --kill-every-s 1.5"
    assert parse(options.command.split()[3:]) == options


def test_a_share_of_the_contents_is_text_and_of_the_runtimes_compresses() -> None:
    options = Options(objects=300, changes=0, seed=1, gzip=0.5)
    contents = [change.content for change in ChangePlan(options, lanes=2).changes]
    smaller = [each for each in contents if each and each.is_text]
    assert 120 < len(smaller) < 180
    data = max(smaller, key=lambda each: each.size).data()
    assert len(zlib.compress(data)) < 0.6 * len(data)
    without = replace(options, gzip=0)
    assert not any(each.content.is_text for each in ChangePlan(without, 2).changes if each.content)
    assert (options.with_gzip, without.with_gzip) == (2, 0)


def _plan(seed: int) -> ChangePlan:
    return ChangePlan(Options(objects=300, changes=500, seed=seed), lanes=2)


def test_the_same_seed_gives_the_same_changes() -> None:
    assert _plan(1).changes == _plan(1).changes
    assert _plan(1).changes != _plan(2).changes


def test_a_plan_has_all_kinds_of_changes_and_only_possible_ones() -> None:
    plan = _plan(3)
    exists: set[str] = set()
    lanes: dict[str, int] = {}
    for change in plan.changes:
        creates = change.kind in {ChangeKind.CREATE, ChangeKind.RECREATE}
        assert (change.key in exists) is not creates
        assert lanes.setdefault(change.key, change.lane) == change.lane
        if change.kind is ChangeKind.DELETE:
            exists.remove(change.key)
        else:
            exists.add(change.key)
    assert exists == plan.remaining_keys()
    kinds = Counter(change.kind for change in plan.changes)
    assert kinds.keys() == set(ChangeKind)
    assert (kinds[ChangeKind.CREATE], kinds.total()) == (300, 800)


def test_faults_happen_at_their_rate_until_they_are_cleared() -> None:
    log = io.StringIO()
    injector = FaultInjector(rate=0.25, seed=1, log=log)

    def faults(operation: str) -> list[Fault | None]:
        return [injector.take("POST", operation, "a") for _ in range(1000)]

    assert 200 < sum(fault is not None for fault in faults("objects.insert")) < 300
    assert all(faults("upload.put"))
    assert not any(faults("objects.list"))
    logged = len(log.getvalue().splitlines())
    injector.clear()
    assert not any(faults("objects.insert"))
    assert len(log.getvalue().splitlines()) == logged > 1200


def _created(size: int) -> Json:
    return {"reason": "created", "bytes_copied": size, "bytes_sent": size}


def _delivery(event: Json, errors: tuple[FunctionError, ...], *results: Json) -> Delivery:
    return Delivery(
        event=event,
        response={"results": list(results)} if results else None,
        errors=errors,
        delay_s=1.5,
        elapsed_s=0.1,
    )


def test_stats_count_attempts_by_error_and_the_first_success_of_an_event_as_its_arrival() -> None:
    stats = RunStats()
    event = notification(record("soak", "a b"))
    killed = FunctionError(EXITED, "exit status 137")
    failed = FunctionError("BatchFailedError", "1 of 1 failed\n- s3://soak/a: integrity: CRC32C")
    created = _created(5) | {"bytes_sent": 3}

    stats.record_delivery(_delivery(event, (killed, failed), created))
    (first,) = stats.arrivals()
    stats.record_delivery(_delivery(event, (), created))
    stats.record_delivery(_delivery(event, (killed,)))

    assert stats.counts == {"invocations": 5, "retries": 2, "handed to the event queue": 1}
    assert stats.failures == {EXITED: 2, "integrity": 1}
    assert stats.interrupted_keys == {"a b": 2}
    assert [(each.bytes_copied, each.bytes_sent) for each in stats.successes] == [(5, 3)] * 2
    assert stats.arrivals() == [first]
    assert first.held_back_s == 1.5


def test_a_process_killed_while_it_looks_after_an_execution_interrupts_its_key() -> None:
    stats = RunStats()
    body = json.dumps({"executionWatch": {"key": "a"}})
    event = {"Records": [{"messageId": "m", "body": body}]}
    good: Json = {"batchItemFailures": []}
    responses: list[Json | FunctionError] = [good, FunctionError(EXITED, "exit status 137")]
    for response in responses:
        stats.record_batch(Batch(event=event, response=response, partial=True))
    assert (stats.counts["looks after executions"], stats.interrupted_keys) == (2, {"a": 1})


def test_an_event_that_succeeds_in_the_queue_has_arrived() -> None:
    stats = RunStats()
    body = json.dumps({"retriedEvent": {"requestPayload": notification(record("soak", "a"))}})
    event = {"Records": [{"messageId": "m", "body": body}]}
    for failed in ([{"itemIdentifier": "m"}], []):
        assert stats.arrivals() == []
        response: Json = {"batchItemFailures": failed}
        stats.record_batch(Batch(event=event, response=response, partial=True))
    assert stats.counts == {"retries of the queue": 2}
    assert len(stats.arrivals()) == 1


def test_many_objects_of_a_soak_are_large_and_some_are_copied_in_parts() -> None:
    plan = ChangePlan(Options(seed=3), lanes=2)
    sizes = [change.content.size for change in plan.changes if change.content]
    limits = {name: int(size.split()[0]) * 1024 for name, size in Options().sizes.items()}
    assert limits["LARGE_FROM"] == Options().large_from
    assert 0.05 < plan.large() / len(plan.changes) < 0.1
    assert sum(MIB < size < limits["PARALLEL_FROM"] for size in sizes) >= 5
    assert sum(limits["PARALLEL_FROM"] <= size < limits["LARGE_FROM"] for size in sizes) >= 5
    assert limits["PART_SIZE"] > MIB, "parts need resumable uploads, too"


def test_the_same_run_gives_the_same_picture(tmp_path: Path) -> None:
    stats = RunStats()
    event = notification(record("soak", "a"))
    stats.record_delivery(_delivery(event, (), _created(MIB)))
    stats.kills.append(stats.now())
    stats.mark("settled")
    stats.outages.append(Outage(Service.TOKENS, 1, 2, 3))
    for name in ("one.svg", "two.svg"):
        draw(tmp_path / name, stats)
    picture = (tmp_path / "one.svg").read_text()
    assert picture == (tmp_path / "two.svg").read_text()
    for label in (
        "a change",
        Service.TOKENS,
        "a runtime is killed",
        "object written",
        "nothing to do",
    ):
        assert label in picture


def test_the_tail_of_an_outage_is_that_of_the_changes_in_it() -> None:
    stats = RunStats()
    stats.started = time.time() - 10
    for after_s in (3, 5, 8):
        happened = datetime.fromtimestamp(stats.started + after_s, UTC).isoformat()
        event = notification({**record("soak", "a"), "eventTime": happened})
        stats.record_delivery(_delivery(event, (), _created(1)))
    assert stats.tails(Outage(Service.S3, 4, 6, 9)) == [pytest.approx(4, abs=0.5)]


def test_outage_that_no_event_met_is_a_problem_if_it_outlasts_lambdas_retries() -> None:
    """It would not show that the event queue retries anything: that is what an outage is for."""
    stats = RunStats()
    stats.outages.append(Outage(Service.S3, 10, 16, 9))
    assert untested_outages(stats) == []
    stats.outages.append(Outage(Service.TOKENS, 20, 26.1, 9))
    assert len(untested_outages(stats)) == 1
    lost = FunctionError("BatchFailedError", "1 of 1 failed")
    stats.record_delivery(_delivery(notification(record("soak", "a")), (lost,)))
    assert untested_outages(stats) == []


def test_the_list_of_rclone_check_is_parsed(tmp_path: Path) -> None:
    listed = tmp_path / "listed"
    listed.write_text("= a\n+ b\n- c\n* d\n! e\n= f\n")
    found = parse_rclone(listed, "", success=False)
    assert (found.compared, found.missing, found.extra, found.different) == (6, 1, 1, 2)
    assert found.unequal == ["+ b", "- c", "* d", "! e"]
    listed.write_text("= a\n")
    assert not parse_rclone(listed, "", success=True).problems()
    with pytest.raises(RcloneError):
        parse_rclone(listed, "it failed for another reason", success=False)
    with pytest.raises(RcloneError):
        parse_rclone(tmp_path / "absent", "it never started", success=False)


def test_a_difference_is_a_problem() -> None:
    one = Content(size=1, crc32c="AAAAAA==", content_type="text/plain", metadata={})
    other = Content(size=1, crc32c="BBBBBB==", content_type="text/plain", metadata={})
    for source, replica, counts in (
        (one, one, (0, 0, 0)),
        (one, None, (1, 0, 0)),
        (one, other, (0, 1, 0)),
        (None, one, (0, 0, 1)),
    ):
        found = compare_by_audit([Pair(name="a", source=source, replica=replica)])
        assert (found.missing, found.different, found.extra) == counts
        assert bool(found.problems()) == any(counts)


def test_reconcile_that_disagrees_with_rclone_is_noticed() -> None:
    counts = {"compared": 9, "missing": 2, "different": 0, "extra": 0}
    found = Report(
        ended="differences",
        counts=counts,
        differences={"a": "missing", "beyond-rclone/1/": "missing"},
        html=b"",
    )

    def by_rclone(*unequal: str) -> Comparison:
        return replace(compare_by_reconcile(found), method="rclone", unequal=unequal)

    assert disagreement(found, by_rclone("+ a")) == []
    assert disagreement(found, by_rclone()) == ["a"]
    assert disagreement(found, by_rclone("+ a", "* b")) == ["b"]
    assert len(compare_by_reconcile(found).problems()) == 2


def test_to_compare_nothing_is_a_problem() -> None:
    assert compare_by_audit([]).problems()


def test_only_sessions_that_the_function_could_not_cancel_may_stay_open() -> None:
    def fault(kind: str, operation: str, name: str) -> Json:
        return {"kind": kind, "operation": operation, "name": name}

    faults = [
        fault("response lost", "upload.start", "a"),
        fault("503", "upload.start", "b"),
        fault("503", "upload.cancel", "c"),
        fault("response lost", "upload.put", "d"),
    ]
    assert expected_open_sessions(Counter({"e": 1}), faults) == {"a": 1, "c": 1, "e": 1}
