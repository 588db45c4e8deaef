"""Searches the states that moves lead to, for those in which a promise is broken."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from random import Random
from typing import Any, Generic, Protocol, TypeVar

from model.promises import Promise

S = TypeVar("S", bound=Hashable)
S_co = TypeVar("S_co", bound=Hashable, covariant=True)

LONGEST = 3000
"""Moves after which a random schedule does not end."""


class Move(Protocol[S_co]):
    """A transition to a state."""

    @property
    def state(self) -> S_co: ...

    @property
    def broken(self) -> tuple[Promise, ...]:
        """The promises that the transition itself breaks."""


class Space(Protocol[S]):
    """States, and the moves between them."""

    def first(self) -> S: ...

    def moves(self, state: S) -> Iterable[Move[S]]:
        """Yield all that can happen next."""

    def broken_in(self, state: S) -> tuple[Promise, ...]:
        """Judge a state."""

    def told(self, way: Sequence[Any]) -> str:
        """Describe moves, one a line."""


@dataclass(slots=True)
class Found(Generic[S]):
    """The states that were visited, and for each promise that was broken a way to break it."""

    states: AbstractSet[S] = frozenset()
    moves: int = 0
    broken: dict[Promise, str] = field(default_factory=dict)


def every_state(space: Space[S], wanted: Promise | None = None) -> Found[S]:
    """Visit every state, breadth first: a way is a shortest one. End when `wanted` is broken."""
    found: Found[S] = Found()
    first = space.first()
    came_from: dict[S, S | None] = {first: None}
    queue = deque([first])
    while queue and wanted not in found.broken:
        state = queue.popleft()
        for move in space.moves(state):
            found.moves += 1
            broken = move.broken
            if move.state not in came_from:
                came_from[move.state] = state
                queue.append(move.state)
                broken += space.broken_in(move.state)
            for promise in broken:
                if promise not in found.broken:
                    found.broken[promise] = _way(space, came_from, state, move)
    found.states = came_from.keys()
    return found


def _way(space: Space[S], came_from: dict[S, S | None], state: S, last: Move[S]) -> str:
    way = [last]
    while (earlier := came_from[state]) is not None:
        way.append(next(move for move in space.moves(earlier) if move.state == state))
        state = earlier
    return space.told(way[::-1])


def random_ways(
    space: Space[S], *, ways: int, seed: int, is_rare: Callable[[S, Move[S]], bool], rarely: float
) -> Found[S]:
    """Follow random schedules to their ends. `rarely` is how often a rare move is chosen."""
    random = Random(seed)  # noqa: S311 - must be repeatable
    found: Found[S] = Found()
    states: set[S] = set()
    for _ in range(ways):
        state, way = space.first(), list[Move[S]]()
        while moves := list(space.moves(state)):
            rare = [move for move in moves if is_rare(state, move)]
            usual = [move for move in moves if not is_rare(state, move)]
            is_usual = usual and (not rare or random.random() >= rarely)
            move = random.choice(usual if is_usual else rare)
            way.append(move)
            is_endless = len(way) > LONGEST
            broken = move.broken + ((Promise.END,) if is_endless else ())
            if move.state not in states:
                states.add(move.state)
                broken += space.broken_in(move.state)
            for promise in broken:
                found.broken.setdefault(promise, space.told(way))
            if is_endless:
                break
            state = move.state
        found.moves += len(way)
    found.states = states
    return found
