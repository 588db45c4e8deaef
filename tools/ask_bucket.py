"""Asks a real bucket what GCS's documentation leaves open about large objects.

    python -m tools.ask_bucket my-bucket

It writes a few small objects below a prefix of their own, prints a table of questions and answers,
and deletes the objects. docs/GUARANTEES.md says why the questions matter. The credentials are
Google's default ones (`gcloud auth application-default login`).
"""

# Google's packages have no type hints.
# mypy: allow-untyped-calls

import argparse
import gzip
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import google.auth
from google.api_core.exceptions import GoogleAPICallError
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage

from tools.common.tables import table
from tools.local.audit import crc32c

SCOPE = "https://www.googleapis.com/auth/devstorage.full_control"
DATA = b"0123456789" * 100
DELETE = "storage.objects.delete"


@dataclass(frozen=True, slots=True)
class Folder:
    """Where the objects of one question are."""

    bucket: storage.Bucket
    session: AuthorizedSession
    prefix: str

    def put(self, name: str) -> storage.Blob:
        """Write an object."""
        blob: storage.Blob = self.bucket.blob(self.prefix + name)
        blob.upload_from_string(DATA)
        return blob

    def compose(self, target: storage.Blob, sources: list[storage.Blob], **more: object) -> str:
        """Join objects and delete them; return what became of that."""
        outcome = _tried(
            lambda: target.compose(sources, delete_source_objects=True, retry=None, **more)
        )
        left = sum(source.exists() for source in sources)
        return f"{outcome}; {left} of {len(sources)} sources are left"

    def pair(self) -> list[storage.Blob]:
        """Write two sources of a compose."""
        return [self.put("one"), self.put("two")]

    def upload_gzip(self, body: bytes, stated: bytes) -> str:
        """Send a compressed request that states the CRC32C of other bytes; return what happened."""
        host = os.environ.get("STORAGE_EMULATOR_HOST", "https://storage.googleapis.com")
        name = f"{self.prefix}gzip-{uuid.uuid4()}"
        response = self.session.post(
            f"{host}/upload/storage/v1/b/{self.bucket.name}/o",
            params={"uploadType": "media", "name": name},
            data=body,
            headers={
                "Content-Encoding": "gzip",
                "Content-Type": "text/plain",
                "x-goog-hash": f"crc32c={crc32c(stated)}",
            },
        )
        if response.status_code != HTTPStatus.OK:
            return f"refused with {response.status_code}"
        return f"accepted, with {response.json()['size']} bytes"


def _tried(request: Callable[[], object]) -> str:
    """Send a request; return how GCS answered."""
    try:
        request()
    except GoogleAPICallError as error:
        return f"refused with {error.code:d}"
    return "accepted"


def _a_refused_compose(folder: Folder) -> str:
    sources = folder.pair()
    return folder.compose(folder.put("target"), sources, if_generation_match=0)


def _a_compose(folder: Folder) -> str:
    granted = folder.bucket.test_iam_permissions([DELETE])
    outcome = folder.compose(folder.bucket.blob(f"{folder.prefix}target"), folder.pair())
    return f"{outcome}. The credentials have {'' if granted else 'not '}{DELETE}"


def _a_held_source(folder: Folder) -> str:
    sources = folder.pair()
    with _held(sources[0]):
        return folder.compose(folder.bucket.blob(f"{folder.prefix}target"), sources)


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


def _another_class(folder: Folder) -> str:
    target = folder.bucket.blob(f"{folder.prefix}target")
    target.storage_class = "NEARLINE"
    outcome = folder.compose(target, folder.pair())
    if target.exists():
        target.reload()
        outcome += f"; the object has the class {target.storage_class}"
    return outcome


def _a_wrong_crc32c(folder: Folder) -> str:
    target = folder.bucket.blob(f"{folder.prefix}target")
    target.crc32c = crc32c(b"other bytes")
    return folder.compose(target, folder.pair())


def _a_patch_after_a_write(folder: Folder) -> str:
    blob = folder.put("one")
    blob.metadata = {"a": "b"}
    return _tried(lambda: blob.patch(retry=None))


def _names_above_u_ffff(folder: Folder) -> str:
    for name in ("\U00010000", "\uffff"):
        folder.put(name)
    found = [blob.name[-1] for blob in folder.bucket.list_blobs(prefix=folder.prefix)]
    return "by code points" if found == sorted(found) else "by UTF-16"


QUESTIONS: dict[str, Callable[[Folder], str]] = {
    "Does a compose that fails its precondition leave its sources alone?": _a_refused_compose,
    "Are the sources gone with the response, and with which permission?": _a_compose,
    "What becomes of a compose that is to delete a source with a hold?": _a_held_source,
    "May a composed object have another class than its sources?": _another_class,
    "Is the CRC32C in the destination of a compose compared?": _a_wrong_crc32c,
    "Is a patch right after a write refused?": _a_patch_after_a_write,
    "Is a compressed upload with the CRC32C of its bytes accepted?": lambda folder: (
        folder.upload_gzip(gzip.compress(DATA), DATA)
    ),
    "Is a compressed upload with a wrong CRC32C refused?": lambda folder: folder.upload_gzip(
        gzip.compress(DATA), b"other bytes"
    ),
    "Is a compressed upload that ends too early refused?": lambda folder: folder.upload_gzip(
        gzip.compress(DATA)[:-8], DATA
    ),
    "In which order are names above U+FFFF listed?": _names_above_u_ffff,
}


def ask(bucket: storage.Bucket, session: AuthorizedSession) -> dict[str, str]:
    """Ask all questions, and delete what was written."""
    prefix = f".s3-to-gcs-replicator/questions-{uuid.uuid4()}/"
    try:
        return {
            question: _answer(answer, Folder(bucket, session, f"{prefix}{number}/"))
            for number, (question, answer) in enumerate(QUESTIONS.items())
        }
    finally:
        for blob in bucket.list_blobs(prefix=prefix):
            blob.delete()


def _answer(answer: Callable[[Folder], str], folder: Folder) -> str:
    try:
        return answer(folder)
    except GoogleAPICallError as error:
        return f"not answered: {error.message}"


def main() -> None:
    """Print the answers of the bucket on the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.ask_bucket")
    parser.add_argument("bucket", help="a bucket in which objects can be deleted")
    chosen: Any = parser.parse_args()
    credentials, project = google.auth.default([SCOPE])
    client = storage.Client(project=project, credentials=credentials)
    answers = ask(client.bucket(chosen.bucket), AuthorizedSession(credentials))
    print(table(["question", f"gs://{chosen.bucket}"], answers.items(), text_columns=2))


if __name__ == "__main__":
    main()
