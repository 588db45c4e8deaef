"""Google credentials, made from the secret.

It holds a service account key or a workload identity federation configuration for AWS, as Google's
console and command line write them. Errors name the field that is wrong, and never what is in it.
"""

import json
from collections.abc import Mapping
from typing import Any

from google.auth import aws
from google.auth.credentials import Credentials
from google.oauth2 import service_account

from replicate.aws_credentials import AwsCredentials
from replicate.errors import CredentialsError, DestinationUnavailableError, UnavailableError
from replicate.token_services import NONSENSE

SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)

_KEY = "service_account"
_FEDERATION = "external_account"
_NEEDED = {
    _KEY: ("client_email", "private_key", "token_uri"),
    _FEDERATION: ("audience", "subject_token_type", "token_url"),
}
_AWS_TOKEN = "urn:ietf:params:aws:token-type:aws4_request"  # noqa: S105 - the name of a type


def credentials(secret: str, aws_credentials: AwsCredentials, region: str) -> Credentials:
    """Google credentials as the secret describes them. Raises CredentialsError."""
    info = _parse(secret)
    make = _from_key if info["type"] == _KEY else _from_federation
    try:
        return make(info, aws_credentials, region)
    except NONSENSE:  # its text may quote the secret
        field = "private_key" if info["type"] == _KEY else "audience or token_url"
        raise _malformed(f"its {field} is not what Google's libraries can read") from None


def _from_key(info: Mapping[str, Any], *_: object) -> Credentials:
    made: Credentials = service_account.Credentials.from_service_account_info(info, scopes=SCOPES)
    return made


def _from_federation(
    info: Mapping[str, Any], aws_credentials: AwsCredentials, region: str
) -> Credentials:
    """The supplier replaces the credential source, which does not know SnapStart's container."""
    federation = {key: value for key, value in info.items() if key != "credential_source"}
    made: Credentials = aws.Credentials.from_info(
        federation,
        scopes=SCOPES,
        aws_security_credentials_supplier=_FunctionCredentials(aws_credentials, region),
    )
    return made


def _parse(secret: str) -> Mapping[str, Any]:
    try:
        info = json.loads(secret)
    except ValueError:
        raise _malformed("it is not JSON") from None
    if not isinstance(info, dict):
        raise _malformed("it is not a JSON object")
    kind = info.get("type")
    if not isinstance(kind, str) or kind not in _NEEDED:
        raise _malformed(f"its field type is neither {_KEY} nor {_FEDERATION}")
    for field in _NEEDED[kind]:
        if not isinstance(info.get(field), str) or not info[field]:
            raise _malformed(f"its field {field} is missing or not a text")
    if kind == _FEDERATION and info["subject_token_type"] != _AWS_TOKEN:
        raise _malformed(f"its field subject_token_type is not {_AWS_TOKEN}")
    return info


def _malformed(why: str) -> CredentialsError:
    return CredentialsError(
        f"The secret named by GCP_CREDENTIALS_SECRET cannot be used: {why}. Store the service"
        " account key or the federation configuration as Google writes it."
    )


class _FunctionCredentials(aws.AwsSecurityCredentialsSupplier):
    """The function's own AWS credentials."""

    def __init__(self, credentials: AwsCredentials, region: str) -> None:
        self._credentials = credentials
        self._region = region

    def get_aws_security_credentials(
        self, context: object, request: object
    ) -> aws.AwsSecurityCredentials:
        del context, request
        try:
            keys = self._credentials()
        except UnavailableError as error:  # then there is no way to GCS for now
            raise DestinationUnavailableError(error.message) from None
        return aws.AwsSecurityCredentials(keys.access_key, keys.secret_key, keys.token)

    def get_aws_region(self, context: object, request: object) -> str:
        del context, request
        return self._region
