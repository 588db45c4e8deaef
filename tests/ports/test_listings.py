"""The contract of the ports of a reconcile: the fakes and the real adapters agree."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import boto3
import pytest
from canned import serve_responses
from fakes import PLAIN, FakeGcs, FakeS3, Upload
from listings import FakeNominations, FakeReplicaListing, FakeReports, FakeSourceListing
from ports.clouds import REGION, Adapters, Clouds
from ports.destination_harness import RealDestination

from replicate.aws_clients import AwsClients
from replicate.errors import (
    DestinationBucketNotFoundError,
    DestinationForbiddenError,
    ReplicationError,
    SettingsError,
    SourceBucketNotFoundError,
    SourceForbiddenError,
    UnavailableError,
)
from replicate.protocol import mapping
from replicate.protocol.deadline import Deadline
from replicate.protocol.mapping import Naming
from replicate.protocol.model import SourceRef
from replicate.reconcile.compare import Rules, Verdict, compare
from replicate.reconcile.merge import merge
from replicate.reconcile.ports import Nominations, ReplicaListing, Reports, SourceListing
from replicate.retry import DEFAULT_POLICY, TRANSIENT, RetryPolicy
from replicate.s3.listing import S3Listing
from replicate.s3.reports import S3Reports
from replicate.sqs.nominations import SqsNominations
from tools.local.gcs import objects
from tools.local.gcs.faults import Fault

KEYS = ["!", "a", "a b+c%20", "a/1", "a/2", "a/é", "b&<\"'>", "b/\x7f", "c\uffff", "c\U0001f600"]
"""In the order of UTF-8."""


FAR_FUTURE = datetime(2100, 1, 1, tzinfo=UTC)


class Both:
    """Both listings, and how a test puts objects into them."""

    bucket: str
    source: SourceListing
    replicas: ReplicaListing

    def put(self, key: str, data: bytes) -> None: ...

    def replicate(self, key: str) -> None: ...


class Memory(Both):
    def __init__(self) -> None:
        self.bucket = "source"
        self._s3, self._gcs = FakeS3(), FakeGcs()
        self.source: SourceListing = FakeSourceListing(self._s3)
        self.replicas: ReplicaListing = FakeReplicaListing(self._gcs)

    def put(self, key: str, data: bytes) -> None:
        self._s3.upload(SourceRef(self.bucket, key), Upload(data=data))

    def replicate(self, key: str) -> None:
        ref = SourceRef(self.bucket, key)
        found = self._s3.head(ref)
        assert found
        self._gcs.put(key, self._s3.data(ref), mapping.attributes(found))

    def put_foreign(self, name: str) -> None:
        self._gcs.put(name, b"", PLAIN)


class Real(Both):
    def __init__(self, clouds: Clouds, adapters: Adapters) -> None:
        self.bucket = f"listing-{uuid.uuid4().hex}"
        self._s3, self._clouds, self._adapters = clouds.s3, clouds, adapters
        self._s3.create_bucket(Bucket=self.bucket)
        self.source, self.replicas = adapters.listings(page=3)

    def put(self, key: str, data: bytes) -> None:
        self._s3.put_object(Bucket=self.bucket, Key=key, Body=data)

    def replicate(self, key: str) -> None:
        self._adapters.replicator().replicate(SourceRef(self.bucket, key))

    def put_foreign(self, name: str) -> None:
        self._clouds.gcs.multipart(name, b"")


@pytest.fixture(params=["memory", "real"])
def both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    if request.param == "memory":
        yield Memory()
        return
    monkeypatch.setattr(objects, "_MAX_RESULTS", 3)
    clouds, adapters = (request.getfixturevalue(n) for n in ("clouds", "real_adapters"))
    yield Real(clouds, adapters)
    RealDestination(clouds, adapters).clear()
    monkeypatch.setattr(objects, "_MAX_RESULTS", 1000)
    RealDestination(clouds, adapters).clear()


def listed(both: Both, prefix: str = "", after: str = "") -> tuple[list[str], list[str]]:
    """Return the keys that both listings have."""
    source = chain.from_iterable(both.source.pages(both.bucket, prefix, after))
    replicas = chain.from_iterable(both.replicas.pages(prefix, after))
    return [row.key for row in source], [row.key for row in replicas]


def test_both_sides_are_listed_in_the_order_of_utf8_and_replicas_are_recognized(both: Any) -> None:  # noqa: ANN401
    for key in reversed(KEYS):
        both.put(key, key.encode())
        both.replicate(key)

    assert listed(both) == (KEYS, KEYS)
    rules = Rules(bucket=both.bucket, naming=Naming("replica"), cutoff=FAR_FUTURE)
    pairs = merge(
        chain.from_iterable(both.source.pages(both.bucket, "", "")),
        chain.from_iterable(both.replicas.pages("", "")),
    )
    assert {compare(*pair, rules) for pair in pairs} == {Verdict.EQUAL}
    replicas = chain.from_iterable(both.replicas.pages("", ""))
    assert all(datetime.fromisoformat(row.updated) < FAR_FUTURE for row in replicas)


@pytest.mark.parametrize(
    ("prefix", "after", "expected"),
    [
        ("", "a", KEYS[2:]),
        ("", "a/", KEYS[3:]),
        ("", "c\U0001f600", []),
        ("a", "", KEYS[1:6]),
        ("a/", "", KEYS[3:6]),
        ("a/", "a/1", KEYS[4:6]),
        ("b", "a", KEYS[6:8]),
        ("nothing", "", []),
    ],
)
def test_listing_begins_after_a_key_and_keeps_to_the_prefix(
    both: Any,  # noqa: ANN401
    prefix: str,
    after: str,
    expected: list[str],
) -> None:
    for key in KEYS:
        both.put(key, b"")
        both.put_foreign(key)

    assert listed(both, prefix, after) == (expected, expected)
    assert both.source.first(both.bucket, prefix, after) == next(iter(expected), None)


def test_listing_ends_with_the_page_that_reaches_its_last_key(both: Any) -> None:  # noqa: ANN401
    for key in KEYS:
        both.put(key, b"")
        both.put_foreign(key)

    source = chain.from_iterable(both.source.pages(both.bucket, "", KEYS[0], KEYS[2]))
    replicas = chain.from_iterable(both.replicas.pages("", KEYS[0], KEYS[2]))

    for keys in ([row.key for row in source], [row.key for row in replicas]):
        assert KEYS[1:3] == keys[:2]
        assert len(keys) <= 3, "one page"


def test_listing_may_be_left_in_the_middle(both: Any) -> None:  # noqa: ANN401
    for key in KEYS:
        both.put(key, b"")
    pages = both.source.pages(both.bucket, "", "")

    assert [row.key for row in next(pages)] == KEYS[:3]
    pages.close()


class TestRealListings:
    """What only the real adapters can meet."""

    @pytest.fixture
    def fault(self, clouds: Clouds) -> Iterator[Callable[..., None]]:
        yield lambda **fields: clouds.server.add_fault(Fault(operation="objects.list", **fields))
        clouds.server.clear_faults()

    def test_gcs_listing_goes_on_after_failures(
        self,
        real_adapters: Adapters,
        clouds: Clouds,
        fault: Callable[..., None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(objects, "_MAX_RESULTS", 2)
        for name in "abcde":
            clouds.gcs.multipart(name, b"")
        fault(status=503)
        fault(skip=2, cut_response_after=20)
        _, replicas = real_adapters.listings()

        assert [row.key for page in replicas.pages("", "") for row in page] == [*"abcde"]
        monkeypatch.undo()
        RealDestination(clouds, real_adapters).clear()

    def test_denied_listing_of_gcs_names_the_missing_right(
        self, real_adapters: Adapters, fault: Callable[..., None]
    ) -> None:
        fault(status=403)
        _, replicas = real_adapters.listings()

        with pytest.raises(DestinationForbiddenError, match=r"Grant .* storage\.objects\.list"):
            next(replicas.pages("", ""))

    def test_bucket_of_gcs_that_is_gone_is_named(
        self, real_adapters: Adapters, fault: Callable[..., None]
    ) -> None:
        fault(status=404)
        _, replicas = real_adapters.listings()

        with pytest.raises(DestinationBucketNotFoundError, match="gs://ports-destination"):
            next(replicas.pages("", ""))

    def test_bucket_of_s3_that_is_gone_is_named(self, real_adapters: Adapters) -> None:
        source, _ = real_adapters.listings()

        with pytest.raises(SourceBucketNotFoundError, match="s3://no-such-bucket"):
            next(source.pages("no-such-bucket", "", ""))
        with pytest.raises(SourceBucketNotFoundError):
            source.first("no-such-bucket", "", "")

    @pytest.mark.parametrize(
        "body", [b"", b"<html/>", b"<Error><Code>SlowDown</Code></Error>", b"no XML"]
    )
    def test_success_without_a_listing_is_no_empty_page(
        self,
        real_adapters: Adapters,  # noqa: ARG002 - sets credentials
        monkeypatch: pytest.MonkeyPatch,
        body: bytes,
    ) -> None:
        """Every replica would be one without a source."""
        policy = RetryPolicy(attempts=1)
        with serve_responses((200, body)) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
            clients = AwsClients(REGION, policy)
            source = S3Listing(clients, Deadline(10), policy)

            for listed in (
                lambda: next(source.pages("b", "", "")),
                lambda: source.first("b", "", ""),
            ):
                with pytest.raises(TRANSIENT, match="s3://b/"):
                    listed()
            clients.close()

    def test_denied_listing_of_s3_names_the_missing_right(
        self,
        real_adapters: Adapters,  # noqa: ARG002 - sets credentials
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        with serve_responses((403, b"<Error><Code>AccessDenied</Code></Error>")) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
            clients = AwsClients(REGION, DEFAULT_POLICY)
            source = S3Listing(clients, Deadline(10), DEFAULT_POLICY)

            with pytest.raises(SourceForbiddenError, match="Allow the function's role s3:ListB"):
                next(source.pages("denied", "", ""))
            clients.close()

    def test_s3_listing_goes_on_after_a_failure(
        self,
        real_adapters: Adapters,  # noqa: ARG002 - sets credentials
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        page = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
        with (
            serve_responses((503, b""), (200, page)) as server,
            closing(AwsClients(REGION, DEFAULT_POLICY)) as clients,
        ):
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
            policy = replace(DEFAULT_POLICY, first_delay_s=0.01)
            assert [*S3Listing(clients, Deadline(10), policy).pages("source", "", "")] == []
            assert server.request_count == 2


@pytest.fixture(params=["memory", "real"])
def reports(request: pytest.FixtureRequest) -> Reports:
    if request.param == "memory":
        return FakeReports()
    clouds: Clouds = request.getfixturevalue("clouds")
    bucket = f"reports-{uuid.uuid4().hex}"
    clouds.s3.create_bucket(Bucket=bucket)
    adapters: Adapters = request.getfixturevalue("real_adapters")
    return adapters.reports(bucket)


def test_reports_are_read_as_they_were_written(reports: Reports) -> None:
    assert reports.read("runs/1/plan.json") is None

    reports.write("runs/1/plan.json", b"{}", "application/json")
    reports.write("runs/1/plan.json", b"[]", "application/json")
    reports.write_stream("empty.csv", iter([]), "text/csv")
    chunk = b"0123456789" * 100_000
    reports.write_stream("long.csv", (chunk for _ in range(10)), "text/csv")

    assert reports.read("runs/1/plan.json") == b"[]"
    assert reports.read("empty.csv") == b""
    assert reports.read("long.csv") == chunk * 10


def test_reports_bucket_that_is_gone_is_a_setting_that_is_wrong(real_adapters: Adapters) -> None:
    reports = real_adapters.reports("no-such-bucket")
    refused = pytest.raises(SettingsError, match=r"NoSuchBucket.*s3:PutObject")
    with refused:
        reports.write("a", b"", "text/plain")
    with refused:
        reports.write_stream("a", iter([b"1"]), "text/plain")


def test_browsers_are_told_what_kind_of_text_a_report_is(
    real_adapters: Adapters, clouds: Clouds
) -> None:
    bucket = f"reports-{uuid.uuid4().hex}"
    clouds.s3.create_bucket(Bucket=bucket)
    reports = real_adapters.reports(bucket)

    reports.write("report.html", b"", "text/html")
    reports.write_stream("lines.csv", iter([b"1"]), "text/csv")

    names = ("report.html", "lines.csv")
    heads = [clouds.s3.head_object(Bucket=bucket, Key=name) for name in names]
    assert [head["ContentType"] for head in heads] == ["text/html", "text/csv"]


@pytest.mark.parametrize(
    ("status", "error"), [(403, SettingsError), (503, UnavailableError)], ids=str
)
def test_refused_report_names_the_missing_right_and_a_failed_one_is_transient(
    real_adapters: Adapters,  # noqa: ARG001 - sets credentials
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    error: type[ReplicationError],
) -> None:
    body = b"<Error><Code>AccessDenied</Code></Error>"
    with serve_responses((status, body)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        clients = AwsClients(REGION, DEFAULT_POLICY)
        reports = S3Reports(clients, Deadline(10), DEFAULT_POLICY, "reports")
        with pytest.raises(error, match=r"s3://reports/long\.csv") as caught:
            reports.write_stream("long.csv", iter([b"a"]), "text/csv")
        clients.close()
        assert server.request_count == 1, "the chunks are used up"
    assert ("s3:PutObject" in caught.value.message) == (status == 403)


@pytest.mark.parametrize("variant", ["memory", "real"])
def test_nominations_are_events_that_name_their_keys(
    request: pytest.FixtureRequest, variant: str
) -> None:
    refs = [SourceRef("source", key) for key in [*KEYS, *map(str, range(12))]]
    if variant == "memory":
        fake = FakeNominations()
        nominations: Nominations = fake
        nominations.send(refs)
        assert fake.refs == refs
        return
    clouds: Clouds = request.getfixturevalue("clouds")
    adapters: Adapters = request.getfixturevalue("real_adapters")
    sqs = boto3.client("sqs", endpoint_url=clouds.environ["AWS_ENDPOINT_URL"], region_name=REGION)
    queue = sqs.create_queue(QueueName=f"events-{uuid.uuid4().hex}")["QueueUrl"]
    adapters.nominations(queue).send(refs)

    bodies = []
    while found := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        bodies += [json.loads(message["Body"])["nomination"] for message in found]
    sqs.close()
    assert sorted(body["key"] for body in bodies) == sorted(ref.key for ref in refs)
    assert {body["bucket"] for body in bodies} == {"source"}


def test_nominations_that_sqs_does_not_accept_are_sent_again_without_the_others(
    real_adapters: Adapters,  # noqa: ARG001 - sets credentials
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = {"Failed": [{"Id": "1", "Code": "InternalError", "SenderFault": False}]}
    answers = [(200, json.dumps(answer).encode()) for answer in (refused, {}, refused, refused)]
    answers.append((403, b'{"__type": "AccessDenied"}'))
    with (
        serve_responses(*answers) as server,
        closing(AwsClients(REGION, DEFAULT_POLICY)) as clients,
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", server.url)
        policy = replace(DEFAULT_POLICY, attempts=2, first_delay_s=0.01)
        nominations = SqsNominations(clients, Deadline(10), policy, "http://events")
        refs = [SourceRef("source", key) for key in "abc"]

        nominations.send(refs)
        with pytest.raises(UnavailableError, match=r"not accept 1 nominations \(InternalError\)"):
            nominations.send(refs)
        with pytest.raises(SettingsError, match=r"^SendMessageBatch was refused.*sqs:SendMessage"):
            nominations.send(refs)

    batches = [json.loads(body) for body in server.bodies[:4]]
    sent = [[entry["Id"] for entry in batch["Entries"]] for batch in batches]
    assert sent == [["0", "1", "2"], ["1"]] * 2
    assert {batch["QueueUrl"] for batch in batches} == {"http://events"}
