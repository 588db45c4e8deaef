"""The composition root: everything that an execution environment needs, built once."""

import gc
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from replicate import certificates
from replicate.aws_clients import AwsClients
from replicate.breaker import BreakerPolicy, Circuit
from replicate.entry.invocation import Change, Context
from replicate.gcs import GcsDestination
from replicate.gcs.client import GcsClient
from replicate.gcs.credentials import SecretCredentials
from replicate.gcs.secret import Secret
from replicate.gcs.trusted_hosts import TrustedHosts
from replicate.gzip_member import compressed_size
from replicate.parallel import Threads
from replicate.protocol import Replicator
from replicate.protocol.assembly import Assembler
from replicate.protocol.deadline import MARGIN_S, Deadline
from replicate.protocol.large import LargeCopy
from replicate.protocol.mapping import Tags
from replicate.protocol.parts import PARTS_AT_ONCE
from replicate.retry import DEFAULT_POLICY, RetryPolicy
from replicate.round_clock import RoundClock
from replicate.s3 import S3Source
from replicate.settings import Settings
from replicate.settlement.settle import Queues
from replicate.sqs import SqsQueues
from replicate.stepfunctions import StateMachine
from replicate.telemetry import silence_libraries

if TYPE_CHECKING:
    from replicate.reconcile.steps import Reconcile
    from replicate.workflow import LargeObjects


T = TypeVar("T")


class Stores(Protocol):
    """What the handler uses of an `Environment`."""

    @property
    def settings(self) -> Settings: ...

    def start_invocation(self, context: Context) -> None:
        """Restart the deadline."""

    def replicator(self, change: Change) -> Replicator:
        """Return the protocol over both stores, for one change."""

    def large_objects(self) -> "LargeObjects":
        """Return what the steps of an execution work on."""

    def reconcile(self) -> "Reconcile":
        """Return the steps of a reconcile."""

    @property
    def queues(self) -> Queues | None:
        """The stack's queues; None if the invoker alone keeps what failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Clients and adapters that live as long as the execution environment. Safe across threads."""

    settings: Settings
    aws: AwsClients
    gcs: GcsClient
    retries: RetryPolicy
    deadline: Deadline
    source: S3Source
    destination: GcsDestination
    clock: RoundClock
    assembler: Assembler
    executions: StateMachine | None
    queues: Queues | None

    @classmethod
    def from_environ(
        cls,
        environ: Mapping[str, str],
        retries: RetryPolicy = DEFAULT_POLICY,
        *,
        verify: str | None = None,
    ) -> "Environment":
        """Build everything. The secret is read when it is first needed.

        `verify` is the file of certificate authorities for boto3; None means its default. The SDKs
        read their own standard variables (credentials, endpoints, proxies, certificate authorities)
        from the process's environment. Raise SettingsError, and UnavailableError when the AWS
        credentials cannot be read.
        """
        silence_libraries()
        settings = Settings.from_environ(environ)
        deadline = Deadline(0)
        aws = AwsClients(settings.region, retries, verify)
        secret = Secret(
            aws,
            settings.credentials_secret,
            settings.region,
            retries,
            TrustedHosts(settings.google_domains, settings.emulator),
        )
        circuit = Circuit(_breaker_policy(settings.first_timeout_s, retries))
        gcs = GcsClient(SecretCredentials(secret, deadline, retries), circuit)
        reads_tags = settings.policy.tags is not Tags.OFF
        source = S3Source(aws, deadline, retries, tags=reads_tags)
        destination = GcsDestination(gcs, settings.naming, deadline, retries)
        return cls(
            settings=settings,
            aws=aws,
            gcs=gcs,
            retries=retries,
            deadline=deadline,
            source=source,
            destination=destination,
            clock=RoundClock(retries, deadline),
            assembler=Assembler(
                source=source,
                destination=destination,
                prefix=settings.naming.staging,
                sizes=settings.sizes,
                in_parallel=Threads(PARTS_AT_ONCE),
                compressed_size=compressed_size if settings.compress_egress else None,
            ),
            executions=_state_machine(settings, aws, deadline, retries),
            queues=_queues(settings, aws, retries),
        )

    def start_invocation(self, context: Context) -> None:
        """Restart the deadline: the invocation's time, less the margin for its end."""
        self.deadline.restart(context.get_remaining_time_in_millis() / 1000 - MARGIN_S)
        self.gcs.start_invocation()

    def replicator(self, change: Change | None = None) -> Replicator:
        """Return the protocol over both stores, for one change."""
        executions = self.executions
        return Replicator(
            source=self.source,
            destination=self.destination,
            naming=self.settings.naming,
            clock=self.clock,
            policy=self.settings.policy,
            storage_classes=self.settings.storage_classes,
            assembler=self.assembler,
            executions=executions.of(change) if executions and change else None,
        )

    def large_objects(self) -> "LargeObjects":
        """Return what the steps of an execution work on: both stores."""
        from replicate.workflow import LargeObjects  # noqa: PLC0415 - other invocations do without

        return LargeObjects(LargeCopy(self.replicator()), self.settings.scope)

    def reconcile(self) -> "Reconcile":
        """Return the steps of a reconcile. Raise SettingsError."""
        from replicate import reconcile_wiring  # noqa: PLC0415 - as above

        return reconcile_wiring.reconcile(
            self.settings, self.aws, self.gcs, self.deadline, self.retries
        )

    def close(self) -> None:
        """Close the connections."""
        self.aws.close()
        self.gcs.close()


def build(environ: MutableMapping[str, str]) -> Environment:
    """Build everything from the process's environment. Raise SettingsError, UnavailableError."""
    verify = certificates.use(environ, environ.get("AWS_REGION", ""))
    return Environment.from_environ(environ, verify=verify)


def permanent(make: Callable[[], T]) -> T:
    """Return what `make` builds. It stays in memory, so the garbage collector can ignore it."""
    gc.disable()
    try:
        made = make()
        gc.freeze()
    finally:
        gc.enable()
    return made


def _breaker_policy(first_timeout_s: float, retries: RetryPolicy) -> BreakerPolicy:
    """Return the breaker's policy, with its waits cut to the longest wait of any request."""
    default = BreakerPolicy()
    longest_s = max(first_timeout_s, default.longest_wait_s)
    return replace(
        default,
        shortest_wait_s=min(first_timeout_s, retries.io_timeout_s),
        longest_wait_s=min(longest_s, retries.io_timeout_s),
    )


def _queues(settings: Settings, aws: AwsClients, retries: RetryPolicy) -> SqsQueues | None:
    if not settings.failure_queue_url:
        return None
    return SqsQueues(
        aws,
        retries,
        event_queue=settings.event_queue_url,
        failure_queue=settings.failure_queue_url,
    )


def _state_machine(
    settings: Settings, aws: AwsClients, deadline: Deadline, retries: RetryPolicy
) -> StateMachine | None:
    if not settings.state_machine:
        return None
    return StateMachine(
        clients=aws,
        deadline=deadline,
        policy=retries,
        arn=settings.state_machine,
        queue_url=settings.event_queue_url,
        watch_delay_s=settings.watch_delay_s,
        settle_s=settings.settle_s,
    )
