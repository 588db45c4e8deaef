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
"""The keys as they are now. Safe across threads. Raises UnavailableError."""


def find(environ: Mapping[str, str], region: str) -> AwsCredentials:
    """Look into the environment first: its keys last as long as it does. Raises SettingsError."""
    access_key = environ.get("AWS_ACCESS_KEY_ID")
    secret_key = environ.get("AWS_SECRET_ACCESS_KEY")
    if not access_key or not secret_key:
        return _from_boto3(region)
    keys = AwsKeys(access_key, secret_key, environ.get("AWS_SESSION_TOKEN") or None)
    return lambda: keys


def _from_boto3(region: str) -> AwsCredentials:
    """Under SnapStart a server beside the function has keys that expire; boto3 renews them."""
    import boto3  # noqa: PLC0415 - a third of a cold start, and most functions do without
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    found = boto3.Session(region_name=region).get_credentials()
    if found is None:
        raise SettingsError("There are no AWS credentials: give the function a role.")

    def current() -> AwsKeys:
        try:
            frozen = found.get_frozen_credentials()
        except BotoCoreError as error:
            raise UnavailableError(
                "The function's AWS credentials could not be renewed. Try again."
            ) from error
        return AwsKeys(frozen.access_key or "", frozen.secret_key or "", frozen.token)

    return current
