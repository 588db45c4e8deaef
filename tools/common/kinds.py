"""What the bytes of generated objects are: some kinds of data that gzip makes smaller, or not."""

import gzip
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

BLOCK_BYTES = 1024**2 - 3
"""Every object repeats a block of so many bytes: no power of two, so that parts differ.

gzip finds nothing that repeats at such a distance: its window has 32 KiB.
"""

_Random = random.Random


@dataclass(frozen=True, slots=True)
class DataKind:
    """One kind of data, and what S3 says about it."""

    name: str
    content_type: str
    block: Callable[[], bytes]


def _lines(line: Callable[[_Random, int], str]) -> Callable[[], bytes]:
    """Return a function that makes the block of lines, the same ones in every process."""

    def block() -> bytes:
        chance, made, numbers = random.Random(0), bytearray(), count()  # noqa: S311 - no secret
        while len(made) < BLOCK_BYTES:
            made += line(chance, next(numbers)).encode()
        return bytes(made[:BLOCK_BYTES])

    return block


def _csv(chance: _Random, number: int) -> str:
    return (
        f"{1790000000 + 7 * number},{chance.randint(1, 99999)},{chance.gauss(20, 5):.3f},"
        f"{chance.gauss(1013, 8):.2f},{chance.random():.6f},{chance.randint(0, 1)}\n"
    )


def _json(chance: _Random, number: int) -> str:
    return (
        f'{{"time":"2026-11-01T12:{number // 600 % 60:02}:{number // 10 % 60:02}'
        f'.{chance.randrange(1000):03}Z","level":"{chance.choice(("INFO", "INFO", "WARN"))}",'
        f'"service":"checkout","trace":"{chance.getrandbits(64):016x}",'
        f'"user":{chance.randrange(10**8)},"method":"{chance.choice(("GET", "POST"))}",'
        f'"path":"/orders/{chance.randrange(10**5)}","status":{chance.choice((200, 404, 500))},'
        f'"ms":{int(chance.expovariate(1 / 80))},"bytes":{chance.randrange(200_000)},'
        f'"client":"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(256)}"}}\n'
    )


def _log(chance: _Random, number: int) -> str:
    return (
        f"2026-11-01 12:{number // 600 % 60:02}:{number // 10 % 60:02} INFO "
        f" [worker-{chance.randrange(8)}] com.example.checkout.OrderService - Order"
        f" {1_000_000 + number} was processed in {chance.randrange(90)} ms\n"
    )


def _random() -> bytes:
    return random.Random(0).randbytes(BLOCK_BYTES)  # noqa: S311 - bytes that do not compress


def _gzipped() -> bytes:
    chance, made = random.Random(0), b""  # noqa: S311 - no secret
    while len(made) < BLOCK_BYTES:
        lines = (_json(chance, number) for number in range(10_000))
        made += gzip.compress("".join(lines).encode(), mtime=0)
    return made[:BLOCK_BYTES]


CSV = DataKind("CSV of numbers", "text/csv", _lines(_csv))
JSON_LOG = DataKind("JSON log", "application/json", _lines(_json))
REPETITIVE = DataKind("repetitive log", "text/plain", _lines(_log))
RANDOM = DataKind("random bytes", "application/octet-stream", _random)
GZIPPED = DataKind("already gzipped", "application/gzip", _gzipped)
KINDS = {kind.name: kind for kind in (RANDOM, CSV, JSON_LOG, REPETITIVE, GZIPPED)}
