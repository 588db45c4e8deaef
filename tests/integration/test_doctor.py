"""The doctor names the hop that fails, and says how to fix it."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from memory import Context

from replicate.doctor import needed_permissions
from replicate.gcs.destination import GcsDestination
from replicate.handler import lambda_handler
from replicate.protocol.evidence import Deletes
from replicate.protocol.mapping import Tags
from replicate.protocol.model import Replica
from replicate.protocol.plan import Overwrite, Policy
from tools.local.gcs import Fault, GcsServer

PREVENTED = {"publicAccessPrevention": "enforced"}
SOFT_DELETE = {"retentionDurationSeconds": "604800"}
SETTINGS = {"iamConfiguration": PREVENTED, "softDeletePolicy": SOFT_DELETE}
LIFECYCLE = {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 2}}]}
HELD = {"retentionPolicy": {"retentionPeriod": "86400"}, "defaultEventBasedHold": True}


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
    """Set the environment variables of a correct deployment, and return its GCS."""
    environ = {
        "GCS_BUCKET_NAME": "replica",
        "GCP_CREDENTIALS_SECRET": "gcp",
        "SOURCE_BUCKETS": "one,two",
        "STORAGE_EMULATOR_HOST": gcs.url,
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    gcs.set_bucket_settings("replica", **SETTINGS)
    for bucket in ("one", "two"):
        boto3.client("s3").create_bucket(Bucket=bucket)
    secrets = boto3.client("secretsmanager")
    secrets.create_secret(Name="gcp", SecretString=json.dumps(gcs.create_key()))
    yield gcs
    gcs.clear_faults()
    gcs.withhold()
    secrets.delete_secret(SecretId="gcp", ForceDeleteWithoutRecovery=True)


def run_doctor(**more: object) -> dict[str, Any]:
    return lambda_handler({"doctor": True, **more}, Context())


def failed_hops(report: dict[str, Any]) -> list[tuple[str, str]]:
    assert report["healthy"] is False
    return [(hop["hop"], hop["code"]) for hop in report["hops"] if not hop["ok"]]


def test_correct_deployment_is_healthy_and_the_canary_is_deleted(deployed: GcsServer) -> None:
    deployed.clear_requests()
    report = run_doctor()
    listed = "s3:ListBucket granted: missing keys give 404"
    token = report["hops"][2]["found"]
    assert report == {
        "healthy": True,
        "hops": [
            {"hop": name, "ok": True, "found": found}
            for name, found in (
                ("settings", "gs://replica"),
                ("secret", "a key"),
                ("token", token),
                ("permissions on gs://replica", ", ".join(f"storage.objects.{n}" for n in CHANGE)),
                (
                    "settings of gs://replica",
                    "location US, not judged; STANDARD; soft delete for 7 days",
                ),
                ("canary", "written, read back and deleted"),
                ("permissions on s3://one", listed),
                ("permissions on s3://two", listed),
            )
        ],
    }
    assert re.fullmatch(r"a token of \d{2,} characters", token)
    canary = [request for request in deployed.requests() if request["name"]]
    assert [(request["operation"], request["status"]) for request in canary] == [
        ("objects.get", 404),
        ("objects.insert", 200),
        ("objects.get", 200),
        ("objects.delete", 204),
        ("objects.patch", 404),
    ]
    (name,) = {request["name"] for request in canary}
    assert name.startswith(".s3-to-gcs-replicator/canary-")


@pytest.mark.usefixtures("deployed")
def test_missing_setting_is_the_only_hop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GCS_BUCKET_NAME")
    assert failed_hops(run_doctor()) == [("settings", "settings_invalid")]


@pytest.mark.usefixtures("deployed")
def test_missing_secret_ends_the_gcs_hops_but_not_the_s3_hops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GCP_CREDENTIALS_SECRET", "other")
    report = run_doctor()
    assert failed_hops(report) == [("secret", "credentials_invalid")]
    assert [hop["hop"] for hop in report["hops"]][-1] == "permissions on s3://two"


def test_token_hop_fails_when_the_key_is_revoked(deployed: GcsServer) -> None:
    secrets = boto3.client("secretsmanager")
    key = json.loads(secrets.get_secret_value(SecretId="gcp")["SecretString"])
    deployed.revoke_key(key["private_key_id"])
    assert failed_hops(run_doctor()) == [("token", "credentials_invalid")]


@pytest.mark.usefixtures("deployed")
def test_missing_buckets_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCS_BUCKET_NAME", "nowhere")
    monkeypatch.setenv("SOURCE_BUCKETS", "one,nowhere")
    assert failed_hops(run_doctor()) == [
        ("permissions on gs://nowhere", "destination_bucket_not_found"),
        ("permissions on s3://nowhere", "source_bucket_not_found"),
    ]


def test_canary_hop_fails_when_the_canary_cannot_be_written(deployed: GcsServer) -> None:
    deployed.add_fault(Fault(operation="objects.insert", status=403))
    assert failed_hops(run_doctor()) == [("canary", "destination_forbidden")]


def test_canary_hop_fails_when_the_canary_is_not_stored(deployed: GcsServer) -> None:
    deployed.add_fault(Fault(operation="objects.get", skip=1, status=404))
    report = run_doctor()
    assert failed_hops(report) == [("canary", "integrity")]
    (finding,) = [hop["found"] for hop in report["hops"] if not hop["ok"]]
    assert finding.startswith("GCS did not store gs://replica/.s3-to-gcs-replicator/canary-")
    assert finding.endswith(" as it was written. Try again.")


class TestCompressedCanary:
    """It is sent when objects are sent compressed, or somebody asks for it."""

    @pytest.fixture(autouse=True)
    def compressing(self, deployed: GcsServer, monkeypatch: pytest.MonkeyPatch) -> GcsServer:
        monkeypatch.setenv("COMPRESS_EGRESS", "true")
        deployed.set_bucket_settings("replica", **SETTINGS, lifecycle=LIFECYCLE)
        deployed.clear_requests()
        return deployed

    def found(self) -> str:
        (hop,) = [hop for hop in run_doctor()["hops"] if hop["hop"] == "compressed canary"]
        found: str = hop["found"]
        return f"failed: {found}" if not hop["ok"] else found

    def test_it_can_be_tried_before_objects_are_sent_compressed(
        self, compressing: GcsServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COMPRESS_EGRESS", "false")
        assert [hop["hop"] for hop in run_doctor()["hops"]].count("compressed canary") == 0
        compressing.add_fault(Fault(operation="upload.put", status=400))
        report = run_doctor(compress=True)
        assert failed_hops(report) == [("compressed canary", "integrity")]

    def test_it_is_sent_in_chunks_and_read_back(self, compressing: GcsServer) -> None:
        sent, *_ = re.findall(r"sent as ([\d,]+), read back byte by byte, composed", self.found())
        chunks = [each for each in compressing.requests() if each["operation"].startswith("upload")]
        assert [each["status"] for each in chunks] == [200, 308, 200]
        assert sum(each["body_bytes"] for each in chunks[1:]) == int(sent.replace(",", ""))
        assert compressing.sessions() == []

    @pytest.mark.parametrize(
        "fault",
        [
            Fault(operation="upload.put", status=400),
            Fault(method="PUT", trust_gzip=True, corrupt=True, times=2),
        ],
        ids=["gzip is refused", "other bytes are stored"],
    )
    def test_it_says_what_to_do_when_gcs_does_not_decompress(
        self, compressing: GcsServer, fault: Fault
    ) -> None:
        compressing.add_fault(fault)
        found = self.found()
        assert found.startswith("failed: GCS ")
        assert found.endswith(" But all of them would fail: deploy with CompressEgress=false.")

    def test_it_says_what_to_do_when_other_bytes_are_returned(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(GcsDestination, "read", lambda *_: b"other")
        found = self.found()
        assert found.startswith("failed: GCS returns other bytes of gs://replica/.s3-to-gcs-")
        assert found.endswith("deploy with CompressEgress=false.")

    def test_it_says_what_to_do_when_gcs_calls_the_bytes_gzip(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        head = GcsDestination.head

        def describe(destination: GcsDestination, name: str) -> Replica | None:
            found = head(destination, name)
            if found is None or "/staging/" not in name:
                return found
            gzip = replace(found.attributes, content_encoding="gzip")
            return replace(found, attributes=gzip)

        monkeypatch.setattr(GcsDestination, "head", describe)
        found = self.found()
        assert found.startswith("failed: GCS describes gs://replica/.s3-to-gcs-")
        assert found.endswith("deploy with CompressEgress=false.")

    def test_what_staged_objects_need_is_checked_before(self, compressing: GcsServer) -> None:
        """Without a state machine, too: a run that is killed leaves what it has staged."""
        compressing.set_bucket_settings("replica", **SETTINGS, storageClass="NEARLINE")
        report = run_doctor()
        assert failed_hops(report) == [("lifecycle rule for parts", "settings_invalid")]
        assert "compressed canary" not in [hop["hop"] for hop in report["hops"]]

        compressing.set_bucket_settings(
            "replica", **SETTINGS, storageClass="NEARLINE", lifecycle=LIFECYCLE
        )
        report = run_doctor()
        (costs,) = [hop for hop in report["hops"] if hop["hop"] == "storage costs of parts"]
        assert costs["found"].startswith("Warning: parts in NEARLINE are billed for at least 30")
        assert report["healthy"]

    def test_it_is_not_sent_when_nothing_can_be_staged(self, compressing: GcsServer) -> None:
        held = {**SETTINGS, "lifecycle": LIFECYCLE, "retentionPolicy": {"retentionPeriod": "3600"}}
        compressing.set_bucket_settings("replica", **held)
        assert self.found().startswith("Warning: nothing is sent compressed: ")


CREATE = ["create", "get", "list"]
CHANGE = [*CREATE, "update", "delete"]
CONTEXTS = ["createContext", "updateContext", "deleteContext"]


@pytest.mark.parametrize("tags", Tags)
@pytest.mark.parametrize(
    ("overwrite", "deletes", "needed"),
    [
        (Overwrite.CHANGED, Deletes.NONE, CHANGE),
        (Overwrite.CHANGED, Deletes.ALL, CHANGE),
        (Overwrite.NEVER, Deletes.NONE, CREATE),
        (Overwrite.NEVER, Deletes.BY_USERS, [*CREATE, "delete"]),
    ],
)
def test_each_mode_needs_these_permissions(
    tags: Tags, overwrite: Overwrite, needed: list[str], deletes: Deletes
) -> None:
    wanted = needed + (CONTEXTS if tags is Tags.CONTEXTS else [])
    permissions = needed_permissions(Policy(overwrite=overwrite, deletes=deletes, tags=tags))
    assert permissions == [f"storage.objects.{name}" for name in wanted]


REFUSED = {
    "create": "objects.insert",
    "get": "objects.get",
    "update": "objects.patch",
    "delete": "objects.delete",
}
"""The request that GCS refuses without a permission, where a condition may grant it for names."""


@pytest.mark.parametrize("name", CHANGE + CONTEXTS)
def test_each_missing_permission_is_named(
    deployed: GcsServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("REPLICATE_TAGS", "contexts")
    deployed.withhold(f"storage.objects.{name}")
    if name in REFUSED:
        deployed.add_fault(Fault(operation=REFUSED[name], status=403))
    report = run_doctor()
    assert failed_hops(report) == [("permissions on gs://replica", "destination_forbidden")]
    (finding,) = [hop["found"] for hop in report["hops"] if not hop["ok"]]
    assert f"do not have storage.objects.{name} on gs://replica" in finding


def test_all_missing_permissions_are_named_at_once(deployed: GcsServer) -> None:
    everything = [f"storage.objects.{name}" for name in CHANGE]
    deployed.withhold(*everything)
    (finding,) = [hop["found"] for hop in run_doctor()["hops"] if not hop["ok"]]
    assert finding == (
        f"The credentials do not have {', '.join(everything)} on gs://replica. Add them to the"
        " role: gcloud iam roles update s3Replicator --project PROJECT --add-permissions"
        f" {','.join(everything)}"
    )


def test_permissions_with_a_condition_on_names_are_a_warning(deployed: GcsServer) -> None:
    """GCS does not state them for the bucket. The canary shows that they are there."""
    withheld = [f"storage.objects.{name}" for name in REFUSED]
    deployed.withhold(*withheld)
    report = run_doctor()
    assert report["healthy"]
    hops = {hop["hop"]: hop["found"] for hop in report["hops"]}
    found = hops["permissions on gs://replica"]
    assert found.startswith("Warning: storage.objects.create, ")
    assert found.endswith("on the name of a canary. It was written, read back and deleted")
    assert hops["canary"] == "written, read back and deleted"


def test_a_mode_that_deletes_and_never_overwrites_must_be_able_to_delete(
    deployed: GcsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVERWRITE", "never")
    monkeypatch.setenv("REPLICATE_DELETES", "true")
    deployed.withhold("storage.objects.delete")
    deployed.add_fault(Fault(operation="objects.delete", status=403))
    assert failed_hops(run_doctor()) == [("permissions on gs://replica", "destination_forbidden")]


def test_canary_is_left_and_reported_when_the_mode_only_creates(
    deployed: GcsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVERWRITE", "never")
    deployed.withhold("storage.objects.update", "storage.objects.delete")
    deployed.add_fault(Fault(operation="objects.delete", status=403))
    report = run_doctor()
    assert report["healthy"], report
    (finding,) = [hop["found"] for hop in report["hops"] if hop["hop"] == "canary"]
    address = "gs://replica/.s3-to-gcs-replicator/canary-"
    assert finding.startswith(f"written and read back; delete {address}")
    assert finding.endswith(" by hand")


def test_canary_hop_fails_when_the_canary_cannot_be_deleted(deployed: GcsServer) -> None:
    deployed.add_fault(Fault(operation="objects.delete", status=403))
    assert failed_hops(run_doctor()) == [("canary", "destination_forbidden")]


PLACE = "location US, not judged; STANDARD"
UNDO = "an overwritten or deleted replica cannot be restored: turn on soft delete"
PUBLIC = "public access prevention is not enforced on the bucket"


@pytest.mark.parametrize(
    ("settings", "never", "found"),
    [
        ({}, False, f"Warning: {UNDO}; {PUBLIC} ({PLACE}; neither soft delete nor versioning)"),
        ({}, True, f"Warning: {PUBLIC} ({PLACE}; neither soft delete nor versioning)"),
        (
            {**SETTINGS, "location": "EU", "versioning": {"enabled": True}},
            False,
            "location EU, not judged; STANDARD; versioning, soft delete for 7 days",
        ),
        (
            {
                "iamConfiguration": PREVENTED,
                "storageClass": "NEARLINE",
                "versioning": {"enabled": True},
            },
            False,
            "location US, not judged; NEARLINE; versioning",
        ),
        (
            {**SETTINGS, **HELD},
            True,
            f"{PLACE}; a retention policy of 1 days (not locked), soft delete for 7 days",
        ),
        (
            {
                **SETTINGS,
                **HELD,
                "retentionPolicy": {"retentionPeriod": "86400", "isLocked": True},
            },
            False,
            (
                "Warning: a retention policy of 1 days (locked): nothing is overwritten or deleted"
                " earlier; an event-based hold on each new object: nothing is overwritten or"
                f" deleted ({PLACE}; a retention policy of 1 days (locked), soft delete for 7 days)"
            ),
        ),
    ],
)
def test_settings_of_the_bucket_that_matter_are_named(
    deployed: GcsServer,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, object],
    never: bool,  # noqa: FBT001 - a parameter
    found: str,
) -> None:
    deployed.set_bucket_settings("replica", **settings)
    monkeypatch.setenv("OVERWRITE", "never" if never else "changed")
    hops = {hop["hop"]: hop for hop in run_doctor()["hops"]}
    assert hops["settings of gs://replica"] == {
        "hop": "settings of gs://replica",
        "ok": True,
        "found": found,
    }


def test_settings_that_the_credentials_may_not_read_are_a_warning(deployed: GcsServer) -> None:
    deployed.add_fault(Fault(operation="buckets.get", status=403))
    hops = {hop["hop"]: hop for hop in run_doctor()["hops"]}
    assert hops["settings of gs://replica"]["found"] == (
        "Warning: not checked. Grant the credentials storage.buckets.get on gs://replica"
    )
