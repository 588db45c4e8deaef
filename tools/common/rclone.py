"""rclone: a peer in the benchmark, and the independent comparison of the soak."""

import subprocess
from pathlib import Path

COMMAND = Path(__file__).parents[2] / ".venv/bench/bin/rclone"


def version() -> str:
    """Return rclone's name and version."""
    done = subprocess.run([COMMAND, "version"], check=True, capture_output=True, text=True)  # noqa: S603 - our own command
    return done.stdout.partition("\n")[0]


def remotes(
    *, s3_url: str, region: str, gcs_url: str, key: str, provider: str = "AWS"
) -> dict[str, str]:
    """Return the environment that configures the remotes `s3:` and `gcs:`, and nothing else.

    `key` is the content of a Google service account's key file.
    """
    return {
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_S3_TYPE": "s3",
        "RCLONE_CONFIG_S3_PROVIDER": provider,
        "RCLONE_CONFIG_S3_ENV_AUTH": "true",
        "RCLONE_CONFIG_S3_REGION": region,
        "RCLONE_CONFIG_S3_ENDPOINT": s3_url,
        "RCLONE_CONFIG_S3_FORCE_PATH_STYLE": "true",
        "RCLONE_CONFIG_GCS_TYPE": "google cloud storage",
        "RCLONE_CONFIG_GCS_SERVICE_ACCOUNT_CREDENTIALS": key,
        "RCLONE_CONFIG_GCS_ENDPOINT": f"{gcs_url}/storage/v1/",
        "RCLONE_CONFIG_GCS_BUCKET_POLICY_ONLY": "true",
    }
