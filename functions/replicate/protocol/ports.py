"""What the protocol needs of the two stores: `s3` and `gcs` have it, and fakes in memory."""

from contextlib import AbstractContextManager
from typing import Protocol

from replicate.protocol.model import (
    Attributes,
    Parts,
    Precondition,
    Replica,
    SourceObject,
    SourceRef,
)


class Body(Protocol):
    """The bytes of one version of a source object, in order."""

    @property
    def object(self) -> SourceObject: ...

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` as far as there are bytes; 0 only at the object's very end.

        A broken stream is resumed at the same version. Raises SourceChangedError when that is gone.
        """

    def rewind(self, offset: int) -> None:
        """Continue reading at `offset`."""

    def parts(self) -> Parts | None:
        """How the object seems to be cut, by its first part; None when that is not to be had."""

    def is_cut_like(self, parts: Parts) -> bool:
        """Whether every single part is as `parts` says. Asks once for each.

        Raises SourceChangedError when they may be those of another version.
        """


class Source(Protocol):
    """S3, read only."""

    def head(self, ref: SourceRef) -> SourceObject | None:
        """Describe the current version; None when there is none."""

    def open(
        self, ref: SourceRef, version: SourceObject | None = None
    ) -> AbstractContextManager[Body | None]:
        """Open `version`, or whatever is current: then None when there is nothing.

        Raises SourceChangedError when `version` is no longer there. Its id finds it in a versioned
        bucket, current or not; elsewhere it must still be the current one.
        """


class CheckedBody(Protocol):
    """A body that knows whether what it handed out was right."""

    @property
    def object(self) -> SourceObject: ...

    def readinto(self, buffer: memoryview) -> int:
        """As a body's."""

    def rewind(self, offset: int) -> None:
        """As a body's."""

    def verify(self) -> None:
        """Raises IntegrityError unless all bytes were read and are what the source says."""

    @property
    def crc32c(self) -> int:
        """Of all bytes read so far."""


class Destination(Protocol):
    """GCS. Every change is conditioned on the state it was decided on: a lost race writes nothing.

    Each method that changes raises DestinationChangedError when the precondition does not hold, and
    leaves nothing visible whenever it raises. When the store refuses although an object is as the
    precondition says, that is a policy: DestinationForbiddenError. A change whose response was lost
    may be repeated.
    """

    def head(self, name: str) -> Replica | None:
        """Describe the live object; None when there is none."""

    def write(
        self,
        name: str,
        attributes: Attributes,
        body: CheckedBody,
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        """Make bytes and attributes visible at once, after `body.verify()` agreed."""

    def patch(self, name: str, attributes: Attributes, current: Replica) -> Replica:
        """Replace the attributes of exactly `current`."""

    def delete(self, name: str, precondition: Precondition) -> None:
        """Delete the object; it is no error when it is gone."""
