"""Whether both sides are equal in the end, found out in independent ways."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tools.local.audit import Pair, audit
from tools.local.notifications import Json
from tools.soak import rclone
from tools.soak.cloud import SOURCE, SoakCloud
from tools.soak.ledger import Ledger

SHOWN = 20


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one way of comparing found."""

    name: str
    compared: int
    missing: int
    different: int
    extra: int

    @property
    def good(self) -> bool:
        return bool(self.compared) and not (self.missing or self.different or self.extra)


@dataclass(slots=True)
class Verdict:
    """What is good and what is not; `problems` is empty when all is."""

    comparisons: list[Comparison] = field(default_factory=list)
    open_sessions: int = 0
    cancellable: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, comparison: Comparison, names: Sequence[str]) -> None:
        self.comparisons.append(comparison)
        if not comparison.good:
            self.problems += [f"{comparison.name}: {name}" for name in names[:SHOWN]] or [
                f"{comparison.name}: compared nothing"
            ]


def judge(cloud: SoakCloud, ledger: Ledger, expected: set[str], faults: list[Json]) -> Verdict:
    """Compare both sides, and look for what was left behind."""
    verdict = Verdict()
    verdict.add(*_by_rclone(cloud))
    pairs = audit(cloud.aws.s3, [SOURCE], cloud.google.bucket)
    verdict.add(*by_checksums(pairs))
    held = {pair.name for pair in pairs if pair.source}
    if held != expected:
        differing = sorted(held ^ expected)[:SHOWN]
        verdict.problems.append(f"S3 itself does not hold what the plan leaves: {differing}")
    verdict.problems += [f"visible, and never in S3: {name}" for name in ledger.wrong[:SHOWN]]
    sessions = Counter(cloud.google.open_sessions())
    verdict.open_sessions = sessions.total()
    left = sessions - excused(ledger.killed_with, faults)
    verdict.cancellable = left.total()
    verdict.problems += [f"{n} upload session(s) left open: {name}" for name, n in left.items()]
    return verdict


def excused(killed_with: Counter[str], faults: Sequence[Json]) -> Counter[str]:
    """How many sessions of a name may be open, because nobody could have cancelled them.

    Nobody can where the process was killed, where the answer that named the session was lost, and
    where it was the cancelling itself that was spoiled.
    """
    found = Counter(killed_with)
    for fault in faults:
        operation, lost = fault["operation"], fault["kind"].startswith("answer")
        if operation == "upload.cancel" or (operation == "upload.start" and lost):
            found[fault["name"]] += 1
    return found


def _by_rclone(cloud: SoakCloud) -> tuple[Comparison, list[str]]:
    found, names = rclone.check(cloud)
    comparison = Comparison(
        f"{rclone.version()} check --download",
        found.total(),
        found["missing"],
        found["different"] + found["unreadable"],
        found["extra"],
    )
    return comparison, names


def by_checksums(pairs: Sequence[Pair]) -> tuple[Comparison, list[str]]:
    """What our own audit found, and what is not equal."""
    missing = [pair for pair in pairs if not pair.replica]
    extra = [pair for pair in pairs if not pair.source]
    different = [pair for pair in pairs if pair.source and pair.replica and not pair.equal]
    comparison = Comparison(
        "boto3 and google-cloud-storage: bytes by CRC32C, type, metadata",
        len(pairs),
        len(missing),
        len(different),
        len(extra),
    )
    return comparison, [repr(pair) for pair in (*missing, *extra, *different)]
