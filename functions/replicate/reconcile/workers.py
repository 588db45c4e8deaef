"""The work on one shard: compare its keys, or nominate its differences."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from replicate.protocol.deadline import Deadline
from replicate.protocol.mapping import Naming
from replicate.protocol.model import SourceRef
from replicate.protocol.plan import Overwrite
from replicate.reconcile import runs
from replicate.reconcile.compare import Rules, Verdict, compare
from replicate.reconcile.merge import merge
from replicate.reconcile.ports import Nominations, ReplicaListing, Reports, SourceListing
from replicate.reconcile.runs import Files, ReconcilePlan
from replicate.reconcile.tally import ShardState, Tally, decode, encode

RETURN_S = 30.0
"""Seconds before the deadline at which a worker stores its state and returns. Chosen: it includes
one page of both listings with their retries, and two writes to S3."""

LOOK_EVERY = 1000
"""Keys between two looks at the clock: one page."""

STORE_EVERY_S = 20.0
"""Seconds between two stores of the state, for people who watch, and to lose little work. Chosen: a
store is one PUT, so it is below a thousandth of the time."""

PIECE_LINES = 5000
"""Differences that a worker holds in memory: about 3 MB at 600 bytes each (estimated)."""

_NOMINATED = {Verdict.MISSING, Verdict.DIFFERENT, Verdict.EXTRA}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparer:
    """Compares the keys of shards."""

    source: SourceListing
    replicas: ReplicaListing
    deadline: Deadline
    naming: Naming
    suffix: str
    overwrite: Overwrite

    def compare(self, files: Files, plan: ReconcilePlan, number: int) -> ShardState:
        """Continue a shard until its keys or the time end. Return its state, which is stored."""
        shard = plan.shards[number]
        stored = files.read(runs.shard_file(number))
        state = (
            ShardState(**stored)
            if stored
            else ShardState(shard=number, after=shard.after, to=shard.to)
        )
        if state.done:
            return state
        after = shard.after if state.cursor is None else state.cursor
        with (
            closing(self.source.pages(plan.bucket, plan.prefix, after, shard.to)) as source,
            closing(self.replicas.pages(plan.prefix, after, shard.to)) as replicas,
        ):
            pairs = merge(chain.from_iterable(source), chain.from_iterable(replicas))
            rules = Rules(
                bucket=plan.bucket,
                naming=self.naming,
                cutoff=plan.cutoff,
                prefix=plan.prefix,
                suffix=self.suffix,
                overwrite=self.overwrite,
            )
            tally = Tally(state, plan.bucket, plan.prefix)
            store_at = self.deadline.remaining() - STORE_EVERY_S
            while not state.done:
                state.done = not _scan(islice(pairs, LOOK_EVERY), rules, tally, state)
                left = self.deadline.remaining()
                if state.done or left < RETURN_S:
                    break
                if left < store_at or len(tally.lines) + len(tally.gcs_lines) >= PIECE_LINES:
                    _store(files, tally, state)
                    store_at = left - STORE_EVERY_S
            _store(files, tally, state)
        return state


def _scan(pairs: Iterable[Any], rules: Rules, tally: Tally, state: ShardState) -> bool:
    """Add pairs up to the end of the shard. Return whether more may follow."""
    to, add = state.to, tally.add
    key = None
    count = 0
    for source, replica in pairs:
        row_key = source.key if source else replica.key
        if to is not None and row_key > to:
            count = 0
            break
        key = row_key
        add(key, compare(source, replica, rules), source, replica)
        count += 1
    if key is not None:
        state.cursor = key
    return count == LOOK_EVERY


def _store(files: Files, tally: Tally, state: ShardState) -> None:
    """Store the new lines, then the state that counts them.

    A worker that is killed between both is repeated from the state before, and writes the file of
    lines once more.
    """
    if tally.lines:
        files.write_piece(state.shard, state.pieces, encode(tally.lines), in_source=True)
        state.pieces += 1
        tally.lines.clear()
    if tally.gcs_lines:
        files.write_piece(state.shard, state.gcs_pieces, encode(tally.gcs_lines), in_source=False)
        state.gcs_pieces += 1
        tally.gcs_lines.clear()
    files.write(runs.shard_file(state.shard), state.as_json())


@dataclass(frozen=True, slots=True, kw_only=True)
class Nominator:
    """Nominates the differences of shards."""

    reports: Reports
    nominations: Nominations
    deadline: Deadline
    deletes: bool
    """Whether replicas without a source are nominated, so that the function deletes them."""

    def nominate(self, files: Files, plan: ReconcilePlan, number: int) -> dict[str, Any]:
        """Continue a shard until its differences or the time end. Return its state."""
        name = runs.nomination_file(number)
        state = files.read(name) or {"shard": number, "done": False, "piece": 0, "nominated": 0}
        compared = Files(self.reports, plan.compared_by)
        found = compared.read(runs.shard_file(number)) or {"pieces": 0, "gcs_pieces": 0}
        pieces = [(each, True) for each in range(found["pieces"])]
        if self.deletes:
            pieces += [(each, False) for each in range(found["gcs_pieces"])]
        while state["piece"] < len(pieces):
            piece, in_source = pieces[state["piece"]]
            lines = compared.read_piece(number, piece, in_source=in_source)
            refs = [
                SourceRef(plan.bucket, key) for kind, key in decode(lines) if kind in _NOMINATED
            ]
            self.nominations.send(refs)
            state["piece"] += 1
            state["nominated"] += len(refs)
            if self.deadline.remaining() < RETURN_S:
                break
            files.write(name, state)
        state["done"] = state["piece"] >= len(pieces)
        files.write(name, state)
        return state
