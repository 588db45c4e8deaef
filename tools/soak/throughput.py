"""How much was carried out over time: so many changes, and so many bytes, in each window."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from tools.soak.changes import MIB
from tools.soak.ledger import Success

WINDOW_S = 3.0


class Work(StrEnum):
    """What a run had to do, as far as it costs something."""

    WRITE = "write"
    TOUCH = "touch"
    NOTHING = "nothing"


_WORK = {
    "created": Work.WRITE,
    "overwritten": Work.WRITE,
    "metadata_updated": Work.TOUCH,
    "deleted": Work.TOUCH,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Rates by window; all windows are of the same length, and together the whole run."""

    window_s: float
    objects: Mapping[Work, list[float]]
    """Per second."""
    mib: list[float]
    """Per second."""


def throughput(successes: Iterable[Success], end_s: float) -> Throughput:
    """Count in windows of about three seconds."""
    number = max(1, round(end_s / WINDOW_S))
    window_s = end_s / number
    objects = {work: [0.0] * number for work in Work}
    mib = [0.0] * number
    for each in successes:
        window = min(number - 1, int(each.at / window_s))
        objects[_WORK.get(each.reason, Work.NOTHING)][window] += 1 / window_s
        mib[window] += each.bytes_copied / MIB / window_s
    return Throughput(window_s=window_s, objects=objects, mib=mib)
