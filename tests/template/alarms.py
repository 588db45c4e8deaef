"""What CloudWatch makes of an alarm: its state, by the metric's values in each period.

Source: "Evaluating an alarm", "Configuring how alarms treat missing data" and "Using math
expressions" in CloudWatch's guide.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Period = Sequence[float]
"""The values that were measured within a period; none if nothing happened."""

Metrics = Mapping[str, Sequence[Period]]
"""The periods of each metric of an expression, by its Id."""

_STATISTICS: dict[str, Callable[[Period], float]] = {
    "Sum": sum,
    "Average": lambda values: sum(values) / len(values),
    "Maximum": max,
    "p99": lambda values: sorted(values)[max(0, -(-len(values) * 99 // 100) - 1)],
}
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
}


def period_s(alarm: dict[str, Any]) -> int:
    """Return the length of a period of the alarm's metric in seconds."""
    return int(
        alarm["Metrics"][-1]["MetricStat"]["Period"] if "Metrics" in alarm else alarm["Period"]
    )


def states(alarm: dict[str, Any], periods: Sequence[Period] | Metrics) -> list[str]:
    """Return the alarm's state after each period: OK, ALARM, or INSUFFICIENT_DATA.

    Periods without names are those of the last metric. The others have no data.
    """
    found: list[str] = []
    breaching = [_is_breaching(alarm, value) for value in _values(alarm, periods)]
    needed = alarm["EvaluationPeriods"]
    for end in range(1, len(breaching) + 1):
        window = [None] * max(0, needed - end) + breaching[max(0, end - needed) : end]
        found.append(_state(alarm, window, found[-1] if found else "INSUFFICIENT_DATA"))
    return found


@dataclass(frozen=True)
class Series:
    """The values of a metric or an expression, one for each period; None without data."""

    values: tuple[float | None, ...]

    def __add__(self, other: "Series") -> "Series":
        return _each(operator.add, self, other)

    def __truediv__(self, divisor: float) -> "Series":
        return Series(tuple(None if each is None else each / divisor for each in self.values))


def _each(function: Callable[[float, float], float], one: Series, other: Series) -> Series:
    """Combine two series where both have data."""
    pairs = zip(one.values, other.values, strict=True)
    return Series(tuple(None if a is None or b is None else function(a, b) for a, b in pairs))


def _filled(series: Series, value: float | str) -> Series:
    """Replace missing values, by the one before if `value` is REPEAT."""
    filled: list[float | None] = []
    for each in series.values:
        before = filled[-1] if filled else None
        missing = before if isinstance(value, str) else value
        filled.append(missing if each is None else each)
    return Series(tuple(filled))


def _growth(series: Series) -> Series:
    before = Series((None, *series.values[:-1]))
    return _each(operator.sub, series, before)


def _largest(several: Sequence[Series]) -> Series:
    periods = zip(*(series.values for series in several), strict=True)
    known = [[each for each in values if each is not None] for values in periods]
    return Series(tuple(max(values, default=None) for values in known))


_FUNCTIONS: dict[str, Any] = {
    "FILL": _filled,
    "REPEAT": "REPEAT",
    "DIFF": _growth,
    "MAX": _largest,
}


def _values(alarm: dict[str, Any], periods: Sequence[Period] | Metrics) -> Sequence[float | None]:
    """Return the value of each period that is compared with the threshold."""
    if "Metrics" not in alarm:
        assert not isinstance(periods, Mapping)
        return _measured(alarm.get("Statistic") or alarm["ExtendedStatistic"], periods).values
    expression, *metrics = alarm["Metrics"]
    if not isinstance(periods, Mapping):
        periods = {metrics[-1]["Id"]: periods}
    (count,) = {len(each) for each in periods.values()}
    named = {m["Id"]: _measured(m["MetricStat"]["Stat"], [[]] * count) for m in metrics}
    for metric in metrics:
        if metric["Id"] in periods:
            named[metric["Id"]] = _measured(metric["MetricStat"]["Stat"], periods[metric["Id"]])
    found = eval(expression["Expression"], {"__builtins__": {}}, _FUNCTIONS | named)  # noqa: S307 - our own template
    assert isinstance(found, Series)
    return found.values


def _measured(statistic: str, periods: Sequence[Period]) -> Series:
    return Series(tuple(_STATISTICS[statistic](v) if v else None for v in periods))


def _is_breaching(alarm: dict[str, Any], value: float | None) -> bool | None:
    """Return whether a period breaches the threshold; None without data."""
    if value is None:
        return None
    return _OPERATORS[alarm["ComparisonOperator"]](value, float(alarm["Threshold"]))


def _state(alarm: dict[str, Any], window: Sequence[bool | None], before: str) -> str:
    missing = alarm["TreatMissingData"]
    if missing == "ignore":
        known = [each for each in window if each is not None]
        if len(known) < len(window):
            return before
    filled = [missing == "breaching" if each is None else each for each in window]
    to_alarm = alarm.get("DatapointsToAlarm", len(window))
    return "ALARM" if sum(filled) >= to_alarm else "OK"
