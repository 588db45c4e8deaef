"""Whoever follows one event through the code moves to another module only so often."""

import re
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from memory import Context
from ports.clouds import Clouds

from replicate import wiring
from replicate.handler import Function

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "functions" / "replicate"


def notification(key: str) -> dict[str, Any]:
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "eventTime": datetime.now(UTC).isoformat(),
        "s3": {"bucket": {"name": "ports-source"}, "object": {"key": key, "size": 10240}},
    }
    return {"Records": [record]}


def test_one_new_small_object_takes_at_most_as_many_switches_as_documented(
    clouds: Clouds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connections and the token are there, from the object before."""
    for name, value in clouds.environ.items():
        monkeypatch.setenv(name, value)
    clouds.s3.create_bucket(Bucket="ports-source")
    stores = wiring.Environment.from_environ(clouds.environ)
    function = Function(stores)
    modules: list[str] = []

    def profile(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            modules.append(path.relative_to(PACKAGE).as_posix())

    for key in ("first", "traced"):
        clouds.s3.put_object(Bucket="ports-source", Key=key, Body=b"x" * 10240)
        sys.setprofile(profile if key == "traced" else None)
        response = function.handle(notification(key), Context())
        sys.setprofile(None)
        assert response["results"][0]["reason"] == "created"
    stores.close()

    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    (documented,) = re.findall(r"(\d+) switches between modules", text)
    assert sum(a != b for a, b in pairwise(modules)) <= int(documented)
