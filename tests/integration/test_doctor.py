"""The doctor names the hop that fails, and what to do about it."""

import json
import re
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from memory import Context

from replicate.doctor import needed_permissions
from replicate.handler import lambda_handler
from replicate.protocol.mapping import Tags
from replicate.protocol.plan import Overwrite, Policy
from tools.local.gcs import Fault, GcsServer


@pytest.fixture(scope="module")
def gcs() -> Iterator[GcsServer]:
    with GcsServer(["replica"]) as server:
        yield server


@pytest.fixture
def deployed(
    gcs: GcsServer,
    aws: str,  # noqa: ARG001 - for its variables
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[GcsServer]:
    """A deployment with nothing wrong, as the environment variables say it."""
    environ = {
        "GCS_BUCKET_NAME": "replica",
        "GCP_CREDENTIALS_SECRET": "gcp",
        "SOURCE_BUCKETS": "one,two",
        "STORAGE_EMULATOR_HOST": gcs.url,
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    for bucket in ("one", "two"):
        boto3.client("s3").create_bucket(Bucket=bucket)
    secrets = boto3.client("secretsmanager")
    secrets.create_secret(Name="gcp", SecretString=json.dumps(gcs.create_key()))
    yield gcs
    gcs.clear_faults()
    gcs.withhold()
    secrets.delete_secret(SecretId="gcp", ForceDeleteWithoutRecovery=True)


def examined() -> dict[str, Any]:
    return lambda_handler({"doctor": True}, Context())


def failing(report: dict[str, Any]) -> list[tuple[str, str]]:
    assert report["healthy"] is False
    return [(hop["hop"], hop["code"]) for hop in report["hops"] if not hop["ok"]]


def test_a_sound_deployment_is_healthy_and_nothing_is_left_behind(deployed: GcsServer) -> None:
    deployed.clear_requests()
    report = examined()
    listed = "s3:ListBucket granted: a missing key gives 404"
    token = report["hops"][2]["found"]
    assert report == {
        "healthy": True,
        "hops": [
            {"hop": name, "ok": True, "found": found}
            for name, found in (
                ("settings", "gs://replica"),
                ("secret", "a key"),
                ("token", token),
                ("rights on gs://replica", ", ".join(f"storage.objects.{n}" for n in CHANGE)),
                ("canary", "written, read back and deleted"),
                ("rights on s3://one", listed),
                ("rights on s3://two", listed),
            )
        ],
    }
    assert re.fullmatch(r"\d{2,} characters", token)
    canary = [request for request in deployed.requests() if request["name"]]
    assert [(request["operation"], request["status"]) for request in canary] == [
        ("objects.get", 404),
        ("objects.insert", 200),
        ("objects.get", 200),
        ("objects.delete", 204),
    ]
    (name,) = {request["name"] for request in canary}
    assert name.startswith(".s3-to-gcs-replicator/canary-")


@pytest.mark.usefixtures("deployed")
def test_a_missing_setting_is_the_only_hop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GCS_BUCKET_NAME")
    assert failing(examined()) == [("settings", "settings_invalid")]


@pytest.mark.usefixtures("deployed")
def test_a_missing_secret_stops_the_way_to_gcs_and_not_that_to_s3(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GCP_CREDENTIALS_SECRET", "other")
    report = examined()
    assert failing(report) == [("secret", "credentials_invalid")]
    assert [hop["hop"] for hop in report["hops"]][-1] == "rights on s3://two"


def test_a_revoked_key_is_found_at_the_token(deployed: GcsServer) -> None:
    secrets = boto3.client("secretsmanager")
    key = json.loads(secrets.get_secret_value(SecretId="gcp")["SecretString"])
    deployed.revoke_key(key["private_key_id"])
    assert failing(examined()) == [("token", "credentials_invalid")]


@pytest.mark.usefixtures("deployed")
def test_a_bucket_that_is_not_there_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCS_BUCKET_NAME", "nowhere")
    monkeypatch.setenv("SOURCE_BUCKETS", "one,nowhere")
    assert failing(examined()) == [
        ("rights on gs://nowhere", "destination_bucket_not_found"),
        ("rights on s3://nowhere", "source_bucket_not_found"),
    ]


def test_a_canary_that_may_not_be_written_is_found(deployed: GcsServer) -> None:
    deployed.add_fault(Fault(operation="objects.insert", status=403))
    assert failing(examined()) == [("canary", "destination_forbidden")]


def test_a_canary_that_is_not_there_after_it_was_written_is_found(deployed: GcsServer) -> None:
    deployed.add_fault(Fault(operation="objects.get", skip=1, status=404))
    report = examined()
    assert failing(report) == [("canary", "integrity")]
    (found,) = [hop["found"] for hop in report["hops"] if not hop["ok"]]
    assert found.startswith("gs://replica/.s3-to-gcs-replicator/canary-")
    assert found.endswith(" is not there as it was written.")


CREATE = ["create", "get", "list"]
CHANGE = [*CREATE, "update", "delete"]
CONTEXTS = ["createContext", "updateContext", "deleteContext"]


@pytest.mark.parametrize("tags", Tags)
@pytest.mark.parametrize(
    ("overwrite", "deletes", "needed"),
    [
        (Overwrite.CHANGED, False, CHANGE),
        (Overwrite.CHANGED, True, CHANGE),
        (Overwrite.NEVER, False, CREATE),
        (Overwrite.NEVER, True, [*CREATE, "delete"]),
    ],
)
def test_each_mode_needs_these_permissions(
    tags: Tags, overwrite: Overwrite, needed: list[str], *, deletes: bool
) -> None:
    wanted = needed + (CONTEXTS if tags is Tags.CONTEXTS else [])
    found = needed_permissions(Policy(overwrite=overwrite, deletes=deletes, tags=tags))
    assert found == [f"storage.objects.{name}" for name in wanted]


@pytest.mark.parametrize("name", CHANGE + CONTEXTS)
def test_each_missing_permission_is_named(
    deployed: GcsServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("REPLICATE_TAGS", "contexts")
    deployed.withhold(f"storage.objects.{name}")
    report = examined()
    assert failing(report) == [("rights on gs://replica", "destination_forbidden")]
    (found,) = [hop["found"] for hop in report["hops"] if not hop["ok"]]
    assert f"lack storage.objects.{name} on gs://replica" in found


def test_all_that_is_missing_is_named_at_once(deployed: GcsServer) -> None:
    everything = [f"storage.objects.{name}" for name in CHANGE]
    deployed.withhold(*everything)
    (found,) = [hop["found"] for hop in examined()["hops"] if not hop["ok"]]
    assert found == (
        f"The credentials lack {', '.join(everything)} on gs://replica. Grant a role that has them:"
        " README.md has the commands."
    )


def test_a_mode_that_only_creates_leaves_the_canary_and_says_so(
    deployed: GcsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVERWRITE", "never")
    deployed.withhold("storage.objects.update", "storage.objects.delete")
    deployed.add_fault(Fault(operation="objects.delete", status=403))
    report = examined()
    assert report["healthy"], report
    (found,) = [hop["found"] for hop in report["hops"] if hop["hop"] == "canary"]
    address = "gs://replica/.s3-to-gcs-replicator/canary-"
    assert found.startswith(f"written and read back; delete {address}")
    assert found.endswith(" by hand: we may not")


def test_a_canary_that_may_not_be_deleted_is_found_in_all_other_modes(deployed: GcsServer) -> None:
    deployed.add_fault(Fault(operation="objects.delete", status=403))
    assert failing(examined()) == [("canary", "destination_forbidden")]
