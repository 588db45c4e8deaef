"""What a worker has found in its shard so far: counts, samples, and lines for the report."""

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from replicate.reconcile import counts
from replicate.reconcile.compare import ETAG, IS_DIFFERENCE, Verdict, differences
from replicate.reconcile.counts import Counts
from replicate.reconcile.rows import ReplicaRow, SourceRow

MARK_EVERY = 250_000
"""Source objects between two boundaries: about 30 seconds of listing."""

MAX_PREFIXES = 200
"""Prefixes that a shard counts apart. They bound the state that each invocation stores. Chosen."""

MAX_SAMPLES = 25
"""Of one verdict and shard. Chosen: the report shows four times as many of all shards."""

OTHERS = "(others)"
"""Stands for all prefixes beyond MAX_PREFIXES."""

Group = dict[str, int]
"""Counts of one prefix: compared, missing, different, extra, foreign, bytes."""

GROUP_NAMES = ("compared", "missing", "different", "extra", "foreign", "bytes")


@dataclass(slots=True, kw_only=True)
class ShardState:
    """The state of a shard, as it is stored. A worker continues from it."""

    shard: int
    after: str
    to: str | None
    done: bool = False
    cursor: str | None = None
    """The last key that was compared."""
    counts: Counts = field(default_factory=counts.zero)
    pieces: int = 0
    """Files of lines written so far, about objects that S3 has."""
    gcs_pieces: int = 0
    """The same about objects that only GCS has."""
    marks: list[str] = field(default_factory=list)
    """Boundaries for the next run."""
    unmarked: int = 0
    """Source objects since the last mark."""
    by_prefix: dict[str, Group] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return all fields, for the file of the shard."""
        return asdict(self)


Lines = list[tuple[str, str, str, int, str]]
"""Lines of the report: bucket, URL-encoded key, kind, size, what differs."""


class Tally:
    """Adds pairs to the state of a shard.

    `lines` (of objects that S3 has) and `gcs_lines` (of others) are those that are not stored yet.
    """

    def __init__(self, state: ShardState, bucket: str, prefix: str) -> None:
        self.lines: Lines = []
        self.gcs_lines: Lines = []
        self._state = state
        self._counts = state.counts
        self._bucket = bucket
        self._start = len(prefix)
        self._group_name = ""
        self._group: Group = {}
        self._sampled = dict.fromkeys(IS_DIFFERENCE, 0)
        for sample in state.samples:
            self._sampled[Verdict(sample["kind"])] += 1

    def add(
        self, key: str, verdict: Verdict, source: SourceRow | None, replica: ReplicaRow | None
    ) -> None:
        """Count one pair. This runs once for each key of both sides: keep it short."""
        numbers, state = self._counts, self._state
        numbers["compared"] += 1
        if source:
            numbers["source_bytes"] += source.size
            state.unmarked += 1
            if state.unmarked == MARK_EVERY:
                state.marks.append(key)
                state.unmarked = 0
        name = self._group_name
        if not name or not key.startswith(name, self._start):
            self._enter_group(key)
        self._group["compared"] += 1
        if verdict is Verdict.EQUAL:
            numbers["equal"] += 1
        elif verdict is Verdict.DOUBTFUL:
            numbers["equal"] += 1
            numbers["doubtful"] += 1
        else:
            numbers[verdict] += 1
            if verdict in IS_DIFFERENCE:
                self._add_difference(key, verdict, source, replica)

    def _add_difference(
        self, key: str, verdict: Verdict, source: SourceRow | None, replica: ReplicaRow | None
    ) -> None:
        size = source.size if source else replica.size if replica else 0
        what = differences(source, replica, self._bucket)
        lines = self.lines if source else self.gcs_lines
        lines.append((self._bucket, quote(key), str(verdict), size, "; ".join(what)))
        self._group[verdict] += 1
        if source:
            self._counts["difference_bytes"] += size
            self._group["bytes"] += size
        if self._sampled[verdict] < MAX_SAMPLES:
            self._sampled[verdict] += 1
            self._state.samples.append(_sample(key, verdict, what, source, replica))

    def _enter_group(self, key: str) -> None:
        """Find the counts of the key's first folder. Keys are in order, so this is rare."""
        name, slash, _ = key[self._start :].partition("/")
        self._group_name = name = name + slash if slash else ""
        groups = self._state.by_prefix
        if name not in groups and len(groups) >= MAX_PREFIXES:
            name = OTHERS
        self._group = groups.setdefault(name, dict.fromkeys(GROUP_NAMES, 0))


def encode(lines: Lines) -> bytes:
    """Return the lines as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()


def decode(piece: bytes) -> Iterator[tuple[str, str]]:
    """Yield kind and key of each line."""
    for _, key, kind, *_ in csv.reader(io.StringIO(piece.decode())):
        yield kind, unquote(key)


def _sample(
    key: str,
    verdict: Verdict,
    what: list[str],
    source: SourceRow | None,
    replica: ReplicaRow | None,
) -> dict[str, Any]:
    return {
        "kind": str(verdict),
        "key": key,
        "what": what,
        "source": source
        and {"etag": source.etag, "size": source.size, "last_modified": source.last_modified},
        "replica": replica
        and {
            "generation": replica.generation,
            "size": replica.size,
            "etag": replica.metadata.get(ETAG),
        },
    }
