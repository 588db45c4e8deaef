"""The destination: objects in GCS.

The client library is not used for what is done per object: it holds a large upload's chunks in
memory, repeats writes that no precondition protects, and on a checksum mismatch deletes an object
without one (docs/ARCHITECTURE.md).
"""

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from urllib.parse import quote, urlencode

from replicate import gcs_json
from replicate.connections import BrokenConnectionError, Response
from replicate.deadline import Deadline
from replicate.errors import (
    DestinationBucketNotFoundError,
    DestinationChangedError,
    DestinationUnavailableError,
)
from replicate.gcs_client import GcsClient, broken, refuse
from replicate.http1 import Buffer
from replicate.integrity import encode_crc32c
from replicate.mapping import Naming
from replicate.objects import Attributes, Precondition, Replica
from replicate.ports import CheckedBody
from replicate.resumable import ResumableUpload
from replicate.retry import retrying

ONE_REQUEST_BYTES = 8 * 1024 * 1024
"""Up to this size an object is held in memory and written by one request."""


class GcsDestination:
    """GCS as the protocol's destination, for one invocation."""

    def __init__(self, client: GcsClient, naming: Naming, deadline: Deadline) -> None:
        self._client = client
        self._naming = naming
        self._deadline = deadline
        self._bucket = "/storage/v1/b/" + quote(naming.bucket, safe="")

    def head(self, name: str) -> Replica | None:
        target = self._object(name, {})

        def attempt() -> Replica | None:
            with self._client.request("GET", target, self._deadline) as response:
                if response.status == HTTPStatus.NOT_FOUND:
                    return None
                return self._replica(response, name)

        return retrying(attempt, self._deadline)

    def write(
        self,
        name: str,
        attributes: Attributes,
        body: CheckedBody,
        precondition: Precondition,
        storage_class: str | None = None,
    ) -> Replica:
        resource = gcs_json.resource(name, attributes, storage_class)
        target = f"/upload{self._bucket}/o?" + urlencode(
            {"name": name, "fields": gcs_json.FIELDS, **_conditions(precondition)}
        )

        def is_ours(found: Replica) -> bool:
            return found.attributes == attributes and found.crc32c == encode_crc32c(body.crc32c)

        if body.object.size <= ONE_REQUEST_BYTES:
            data = _read_all(body)
            resource["crc32c"] = encode_crc32c(body.crc32c)
            headers, parts = _multipart(resource, data)
            target += "&uploadType=multipart"
            return self._change("POST", target, headers, parts, name, is_ours)
        upload = ResumableUpload(
            self._client,
            target + "&uploadType=resumable",
            resource,
            body,
            self._deadline,
            uri=self._naming.uri(name),
        )
        try:
            return upload.run()
        except DestinationChangedError:
            return self._recognised(name, is_ours, when=upload.answer_lost)

    def patch(self, name: str, attributes: Attributes, current: Replica) -> Replica:
        target = self._object(name, _conditions(Precondition.unchanged(current)))
        body = json.dumps(gcs_json.patch(attributes, current.attributes)).encode()
        try:
            return self._change(
                "PATCH",
                target,
                {"Content-Type": "application/json"},
                [body],
                name,
                lambda found: (
                    found.attributes == attributes and found.generation == current.generation
                ),
            )
        except DestinationBucketNotFoundError:  # or the object is gone: who looks again will know
            raise DestinationChangedError from None

    def delete(self, name: str, precondition: Precondition) -> None:
        target = self._object(name, _conditions(precondition))

        def attempt() -> None:
            with self._client.request("DELETE", target, self._deadline) as response:
                if response.status not in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND}:
                    refuse(response, self._naming.uri(name))

        retrying(attempt, self._deadline)

    def _change(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        parts: Sequence[Buffer],
        name: str,
        is_ours: Callable[[Replica], bool],
    ) -> Replica:
        """Send a conditioned change, again until it is answered: it is carried out once at most.

        After an answer was lost, a failed precondition may be our own success.
        """
        answer_lost = False

        def attempt() -> Replica:
            nonlocal answer_lost
            try:
                with self._client.request(
                    method, target, self._deadline, headers=headers, body=parts
                ) as response:
                    return self._replica(response, name)
            except DestinationUnavailableError:
                answer_lost = True
                raise
            except DestinationChangedError:
                return self._recognised(name, is_ours, when=answer_lost)

        return retrying(attempt, self._deadline)

    def _recognised(self, name: str, is_ours: Callable[[Replica], bool], *, when: bool) -> Replica:
        """The live object, if it is what we wrote. Raises DestinationChangedError."""
        found = self.head(name) if when else None
        if found is None or not is_ours(found):
            raise DestinationChangedError
        return found

    def _replica(self, response: Response, name: str) -> Replica:
        if response.status != HTTPStatus.OK:
            refuse(response, self._naming.uri(name))
        try:
            return gcs_json.replica(response)
        except BrokenConnectionError as error:
            raise broken(error) from error

    def _object(self, name: str, query: Mapping[str, str]) -> str:
        fields = urlencode({"fields": gcs_json.FIELDS, **query})
        return f"{self._bucket}/o/{quote(name, safe='')}?{fields}"


def _conditions(precondition: Precondition) -> dict[str, str]:
    stated = {"ifGenerationMatch": str(precondition.generation)}
    if precondition.metageneration is not None:
        stated["ifMetagenerationMatch"] = str(precondition.metageneration)
    return stated


def _read_all(body: CheckedBody) -> memoryview:
    """The whole of a small object, checked. Raises IntegrityError."""
    data = memoryview(bytearray(body.object.size))
    body.readinto(data)
    body.verify()
    return data


def _multipart(
    resource: Mapping[str, object], data: memoryview
) -> tuple[dict[str, str], list[Buffer]]:
    """A `multipart/related` request: the resource, then the bytes."""
    boundary = secrets.token_hex(16)
    head = (
        f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n"
        f"{json.dumps(resource)}\r\n"
        f"--{boundary}\r\nContent-Type: {_header(resource['contentType'])}\r\n\r\n"
    )
    headers = {"Content-Type": f"multipart/related; boundary={boundary}"}
    return headers, [head.encode(), data, f"\r\n--{boundary}--\r\n".encode()]


def _header(content_type: object) -> str:
    """The type as a header can say it; what counts is what the resource says."""
    text = str(content_type)
    return text if text.isascii() and text.isprintable() else "application/octet-stream"
