"""Mutation testing: `python -m tools.build.mutants [GROUP ...] [--sample N | --again PATTERN]`.

mutmut changes one expression of `functions/replicate` at a time and runs the tests that reach it.
A change that no test notices is a survivor. docs/TESTING.md has the scores and the survivors.

mutmut works on a copy below .cache/mutants and nowhere else. The copy calls the folder of the
function `src`, because mutmut derives the names of modules from paths and knows that folder.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from fnmatch import filter as matching
from fnmatch import fnmatch
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache" / "mutants"
PACKAGE = REPOSITORY / "functions" / "replicate"
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__")

KILLED = "killed"
OUT_OF_TIME = "killed by the time limit, twice"
NOT_RUN = "not run"
STATUS = {0: "survived", 1: KILLED, 3: KILLED, 33: "no test reaches it"} | dict.fromkeys(
    (24, -24, 152), OUT_OF_TIME
)
"""What exit codes of pytest, of mutmut and of a process that ends by SIGXCPU mean."""

OPTIONS = """\
timeout_multiplier = 4
timeout_constant = 20
use_git_change_detection = false"""
"""The tests of a mutant may take 4 times as long as without it, and 80 s on top."""

REQUIRED = {"core": 0.9, "all": 0.8}
"""Least scores, of 1."""

MODULES = {
    "clients": (
        *("aws_calls", "aws_clients", "certificates", "canary", "doctor", "*_checks"),
        *(f"gcs/{name}" for name in ("bucket", "client", "credentials", "secret")),
        *("sqs/queues", "stepfunctions/*"),
    ),
    "core": ("protocol/*", "entry/[!h]*", "settlement/*"),
    "s3": ("s3/*", "reconcile/paging", "sqs/*"),
    "gcs": ("gcs/*", "gzip_member", "*wiring"),
    "function": ("*",),
}
"""A module is in the first group that has a pattern for it."""


def _tests(kind: str, *names: str) -> tuple[str, ...]:
    return tuple(f"tests/{kind}/test_{name}.py" for name in names)


PURE_TESTS = (
    *("tests/unit", "tests/events"),
    *(f"--ignore={path}" for path in _tests("unit", "architecture", "documents", "hanging")),
    *("--ignore-glob=*/test_gcs_*", "--ignore-glob=*/test_s3_*"),
)
"""Tests without servers. test_architecture reads the source, which mutmut has rewritten. The others
that are left out belong to other groups, or are slow and find what faster tests find."""

REAL_ADAPTERS = ("-k", "not [memory")
"""Of the tests in tests/ports, those of the stores in memory test nothing here."""

TESTS = {
    "core": (
        *(*PURE_TESTS, "--ignore-glob=*/test_reconcile_*", "--ignore-glob=*/test_lambda_*"),
        *_tests("ports", "source", "destination", "destination_compose"),
        *("-k", "not [real"),
    ),
    "function": PURE_TESTS,
    "s3": (
        *_tests("unit", "s3_description", "s3_errors", "s3_listing", "s3_source"),
        *_tests("ports", "source", "listings"),
        *REAL_ADAPTERS,
    ),
    "gcs": (
        *_tests("unit", "gcs_errors", "gcs_requests", "gcs_trusted_hosts", "wiring"),
        "tests/unit/test_lambda_handler.py::test_a_stack_without_the_reconcile_says_what_is_missing",
        *_tests("ports", "destination", "destination_compose", "destination_compressed"),
        *_tests("ports", "destination_rate", "listings", "staging_obstacle"),
        *REAL_ADAPTERS,
        *_tests("wire", "wire_sessions", "wire_policies", "wire_requests", "wire_gzip"),
        "tests/integration/test_doctor.py::test_all_missing_permissions_are_named_at_once",
    ),
    "clients": (
        *_tests("unit", "aws_calls", "certificates", "gcs_client", "gcs_credentials"),
        *_tests("unit", "gcs_requests", "gcs_secret", "lambda_handler"),
        *_tests("ports", "staging_obstacle"),
        *("tests/integration", "--ignore=tests/integration/test_report_in_browser.py"),
    ),
}
"""What may kill the mutants of a group. A mutant that survives runs all of these that reach it, so
a test that adds nothing costs its time once for each of them."""


def modules(group: str) -> list[str]:
    """Return the paths of a group's modules in the copy."""
    paths = (path.relative_to(PACKAGE).with_suffix("") for path in sorted(PACKAGE.rglob("*.py")))
    return [f"src/replicate/{path}.py" for path in paths if _group(str(path)) == group]


def _group(module: str) -> str:
    return next(g for g, patterns in MODULES.items() if any(fnmatch(module, p) for p in patterns))


def prepare(folder: Path, group: str) -> None:
    """Copy the repository to where mutmut works, and configure it."""
    shutil.rmtree(folder, ignore_errors=True)
    work = folder / "mutants"
    shutil.copytree(REPOSITORY, work, ignore=LEFT_OUT)
    shutil.copytree(REPOSITORY / "functions", folder / "src", ignore=LEFT_OUT)
    shutil.rmtree(work / "functions")
    (work / "functions").symlink_to("src", target_is_directory=True)
    lists = {
        "source_paths": ["src"],
        "only_mutate": modules(group),
        "pytest_add_cli_args_test_selection": TESTS[group],
    }
    lines = ("\n    ".join((f"{name} =", *values)) for name, values in lists.items())
    (folder / "setup.cfg").write_text("\n".join(("[mutmut]", OPTIONS, *lines)) + "\n")


def sample(folder: Path, group: str, size: int) -> list[str]:
    """Name `size` mutants of each module, chosen at random: the same ones each time."""
    from mutmut.mutation.file_mutation import (  # type: ignore[import-not-found] # noqa: PLC0415
        mutate_file_contents,  # of an environment of its own
    )

    chosen: list[str] = []
    with contextlib.chdir(folder):  # mutmut looks for its configuration there
        for module in map(Path, modules(group)):
            mutated = mutate_file_contents(str(module), module.read_text(), None, set())
            dotted = ".".join(module.with_suffix("").parts[1:]).removesuffix(".__init__")
            names = [f"{dotted}.{name}" for name in mutated.mutant_names]
            random.Random(dotted).shuffle(names)  # noqa: S311 - not for secrets
            chosen += names[:size]
    return chosen


def run(folder: Path, processes: int, names: Sequence[str]) -> None:
    """Let mutmut test the mutants that have these names or match these patterns.

    It first runs the tests that reach any of them by their names, as it does for each mutant. So a
    test whose name is another in the next run stops it here, and does not pass for a kill. What
    runs out of time is tested again, one at a time: the machine may have been busy.
    """
    mutmut = str(Path(sys.executable).with_name("mutmut"))
    command = (mutmut, "run", "--max-children")
    subprocess.run((*command, str(processes), *names), cwd=folder, check=True)  # noqa: S603 - ours
    if slow := [name for _, name, status in results(folder) if status == OUT_OF_TIME]:
        subprocess.run((*command, "1", *slow), cwd=folder, check=True)  # noqa: S603 - ours


def run_again(folder: Path, processes: int, pattern: str) -> None:
    """Test survivors with the tests as they are now."""
    tests = folder / "mutants" / "tests"
    shutil.copytree(REPOSITORY / "tests", tests, ignore=LEFT_OUT, dirs_exist_ok=True)
    names = [name for _, name, status in results(folder) if status not in {KILLED, NOT_RUN}]
    if chosen := matching(names, pattern):
        run(folder, processes, chosen)


def results(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the module, the name and the status of each mutant."""
    source = folder / "mutants" / "src" / "replicate"
    for path in sorted(source.rglob("*.py.meta")):
        module = path.relative_to(source).as_posix().removesuffix(".meta")
        for name, code in json.loads(path.read_text())["exit_code_by_key"].items():
            yield module, name, NOT_RUN if code is None else STATUS.get(code, f"exit code {code}")


def row(name: str, found: Collection[Counter[str]]) -> tuple[float, str]:
    """Return the score of some modules, whose mutants are counted by status, and its line.

    Each module counts by all its mutants, however many of them were in the sample.
    """
    mutants = [each.total() for each in found]
    tested = [each.total() - each[NOT_RUN] for each in found]
    killed = [each[KILLED] + each[OUT_OF_TIME] for each in found]
    shares = (k / max(1, t) * m for k, t, m in zip(killed, tested, mutants, strict=True))
    share = sum(shares) / max(1, sum(mutants))
    return share, f"| {name} | {sum(mutants)} | {sum(tested)} | {sum(killed)} | {share:.1%} |"


def report(groups: Iterable[str]) -> bool:
    """Print the mutants that live and the scores: whether these are what is required."""
    found: dict[str, dict[str, Counter[str]]] = {}
    for group in groups:
        for module, name, status in results(CACHE / group):
            if status not in {KILLED, NOT_RUN}:
                print(f"{name}: {status}")
            found.setdefault(group, {}).setdefault(module, Counter())[status] += 1
    print("\n| Module | Mutants | Tested | Killed | Score |\n| --- | --: | --: | --: | --: |")
    totals = {group: list(modules.values()) for group, modules in found.items()}
    if totals.keys() == TESTS.keys():
        totals["all"] = [count for counts in totals.values() for count in counts]
    passed = True
    for group, counts in totals.items():
        for module, count in found.get(group, {}).items():
            print(row(f"`{module}`", [count])[1])
        share, line = row(f"**{group}**", counts)
        print(line)
        passed = passed and share >= REQUIRED.get(group, 0)
    return passed


def main() -> int:
    """Run groups of mutants one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("group", nargs="*", help=f"of {', '.join(TESTS)}; all, if none is named")
    parser.add_argument("--sample", metavar="N", type=int, help="at most N mutants of each module")
    parser.add_argument("--again", metavar="PATTERN", help="only survivors whose name matches")
    parser.add_argument("--report", action="store_true", help="show the last run")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    groups = arguments.group or list(TESTS)
    for group in () if arguments.report else groups:
        folder = CACHE / group
        if arguments.again:
            run_again(folder, arguments.processes, arguments.again)
            continue
        prepare(folder, group)
        chosen = sample(folder, group, arguments.sample) if arguments.sample else ["*"]
        run(folder, arguments.processes, chosen)
    return 0 if report(groups) else 1


if __name__ == "__main__":
    sys.exit(main())
