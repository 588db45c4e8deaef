"""Remove from the function's artifact what it never reads: `prune_artifact.py FOLDER`.

The list states why each entry is safe to remove. tests/sam runs the pruned artifact.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

AWS_SERVICES = frozenset({"s3", "secretsmanager", "sqs", "stepfunctions"})
"""The services for which the function makes boto3 clients."""

UNUSED = {
    "bin": "command lines of packages",
    "boto3/data": "the models behind boto3.resource(); the function makes clients only",
    "boto3/examples": "documentation",
    "google/cloud/_storage_v2": "the messages of GCS's gRPC API; the function uses the JSON API",
    "google/cloud/storage/asyncio": "the client for the gRPC API",
    "**/tests": "tests of packages",
    "**/testdata": "data of tests",
    "**/__pycache__": "compiled by pip; the build compiles everything at its end",
    "**/*.pyi": "for type checkers",
    "**/*.pxd": "for building extensions",
    "*.dist-info/RECORD": "for pip",
}
"""Patterns below the artifact, and why nothing needs them. *.dist-info stays: it has the licences,
and packages read their own version from it."""


def main() -> None:
    """Prune the folder."""
    (folder,) = map(Path, sys.argv[1:])
    for path in [*_unused(folder), *_models(folder / "botocore" / "data")]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # a folder above it may be removed already


def _unused(folder: Path) -> Iterator[Path]:
    for pattern in UNUSED:
        yield from folder.glob(pattern)


def _models(data: Path) -> Iterator[Path]:
    """Return the models of services without a client. The files beside them serve all clients."""
    return (path for path in data.iterdir() if path.is_dir() and path.name not in AWS_SERVICES)


if __name__ == "__main__":
    main()
