"""The table of the wire tests: what a run asks for, request by request, and how a case must end.

A case is one way of getting an object to the destination (`Scenario`), one request of it (`Step`),
and what happens there. It ends well (`heals`), or in a failure that may be retried and after which
nothing wrong is visible and no upload is left open; then a second delivery of the event ends well.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wire.proxy import AnswerError, Exchange, Fault, Phase, Place, answer
from wire.stage import Invocation, Stage

Blow = Callable[[Stage, Exchange], None]
"""What happens at a place: it raises, waits, or does something behind the run's back."""

BEFORE, INSIDE, AFTER = 0.0, 0.5, 1.0

SENDS = frozenset(
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

ANSWERS = frozenset(
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
"""Steps whose answer has one."""

FOREVER = 1000

ARRIVAL = Place(Phase.REQUEST_HEAD, BEFORE)
"""Nothing of the request has come through."""

ANSWERED = Place(Phase.RESPONSE_HEAD, BEFORE)
"""The server has done what it was asked, and nobody knows."""


@dataclass(frozen=True, slots=True)
class Step:
    """One request of a run; `nth` counts those of the same kind before it."""

    name: str
    nth: int = 0

    def __str__(self) -> str:
        return f"{self.name}#{self.nth + 1}" if self.nth else self.name

    @property
    def side(self) -> str:
        return "source" if self.name.startswith("s3.") else "destination"

    def places(self) -> Iterator[Place]:
        """Every kind of place in this exchange, each once: after a head is before its body."""
        sends, answers = self.name in SENDS, self.name in ANSWERS
        yield Place(Phase.REQUEST_HEAD, BEFORE)
        yield Place(Phase.REQUEST_HEAD, INSIDE)
        yield Place(Phase.REQUEST_BODY if sends else Phase.REQUEST_HEAD, AFTER)
        if sends:
            yield Place(Phase.REQUEST_BODY, BEFORE)
            yield Place(Phase.REQUEST_BODY, INSIDE)
        yield Place(Phase.RESPONSE_HEAD, BEFORE)
        yield Place(Phase.RESPONSE_HEAD, INSIDE)
        yield Place(Phase.RESPONSE_BODY if answers else Phase.RESPONSE_HEAD, AFTER)
        if answers:
            yield Place(Phase.RESPONSE_BODY, BEFORE)
            yield Place(Phase.RESPONSE_BODY, INSIDE)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way for an object to come, change or go, and all requests of a run without trouble."""

    name: str
    prepare: Callable[[Stage], dict[str, Any]]
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Case:
    """One row of a table. An empty `codes` means that the run must heal by itself."""

    scenario: Scenario
    step: Step
    place: Place
    what: str
    blow: Blow
    times: int = 1
    flip: bool = False
    drip: float = 0.0
    codes: frozenset[str] = frozenset()
    leaves_session: bool = False

    def __str__(self) -> str:
        return f"{self.scenario}-{self.step}-{self.place}-{self.what}"


def play(stage: Stage, case: Case, *besides: Case, in_time: bool = True) -> Invocation:
    """Prepare, strike, deliver, look, deliver again. Returns how the first delivery ended."""
    event = case.scenario.prepare(stage)
    for other in besides:
        stage.spoil(fault_of(stage, other))
    fault = stage.spoil(fault_of(stage, case))
    first = stage.invoke(event)
    stage.settle()
    assert fault.struck, "the table is wrong about this run"
    stage.look()
    if not case.leaves_session:
        assert stage.open_sessions() == []
    assert first.in_time or not in_time
    if case.codes:
        assert first.failure in case.codes, first
        assert first.is_retryable
        assert stage.invoke(event).failure == ""
    else:
        assert first.failure == "", first.text
    stage.assert_equal()
    return first


def fault_of(stage: Stage, case: Case) -> Fault:
    """What the proxy is to do for a case."""
    return Fault(
        case.step.name,
        case.place,
        lambda exchange: case.blow(stage, exchange),
        skip=case.step.nth,
        times=case.times,
        flip=case.flip,
        drip=case.drip,
    )


def nothing(_stage: Stage, _exchange: Exchange) -> None:
    """Leave it to what else the fault says."""


def stall(stage: Stage, exchange: Exchange) -> None:
    """Stand still until the run has given up."""
    stage.proxy(exchange.seen.step).stall(exchange)


def refuse(status: int, headers: Mapping[str, str] | None = None) -> Blow:
    """Answer in place of the server, whether it has seen the request or not."""

    def blow(_stage: Stage, _exchange: Exchange) -> None:
        raise AnswerError(answer(status, headers))

    return blow


SMALL_ONE, SMALL_TWO = b"one " * 2500, b"two " * 2600


def _create_small(stage: Stage) -> dict[str, Any]:
    stage.put(SMALL_ONE, colour="red")
    return stage.event()


def _overwrite_small(stage: Stage) -> dict[str, Any]:
    _present(stage)
    stage.put(SMALL_TWO, colour="green")
    return stage.event(fresh=False)


def _create_large(stage: Stage) -> dict[str, Any]:
    stage.put_large("one", colour="red")
    return stage.event()


def _overwrite_large(stage: Stage) -> dict[str, Any]:
    _present(stage)
    stage.put_large("two", colour="green")
    return stage.event()


def _patch(stage: Stage) -> dict[str, Any]:
    _present(stage)
    stage.describe(colour="blue", shape="round")
    return stage.event(fresh=False)


def _delete(stage: Stage) -> dict[str, Any]:
    _present(stage)
    stage.remove()
    return stage.event(kind="ObjectRemoved:Delete")


def _present(stage: Stage) -> None:
    """Have the first version at the destination."""
    stage.put(SMALL_ONE, colour="red")
    assert stage.invoke(stage.event()).failure == ""
    stage.forget_steps()


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
"""Every request there is."""

EACH_STEP = [
    (scenario, step)
    for scenario, step in ALL_STEPS
    if scenario in {CREATE_SMALL, OVERWRITE_LARGE, PATCH, DELETE}
]
"""Every kind of request once, where it makes no difference in what circumstances."""

CHANGES = [
    (scenario, step)
    for scenario, step in EACH_STEP
    if step.name in {"gcs.insert", "gcs.start", "gcs.put", "gcs.final", "gcs.patch", "gcs.delete"}
]
"""Every request that changes something."""

COLD = Scenario("cold", _create_small, _steps("s3.get", "secret", "token"))
"""The first run of an execution environment, as far as it differs."""
