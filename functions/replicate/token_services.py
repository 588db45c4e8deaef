"""How google-auth asks Google's token services: over our connections, in the invocation's time.

Its own transports wait for as long as a server drips, and repeat what failed without looking at
any clock.
"""

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from replicate.connections import BrokenConnectionError, Connections
from replicate.deadline import Deadline
from replicate.errors import CredentialsError, DestinationUnavailableError, SettingsError
from replicate.retry import may_pass, retry_after

NONSENSE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What code raises that reads an answer, or a secret, of another shape than it expects."""

_PASSING = frozenset({"internal_failure", "server_error", "temporarily_unavailable"})
"""OAuth's errors that google-auth would wait for by itself, whatever the time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What `google.auth.transport.Response` promises."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class TokenServices:
    """Kept for the life of the execution environment. Safe across threads."""

    def __init__(self) -> None:
        self._connections: dict[str, Connections] = {}

    def within(self, deadline: Deadline) -> Callable[..., Answer]:
        """Return what `google.auth.transport.Request` promises, for one invocation."""
        return functools.partial(self._request, deadline)

    def close(self) -> None:
        """Close the connections that are kept."""
        for connections in self._connections.values():
            connections.close()

    def _request(
        self,
        deadline: Deadline,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        **_: object,
    ) -> Answer:
        """Raises CredentialsError, DestinationUnavailableError, OutOfTimeError."""
        connections, path = self._to(url)
        body = body or b""
        stated = {**(headers or {}), "Content-Length": str(len(body))}
        try:
            with connections.request(method, path, stated, deadline, [body]) as response:
                answer = Answer(response.status, response.headers, response.read())
        except BrokenConnectionError as error:
            raise DestinationUnavailableError(
                f"Google's token service could not be reached ({error}). Try again."
            ) from error
        if may_pass(answer.status) or _is_passing_error(answer):
            raise DestinationUnavailableError(
                f"Google's token service failed ({answer.status}). Try again.",
                retry_after_s=retry_after(answer.headers),
            )
        return answer

    def _to(self, url: str) -> tuple[Connections, str]:
        """Where a URL of the secret leads, and what to ask for there. Raises CredentialsError."""
        try:
            parts = urlsplit(url)
            base = f"{parts.scheme}://{parts.netloc}"
            connections = self._connections.get(base) or self._connections.setdefault(
                base, Connections(base)
            )
            return connections, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        except (SettingsError, ValueError):
            raise CredentialsError(
                "The secret named by GCP_CREDENTIALS_SECRET cannot be used: it has a URL that is"
                " none. Store the key or the configuration as Google writes it."
            ) from None


def _is_passing_error(answer: Answer) -> bool:
    try:
        return answer.status != HTTPStatus.OK and json.loads(answer.data)["error"] in _PASSING
    except (ValueError, TypeError, LookupError):
        return False
