"""Memory does not grow with the object."""

import base64
import http.client
import itertools
import os
from collections.abc import Iterable
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import google_crc32c

from tools.local.cloud import SILENT
from tools.local.notifications import notification, record
from tools.local.stage import Stage

MIB = 1024 * 1024
PIECE = os.urandom(4 * MIB)


def test_a_gigabyte_takes_no_more_memory_than_64_megabytes(stage: Stage, prefix: str) -> None:
    """Within 8 MiB: each size in a process of its own, by the kernel's account of its peak."""
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
    assert large - small < 8 * MIB
    assert large < 100 * MIB


def test_ten_objects_in_one_event_take_less_than_140_mebibytes(stage: Stage, prefix: str) -> None:
    """Objects of the largest size for one request, and of 8 MiB; ten are worked on at a time."""
    for size in (MIB, 8 * MIB):
        keys = [f"{prefix}{size}-{number}" for number in range(10)]
        for key in keys:
            _put(stage, key, itertools.repeat(PIECE[:MIB], size // MIB), size)
        event = {"Records": [entry for key in keys for entry in _records(key)]}
        with closing(stage.cloud.another_function(f"ten-{size}")) as function:
            assert len(function.invoke(event)["results"]) == len(keys)
            assert function.peak_rss_bytes() < 140 * MIB


def _records(key: str) -> list[Any]:
    records: list[Any] = notification(record(SILENT, key))["Records"]
    return records


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
