"""Memory does not grow with the object."""

import base64
import http.client
import itertools
import os
from collections.abc import Iterable
from contextlib import closing
from urllib.parse import urlsplit

import google_crc32c

from local.cloud import SILENT
from local.notifications import notification, record
from local.stage import Stage

MIB = 1024 * 1024
PIECE = os.urandom(4 * MIB)


def test_a_gigabyte_takes_no_more_memory_than_64_megabytes(stage: Stage, prefix: str) -> None:
    """Within 16 MiB: each size in a process of its own, by the kernel's account of its peak."""
    peaks = []
    for size in (64 * MIB, 1024 * MIB):
        key = f"{prefix}{size}"
        pieces = size // len(PIECE)
        _put(stage, key, itertools.repeat(PIECE, pieces), size)
        with closing(stage.cloud.another_function(f"memory-{size}")) as function:
            (result,) = function.invoke(notification(record(SILENT, key)))["results"]
            peaks.append(function.peak_rss_bytes())
        assert result["destination"]["crc32c"] == _crc32c(itertools.repeat(PIECE, pieces))
        stage.cloud.aws.s3.delete_object(Bucket=SILENT, Key=key)
        stage.cloud.google.bucket.blob(key).delete()
    small, large = peaks
    assert large - small < 16 * MIB
    assert large < 128 * MIB


def _put(stage: Stage, key: str, pieces: Iterable[bytes], size: int) -> None:
    """Stream an object into S3 without ever holding it: boto3 would read it twice to sign it."""
    parameters = {"Bucket": SILENT, "Key": key}
    url = urlsplit(stage.cloud.aws.s3.generate_presigned_url("put_object", Params=parameters))
    with closing(http.client.HTTPConnection(url.netloc, timeout=120)) as connection:
        headers = {"Content-Length": str(size)}
        connection.request("PUT", f"{url.path}?{url.query}", pieces, headers)
        assert connection.getresponse().status == 200


def _crc32c(pieces: Iterable[bytes]) -> str:
    value = 0
    for piece in pieces:
        value = google_crc32c.extend(value, piece)
    return base64.b64encode(value.to_bytes(4, "big")).decode()
