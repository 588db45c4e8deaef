"""What CloudWatch makes of an alarm: its state, by the metric's values in each period.

Source: "Evaluating an alarm" and "Configuring how alarms treat missing data" in CloudWatch's guide.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

Period = Sequence[float]
"""The values that were measured within a period; none if nothing happened."""

_STATISTICS: dict[str, Callable[[Period], float]] = {
    "Sum": sum,
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


def states(alarm: dict[str, Any], periods: Sequence[Period]) -> list[str]:
    """Return the alarm's state after each period: OK, ALARM, or INSUFFICIENT_DATA."""
    found: list[str] = []
    breaching = [_is_breaching(alarm, values) for values in periods]
    needed = alarm["EvaluationPeriods"]
    for end in range(1, len(periods) + 1):
        window = [None] * max(0, needed - end) + breaching[max(0, end - needed) : end]
        found.append(_state(alarm, window, found[-1] if found else "INSUFFICIENT_DATA"))
    return found


def _is_breaching(alarm: dict[str, Any], values: Period) -> bool | None:
    """Return whether a period breaches the threshold; None without data."""
    if not values:
        return None
    if "Metrics" in alarm:
        expression, measured = alarm["Metrics"]
        assert expression["Expression"] == f"{measured['Id']} / 1000"
        value = _STATISTICS[measured["MetricStat"]["Stat"]](values) / 1000
    else:
        value = _STATISTICS[alarm.get("Statistic") or alarm["ExtendedStatistic"]](values)
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
