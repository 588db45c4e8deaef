"""The function's own AWS credentials, from where Lambda puts them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from replicate.errors import SettingsError, UnavailableError


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """What a request is signed with."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


AwsCredentials = Callable[[], AwsKeys]
"""The keys as they are now. Safe across threads. Raises UnavailableError, SettingsError."""


def find(environ: Mapping[str, str], region: str) -> AwsCredentials:
    """Look into the environment first: its keys last as long as it does."""
    access_key = environ.get("AWS_ACCESS_KEY_ID")
    secret_key = environ.get("AWS_SECRET_ACCESS_KEY")
    if not access_key or not secret_key:
        return _from_boto3(region)
    keys = AwsKeys(access_key, secret_key, environ.get("AWS_SESSION_TOKEN") or None)
    return lambda: keys


def _from_boto3(region: str) -> AwsCredentials:
    """Under SnapStart a server beside the function has keys that expire; boto3 renews them."""
    import boto3  # noqa: PLC0415 - a third of a cold start, and most functions do without

    session = boto3.Session(region_name=region)

    def current() -> AwsKeys:
        try:
            found = session.get_credentials()  # once: the session keeps what it found
            frozen = found.get_frozen_credentials() if found else None
        except Exception:  # noqa: BLE001 - any kind, and it may quote what it was answered
            raise UnavailableError(
                "The function's AWS credentials could not be renewed. Try again."
            ) from None
        if frozen is None:
            raise SettingsError("There are no AWS credentials: give the function a role.")
        return AwsKeys(frozen.access_key or "", frozen.secret_key or "", frozen.token)

    return current
