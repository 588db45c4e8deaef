"""Asks a real bucket what GCS's documentation leaves open about large objects.

    python -m tools.ask_bucket my-bucket

It writes three small objects below a prefix of their own, again and again, prints a table of
questions and answers, and deletes the objects. docs/GUARANTEES.md says why the questions matter.
The credentials are Google's default ones (`gcloud auth application-default login`).
"""

# Google's packages have no type hints.
# mypy: allow-untyped-calls

import argparse
import gzip
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import google.auth
import requests
from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError, from_http_response
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from tools.common.tables import table
from tools.local.audit import crc32c

SCOPE = "https://www.googleapis.com/auth/devstorage.full_control"
DATA = b"0123456789" * 100
OTHER = b"other bytes"
DELETE = "storage.objects.delete"

ONE, TWO, TARGET = "\uffff", "\U00010000", "target"
"""Names of the objects: two sources of composes, whose order by UTF-16 is another than by code
points, and what they are joined to."""


@dataclass(frozen=True, slots=True)
class Objects:
    """The three objects."""

    bucket: storage.Bucket
    prefix: str

    def blob(self, name: str) -> storage.Blob:
        blob: storage.Blob = self.bucket.blob(self.prefix + name)
        return blob

    def put(self, name: str) -> storage.Blob:
        """Write an object."""
        blob = self.blob(name)
        blob.upload_from_string(DATA)
        return blob

    def pair(self) -> list[storage.Blob]:
        """Write the two sources of a compose."""
        return [self.put(ONE), self.put(TWO)]

    def compose(self, target: storage.Blob, sources: list[storage.Blob], **more: object) -> str:
        """Join objects and delete them; return what became of that."""
        more |= {"delete_source_objects": True, "retry": DEFAULT_RETRY}
        outcome = _tried(lambda: target.compose(sources, **more))
        left = sum(source.exists() for source in sources)
        return f"{outcome}; {left} of {len(sources)} sources are left"

    def upload_gzip(
        self, name: str, *, cut: int | None = None, described: bytes = b"", hashed: bytes = b""
    ) -> str:
        """Send a compressed chunk as the product does; return what happened.

        The session's metadata may have the CRC32C of other bytes, and so may `x-goog-hash`.
        """
        blob = self.blob(name)
        if described:
            blob.crc32c = crc32c(described)
        upload = blob.create_resumable_upload_session(size=len(DATA), checksum=None)
        headers = {
            "Content-Encoding": "gzip",
            "Content-Type": "application/octet-stream",
            "Content-Range": f"bytes 0-{len(DATA) - 1}/{len(DATA)}",
        }
        if hashed:
            headers["x-goog-hash"] = f"crc32c={crc32c(hashed)}"
        body = gzip.compress(DATA)[:cut]

        def send() -> requests.Response:
            response = requests.put(upload, data=body, headers=headers, timeout=60)
            if response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
                raise from_http_response(response)  # one write of an object a second is the limit
            return response

        response = DEFAULT_RETRY(send)()
        if response.status_code != HTTPStatus.OK:
            requests.delete(upload, timeout=60)
            return f"refused with {response.status_code}"
        equal = "the same" if response.json()["crc32c"] == crc32c(DATA) else "other"
        return f"accepted, as {equal} bytes"


def _tried(request: Callable[[], object]) -> str:
    """Send a request; return how GCS answered."""
    try:
        request()
    except GoogleAPICallError as error:
        return f"refused with {error.code:d}"
    return "accepted"


def _a_refused_compose(objects: Objects) -> str:
    return objects.compose(objects.put(TARGET), objects.pair(), if_generation_match=0)


def _a_compose(objects: Objects) -> str:
    granted = objects.bucket.test_iam_permissions([DELETE])
    outcome = objects.compose(objects.blob(TARGET), objects.pair())
    return f"{outcome}. The credentials have {'' if granted else 'not '}{DELETE}"


def _a_held_source(objects: Objects) -> str:
    sources = objects.pair()
    with _held(sources[0]):
        return objects.compose(objects.blob(TARGET), sources)


@contextmanager
def _held(blob: storage.Blob) -> Iterator[None]:
    """Put a temporary hold on an object."""
    blob.temporary_hold = True
    blob.patch()
    try:
        yield
    finally:
        if blob.exists():
            blob.temporary_hold = False
            blob.patch()


def _another_class(objects: Objects) -> str:
    target = objects.blob(TARGET)
    target.storage_class = "NEARLINE"
    outcome = objects.compose(target, objects.pair())
    if outcome.startswith("accepted"):
        target.reload()
        outcome += f"; the object has the class {target.storage_class}"
    return outcome


def _a_wrong_crc32c(objects: Objects) -> str:
    target = objects.blob(TARGET)
    target.crc32c = crc32c(OTHER)
    return objects.compose(target, objects.pair())


def _a_patch_after_a_write(objects: Objects) -> str:
    blob = objects.put(ONE)
    blob.metadata = {"a": "b"}
    return _tried(lambda: blob.patch(retry=None))


def _names_above_u_ffff(objects: Objects) -> str:
    objects.pair()
    found = [blob.name[-1] for blob in objects.bucket.list_blobs(prefix=objects.prefix)]
    return "by code points" if found == sorted(found) else "by UTF-16"


QUESTIONS: dict[str, Callable[[Objects], str]] = {
    "Does a compose that fails its precondition leave its sources alone?": _a_refused_compose,
    "Are the sources gone with the response, and with which permission?": _a_compose,
    "What becomes of a compose that is to delete a source with a hold?": _a_held_source,
    "May a composed object have another class than its sources?": _another_class,
    "Is the CRC32C in the destination of a compose compared?": _a_wrong_crc32c,
    "Is a patch right after a write refused?": _a_patch_after_a_write,
    "Is a compressed chunk accepted, in the form that the product sends?": lambda objects: (
        objects.upload_gzip(TARGET)
    ),
    "Is one refused that has another CRC32C in its session's metadata?": lambda objects: (
        objects.upload_gzip(TWO, described=OTHER)
    ),
    "Is one refused that has another CRC32C in x-goog-hash?": lambda objects: objects.upload_gzip(
        ONE, hashed=OTHER
    ),
    "Is one refused that ends in the middle?": lambda objects: objects.upload_gzip(
        TARGET, cut=len(gzip.compress(DATA)) // 2
    ),
    "Is one refused that ends before its trailer?": lambda objects: objects.upload_gzip(
        TWO, cut=-8
    ),
    "In which order are names above U+FFFF listed?": _names_above_u_ffff,
}


def ask(bucket: storage.Bucket) -> dict[str, str]:
    """Ask all questions, and delete what was written."""
    prefix = f".s3-to-gcs-replicator/questions-{uuid.uuid4()}/"
    objects = Objects(bucket, prefix)
    try:
        return {question: _answer(answer, objects) for question, answer in QUESTIONS.items()}
    finally:
        for blob in bucket.list_blobs(prefix=prefix):
            blob.delete()


def _answer(answer: Callable[[Objects], str], objects: Objects) -> str:
    try:
        return answer(objects)
    except GoogleAPIError as error:
        return f"not answered: {error}"


def main() -> None:
    """Print the answers of the bucket on the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.ask_bucket")
    parser.add_argument("bucket", help="a bucket in which objects can be deleted")
    chosen: Any = parser.parse_args()
    credentials, project = google.auth.default([SCOPE])
    client = storage.Client(project=project, credentials=credentials)
    answers = ask(client.bucket(chosen.bucket))
    print(table(["question", f"gs://{chosen.bucket}"], answers.items(), text_columns=2))


if __name__ == "__main__":
    main()
