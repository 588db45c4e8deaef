"""What happens to the source: a list of changes, the same for the same seed."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from tools.soak.keys import key

KIB = 1024
MIB = 1024 * KIB

SMALLEST_RESUMABLE_MIB = 2
"""More than 1 MiB, the most that the function sends in one request."""

HOT = 10
HOT_SHARE = 0.4
"""So many of the changes hit one of the keys changed last: runs about one key overlap."""


class Kind(StrEnum):
    """What is done to a key."""

    CREATE = "created"
    OVERWRITE = "overwritten"
    RETURN = "earlier content put back"
    METADATA = "metadata changed only"
    DELETE = "deleted"
    RECREATE = "created again after a delete"


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes, by the seed that makes them."""

    seed: int
    size: int

    def data(self) -> bytes:
        return Random(self.seed).randbytes(self.size)  # noqa: S311 - to be repeatable


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of one key; no content where it is deleted."""

    kind: Kind
    key: str
    lane: int
    content: Content | None = None
    content_type: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Key:
    name: str
    number: int
    contents: list[Content] = field(default_factory=list)
    exists: bool = False


class Plan:
    """The changes of a run, in order; those of one key are all in the same lane."""

    def __init__(
        self, *, objects: int, changes: int, largest_mib: int, seed: int, lanes: int
    ) -> None:
        self._rng = Random(seed)  # noqa: S311 - to be repeatable
        self._largest_mib = largest_mib
        self._lanes = lanes
        self._keys: list[_Key] = []
        self._hot: deque[_Key] = deque(maxlen=HOT)
        self.changes = list(self._planned(objects, changes))

    def remaining(self) -> set[str]:
        """The keys that exist in the end."""
        return {each.name for each in self._keys if each.exists}

    def _planned(self, creates: int, others: int) -> Iterator[Change]:
        while creates or others:
            if creates and (not self._keys or self._rng.randrange(creates + others) < creates):
                creates -= 1
                yield self._create()
            else:
                others = max(0, others - 1)
                yield self._change()

    def _create(self) -> Change:
        number = len(self._keys)
        found = _Key(key(number, self._rng), number)
        self._keys.append(found)
        return self._put(Kind.CREATE, found, self._new_content())

    def _change(self) -> Change:
        from_hot = self._hot and self._rng.random() < HOT_SHARE
        found = self._rng.choice(self._hot if from_hot else self._keys)
        if not found.exists:
            content = self._rng.choice([*found.contents, self._new_content()])
            return self._put(Kind.RECREATE, found, content)
        kinds = (Kind.OVERWRITE, Kind.RETURN, Kind.METADATA, Kind.DELETE)
        (kind,) = self._rng.choices(kinds, weights=(40, 20, 25, 15))
        match kind:
            case Kind.DELETE:
                self._hot.append(found)
                found.exists = False
                return Change(kind=kind, key=found.name, lane=found.number % self._lanes)
            case Kind.METADATA:
                return self._put(kind, found, found.contents[-1])
            case Kind.RETURN if earlier := [
                each for each in found.contents if each != found.contents[-1]
            ]:
                return self._put(kind, found, self._rng.choice(earlier))
            case _:
                return self._put(Kind.OVERWRITE, found, self._new_content())

    def _put(self, kind: Kind, found: _Key, content: Content) -> Change:
        found.exists = True
        found.contents.append(content)
        self._hot.append(found)
        return Change(
            kind=kind,
            key=found.name,
            lane=found.number % self._lanes,
            content=content,
            content_type=self._rng.choice(("text/plain", "application/json", "image/png")),
            metadata={"revision": str(len(found.contents)), "note": "a + b %41 = c"},
        )

    def _new_content(self) -> Content:
        """Small mostly; a few are large enough for a resumable upload."""
        roll, rng = self._rng.random(), self._rng
        if roll < 0.01:  # noqa: PLR2004 - the shares are told in docs/SOAK.md
            size = rng.randint(
                min(SMALLEST_RESUMABLE_MIB, self._largest_mib) * MIB, self._largest_mib * MIB
            )
        elif roll < 0.05:  # noqa: PLR2004 - same
            size = rng.randint(64 * KIB, 2 * MIB)
        else:
            size = int(2 ** rng.uniform(0, 15)) - 1
        return Content(rng.getrandbits(48), size)
