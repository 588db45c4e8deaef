"""Send the bytes of one object into one resumable session.

google-cloud-storage opens the session. Its own upload method is not used: it holds each chunk in
memory, cannot wait for the source's checksum, and cannot cancel the session. A broken upload is
resumed at the offset that GCS reports. The bytes that GCS did not store are read from S3 again.

Source: "Resumable uploads" in GCS's documentation.
"""

import contextlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sized
from http import HTTPStatus
from typing import Any

import requests

from replicate.breaker import Circuit
from replicate.errors import CredentialsError, DestinationUnavailableError, ThrottledError
from replicate.gcs.errors import MALFORMED, admit_request, from_response, malformed, unreachable
from replicate.protocol.deadline import Deadline
from replicate.protocol.model import Attributes, Replica
from replicate.protocol.ports import GatedBody
from replicate.retry import Backoff, RetryPolicy, retrying

QUANTUM = 256 * 1024
"""GCS stores multiples of this, except at the end of an object. Source: "Resumable uploads"."""

CANCEL_S = 0.5
"""Longest time to cancel an upload: half of it to connect, half to wait for the response.

It is part of `deadline.MARGIN_S`. A request whose response comes later takes effect, too.
"""

_RANGE = re.compile(r"bytes=0-(\d+)")


class _SessionGoneError(Exception):
    """GCS does not have the session: it expired, or was never stored."""


class ResumableUpload(ABC):
    """One upload of one body. If `response_lost`, it may have succeeded without a response."""

    def __init__(
        self,
        *,
        name: str,
        uri: str,
        attributes: Attributes,
        body: GatedBody,
        open_session: Callable[[], str],
        http: requests.Session,
        circuit: Circuit,
        deadline: Deadline,
        policy: RetryPolicy,
    ) -> None:
        self._name = name
        self._uri = uri
        self._attributes = attributes
        self._body = body
        self._open_session = open_session
        self._http = http
        self._circuit = circuit
        self._deadline = deadline
        self._policy = policy
        self._size = body.size
        self._session = ""
        self.response_lost = False

    def run(self) -> Replica:
        """Upload the body. Cancel the session if that fails.

        Raise DestinationChangedError, SourceChangedError or ReplicationError.
        """
        backoff = Backoff(self._policy, self._deadline)
        while True:
            self._session = retrying(self._open_session, self._policy, self._deadline)
            try:
                return self._transfer()
            except _SessionGoneError:
                backoff.failed(
                    DestinationUnavailableError(
                        f"GCS no longer has the upload session of {self._uri}. Try again."
                    )
                )
            except BaseException:
                self._cancel()
                raise

    def _transfer(self) -> Replica:
        """Send the bytes that GCS has not stored yet, until it has stored all of them.

        The session URI is authorization enough, so a 401 is a transient error.
        """
        backoff = Backoff(self._policy, self._deadline)
        stored = most = 0
        while True:
            try:
                state = self._advance(stored)
            except (DestinationUnavailableError, ThrottledError, CredentialsError) as error:
                backoff.failed(error)
                state = retrying(self._query_status, self._policy, self._deadline)
            if isinstance(state, Replica):
                return state
            stored = state
            if stored > most:
                most = stored
                backoff.progressed()

    def _advance(self, offset: int) -> int | Replica:
        """Send bytes. Raise DestinationUnavailableError if GCS has stored none of them."""
        state = self._send_from(offset)
        if isinstance(state, int) and state <= offset:
            raise DestinationUnavailableError(f"GCS stored no bytes of {self._uri}. Try again.")
        return state

    @abstractmethod
    def _send_from(self, offset: int) -> int | Replica:
        """Send bytes from `offset` on in one request. Complete the upload with the last ones.

        Return how many bytes GCS has stored, or the object if it is complete. Before the last
        request every byte is read, and verified.
        """

    def _complete(self, data: Sized, sent: str, headers: Mapping[str, str]) -> int | Replica:
        """Send the last request. Without a response the object may be complete."""
        try:
            return self._put(data, {"Content-Range": f"bytes {sent}/{self._size}", **headers})
        except DestinationUnavailableError:
            self.response_lost = True
            raise

    def _query_status(self) -> int | Replica:
        """Return how many bytes GCS has stored, or the object if it is complete.

        The request does not name the object's size. If it did, it would complete an upload of which
        GCS has all bytes, without the CRC32C that GCS must compare.
        """
        try:
            return self._put(b"", {"Content-Range": "bytes */*"}, is_quick=True)
        except CredentialsError:
            # The session URI is authorization enough, unless it is incomplete: http.client accepts
            # a truncated header as complete.
            raise _SessionGoneError from None

    def _put(
        self, data: Sized, headers: Mapping[str, str], *, is_quick: bool = False
    ) -> int | Replica:
        """Send one request to the session and parse its response."""
        at_least_s = 0.0 if is_quick else self._policy.io_timeout_s
        with admit_request(self._circuit, self._deadline, at_least_s=at_least_s) as timeout:
            response = self._send(data, headers, timeout)
        return self._parse(response)

    def _send(self, data: Sized, headers: Mapping[str, str], timeout: float) -> requests.Response:
        try:
            return self._http.put(
                self._session,
                data=data,  # type: ignore[arg-type] # `requests` sends buffers as they are
                headers={**headers, "Content-Length": str(len(data))},
                timeout=timeout,
                allow_redirects=False,  # here 308 is no redirect: it has the number of stored bytes
            )
        except (requests.RequestException, OSError) as error:
            raise unreachable(error) from None  # its text holds the session URI

    def _parse(self, response: requests.Response) -> int | Replica:
        """Return how many bytes GCS has stored, or the object if it is complete."""
        status = response.status_code
        if status == HTTPStatus.PERMANENT_REDIRECT:
            stored = _RANGE.fullmatch(response.headers.get("Range", ""))
            return int(stored[1]) + 1 if stored else 0
        if status in {HTTPStatus.OK, HTTPStatus.CREATED}:
            return self._replica(response)
        if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
            raise _SessionGoneError
        raise from_response(response, self._uri)

    def _replica(self, response: requests.Response) -> Replica:
        try:
            resource: Mapping[str, Any] = response.json()
            return Replica(
                name=self._name,
                generation=int(resource["generation"]),
                metageneration=int(resource["metageneration"]),
                size=int(resource["size"]),
                attributes=self._attributes,
                crc32c=resource["crc32c"],
                md5=resource.get("md5Hash"),
                request_id=response.headers.get("X-GUploader-UploadID"),
            )
        except MALFORMED as error:
            raise malformed(error) from None

    def _cancel(self) -> None:
        """Cancel the session. GCS keeps an open one for a week, without a visible object.

        No token is sent: the session URI is authorization enough, and the upload may have failed
        because no token was available.
        """
        with contextlib.suppress(requests.RequestException, OSError):
            self._http.delete(
                self._session,
                headers={"Content-Length": "0"},
                timeout=(CANCEL_S / 2, CANCEL_S / 2),
            )
