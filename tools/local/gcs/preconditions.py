"""The generation and the conditions that a request puts on an object."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from werkzeug.datastructures import Headers

from tools.local.gcs.errors import ApiError, invalid


class Versioned(Protocol):
    """Anything that has a generation and a metageneration."""

    @property
    def generation(self) -> int: ...
    @property
    def metageneration(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Preconditions:
    """The generation to use, and the four conditions; an absent object has generation 0."""

    generation: int | None = None
    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    @classmethod
    def parse(cls, query: Mapping[str, str], *, of: str = "") -> "Preconditions":
        """Read `ifGenerationMatch` and its kin; `of="Source"` reads `ifSourceGenerationMatch`."""
        return cls(
            generation=integer(query, f"{of.lower()}Generation" if of else "generation"),
            generation_match=integer(query, f"if{of}GenerationMatch"),
            generation_not_match=integer(query, f"if{of}GenerationNotMatch"),
            metageneration_match=integer(query, f"if{of}MetagenerationMatch"),
            metageneration_not_match=integer(query, f"if{of}MetagenerationNotMatch"),
        )

    def check(self, live: Versioned | None) -> None:
        """Refuse with 412 where a match fails, with 304 where a not-match does."""
        generation, metageneration = 0, 0
        if live:
            generation, metageneration = live.generation, live.metageneration
        if self.generation_match not in {None, generation} or (
            self.metageneration_match not in {None, metageneration}
        ):
            message = "At least one of the pre-conditions you specified did not hold."
            raise ApiError(412, "conditionNotMet", message)
        if self.generation_not_match == generation or (
            self.metageneration_not_match == metageneration
        ):
            raise ApiError(304, "notModified", "Not Modified")


def integer(values: Mapping[str, str] | Headers, name: str) -> int | None:
    """Return a parameter or header that is a natural number, None where it is absent."""
    text = values.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise invalid(f"Invalid value for {name}: {text!r}")
    return int(text)
