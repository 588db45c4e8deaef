"""The cases of the wire tests: scenarios, their requests, and faults.

A case is a scenario, one request of it (`Step`), and a fault at a place in the exchange. Either the
run succeeds, or it fails with a retryable error, nothing wrong is visible, and no upload session is
left open. In the second case the next delivery of the event succeeds.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wire.harness import Harness, Invocation
from wire.proxy import CannedResponseError, CutError, Exchange, Fault, Phase, Place, response

Action = Callable[[Harness, Exchange], None]
"""The action of a fault: it raises, waits, or makes a concurrent change."""

BEFORE, INSIDE, AFTER = 0.0, 0.5, 1.0

WITH_REQUEST_BODY = frozenset(
    {
        "token",
        "gcs.insert",
        "gcs.start",
        "gcs.put",
        "gcs.final",
        "gcs.patch",
        "gcs.staged-patch",
        "gcs.join",
        "gcs.compose",
    }
)
"""Steps whose request has a body."""

WITH_RESPONSE_BODY = frozenset(
    {
        "token",
        "s3.get",
        "s3.resume",
        "gcs.get",
        "gcs.staged-get",
        "gcs.list",
        "gcs.insert",
        "gcs.final",
        "gcs.patch",
        "gcs.staged-patch",
        "gcs.join",
        "gcs.compose",
    }
)
"""Steps whose response has a body."""

ALWAYS = 1000

BEFORE_REQUEST = Place(Phase.REQUEST_HEAD, BEFORE)
"""The server has received nothing of the request."""

BEFORE_RESPONSE = Place(Phase.RESPONSE_HEAD, BEFORE)
"""The server has processed the request, and the client has received nothing of the response."""

MID_REQUEST = Place(Phase.REQUEST_BODY, INSIDE)
MID_RESPONSE = Place(Phase.RESPONSE_BODY, INSIDE)

CUTS = frozenset(
    {
        BEFORE_REQUEST,
        MID_REQUEST,
        BEFORE_RESPONSE,
        Place(Phase.RESPONSE_HEAD, INSIDE),
        MID_RESPONSE,
    }
)
"""The clients notice a cut at any other place as one of these: test_wire_cuts.py has all."""


@dataclass(frozen=True, slots=True)
class Step:
    """One request of a run. `nth` is the number of requests of the same kind before it."""

    name: str
    nth: int = 0

    def __str__(self) -> str:
        return f"{self.name}#{self.nth + 1}" if self.nth else self.name

    @property
    def side(self) -> str:
        return "source" if self.name.startswith("s3.") else "destination"

    def places(self) -> Iterator[Place]:
        """Yield every place in this exchange once. After the headers is before the body."""
        sends_body, receives_body = self.name in WITH_REQUEST_BODY, self.name in WITH_RESPONSE_BODY
        yield Place(Phase.REQUEST_HEAD, BEFORE)
        yield Place(Phase.REQUEST_HEAD, INSIDE)
        yield Place(Phase.REQUEST_BODY if sends_body else Phase.REQUEST_HEAD, AFTER)
        if sends_body:
            yield Place(Phase.REQUEST_BODY, BEFORE)
            yield Place(Phase.REQUEST_BODY, INSIDE)
        yield Place(Phase.RESPONSE_HEAD, BEFORE)
        yield Place(Phase.RESPONSE_HEAD, INSIDE)
        yield Place(Phase.RESPONSE_BODY if receives_body else Phase.RESPONSE_HEAD, AFTER)
        if receives_body:
            yield Place(Phase.RESPONSE_BODY, BEFORE)
            yield Place(Phase.RESPONSE_BODY, INSIDE)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of change, and the requests of its run when there is no fault."""

    name: str
    prepare: Callable[[Harness], dict[str, Any]]
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Case:
    """One case. An empty `codes` means that the run must succeed despite the fault."""

    scenario: Scenario
    step: Step
    place: Place
    what: str
    action: Action
    times: int = 1
    flip: bool = False
    chunk_delay_s: float = 0.0
    codes: frozenset[str] = frozenset()
    leaves_session: bool = False

    def __str__(self) -> str:
        return f"{self.scenario}-{self.step}-{self.place}-{self.what}"


def run_case(harness: Harness, case: Case, *other_faults: Case, in_time: bool = True) -> Invocation:
    """Prepare, inject the faults, deliver, check, and deliver again if the run failed.

    Returns the end of the first delivery.
    """
    event = case.scenario.prepare(harness)
    for other in other_faults:
        harness.inject(fault_of(harness, other))
    fault = harness.inject(fault_of(harness, case))
    first = harness.invoke(event)
    harness.stop_faults()
    assert fault.triggered, "the run did not reach the fault"
    harness.observe()
    if not case.leaves_session:
        assert harness.open_sessions() == []
    assert first.in_time or not in_time
    if case.codes:
        assert first.error_code in case.codes, first
        assert first.is_retryable
        assert harness.invoke(event).error_code == ""
    else:
        assert first.error_code == "", first.message
    harness.assert_equal()
    return first


def fault_of(harness: Harness, case: Case) -> Fault:
    """Return the fault of a case."""
    return Fault(
        case.step.name,
        case.place,
        lambda exchange: case.action(harness, exchange),
        skip=case.step.nth,
        times=case.times,
        flip=case.flip,
        chunk_delay_s=case.chunk_delay_s,
    )


def nothing(_harness: Harness, _exchange: Exchange) -> None:
    """Do nothing. The fault flips a bit or delays the body."""


def stall(harness: Harness, exchange: Exchange) -> None:
    """Stall the exchange until the run has ended."""
    harness.proxy(exchange.request.step).stall(exchange)


def fin(_harness: Harness, _exchange: Exchange) -> None:
    """Close the connections with FIN."""
    raise CutError


def rst(_harness: Harness, _exchange: Exchange) -> None:
    """Reset the connections with RST."""
    raise CutError(reset=True)


def once(change: Callable[[Harness], None]) -> Action:
    """Make a concurrent change."""
    return lambda harness, _: change(harness)


def refuse(status: int, headers: Mapping[str, str] | None = None) -> Action:
    """Respond in place of the server."""

    def action(_harness: Harness, _exchange: Exchange) -> None:
        raise CannedResponseError(response(status, headers))

    return action


SMALL_ONE, SMALL_TWO = b"one " * 2500, b"two " * 2600


def _create_small(harness: Harness) -> dict[str, Any]:
    harness.put(SMALL_ONE, colour="red")
    return harness.event()


def _overwrite_small(harness: Harness) -> dict[str, Any]:
    harness.put_replicated(SMALL_ONE, colour="red")
    harness.put(SMALL_TWO, colour="green")
    return harness.event(fresh=False)


def _create_large(harness: Harness) -> dict[str, Any]:
    harness.put_large("one", colour="red")
    return harness.event()


def _overwrite_large(harness: Harness) -> dict[str, Any]:
    harness.put_replicated(SMALL_ONE, colour="red")
    harness.put_large("two", colour="green")
    return harness.event()


def _patch(harness: Harness) -> dict[str, Any]:
    harness.put_replicated(SMALL_ONE, colour="red")
    harness.replace_metadata(colour="blue", shape="round")
    return harness.event(fresh=False)


def _delete(harness: Harness) -> dict[str, Any]:
    harness.put_replicated(SMALL_ONE, colour="red")
    harness.remove()
    return harness.event(kind="ObjectRemoved:Delete")


def _steps(*names: str) -> tuple[Step, ...]:
    return tuple(Step(name, names[:at].count(name)) for at, name in enumerate(names))


CREATE_SMALL = Scenario("create-small", _create_small, _steps("s3.get", "gcs.insert", "s3.head"))
OVERWRITE_SMALL = Scenario(
    "overwrite-small",
    _overwrite_small,
    _steps("gcs.get", "s3.head", "s3.get", "gcs.insert", "s3.head"),
)
_LARGE = _steps("gcs.get", "s3.get", "gcs.start", "gcs.put", "gcs.final", "s3.head")
CREATE_LARGE = Scenario("create-large", _create_large, _LARGE)
OVERWRITE_LARGE = Scenario("overwrite-large", _overwrite_large, _LARGE)
PATCH = Scenario("patch", _patch, _steps("gcs.get", "s3.head", "gcs.patch", "s3.head"))
DELETE = Scenario(
    "delete",
    _delete,
    _steps("gcs.get", "s3.head", "s3.get", "gcs.delete", "s3.head", "s3.get"),
)
SCENARIOS = (CREATE_SMALL, OVERWRITE_SMALL, CREATE_LARGE, OVERWRITE_LARGE, PATCH, DELETE)
ALL_STEPS = [(scenario, step) for scenario in SCENARIOS for step in scenario.steps]
"""Every request of every scenario."""

STEP_KINDS = [
    (scenario, step)
    for scenario, step in ALL_STEPS
    if scenario in {CREATE_SMALL, OVERWRITE_LARGE, PATCH, DELETE}
]
"""Every kind of request once, for faults that do not depend on the scenario."""

WRITE_STEPS = [
    (scenario, step)
    for scenario, step in STEP_KINDS
    if step.name in {"gcs.insert", "gcs.start", "gcs.put", "gcs.final", "gcs.patch", "gcs.delete"}
]
"""Every request that writes."""

COLD = Scenario("cold", _create_small, _steps("s3.get", "secret", "token"))
"""The first requests of an execution environment that differ from those of later runs."""
