"""The changes that a soak makes in S3. The same seed gives the same list."""

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

RECENT = 10
RECENT_SHARE = 0.4
"""This share of the changes goes to one of the `RECENT` keys changed last: runs overlap."""


class ChangeKind(StrEnum):
    """What is done to a key, as the report names it."""

    CREATE = "created"
    OVERWRITE = "overwritten"
    RESTORE = "earlier content restored"
    METADATA = "metadata changed only"
    DELETE = "deleted"
    RECREATE = "created again after a delete"


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of an object, as the seed that generates them."""

    seed: int
    size: int

    def data(self) -> bytes:
        return Random(self.seed).randbytes(self.size)  # noqa: S311 - must be repeatable


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of one key. A delete has no content."""

    kind: ChangeKind
    key: str
    lane: int
    content: Content | None = None
    content_type: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Object:
    key: str
    lane: int
    contents: list[Content] = field(default_factory=list)
    exists: bool = False


class ChangePlan:
    """The changes of a run in order. All changes of one key are in the same lane."""

    def __init__(
        self, *, objects: int, changes: int, largest_mib: int, seed: int, lanes: int
    ) -> None:
        self._rng = Random(seed)  # noqa: S311 - must be repeatable
        self._largest_mib = largest_mib
        self._lanes = lanes
        self._objects: list[_Object] = []
        self._recent: deque[_Object] = deque(maxlen=RECENT)
        self.changes = list(self._generate(objects, changes))

    def remaining_keys(self) -> set[str]:
        """Return the keys that exist after the last change."""
        return {each.key for each in self._objects if each.exists}

    def _generate(self, creates: int, others: int) -> Iterator[Change]:
        while creates or others:
            if creates and (not self._objects or self._rng.randrange(creates + others) < creates):
                creates -= 1
                yield self._create()
            else:
                others = max(0, others - 1)
                yield self._change()

    def _create(self) -> Change:
        number = len(self._objects)
        created = _Object(key(number, self._rng), number % self._lanes)
        self._objects.append(created)
        return self._put(ChangeKind.CREATE, created, self._new_content())

    def _change(self) -> Change:
        use_recent = self._recent and self._rng.random() < RECENT_SHARE
        chosen = self._rng.choice(self._recent if use_recent else self._objects)
        if not chosen.exists:
            content = self._rng.choice([*chosen.contents, self._new_content()])
            return self._put(ChangeKind.RECREATE, chosen, content)
        kinds = (
            ChangeKind.OVERWRITE,
            ChangeKind.RESTORE,
            ChangeKind.METADATA,
            ChangeKind.DELETE,
        )
        (kind,) = self._rng.choices(kinds, weights=(40, 20, 25, 15))
        current = chosen.contents[-1]
        earlier = [each for each in chosen.contents if each != current]
        if kind is ChangeKind.DELETE:
            self._recent.append(chosen)
            chosen.exists = False
            return Change(kind=kind, key=chosen.key, lane=chosen.lane)
        if kind is ChangeKind.METADATA:
            return self._put(kind, chosen, current)
        if kind is ChangeKind.RESTORE and earlier:
            return self._put(kind, chosen, self._rng.choice(earlier))
        return self._put(ChangeKind.OVERWRITE, chosen, self._new_content())

    def _put(self, kind: ChangeKind, changed: _Object, content: Content) -> Change:
        changed.exists = True
        changed.contents.append(content)
        self._recent.append(changed)
        return Change(
            kind=kind,
            key=changed.key,
            lane=changed.lane,
            content=content,
            content_type=self._rng.choice(("text/plain", "application/json", "image/png")),
            metadata={"revision": str(len(changed.contents)), "note": "a + b %41 = c"},
        )

    def _new_content(self) -> Content:
        """Return 95 % below 32 KiB, 4 % up to 2 MiB, 1 % large enough for a resumable upload."""
        roll, rng = self._rng.random(), self._rng
        if roll < 0.01:  # noqa: PLR2004 - the share in the docstring
            smallest_mib = min(SMALLEST_RESUMABLE_MIB, self._largest_mib)
            size = rng.randint(smallest_mib * MIB, self._largest_mib * MIB)
        elif roll < 0.05:  # noqa: PLR2004 - same
            size = rng.randint(64 * KIB, 2 * MIB)
        else:
            size = int(2 ** rng.uniform(0, 15)) - 1
        return Content(rng.getrandbits(48), size)
