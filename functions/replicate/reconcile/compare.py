"""Compare the two rows of a key. Pure functions.

A verdict is a hint, as an event is: the function reads both objects before it writes anything.
"""

import binascii
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from replicate.errors import InvalidNameError
from replicate.protocol.mapping import PROVENANCE, Naming, is_replica_of
from replicate.protocol.model import ARCHIVE_CLASSES, SourceRef
from replicate.protocol.plan import MAX_SIZE, Overwrite
from replicate.reconcile.rows import ReplicaRow, SourceRow

BUCKET, KEY = PROVENANCE + "bucket", PROVENANCE + "key"
ETAG, MODIFIED = PROVENANCE + "etag", PROVENANCE + "last-modified"

MD5_CHARACTERS = 32
"""Length of an ETag that may be an MD5. Those of multipart uploads are longer."""


class Verdict(StrEnum):
    """What the rows of one key say."""

    EQUAL = "equal"
    DOUBTFUL = "doubtful"
    """The provenance is right, but the MD5 of the replica is not the ETag. Objects encrypted with
    SSE-KMS or SSE-C are always so: their ETag is no MD5, and a listing does not tell."""
    MISSING = "missing"
    DIFFERENT = "different"
    EXTRA = "extra"
    """A replica without a source."""
    FOREIGN = "foreign"
    """An object without a source that is no replica of this bucket. Nobody touches it."""
    YOUNG = "young"
    """It differs, but changed so lately that its event may still be on its way."""
    FILTERED = "filtered"
    ARCHIVED = "archived"
    UNNAMEABLE = "unnameable"
    TOO_LARGE = "too_large"
    """It differs, and GCS cannot hold what S3 has."""
    STAGED = "staged"
    KEPT = "kept"
    """It differs, and OVERWRITE keeps it so: `never` all, `own` what is no replica of the key."""


IS_DIFFERENCE = frozenset({Verdict.MISSING, Verdict.DIFFERENT, Verdict.EXTRA, Verdict.FOREIGN})
"""Verdicts that the report lists key by key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a comparison depends on besides the rows."""

    bucket: str
    """The source bucket."""
    naming: Naming
    cutoff: datetime
    """What changed at this time or later is young."""
    prefix: str = ""
    suffix: str = ""
    """Keys that do not begin or end so are not replicated."""
    overwrite: Overwrite = Overwrite.CHANGED


def compare(source: SourceRow | None, replica: ReplicaRow | None, rules: Rules) -> Verdict:
    """Return what the rows of one key say. At least one of them is there."""
    if source and replica:
        found = replica.metadata
        if (
            found.get(ETAG) == source.etag
            and found.get(MODIFIED) == source.last_modified
            and replica.size == source.size
            and found.get(KEY) == source.key
            and found.get(BUCKET) == rules.bucket
        ):
            return Verdict.EQUAL if _may_have_same_md5(source, replica) else Verdict.DOUBTFUL
    return _difference(source, replica, rules)


def differences(source: SourceRow | None, replica: ReplicaRow | None, bucket: str) -> list[str]:
    """Describe how the rows differ, one entry for each reason: `size 3 -> 5`."""
    if source is None or replica is None:
        return ["not in GCS" if source else "not in S3"]
    found, what = replica.metadata, []
    if not is_replica_of(found, SourceRef(bucket, source.key)):
        what.append("no replica of this key")
    elif found.get(ETAG) != source.etag:
        what.append(f"etag {source.etag} -> {found.get(ETAG)}")
    elif found.get(MODIFIED) != source.last_modified:
        what.append(f"last modified {source.last_modified} -> {found.get(MODIFIED)}")
    if source.size != replica.size:
        what.append(f"size {source.size} -> {replica.size}")
    return what


def _difference(source: SourceRow | None, replica: ReplicaRow | None, rules: Rules) -> Verdict:
    key = source.key if source else replica.key if replica else ""
    if not key.startswith(rules.prefix) or not key.endswith(rules.suffix):
        return Verdict.FILTERED
    if replica and rules.naming.is_staged(key):
        return Verdict.STAGED
    if source:
        return _from_source(source, replica, rules)
    return _without_source(replica, rules) if replica else Verdict.EQUAL


def _from_source(source: SourceRow, replica: ReplicaRow | None, rules: Rules) -> Verdict:
    verdict = Verdict.DIFFERENT if replica else Verdict.MISSING
    if replica is None and not _is_nameable(source.key, rules):
        verdict = Verdict.UNNAMEABLE
    elif replica and _is_kept(replica, rules):
        verdict = Verdict.KEPT
    elif source.size > MAX_SIZE:
        verdict = Verdict.TOO_LARGE
    elif source.storage_class in ARCHIVE_CLASSES:
        verdict = Verdict.ARCHIVED
    elif _is_young(source.last_modified, rules) or (replica and _is_young(replica.updated, rules)):
        verdict = Verdict.YOUNG
    return verdict


def _without_source(replica: ReplicaRow, rules: Rules) -> Verdict:
    if not _is_own(replica, rules):
        return Verdict.FOREIGN
    return Verdict.YOUNG if _is_young(replica.updated, rules) else Verdict.EXTRA


def _is_kept(replica: ReplicaRow, rules: Rules) -> bool:
    """Return whether no event changes what is in GCS."""
    if rules.overwrite is Overwrite.OWN:
        return not _is_own(replica, rules)
    return rules.overwrite is Overwrite.NEVER


def _is_own(replica: ReplicaRow, rules: Rules) -> bool:
    return is_replica_of(replica.metadata, SourceRef(rules.bucket, replica.key))


def _is_nameable(key: str, rules: Rules) -> bool:
    try:
        rules.naming.name(SourceRef(rules.bucket, key))
    except InvalidNameError:
        return False
    return True


def _is_young(time: str, rules: Rules) -> bool:
    return datetime.fromisoformat(time) >= rules.cutoff


def _may_have_same_md5(source: SourceRow, replica: ReplicaRow) -> bool:
    """Return whether nothing speaks against equal bytes: an ETag of 32 digits is mostly an MD5."""
    if replica.md5 is None or len(source.etag) != MD5_CHARACTERS:
        return True
    return binascii.a2b_base64(replica.md5).hex() == source.etag
