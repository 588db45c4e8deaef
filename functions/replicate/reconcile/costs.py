"""What a repair costs, before it is started.

List prices of us-east-1 and of a GCS bucket in one region, 2026-11, beyond the free tiers, as in
docs/COSTS.md. Other regions cost more; volume discounts and agreements make it cheaper.
"""

from dataclasses import dataclass

EGRESS_PER_GIB = 0.09
CLASS_A = 5e-6
CLASS_B = 0.4e-6
S3_REQUEST = 0.4e-6
"""A GET or HEAD."""

SQS_REQUEST = 0.4e-6
LAMBDA_REQUEST = 0.2e-6
LAMBDA_GB_SECOND = 0.0000166667
"""On x86_64; arm64 costs 0.8 of it."""

LOG_PER_GB = 0.50

MIB, GIB = 1024**2, 1024**3

BATCH = 10
"""Nominations in one request to SQS, and in one invocation."""

BATCH_S = 0.3
"""Lambda's time for a batch of small objects: twice what `make bench` measures for ten new objects
at 30 ms, because a repair reads both sides first."""

RATE = 75 * MIB
"""Bytes a second of a Lambda function by default."""

LOG_BYTES = 2000
"""Of one change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairCost:
    """Dollars by what they pay for."""

    egress_usd: float
    requests_usd: float
    """Requests to S3, GCS and SQS."""
    lambda_usd: float
    """Invocations, their time at 1,024 MB, and the log."""

    @property
    def total_usd(self) -> float:
        """All costs together."""
        return self.egress_usd + self.requests_usd + self.lambda_usd

    def as_json(self) -> dict[str, float]:
        """Return the costs and their total, by field."""
        return {
            "egress_usd": self.egress_usd,
            "requests_usd": self.requests_usd,
            "lambda_usd": self.lambda_usd,
            "total_usd": self.total_usd,
        }


def repair_cost(copies: int, copied_bytes: int, deletes: int = 0) -> RepairCost:
    """Estimate the repair of missing or different objects (`copies`) and of extra ones (`deletes`).

    The bytes are those of the objects in S3. Objects in parts (256 MiB and more) take some more
    requests, which are less than 1 % of their egress.
    """
    looks = copies + deletes
    batches = looks / BATCH
    seconds = batches * BATCH_S + copied_bytes / RATE
    return RepairCost(
        egress_usd=copied_bytes / GIB * EGRESS_PER_GIB,
        requests_usd=(
            copies * (CLASS_A + CLASS_B + 3 * S3_REQUEST)  # insert; get; HEAD, GET, HEAD to verify
            + deletes * (CLASS_B + 2 * S3_REQUEST)  # GCS charges nothing for a delete
            + batches * 3 * SQS_REQUEST  # send, receive, delete
        ),
        lambda_usd=(
            batches * LAMBDA_REQUEST
            + seconds * LAMBDA_GB_SECOND
            + looks * LOG_BYTES / 1e9 * LOG_PER_GB
        ),
    )
