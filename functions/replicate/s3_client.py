"""Signed requests to S3's REST API.

A call through a boto3 client costs several times the CPU of the request itself, and two are made
for every object: so the requests are written here.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from replicate.aws_credentials import AwsCredentials
from replicate.connections import Connections, Response
from replicate.deadline import Deadline
from replicate.objects import SourceRef
from replicate.signing import Signer

_HOST_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")


class S3Client:
    """Signed requests to S3, for the life of the execution environment. Safe across threads."""

    def __init__(
        self, credentials: AwsCredentials, region: str, endpoint: str | None = None
    ) -> None:
        self._credentials = credentials
        self._region = region
        self._endpoint = endpoint
        self._region_of: dict[str, str] = {}
        self._connections: dict[str, Connections] = {}
        self._signers: dict[str, Signer] = {}

    def request(
        self,
        method: str,
        ref: SourceRef,
        headers: Mapping[str, str],
        deadline: Deadline,
        query: str = "",
    ) -> Response:
        """Ask the bucket's own region about an object. Raises BrokenConnectionError."""
        asked = self._region_of.get(ref.bucket, self._region)
        response = self._send(method, ref, query, headers, asked, deadline)
        region = response.headers.get("x-amz-bucket-region")
        if region and region != asked and response.status in {301, 307, 400}:
            response.close()
            self._region_of[ref.bucket] = region
            response = self._send(method, ref, query, headers, region, deadline)
        return response

    def close(self) -> None:
        """Close the connections that are kept."""
        for connections in self._connections.values():
            connections.close()

    def _send(
        self,
        method: str,
        ref: SourceRef,
        query: str,
        headers: Mapping[str, str],
        region: str,
        deadline: Deadline,
    ) -> Response:
        base, path = self._address(ref, region)
        connections = self._connections.get(base)
        if connections is None:
            connections = self._connections.setdefault(base, Connections(base))
        signer = self._signers.get(region)
        if signer is None:
            signer = self._signers.setdefault(region, Signer(self._credentials, "s3", region))
        target = path + query
        signed = signer.signed(method, target, {"Host": connections.host, **headers})
        return connections.request(method, target, signed, deadline)

    def _address(self, ref: SourceRef, region: str) -> tuple[str, str]:
        """Base URL and path of an object. Source: S3's user guide, "Virtual hosting of buckets"."""
        key = quote(ref.key, safe="/~")
        if self._endpoint is not None:
            return self._endpoint, f"/{ref.bucket}/{key}"
        host = f"s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
        if _HOST_LABEL.fullmatch(ref.bucket):
            return f"https://{ref.bucket}.{host}", f"/{key}"
        return f"https://{host}", f"/{ref.bucket}/{key}"  # a certificate's wildcard covers no dots


def query(parameters: Mapping[str, str | None]) -> str:
    """A query string of what has a value; it is signed in the order of its names."""
    stated = {name: value for name, value in parameters.items() if value is not None}
    return "?" + urlencode(stated, safe="", quote_via=quote) if stated else ""
