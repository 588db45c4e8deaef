"""Signature Version 4, by AWS's own library: a fourth of what botocore takes for a request."""

import hashlib
from collections.abc import Mapping

from awscrt.auth import (
    AwsCredentialsProvider,
    AwsSignatureType,
    AwsSignedBodyHeaderType,
    AwsSigningAlgorithm,
    AwsSigningConfig,
    aws_sign_request,
)
from awscrt.http import HttpHeaders, HttpRequest

from replicate.aws_credentials import AwsCredentials, AwsKeys


class Signer:
    """Signs requests to one service in one region. Safe across threads."""

    def __init__(self, credentials: AwsCredentials, service: str, region: str) -> None:
        self._credentials = credentials
        self._service = service
        self._region = region
        self._provider: tuple[AwsKeys, AwsCredentialsProvider] | None = None

    def signed(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
    ) -> dict[str, str]:
        """Return all headers to send. `target` is quoted once, as S3 has it; `Host` is needed.

        Raises UnavailableError, SettingsError.
        """
        request = HttpRequest(method, target, HttpHeaders([*headers.items()]))
        config = AwsSigningConfig(
            algorithm=AwsSigningAlgorithm.V4,
            signature_type=AwsSignatureType.HTTP_REQUEST_HEADERS,
            credentials_provider=self._keys(),
            region=self._region,
            service=self._service,
            use_double_uri_encode=False,
            should_normalize_uri_path=False,
            signed_body_value=hashlib.sha256(body).hexdigest(),
            signed_body_header_type=AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
        )
        aws_sign_request(request, config).result()
        return dict(request.headers)

    def _keys(self) -> AwsCredentialsProvider:
        """The same provider, for as long as the keys are the same."""
        keys = self._credentials()
        known = self._provider
        if known is None or known[0] != keys:
            known = (
                keys,
                AwsCredentialsProvider.new_static(keys.access_key, keys.secret_key, keys.token),
            )
            self._provider = known
        return known[1]
