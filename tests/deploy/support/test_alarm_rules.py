"""The evaluator gives what CloudWatch's own table says of missing data."""

from typing import Any

import pytest

from tests.deploy.support.alarm_rules import Day, rings

METRIC = ("N", "M", frozenset[tuple[str, str]]())


@pytest.mark.parametrize(
    ("last_five", "breaching", "not_breaching"),
    [
        ("0-X-X", False, False),
        ("0----", False, False),
        ("-----", True, False),
        ("0XX-X", True, True),
        ("--X--", True, False),
    ],
)
def test_missing_data_is_filled_where_too_little_is_left(last_five: str, breaching: bool, not_breaching: bool) -> None:
    """For three datapoints of three ("Configuring how CloudWatch alarms treat missing data")."""
    filled = {"breaching": breaching, "notBreaching": not_breaching}
    for meaning, on in filled.items():
        alarm: dict[str, Any] = {
            "ComparisonOperator": "GreaterThanThreshold",
            "Threshold": 0,
            "EvaluationPeriods": 3,
            "DatapointsToAlarm": 3,
            "TreatMissingData": meaning,
            "Namespace": "N",
            "MetricName": "M",
            "Dimensions": [],
            "Statistic": "Sum",
            "Period": 60,
        }
        values = {"0": 0.0, "X": 1.0}
        day: Day = {METRIC: [(minute, values[sign]) for minute, sign in enumerate(last_five) if sign in values]}
        assert (4 in rings(alarm, day, str)) is on, meaning


def test_a_percentile_of_few_samples_is_the_slowest_or_nothing() -> None:
    alarm: dict[str, Any] = {
        "ComparisonOperator": "GreaterThanThreshold",
        "Threshold": 5,
        "EvaluationPeriods": 1,
        "DatapointsToAlarm": 1,
        "TreatMissingData": "notBreaching",
        "Namespace": "N",
        "MetricName": "M",
        "Dimensions": [],
        "ExtendedStatistic": "p99",
        "Period": 300,
    }
    few: Day = {METRIC: [*[(100, 1.0)] * 50, (100, 9.0)]}
    many: Day = {METRIC: [*[(100, 1.0)] * 980, *[(100, 9.0)] * 20]}
    assert (bool(rings(alarm, few, str)), bool(rings(alarm, many, str))) == (True, True)
    alarm["EvaluateLowSampleCountPercentile"] = "ignore"
    assert (bool(rings(alarm, few, str)), bool(rings(alarm, many, str))) == (False, True)
