"""boto3 clients for the life of the execution environment."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal, overload

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import CredentialRetrievalError
from botocore.utils import parse_timestamp

from replicate.errors import SettingsError, UnavailableError
from replicate.protocol.deadline import Deadline
from replicate.retry import RetryPolicy

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_secretsmanager import SecretsManagerClient
    from types_boto3_sqs import SQSClient
    from types_boto3_stepfunctions import SFNClient

CONNECTIONS = 10
"""One for each change that an invocation works on at a time."""

USER_AGENT = "s3-to-gcs-replicator"
"""Without it botocore builds a longer text twice a request, a fifth of the CPU of a HEAD."""

NO_ROLE = "There are no AWS credentials: give the function a role."

_SHORT_TIMEOUTS_S = (4.0, 1.0)
"""For the last seconds of an invocation: boto3 has no timeout per request, only per client."""

Service = Literal["s3", "secretsmanager", "sqs", "stepfunctions"]


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """The function's own AWS credentials at one moment."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(repr=False)


class AwsClients:
    """One boto3 session, and a client per service and timeout. Safe across threads."""

    def __init__(self, region: str, policy: RetryPolicy, verify: str | None = None) -> None:
        """Build the clients. Raises UnavailableError when the credentials cannot be read."""
        core = botocore.session.get_session()
        core.get_component("response_parser_factory").set_parser_defaults(
            timestamp_parser=_parse_timestamp
        )
        self._session = boto3.Session(botocore_session=core, region_name=region)
        self._verify = verify
        self._timeouts = _descending(policy.io_timeout_s, _SHORT_TIMEOUTS_S)
        self._clients: dict[tuple[Service, float], Any] = {}
        self._lock = threading.Lock()
        self._client("s3", self._timeouts[0])
        self._client("secretsmanager", self._timeouts[0])

    @overload
    def client(self, service: Literal["s3"], deadline: Deadline) -> "S3Client": ...

    @overload
    def client(
        self, service: Literal["secretsmanager"], deadline: Deadline
    ) -> "SecretsManagerClient": ...

    @overload
    def client(self, service: Literal["sqs"], deadline: Deadline) -> "SQSClient": ...

    @overload
    def client(self, service: Literal["stepfunctions"], deadline: Deadline) -> "SFNClient": ...

    def client(self, service: Service, deadline: Deadline) -> Any:
        """Return the client whose requests wait no longer than the time that is left.

        Raises OutOfTimeError.
        """
        left = deadline.require()
        timeout = next((t for t in self._timeouts if t <= left), self._timeouts[-1])
        return self._client(service, timeout)

    def keys(self) -> AwsKeys:
        """Read the credentials as they are now. Raises UnavailableError, SettingsError."""
        with _credentials_needed():
            found = self._session.get_credentials()
            frozen = found.get_frozen_credentials() if found else None
        if frozen is None or not frozen.access_key or not frozen.secret_key:
            raise SettingsError(NO_ROLE)
        return AwsKeys(frozen.access_key, frozen.secret_key, frozen.token)

    def close(self) -> None:
        """Close the connections of all clients."""
        for client in self._clients.values():
            client.close()

    def _client(self, service: Service, timeout_s: float) -> Any:  # noqa: ANN401 - boto3 makes it
        """Build the client once: a boto3 session is not safe across threads."""
        with self._lock:
            client = self._clients.get((service, timeout_s))
            if client is None:
                with _credentials_needed():
                    client = self._session.client(
                        service, config=_config(timeout_s), verify=self._verify
                    )
                if service == "s3":
                    client.meta.events.register("before-call.s3.GetObject", _ask_for_checksums)
                self._clients[service, timeout_s] = client
            return client


@contextmanager
def _credentials_needed() -> Iterator[None]:
    """Translate what botocore raises when the server of the credentials fails."""
    try:
        yield
    except CredentialRetrievalError:  # its text may quote the server's response
        raise UnavailableError(
            "The function's AWS credentials could not be renewed. Try again."
        ) from None


def _descending(longest: float, shorter: Iterable[float]) -> list[float]:
    return [longest, *(timeout for timeout in shorter if timeout < longest)]


def _config(timeout_s: float) -> Config:
    return Config(
        user_agent=USER_AGENT,
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        retries={"mode": "standard", "total_max_attempts": 1},  # replicate.retry has the policy
        tcp_keepalive=True,
        max_pool_connections=CONNECTIONS,
        s3={"us_east_1_regional_endpoint": "regional"},  # VPC endpoints do not know the global one
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def _parse_timestamp(value: Any) -> datetime:  # noqa: ANN401 - whatever a service sends
    """Read the form in which S3 writes dates, and let botocore read any other.

    Its own parser of all forms takes a sixth of the CPU of a HEAD.
    """
    if isinstance(value, str) and value.endswith(" GMT"):
        return parsedate_to_datetime(value)
    return parse_timestamp(value)


def _ask_for_checksums(params: dict[str, Any], **_: object) -> None:
    """Let GetObject return S3's checksums; with `ChecksumMode` botocore would hash every byte."""
    params["headers"]["x-amz-checksum-mode"] = "ENABLED"
