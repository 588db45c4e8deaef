"""Divide the keys of a bucket into shards, without knowing them. Pure, but for the probes.

Shards are half-open and cover every key, whatever the boundaries are. Wrong boundaries make them
unequal, and never lose a key.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from replicate.reconcile.runs import Shard

MAX_SHARDS = 200
"""Step Functions keeps 25,000 entries of history for an execution. A shard takes about ten, and
seven for each further invocation."""

FIRST_SHARDS = 40
"""Shards of a run that has no earlier one to learn from: as many as the state machine's Map runs at
the same time."""

MAX_PROBES = 256
"""One-row listings of a first run: at 50 ms they take 13 seconds."""

END = "\U0010ffff"
"""A character after all others."""

_FLOOR, _ASCII_END = 0x20, 0x7F
_SURROGATES = range(0xD800, 0xE000)


def shards(boundaries: Iterable[str], prefix: str = "", most: int = MAX_SHARDS) -> list[Shard]:
    """Return up to `most` shards that cover all keys that begin with `prefix`."""
    inside = sorted({key for key in boundaries if key.startswith(prefix) and key > prefix})
    step = -(-(len(inside) + 1) // most)
    ends = inside[step - 1 :: step]
    return [Shard(a, b) for a, b in zip(["", *ends], [*ends, None], strict=True)]


@dataclass(frozen=True, slots=True)
class _Gap:
    """The texts between two ends. `low` is a key."""

    low: str
    high: str
    is_tight: bool = False
    """Whether the keys of the gap have no longer beginning in common than its ends have."""


def bisect(
    first_after: Callable[[str], str | None],
    prefix: str = "",
    count: int = FIRST_SHARDS,
    probes: int = MAX_PROBES,
) -> list[str]:
    """Return up to `count` - 1 keys that divide the keys with `prefix`, in order.

    `first_after` returns the first key after a text. How many keys a gap has is unknown, so all
    gaps are divided in turn.
    """
    asked = 0

    def next_key(gap: _Gap, text: str) -> str | None:
        """Return the first key after a text, if it is in the gap."""
        nonlocal asked
        asked += 1
        key = first_after(text)
        return key if key is not None and key < gap.high else None

    first = first_after("")
    found: list[str] = []
    gaps = deque([] if first is None else [_Gap(first, prefix + END)])
    while gaps and len(found) < count - 1 and asked < probes:
        gap = gaps.popleft()
        middle = midpoint(gap.low, gap.high)
        if middle is None:
            continue
        key = next_key(gap, middle)
        if key is not None:
            found.append(key)
            gaps += [_Gap(gap.low, key), _Gap(key, gap.high)]
        elif gap.is_tight:
            gaps.append(_Gap(gap.low, middle, is_tight=True))
        else:
            gaps.append(_tighten(_Gap(gap.low, middle), next_key))
    return sorted(found)


def _tighten(gap: _Gap, next_key: Callable[[_Gap, str], str | None]) -> _Gap:
    """Find the longest beginning of `low` that all keys of the gap have."""
    common, length = 0, len(gap.low)
    while common < length:
        middle = (common + length + 1) // 2
        if next_key(gap, gap.low[:middle] + END) is None:
            common = middle
        else:
            length = middle - 1
    return _Gap(gap.low, min(gap.high, gap.low[:common] + END), is_tight=True)


def midpoint(low: str, high: str) -> str | None:
    """Return a text between two others, about in the middle. None if there is none of use."""
    at = next(
        (i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b),
        min(len(low), len(high)),
    )
    above = _between(_code(low, at), ord(high[at]))
    if above is not None:
        return low[:at] + above
    for i in range(at + 1, len(low) + 1):  # what is greater in a later character is less than high
        above = _between(_code(low, i), _ASCII_END)
        if above is not None:
            return low[:i] + above
    return None


def _code(text: str, at: int) -> int:
    return ord(text[at]) if at < len(text) else _FLOOR


def _between(low: int, high: int) -> str | None:
    """Return a character between two codes. Most keys are in ASCII, so its end is tried first."""
    middle = _ASCII_END if low < _ASCII_END < high else (low + high) // 2
    if middle in _SURROGATES:
        middle = _SURROGATES.stop
    return chr(middle) if low < middle < high else None
