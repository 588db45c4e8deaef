"""The doctor: checks a deployment when the function is invoked with `{"doctor": true}`.

It runs series of checks, called hops. Each series stops at the first hop that fails. The first
series checks the way to GCS: settings, secret, token, permissions, the bucket's settings, and a
canary object that is written, read back and deleted. With a state machine it also checks what large
objects need of the bucket, and another series asks the state machine and the event queue. The last
one checks each bucket in SOURCE_BUCKETS. A failed hop says what to do.

With `"compress": true` beside it, a compressed canary is sent also where CompressEgress is off, and
the settings are checked that staged objects need.
"""

import contextlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from replicate import bucket_checks, canary, staging_checks
from replicate.entry.invocation import Context
from replicate.errors import DestinationForbiddenError, LostRaceError, ReplicationError
from replicate.protocol.evidence import Deletes
from replicate.protocol.mapping import Tags
from replicate.protocol.model import SourceRef
from replicate.protocol.plan import Overwrite, Policy
from replicate.protocol.ports import Source
from replicate.wiring import Environment


@dataclass(frozen=True, slots=True)
class Hop:
    """One check. `check` returns what it found, or raises ReplicationError."""

    name: str
    check: Callable[[], str]


def examine(
    build: Callable[[], Environment], context: Context, *, compress: bool = False
) -> dict[str, Any]:
    """Return a report on every hop. A problem is reported and not raised.

    `compress` sends the compressed canary in any case. All clients are built again, because a
    setting may have changed since the last time.
    """
    try:
        environment = build()
    except ReplicationError as error:
        return _report([_described("settings", error)])
    hops = [_described("settings", f"gs://{environment.settings.naming.bucket}")]
    with contextlib.closing(environment):
        environment.start_invocation(context)
        to_gcs = _to_gcs(environment, compress=compress or environment.settings.compress_egress)
        for chain in (to_gcs, _to_state_machine(environment), _to_s3(environment)):
            hops += _walk(chain)
    return _report(hops)


def _walk(chain: Sequence[Hop]) -> Iterator[dict[str, Any]]:
    """Run one check after the other until one fails. Yield the report on each."""
    for hop in chain:
        found: str | ReplicationError
        try:
            found = hop.check()
        except ReplicationError as error:
            found = error
        except LostRaceError as refusal:  # nobody else knows the names of canaries
            found = DestinationForbiddenError(f"GCS refuses: {refusal.message}")
        yield _described(hop.name, found)
        if isinstance(found, ReplicationError):
            return


def _described(hop: str, found: str | ReplicationError) -> dict[str, Any]:
    if isinstance(found, ReplicationError):
        return {"hop": hop, "ok": False, "code": found.code, "found": found.message}
    return {"hop": hop, "ok": True, "found": found}


def _report(hops: list[dict[str, Any]]) -> dict[str, Any]:
    return {"healthy": all(hop["ok"] for hop in hops), "hops": hops}


def _to_gcs(environment: Environment, *, compress: bool) -> list[Hop]:
    credentials, naming = environment.gcs.credentials, environment.settings.naming

    def token() -> str:
        credentials.refresh(None)
        return f"a token of {len(str(credentials.token))} characters"

    hops = [
        Hop("secret", lambda: f"a {credentials.kind}"),
        Hop("token", token),
        Hop(f"permissions on gs://{naming.bucket}", lambda: _permissions(environment)),
        Hop(f"settings of gs://{naming.bucket}", partial(bucket_checks.settings, environment)),
        Hop("canary", partial(canary.whole, environment)),
    ]
    if environment.executions:
        hops.append(Hop("parts", partial(staging_checks.staging, environment)))
    if environment.executions or compress:
        hops += [
            Hop("lifecycle rule for parts", partial(staging_checks.lifecycle_rule, environment)),
            Hop("storage costs of parts", partial(staging_checks.storage_costs, environment)),
        ]
    if compress:
        hops.append(Hop("compressed canary", partial(canary.compressed, environment)))
    return hops


def _to_state_machine(environment: Environment) -> list[Hop]:
    executions = environment.executions
    if not executions:
        return []
    return [
        Hop("state machine", partial(staging_checks.state_machine, executions)),
        Hop("event queue", partial(staging_checks.event_queue, executions)),
    ]


def _permissions(environment: Environment) -> str:
    """Check that the credentials have all permissions. Raise DestinationForbiddenError.

    An IAM condition on names grants nothing on the bucket, which has no such name. So the canary
    decides about permissions that such a condition may grant.
    """
    names = needed_permissions(environment.settings.policy)
    bucket = environment.settings.naming.bucket
    granted = environment.destination.granted(names)
    missing = [name for name in names if name not in granted]
    if not missing:
        return ", ".join(names)
    if canary.PROVES.issuperset(missing):
        with contextlib.suppress(ReplicationError):
            return (
                f"Warning: {', '.join(missing)} not granted on the whole bucket, but on the name of"
                f" a canary. It was {canary.whole(environment)}"
            )
    raise DestinationForbiddenError(
        f"The credentials do not have {', '.join(missing)} on gs://{bucket}. Add them to the role:"
        " gcloud iam roles update s3Replicator --project PROJECT --add-permissions"
        f" {','.join(missing)}"
    )


def needed_permissions(policy: Policy) -> list[str]:
    """Return the GCS permissions that a policy needs. docs/SECURITY.md explains each of them."""
    verbs = ["create", "get", "list"]
    if policy.overwrite is not Overwrite.NEVER:
        verbs += ["update", "delete"]
    elif policy.deletes is not Deletes.NONE:
        verbs += ["delete"]
    if policy.tags is Tags.CONTEXTS:
        verbs += ["createContext", "updateContext", "deleteContext"]
    return [f"storage.objects.{verb}" for verb in verbs]


def _to_s3(environment: Environment) -> list[Hop]:
    source, scope = environment.source, environment.settings.scope
    return [
        Hop(f"permissions on s3://{name}", partial(_listable, source, name, scope.prefix))
        for name in sorted(scope.buckets)
    ]


def _listable(source: Source, bucket: str, prefix: str) -> str:
    """Read a key that does not exist. S3 responds with 404 only if the role has s3:ListBucket."""
    source.head(SourceRef(bucket, f"{prefix}.s3-to-gcs-replicator/{uuid.uuid4()}"))
    return "s3:ListBucket granted: missing keys give 404"
