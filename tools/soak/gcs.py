"""The local GCS server with faults, as a process: `python -m tools.soak.gcs --log F …`."""

import argparse
import json
import signal
import tempfile
import threading
from functools import partial
from pathlib import Path

from tools.local.gcs import api
from tools.local.gcs.keyring import Keyring
from tools.local.gcs.listener import Listener
from tools.local.gcs.service import Service
from tools.local.gcs.store import Bucket, Store
from tools.soak.weather import Weather

TOKEN_S = 3600.0


def main() -> None:
    """Start the server, say where it is, and wait for SIGTERM."""
    arguments = _parser().parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    weather = Weather(
        rate=arguments.faults,
        storm_every_s=arguments.storm_every_s,
        seed=arguments.seed,
        log=arguments.log,
    )
    with tempfile.TemporaryDirectory(prefix="gcs-", dir=arguments.data_dir) as directory:
        service = Service(
            store=Store(Path(directory)), keyring=Keyring(TOKEN_S), auth=True, faults=weather
        )
        service.store.create_bucket(Bucket(name=arguments.bucket))
        listener = Listener(
            ("127.0.0.1", 0),
            partial(api.answer, service),
            public_url=None,
            ssl_context=None,
            stopping=service.stopping,
        )
        thread = threading.Thread(target=listener.serve_forever, args=(0.05,), name="gcs")
        thread.start()
        print(json.dumps({"url": listener.url}), flush=True)
        stop.wait()
        listener.close()
        thread.join()


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
