"""What `gcloud storage cp --gzip-in-flight-all` sends: zlib level 2, in chunks of 100 MiB.

Its source has to be a file, so here S3's stream is what it reads. Sources: `compression.py` of
google/apitools for the level and the blocks, "gcloud config" for `storage/upload_chunk_size`.
"""

import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import requests

from tools.benchmarks.clients.tutorial import clients

if TYPE_CHECKING:
    from tools.benchmarks.worker import Handler

LEVEL = 2
BLOCK_BYTES = 16 * 1024**2
CHUNK_BYTES = 100 * 1024**2
"""Compressed: a chunk is held in memory, and ends after the block that reaches this size."""


def build() -> "Handler":
    """Make the clients."""
    s3, bucket = clients()
    http = requests.Session()

    def copy(source: str, key: str) -> dict[str, Any]:
        found = s3.get_object(Bucket=source, Key=key)
        size, at = found["ContentLength"], 0
        session = bucket.blob(key).create_resumable_upload_session(size=size)
        while at < size:
            member, sent, first = zlib.compressobj(LEVEL, wbits=31), b"", at
            while len(sent) < CHUNK_BYTES and (block := found["Body"].read(BLOCK_BYTES)):
                sent += member.compress(block)
                at += len(block)
            headers = {
                "Content-Encoding": "gzip",
                "Content-Range": f"bytes {first}-{at - 1}/{size}",
            }
            reply = http.put(session, sent + member.flush(), headers=headers, allow_redirects=False)
            reply.raise_for_status()
        return {"status": "replicated", "key": key}

    def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
        return {
            "results": [
                copy(record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"]))
                for record in event["Records"]
            ]
        }

    return handler
