"""One stream that travels compressed: it is staged as a whole, and the compose joins it alone."""

from replicate.errors import DestinationChangedError, LostRaceError
from replicate.protocol.model import Precondition, Replica, SourceObject
from replicate.protocol.parts import Cut, StagedNames, staging_folder, version_digest
from replicate.protocol.ports import Destination, GatedBody
from replicate.protocol.staged import describe


def names_of_whole(
    prefix: str, source: SourceObject, name: str, storage_class: str | None
) -> StagedNames:
    """Return the names under which one stream is staged."""
    folder = staging_folder(prefix, version_digest(source), name)
    return StagedNames(folder, Cut(source.size, source.size, 1), storage_class)


def stage_whole(
    destination: Destination, names: StagedNames, gate: GatedBody
) -> tuple[Replica, int]:
    """Stage an object in one compressed stream. Return how many bytes were sent, too.

    No other run uses the staged object, so nothing describes it. Raise LostRaceError when
    another run has just created it: that says nothing about the object to be written.
    """
    try:
        return destination.write_compressed(
            names.whole, describe(), gate, Precondition(0), names.storage_class
        )
    except DestinationChangedError:
        raise LostRaceError from None
