"""Refusals: a store rejects a request again and again, although its condition holds.

That is no lost race: a policy of the store always rejects it. A run ends then.
"""

from replicate.errors import (
    DestinationChangedError,
    DestinationForbiddenError,
    LostRaceError,
    ReplicationError,
    SourceChangedError,
    SourceForbiddenError,
)
from replicate.protocol.model import SourceRef
from replicate.protocol.plan import Copy, Delete, Patch

REFUSALS_NEEDED = 2
"""Failures in a row of a condition that holds, after which it counts as a refusal by a policy.

One failure proves nothing: an object can be created and deleted between two readings, and a source
can be overwritten and restored.
"""


class Refusals:
    """The lost races of one run since its last write."""

    def __init__(self, ref: SourceRef) -> None:
        self._ref = ref
        self._failed: Copy | Patch | Delete | None = None
        self._lost_race: LostRaceError | None = None
        self._in_a_row = 0

    def lost(self, lost_race: LostRaceError, plan: Copy | Patch | Delete | None) -> None:
        """Record that the condition of a write or read failed. `plan` is what was last begun."""
        is_like_the_last = isinstance(lost_race, type(self._lost_race))
        self._in_a_row = self._in_a_row + 1 if is_like_the_last else 1
        self._lost_race = lost_race
        self._failed = plan

    def require_none(self, plan: Copy | Patch | Delete) -> None:
        """Raise an error if a store has refused this plan before although its condition holds.

        It is SourceForbiddenError or DestinationForbiddenError.
        """
        lost_race = self._lost_race
        if lost_race is None or not _condition_held(self._failed, plan, lost_race):
            self._in_a_row = 0
        elif self._in_a_row >= REFUSALS_NEEDED:
            raise _refusal(self._ref, lost_race)


def _condition_held(
    failed: Copy | Patch | Delete | None, now: Copy | Patch | Delete, lost_race: LostRaceError
) -> bool:
    """Return whether both sides now show the state that the failed plan required.

    The protocol does not compare generations: where an object exists, `Destination` itself tells a
    refusal from a lost race. Two cases remain: an unchanged source, and an object that is absent.
    """
    if not isinstance(failed, Copy) or not isinstance(now, Copy):
        return False
    if isinstance(lost_race, SourceChangedError):
        return failed.source == now.source
    if not isinstance(lost_race, DestinationChangedError):  # it was about a staged object
        return False
    return not failed.precondition.generation and not now.precondition.generation


def _refusal(ref: SourceRef, lost_race: LostRaceError) -> ReplicationError:
    sentence = lost_race.message or "it does not say why."
    if isinstance(lost_race, SourceChangedError):
        return SourceForbiddenError(
            f"S3 refuses to give {ref.uri}, although it has not changed: {sentence}"
        )
    return DestinationForbiddenError(
        f"GCS refuses to create the replica of {ref.uri}, although there is none: {sentence}"
        " Look for a policy on the bucket, project or organization."
    )
