"""Histories of one source object, in a notation that fits into the id of a test.

A digit writes contents, and a prime adds other metadata. `-` is a user who deletes the object, and
`~` a lifecycle rule that does. `<` permanently deletes the newest version, so that in a versioned
bucket the version before it is current again.
"""

from collections.abc import Callable, Iterator

from fakes import FakeS3
from model.promises import BUCKET

from replicate.protocol.model import SourceRef

REF = SourceRef(BUCKET, "key")

History = tuple[str, ...]

DELETE = "-"
EXPIRE = "~"
DROP = "<"
CONTENTS = ("1", "1'", "2", "2'", "3")


def histories(length: int, *, versioned: bool = False, expiring: bool = False) -> list[History]:
    """Return all histories of this length that differ by more than the names of contents."""
    if length == 1:
        return [("1",)]
    return [
        (*history, change)
        for history in histories(length - 1, versioned=versioned, expiring=expiring)
        for change in _next(history, versioned=versioned, expiring=expiring)
    ]


def _next(history: History, *, versioned: bool, expiring: bool) -> Iterator[str]:
    contents = {change[0] for change in history if change[0].isdigit()}
    for change in CONTENTS:
        if change[0] in contents or change == str(len(contents) + 1):
            yield change
    if history[-1] not in {DELETE, DROP, EXPIRE}:
        yield DELETE
        if expiring:
            yield EXPIRE
    if versioned and DROP not in history:
        yield DROP


def sources(
    history: History, empty: Callable[[], FakeS3], *, multipart: bool = False
) -> tuple[FakeS3, ...]:
    """Return the bucket before the first change, and after each change."""
    return tuple(
        _after(history[:count], empty(), multipart=multipart) for count in range(len(history) + 1)
    )


def _after(history: History, s3: FakeS3, *, multipart: bool) -> FakeS3:
    for change in history:
        if change in {DELETE, EXPIRE}:
            s3.delete(REF)
        elif change == DROP:
            s3.drop_newest(REF)
        else:
            contents, note = change[:1], change[1:]
            s3.put(REF, contents.encode() * 2, {"note": note}, multipart=multipart)
    return s3
