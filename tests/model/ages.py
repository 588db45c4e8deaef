"""Generations as ages relative to the live object, so that the number of states is finite.

A run only passes a generation back to the store (`runs.OpaqueGeneration` enforces this). So it is
enough to know whether a generation is the live one, and the same of its metageneration.
"""

from dataclasses import replace
from enum import IntEnum

from fakes import FakeGcs, StoredObject

from replicate.protocol.model import Attributes, Replica

GONE, LIVE, FRESH = 1, 2, 3
"""Generations. The next write gets FRESH, which then becomes LIVE."""

STALE, CURRENT, NEXT = 1, 2, 3
"""Metagenerations of the live object."""


def live(name: str, data: bytes, attributes: Attributes) -> StoredObject:
    """Return a live object that another program wrote."""
    gcs = FakeGcs()
    replica = replace(gcs.put(name, data, attributes), generation=LIVE, metageneration=CURRENT)
    return StoredObject(replica, data)


class Change(IntEnum):
    """How a call changed the generations at the destination."""

    NONE = 0
    PATCHED = 1
    REPLACED = 2


def change(before: StoredObject | None, after: StoredObject | None) -> Change:
    """Return the change between two states of the destination, judged by the generations."""
    if before is after:
        return Change.NONE
    if before and after and before.replica.generation == after.replica.generation:
        return Change.PATCHED
    return Change.REPLACED


def aged(value: object, by: Change) -> object:
    """Return a response, or a stored object, with its generations as they are after a change."""
    if isinstance(value, StoredObject):
        return replace(value, replica=_aged(value.replica, by))
    return _aged(value, by) if isinstance(value, Replica) else value


def _aged(replica: Replica, by: Change) -> Replica:
    match by, replica.generation, replica.metageneration:
        case Change.REPLACED, generation, _ if generation == FRESH:
            return replace(replica, generation=LIVE, metageneration=CURRENT)
        case Change.REPLACED, _, _:
            return replace(replica, generation=GONE, metageneration=STALE)
        case Change.PATCHED, generation, metageneration if generation == LIVE:
            newest = CURRENT if metageneration == NEXT else STALE
            return replace(replica, metageneration=newest)
        case _:
            return replica
