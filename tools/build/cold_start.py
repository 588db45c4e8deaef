"""Measure what the build's steps are worth: `python -m tools.build.cold_start ARTIFACT [RUNS]`.

For the artifact and what would be shipped without each step: size, files, and the time of the
first invocation in Lambda's runtime, which begins with the start of the interpreter. The runs of
all variants take turns, so that a busy machine is busy for each of them.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from tools.build.sealed import sealed
from tools.local.runtime import REPOSITORY, LambdaRuntime

RUNS = 10
EVENTS = {"event": "s3-test-event.json", "request": "api-v2-malformed-body.json"}
"""Neither needs a store: what remains is the start, on the event path and on the API's."""

ENVIRONMENT = {
    "AWS_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "AKIALOCALLOCALLOCAL0",
    "AWS_SECRET_ACCESS_KEY": "local-and-not-a-secret",
    "GCS_BUCKET_NAME": "replica",
    "GCP_CREDENTIALS_SECRET": "gcp",
    "SOURCE_BUCKETS": "source",
}
NOTHING = "def handler(event, context):\n    return {}\n"


def main() -> None:
    """Make the variants, let them take turns, and print a table."""
    artifact = Path(sys.argv[1]).resolve()
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else RUNS  # noqa: PLR2004 - both arguments
    with tempfile.TemporaryDirectory() as name:
        variants = _variants(artifact, Path(name))
        sizes = {variant: _size(folder) for variant, folder in variants.items()}
        times = _measured(variants, Path(name), runs)
    print("| artifact | MB | files | event ms | request ms |\n|---|---|---|---|---|")
    for variant, (size, files) in sizes.items():
        columns = " | ".join(_told(times[variant, event]) for event in EVENTS)
        print(f"| {variant} | {size / 1e6:.1f} | {files} | {columns} |")
    print(f"\nFastest (median) of {runs} first invocations.")


def _variants(artifact: Path, folder: Path) -> dict[str, Path]:
    plain = folder / "plain"
    _install(plain)
    shutil.copytree(artifact / "replicate", plain / "replicate", ignore=_compiled)
    whole = folder / "whole"
    shutil.copytree(plain, whole)
    subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", whole],
        check=True,
    )
    source = folder / "source"
    shutil.copytree(artifact, source, ignore=_compiled)
    empty = folder / "empty"
    (empty / "replicate").mkdir(parents=True)
    (empty / "replicate" / "handler.py").write_text(NOTHING.replace("handler", "lambda_handler"))
    return {
        "as built": artifact,
        "without .pyc": source,
        "without pruning": whole,
        "without both (sam's own build)": plain,
        "a function that does nothing": empty,
    }


def _install(folder: Path) -> None:
    lock = REPOSITORY / "functions" / "requirements.txt"
    subprocess.run(  # noqa: S603 - our own command
        [
            *(sys.executable, "-m", "pip", "install", "-qq", "--no-compile", "--no-deps"),
            *("--require-hashes", "--target", folder, "-r", lock),
        ],
        check=True,
    )


def _measured(
    variants: Mapping[str, Path], folder: Path, runs: int
) -> dict[tuple[str, str], list[float]]:
    events = {
        kind: json.loads((REPOSITORY / "events" / name).read_text())
        for kind, name in EVENTS.items()
    }
    cases = [(variant, event) for variant in variants for event in EVENTS]
    times: dict[tuple[str, str], list[float]] = {case: [] for case in cases}
    with ExitStack() as stack:
        functions = {}
        for number, (variant, artifact) in enumerate(variants.items()):
            own = folder / f"run-{number}"
            own.mkdir()
            # Code is read-only in Lambda: nothing is compiled for the next start.
            environment = ENVIRONMENT | sealed(artifact, own) | {"PYTHONDONTWRITEBYTECODE": "1"}
            function = LambdaRuntime(environment, folder=own, code=artifact)
            stack.callback(function.close)
            functions[variant] = function
        for _ in range(runs):
            for variant, event in cases:
                functions[variant].restart()
                started = time.monotonic()
                functions[variant].invoke(events[event])
                times[variant, event].append(time.monotonic() - started)
    return times


def _compiled(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__"]


def _size(folder: Path) -> tuple[int, int]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files), len(files)


def _told(times: list[float]) -> str:
    return f"{min(times) * 1000:.0f} ({statistics.median(times) * 1000:.0f})"


if __name__ == "__main__":
    main()
