"""The doctor's canaries: objects that are written in the way of all objects, and read back.

Each check returns what it found, or raises ReplicationError with what to do. A text that begins
with "Warning" is no failure.
"""

import contextlib
import uuid
from datetime import UTC, datetime

from replicate.errors import (
    DestinationChangedError,
    DestinationForbiddenError,
    IntegrityError,
)
from replicate.protocol.checksums import CommitGate, encode_crc32c
from replicate.protocol.evidence import Deletes
from replicate.protocol.mapping import attributes
from replicate.protocol.model import Precondition, SourceObject, SourceRef
from replicate.protocol.plan import Overwrite
from replicate.wiring import Environment

CANARY = b"s3-to-gcs-replicator was here\n"

PROVES = frozenset(f"storage.objects.{verb}" for verb in ("create", "get", "update", "delete"))
"""The permissions without which `whole` fails, where the policy needs them."""

LINES = 300_000
"""Of the compressed canary: 19.2 MB in lines of 64 bytes. It takes two chunks of 16 MiB at most."""

_REMEDY = (
    "No object is at risk: each one that is sent compressed is compared before it becomes visible."
    " But all of them would fail: deploy with CompressEgress=false."
)


def whole(environment: Environment) -> str:
    """Write an object in the way of all objects, read it back and delete it."""
    settings, destination = environment.settings, environment.destination
    overwrites = settings.policy.overwrite is not Overwrite.NEVER
    body = _Body(f".s3-to-gcs-replicator/canary-{uuid.uuid4()}", CANARY)
    name = settings.naming.name(body.object.ref)
    gate = CommitGate(body, environment.source)
    destination.head(name)  # without storage.objects.list GCS may respond with 403
    written = destination.write(name, attributes(body.object), gate, Precondition(0))
    read = destination.head(name)
    if read is None or read.crc32c != encode_crc32c(gate.crc32c):
        raise IntegrityError(
            f"GCS did not store {settings.naming.uri(name)} as it was written. Try again."
        )
    try:
        destination.delete(name, Precondition.unchanged(written))
    except DestinationForbiddenError:
        if overwrites or settings.policy.deletes is not Deletes.NONE:
            raise
        return f"written and read back; delete {settings.naming.uri(name)} by hand"
    if overwrites:
        # It is gone, and GCS checks the permission to update it first.
        with contextlib.suppress(DestinationChangedError):
            destination.patch(name, attributes(body.object), written)
    return "written, read back and deleted"


def compressed(environment: Environment) -> str:
    """Send an object compressed, compare what GCS has made of it, compose it and delete it."""
    settings, destination = environment.settings, environment.destination
    if obstacle := destination.staging_obstacle():
        return f"Warning: nothing is sent compressed: {obstacle}"
    data = b"".join(b"%063d\n" % number for number in range(LINES))
    body = _Body(f"canary-{uuid.uuid4()}", data)
    name = settings.naming.staging + body.object.ref.key
    wanted, gate = attributes(body.object), CommitGate(body, environment.source)
    try:
        written, sent = destination.write_compressed(name, wanted, gate, Precondition(0))
    except IntegrityError as error:
        raise IntegrityError(f"{error.message} {_REMEDY}") from None
    stored, found = destination.read(name), destination.head(name)
    joined = destination.compose(f"{name}-joined", wanted, [written], Precondition(0))
    destination.delete(joined.name, Precondition.unchanged(joined))
    if stored != data:
        raise IntegrityError(
            f"GCS returns other bytes of {settings.naming.uri(name)} than were sent compressed,"
            f" although their CRC32C is right. {_REMEDY}"
        )
    if found is None or found.attributes != wanted or joined.attributes != wanted:
        raise IntegrityError(
            f"GCS describes {settings.naming.uri(name)} otherwise than it was told, for example as"
            f" gzip. {_REMEDY}"
        )
    return f"{len(data):,} bytes sent as {sent:,}, read back byte by byte, composed and deleted"


class _Body:
    """The bytes of a canary, as if S3 had them."""

    def __init__(self, key: str, data: bytes) -> None:
        self.object = SourceObject(
            ref=SourceRef("doctor", key),
            etag="canary",
            size=len(data),
            last_modified=datetime.now(UTC).replace(microsecond=0),  # as all times of S3
        )
        self._data = data
        self._position = 0

    def readinto(self, buffer: memoryview) -> int:
        piece = memoryview(self._data)[self._position :][: len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def rewind(self, offset: int) -> None:
        self._position = offset
