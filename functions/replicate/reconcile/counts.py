"""What a run counts. Counts are JSON objects of integers, so that workers can store them."""

from collections.abc import Iterable, Mapping

from replicate.reconcile.compare import Verdict

Counts = dict[str, int]

NAMES = (
    "compared",  # keys of either side
    *(str(verdict) for verdict in Verdict if verdict is not Verdict.DOUBTFUL),
    "doubtful",  # of those that are equal
    "source_bytes",
    "difference_bytes",  # to copy, if everything that differs is copied
    "nominated",
)


def zero() -> Counts:
    """Return counts of nothing."""
    return dict.fromkeys(NAMES, 0)


def total(parts: Iterable[Mapping[str, int]]) -> Counts:
    """Return the sum of counts."""
    summed = zero()
    for part in parts:
        for name in NAMES:
            summed[name] += part.get(name, 0)
    return summed


def differing(counts: Mapping[str, int], *, replicates_all_deletes: bool) -> int:
    """Return the number of keys that a repair would change.

    Extra replicas are expected wherever some deletes are not replicated.
    """
    extra = counts["extra"] if replicates_all_deletes else 0
    return counts["missing"] + counts["different"] + extra
