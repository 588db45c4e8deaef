"""`make simulate`: copy 5 TiB with the real steps of the state machine, over modelled stores.

It writes the tables into docs/PERFORMANCE.md and docs/COSTS.md.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from replicate import workflow
from replicate.entry.invocation import Change
from replicate.errors import ReplicationError
from replicate.protocol.assembly import Assembler
from replicate.protocol.deadline import MARGIN_S, Deadline
from replicate.protocol.large import LargeCopy
from replicate.protocol.mapping import Naming
from replicate.protocol.model import Result, SourceRef
from replicate.protocol.parts import Sizes
from replicate.protocol.plan import Policy
from replicate.protocol.replicator import Replicator
from replicate.protocol.scope import Scope
from replicate.reconcile import costs
from replicate.retry import DEFAULT_POLICY
from replicate.round_clock import RoundClock
from replicate.telemetry import Telemetry
from tools.benchmarks.machine import Json, Machine
from tools.benchmarks.modelled import CLASS_A, CLASS_B, S3, Clock, ModelledGcs, ModelledS3
from tools.common.sizes import GIB, MIB, TIB
from tools.common.tables import table

REF = SourceRef("source", "key")
_SCOPE = Scope(frozenset({REF.bucket}))
_STAGING = ".s3-to-gcs-replicator/staging/"

LAMBDA_TIMEOUT_S = 900
"""The function's timeout in template.yaml."""

PRICES = {
    "Egress": (costs.EGRESS_PER_GIB, "GB", "$0.09"),
    "Lambda, x86_64": (costs.LAMBDA_GB_SECOND, "GB-s", "$0.0000166667"),
    "GCS class A": (costs.CLASS_A, "operations", "$5.00 per million"),
    "Step Functions": (25e-6, "transitions", "$25.00 per million"),
    "GCS class B": (costs.CLASS_B, "operations", "$0.40 per million"),
    "S3 requests": (costs.S3_REQUEST, "requests", "$0.40 per million"),
    "Lambda requests": (costs.LAMBDA_REQUEST, "requests", "$0.20 per million"),
}
"""Dollars, units and texts."""

_DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True, slots=True)
class Scenario:
    """How many functions work at a time, and what each of them has."""

    workers: int
    mib_per_s: int
    """Bandwidth, in and out counted apart."""
    memory_mb: int


SCENARIOS = (
    Scenario(40, 75, 1024),
    Scenario(10, 75, 1024),
    Scenario(40, 375, 10_240),
    Scenario(10, 375, 10_240),
)
"""75 MiB/s is Lambda's default for any memory. 375 MiB/s needs a higher quota and most memory."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What one execution took: time in seconds, and how much of everything that has a price."""

    wall_s: float
    longest_s: float
    """Of all invocations."""
    amounts: Mapping[str, float]
    """By the names in `PRICES`."""

    @property
    def dollars(self) -> float:
        return sum(PRICES[name][0] * amount for name, amount in self.amounts.items())


class _Silent(Telemetry):
    """Records nothing."""

    def record(self, change: Change, result: Result | ReplicationError, now: object) -> None:
        pass


@dataclass(slots=True)
class _Function:
    """The Lambda function: it runs a step, and knows what is billed for it."""

    clock: Clock
    large: workflow.LargeObjects
    telemetry: Telemetry
    durations_ms: list[int] = field(default_factory=list)

    def invoke(self, event: Json) -> Json:
        started = self.clock.now
        result = workflow.step(lambda: self.large, self.telemetry, event)
        self.durations_ms.append(math.ceil((self.clock.now - started) * 1000))
        return result


def simulate(scenario: Scenario, size: int = 5 * TIB, sizes: Sizes | None = None) -> Simulation:
    """Run one execution for an object of `size` bytes. Raise RuntimeError if it fails."""
    clock = Clock(scenario.mib_per_s * MIB)
    function = _function(clock, size, sizes or Sizes())
    machine = Machine(
        function.invoke,
        lambda tasks, limit: clock.schedule(tasks, min(limit, scenario.workers)),
    )
    output = machine.execute({"bucket": REF.bucket, "key": REF.key, "version": None, "round": 0})
    if output["result"]["verified_by"] != {"source": "crc64nvme", "destination": "crc32c"}:
        raise RuntimeError(f"the object is not verified: {output}")
    longest_s = max(function.durations_ms) / 1000
    if longest_s > LAMBDA_TIMEOUT_S - MARGIN_S:
        raise RuntimeError(f"an invocation takes {longest_s} s")
    billed_s = sum(function.durations_ms) / 1000
    amounts = {
        "Egress": size / GIB,
        "Lambda, x86_64": billed_s * scenario.memory_mb / 1024,
        "GCS class A": clock.requests[CLASS_A],
        "Step Functions": machine.transitions,
        "GCS class B": clock.requests[CLASS_B],
        "S3 requests": clock.requests[S3],
        "Lambda requests": len(function.durations_ms),
    }
    return Simulation(clock.now, longest_s, amounts)


def _function(clock: Clock, size: int, sizes: Sizes) -> _Function:
    source, destination = ModelledS3(clock, size), ModelledGcs(clock)
    assembler = Assembler(
        source=source,
        destination=destination,
        prefix=_STAGING,
        sizes=sizes,
        in_parallel=clock.in_parallel,
    )
    replicator = Replicator(
        source=source,
        destination=destination,
        naming=Naming("replica", staging=_STAGING),
        clock=RoundClock(DEFAULT_POLICY, Deadline(math.inf)),
        policy=Policy(),
        assembler=assembler,
    )
    large = workflow.LargeObjects(LargeCopy(replicator), _SCOPE)
    return _Function(clock, large, _Silent("simulation", "simulation"))


def times() -> str:
    """Return the table of docs/PERFORMANCE.md."""
    rows = []
    for scenario in SCENARIOS:
        outcome = simulate(scenario)
        amounts = outcome.amounts
        rows.append(
            (
                f"{scenario.mib_per_s} MiB/s",
                scenario.workers,
                f"{outcome.wall_s / 60:.1f}",
                f"{amounts['Lambda requests']:,.0f}",
                f"{outcome.longest_s:.0f}",
                f"{amounts['S3 requests']:,.0f}",
                f"{amounts['GCS class A']:,.0f} + {amounts['GCS class B']:,.0f}",
                f"{amounts['Step Functions']:,.0f}",
                f"{outcome.dollars:.2f}",
            )
        )
    head = ["Each function", "Functions", "Minutes", "Invocations", "Longest s", "S3 requests"]
    head += ["GCS class A + B", "Transitions", "$"]
    return table(head, rows)


def cost_table() -> str:
    """Return the table of docs/COSTS.md: with 40 functions, for each bandwidth."""
    scenarios = [next(each) for _, each in groupby(SCENARIOS, lambda each: each.mib_per_s)]
    outcomes = [simulate(scenario) for scenario in scenarios]
    rows = []
    for name, (dollars, unit, price) in PRICES.items():
        amounts = [outcome.amounts[name] for outcome in outcomes]
        texts = dict.fromkeys(f"{amount:,.0f}" for amount in amounts)
        arithmetic = f"{' or '.join(texts)} {unit} × {price}"  # noqa: RUF001 - a product
        rows.append((name, arithmetic, *(f"{amount * dollars:.3f}" for amount in amounts)))
    sums = [f"**{outcome.dollars:.2f}**" for outcome in outcomes]
    rows.append(("**Sum**", "", *sums))
    head = [f"$, {each.mib_per_s} MiB/s and {each.memory_mb:,} MB" for each in scenarios]
    return table(["Item", "Arithmetic", *head], rows, text_columns=2)


DOCUMENTS = {_DOCS / "PERFORMANCE.md": times, _DOCS / "COSTS.md": cost_table}


def written(text: str, content: str, command: str = "make simulate") -> str:
    """Return a document with new content between its marks."""
    marked = re.compile(f"(<!-- {command} -->\n).*?(<!-- end -->)", re.DOTALL)
    return marked.sub(lambda marks: f"{marks[1]}{content}\n{marks[2]}", text)


def main() -> None:
    """Write the tables into the documents, and print them."""
    for path, content in DOCUMENTS.items():
        made = content()
        path.write_text(written(path.read_text(), made))
        print(f"{path.relative_to(_DOCS.parent)}:\n\n{made}\n")


if __name__ == "__main__":
    main()
