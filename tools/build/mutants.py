"""Mutation testing: `python -m tools.build.mutants [GROUP ...] [--sample N | --again PATTERN]`.

mutmut changes one expression of `functions/replicate` at a time and runs the tests that reach it.
A change that no test notices is a survivor. docs/TESTING.md has the scores and the survivors.

The modules are in groups, each with the tests that belong to them: a mutant that survives runs all
tests of its group that reach it, so a test that adds nothing costs its time once for each of them.

mutmut works on a copy below .cache/mutants and nowhere else. The copy calls the folder of the
function `src`, because mutmut derives the names of modules from paths and knows that folder.
"""

import argparse
import contextlib
import fnmatch
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache" / "mutants"
PACKAGE = REPOSITORY / "functions" / "replicate"
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__")

OUT_OF_TIME = "killed by the time limit"
NOT_RUN = "not run"
STATUS = {0: "survived", 1: "killed", 3: "killed", 33: "no test reaches it"} | dict.fromkeys(
    (24, -24, 152), OUT_OF_TIME
)
"""What exit codes of pytest, of mutmut and of a process that ends by SIGXCPU mean."""

PURE_TESTS = ("tests/unit", "tests/events", "--ignore=tests/unit/test_architecture.py")
"""Tests without servers. test_architecture reads the source, which mutmut has rewritten."""

OPTIONS = """\
timeout_multiplier = 4
timeout_constant = 20
use_git_change_detection = false"""
"""The tests of a mutant may take 4 times as long as without it, and 80 s on top: a test that hangs
ends sooner, and a busy machine must not pass for a test that failed."""

PYTEST_OPTIONS = ("--timeout=30",)
"""A test that takes longer has failed. The slowest takes 2.5 s on an idle machine."""

MODEL = "tests/model/test_interleavings.py"


@dataclass(frozen=True, slots=True)
class Group:
    """Modules, and the tests that are to hold them."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


REQUIRED = {"core": 0.9, "all": 0.8}
"""Least scores, of 1."""

MODULES = {
    "core": (
        *(f"protocol/{name}" for name in ("replicator", "plan", "mapping", "checksums")),
        *(f"entry/{name}" for name in ("dispatch", "envelopes", "invocation")),
        *(f"entry/{name}" for name in ("s3_notification", "sqs", "eventbridge")),
        "entry/batch_operations",
    ),
    "s3": tuple(f"s3/{name}" for name in ("source", "description", "errors")),
    "gcs": (
        "wiring",
        *(f"gcs/{name}" for name in ("destination", "resumable_upload", "resource", "errors")),
        "gcs/bucket",
    ),
    "clients": (
        *("aws_clients", "certificates", "doctor", "staging_checks", "stepfunctions/executions"),
        *(f"gcs/{name}" for name in ("client", "credentials", "secret")),
    ),
}
"""The modules of each group; all others are in the group `function`."""

REAL_ADAPTERS = ("-k", "not [memory")
"""Of the tests in tests/ports, those of the stores in memory test nothing here."""

TESTS = {
    "core": (
        *PURE_TESTS,
        "tests/ports",
        *("-k", "not [real"),
        f"{MODEL}::test_every_promise_holds_with_mixed_expectations",
        f"{MODEL}::test_every_promise_holds_for_objects_read_in_pieces",
        f"{MODEL}::test_foreign_object_is_never_deleted",
    ),
    "function": PURE_TESTS,
    "s3": (
        *("tests/unit/test_s3_description.py", "tests/unit/test_s3_errors.py"),
        "tests/ports/test_source.py",
        *REAL_ADAPTERS,
    ),
    "gcs": (
        "tests/unit/test_gcs_errors.py",
        "tests/ports/test_destination.py",
        *REAL_ADAPTERS,
        *(f"tests/wire/test_wire_{name}.py" for name in ("sessions", "policies", "requests")),
        "tests/integration/test_doctor.py::test_all_missing_permissions_are_named_at_once",
    ),
    "clients": (
        *(f"tests/unit/test_{name}.py" for name in ("gcs_secret", "certificates", "gcs_client")),
        "tests/unit/test_lambda_handler.py",
        "tests/integration",
    ),
}


def _modules(group: str) -> tuple[str, ...]:
    """Return the paths of a group's modules in the copy."""
    grouped = {name for names in MODULES.values() for name in names}
    every = (path.relative_to(PACKAGE).with_suffix("") for path in sorted(PACKAGE.rglob("*.py")))
    rest = tuple(str(path) for path in every if str(path) not in grouped)
    return tuple(f"src/replicate/{name}.py" for name in MODULES.get(group, rest))


GROUPS = {name: Group(_modules(name), tests) for name, tests in TESTS.items()}


def prepare(folder: Path, group: Group) -> None:
    """Copy the repository to where mutmut works, and configure it."""
    shutil.rmtree(folder, ignore_errors=True)
    work = folder / "mutants"
    shutil.copytree(REPOSITORY, work, ignore=LEFT_OUT)
    shutil.copytree(REPOSITORY / "functions", folder / "src", ignore=LEFT_OUT)
    shutil.rmtree(work / "functions")
    (work / "functions").symlink_to("src", target_is_directory=True)
    lists = {
        "source_paths": ("src",),
        "only_mutate": group.modules,
        "pytest_add_cli_args": PYTEST_OPTIONS,
        "pytest_add_cli_args_test_selection": group.tests,
    }
    lines = ("\n    ".join((f"{name} =", *values)) for name, values in lists.items())
    (folder / "setup.cfg").write_text("\n".join(("[mutmut]", OPTIONS, *lines)) + "\n")


def sample(folder: Path, group: Group, size: int) -> list[str]:
    """Name `size` mutants of each module, chosen at random: the same ones each time."""
    from mutmut.mutation.file_mutation import (  # type: ignore[import-not-found] # noqa: PLC0415
        mutate_file_contents,  # of an environment of its own
    )

    chosen: list[str] = []
    with contextlib.chdir(folder):  # mutmut looks for its configuration there
        for module in map(Path, group.modules):
            mutated = mutate_file_contents(str(module), module.read_text(), None, set())
            dotted = ".".join(module.with_suffix("").parts[1:])
            names = [f"{dotted}.{name}" for name in mutated.mutant_names]
            random.Random(dotted).shuffle(names)  # noqa: S311 - not for secrets
            chosen += names[:size]
    return chosen


def copy_tests(folder: Path) -> None:
    """Bring new tests to the copy."""
    tests = folder / "mutants" / "tests"
    shutil.copytree(REPOSITORY / "tests", tests, ignore=LEFT_OUT, dirs_exist_ok=True)


def run(folder: Path, processes: int, names: Sequence[str]) -> None:
    """Let mutmut test the mutants that have these names or match these patterns.

    It first runs the tests that reach any of them by their names, as it does for each mutant. So a
    test whose name is another in the next run stops it here, and does not pass for a kill.
    """
    mutmut = str(Path(sys.executable).with_name("mutmut"))
    command = (mutmut, "run", "--max-children", str(processes), *names)
    subprocess.run(command, cwd=folder, check=True)  # noqa: S603 - of our own environment


def results(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the module, the name and the status of each mutant."""
    source = folder / "mutants" / "src" / "replicate"
    for path in sorted(source.rglob("*.py.meta")):
        module = path.relative_to(source).as_posix().removesuffix(".meta")
        for name, code in json.loads(path.read_text())["exit_code_by_key"].items():
            yield module, name, NOT_RUN if code is None else STATUS.get(code, f"exit code {code}")


@dataclass(slots=True)
class Score:
    """How many mutants a module has, how many of them were tested, and how many were killed."""

    mutants: int = 0
    tested: int = 0
    killed: int = 0

    def add(self, status: str) -> None:
        self.mutants += 1
        self.tested += status != NOT_RUN
        self.killed += status in {"killed", OUT_OF_TIME}

    @property
    def share(self) -> float:
        return self.killed / max(1, self.tested)


def row(name: str, scores: Collection[Score]) -> tuple[float, str]:
    """Return the score of all together and their line of the table.

    Each module counts by all its mutants, however many of them were in the sample.
    """
    mutants = sum(score.mutants for score in scores)
    share = sum(score.share * score.mutants for score in scores) / max(1, mutants)
    tested, killed = (sum(getattr(s, field) for s in scores) for field in ("tested", "killed"))
    return share, f"| {name} | {mutants} | {tested} | {killed} | {share:.1%} |"


def report(groups: Iterable[str]) -> bool:
    """Print the mutants that live and the scores: whether these are what is required."""
    modules: dict[str, dict[str, Score]] = {}
    for group in groups:
        for module, name, status in results(CACHE / group):
            if status not in {"killed", NOT_RUN}:
                print(f"{name}: {status}")
            modules.setdefault(group, {}).setdefault(module, Score()).add(status)
    print("\n| Module | Mutants | Tested | Killed | Score |\n| --- | --: | --: | --: | --: |")
    totals: dict[str, Collection[Score]] = {}
    for group, scores in modules.items():
        print(*(row(f"`{module}`", [score])[1] for module, score in scores.items()), sep="\n")
        totals[group] = scores.values()
    if modules.keys() >= GROUPS.keys():
        totals["all"] = [score for scores in totals.values() for score in scores]
    passed = True
    for name, among in totals.items():
        share, line = row(f"**{name}**", among)
        print(line)
        passed = passed and share >= REQUIRED.get(name, 0)
    return passed


def main() -> int:
    """Run groups of mutants one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("group", nargs="*", help=f"of {', '.join(GROUPS)}; all, if none is named")
    parser.add_argument("--sample", metavar="N", type=int, help="at most N mutants of each module")
    parser.add_argument("--again", metavar="PATTERN", help="only survivors whose name matches")
    parser.add_argument("--report", action="store_true", help="show the last run")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    groups = arguments.group or list(GROUPS)
    for name in groups:
        folder = CACHE / name
        if arguments.again:
            done = {"killed", NOT_RUN}
            survivors = [name for _, name, status in results(folder) if status not in done]
            if chosen := fnmatch.filter(survivors, arguments.again):
                copy_tests(folder)
                run(folder, arguments.processes, chosen)
        elif not arguments.report:
            prepare(folder, GROUPS[name])
            chosen = sample(folder, GROUPS[name], arguments.sample) if arguments.sample else ["*"]
            run(folder, arguments.processes, chosen)
    return 0 if report(groups) else 1


if __name__ == "__main__":
    sys.exit(main())
