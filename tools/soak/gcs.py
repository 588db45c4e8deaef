"""The local GCS server with faults, as a process: `python -m tools.soak.gcs --log F …`."""

import argparse
from pathlib import Path

from tools.local.gcs import GcsServer
from tools.soak.weather import Weather


def main() -> None:
    """Start the server, say where it is, and wait for SIGTERM."""
    arguments = _parser().parse_args()
    weather = Weather(
        rate=arguments.faults,
        storm_every_s=arguments.storm_every_s,
        seed=arguments.seed,
        log=arguments.log,
    )
    with GcsServer([arguments.bucket], data_dir=arguments.data_dir, faults=weather) as server:
        server.run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.soak.gcs", description=__doc__)
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--faults", type=float, required=True)
    parser.add_argument("--storm-every-s", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    return parser


if __name__ == "__main__":
    main()
