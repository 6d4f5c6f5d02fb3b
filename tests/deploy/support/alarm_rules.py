"""When an alarm rings: CloudWatch's rules, as far as the template uses them; anything else is refused by name.

(Amazon CloudWatch User Guide: "Alarm evaluation", "Configuring how CloudWatch alarms treat missing data", "Percentiles
and low data samples", "Using math expressions".)
"""

import ast
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any, TypeAlias

MINUTES = 24 * 60

Name: TypeAlias = tuple[str, str, frozenset[tuple[str, str]]]
"""A metric: namespace, name, and dimensions, resolved."""

Day: TypeAlias = Mapping[Name, Iterable[tuple[int, float]]]
"""What was reported in a day: for each metric the minutes and the values, as many a minute as there were."""

Series: TypeAlias = dict[int, float]
"""A value for each period; a period without data is missing."""

_OPERATORS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_RANGE = 2
"""Periods that CloudWatch looks at beyond those that it evaluates, in case some of these have no data."""


def rings(alarm: Mapping[str, Any], day: Day, resolve: Callable[[Any], Any]) -> list[int]:
    """The minutes at whose end the alarm starts. `resolve` turns references of the template into text."""
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    series, period = _datapoints(alarm, day, resolve)
    count, wanted = alarm["EvaluationPeriods"], alarm["DatapointsToAlarm"]
    filler = {"breaching": True, "notBreaching": False}[alarm["TreatMissingData"]]
    threshold = float(resolve(alarm["Threshold"]))
    states = [False]
    for last in range(count + _RANGE - 1, MINUTES // period):
        known = [series[n] > threshold for n in range(last, last - count - _RANGE, -1) if n in series][:count]
        states.append(sum(known) + filler * (count - len(known)) >= wanted)
    first = count + _RANGE - 1
    return [(first + n) * period for n, (before, after) in enumerate(pairwise(states)) if after and not before]


def watched(alarm: Mapping[str, Any], resolve: Callable[[Any], Any]) -> list[Name]:
    """The metrics that the alarm looks at."""
    if "Metrics" not in alarm:
        return [_name(alarm, resolve)]
    return [_name(query["MetricStat"]["Metric"], resolve) for query in alarm["Metrics"] if "MetricStat" in query]


def _datapoints(alarm: Mapping[str, Any], day: Day, resolve: Callable[[Any], Any]) -> tuple[Series, int]:
    """The series that is compared with the threshold, and its period in minutes."""
    if "Metrics" not in alarm:
        period, statistic = alarm["Period"] // 60, alarm.get("Statistic") or alarm["ExtendedStatistic"]
        low = alarm.get("EvaluateLowSampleCountPercentile", "evaluate")
        return _statistic(day.get(_name(alarm, resolve), ()), statistic, period, low), period
    (period,) = {query["MetricStat"]["Period"] // 60 for query in alarm["Metrics"] if "MetricStat" in query}
    known: dict[str, Series] = {}
    for query in alarm["Metrics"]:
        if "MetricStat" in query:
            stat = query["MetricStat"]
            reported = day.get(_name(stat["Metric"], resolve), ())
            known[query["Id"]] = _statistic(reported, stat["Stat"], period, "evaluate")
    for query in alarm["Metrics"]:
        if "Expression" in query:
            known[query["Id"]] = _evaluated(ast.parse(query["Expression"], mode="eval").body, known, period)
    (shown,) = (query["Id"] for query in alarm["Metrics"] if query["ReturnData"])
    return known[shown], period


def _statistic(reported: Iterable[tuple[int, float]], statistic: str, period: int, low_samples: str) -> Series:
    samples: dict[int, list[float]] = {}
    for minute, value in reported:
        samples.setdefault(minute // period, []).append(value)
    if statistic in ("Sum", "Maximum"):
        return {n: sum(values) if statistic == "Sum" else max(values) for n, values in samples.items()}
    share = float(statistic.removeprefix("p")) / 100
    # With `ignore` the state stays as it is until there are samples enough; here it begins with silence.
    enough = 10 / (1 - share) if low_samples == "ignore" else 1
    return {
        n: sorted(values)[math.ceil(share * len(values) - 1e-9) - 1]
        for n, values in samples.items()
        if len(values) >= enough - 1e-9
    }


def _evaluated(expression: ast.expr, known: Mapping[str, Series], period: int) -> Series:
    """An expression in each period. Where a part of it is missing, or it divides by zero, it is missing."""

    def of(part: ast.expr) -> Series:
        return _evaluated(part, known, period)

    every = range(MINUTES // period)
    match expression:
        case ast.Constant(int(value)):
            return {n: float(value) for n in every}
        case ast.Name(name):
            return known[name]
        case ast.BinOp(left, symbol, right) | ast.Compare(left, [symbol], [right]):
            one, other, compute = of(left), of(right), _OPERATORS[type(symbol)]
            divides = isinstance(symbol, ast.Div)
            return {n: compute(one[n], other[n]) for n in one.keys() & other if other[n] or not divides}
        case ast.Call(ast.Name("SUM"), [ast.List(parts)]):
            summed = [of(part) for part in parts]
            return {n: sum(each.get(n, 0) for each in summed) for n in every if any(n in each for each in summed)}
        case ast.Call(ast.Name("FILL"), [part, instead]):
            return of(instead) | of(part)
        case ast.Call(ast.Name("IF"), [condition, then, otherwise]):
            chosen = of(then), of(otherwise)
            return {n: chosen[not true][n] for n, true in of(condition).items() if n in chosen[not true]}
    raise NotImplementedError(f"{ast.unparse(expression)}: teach tests/deploy/support/alarm_rules.py")


def _name(metric: Mapping[str, Any], resolve: Callable[[Any], Any]) -> Name:
    dimensions = frozenset((each["Name"], str(resolve(each["Value"]))) for each in metric["Dimensions"])
    return metric["Namespace"], metric["MetricName"], dimensions
