"""What GCS's documentation leaves open about compose: the local server can do either."""

from collections.abc import Iterator
from typing import Any

import pytest
from contract.gcs_http import Gcs
from waiting import wait_until

from tools.local.gcs import Fault, GcsServer


@pytest.fixture
def server() -> Iterator[GcsServer]:
    with GcsServer(["b"]) as server:
        yield server


@pytest.fixture
def gcs(server: GcsServer) -> Gcs:
    return Gcs(server.url, "b", server.issue_token())


@pytest.fixture
def sources(gcs: Gcs) -> list[dict[str, Any]]:
    return [
        {"name": name, "generation": gcs.media(name, b"x").json["generation"]}
        for name in ("0", "1")
    ]


def names(gcs: Gcs) -> list[str]:
    return [item["name"] for item in gcs.listing().json.get("items", [])]


def test_a_failed_compose_can_delete_its_sources(
    server: GcsServer, gcs: Gcs, sources: list[dict[str, Any]]
) -> None:
    gcs.media("whole", b"there")
    server.add_fault(Fault(operation="objects.compose", delete_sources_anyway=True))

    reply = gcs.compose("whole", sources, delete_sources=True, ifGenerationMatch=0)

    assert (reply.status, names(gcs)) == (412, ["whole"])
    assert gcs.download("whole").body == b"there"


def test_compose_can_keep_its_sources(
    server: GcsServer, gcs: Gcs, sources: list[dict[str, Any]]
) -> None:
    server.add_fault(Fault(operation="objects.compose", keep_sources=True))

    assert gcs.compose("whole", sources, delete_sources=True).status == 200
    assert names(gcs) == ["0", "1", "whole"]


def test_compose_can_delete_its_sources_later_and_spares_newer_ones(
    server: GcsServer, gcs: Gcs, sources: list[dict[str, Any]]
) -> None:
    server.add_fault(Fault(operation="objects.compose", delete_sources_after=2.0))

    assert gcs.compose("whole", sources, delete_sources=True).status == 200
    assert names(gcs) == ["0", "1", "whole"]
    gcs.media("1", b"newer")
    wait_until(lambda: "0" not in names(gcs), "the source is deleted")
    assert names(gcs) == ["1", "whole"]


def test_compose_can_refuse_a_class_that_the_sources_lack(
    server: GcsServer, gcs: Gcs, sources: list[dict[str, Any]]
) -> None:
    server.add_fault(Fault(operation="objects.compose", refuse_other_class=True, times=None))

    assert gcs.compose("whole", sources, {"storageClass": "NEARLINE"}).status == 400
    assert gcs.compose("whole", sources, {"storageClass": "STANDARD"}).status == 200


def test_soft_delete_counts_all_but_the_sources_of_a_compose(
    server: GcsServer, gcs: Gcs, sources: list[dict[str, Any]]
) -> None:
    gcs.compose("whole", sources, delete_sources=True)
    assert server.soft_deleted() == []
    gcs.media("whole", b"overwrites the composite")
    gcs.delete("whole")
    assert server.soft_deleted() == ["whole", "whole"]
