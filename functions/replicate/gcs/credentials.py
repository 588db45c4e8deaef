"""Google credentials from a secret that may be rotated without a deployment.

The secret is read when it is first needed, every 15 minutes after that, and when Google refuses the
credentials.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
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
from replicate.gcs.errors import MALFORMED, is_timeout, mark_aws_errors
from replicate.protocol.deadline import Deadline
from replicate.retry import RetryPolicy, is_transient, retry_after

MAX_AGE_S = 15 * 60.0
"""Age after which the secret is read again. It bounds how long a replaced secret stays in use.

Not measured. It costs one request to Secrets Manager per environment in this time.
"""

RECHECK_S = 60.0
"""Time to the next attempt to read the secret again, after Secrets Manager was unavailable.

Chosen, not measured: so an outage costs an environment RECHECK_TIMEOUT_S once a minute at most.
"""

RECHECK_TIMEOUT_S = 5.0
"""Longest time to read the secret again while the current credentials still work.

Not measured. It bounds what an outage of Secrets Manager adds to an invocation.
"""

TOKEN_TIMEOUT_S = 5.0
"""Longest wait for a response of the token service. A token is valid for an hour.

Chosen, not measured: it is `BreakerPolicy.longest_wait_s`.
"""

_TRANSIENT_OAUTH = frozenset({"internal_failure", "server_error", "temporarily_unavailable"})
"""OAuth errors that google-auth would retry. It sleeps between attempts and has no deadline."""


class SecretSource(Protocol):
    """The interface of `gcs.secret.Secret`."""

    def read(self, deadline: Deadline) -> str:
        """Return the secret's text. Raise CredentialsError, UnavailableError."""

    def credentials(self, text: str) -> Credentials:
        """Build Google credentials from the text. Raise CredentialsError."""


class _ThreadState(threading.local):
    """The state of one thread that uses the credentials."""

    token: str | None = None
    """The token of the thread's last request."""


class SecretCredentials(Credentials):
    """Credentials for google-cloud-storage. Safe across threads.

    They wrap credentials of google-auth and take only tokens from them. Otherwise google-auth would
    send requests to another service in the background.
    """

    def __init__(
        self,
        secret: SecretSource,
        deadline: Deadline,
        policy: RetryPolicy,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`deadline` bounds each wait for the secret and for tokens."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._secret = secret
        self._deadline = deadline
        self._clock = clock
        self._session = requests.Session()
        self._transport = _TokenTransport(self._session, policy, deadline)
        self._lock = threading.RLock()
        self._thread = _ThreadState()
        self._text = ""
        self._inner: Credentials | None = None
        self._read_again_at = 0.0

    @property
    def universe_domain(self) -> str:
        """The domain of Google's services, from the secret."""
        with self._lock:
            return str(self._current_credentials().universe_domain)

    @property
    def kind(self) -> str:
        """What the secret holds, as text for the doctor."""
        with self._lock:
            is_key = isinstance(self._current_credentials(), Signing)
        return "key" if is_key else "federation configuration"

    def before_request(
        self, request: object, method: str, url: str, headers: dict[str, str]
    ) -> None:
        """Authorize a request. Read the secret again first, if it is due."""
        with self._lock:  # otherwise another thread may clear the token to renew it
            if self._clock() >= self._read_again_at:
                self._current_credentials()
            super().before_request(request, method, url, headers)  # type: ignore[no-untyped-call]

    def apply(self, headers: dict[str, str], token: str | None = None) -> None:
        """Add the token to a request's headers, and remember which one this thread sent."""
        self._thread.token = token or self.token
        super().apply(headers, self._thread.token)  # type: ignore[no-untyped-call]

    def refresh(self, request: object) -> None:
        """Get a new token. google-auth calls this without a token and after GCS refused one.

        `request` is not used, because it waits for up to five minutes. Raise CredentialsError,
        UnavailableError, OutOfTimeError.
        """
        del request
        with self._lock:
            if self.valid and self.token != self._thread.token:
                return  # another thread has renewed it
            refused = self.valid
            inner = self._reload() if refused else self._current_credentials()
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
        """Get a token. Raise CredentialsError, DestinationUnavailableError, OutOfTimeError."""
        self.token = None
        try:
            inner.refresh(self._transport)
            token, expiry = inner.token, inner.expiry
        except exceptions.GoogleAuthError as error:
            if error.retryable:
                raise DestinationUnavailableError(
                    "Google's token service failed. Try again."
                ) from None
            raise CredentialsError(
                f"Google does not accept the credentials in the secret ({_oauth_error(error)})."
                " Check that the service account key exists and is enabled, or check the workload"
                " identity pool and its provider."
            ) from None
        except MALFORMED:  # google-auth does not validate responses
            raise DestinationUnavailableError(
                "The response of Google's token service is malformed. Try again."
            ) from None
        self.token, self.expiry = token, expiry

    def _current_credentials(self) -> Credentials:
        """Return the credentials. Read the secret again if it is due."""
        if self._inner is None:
            return self._reload()
        if self._clock() >= self._read_again_at:
            with mark_aws_errors():
                self._recheck_secret()
        return self._inner

    def _recheck_secret(self) -> None:
        """Read the secret again. Keep the credentials while Secrets Manager is unavailable."""
        deadline = Deadline(self._deadline.limit(RECHECK_TIMEOUT_S))
        try:
            self._load(self._secret.read(deadline))
        except (UnavailableError, OutOfTimeError):  # out of RECHECK_TIMEOUT_S
            self._read_again_at = self._clock() + RECHECK_S
        except CredentialsError:  # the secret is gone, malformed or forbidden
            self._inner = self.token = None
            raise

    def _reload(self) -> Credentials:
        """Read the secret now. Raise CredentialsError, also when Secrets Manager is unavailable.

        Raise OutOfTimeError.
        """
        with mark_aws_errors():
            try:
                text = self._secret.read(self._deadline)
            except UnavailableError as error:
                raise CredentialsError(error.message) from None
            return self._load(text)

    def _load(self, text: str) -> Credentials:
        self._read_again_at = self._clock() + MAX_AGE_S
        if self._inner is None or text != self._text:
            self._inner = self._secret.credentials(text)
            self._text = text
            self.token = None
        return self._inner


class _TokenTransport(transport.Request):
    """The transport of google-auth, bounded by the invocation's deadline.

    It raises transient errors itself. google-auth would retry them without a deadline.
    """

    def __init__(self, session: requests.Session, policy: RetryPolicy, deadline: Deadline) -> None:
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
        """Send a request. The deadline bounds it, and `timeout` is ignored.

        Raise CredentialsError, DestinationUnavailableError, OutOfTimeError.
        """
        timeout = self._deadline.limit(min(TOKEN_TIMEOUT_S, self._policy.io_timeout_s))
        try:
            response = self._request(url, method, body, headers, timeout=timeout)
        except exceptions.TransportError as error:
            if isinstance(error.__context__, ValueError):  # `requests` raises it for a bad URL
                raise CredentialsError(
                    "The secret named by GcpCredentialsSecretArn (GCP_CREDENTIALS_SECRET) cannot be"
                    " used: it has an invalid URL. Store the file that Google Cloud created,"
                    " without changes."
                ) from None
            raise DestinationUnavailableError(
                "Google's token service could not be reached"
                f" ({type(error.__context__).__name__}). Try again.",
                timed_out=is_timeout(error.__context__),
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
    """Return the name of the OAuth error. Its description may quote the request."""
    known = ("invalid_grant", "invalid_client", "unauthorized_client", "access_denied")
    text = str(error)
    return next((name for name in known if name in text), type(error).__name__)
