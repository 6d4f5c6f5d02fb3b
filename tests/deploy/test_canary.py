"""A release by canary: what goes back by itself, and when; what must not go by canary."""

import json
import random
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from chalicelib import settings, telemetry
from deploy.alarms import NAMESPACE
from deploy.canary import ALIAS, MINUTES, RELEASED, why_all_at_once
from deploy.digests import SHARED_SETTINGS
from deploy.stages import FUNCTIONS
from tests.deploy.packages import Package
from tests.deploy.support.alarm_rules import Day, Name, rings, watched

START = 600
"""The minute of the day in which the new version gets its first tenth."""

ON_THE_WAY = 3
"""Minutes that are kept for the metrics' way to CloudWatch, and for CodeDeploy to look at the alarm."""

OLD, NEW = "41", "42"


def resolve(value: Any) -> Any:
    """What the references of an alarm of a release are, in `prod`, once version 42 is published."""
    match value:
        case {"Ref": str(name)}:
            return f"orderonce-prod-{name}-AB12"
        case {"Fn::GetAtt": [str(version), "Version"]}:
            assert version.endswith(".Version")
            return NEW
        case {"Fn::Sub": str(text)}:
            for name in FUNCTIONS.values():
                text = text.replace(f"${{{name}}}", resolve({"Ref": name}))
            return text.replace("${Stage}", "prod")
    return value


def alarm(package: Package, function: str) -> dict[str, Any]:
    return package.properties(f"Release{FUNCTIONS[function]}Alarm")


def lambdas(name: str, function: str, version: str) -> Name:
    physical = resolve({"Ref": FUNCTIONS[function]})
    dimensions = {"FunctionName": physical, "Resource": f"{physical}:{ALIAS}", "ExecutedVersion": version}
    return "AWS/Lambda", name, frozenset(dimensions.items())


def own(function: str, version: str) -> Name:
    dimensions = {
        "service": "orderonce-prod",
        "function": resolve({"Ref": FUNCTIONS[function]}),
        "version": version,
    }
    return NAMESPACE, telemetry.VERSION_FAULTS, frozenset(dimensions.items())


def day(function: str, version: str, runs: Iterable[tuple[int, int, int]], *, raised: bool = False) -> Day:
    """A version's runs: minute, how many, and how many of them fail, by an answer of 5xx or by an exception."""
    listed = list(runs)
    failing = lambdas("Errors", function, version) if raised else own(function, version)
    return {
        lambdas("Invocations", function, version): [(minute, float(count)) for minute, count, _ in listed],
        failing: [(minute, float(failed)) for minute, _, failed in listed if failed],
    }


def canary(per_minute: int, failing: float, seed: int) -> Iterable[tuple[int, int, int]]:
    """The runs of the new version: Lambda gives it each one with a chance of a tenth, and so many of them fail."""
    chance = random.Random(seed)
    for minute in range(START, START + MINUTES):
        count = sum(chance.random() < 0.1 for _ in range(per_minute))
        yield minute, count, sum(chance.random() < failing for _ in range(count))


@pytest.mark.parametrize("raised", [False, True], ids=["answered", "raised"])
@pytest.mark.parametrize("per_minute", [60, 300, 3_000])
@pytest.mark.parametrize("function", ["api_handler", "order_consumer"])
def test_a_release_of_which_four_in_ten_fail_goes_back_before_the_canary_ends(
    function: str, per_minute: int, prod: Package, *, raised: bool
) -> None:
    late = [
        seed
        for seed in range(50)
        for rung in [
            rings(alarm(prod, function), day(function, NEW, canary(per_minute, 0.4, seed), raised=raised), resolve)
        ]
        if not rung or rung[0] > START + MINUTES - ON_THE_WAY
    ]
    assert late == []


def test_with_few_requests_two_minutes_with_a_fault_are_enough(prod: Package) -> None:
    """Six requests a minute, so in most minutes one or none of the new version."""
    runs = [(START, 1, 1), (START + 3, 1, 0), (START + 4, 1, 1)]
    (rung,) = rings(alarm(prod, "api_handler"), day("api_handler", NEW, runs), resolve)
    assert rung < START + MINUTES - ON_THE_WAY


@pytest.mark.parametrize(
    ("function", "version", "runs"),
    [
        ("api_handler", OLD, [(START + n, 900, 360) for n in range(MINUTES)]),
        ("api_handler", NEW, [(START + n, 100, 4) for n in range(MINUTES)]),
        ("api_handler", NEW, [(START + 2, 1, 1)]),
        ("api_handler", NEW, [(START + n, 1, n in (0, 6)) for n in range(MINUTES)]),
        ("api_handler", NEW, []),
        ("order_consumer", NEW, [(START + n, 100, 20) for n in range(MINUTES)]),
        ("recover", NEW, [(START + n, 1, n == 4) for n in range(MINUTES)]),
    ],
    ids=["the old one", "under the threshold", "one fault", "two far apart", "no traffic", "retries", "one bad run"],
)
def test_no_release_goes_back_for_the_old_version_or_a_single_fault(
    function: str, version: str, runs: list[tuple[int, int, int]], prod: Package
) -> None:
    for each in RELEASED:
        assert rings(alarm(prod, each), day(function, version, runs), resolve) == []


def test_the_alarms_look_at_what_the_new_version_reports(
    prod: Package, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for function in RELEASED:
        reported = {own(function, NEW), lambdas("Errors", function, NEW), lambdas("Invocations", function, NEW)}
        assert set(watched(alarm(prod, function), resolve)) == reported
    environment = {
        "AWS_LAMBDA_FUNCTION_NAME": resolve({"Ref": "APIHandler"}),
        "AWS_LAMBDA_FUNCTION_VERSION": NEW,
        "POWERTOOLS_SERVICE_NAME": "orderonce-prod",
        "LOG_FORMAT": "json",
    }
    with monkeypatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        settings.app_settings.cache_clear()
        telemetry.version_fault()
    settings.app_settings.cache_clear()
    line = json.loads(capsys.readouterr().out)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    ((metric,), (names,)) = directive["Metrics"], directive["Dimensions"]
    named = directive["Namespace"], metric["Name"], frozenset((name, line[name]) for name in names)
    assert (named, line[metric["Name"]]) == (own("api_handler", NEW), [1.0])


@pytest.mark.parametrize("version", ["$LATEST", ""])
def test_what_is_no_version_reports_none(
    version: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a laptop, and in a function that no alias calls, it would be a metric that nobody looks at."""
    with monkeypatch.context() as patch:
        patch.setenv("AWS_LAMBDA_FUNCTION_VERSION", version)
        settings.app_settings.cache_clear()
        telemetry.version_fault()
    settings.app_settings.cache_clear()
    assert capsys.readouterr().out == ""


def test_codedeploy_may_shift_the_aliases_and_nothing_else(prod: Package) -> None:
    role = prod.properties("CanaryRole")
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "codedeploy.amazonaws.com"}
    (policy,) = role["Policies"]
    shifting, looking = policy["PolicyDocument"]["Statement"]
    assert looking == {"Effect": "Allow", "Action": ["cloudwatch:DescribeAlarms"], "Resource": "*"}
    assert {action.partition(":")[0] for action in shifting["Action"]} == {"lambda"}
    assert "lambda:UpdateAlias" in shifting["Action"]
    assert {name for each in shifting["Resource"] for name in FUNCTIONS.values() if f"{name}" in json.dumps(each)} == {
        FUNCTIONS[function] for function in RELEASED
    }


@pytest.mark.parametrize(
    ("outputs", "asked", "why"),
    [
        ({}, False, ""),
        ({SHARED_SETTINGS: "now"}, False, ""),
        ({SHARED_SETTINGS: "now"}, True, "as asked"),
        ({SHARED_SETTINGS: "before"}, False, "would disagree"),
    ],
)
def test_a_release_that_changes_what_versions_share_does_not_go_by_canary(
    outputs: Mapping[str, str], why: str, *, asked: bool
) -> None:
    assert why in why_all_at_once(outputs, "now", asked=asked)
    assert bool(why) is bool(why_all_at_once(outputs, "now", asked=asked))
