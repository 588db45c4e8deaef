"""Run the server until SIGTERM or Ctrl-C: `python -m tools.local.gcs --bucket replica`."""

import argparse
from pathlib import Path

from tools.local.gcs.server import GcsServer

SETTINGS = {
    "location": "US-EAST1",
    "iamConfiguration": {
        "publicAccessPrevention": "enforced",
        "uniformBucketLevelAccess": {"enabled": True},
    },
    "softDeletePolicy": {"retentionDurationSeconds": "604800"},
    "lifecycle": {
        "rule": [
            {
                "action": {"type": "Delete"},
                "condition": {"age": 2, "matchesPrefix": [".s3-to-gcs-replicator/staging/"]},
            }
        ]
    },
}
"""Of the bucket: those of step 1 in README.md. They have no effect here: the doctor reads them."""


def main() -> None:
    """Start the server, print its URL, and wait."""
    parser = argparse.ArgumentParser(prog="python -m tools.local.gcs", description=__doc__)
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--data-dir", type=Path, help="the directory for temporary data")
    parser.add_argument(
        "--seconds-between-writes",
        type=float,
        default=0,
        help="respond 429 to a faster write of the same object; GCS has a limit of about 1",
    )
    options = parser.parse_args()
    with GcsServer(
        [options.bucket],
        host=options.host,
        data_dir=options.data_dir,
        seconds_between_writes=options.seconds_between_writes,
    ) as server:
        server.set_bucket_settings(options.bucket, **SETTINGS)
        server.run()


if __name__ == "__main__":
    main()
