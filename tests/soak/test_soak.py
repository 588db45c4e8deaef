"""The soak itself: a tiny run of it, and that it would say so if something were wrong."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tools.common.processes import plain_environment
from tools.local.audit import Content, Pair
from tools.local.runtime import REPOSITORY
from tools.soak import rclone, verdict
from tools.soak.canvas import round_step
from tools.soak.changes import MIB, Kind, Plan
from tools.soak.ledger import Success
from tools.soak.throughput import Work, throughput


def test_a_tiny_soak_ends_equal_and_leaves_a_report(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    sizes = ["--objects", "12", "--changes", "18", "--workers", "2", "--largest-mib", "1"]
    done = subprocess.run(  # noqa: S603 - ours
        [
            *(sys.executable, "-m", "tools.soak", *sizes, "--seed", "5", "--faults", "0.1"),
            *("--kill-every-s", "2", "--storm-every-s", "0", "--out", tmp_path / "out"),
        ],
        cwd=REPOSITORY,
        env={**plain_environment(), "TMPDIR": str(tmp_path / "tmp")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    report = (tmp_path / "out/SOAK.md").read_text()
    assert "**Equal.** `python -m tools.soak --seed 5 " in report
    assert report in done.stdout.replace("\r", "")
    drawn = ET.parse(tmp_path / "out/soak-lag.svg")  # noqa: S314 - ours
    assert len(drawn.getroot()) > 10
    assert len([each for each in drawn.iter() if each.get("class") == "heading"]) == 3
    assert drawn.find("{*}path[@class='bar write']") is not None
    assert list((tmp_path / "tmp").iterdir()) == []


def _plan(seed: int) -> Plan:
    return Plan(objects=300, changes=500, largest_mib=20, seed=seed, lanes=2)


def test_a_seed_repeats_the_plan() -> None:
    assert _plan(1).changes == _plan(1).changes
    assert _plan(1).changes != _plan(2).changes


def test_a_plan_has_changes_of_all_kinds_and_is_possible() -> None:
    plan = _plan(3)
    exists: set[str] = set()
    for change in plan.changes:
        assert (change.key in exists) == (change.kind not in {Kind.CREATE, Kind.RECREATE})
        if change.kind is Kind.DELETE:
            exists.remove(change.key)
        else:
            exists.add(change.key)
    assert exists == plan.remaining()
    kinds = Counter(change.kind for change in plan.changes)
    assert kinds.keys() == set(Kind)
    assert (kinds[Kind.CREATE], kinds.total()) == (300, 800)


def test_throughput_counts_everything_once_by_what_it_took() -> None:
    reasons = ["created", "overwritten", "deleted", "metadata_updated", "current", "source_gone"]
    successes = [
        Success(at, reason, MIB if reason == "created" else 0)
        for at in (0.0, 4.4, 10.0)
        for reason in reasons
    ]
    found = throughput(successes, end_s=10.0)
    assert found.window_s * len(found.mib) == pytest.approx(10.0)
    for work in Work:
        assert [n * found.window_s for n in found.objects[work]] == pytest.approx([2, 2, 2])
    assert [n * found.window_s for n in found.mib] == pytest.approx([1, 1, 1])


def test_a_scale_has_round_steps_and_room_for_the_highest() -> None:
    for highest, step in ((3, 1), (3.1, 2), (14, 5), (0.1, 0.05), (299, 100), (301, 200)):
        assert round_step(highest, 3) == pytest.approx(step)


def test_what_rclone_lists_is_understood(tmp_path: Path) -> None:
    listed = tmp_path / "listed"
    listed.write_text("= a\n+ b\n- c\n* d\n! e\n= f\n")
    found, names = rclone.read(listed, "", good=False)
    assert found == {"equal": 2, "missing": 1, "extra": 1, "different": 1, "unreadable": 1}
    assert names == ["+ b", "- c", "* d", "! e"]
    listed.write_text("= a\n")
    with pytest.raises(rclone.RcloneError):
        rclone.read(listed, "it failed for another reason", good=False)
    with pytest.raises(rclone.RcloneError):
        rclone.read(tmp_path / "absent", "it never started", good=False)


def test_any_difference_is_a_problem() -> None:
    one = Content(size=1, crc32c="AAAAAA==", content_type="text/plain", metadata={})
    other = Content(size=1, crc32c="BBBBBB==", content_type="text/plain", metadata={})
    for source, replica, counts in (
        (one, one, (0, 0, 0)),
        (one, None, (1, 0, 0)),
        (one, other, (0, 1, 0)),
        (None, one, (0, 0, 1)),
    ):
        found, names = verdict.by_checksums([Pair(name="a", source=source, replica=replica)])
        assert (found.missing, found.different, found.extra) == counts
        judged = verdict.Verdict()
        judged.add(found, names)
        assert bool(judged.problems) == any(counts)


def test_comparing_nothing_is_a_problem() -> None:
    judged = verdict.Verdict()
    judged.add(*verdict.by_checksums([]))
    assert judged.problems


def test_only_what_nobody_could_cancel_may_stay_open() -> None:
    def fault(kind: str, operation: str, name: str) -> dict[str, str]:
        return {"kind": kind, "operation": operation, "name": name}

    faults = [
        fault("answer lost", "upload.start", "a"),
        fault("503", "upload.start", "b"),
        fault("503", "upload.cancel", "c"),
        fault("answer lost", "upload.put", "d"),
    ]
    assert verdict.excused(Counter({"e": 1}), faults) == {"a": 1, "c": 1, "e": 1}
