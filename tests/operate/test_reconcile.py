"""`reconcile` starts a run, shows what it found, and repairs only what somebody agreed to."""

import io
import json
import re
from typing import Any, cast

import pytest
from operate.conftest import REPORTS, Deploy, Run, client
from rich.console import Console

from tools.operate import runs
from tools.operate.errors import OperatorError
from tools.operate.reconcile import reconcile
from tools.operate.stack import find

COST = {"egress_usd": 0.5, "requests_usd": 0.25, "total_usd": 0.75}
FOUND = {"compared": 1000, "equal": 997, "missing": 2, "extra": 1, "difference_bytes": 3 << 20}
SAMPLE = {"kind": "missing", "key": "[a] b", "what": ["not in GCS"]}


def store(mode: str, ended: str, counts: dict[str, int], **more: object) -> None:
    """Store the summary of the run that an execution with this mode will have."""
    summary = {
        "run": f"run-{mode}",
        "mode": mode,
        "ended": ended,
        "source": "s3://my-source",
        "destination": "gs://replica",
        "counts": counts,
        "differences": counts.get("missing", 0) + counts.get("extra", 0),
        "replicates_all_deletes": True,
        "cost": COST,
        "samples": [SAMPLE],
        **more,
    }
    key = f"runs/run-{mode}/summary.json"
    client("s3").put_object(Bucket=REPORTS, Key=key, Body=json.dumps(summary))


def started() -> list[dict[str, Any]]:
    """Return the input of every execution so far, the oldest first."""
    sfn = client("stepfunctions")
    machine = "arn:aws:states:us-east-1:123456789012:stateMachine:reconcile"
    found = sfn.list_executions(stateMachineArn=machine)["executions"]
    inputs = [sfn.describe_execution(executionArn=each["executionArn"])["input"] for each in found]
    return sorted(map(json.loads, inputs), key=lambda asked: str(asked["mode"] != "report"))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask often: executions end in milliseconds here."""
    monkeypatch.setattr("tools.operate.reconcile.POLL_S", 0.01)


def test_equal_sides_are_a_success(deploy: Deploy, run: Run) -> None:
    deploy()
    store("report", "equal", {"compared": 1000, "equal": 1000})
    done = run("reconcile", "my-stack", "--repair")
    assert done.exit_code == 0, done.stderr
    assert "s3://my-source → gs://replica: equal" in done.stdout
    assert started() == [{"mode": "report", "prefix": ""}]


def test_differences_are_shown_and_fail(deploy: Deploy, run: Run) -> None:
    deploy()
    store("report", "differences", {**FOUND, "young": 5})
    done = run("reconcile", "my-stack", "--prefix", "logs/", "--grace-minutes", "0")
    assert done.exit_code == 1
    for text in (
        "in S3 only",
        "[a] b: not in GCS",
        "5 young",
        f"s3://{REPORTS}/runs/run-report/",
        "REPAIR=1",
        "#/v2/executions/details/arn:aws:states:us-east-1:123456789012:execution:reconcile:report-",
    ):
        assert text in done.stdout
    assert "report.html?" not in done.stdout  # a log may keep what is no terminal
    assert started() == [{"mode": "report", "prefix": "logs/", "grace_minutes": 0}]


def test_a_terminal_gets_a_link_to_the_report(deploy: Deploy) -> None:
    deploy()
    store("report", "differences", FOUND)
    shown = Console(file=io.StringIO(), force_terminal=True, width=1000)
    assert not reconcile(runs.workflow(find("my-stack")), shown, {}, repair=False, confirm=None)
    printed = cast("io.StringIO", shown.file).getvalue()
    assert "/runs/run-report/report.html?" in printed
    assert "X-Amz-Expires=3600" in printed


def test_a_repair_asks_and_says_what_it_costs(deploy: Deploy, run: Run) -> None:
    deploy()
    store("report", "differences", FOUND)
    store("repair", "nominated", {**FOUND, "nominated": 3})
    refused = run("reconcile", "my-stack", "--repair", typed="n\n")
    assert refused.exit_code == 1
    assert (
        "Repair 3 differences? 2 objects with 3 MiB are copied and 1 replicas deleted, for about"
        " $0.75 (egress $0.50)"
    ) in refused.stdout
    assert [asked["mode"] for asked in started()] == ["report"]

    agreed = run("reconcile", "my-stack", "--repair", typed="y\n")
    assert agreed.exit_code == 0
    assert "The differences are in the event queue" in agreed.stdout
    repair = {"mode": "repair", "prefix": "", "from_run": "run-report", "confirmed": True}
    assert started()[-1] == repair


def test_yes_repairs_without_a_question_but_leaves_the_valve_closed(
    deploy: Deploy, run: Run
) -> None:
    deploy()
    store("report", "differences", FOUND)
    valve = "30 % of all objects differ."
    store("repair", "too_many_differences", FOUND, valve=valve)
    done = run("reconcile", "my-stack", "--repair", "--yes")
    assert done.exit_code == 1
    assert valve in done.stdout
    assert "Run it without YES=1" in done.stdout
    assert started()[-1]["confirmed"] is False


def test_the_cause_of_a_failed_execution_is_shown(deploy: Deploy, run: Run) -> None:
    cause = {"errorType": "PermanentError", "errorMessage": "GCS denies storage.objects.list."}
    deploy(ended={"Type": "Fail", "Error": "PermanentError", "Cause": json.dumps(cause)})
    done = run("reconcile", "my-stack")
    assert done.exit_code == 1
    assert done.stderr == "The reconcile did not end: GCS denies storage.objects.list.\n"


def test_an_older_stack_is_told_to_deploy(deploy: Deploy, run: Run) -> None:
    deploy(reconciles=False)
    done = run("reconcile", "my-stack")
    assert done.exit_code == 1
    assert "is of an older version. Run make deploy" in done.stderr


def write(key: str, document: object) -> None:
    client("s3").put_object(Bucket=REPORTS, Key=key, Body=json.dumps(document))


def test_progress_is_read_from_the_shards(deploy: Deploy) -> None:
    deploy()
    report = runs.workflow(find("my-stack")).start({"mode": "report", "prefix": ""})
    report.look()
    assert (report.plan, report.done) == ({}, 0)

    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", report.id)
    assert report.execution.endswith(f":report-{report.id[-8:]}")
    own = f"runs/{report.id}"
    write(f"{own}/plan.json", {"shards": [["", "m"], ["m", None]], "expected_objects": 500})
    write(f"{own}/shards/0000.json", {"done": True, "counts": {"compared": 200, "missing": 2}})
    write(f"{own}/shards/0001.json", {"done": False, "counts": {"compared": 50, "extra": 1}})
    report.look()
    assert (len(report.plan["shards"]), report.done) == (2, 1)
    assert report.counts == {"compared": 250, "missing": 2, "extra": 1}

    write(f"{own}/shards/0001.json", {"done": True, "counts": {"compared": 300}})
    report.look()
    assert (report.done, report.counts["compared"]) == (2, 500)


def test_progress_of_a_repair_is_read_from_its_nominations(deploy: Deploy) -> None:
    deploy()
    repair = runs.workflow(find("my-stack")).start({"mode": "repair", "from_run": "x"})
    write(f"runs/{repair.id}/nominations/0000.json", {"done": True, "nominated": 7})
    repair.look()
    assert (repair.done, repair.counts) == (1, {"nominated": 7})


def test_a_run_without_a_summary_is_named(deploy: Deploy) -> None:
    deploy()
    workflow = runs.workflow(find("my-stack"))
    run = runs.Run(workflow=workflow, execution="arn", id="gone", stage="shards")
    with pytest.raises(OperatorError) as raised:
        run.summary()
    assert str(raised.value) == "s3://my-reports/runs/gone/summary.json does not exist."
