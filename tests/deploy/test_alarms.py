"""Each alarm rings on the day that it is for, and is silent on an ordinary one: its mathematics, evaluated."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from deploy.alarms import NAMESPACE
from deploy.stages import DEPLOYED, FUNCTIONS, function_name, function_timeout
from deploy.template import resources_template
from tests.deploy.support.alarm_rules import MINUTES, Day, Name, rings, watched
from tests.deploy.test_watching import ALARMS, OF_STEP_FUNCTIONS
from tests.support.step_functions import step_functions
from tests.support.template import Template

STAGE = "prod"
ALL_DAY, MORNING = range(MINUTES), range(480, 500)
"""The minutes of a day, and twenty of them in which something is wrong."""

Values = Iterable[tuple[int, float]]


def metric(namespace: str, name: str, **dimensions: str) -> Name:
    return namespace, name, frozenset(dimensions.items())


def business(name: str) -> Name:
    return metric(NAMESPACE, name, service=f"orderonce-{STAGE}")


def api(name: str) -> Name:
    return metric("AWS/ApiGateway", name, ApiName="orderonce", Stage=STAGE)


def of_function(name: str, function: str) -> Name:
    return metric("AWS/Lambda", name, FunctionName=function_name(function).replace("${Stage}", STAGE))


def of_table(kind: str, table: str, **index: str) -> Name:
    return metric("AWS/DynamoDB", f"{kind}ThrottleEvents", TableName=f"orderonce-{STAGE}-{table}", **index)


def each(minutes: Iterable[int], *values: float) -> list[tuple[int, float]]:
    """These values in each of these minutes."""
    return [(minute, value) for minute in minutes for value in values]


DEAD = metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", QueueName=f"orderonce-{STAGE}-orders-dead-letters")
AGE = metric("AWS/SQS", "ApproximateAgeOfOldestMessage", QueueName=f"orderonce-{STAGE}-orders")
UNDELIVERED = metric(
    "AWS/Events", "FailedInvocations", EventBusName=f"orderonce-{STAGE}", RuleName=f"orderonce-{STAGE}-order-events"
)
OVERDUE, FAULTS = business("OrdersOverdue"), business("UnexpectedFaults")
REFUSED_REQUESTS = business("PaymentRequestsRefused")
FAILED, CONFIRMED, CANCELLED = (business(f"Orders{end}") for end in ("Failed", "Confirmed", "Cancelled"))
REQUESTS, ANSWERS_4XX, ANSWERS_5XX = api("Count"), api("4XXError"), api("5XXError")
ERRORS = of_function("Errors", "order_consumer")
KINDS = ("Read", "Write")
MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:orderonce-prod-saga"
EXECUTIONS_FAILED, TIMED_OUT, THROTTLED = (
    metric("AWS/States", name, StateMachineArn=MACHINE)
    for name in ("ExecutionsFailed", "ExecutionsTimedOut", "ExecutionThrottled")
)


@dataclass(frozen=True)
class Case:
    """Days on which an alarm rings, and days on which it does not."""

    loud: list[Day]
    quiet: list[Day]


def longest(function: str) -> float:
    """The time limit of a function, in milliseconds."""
    return 1000 * function_timeout(STAGE, function)


def schedule_case(function: str) -> Case:
    """One run a minute, mostly of a second."""
    duration, slow = of_function("Duration", function), 0.9 * longest(function)
    usual = each(ALL_DAY, 1000)
    return Case([{duration: [*usual, *each(MORNING, slow)]}], [{duration: usual}, {duration: [*usual, (480, slow)]}])


def traffic_case(function: str) -> Case:
    """Many runs at a time by day, single ones by night. A cold start takes seconds."""
    duration, limit = of_function("Duration", function), longest(function)
    busy = each(ALL_DAY, *[100.0] * 40)
    few = each(range(0, MINUTES, 3), 100)
    return Case(
        [{duration: [*busy, *each(MORNING, limit, limit)]}, {duration: [*few, *each(range(480, 500, 4), limit)]}],
        [{duration: [*busy, *each(ALL_DAY, 0.3 * limit)]}, {duration: [*few, (481, limit)]}, {duration: []}],
    )


def throttled(names: Iterable[Name]) -> Case:
    """Each of these alone, four times a minute; and all of them together, now and then."""
    return Case(
        [{name: each(MORNING, 5)} for name in names],
        [{}, {name: each(range(0, MINUTES, 60), 2) for name in names}],
    )


CASES: Mapping[str, Case] = {
    "dead-letters": Case([{DEAD: [*each(ALL_DAY, 0), (480, 1)]}, {DEAD: [(480, 1)]}], [{DEAD: each(ALL_DAY, 0)}, {}]),
    "oldest-message-age": Case(
        [{AGE: each(MORNING, 700)}],
        [{AGE: each(ALL_DAY, 500)}, {AGE: [*each(ALL_DAY, 5), *each(range(480, 484), 900)]}, {}],
    ),
    "events-undelivered": Case([{UNDELIVERED: [(480, 1)]}], [{}]),
    "orders-overdue": Case(
        [
            {OVERDUE: [*each(ALL_DAY, 0), *each(MORNING, 2)]},
            {OVERDUE: each(set(ALL_DAY) - set(MORNING), 0)},  # recovery does not run
        ],
        [{OVERDUE: each(ALL_DAY, 0)}, {OVERDUE: [*each(ALL_DAY, 0), (480, 1)]}],
    ),
    "unexpected-faults": Case([{FAULTS: [(480, 1)]}], [{}]),
    "payment-requests-refused": Case([{REFUSED_REQUESTS: [(480, 1)]}], [{}]),
    "failed-orders-rate": Case(
        [
            {CONFIRMED: each(ALL_DAY, 6), FAILED: [*each(ALL_DAY, 1), *each(MORNING, 3)]},
            {FAILED: each(MORNING, 2)},
        ],
        [
            {CONFIRMED: each(ALL_DAY, 6), FAILED: each(ALL_DAY, 1), CANCELLED: each(ALL_DAY, 1)},
            {CONFIRMED: each(ALL_DAY, 6), FAILED: each(MORNING, 5), CANCELLED: each(ALL_DAY, 6)},
            {FAILED: each(range(0, MINUTES, 5), 9)},  # too few orders to say
            {CONFIRMED: each(ALL_DAY, 6)},
            {},
        ],
    ),
    "api-5xx-rate": Case(
        [{REQUESTS: each(ALL_DAY, 100), ANSWERS_5XX: [*each(ALL_DAY, 0), *each(MORNING, 6)]}],
        [
            {REQUESTS: each(ALL_DAY, 100), ANSWERS_5XX: each(ALL_DAY, 5)},
            {REQUESTS: each(ALL_DAY, 1), ANSWERS_5XX: [*each(ALL_DAY, 0), *each(MORNING, 1)]},  # too few requests
            {},
        ],
    ),
    "api-4xx-rate": Case(
        [
            {REQUESTS: each(ALL_DAY, 100), ANSWERS_4XX: [*each(ALL_DAY, 1), *each(MORNING, 60)]},
            {REQUESTS: [*each(ALL_DAY, 1), *each(MORNING, 6_000)], ANSWERS_4XX: each(MORNING, 5_900)},  # a storm of 429
        ],
        [
            {REQUESTS: each(ALL_DAY, 100), ANSWERS_4XX: each(ALL_DAY, 20)},
            {REQUESTS: each(ALL_DAY, 100), ANSWERS_4XX: [*each(ALL_DAY, 1), *each(range(480, 485), 90)]},  # once
            {REQUESTS: each(ALL_DAY, 10), ANSWERS_4XX: each(ALL_DAY, 10)},  # one client's mistake
            {},
        ],
    ),
    "failed-batches": Case(
        [{ERRORS: each(range(480, 500), 5)}],
        [{ERRORS: each(ALL_DAY, 1)}, {ERRORS: [*each(ALL_DAY, 0), *each(range(480, 485), 50)]}, {}],
    ),
    "lambda-throttles": Case(
        [{of_function("Throttles", function): each(MORNING, 5)} for function in FUNCTIONS],
        # Now and then a schedule comes twice, and its second run waits for the first.
        [{of_function("Throttles", "recover"): each(range(7, MINUTES, 120), 7)}, {}],
    ),
    "dynamodb-throttles": throttled(
        of_table(kind, table) for kind in KINDS for table in ("orders", "inventory", "idempotency", "payments")
    ),
    "dynamodb-index-throttles": throttled(
        of_table(kind, "orders", GlobalSecondaryIndexName=index)
        for kind in KINDS
        for index in ("CustomerIndex", "OutboxIndex")
    ),
    "recover-duration": schedule_case("recover"),
    "dead-letter-monitor-duration": schedule_case("dead_letter_monitor"),
    "api-handler-duration": traffic_case("api_handler"),
    "order-consumer-duration": traffic_case("order_consumer"),
    "replay-dead-letters-duration": Case(
        [{of_function("Duration", "replay_dead_letters"): [(480, 0.9 * longest("replay_dead_letters"))]}],
        [{of_function("Duration", "replay_dead_letters"): [(480, 5_000), (900, 9_000)]}, {}],
    ),
}


OF_STEP_FUNCTIONS_CASES: Mapping[str, Case] = {
    "saga-executions-failed": Case([{EXECUTIONS_FAILED: [(480, 1)]}], [{EXECUTIONS_FAILED: each(ALL_DAY, 0)}, {}]),
    "saga-executions-timed-out": Case([{TIMED_OUT: [(480, 1)]}], [{TIMED_OUT: each(ALL_DAY, 0)}, {}]),
    "saga-executions-throttled": throttled([THROTTLED]),
    "saga-step-duration": traffic_case("saga_step"),
}


def template(stage: str) -> Template:
    return Template(resources_template(stage), {"Stage": stage})


def alarms(of: Template) -> dict[str, dict[str, Any]]:
    """The properties of every alarm, by the last part of its name."""
    found = [each["Properties"] for each in of.resources.values() if each["Type"] == "AWS::CloudWatch::Alarm"]
    return {alarm["AlarmName"]["Fn::Sub"].removeprefix("orderonce-${Stage}-"): alarm for alarm in found}


PROD = template(STAGE)
with step_functions(STAGE):
    WITH_STATE_MACHINE = template(STAGE)


def alarm(name: str) -> dict[str, Any]:
    """An alarm of every stage, or one that only a state machine has."""
    return (alarms(WITH_STATE_MACHINE) | alarms(PROD))[name]


def days(loud: bool) -> Iterator[Any]:
    for name, case in {**CASES, **OF_STEP_FUNCTIONS_CASES}.items():
        for number, day in enumerate(case.loud if loud else case.quiet, 1):
            yield pytest.param(name, day, id=f"{name}-{number}")


@pytest.mark.parametrize(("name", "day"), list(days(loud=True)))
def test_an_alarm_rings_within_twenty_minutes_on_the_day_that_it_is_for(name: str, day: Day) -> None:
    assert [minute for minute in rings(alarm(name), day, PROD.resolve) if minute in range(480, 505)]


@pytest.mark.parametrize(("name", "day"), list(days(loud=False)))
def test_an_alarm_is_silent_on_an_ordinary_day(name: str, day: Day) -> None:
    assert rings(alarm(name), day, PROD.resolve) == []


def test_every_alarm_has_a_day_on_which_it_rings_and_one_on_which_it_does_not() -> None:
    assert CASES.keys() == ALARMS == alarms(PROD).keys()
    assert OF_STEP_FUNCTIONS_CASES.keys() == OF_STEP_FUNCTIONS == alarms(WITH_STATE_MACHINE).keys() - ALARMS
    assert all(case.loud and case.quiet for case in (*CASES.values(), *OF_STEP_FUNCTIONS_CASES.values()))


def test_a_metric_of_an_alarm_is_a_metric_of_its_days() -> None:
    """Else a misspelt metric would never be seen, as it is never reported."""
    for name, case in {**CASES, **OF_STEP_FUNCTIONS_CASES}.items():
        shown = {reported for day in (*case.loud, *case.quiet) for reported in day}
        assert set(watched(alarm(name), PROD.resolve)) == shown, name


def test_throttles_of_the_function_of_the_steps_are_watched_too() -> None:
    watching = alarms(WITH_STATE_MACHINE)["lambda-throttles"]
    assert rings(watching, {of_function("Throttles", "saga_step"): each(MORNING, 5)}, PROD.resolve)


@pytest.mark.parametrize("stage", DEPLOYED)
def test_throttles_of_every_table_and_every_index_are_watched(stage: str) -> None:
    of = template(stage)
    wanted = set()
    for table in Template.load({"Stage": stage}).properties("AWS::DynamoDB::Table").values():
        wanted.add((table["TableName"], None))
        wanted |= {(table["TableName"], index["IndexName"]) for index in table.get("GlobalSecondaryIndexes", ())}
    seen = {
        (metric_name, dict(dimensions)["TableName"], dict(dimensions).get("GlobalSecondaryIndexName"))
        for each_alarm in alarms(of).values()
        for namespace, metric_name, dimensions in watched(each_alarm, of.resolve)
        if namespace == "AWS/DynamoDB"
    }
    assert seen == {(f"{kind}ThrottleEvents", *which) for kind in KINDS for which in wanted}


@pytest.mark.parametrize("stage", DEPLOYED)
def test_no_alarm_waits_for_a_thousand_samples(stage: str) -> None:
    """p99 that ignores low samples needs 10 / (1 - 0.99) of them in each period."""
    assert [name for name, own in alarms(template(stage)).items() if "EvaluateLowSampleCountPercentile" in own] == []
