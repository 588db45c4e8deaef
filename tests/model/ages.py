"""Generations without numbers that grow: how old one is, seen from the live object.

A run hands a generation back and does nothing else with it (`runs.Stamp` sees to that). So all that
is to be known of one is whether it is live; and of the live one's metageneration, the same.
"""

from dataclasses import replace
from enum import Enum

from fakes import FakeGcs, StoredObject

from replicate.protocol.model import Attributes, Replica

GONE, LIVE, FRESH = 1, 2, 3
"""Generations. FRESH is what the next write gets; then it is LIVE."""

STALE, CURRENT, NEXT = 1, 2, 3
"""Metagenerations of what is live."""


def live(name: str, data: bytes, attributes: Attributes) -> StoredObject:
    """Somebody's object, there from the beginning."""
    gcs = FakeGcs()
    replica = replace(gcs.put(name, data, attributes), generation=LIVE, metageneration=CURRENT)
    return StoredObject(replica, data)


class Change(Enum):
    """What a call did to the destination, as far as the age of generations goes."""

    NONE = "none"
    PATCHED = "patched"
    REPLACED = "replaced"


def change(before: StoredObject | None, after: StoredObject | None) -> Change:
    """What happened, going by the generations."""
    if before is after:
        return Change.NONE
    if before and after and before.replica.generation == after.replica.generation:
        return Change.PATCHED
    return Change.REPLACED


def aged(value: object, by: Change) -> object:
    """An answer, or what is stored, as it is to be seen after a change."""
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
