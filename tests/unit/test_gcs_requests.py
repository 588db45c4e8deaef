"""What the adapters send to GCS: each request, how long it waits, and how often. No server."""

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import BoundedSemaphore

import pytest
import requests
from fakes import PLAIN
from google.auth.credentials import Credentials
from google_crc32c import value as crc32c_value
from network import Network, answer, broken
from ports.test_destination import BytesBody

from replicate.breaker import BreakerPolicy, Circuit
from replicate.errors import (
    DestinationChangedError,
    DestinationForbiddenError,
    DestinationRejectedError,
    DestinationUnavailableError,
    IntegrityError,
    OutOfTimeError,
    SourceUnavailableError,
)
from replicate.gcs import GcsDestination, compressed_upload
from replicate.gcs.bucket import BucketSettings
from replicate.gcs.client import GcsClient
from replicate.gcs.credentials import SecretCredentials
from replicate.gcs.listing import GcsListing
from replicate.gcs.resumable_upload import CANCEL_S, QUANTUM
from replicate.protocol.checksums import encode_crc32c
from replicate.protocol.deadline import Deadline
from replicate.protocol.mapping import Naming
from replicate.protocol.model import Precondition, Replica
from replicate.reconcile.rows import ReplicaRow
from replicate.retry import RetryPolicy

QUICK_S, BYTES_S = 0.5, 7.0
"""How long a request waits that is answered at once, and one of many bytes."""

POLICY = RetryPolicy(attempts=2, first_delay_s=0, io_timeout_s=BYTES_S)
NEW = Precondition(0)
FOUND = Replica(
    name="logs/a b", generation=5, metageneration=2, size=4, attributes=PLAIN, crc32c="AAAAAA=="
)
LARGE = bytes(range(256)) * 5 * 1024 + b"tail"
"""Needs an upload session."""


class Token(Credentials):
    def refresh(self, request: object) -> None:
        del request
        self.token = "token"


class Vault:
    def read(self, deadline: Deadline) -> str:
        del deadline
        return ""

    def credentials(self, text: str) -> Credentials:
        del text
        return Token()  # type: ignore[no-untyped-call]


@dataclass
class Gcs:
    """The adapters over one client."""

    destination: GcsDestination
    listing: GcsListing
    deadline: Deadline


@pytest.fixture
def gcs(network: Network) -> Iterator[Gcs]:
    del network
    deadline = Deadline(600)
    patience = BreakerPolicy(shortest_wait_s=QUICK_S, longest_wait_s=QUICK_S)
    client = GcsClient(SecretCredentials(Vault(), deadline, POLICY), Circuit(patience))
    naming = Naming("replica", staging="parts/")
    destination = GcsDestination(client, naming, deadline, POLICY)
    listing = GcsListing(client, Naming("replica", "logs/"), deadline, POLICY)
    yield Gcs(destination, listing, deadline)
    client.close()


NAME = "/storage/v1/b/replica/o/logs%2Fa%20b"
HELD = "ifGenerationMatch=5&ifMetagenerationMatch=2"
FIELDS = "items%28name%2Csize%2Cmd5Hash%2Cgeneration%2Cupdated%2Cmetadata%29%2CnextPageToken"
LISTED = "prefix=logs%2F2026%2F&startOffset=logs%2F2026%2F01"
STAGING = "permissions=storage.objects.delete&permissions=storage.objects.update"

CALLS: dict[str, tuple[Callable[[Gcs], object], str, float]] = {
    "head": (
        lambda gcs: gcs.destination.head("logs/a b"),
        f"GET {NAME}?projection=noAcl",
        QUICK_S,
    ),
    "write": (
        lambda gcs: gcs.destination.write("logs/a b", PLAIN, BytesBody(b"data"), NEW),
        "POST /upload/storage/v1/b/replica/o?uploadType=multipart&ifGenerationMatch=0",
        QUICK_S,
    ),
    "upload": (
        lambda gcs: gcs.destination.write("logs/a b", PLAIN, BytesBody(LARGE), NEW),
        "POST /upload/storage/v1/b/replica/o?uploadType=resumable&ifGenerationMatch=0",
        QUICK_S,
    ),
    "compose": (
        lambda gcs: gcs.destination.compose("name", PLAIN, [FOUND], NEW),
        "POST /storage/v1/b/replica/o/name/compose?ifGenerationMatch=0",
        BYTES_S,
    ),
    "patch": (
        lambda gcs: gcs.destination.patch("logs/a b", PLAIN, FOUND),
        f"PATCH {NAME}?projection=full&{HELD}",
        QUICK_S,
    ),
    "delete": (
        lambda gcs: gcs.destination.delete("logs/a b", Precondition.unchanged(FOUND)),
        f"DELETE {NAME}?{HELD}",
        QUICK_S,
    ),
    "list_prefix": (
        lambda gcs: gcs.destination.list_prefix("parts/"),
        "GET /storage/v1/b/replica/o?projection=noAcl&prefix=parts%2F",
        BYTES_S,
    ),
    "granted": (
        lambda gcs: gcs.destination.granted(["a", "b"]),
        "GET /storage/v1/b/replica/iam/testPermissions?permissions=a&permissions=b",
        QUICK_S,
    ),
    "read": (
        lambda gcs: gcs.destination.read("logs/a b"),
        f"GET /download{NAME}?alt=media",
        BYTES_S,
    ),
    "bucket_settings": (
        lambda gcs: gcs.destination.bucket_settings(),
        "GET /storage/v1/b/replica?projection=noAcl",
        QUICK_S,
    ),
    "staging_obstacle": (
        lambda gcs: gcs.destination.staging_obstacle(),
        f"GET /storage/v1/b/replica/iam/testPermissions?{STAGING}",
        QUICK_S,
    ),
    "listing": (
        lambda gcs: next(gcs.listing.pages("2026/", "2026/01")),
        f"GET /storage/v1/b/replica/o?projection=noAcl&{LISTED}&fields={FIELDS}",
        BYTES_S,
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_request_has_its_time_and_only_the_adapter_repeats_it(
    gcs: Gcs, network: Network, call: str
) -> None:
    request, line, timeout = CALLS[call]
    with pytest.raises(DestinationUnavailableError, match="The connection to GCS broke"):
        request(gcs)
    assert [(sent.line, sent.timeout) for sent in network.sent] == [(line, timeout)] * 2


@pytest.mark.parametrize("call", CALLS)
def test_refusal_names_what_the_request_was_about(gcs: Gcs, network: Network, call: str) -> None:
    network.answers = [answer(400, error={"message": "No"})]
    with pytest.raises(DestinationRejectedError) as caught:
        CALLS[call][0](gcs)
    about = ABOUT.get(call, "logs/a b")
    assert f"The request to GCS for gs://replica/{about} failed" in caught.value.message


OF_THE_BUCKET = ("granted", "bucket_settings", "staging_obstacle", "listing")
ABOUT = {"compose": "name", "list_prefix": "parts/", **dict.fromkeys(OF_THE_BUCKET, "")}


def test_rows_of_a_listing_are_those_of_gcs(gcs: Gcs, network: Network) -> None:
    composed = {"name": "logs/a", "size": "7", "generation": "5", "updated": "2026-11-26T10:00:00Z"}
    plain = {**composed, "name": "logs/b", "metadata": {"a": "b"}, "md5Hash": "md5"}
    network.answers = [answer(200, items=[composed, plain])]

    (page,) = gcs.listing.pages("", "")

    fields = (7, "5", "2026-11-26T10:00:00Z")
    assert page == [ReplicaRow("a", *fields, {}), ReplicaRow("b", *fields, {"a": "b"}, "md5")]


# The bucket


SOFT = {"retentionDurationSeconds": "60"}


@pytest.mark.parametrize(
    ("fields", "settings"),
    [
        ({}, ("an unknown location", False, 0, False, False, "STANDARD", False, 0, ())),
        (
            {
                "location": "EU",
                "iamConfiguration": {"publicAccessPrevention": "enforced"},
                "retentionPolicy": {"retentionPeriod": "129600", "isLocked": True},
                "defaultEventBasedHold": True,
                "storageClass": "NEARLINE",
                "versioning": {"enabled": True},
                "softDeletePolicy": SOFT,
                "lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 1}}]},
            },
            (
                *("EU", True, 1.5, True, True, "NEARLINE", True, 60 / 86400),
                ({"action": {"type": "Delete"}, "condition": {"age": 1}},),
            ),
        ),
    ],
    ids=["none", "all"],
)
def test_settings_of_the_bucket_are_read(
    gcs: Gcs, network: Network, fields: dict[str, object], settings: tuple[object, ...]
) -> None:
    network.answers = [answer(200, {}, name="replica", **fields)]
    found = gcs.destination.bucket_settings()
    assert found
    assert tuple(getattr(found, field) for field in BucketSettings.__slots__) == settings


def test_permissions_for_staged_objects_are_tried_where_they_are_not_granted(
    gcs: Gcs, network: Network
) -> None:
    """A permission with a condition on names is not granted on the bucket."""
    network.answers = [answer(200, permissions=[]), *[answer(404)] * 2, answer(403)]

    assert gcs.destination.staging_obstacle() is None

    absent = "/storage/v1/b/replica/o/parts%2Fabsent"
    assert [(sent.line.partition("?")[0], sent.timeout) for sent in network.sent] == [
        ("GET /storage/v1/b/replica/iam/testPermissions", QUICK_S),
        (f"DELETE {absent}", QUICK_S),
        (f"PATCH {absent}", QUICK_S),
        ("GET /storage/v1/b/replica", QUICK_S),
    ]
    assert json.loads(network.sent[2].body)["metadata"]


# Lost responses, and refusals


def described(**fields: object) -> requests.Response:
    """Return the description of an object with the bytes `data`."""
    made = {
        "name": "logs/a b",
        "generation": "5",
        "metageneration": "2",
        "size": "4",
        "crc32c": encode_crc32c(crc32c_value(b"data")),
        "contentType": "text/plain",
    }
    return answer(200, {}, **{**made, **fields})


def refused(message: str) -> requests.Response:
    error = {"errors": [{"reason": "conditionNotMet"}], "message": message}
    return answer(412, error=error)


@pytest.mark.parametrize(("message", "said"), [("Held.", "Held."), ("", "it does not say why.")])
@pytest.mark.parametrize("call", ["patch", "delete"])
def test_refusal_although_nothing_changed_is_that_of_a_policy(
    gcs: Gcs, network: Network, call: str, message: str, said: str
) -> None:
    network.answers = [refused(message), described()]
    with pytest.raises(DestinationForbiddenError) as caught:
        CALLS[call][0](gcs)
    assert caught.value.message == (
        f"GCS refuses to write gs://replica/logs/a b, although it has not changed: {said} Look for"
        " a policy on the bucket, project or organization."
    )


@pytest.mark.parametrize(
    ("found", "is_ours"),
    [
        (described(), True),
        (described(crc32c="AAAAAA=="), False),
        (described(cacheControl="no-store"), False),
        (answer(404), False),
    ],
    ids=["ours", "other bytes", "other attributes", "gone"],
)
def test_write_whose_response_was_lost_is_recognized_by_its_bytes_and_attributes(
    gcs: Gcs, network: Network, found: requests.Response, *, is_ours: bool
) -> None:
    network.answers = [broken(), refused(""), found]
    if is_ours:
        written = gcs.destination.write("logs/a b", PLAIN, BytesBody(b"data"), NEW)
        assert (written.generation, written.size) == (5, 4)
        return
    with pytest.raises(DestinationChangedError):
        gcs.destination.write("logs/a b", PLAIN, BytesBody(b"data"), NEW)


@pytest.mark.parametrize(
    "found",
    [
        described(generation="6"),
        described(metageneration="3", cacheControl="no-store"),
    ],
    ids=["overwritten", "patched"],
)
def test_patch_whose_response_was_lost_is_not_that_of_another(
    gcs: Gcs, network: Network, found: requests.Response
) -> None:
    network.answers = [broken(), refused(""), found]
    with pytest.raises(DestinationChangedError):
        gcs.destination.patch("logs/a b", PLAIN, FOUND)


def test_patch_whose_response_was_lost_is_recognized(gcs: Gcs, network: Network) -> None:
    network.answers = [broken(), refused(""), described(metageneration="3")]
    assert gcs.destination.patch("logs/a b", PLAIN, FOUND).metageneration == 3


# Uploads


SESSION = "/upload/storage/v1/b/replica/o?uploadType=resumable&upload_id=7"
OPENED = {"Location": f"https://storage.googleapis.com{SESSION}"}
TAIL = len(LARGE) // QUANTUM * QUANTUM
HASH = f"crc32c={encode_crc32c(crc32c_value(LARGE))}"


def stored(size: int) -> requests.Response:
    return answer(308, {"Range": f"bytes=0-{size - 1}"} if size else {})


def written(**fields: object) -> requests.Response:
    """Return the description of the object that was uploaded."""
    made = {
        "generation": "5",
        "metageneration": "1",
        "size": str(len(LARGE)),
        "crc32c": HASH.removeprefix("crc32c="),
        "md5Hash": "md5",
    }
    return answer(200, {"X-GUploader-UploadID": "ID"}, **{**made, **fields})


def puts(network: Network) -> list[tuple[str, int, str | None, object]]:
    """Return the range, number of bytes, hash and timeout of each request to the session."""
    sent = [each for each in network.sent if each.line == f"PUT {SESSION}"]
    assert all(each.headers["content-length"] == str(len(each.body)) for each in sent)
    return [
        (
            each.headers["content-range"].removeprefix("bytes "),
            len(each.body),
            each.headers.get("x-goog-hash"),
            each.timeout,
        )
        for each in sent
    ]


def write(gcs: Gcs) -> Replica:
    return gcs.destination.write("logs/a b", PLAIN, BytesBody(LARGE), NEW, "NEARLINE")


BODY = (f"0-{TAIL - 1}/{len(LARGE)}", TAIL, None, BYTES_S)
LAST = (f"{TAIL}-{len(LARGE) - 1}/{len(LARGE)}", len(LARGE) - TAIL, HASH, BYTES_S)
QUERY = ("*/*", 0, None, QUICK_S)


def test_object_is_uploaded_in_two_requests_and_described_as_gcs_has_it(
    gcs: Gcs, network: Network
) -> None:
    network.answers = [answer(200, OPENED), stored(TAIL), written()]

    replica = write(gcs)

    assert replica == Replica(
        name="logs/a b",
        generation=5,
        metageneration=1,
        size=len(LARGE),
        attributes=PLAIN,
        crc32c=HASH.removeprefix("crc32c="),
        md5="md5",
    )
    assert replica.request_id == "ID"
    opened = network.sent[0]
    assert opened.headers["x-upload-content-length"] == str(len(LARGE))
    assert json.loads(opened.body) == {
        "name": "logs/a b",
        "contentType": "text/plain",
        "metadata": {},
        "storageClass": "NEARLINE",
    }
    assert puts(network) == [BODY, LAST]
    assert network.sent[1].body + network.sent[2].body == LARGE


@pytest.mark.parametrize(
    ("data", "answers"),
    [
        (b"data", [described(crc32c="AAAAAA==")]),
        (b"data", [described(size="3")]),
        (LARGE, [answer(200, OPENED), stored(TAIL), written(crc32c="AAAAAA==")]),
        (LARGE, [answer(200, OPENED), stored(TAIL), written(size="3")]),
    ],
    ids=["CRC32C at once", "size at once", "CRC32C", "size"],
)
def test_object_that_gcs_stored_with_other_bytes_than_were_sent_is_deleted(
    gcs: Gcs, network: Network, data: bytes, answers: list[requests.Response]
) -> None:
    """It has the right provenance. So a later run could take it for current."""
    network.answers = [*answers, answer(204)]
    with pytest.raises(IntegrityError, match="other bytes than those sent for gs://replica/logs/"):
        gcs.destination.write("logs/a b", PLAIN, BytesBody(data), NEW)
    assert network.sent[-1].line == f"DELETE {NAME}?ifGenerationMatch=5"


def test_upload_of_which_gcs_has_all_bytes_is_completed_with_none(
    gcs: Gcs, network: Network
) -> None:
    network.answers = [answer(200, OPENED), stored(TAIL), broken(), stored(len(LARGE)), written()]

    assert write(gcs).generation == 5
    assert puts(network) == [BODY, LAST, QUERY, (f"*/{len(LARGE)}", 0, HASH, BYTES_S)]


def test_upload_goes_on_where_gcs_stopped(gcs: Gcs, network: Network) -> None:
    network.answers = [answer(200, OPENED), broken(), stored(QUANTUM), stored(TAIL), written()]

    assert write(gcs).generation == 5
    rest = (f"{QUANTUM}-{TAIL - 1}/{len(LARGE)}", TAIL - QUANTUM, None, BYTES_S)
    assert puts(network) == [BODY, QUERY, rest, LAST]
    assert network.sent[3].body == LARGE[QUANTUM:TAIL]


def test_upload_that_gets_nowhere_is_cancelled(gcs: Gcs, network: Network) -> None:
    network.answers = [answer(200, OPENED), *[stored(0)] * 4, answer(499)]

    with pytest.raises(
        DestinationUnavailableError, match=r"^GCS stored no bytes of gs://replica/logs/a b\. Try"
    ):
        write(gcs)
    assert puts(network) == [BODY, QUERY, BODY]
    cancelled = network.sent[-1]
    assert (cancelled.line, cancelled.timeout) == (
        f"DELETE {SESSION}",
        (CANCEL_S / 2, CANCEL_S / 2),
    )
    assert cancelled.headers["content-length"] == "0"


@pytest.mark.parametrize(
    "states",
    [
        (QUANTUM, QUANTUM, QUANTUM, QUANTUM),
        (TAIL, TAIL, TAIL, TAIL),
        (TAIL, QUANTUM, QUANTUM, TAIL, QUANTUM),
    ],
    ids=["in the body", "at the tail", "back and forth"],
)
def test_upload_that_gets_no_further_is_cancelled(
    gcs: Gcs, network: Network, states: tuple[int, ...]
) -> None:
    network.answers = [answer(200, OPENED), *map(stored, states), answer(499)]

    with pytest.raises(DestinationUnavailableError, match=r"^GCS stored no bytes of gs://"):
        write(gcs)
    assert not network.answers
    assert network.sent[-1].line == f"DELETE {SESSION}"


def test_session_that_gcs_loses_is_named_and_not_cancelled(gcs: Gcs, network: Network) -> None:
    network.answers = [answer(200, OPENED), answer(404), answer(200, OPENED), answer(410)]

    with pytest.raises(
        DestinationUnavailableError,
        match=r"^GCS no longer has the upload session of gs://replica/logs/a b\. Try again\.$",
    ):
        write(gcs)
    assert not network.answers
    assert len(network.sent) == 4


def test_object_that_is_described_without_a_crc32c_is_malformed(gcs: Gcs, network: Network) -> None:
    network.answers = [answer(200, OPENED), stored(TAIL), *[answer(200, size="1")] * 3]

    with pytest.raises(DestinationUnavailableError, match="GCS's response is malformed"):
        write(gcs)


# Compressed uploads


UNSET = "Try again. If the error stays, set CompressEgress (COMPRESS_EGRESS) to false."


def write_compressed(gcs: Gcs, body: BytesBody | None = None) -> tuple[Replica, int]:
    return gcs.destination.write_compressed("logs/a b", PLAIN, body or BytesBody(LARGE), NEW)


def test_compressed_object_is_sent_as_gzip_and_its_bytes_are_counted(
    gcs: Gcs, network: Network
) -> None:
    network.answers = [answer(200, OPENED), written(crc32c=HASH.removeprefix("crc32c="))]

    assert write_compressed(gcs)[1] == len(network.sent[1].body)
    sent = network.sent[1].headers
    assert (sent["content-encoding"], sent["content-type"]) == ("gzip", PLAIN.content_type)
    assert gzip.decompress(network.sent[1].body) == LARGE
    assert [sent[::2] for sent in puts(network)] == [(f"0-{len(LARGE) - 1}/{len(LARGE)}", None)]


class Full:
    """Places that are all taken, until the time is over."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def acquire(self, timeout: float) -> bool:
        assert 0 < timeout <= self._deadline.remaining()
        self._deadline.restart(0)
        return False


def test_no_more_chunks_are_held_at_a_time_than_memory_allows(
    gcs: Gcs, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place is free again when its chunk was sent, refused or lost."""
    monkeypatch.setattr(compressed_upload, "_places", BoundedSemaphore())
    done = written(crc32c=HASH.removeprefix("crc32c="))
    network.answers = [answer(200, OPENED), answer(400, error={"message": "No"}), answer(204)]
    network.answers += [answer(200, OPENED), broken(), stored(0), done]
    gcs.deadline.restart(10)
    with pytest.raises(IntegrityError):
        write_compressed(gcs)
    write_compressed(gcs)

    network.answers = [answer(200, OPENED), answer(204)]
    network.sent.clear()
    monkeypatch.setattr(compressed_upload, "_places", Full(gcs.deadline))
    with pytest.raises(OutOfTimeError):
        write_compressed(gcs)
    assert [sent.line.partition(" ")[0] for sent in network.sent] == ["POST", "DELETE"]


def test_object_of_other_bytes_than_were_compressed_is_deleted(gcs: Gcs, network: Network) -> None:
    network.answers = [answer(200, OPENED), written(crc32c="crc"), answer(204)]

    with pytest.raises(IntegrityError) as caught:
        write_compressed(gcs)
    ours = (HASH.removeprefix("crc32c="), len(LARGE))
    assert caught.value.message == (
        "GCS made other bytes of the compressed ones of gs://replica/logs/a b: CRC32C and size"
        f" {('crc', len(LARGE))} instead of {ours}. The object was deleted. {UNSET}"
    )
    assert network.sent[-1].line == f"DELETE {NAME}?ifGenerationMatch=5"


def test_refusal_of_compressed_bytes_says_what_to_do(gcs: Gcs, network: Network) -> None:
    error = {"errors": [{"reason": "bad"}], "message": "No"}
    network.answers = [answer(200, OPENED), answer(400, error=error)]

    with pytest.raises(IntegrityError) as caught:
        write_compressed(gcs)
    assert caught.value.message == (
        "GCS does not accept compressed bytes of gs://replica/logs/a b: The request to GCS for"
        " gs://replica/logs/a b failed: No. (GCS responded with 400 bad) Nothing was written."
        f" {UNSET}"
    )


def test_compressed_body_that_ends_early_is_not_written(gcs: Gcs, network: Network) -> None:
    network.answers = [answer(200, OPENED)]

    with pytest.raises(IntegrityError) as caught:
        write_compressed(gcs, BytesBody(LARGE[:-1], size=len(LARGE)))
    assert caught.value.message == (
        "S3 sent too few bytes for gs://replica/logs/a b. Nothing was written; try again."
    )
    assert [sent.line for sent in network.sent[1:]] == [f"DELETE {SESSION}"]


def test_compressed_upload_that_gets_nowhere_is_cancelled(gcs: Gcs, network: Network) -> None:
    network.answers = [answer(200, OPENED), stored(0), stored(0), stored(0)]

    with pytest.raises(
        DestinationUnavailableError, match=r"^GCS stored no bytes of gs://replica/logs/a b\. Try"
    ):
        write_compressed(gcs)
    assert network.sent[-1].line == f"DELETE {SESSION}"


def test_compressed_upload_of_which_gcs_has_all_bytes_is_completed_with_none(
    gcs: Gcs, network: Network
) -> None:
    done = written(crc32c=HASH.removeprefix("crc32c="))
    network.answers = [answer(200, OPENED), broken(), stored(len(LARGE)), done]

    replica, sent = write_compressed(gcs)
    assert (replica.generation, sent) == (5, len(network.sent[1].body))
    assert puts(network)[-1] == (f"*/{len(LARGE)}", 0, None, BYTES_S)


@pytest.mark.parametrize("states", [(), (stored(0),)], ids=["complete", "nothing stored"])
def test_bytes_whose_answer_was_lost_are_counted(
    gcs: Gcs, network: Network, states: tuple[requests.Response, ...]
) -> None:
    done = written(crc32c=HASH.removeprefix("crc32c="))
    network.answers = [answer(200, OPENED), broken(), *states, done]

    assert write_compressed(gcs)[1] == sum(size for _, size, *_ in puts(network)) > 0


def test_bytes_that_s3_does_not_send_say_nothing_about_google(gcs: Gcs, network: Network) -> None:
    """Otherwise several uploads at a time open the breaker of Google when S3 hangs."""

    def silence() -> None:
        raise SourceUnavailableError("S3 did not respond.", timed_out=True)

    network.answers = [answer(200, OPENED), answer(499)]
    with pytest.raises(SourceUnavailableError) as caught:
        gcs.destination.write("name", PLAIN, BytesBody(LARGE, meanwhile=silence), NEW)
    assert caught.value.from_aws
