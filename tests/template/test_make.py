"""What make's targets pass to the commands, and what they say if something is missing."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.local.template import TEMPLATE

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def make() -> Run:
    """Run make. The operator's commands are printed, with a bracket around each argument."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        # No test installs anything: make takes the tools as they are.
        old = [f"--assume-old=.venv/{tools}/.installed" for tools in ("dev", "sam", "audit")]
        return subprocess.run(  # noqa: S603 - our own make
            ["/usr/bin/make", *old, *arguments, r"OPERATE=printf '[%s]'"],
            cwd=TEMPLATE.parent,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("variables", "arguments"),
    [
        (["doctor"], "[doctor][]"),  # the command itself asks which stack
        (["doctor", "STACK=mine", "JSON=1", "COMPRESS=1"], "[doctor][mine][--json][--compress]"),
        (["status", "STACK=mine"], "[status][mine]"),
        (
            ["redrive", "STACK=mine", "CODE=a b", "RATE=5", "DRY_RUN=1"],
            "[redrive][mine][--code][a][--code][b][--rate][5][--dry-run]",
        ),
        (["reconcile", "STACK=mine"], "[reconcile][mine][--prefix][]"),
        (
            ["reconcile", "STACK=mine", "PREFIX=a 'b\"/", "GRACE_MINUTES=0", "REPAIR=1", "YES=1"],
            "[reconcile][mine][--prefix][a 'b\"/][--grace-minutes][0][--repair][--yes]",
        ),
    ],
)
def test_variables_become_options(make: Run, variables: list[str], arguments: str) -> None:
    done = make(*variables)

    assert (done.stdout, done.stderr, done.returncode) == (arguments, "", 0)


def test_deploying_for_another_architecture_than_the_stack_has_is_refused(make: Run) -> None:
    done = make("deploy", "DEPLOYED=x86_64", "ARCHITECTURE=arm64", "SAM=false")

    assert done.returncode != 0
    assert "samconfig.toml says Architecture=x86_64" in done.stderr


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

    @pytest.mark.parametrize(
        ("says", "advice"),
        [
            ("ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed", "reached."),
            ("ERROR:pip_audit._cli:requirement boto3 is not pinned", "pip-audit failed"),
        ],
    )
    def test_an_audit_that_did_not_run_says_why(
        self, audit: Run, tmp_path: Path, says: str, advice: str
    ) -> None:
        done = audit(says, 1)

        assert done.returncode != 0
        assert "The audit did not run" in done.stderr
        assert advice in done.stderr
        assert len((tmp_path / "audits").read_text().splitlines()) == 1
