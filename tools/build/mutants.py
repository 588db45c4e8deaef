"""Mutation testing: `python -m tools.build.mutants [GROUP ...] [--again PATTERN | --report]`.

mutmut changes one expression of `functions/replicate` at a time and runs the tests that reach it.
A change that no test notices is a survivor. docs/TESTING.md has the scores and the survivors.

mutmut works on a copy below .cache/mutants and nowhere else. The copy calls the folder of the
function `src`, because mutmut derives the names of modules from paths and knows that folder.
"""

import argparse
import fnmatch
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache" / "mutants"
PACKAGE = REPOSITORY / "functions" / "replicate"
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__")

STATUS = {0: "survived", 1: "killed", 3: "killed", 24: "killed", -24: "killed", 152: "killed"}
"""What exit codes of pytest and signals mean. A mutant that runs into the time limit (SIGXCPU) is
killed. Everything else, such as 33 (no test reaches the mutant), is none of the two."""

PURE_TESTS = ("tests/unit", "tests/events", "--ignore=tests/unit/test_architecture.py")
"""Tests without servers. test_architecture reads the source, which mutmut has rewritten."""

OPTIONS = """\
timeout_multiplier = 4
timeout_constant = 5
use_git_change_detection = false"""
"""The tests of a mutant may take 4 times as long as without it, and 20 s on top."""

MODEL = "tests/model/test_interleavings.py"


@dataclass(frozen=True, slots=True)
class Group:
    """Modules, and the tests that are to hold them."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


REQUIRED = {"core": 0.9, "all": 0.8}
"""Least scores, of 1."""

CORE = (
    *(f"protocol/{name}" for name in ("replicator", "plan", "mapping", "checksums")),
    "entry/events",
)
GROUPS = {
    "core": Group(
        modules=tuple(f"src/replicate/{name}.py" for name in CORE),
        tests=(
            *PURE_TESTS,
            "tests/ports",
            *("-k", "not [real"),
            f"{MODEL}::test_every_promise_holds_with_mixed_expectations",
            f"{MODEL}::test_every_promise_holds_for_objects_read_in_pieces",
            f"{MODEL}::test_foreign_object_is_never_deleted",
        ),
    ),
    "rest": Group(
        modules=tuple(
            f"src/{path.relative_to(PACKAGE.parent)}"
            for path in sorted(PACKAGE.rglob("*.py"))
            if str(path.relative_to(PACKAGE).with_suffix("")) not in CORE
        ),
        tests=(
            *PURE_TESTS,
            *("tests/ports", "tests/integration"),
            *("-k", "not [memory"),
            *(f"tests/wire/test_wire_{name}.py" for name in ("requests", "sessions", "policies")),
        ),
    ),
}


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
        "pytest_add_cli_args_test_selection": group.tests,
    }
    lines = ("\n    ".join((f"{name} =", *values)) for name, values in lists.items())
    (folder / "setup.cfg").write_text("\n".join(("[mutmut]", OPTIONS, *lines)) + "\n")


def copy_tests(folder: Path) -> None:
    """Bring new tests to the copy."""
    tests = folder / "mutants" / "tests"
    shutil.copytree(REPOSITORY / "tests", tests, ignore=LEFT_OUT, dirs_exist_ok=True)


def run(folder: Path, processes: int, names: Sequence[str] = ()) -> None:
    """Let mutmut test all mutants, or only those named."""
    mutmut = str(Path(sys.executable).with_name("mutmut"))
    command = (mutmut, "run", "--max-children", str(processes), *names)
    subprocess.run(command, cwd=folder, check=True)  # noqa: S603 - of our own environment


def results(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the module, the name and the status of each mutant."""
    source = folder / "mutants" / "src" / "replicate"
    for path in sorted(source.rglob("*.py.meta")):
        module = path.relative_to(source).as_posix().removesuffix(".meta")
        for name, code in json.loads(path.read_text())["exit_code_by_key"].items():
            yield module, name, "not run" if code is None else STATUS.get(code, "not killed")


@dataclass(slots=True)
class Score:
    """How many mutants there were, and how many of them were killed."""

    name: str
    mutants: int = 0
    killed: int = 0

    def add(self, status: str) -> None:
        self.mutants += 1
        self.killed += status == "killed"

    @property
    def share(self) -> float:
        return self.killed / max(1, self.mutants)

    def __str__(self) -> str:
        return f"| {self.name} | {self.mutants} | {self.killed} | {self.share:.1%} |"


def report(groups: Iterable[str]) -> bool:
    """Print the mutants that live and the scores: whether these are what is required."""
    modules: dict[str, Score] = {}
    totals: dict[str, Score] = {}
    for group in groups:
        for module, name, status in results(CACHE / group):
            if status != "killed":
                print(f"{name}: {status}")
            modules.setdefault(module, Score(f"`{module}`")).add(status)
            for total in (group, "all"):
                totals.setdefault(total, Score(f"**{total}**")).add(status)
    if not GROUPS.keys() <= totals.keys():
        totals.pop("all", None)
    print("\n| Module | Mutants | Killed | Score |\n| --- | --: | --: | --: |")
    print(*modules.values(), *totals.values(), sep="\n")
    return all(score.share >= REQUIRED.get(name, 0) for name, score in totals.items())


def main() -> int:
    """Run groups of mutants one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("group", nargs="*", help=f"of {', '.join(GROUPS)}; all, if none is named")
    parser.add_argument("--again", metavar="PATTERN", help="only survivors whose name matches")
    parser.add_argument("--report", action="store_true", help="show the last run")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    groups = arguments.group or list(GROUPS)
    for name in groups:
        folder = CACHE / name
        if arguments.again:
            survivors = [name for _, name, status in results(folder) if status != "killed"]
            if chosen := fnmatch.filter(survivors, arguments.again):
                copy_tests(folder)
                run(folder, arguments.processes, chosen)
        elif not arguments.report:
            prepare(folder, GROUPS[name])
            run(folder, arguments.processes)
    return 0 if report(groups) else 1


if __name__ == "__main__":
    sys.exit(main())
