"""Memory does not grow with the object."""

# google-crc32c has no type hints.
# mypy: allow-untyped-calls

import base64
from contextlib import closing
from pathlib import Path

import google_crc32c

from tools.common import http
from tools.local.cloud import API_ONLY_BUCKET
from tools.local.demo_context import DemoContext
from tools.local.notifications import notification, record

MIB = 1024 * 1024


def test_320_mebibytes_take_no_more_memory_than_64(
    demo: DemoContext, prefix: str, tmp_path: Path
) -> None:
    """Compares the peaks that the kernel reports for two processes, one for each size.

    One is copied in one stream, the other in parts. `make bench` goes up to 4 GiB.
    """
    peaks = []
    for size in (64 * MIB, 320 * MIB):
        key = f"{prefix}{size}"
        file = _file(tmp_path, size)
        _put(demo, key, file)
        with closing(demo.cloud.another_function(f"memory-{size}")) as function:
            (result,) = function.invoke(notification(record(API_ONLY_BUCKET, key)))["results"]
            peaks.append(function.peak_rss_bytes())
        assert result["destination"]["crc32c"] == _crc32c(file)
        demo.cloud.aws.s3.delete_object(Bucket=API_ONLY_BUCKET, Key=key)
        demo.cloud.google.bucket.blob(key).delete()
    small, large = peaks
    assert large - small < 8 * MIB
    assert large < 100 * MIB


def test_ten_objects_in_one_event_take_less_than_140_mebibytes(
    demo: DemoContext, prefix: str, tmp_path: Path
) -> None:
    """The largest objects for one request, and 8 MiB; the function copies ten at a time."""
    for size in (MIB, 8 * MIB):
        keys = [f"{prefix}{size}-{number}" for number in range(10)]
        for key in keys:
            _put(demo, key, _file(tmp_path, size))
        event = notification(*(record(API_ONLY_BUCKET, key) for key in keys))
        with closing(demo.cloud.another_function(f"ten-{size}")) as function:
            assert len(function.invoke(event)["results"]) == len(keys)
            assert function.peak_rss_bytes() < 140 * MIB


def _file(folder: Path, size: int) -> Path:
    """Create a sparse file of zeros: it takes no space on the disk."""
    path = folder / str(size)
    with path.open("wb") as file:
        file.truncate(size)
    return path


def _put(demo: DemoContext, key: str, path: Path) -> None:
    """Stream a file into S3 by a presigned URL: boto3 reads it first, to sign it."""
    parameters = {"Bucket": API_ONLY_BUCKET, "Key": key}
    url = demo.cloud.aws.s3.generate_presigned_url("put_object", Params=parameters)
    with path.open("rb") as file:
        assert http.send("PUT", url, data=file, timeout_s=120).status_code == 200


def _crc32c(path: Path) -> str:
    checksum = google_crc32c.Checksum()
    with path.open("rb") as file:
        while piece := file.read(MIB):
            checksum.update(piece)
    return base64.b64encode(checksum.digest()).decode()
