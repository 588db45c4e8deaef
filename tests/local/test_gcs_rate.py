"""Our GCS server's limit on writes of one object name: GCS takes about one a second."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from contract.gcs_http import STEP, Gcs, Reply, noise

from tools.local.gcs import GcsServer, store

ROOT = Path(__file__).parents[2]
DATA = noise(STEP + 7)


@pytest.fixture(scope="module")
def server() -> Iterator[GcsServer]:
    """Return a server on which a second write is always too soon."""
    with GcsServer(["b"], seconds_between_writes=3600) as server:
        yield server


@pytest.fixture
def gcs(server: GcsServer) -> Gcs:
    return Gcs(server.url, "b", server.issue_token())


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


WRITES = {
    "media": lambda gcs, name: gcs.media(name, b"new"),
    "multipart": lambda gcs, name: gcs.multipart(name, b"new"),
    "resumable": lambda gcs, name: gcs.resumable(name, b"new"),
    "patch": lambda gcs, name: gcs.patch(name, {"metadata": {"a": "b"}}),
    "delete": lambda gcs, name: gcs.delete(name),
    "compose": lambda gcs, name: gcs.compose(name, [{"name": name}]),
    "rewrite": lambda gcs, name: gcs.rewrite(name, name),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_a_second_write_of_a_name_is_refused_when_it_is_too_soon(
    gcs: Gcs, name: str, write: Callable[[Gcs, str], Reply]
) -> None:
    before = gcs.media(name, b"data").json

    reply = write(gcs, name)

    assert reply.status == 429
    detail = reply.json["error"]["errors"][0]
    assert (detail["reason"], detail["domain"]) == ("rateLimitExceeded", "usageLimits")
    assert gcs.get(name).json == before


def test_other_names_and_reads_have_no_limit(gcs: Gcs, name: str) -> None:
    gcs.media(name, b"data")

    assert [gcs.get(name).status for _ in range(3)] == [200] * 3
    assert gcs.media(f"{name}/other", b"data").status == 200


def test_a_write_that_a_precondition_refuses_does_not_count(gcs: Gcs, name: str) -> None:
    assert gcs.media(name, b"", {"ifGenerationMatch": 17}).status == 412
    assert gcs.media(name, b"", {"ifGenerationMatch": 0}).status == 200
    assert gcs.media(name, b"", {"ifGenerationMatch": 0}).status == 412


@dataclass
class Clock:
    """Replaces the module `time` in the server's store."""

    now: float = 0.0
    time_ns: Callable[[], int] = time.time_ns

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(store, "time", clock)
    return clock


def test_a_write_after_the_interval_is_accepted(clock: Clock) -> None:
    with GcsServer(["b"], seconds_between_writes=1) as server:
        gcs = Gcs(server.url, "b", server.issue_token())
        gcs.media("x", b"one")
        assert gcs.media("x", b"two").status == 429
        clock.now += 1
        assert gcs.media("x", b"three").status == 200
        assert gcs.download("x").body == b"three"


def test_a_session_that_was_too_soon_can_be_finished_later(clock: Clock) -> None:
    with GcsServer(["b"], seconds_between_writes=1) as server:
        gcs = Gcs(server.url, "b", server.issue_token())
        again, asked = gcs.start("x"), gcs.start("x")
        gcs.media("x", b"one")
        assert gcs.put(again, DATA).status == 429
        assert gcs.put(asked, DATA).status == 429
        assert gcs.status(again).status == 308
        clock.now += 1
        assert gcs.put(again, DATA).status == 200
        clock.now += 1
        assert gcs.status(asked, len(DATA)).status == 200
        assert gcs.download("x").body == DATA


def test_there_is_no_limit_by_default(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tools.local.gcs",
        "--bucket",
        "b",
        "--data-dir",
        str(tmp_path),
    ]
    for options, expected in (([], 200), (["--seconds-between-writes", "60"], 429)):
        with subprocess.Popen(  # noqa: S603 - our own command
            [*command, *options], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout
            url = json.loads(process.stdout.readline())["url"]
            token = Gcs(url, "b", "").request("POST", "/_local/tokens").json["access_token"]
            gcs = Gcs(url, "b", token)
            statuses = [gcs.media("x", b"").status for _ in range(2)]
            process.terminate()
        assert statuses == [200, expected]
