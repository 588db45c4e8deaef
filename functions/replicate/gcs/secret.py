"""The secret that holds the Google credentials.

It holds a service account key, or a workload identity federation configuration for AWS, in the JSON
format of Google's console and command line. Errors name a wrong field and never its content.

Source: AIP-4112, "Service account keys", and AIP-4117, "External account credentials".
"""

import json
from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    NoCredentialsError,
    ReadTimeoutError,
)
from google.auth import aws
from google.auth.credentials import Credentials
from google.oauth2 import service_account

from replicate.aws_clients import NO_ROLE, AwsClients
from replicate.errors import (
    CredentialsError,
    DestinationUnavailableError,
    SettingsError,
    UnavailableError,
)
from replicate.gcs.errors import MALFORMED, mark_aws_errors
from replicate.gcs.trusted_hosts import TrustedHosts
from replicate.protocol.deadline import Deadline
from replicate.retry import RetryPolicy, is_expired, is_throttling, is_transient, retrying

SCOPES = ("https://www.googleapis.com/auth/devstorage.full_control",)
"""With devstorage.read_write GCS refuses to change the metadata of an object.

The scope only narrows what the role on the bucket allows.
"""

_KEY = "service_account"
_FEDERATION = "external_account"
_REQUIRED_FIELDS = {
    _KEY: ("client_email", "private_key", "token_uri"),
    _FEDERATION: ("audience", "subject_token_type", "token_url"),
}
_OPTIONAL_FIELDS = frozenset({"universe_domain"})
_AWS_TOKEN = "urn:ietf:params:aws:token-type:aws4_request"  # noqa: S105 - a type, not a token


class Secret:
    """A secret in Secrets Manager, by its name or ARN. Builds Google credentials from it."""

    def __init__(
        self,
        clients: AwsClients,
        name: str,
        region: str,
        policy: RetryPolicy,
        trusted: TrustedHosts,
    ) -> None:
        self._clients = clients
        self._name = name
        self._region = region
        self._policy = policy
        self._trusted = trusted

    def read(self, deadline: Deadline) -> str:
        """Return the current text of the secret.

        Raise CredentialsError when Secrets Manager refuses the request, UnavailableError when it
        fails, SettingsError when the function has no AWS credentials.
        """
        return retrying(lambda: self._read(deadline), self._policy, deadline)

    def credentials(self, text: str) -> Credentials:
        """Build Google credentials from the text.

        Raise CredentialsError if it is malformed, or names a host that is not trusted.
        """
        info = _parse(text)
        if problem := self._trusted.problem(info):
            raise _malformed(problem)
        try:
            if info["type"] == _KEY:
                return _from_key(info)
            return _from_federation(info, _FunctionCredentials(self._clients, self._region))
        except MALFORMED:  # its text may quote the secret
            field = "private_key" if info["type"] == _KEY else "audience or token_url"
            raise _malformed(f"Google's libraries cannot read its {field}") from None

    def _read(self, deadline: Deadline) -> str:
        provider = SecretsProvider(boto3_client=self._clients.client("secretsmanager", deadline))
        try:
            value = provider.get(self._name, force_fetch=True)
        except GetParameterError as error:  # Powertools wraps what boto3 raises
            raise self._translate(error.__context__) from None
        if isinstance(value, bytes):  # some tools store text as bytes
            return value.decode(errors="replace")
        if not isinstance(value, str):
            raise self._unavailable("its response is malformed")
        return value

    def _translate(self, error: BaseException | None) -> Exception:
        if isinstance(error, NoCredentialsError):
            return SettingsError(NO_ROLE)
        if not isinstance(error, ClientError):
            timed_out = isinstance(error, ConnectTimeoutError | ReadTimeoutError)
            return self._unavailable(type(error).__name__, timed_out=timed_out)
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        code = error.response["Error"].get("Code") or str(status)
        if is_transient(status) or is_throttling(code) or is_expired(code):
            return self._unavailable(code)
        return CredentialsError(
            f"Secrets Manager refused to read the secret {self._name} ({code}). Check"
            " GcpCredentialsSecretArn (GCP_CREDENTIALS_SECRET). Allow the function's role"
            " secretsmanager:GetSecretValue on the secret, and kms:Decrypt on its KMS key,"
            " if it has one."
        )

    def _unavailable(self, why: str, *, timed_out: bool = False) -> UnavailableError:
        return UnavailableError(
            f"The secret {self._name} could not be read from Secrets Manager ({why}). Try again.",
            timed_out=timed_out,
        )


def _from_key(info: Mapping[str, Any]) -> Credentials:
    made: Credentials = service_account.Credentials.from_service_account_info(info, scopes=SCOPES)
    return made


def _from_federation(
    info: Mapping[str, Any], supplier: aws.AwsSecurityCredentialsSupplier
) -> Credentials:
    """Build credentials that get AWS keys from `supplier` instead of from the credential source.

    In Lambda google-auth reads environment variables only. `supplier` gets the keys wherever boto3
    finds them, so that both clouds know the function as the same role.
    """
    federation = {key: value for key, value in info.items() if key != "credential_source"}
    made: Credentials = aws.Credentials.from_info(
        federation, scopes=SCOPES, aws_security_credentials_supplier=supplier
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
    if not isinstance(kind, str) or kind not in _REQUIRED_FIELDS:
        raise _malformed(f"its field type is neither {_KEY} nor {_FEDERATION}")
    for field in (*_REQUIRED_FIELDS[kind], *(_OPTIONAL_FIELDS & info.keys())):
        if not isinstance(info.get(field), str) or not info[field]:
            raise _malformed(f"its field {field} is missing, empty or not a string")
    if kind == _FEDERATION and info["subject_token_type"] != _AWS_TOKEN:
        raise _malformed(f"its field subject_token_type is not {_AWS_TOKEN}")
    return info


def _malformed(why: str) -> CredentialsError:
    return CredentialsError(
        "The secret named by GcpCredentialsSecretArn (GCP_CREDENTIALS_SECRET) cannot be used:"
        f" {why}. Store the service account key or the federation configuration that Google Cloud"
        " created, without changes."
    )


class _FunctionCredentials(aws.AwsSecurityCredentialsSupplier):
    """The function's own AWS credentials, for google-auth."""

    def __init__(self, clients: AwsClients, region: str) -> None:
        self._clients = clients
        self._region = region

    def get_aws_security_credentials(
        self, context: object, request: object
    ) -> aws.AwsSecurityCredentials:
        """See the base class. Raise DestinationUnavailableError, SettingsError."""
        del context, request
        with mark_aws_errors():
            try:
                keys = self._clients.keys()
            except UnavailableError as error:  # without AWS keys there is no token for GCS
                raise DestinationUnavailableError(error.message) from None
        return aws.AwsSecurityCredentials(keys.access_key, keys.secret_key, keys.token)

    def get_aws_region(self, context: object, request: object) -> str:
        """See the base class."""
        del context, request
        return self._region
