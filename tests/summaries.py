"""Summaries of a reconcile, as its report step writes them."""

from typing import Any

HOSTILE = (
    "</code><script>document.title='hacked'</script><img src=x onerror=alert(1)>",
    "quotes ' \" & $heading ${tone} {braces} %s",
    "\u202egpj.exe\x1b[31m\x00\r\n\tend",
    "\ud800 lone surrogate",
    "ünïcödé/文件/🎉/" + "never-ending" * 80,
)
"""Keys and texts that could break a page, a line or the layout."""


def sample(key: str, kind: str = "different", **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return a key that differs."""
    return {
        "kind": kind,
        "key": key,
        "what": ["size 3 -> 5", "etag 900150983cd24fb0d6963f7d28e17f72 -> other"],
        "source": {
            "etag": "900150983cd24fb0d6963f7d28e17f72",
            "size": 3,
            "last_modified": "2026-11-25T10:00:00Z",
        },
        "replica": {"generation": 1790000000000001, "size": 5, "etag": None},
        **changes,
    }


def by_prefix(prefix: str, compared: int, **counts: int) -> dict[str, Any]:
    """Return the row of one prefix."""
    none = {"missing": 0, "different": 0, "extra": 0, "foreign": 0, "bytes": 0}
    return {"prefix": prefix, "compared": compared, **none, **counts}


def summary(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return a run that found differences of every kind."""
    return {
        "run": "20261126T010203Z-a1b2",
        "mode": "report",
        "ended": "differences",
        "differences": 4560,
        "replicates_all_deletes": True,
        "prefix": "",
        "source": "s3://photos",
        "destination": "gs://photos-replica",
        "started_at": "2026-11-26T01:02:03Z",
        "ended_at": "2026-11-26T01:05:08Z",
        "counts": {
            "compared": 1_234_567,
            "equal": 1_230_000,
            "missing": 4000,
            "different": 500,
            "extra": 60,
            "foreign": 7,
            "young": 12,
            "filtered": 0,
            "archived": 3,
            "unnameable": 1,
            "too_large": 2,
            "staged": 0,
            "source_bytes": 5 * 1024**4,
            "difference_bytes": 3 * 1024**3,
            "nominated": 0,
        },
        "by_prefix": [
            by_prefix("raw/2026/", 1_000_000, missing=4000, bytes=2 * 1024**3),
            by_prefix("thumbnails/", 234_000, different=500, extra=59, foreign=7, bytes=1024**3),
            by_prefix("", 60, extra=1),
            by_prefix("clean/", 507),
        ],
        "samples": [
            sample("raw/2026/a.jpg", "missing", what=[], replica=None),
            sample("thumbnails/b.jpg"),
            sample("thumbnails/c.jpg", "extra", source=None, what=["no source"]),
            sample("thumbnails/d.jpg", "foreign", source=None, what=[]),
        ],
        "cost": {
            "egress_usd": 0.27,
            "requests_usd": 0.0303,
            "lambda_usd": 0.008,
            "total_usd": 0.3083,
        },
        "valve": None,
        **changes,
    }


def hostile_summary() -> dict[str, Any]:
    """Return a run in which every text is hostile, with as many rows as a report has."""
    first = HOSTILE[0]
    kinds = ("missing", "different", "extra", "foreign")
    return summary(
        run=first,
        mode=HOSTILE[1],
        ended="too_many_differences",
        prefix=HOSTILE[4],
        source=f"s3://{first}",
        destination=f"gs://{HOSTILE[4]}",
        valve=f"12 % of the objects differ {first}",
        by_prefix=[
            by_prefix(f"{text}{number}", 10**9, missing=10**number)
            for number, text in enumerate(HOSTILE * 2)
        ],
        samples=[
            sample(text * (number % 2 + 1), kinds[number % 4], what=[text, text])
            for number, text in enumerate(HOSTILE * 20)
        ],
    )
