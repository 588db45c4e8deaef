"""boto3 clients, which live as long as the execution environment."""

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
"""Connections of one client: one for each change at a time (replicate_all.CONCURRENCY)."""

USER_AGENT = "s3-to-gcs-replicator"
"""A fixed value, because botocore otherwise builds a long one twice for each request.

A GET and a HEAD together take 0.79 of the CPU with it (docs/PERFORMANCE.md).
"""

NO_ROLE = "The function has no AWS credentials. Give it an execution role."

SHORTEST_TIMEOUT_S = 1.0
_SHORT_TIMEOUTS_S = (4.0, SHORTEST_TIMEOUT_S)
"""Timeouts of further clients, for the last seconds of an invocation.

boto3 has no timeout for one request, only for a client. The shortest one is a part of MARGIN_S,
so that one wait at the deadline leaves time to store failures and to respond.
"""

Service = Literal["s3", "secretsmanager", "sqs", "stepfunctions"]


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """The function's own AWS credentials at one moment."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(repr=False)


class AwsClients:
    """One boto3 session, and a client for each service and timeout. Safe across threads."""

    def __init__(self, region: str, policy: RetryPolicy, verify: str | None = None) -> None:
        """Build the clients. Raise UnavailableError when the AWS credentials cannot be read."""
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
        """Return a client whose timeout is within the time left, or the one with the shortest.

        Raise OutOfTimeError.
        """
        left = deadline.require()
        for timeout_s in self._timeouts:
            if timeout_s <= left:
                break
        return self._clients.get((service, timeout_s)) or self._client(service, timeout_s)

    def keys(self) -> AwsKeys:
        """Return the current credentials. Raise SettingsError without any, UnavailableError."""
        with translate_credential_errors():
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
        """Return the client. Build it under a lock: boto3 sessions are not safe across threads."""
        with self._lock:
            client = self._clients.get((service, timeout_s))
            if client is None:
                with translate_credential_errors():
                    client = self._session.client(
                        service, config=_config(timeout_s), verify=self._verify
                    )
                if service == "s3":
                    client.meta.events.register("before-call.s3.GetObject", _request_checksums)
                self._clients[service, timeout_s] = client
            return client


@contextmanager
def translate_credential_errors() -> Iterator[None]:
    """Translate what botocore raises when the container credentials endpoint fails."""
    try:
        yield
    except CredentialRetrievalError:  # its text may quote a response that holds credentials
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
        retries={"mode": "standard", "total_max_attempts": 1},  # replicate.retry retries instead
        tcp_keepalive=True,
        max_pool_connections=CONNECTIONS,
        s3={"us_east_1_regional_endpoint": "regional"},  # the global endpoint has no VPC endpoint
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def _parse_timestamp(value: Any) -> datetime:  # noqa: ANN401 - botocore passes any value
    """Parse the date format of S3's headers. botocore parses all other formats.

    A GET and a HEAD together take 0.84 of the CPU with it (docs/PERFORMANCE.md).
    """
    if isinstance(value, str) and value.endswith(" GMT"):
        return parsedate_to_datetime(value)
    return parse_timestamp(value)


def _request_checksums(params: dict[str, Any], **_: object) -> None:
    """Request S3's checksums by a header. With `ChecksumMode` botocore would hash all bytes."""
    params["headers"]["x-amz-checksum-mode"] = "ENABLED"
