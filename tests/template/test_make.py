"""What make's commands ask AWS and pip-audit for, and what they say if something is missing."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.local.template import TEMPLATE

AWS = """#!/bin/bash
echo "$@" >> {calls}
case "$*" in
    *describe-stacks*) [ -z "{arns}" ] || echo "arn-of-${{@: -1}}" ;;
    *invoke*) echo '{answer}' > "${{@: -1}}" ;;
esac
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def make(tmp_path: Path) -> Run:
    """Run make with an `aws` that writes down what it is asked for."""

    def run(
        *arguments: str, arns: str = "yes", answer: object = None
    ) -> "subprocess.CompletedProcess[str]":
        aws = tmp_path / "aws"
        calls = tmp_path / "calls"
        aws.write_text(AWS.format(calls=calls, arns=arns, answer=json.dumps(answer)))
        aws.chmod(0o755)
        # No test installs anything: make takes the tools as they are.
        old = [f"--assume-old=.venv/{tools}/.installed" for tools in ("sam", "audit")]
        done = subprocess.run(  # noqa: S603 - our own make and a made-up aws
            ["/usr/bin/make", *old, *arguments, f"AWS={aws}"],
            cwd=TEMPLATE.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        calls.touch()
        return done

    return run


@pytest.mark.parametrize(
    ("target", "example"), [("redrive", "STACK=s3-to-gcs"), ("doctor", "FUNCTION=name")]
)
def test_a_missing_variable_is_named(make: Run, tmp_path: Path, target: str, example: str) -> None:
    done = make(target)

    assert done.returncode != 0
    assert f"make {target} {example}" in done.stderr
    assert (tmp_path / "calls").read_text() == ""


def test_deploying_for_another_architecture_than_the_stack_has_is_refused(
    make: Run, tmp_path: Path
) -> None:
    done = make("deploy", "DEPLOYED=x86_64", "ARCHITECTURE=arm64")

    assert done.returncode != 0
    assert "samconfig.toml says Architecture=x86_64" in done.stderr
    assert (tmp_path / "calls").read_text() == ""


def test_redrive_moves_from_the_failure_queue_to_the_event_queue(make: Run, tmp_path: Path) -> None:
    done = make("redrive", "STACK=mine")

    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [c.partition(" --query ")[2] for c in calls[:2]] == [
        "Stacks[0].Outputs[?OutputKey=='FailureQueueArn'].OutputValue",
        "Stacks[0].Outputs[?OutputKey=='EventQueueArn'].OutputValue",
    ]
    source, destination = (f"arn-of-{c.partition(' --query ')[2]}" for c in calls[:2])
    assert calls[2:] == [
        f"sqs start-message-move-task --source-arn {source} --destination-arn {destination}"
    ]
    assert f"list-message-move-tasks --source-arn {source}" in done.stdout


def test_redrive_says_so_where_the_stack_has_no_queues(make: Run, tmp_path: Path) -> None:
    done = make("redrive", "STACK=another", arns="")

    assert done.returncode != 0
    assert "The stack another has no FailureQueueArn" in done.stderr
    assert "start-message-move-task" not in (tmp_path / "calls").read_text()


def test_doctor_shows_what_every_hop_says(make: Run, tmp_path: Path) -> None:
    hop = {"hop": "token", "ok": True, "found": "für alle"}
    done = make("doctor", "FUNCTION=f", answer={"healthy": True, "hops": [hop]})

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"healthy": True, "hops": [hop]}
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert call.startswith('lambda invoke --function-name f --payload {"doctor": true}')


def test_doctor_fails_where_a_hop_does(make: Run) -> None:
    done = make("doctor", "FUNCTION=f", answer={"healthy": False, "hops": []})

    assert done.returncode != 0
    assert 'the hop with "ok": false says what to do' in done.stderr


class TestAudit:
    @pytest.fixture
    def audit(self, make: Run, tmp_path: Path) -> Run:
        """Run `make audit` with a pip-audit that says this and exits with this status."""

        def run(says: str, status: int) -> "subprocess.CompletedProcess[str]":
            command = tmp_path / "pip-audit"
            command.write_text(
                f'#!/bin/bash\necho "$@" >> {tmp_path}/audits\necho "{says}" >&2\nexit {status}\n'
            )
            command.chmod(0o755)
            return make("audit", f"PIP_AUDIT={command}")

        return run

    def test_every_lock_is_audited_and_no_package_may_be_skipped(
        self, audit: Run, tmp_path: Path
    ) -> None:
        done = audit("No known vulnerabilities found", 0)

        assert done.returncode == 0, done.stderr
        audits = [line.split() for line in (tmp_path / "audits").read_text().splitlines()]
        root = TEMPLATE.parent
        locks = {path for path in root.glob("*/*.txt") if "--hash=" in path.read_text()}
        assert {root / arguments[-1] for arguments in audits} == locks
        assert all({"--strict", "--require-hashes"} <= set(arguments) for arguments in audits)

    def test_vulnerabilities_fail_after_all_locks_were_audited(
        self, audit: Run, tmp_path: Path
    ) -> None:
        done = audit("Found 1 known vulnerability in 1 package", 1)

        assert done.returncode != 0
        assert "The audit did not run" not in done.stderr
        assert len((tmp_path / "audits").read_text().splitlines()) > 1

    def test_an_unreachable_database_is_named(self, audit: Run, tmp_path: Path) -> None:
        done = audit("ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed", 1)

        assert done.returncode != 0
        assert "The audit did not run" in done.stderr
        assert len((tmp_path / "audits").read_text().splitlines()) == 1
