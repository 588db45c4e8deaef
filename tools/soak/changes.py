"""The changes that a soak makes in S3. The same seed gives the same list."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from tools.common.sizes import KIB, MIB
from tools.soak.keys import key
from tools.soak.options import Options

SMALLEST_RESUMABLE = 5 * MIB // 4
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
    is_text: bool = False
    """Whether gzip makes them smaller: the digits of random numbers."""

    def data(self) -> bytes:
        data = Random(self.seed).randbytes(self.size)  # noqa: S311 - must be repeatable
        return data.hex().encode()[: self.size] if self.is_text else data


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

    def __init__(self, options: Options, lanes: int) -> None:
        self._rng = Random(options.seed)  # noqa: S311 - must be repeatable
        self._options = options
        self._lanes = lanes
        self._objects: list[_Object] = []
        self._recent: deque[_Object] = deque(maxlen=RECENT)
        self.changes = list(self._generate(options.objects, options.changes))

    def remaining_keys(self) -> set[str]:
        """Return the keys that exist after the last change."""
        return {each.key for each in self._objects if each.exists}

    def large(self) -> int:
        """Count the changes after which an object is large."""
        contents = [each.content for each in self.changes]
        return sum(each.size >= self._options.large_from for each in contents if each)

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
        """Return the share of large ones, 1 % with a resumable upload, 4 % below, others small."""
        rng, large_from = self._rng, self._options.large_from
        roll = rng.random() - self._options.large
        if roll < 0:
            size = rng.randint(large_from, self._options.largest_mib * MIB)
        elif roll < 0.01:  # noqa: PLR2004 - the share in the docstring
            size = rng.randint(min(SMALLEST_RESUMABLE, large_from), large_from - 1)
        elif roll < 0.05:  # noqa: PLR2004 - same
            size = rng.randint(64 * KIB, MIB)
        else:
            size = int(2 ** rng.uniform(0, 15)) - 1
        seed = rng.getrandbits(48)
        return Content(seed, size, seed % 100 < 100 * self._options.gzip)
