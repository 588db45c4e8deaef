"""The independent client: `rclone check --download` reads every byte of both sides."""

import json
import subprocess
from collections import Counter
from pathlib import Path

from tools.common import processes
from tools.local.aws import REGION
from tools.local.cloud import REPLICA
from tools.local.runtime import REPOSITORY
from tools.soak.cloud import SOURCE, SoakCloud
from tools.soak.keys import BEYOND_RCLONE

RCLONE = REPOSITORY / ".venv/bench/bin/rclone"

MEANING = {"=": "equal", "+": "missing", "-": "extra", "*": "different", "!": "unreadable"}
"""What `--combined` puts before each name, as seen from GCS."""


class RcloneError(Exception):
    """rclone did not even compare."""


def version() -> str:
    """Its own account of itself."""
    said = subprocess.run([RCLONE, "version"], check=True, capture_output=True, text=True)  # noqa: S603 - ours
    return said.stdout.partition("\n")[0]


def check(cloud: SoakCloud) -> tuple[Counter[str], list[str]]:
    """How many names were found how, and the names that are not equal. Raises RcloneError."""
    report = cloud.folder / "rclone-check.txt"
    done = subprocess.run(  # noqa: S603 - ours
        [
            *(RCLONE, "check", "--download", "--checkers", "4"),
            *("--exclude", f"/{BEYOND_RCLONE}/**", "--combined", report),
            *(f"s3:{SOURCE}", f"gcs:{REPLICA}"),
        ],
        env=_environment(cloud),
        capture_output=True,
        text=True,
        check=False,
    )
    return read(report, done.stderr, good=done.returncode == 0)


def read(report: Path, errors: str, *, good: bool) -> tuple[Counter[str], list[str]]:
    """Understand its list. Raises RcloneError when the list and its exit code do not agree."""
    lines = report.read_text().splitlines() if report.exists() else []
    found = Counter(MEANING[line[0]] for line in lines)
    if good != (found.total() == found["equal"]) or (not good and not lines):
        raise RcloneError(f"rclone check: {errors}")
    return found, [line for line in lines if not line.startswith("=")]


def _environment(cloud: SoakCloud) -> dict[str, str]:
    return {
        **processes.plain_environment(),
        **cloud.aws.environment,
        "HOME": str(cloud.folder),
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_S3_TYPE": "s3",
        "RCLONE_CONFIG_S3_PROVIDER": "AWS",
        "RCLONE_CONFIG_S3_ENV_AUTH": "true",
        "RCLONE_CONFIG_S3_REGION": REGION,
        "RCLONE_CONFIG_S3_ENDPOINT": cloud.aws.endpoint_url,
        "RCLONE_CONFIG_S3_FORCE_PATH_STYLE": "true",
        "RCLONE_CONFIG_GCS_TYPE": "google cloud storage",
        "RCLONE_CONFIG_GCS_SERVICE_ACCOUNT_CREDENTIALS": json.dumps(cloud.google.key),
        "RCLONE_CONFIG_GCS_ENDPOINT": f"{cloud.google.url}/storage/v1/",
        "RCLONE_CONFIG_GCS_BUCKET_POLICY_ONLY": "true",
    }
