"""The local GCS server with random faults, as a process: `python -m tools.soak.gcs`."""

import argparse
from pathlib import Path

from tools.local.gcs import GcsServer
from tools.soak.fault_injector import FaultInjector


def main() -> None:
    """Run the server until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak.gcs", description=__doc__)
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True, help="a JSON line for each fault")
    parser.add_argument("--faults", type=float, required=True, help="share of the requests")
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    with options.log.open("w", buffering=1) as log:
        faults = FaultInjector(rate=options.faults, seed=options.seed, log=log)
        with GcsServer(
            [options.bucket], host=options.host, data_dir=options.data_dir, faults=faults
        ) as server:
            server.run()


if __name__ == "__main__":
    main()
