"""Measure what the build's steps are worth: `python -m tools.build.cold_start ARTIFACT [RUNS]`.

Prints size, files, and the time of the first invocation in Lambda's runtime, which starts the
interpreter: for the artifact, and for what would be shipped without each step. The runs of all
variants take turns, so that other load on the machine slows down all of them.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from tools.build.sealed import sealed
from tools.common.tables import table
from tools.local.runtime import REPOSITORY, LambdaRuntime

EVENTS = {"event": "s3-test-event.json", "request": "api-v2-malformed-body.json"}
"""For the event path and the API's. Neither needs a store, so the time is that of the start."""

ENVIRONMENT = {
    "AWS_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "AKIALOCALLOCALLOCAL0",
    "AWS_SECRET_ACCESS_KEY": "local-and-not-a-secret",
    "GCS_BUCKET_NAME": "replica",
    "GCP_CREDENTIALS_SECRET": "gcp",
    "SOURCE_BUCKETS": "source",
    "PYTHONDONTWRITEBYTECODE": "1",  # code is read-only in Lambda
}
EMPTY_HANDLER = "def lambda_handler(event, context):\n    return {}\n"

_Times = dict[tuple[str, str], list[float]]


def main() -> None:
    """Build the variants, measure them in turns, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tools.build.cold_start")
    parser.add_argument("artifact", type=Path)
    parser.add_argument("runs", type=int, nargs="?", default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        variants = build_variants(options.artifact.resolve(), Path(name))
        files = {
            variant: [path for path in folder.rglob("*") if path.is_file()]
            for variant, folder in variants.items()
        }
        sizes = {
            variant: sum(path.stat().st_size for path in paths) for variant, paths in files.items()
        }
        times = measure(variants, Path(name), options.runs)
    rows = [
        (
            variant,
            f"{sizes[variant] / 1e6:.1f}",
            len(files[variant]),
            *(_fastest_and_median(times[variant, event]) for event in EVENTS),
        )
        for variant in variants
    ]
    print(table(("artifact", "MB", "files", "event ms", "request ms"), rows))
    print(f"\nFastest (median) of {options.runs} first invocations.")


def build_variants(artifact: Path, folder: Path) -> dict[str, Path]:
    """Return the folder of each variant."""
    without_compiled = shutil.ignore_patterns("__pycache__")
    plain, whole, source, empty = (folder / name for name in ("plain", "whole", "source", "empty"))
    _run(
        "pip",
        "install",
        "-qq",
        "--no-compile",
        "--no-deps",
        "--require-hashes",
        "--target",
        plain,
        "-r",
        REPOSITORY / "functions" / "requirements.txt",
    )
    shutil.copytree(artifact / "replicate", plain / "replicate", ignore=without_compiled)
    shutil.copytree(plain, whole)
    _run("compileall", "-q", "--invalidation-mode", "unchecked-hash", whole)
    shutil.copytree(artifact, source, ignore=without_compiled)
    (empty / "replicate").mkdir(parents=True)
    (empty / "replicate" / "handler.py").write_text(EMPTY_HANDLER)
    return {
        "as built": artifact,
        "without .pyc": source,
        "without pruning": whole,
        "without both (sam's own build)": plain,
        "a function that does nothing": empty,
    }


def measure(variants: Mapping[str, Path], folder: Path, runs: int) -> _Times:
    """Return the seconds of each first invocation by variant and event."""
    events = {
        kind: json.loads((REPOSITORY / "events" / name).read_text())
        for kind, name in EVENTS.items()
    }
    times: _Times = defaultdict(list)
    with ExitStack() as stack:
        functions = {}
        for number, (variant, artifact) in enumerate(variants.items()):
            own = folder / f"run-{number}"
            own.mkdir()
            environment = ENVIRONMENT | sealed(artifact, own)
            functions[variant] = LambdaRuntime(environment, folder=own, code=artifact)
            stack.callback(functions[variant].close)
        for _ in range(runs):
            for variant, function in functions.items():
                for kind, event in events.items():
                    function.restart()
                    started = time.monotonic()
                    function.invoke(event)
                    times[variant, kind].append(time.monotonic() - started)
    return times


def _run(module: str, *arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], check=True)  # noqa: S603 - our own command


def _fastest_and_median(times: list[float]) -> str:
    return f"{min(times) * 1000:.0f} ({statistics.median(times) * 1000:.0f})"


if __name__ == "__main__":
    main()
