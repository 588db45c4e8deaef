"""Google credentials that follow the secret: a rotation needs no deployment.

The secret is read once per execution environment, again after a while, and at once when Google
refuses what it gave.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Protocol

import requests
from google.auth import exceptions, transport
from google.auth.credentials import Credentials, Signing
from google.auth.transport.requests import Request

from replicate.errors import (
    CredentialsError,
    DestinationUnavailableError,
    OutOfTimeError,
    UnavailableError,
)
from replicate.gcs.errors import MALFORMED
from replicate.protocol.deadline import Deadline
from replicate.retry import RetryPolicy, is_transient, retry_after

MAX_AGE_S = 15 * 60.0
"""After this time the secret is read again."""

RECHECK_S = 60.0
"""After this time it is tried again to read the secret, when Secrets Manager was unavailable."""

RECHECK_TIMEOUT_S = 5.0
"""Longest time for reading the secret again while there are credentials that work."""

_TRANSIENT_OAUTH = frozenset({"internal_failure", "server_error", "temporarily_unavailable"})
"""OAuth's errors after which google-auth would sleep and repeat, without a look at any deadline."""


class SecretSource(Protocol):
    """What `gcs.secret.Secret` does."""

    def read(self, deadline: Deadline) -> str:
        """Return the secret's text. Raises CredentialsError, UnavailableError."""

    def credentials(self, text: str) -> Credentials:
        """Build Google credentials from the text. Raises CredentialsError."""


class _Thread(threading.local):
    """What one thread is doing with the credentials."""

    deadline: Deadline | None = None
    token: str | None = None
    """The token of its last request."""


class SecretCredentials(Credentials):
    """Credentials for google-cloud-storage. Safe across threads.

    The credentials behind them are refreshed, and never asked to authorize a request: so
    google-auth starts none of its background requests to other services.
    """

    def __init__(
        self,
        secret: SecretSource,
        policy: RetryPolicy,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._secret = secret
        self._clock = clock
        self._session = requests.Session()
        self._transport = _TokenTransport(self._session, policy, self._deadline)
        self._lock = threading.RLock()
        self._thread = _Thread()
        self._text = ""
        self._inner: Credentials | None = None
        self._read_again_at = 0.0

    @contextmanager
    def within(self, deadline: Deadline) -> Iterator[None]:
        """Bound by `deadline` what this thread's requests wait for tokens and for the secret."""
        self._thread.deadline = deadline
        try:
            yield
        finally:
            self._thread.deadline = None

    @property
    def universe_domain(self) -> str:
        """The domain of Google's services that the secret names."""
        with self._lock:
            return str(self._current().universe_domain)

    @property
    def kind(self) -> str:
        """What the secret holds. Raises CredentialsError."""
        with self._lock:
            is_key = isinstance(self._current(), Signing)
        return "key" if is_key else "federation configuration"

    def before_request(
        self, request: object, method: str, url: str, headers: dict[str, str]
    ) -> None:
        """Authorize a request; with the secret as it is now, if it was read long ago."""
        with self._lock:  # else another thread's renewal may take the token away meanwhile
            if self._clock() >= self._read_again_at:
                self._current()
            super().before_request(request, method, url, headers)  # type: ignore[no-untyped-call]

    def apply(self, headers: dict[str, str], token: str | None = None) -> None:
        """Remember which token this thread's request carries."""
        self._thread.token = token or self.token
        super().apply(headers, self._thread.token)  # type: ignore[no-untyped-call]

    def refresh(self, request: object) -> None:
        """Get a new token: google-auth calls this when there is none, and when one was refused.

        `request` is not used: it waits up to five minutes. Raises CredentialsError,
        UnavailableError, OutOfTimeError.
        """
        del request
        with self._lock:
            if self.valid and self.token != self._thread.token:
                return  # another thread has renewed it
            refused = self.valid
            inner = self._reload() if refused else self._current()
            try:
                self._renew(inner)
            except CredentialsError:
                if refused:
                    raise
                self._renew(self._reload())

    def close(self) -> None:
        """Close the connections to the token services."""
        self._session.close()

    def _renew(self, inner: Credentials) -> None:
        """Raises CredentialsError, DestinationUnavailableError, OutOfTimeError."""
        self.token = None
        try:
            inner.refresh(self._transport)
            token, expiry = inner.token, inner.expiry
        except exceptions.GoogleAuthError as error:
            if getattr(error, "retryable", False):
                raise DestinationUnavailableError(
                    "Google's token service failed. Try again."
                ) from None
            raise CredentialsError(
                f"Google does not accept the credentials in the secret ({_oauth_error(error)})."
                " Check that the key exists and is enabled, or the federation's pool and provider."
            ) from None
        except MALFORMED:  # google-auth trusts in what it is answered
            raise DestinationUnavailableError(
                "The response of Google's token service is malformed. Try again."
            ) from None
        self.token, self.expiry = token, expiry

    def _current(self) -> Credentials:
        """Return the credentials, built anew when the secret has changed."""
        if self._inner is None:
            return self._reload()
        if self._clock() >= self._read_again_at:
            self._recheck()
        return self._inner

    def _recheck(self) -> None:
        """Read the secret again; keep what there is while Secrets Manager is unavailable."""
        deadline = Deadline(self._deadline().limit(RECHECK_TIMEOUT_S))
        try:
            self._use(self._secret.read(deadline))
        except (UnavailableError, OutOfTimeError):  # out of the seconds for this, not of all
            self._read_again_at = self._clock() + RECHECK_S
        except CredentialsError:  # the secret is gone, malformed, or no longer ours to read
            self._inner = self.token = None
            raise

    def _reload(self) -> Credentials:
        """Read the secret now. Raises CredentialsError, OutOfTimeError."""
        try:
            text = self._secret.read(self._deadline())
        except UnavailableError as error:
            raise CredentialsError(error.message) from None
        return self._use(text)

    def _use(self, text: str) -> Credentials:
        self._read_again_at = self._clock() + MAX_AGE_S
        if self._inner is None or text != self._text:
            self._inner = self._secret.credentials(text)
            self._text = text
            self.token = None
        return self._inner

    def _deadline(self) -> Deadline:
        return self._thread.deadline or Deadline(RECHECK_TIMEOUT_S)


class _TokenTransport(transport.Request):
    """google-auth's transport, in the invocation's time.

    What may pass by itself is raised at once, for google-auth would sleep over it.
    """

    def __init__(
        self, session: requests.Session, policy: RetryPolicy, deadline: Callable[[], Deadline]
    ) -> None:
        self._request = Request(session)
        self._policy = policy
        self._deadline = deadline

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: object,
    ) -> Any:  # noqa: ANN401 - a google.auth.transport.Response
        """Send a request; the invocation's time counts, not google-auth's `timeout`.

        Raises CredentialsError, DestinationUnavailableError, OutOfTimeError.
        """
        timeout = self._deadline().limit(self._policy.io_timeout_s)
        try:
            response = self._request(url, method, body, headers, timeout=timeout)
        except exceptions.TransportError as error:
            if isinstance(error.__context__, ValueError):  # requests' errors about a URL are
                raise CredentialsError(
                    "The secret named by GCP_CREDENTIALS_SECRET cannot be used: it has an invalid"
                    " URL. Store the key or the configuration as Google writes it."
                ) from None
            raise DestinationUnavailableError(
                "Google's token service could not be reached"
                f" ({type(error.__context__).__name__}). Try again."
            ) from None
        if is_transient(response.status) or _is_transient_oauth(response.status, response.data):
            raise DestinationUnavailableError(
                f"Google's token service failed ({response.status}). Try again.",
                retry_after_s=retry_after(response.headers),
            )
        return response


def _is_transient_oauth(status: int, body: bytes) -> bool:
    try:
        return status != HTTPStatus.OK and json.loads(body)["error"] in _TRANSIENT_OAUTH
    except MALFORMED:
        return False


def _oauth_error(error: exceptions.GoogleAuthError) -> str:
    """The OAuth error's name only: what stands behind it may quote what was sent."""
    known = ("invalid_grant", "invalid_client", "unauthorized_client", "access_denied")
    text = str(error)
    return next((name for name in known if name in text), type(error).__name__)
