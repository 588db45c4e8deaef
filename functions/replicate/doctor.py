"""The doctor: examine a deployment when the function is invoked with `{"doctor": true}`.

It walks two chains of hops, each until a hop fails. One leads to GCS: settings, secret, token,
permissions, and a canary object that is written, read back and deleted. The other leads to each
bucket of SOURCE_BUCKETS. A failed hop says what to do.
"""

import contextlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from replicate.entry.invocation import Context
from replicate.errors import DestinationForbiddenError, IntegrityError, ReplicationError
from replicate.protocol.checksums import CommitGate, encode_crc32c
from replicate.protocol.mapping import Tags, attributes
from replicate.protocol.model import Precondition, SourceObject, SourceRef
from replicate.protocol.plan import Overwrite, Policy
from replicate.protocol.ports import Source
from replicate.wiring import Environment

CANARY = b"s3-to-gcs-replicator was here\n"


@dataclass(frozen=True, slots=True)
class Hop:
    """One thing that must work. `check` returns what it found, or raises ReplicationError."""

    name: str
    check: Callable[[], str]


def examine(build: Callable[[], Environment], context: Context) -> dict[str, Any]:
    """Report every hop. A problem is reported and never raised.

    Everything is built anew: the problem may be newer than the clients of this environment.
    """
    try:
        environment = build()
    except ReplicationError as error:
        return _report([_described("settings", error)])
    hops = [_described("settings", f"gs://{environment.settings.naming.bucket}")]
    with contextlib.closing(environment):
        environment.start_invocation(context)
        for chain in (_to_gcs(environment), _to_s3(environment)):
            hops += _walk(chain)
    return _report(hops)


def _walk(chain: Sequence[Hop]) -> Iterator[dict[str, Any]]:
    """Check one hop after the other until one fails."""
    for hop in chain:
        try:
            yield _described(hop.name, hop.check())
        except ReplicationError as error:
            yield _described(hop.name, error)
            return


def _described(hop: str, found: str | ReplicationError) -> dict[str, Any]:
    if isinstance(found, ReplicationError):
        return {"hop": hop, "ok": False, "code": found.code, "found": found.message}
    return {"hop": hop, "ok": True, "found": found}


def _report(hops: list[dict[str, Any]]) -> dict[str, Any]:
    return {"healthy": all(hop["ok"] for hop in hops), "hops": hops}


def _to_gcs(environment: Environment) -> list[Hop]:
    credentials, naming = environment.gcs.credentials, environment.settings.naming

    def secret() -> str:
        with credentials.within(environment.deadline):
            return f"a {credentials.kind}"

    def token() -> str:
        with credentials.within(environment.deadline):
            credentials.refresh(None)
        return f"{len(str(credentials.token))} characters"

    return [
        Hop("secret", secret),
        Hop("token", token),
        Hop(f"rights on gs://{naming.bucket}", lambda: _permissions(environment)),
        Hop("canary", lambda: _canary(environment)),
    ]


def _permissions(environment: Environment) -> str:
    """Ask GCS which of the needed permissions the credentials have."""
    names = needed_permissions(environment.settings.policy)
    granted = environment.destination.granted(names)
    if missing := [name for name in names if name not in granted]:
        raise DestinationForbiddenError(
            f"The credentials lack {', '.join(missing)} on"
            f" gs://{environment.settings.naming.bucket}. Grant a role that has them: README.md has"
            " the commands."
        )
    return ", ".join(names)


def needed_permissions(policy: Policy) -> list[str]:
    """Return the GCS permissions that a policy needs. docs/SECURITY.md says what each is for."""
    wanted = ["create", "get", "list"]
    if policy.overwrite is not Overwrite.NEVER:
        wanted += ["update", "delete"]
    elif policy.deletes:
        wanted += ["delete"]
    if policy.tags is Tags.CONTEXTS:
        wanted += ["createContext", "updateContext", "deleteContext"]
    return [f"storage.objects.{name}" for name in wanted]


def _canary(environment: Environment) -> str:
    """Write an object as every object is written, read it back and delete it."""
    settings = environment.settings
    destination = environment.destination
    source = SourceObject(
        ref=SourceRef("doctor", f".s3-to-gcs-replicator/canary-{uuid.uuid4()}"),
        etag="canary",
        size=len(CANARY),
        last_modified=datetime.now(UTC),
    )
    name = settings.naming.name(source.ref)
    body = CommitGate(_CanaryBody(source), environment.source)
    destination.head(name)  # absent: GCS says so only to credentials that may list objects
    written = destination.write(name, attributes(source), body, Precondition(0))
    read = destination.head(name)
    if read is None or read.crc32c != encode_crc32c(body.crc32c):
        raise IntegrityError(f"{settings.naming.uri(name)} is not as it was written.")
    try:
        destination.delete(name, Precondition.unchanged(written))
    except DestinationForbiddenError:
        if settings.policy.overwrite is not Overwrite.NEVER:
            raise
        return f"written and read back; delete {settings.naming.uri(name)} by hand"
    return "written, read back and deleted"


def _to_s3(environment: Environment) -> list[Hop]:
    source = environment.source
    buckets = sorted(environment.settings.source_buckets)
    return [Hop(f"rights on s3://{name}", partial(_listable, source, name)) for name in buckets]


def _listable(source: Source, bucket: str) -> str:
    """Ask for a key that does not exist. S3 says so only to roles that have s3:ListBucket."""
    source.head(SourceRef(bucket, f".s3-to-gcs-replicator/{uuid.uuid4()}"))
    return "s3:ListBucket granted: missing keys give 404"


class _CanaryBody:
    """The bytes of the canary."""

    def __init__(self, source: SourceObject) -> None:
        self.object = source
        self._position = 0

    def readinto(self, buffer: memoryview) -> int:
        piece = CANARY[self._position :][: len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def rewind(self, offset: int) -> None:
        self._position = offset
