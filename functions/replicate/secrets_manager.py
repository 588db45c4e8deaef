"""AWS Secrets Manager's one call that is needed.

A boto3 client would take longer to import and make than everything else of a cold start.
"""

import base64
import json
import re
from http import HTTPStatus

from replicate.aws_credentials import AwsCredentials
from replicate.connections import BrokenConnectionError, Connections, Response
from replicate.deadline import Deadline
from replicate.errors import CredentialsError, UnavailableError
from replicate.retry import retrying
from replicate.signing import Signer

_ERROR_CODE = re.compile(rb'"__type"\s*:\s*"(?:[^"]*#)?([A-Za-z.]{1,100})"')


class SecretsManager:
    """Reads secrets. Safe across threads."""

    def __init__(
        self, credentials: AwsCredentials, region: str, endpoint: str | None = None
    ) -> None:
        suffix = ".cn" if region.startswith("cn-") else ""
        self.url = endpoint or f"https://secretsmanager.{region}.amazonaws.com{suffix}"
        self._signer = Signer(credentials, "secretsmanager", region)
        self._connections = Connections(self.url)

    def read(self, name: str, deadline: Deadline) -> str:
        """The text of a secret, by name or ARN. Raises CredentialsError, OutOfTimeError."""
        try:
            return retrying(lambda: self._read(name, deadline), deadline)
        except UnavailableError as error:
            raise CredentialsError(
                f"Secrets Manager could not be asked for the secret {name} ({error.message})."
                " Try again."
            ) from None

    def close(self) -> None:
        """Close the connection that is kept."""
        self._connections.close()

    def _read(self, name: str, deadline: Deadline) -> str:
        try:
            with self._ask(json.dumps({"SecretId": name}).encode(), deadline) as response:
                answer = response.read()
        except BrokenConnectionError as error:
            raise UnavailableError(f"the answer broke off: {error}") from error
        if response.status == HTTPStatus.OK:
            return _text(answer)
        found = _ERROR_CODE.search(answer)
        code = found[1].decode() if found else str(response.status)
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR or "Throttling" in code:
            raise UnavailableError(f"it answered {code}")
        raise CredentialsError(
            f"Secrets Manager did not give the secret {name} ({code}). Check the name in"
            " GCP_CREDENTIALS_SECRET, and that the function's role may"
            " secretsmanager:GetSecretValue it (and kms:Decrypt with its key, if it has one)."
        )

    def _ask(self, body: bytes, deadline: Deadline) -> Response:
        headers = {
            "Host": self._connections.host,
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": "secretsmanager.GetSecretValue",
        }
        signed = self._signer.signed("POST", "/", headers, body)
        signed["Content-Length"] = str(len(body))
        return self._connections.request("POST", "/", signed, deadline, [body])


def _text(answer: bytes) -> str:
    """A secret is stored as text or, by some tools, as bytes. Raises UnavailableError."""
    try:
        found = json.loads(answer)
        if "SecretString" in found:
            return str(found["SecretString"])
        return base64.b64decode(found["SecretBinary"], validate=True).decode(errors="replace")
    except (ValueError, TypeError, LookupError):  # it may have part of the secret in it
        raise UnavailableError("its answer makes no sense") from None
