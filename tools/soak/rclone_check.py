"""The independent comparison: `rclone check --download` reads every byte of both sides."""

import json
import subprocess
from collections import Counter
from pathlib import Path

from tools.common import processes, rclone
from tools.local.aws import REGION
from tools.local.cloud import REPLICA
from tools.soak.cloud import SOURCE, SoakCloud
from tools.soak.keys import BEYOND_RCLONE

MEANING = {"=": "equal", "+": "missing", "-": "extra", "*": "different", "!": "unreadable"}
"""What `--combined` prints before each name, as seen from GCS."""


class RcloneError(Exception):
    """rclone failed for another reason than a difference."""


def rclone_check(cloud: SoakCloud) -> tuple[Counter[str], list[str]]:
    """Return the number of objects by finding, and the lines of those not equal.

    Raises RcloneError.
    """
    report = cloud.folder / "rclone-check.txt"
    done = subprocess.run(  # noqa: S603 - our own command
        [
            *(rclone.COMMAND, "check", "--download", "--checkers", "4"),
            *("--exclude", f"/{BEYOND_RCLONE}/**", "--combined", report),
            *(f"s3:{SOURCE}", f"gcs:{REPLICA}"),
        ],
        env={
            **processes.plain_environment(),
            **cloud.aws.environment,
            **rclone.remotes(
                s3_url=cloud.aws.endpoint_url,
                region=REGION,
                gcs_url=cloud.google.url,
                key=json.dumps(cloud.google.key),
            ),
            "HOME": str(cloud.folder),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return parse(report, done.stderr, success=done.returncode == 0)


def parse(report: Path, errors: str, *, success: bool) -> tuple[Counter[str], list[str]]:
    """Parse the list. Raises RcloneError when the list and the exit code do not agree."""
    lines = report.read_text().splitlines() if report.exists() else []
    found = Counter(MEANING[line[0]] for line in lines)
    all_equal = found.total() == found["equal"]
    if success != all_equal or (not success and not lines):
        raise RcloneError(f"rclone check: {errors}")
    return found, [line for line in lines if not line.startswith("=")]
