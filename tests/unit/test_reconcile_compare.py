"""What the two rows of a key say."""

import base64
import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from replicate.protocol.mapping import Naming
from replicate.protocol.plan import MAX_SIZE, Overwrite
from replicate.reconcile.compare import Rules, Verdict, compare, differences
from replicate.reconcile.rows import ReplicaRow, SourceRow

CUTOFF = datetime(2026, 6, 1, tzinfo=UTC)
OLD, YOUNG = "2026-05-31T23:59:59Z", "2026-06-01T00:00:00Z"
RULES = Rules(bucket="source", naming=Naming("replica", staging=".staging/"), cutoff=CUTOFF)
ETAG = hashlib.md5(b"data", usedforsecurity=False).hexdigest()


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


SOURCE = SourceRow("key", ETAG, 4, OLD)
PROVENANCE = {
    "s3-source-bucket": "source",
    "s3-source-key": "key",
    "s3-source-etag": ETAG,
    "s3-source-last-modified": OLD,
    "s3-source-size": "4",
}
REPLICA = ReplicaRow("key", 4, "7", OLD, PROVENANCE, md5(b"data"))


def source(**fields: Any) -> SourceRow:  # noqa: ANN401
    return SOURCE._replace(**fields)


def replica(provenance: dict[str, str] | None = None, **fields: Any) -> ReplicaRow:  # noqa: ANN401
    return REPLICA._replace(metadata={**PROVENANCE, **(provenance or {})}, **fields)


FOREIGN = REPLICA._replace(metadata={"owner": "somebody"})


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict", "what"),
    [
        (SOURCE, REPLICA, Verdict.EQUAL, []),
        (source(etag=f"{ETAG}-2"), replica({"s3-source-etag": f"{ETAG}-2"}), Verdict.EQUAL, []),
        (SOURCE, replica(md5=None), Verdict.EQUAL, []),  # a composed object
        (SOURCE, replica(updated=YOUNG), Verdict.EQUAL, []),  # patched lately
        (SOURCE, replica(md5=md5(b"atad")), Verdict.DOUBTFUL, []),
        (SOURCE, None, Verdict.MISSING, ["not in GCS"]),
        (source(last_modified=YOUNG), None, Verdict.YOUNG, ["not in GCS"]),
        (source(storage_class="GLACIER"), None, Verdict.ARCHIVED, ["not in GCS"]),
        (source(storage_class="DEEP_ARCHIVE"), replica(size=1), Verdict.ARCHIVED, ["size 4 -> 1"]),
        (source(storage_class="GLACIER"), REPLICA, Verdict.EQUAL, []),
        (source(key="a\nb"), None, Verdict.UNNAMEABLE, ["not in GCS"]),
        (source(size=MAX_SIZE), None, Verdict.MISSING, ["not in GCS"]),
        (source(size=MAX_SIZE + 1), None, Verdict.TOO_LARGE, ["not in GCS"]),
        (
            source(size=MAX_SIZE + 1, storage_class="GLACIER"),
            REPLICA,
            Verdict.TOO_LARGE,
            [f"size {MAX_SIZE + 1} -> 4"],
        ),
        (SOURCE, replica(size=5), Verdict.DIFFERENT, ["size 4 -> 5"]),
        (SOURCE, replica({"s3-source-etag": "e"}), Verdict.DIFFERENT, [f"etag {ETAG} -> e"]),
        (
            source(last_modified="2026-05-31T23:59:58Z"),
            REPLICA,
            Verdict.DIFFERENT,
            [f"last modified 2026-05-31T23:59:58Z -> {OLD}"],
        ),
        (SOURCE, FOREIGN, Verdict.DIFFERENT, ["no replica of this key"]),
        (SOURCE, replica({"s3-source-key": "k"}), Verdict.DIFFERENT, ["no replica of this key"]),
        (SOURCE, replica({"s3-source-bucket": "b"}), Verdict.DIFFERENT, ["no replica of this key"]),
        (SOURCE, replica(size=5, updated=YOUNG), Verdict.YOUNG, ["size 4 -> 5"]),
        (None, REPLICA, Verdict.EXTRA, ["not in S3"]),
        (None, replica(updated=YOUNG), Verdict.YOUNG, ["not in S3"]),
        (None, FOREIGN, Verdict.FOREIGN, ["not in S3"]),
        (None, replica({"s3-source-bucket": "b"}), Verdict.FOREIGN, ["not in S3"]),
        (None, FOREIGN._replace(key=".staging/x"), Verdict.STAGED, ["not in S3"]),
        (source(key=".staging/x"), None, Verdict.UNNAMEABLE, ["not in GCS"]),
    ],
)
def test_rows_have_this_verdict(
    ours: SourceRow | None, theirs: ReplicaRow | None, verdict: Verdict, what: list[str]
) -> None:
    assert compare(ours, theirs, RULES) is verdict
    assert differences(ours, theirs, RULES.bucket) == what


def test_keys_outside_the_filter_are_no_difference_on_either_side() -> None:
    rules = replace(RULES, prefix="photos/", suffix=".jpg")

    for key in ("other/a.jpg", "photos/a.png"):
        assert compare(source(key=key), None, rules) is Verdict.FILTERED
        assert compare(None, replica(key=key), rules) is Verdict.FILTERED
    assert compare(source(key="photos/a.jpg"), None, rules) is Verdict.MISSING


def test_objects_that_overwrite_never_keeps_are_no_difference() -> None:
    rules = replace(RULES, overwrite=Overwrite.NEVER)

    assert compare(SOURCE, FOREIGN, rules) is Verdict.KEPT
    assert compare(SOURCE, replica(size=5), rules) is Verdict.KEPT
    assert compare(SOURCE, None, rules) is Verdict.MISSING
    assert compare(SOURCE, REPLICA, rules) is Verdict.EQUAL


@pytest.mark.parametrize(
    "foreign",
    [FOREIGN, replica({"s3-source-bucket": "b"}), replica({"s3-source-key": "k"}, size=9)],
    ids=["no provenance", "of another bucket", "of another key"],
)
def test_foreign_objects_that_overwrite_own_keeps_are_no_difference(foreign: ReplicaRow) -> None:
    rules = replace(RULES, overwrite=Overwrite.OWN)

    assert compare(SOURCE, foreign, rules) is Verdict.KEPT
    assert compare(SOURCE, replica(size=5), rules) is Verdict.DIFFERENT
    assert compare(SOURCE, None, rules) is Verdict.MISSING
    assert compare(SOURCE, REPLICA, rules) is Verdict.EQUAL
