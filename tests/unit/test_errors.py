"""The tree in the docstring of `replicate.errors`, and the table of codes in docs/API.md."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from replicate import errors

LINE = re.compile(r"[│├└─ ]*(?P<name>\w+Error)( +(?P<status>\d{3}))?(?P<retryable> +retryable)?")
INDENT = len("├── ")
API = Path(__file__).parents[2] / "docs" / "API.md"
CODES = re.compile(
    r"^\| (?P<codes>`.+`) \| (?P<status>\d{3}) \| (?P<retryable>yes|no) \|", re.MULTILINE
)


class Row(NamedTuple):
    """One class, its depth in the tree, and what users see of it."""

    depth: int
    name: str
    status: int | None
    retryable: bool


def drawn() -> Iterator[Row]:
    """Yield the rows of the drawing, with what each row inherits from its parent."""
    ancestors: list[Row] = []
    for match in filter(None, map(LINE.match, (errors.__doc__ or "").splitlines())):
        depth = match.start("name") // INDENT
        parent = ancestors[depth - 1] if depth else Row(-1, "", None, retryable=False)
        row = Row(
            depth,
            match["name"],
            int(match["status"]) if match["status"] else parent.status,
            bool(match["retryable"]) or parent.retryable,
        )
        ancestors[depth:] = [row]
        yield row


def defined(cls: type[Exception], depth: int = 0) -> Iterator[Row]:
    """Yield a class of the module and its subclasses, in the order of their definition."""
    status, retryable = getattr(cls, "status", None), getattr(cls, "retryable", False)
    yield Row(depth, cls.__name__, status, retryable)
    for subclass in cls.__subclasses__():
        if subclass.__module__ == errors.__name__:
            yield from defined(subclass, depth + 1)


def test_drawn_tree_shows_every_error_with_its_status_and_retryability() -> None:
    tree = [*defined(errors.ReplicationError), *defined(errors.LostRaceError)]
    assert list(drawn()) == tree


def test_api_document_lists_every_error_code_with_its_status_and_retryability() -> None:
    documented = {
        (code, int(row["status"]), row["retryable"] == "yes")
        for row in CODES.finditer(API.read_text())
        for code in re.findall(r"`(\w+)`", row["codes"])
    }
    assert documented == {(cls.code, cls.status, cls.retryable) for cls in classes()}


def classes(
    cls: type[errors.ReplicationError] = errors.ReplicationError,
) -> Iterator[type[errors.ReplicationError]]:
    """Yield a class and all that inherit from it."""
    yield cls
    for subclass in cls.__subclasses__():
        yield from classes(subclass)
