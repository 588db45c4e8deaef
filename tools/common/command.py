"""What a command does first: handle signals, and drop settings that lead to another cloud."""

import os
import signal
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FOREIGN_PREFIXES = ("AWS_", "BOTO", "GOOGLE_", "GCLOUD_", "CLOUDSDK_", "STORAGE_EMULATOR_HOST")
PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


def end_on_signals() -> None:
    """Raise KeyboardInterrupt at the first signal that asks us to end; ignore later ones.

    Handles SIGINT, too: a shell starts a background job with SIGINT ignored.
    """
    for number in ENDING:
        signal.signal(number, _interrupt)


def forget_other_clouds() -> None:
    """Delete variables that lead SDKs elsewhere: profiles, keys, endpoints, proxies."""
    for name in list(os.environ):
        if name.startswith(FOREIGN_PREFIXES) or name.lower() in PROXIES:
            del os.environ[name]
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        os.environ[name] = os.devnull


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
