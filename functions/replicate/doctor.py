"""A deployment, examined hop by hop: invoke the function with `{"doctor": true}`.

Two chains are walked, each until something is wrong: to GCS (settings, secret, token, rights, and a
canary object that is written, read back and deleted) and to S3 (each bucket of SOURCE_BUCKETS).
What fails names its hop and the fix.
"""

import contextlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from replicate.errors import DestinationForbiddenError, IntegrityError, ReplicationError
from replicate.protocol.checksums import VerifyingBody, encode_crc32c
from replicate.protocol.deadline import Deadline
from replicate.protocol.mapping import Tags, attributes
from replicate.protocol.model import Parts, Precondition, SourceObject, SourceRef
from replicate.protocol.plan import Overwrite, Policy
from replicate.protocol.ports import Source
from replicate.wiring import Environment

CANARY = b"s3-to-gcs-replicator was here\n"


@dataclass(frozen=True, slots=True)
class Hop:
    """One thing that has to work; `check` says what was found or raises ReplicationError."""

    name: str
    check: Callable[[], str]


def examine(build: Callable[[], Environment], deadline: Deadline) -> dict[str, Any]:
    """What every hop says. Nothing is raised: what is wrong is the answer."""
    try:
        environment = build()
    except ReplicationError as error:
        return _report([_told("settings", error)])
    found = [_told("settings", f"gs://{environment.settings.naming.bucket}")]
    with contextlib.closing(environment):
        for chain in (_to_gcs(environment, deadline), _to_s3(environment, deadline)):
            found += _walk(chain)
    return _report(found)


def _walk(chain: Sequence[Hop]) -> Iterator[dict[str, Any]]:
    """Check one hop after the other, until one fails."""
    for hop in chain:
        try:
            yield _told(hop.name, hop.check())
        except ReplicationError as error:
            yield _told(hop.name, error)
            return


def _told(hop: str, found: str | ReplicationError) -> dict[str, Any]:
    if isinstance(found, ReplicationError):
        return {"hop": hop, "ok": False, "code": found.code, "found": found.message}
    return {"hop": hop, "ok": True, "found": found}


def _report(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {"healthy": all(hop["ok"] for hop in found), "hops": found}


def _to_gcs(environment: Environment, deadline: Deadline) -> list[Hop]:
    credentials, naming = environment.gcs.credentials, environment.settings.naming

    def secret() -> str:
        with credentials.within(deadline):
            return f"a {credentials.kind}"

    def token() -> str:
        with credentials.within(deadline):
            credentials.refresh(None)
        return f"{len(str(credentials.token))} characters"

    return [
        Hop("secret", secret),
        Hop("token", token),
        Hop(f"rights on gs://{naming.bucket}", lambda: _rights(environment, deadline)),
        Hop("canary", lambda: _canary(environment, deadline)),
    ]


def _rights(environment: Environment, deadline: Deadline) -> str:
    """Ask GCS which of the rights that are needed the credentials have."""
    names = needed_permissions(environment.settings.policy)
    granted = environment.destination(deadline).granted(names)
    if missing := [name for name in names if name not in granted]:
        raise DestinationForbiddenError(
            f"The credentials lack {', '.join(missing)} on"
            f" gs://{environment.settings.naming.bucket}. Grant a role that has them: README.md has"
            " the commands."
        )
    return ", ".join(names)


def needed_permissions(policy: Policy) -> list[str]:
    """GCS permissions on the bucket that a policy needs. docs/SECURITY.md says what each is for."""
    wanted = ["create", "get", "list"]
    if policy.overwrite is not Overwrite.NEVER:
        wanted += ["update", "delete"]
    elif policy.deletes:
        wanted += ["delete"]
    if policy.tags is Tags.CONTEXTS:
        wanted += ["createContext", "updateContext", "deleteContext"]
    return [f"storage.objects.{name}" for name in wanted]


def _canary(environment: Environment, deadline: Deadline) -> str:
    """Write an object the way all are written, read it back and delete it."""
    settings = environment.settings
    destination = environment.destination(deadline)
    source = SourceObject(
        ref=SourceRef("doctor", f".s3-to-gcs-replicator/canary-{uuid.uuid4()}"),
        etag="canary",
        size=len(CANARY),
        last_modified=datetime.now(UTC),
    )
    name = settings.naming.name(source.ref)
    body = VerifyingBody(_CanaryBody(source))
    destination.head(name)  # it is missing, and GCS has to say so: without list it may refuse
    written = destination.write(name, attributes(source), body, Precondition(0))
    read = destination.head(name)
    if read is None or read.crc32c != encode_crc32c(body.crc32c):
        raise IntegrityError(f"{settings.naming.uri(name)} is not there as it was written.")
    try:
        destination.delete(name, Precondition.unchanged(written))
    except DestinationForbiddenError:
        if settings.policy.overwrite is not Overwrite.NEVER:
            raise
        return f"written and read back; delete {settings.naming.uri(name)} by hand: we may not"
    return "written, read back and deleted"


def _to_s3(environment: Environment, deadline: Deadline) -> list[Hop]:
    source = environment.source(deadline)
    buckets = sorted(environment.settings.source_buckets)
    return [Hop(f"rights on s3://{name}", partial(_listable, source, name)) for name in buckets]


def _listable(source: Source, bucket: str) -> str:
    """Ask for a key that nobody has: S3 says so, where s3:ListBucket is allowed; else it denies."""
    source.head(SourceRef(bucket, f".s3-to-gcs-replicator/{uuid.uuid4()}"))
    return "s3:ListBucket granted: a missing key gives 404"


class _CanaryBody:
    """The canary's bytes, as a body."""

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

    def parts(self) -> Parts | None:
        return None

    def is_cut_like(self, parts: Parts) -> bool:
        del parts
        return False
