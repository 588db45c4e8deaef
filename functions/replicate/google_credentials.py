"""Access tokens for GCS.

The secret behind them is read once per execution environment, again after a while, and at once when
Google refuses what it gave: a rotation needs no deployment.
"""

import threading
import time
from collections.abc import Callable

from google.auth import exceptions
from google.auth.credentials import Credentials, Signing

from replicate.deadline import Deadline
from replicate.errors import CredentialsError, DestinationUnavailableError, OutOfTimeError
from replicate.token_services import NONSENSE, TokenServices

TTL_S = 15 * 60.0
"""For this long the secret is not read again."""

LOOK_AGAIN_S = 5.0
"""For reading it again, while there are credentials that work."""


class GoogleTokens:
    """Access tokens, kept while they are valid. Safe across threads."""

    def __init__(
        self,
        read_secret: Callable[[Deadline], str],
        build: Callable[[str], Credentials],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._read_secret = read_secret
        self._build = build
        self._clock = clock
        self._services = TokenServices()
        self._credentials: Credentials | None = None
        self._secret = ""
        self._read_at = 0.0
        self._lock = threading.Lock()

    def token(self, deadline: Deadline) -> str:
        """A token with time to live. Raises CredentialsError, UnavailableError, OutOfTimeError."""
        with self._lock:
            credentials = self._current(deadline)
            if not credentials.valid:
                try:
                    self._refresh(credentials, deadline)
                except CredentialsError:
                    credentials = self._read_again(deadline)
                    self._refresh(credentials, deadline)
            return str(credentials.token)

    def renew(self, rejected: str, deadline: Deadline) -> str:
        """A token other than the one Google did not accept, from the secret as it is now."""
        with self._lock:
            credentials = self._current(deadline)
            if credentials.token == rejected:
                credentials = self._read_again(deadline)
            if not credentials.valid:
                self._refresh(credentials, deadline)
            return str(credentials.token)

    def kind(self, deadline: Deadline) -> str:
        """What the secret holds. Raises CredentialsError."""
        with self._lock:
            is_key = isinstance(self._current(deadline), Signing)
        return "key" if is_key else "federation configuration"

    def close(self) -> None:
        """Close the connections that are kept."""
        self._services.close()

    def _current(self, deadline: Deadline) -> Credentials:
        """The credentials; built anew when the secret was read long ago and has changed since."""
        if self._credentials is None:
            return self._read_again(deadline)
        if self._clock() - self._read_at >= TTL_S:
            secret = self._look_again(deadline)
            self._read_at = self._clock()
            if secret != self._secret:
                self._secret, self._credentials = secret, self._build(secret)
        return self._credentials

    def _look_again(self, deadline: Deadline) -> str:
        """The secret as it is now; as it was, while nobody can say: what we have may still do."""
        try:
            return self._read_secret(Deadline(min(LOOK_AGAIN_S, deadline.require())))
        except (CredentialsError, OutOfTimeError):
            return self._secret

    def _read_again(self, deadline: Deadline) -> Credentials:
        self._secret = self._read_secret(deadline)
        self._read_at = self._clock()
        self._credentials = self._build(self._secret)
        return self._credentials

    def _refresh(self, credentials: Credentials, deadline: Deadline) -> None:
        try:
            credentials.refresh(self._services.within(deadline))
        except exceptions.GoogleAuthError as error:
            if getattr(error, "retryable", False):
                raise DestinationUnavailableError(
                    "Google's token service failed. Try again."
                ) from error
            raise CredentialsError(
                f"Google does not accept the credentials in the secret ({_oauth_error(error)})."
                " Check that the key exists and is enabled, or the federation's pool and provider."
            ) from None
        except NONSENSE:  # google-auth trusts in what it is answered
            raise DestinationUnavailableError(
                "The answer of Google's token service makes no sense. Try again."
            ) from None


def _oauth_error(error: exceptions.GoogleAuthError) -> str:
    """The OAuth error's name only: what stands behind it may quote what was sent."""
    known = ("invalid_grant", "invalid_client", "unauthorized_client", "access_denied")
    text = str(error)
    return next((name for name in known if name in text), type(error).__name__)
