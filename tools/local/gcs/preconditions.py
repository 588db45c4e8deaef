"""Conditions that a request puts on the object it is about to read or change."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from tools.local.gcs.errors import ApiError, invalid


class Versioned(Protocol):
    """Anything that has a generation and a metageneration."""

    @property
    def generation(self) -> int: ...
    @property
    def metageneration(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Preconditions:
    """The four conditions of the JSON API; an absent object has generation 0."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    @classmethod
    def parse(cls, query: Mapping[str, str], *, of: str = "") -> "Preconditions":
        """Read `ifGenerationMatch` and its kin; `of="Source"` reads `ifSourceGenerationMatch`."""
        return cls(
            generation_match=integer(query, f"if{of}GenerationMatch"),
            generation_not_match=integer(query, f"if{of}GenerationNotMatch"),
            metageneration_match=integer(query, f"if{of}MetagenerationMatch"),
            metageneration_not_match=integer(query, f"if{of}MetagenerationNotMatch"),
        )

    def check(self, live: Versioned | None) -> None:
        """Refuse with 412 where a match fails, with 304 where a not-match does."""
        generation = live.generation if live else 0
        metageneration = live.metageneration if live else 0
        for wanted, actual in (
            (self.generation_match, generation),
            (self.metageneration_match, metageneration),
        ):
            if wanted not in {None, actual}:
                raise ApiError(
                    412,
                    "conditionNotMet",
                    "At least one of the pre-conditions you specified did not hold.",
                )
        if self.generation_not_match == generation or (
            self.metageneration_not_match == metageneration
        ):
            raise ApiError(304, "notModified", "Not Modified")


def integer(values: Mapping[str, str], name: str) -> int | None:
    """Return a 64-bit query parameter, None where it is absent."""
    text = values.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise invalid(f"Invalid value for {name}: {text!r}")
    return int(text)
