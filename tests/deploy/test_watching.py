"""Alarms, dashboard and saved queries: what an operator sees, and is alerted by."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib.adapters.queues import order_created_event
from deploy.alarms import NAMESPACE
from deploy.canary import RELEASED
from deploy.stages import DEPLOYED, FUNCTIONS, ROOT, function_name, function_timeout
from deploy.template import resources_template
from tests.deploy.packages import Package, packaged
from tests.support.orders import an_order
from tests.support.template import Template

ALARMS = {
    "dead-letters",
    "oldest-message-age",
    "events-undelivered",
    "orders-overdue",
    "unexpected-faults",
    "payment-requests-refused",
    "failed-orders-rate",
    "api-5xx-rate",
    "api-4xx-rate",
    "failed-batches",
    "lambda-throttles",
    "dynamodb-throttles",
    "dynamodb-index-throttles",
    *(f"{function.replace('_', '-')}-duration" for function in FUNCTIONS),
}


OF_STEP_FUNCTIONS = {
    "saga-executions-failed",
    "saga-executions-timed-out",
    "saga-executions-throttled",
    "saga-step-duration",
}
"""They exist where a state machine runs the saga."""

WITH_A_PROVIDER = {"payment-differences", "reconcile-payments-duration"}
"""Where a stage takes real money (`test_reconciling.py`)."""

OF_A_RELEASE = {f"release-{function.replace('_', '-')}" for function in RELEASED}
"""They roll back a release by canary, and exist where releases go so."""


def alarms(package: Package) -> dict[str, dict[str, Any]]:
    """The properties of every alarm, by the last part of its name."""
    found = package.of_type("AWS::CloudWatch::Alarm").values()
    return {alarm["AlarmName"]["Fn::Sub"].removeprefix("orderonce-${Stage}-"): alarm for alarm in found}


# --- alarms ---


def test_there_is_an_alarm_for_whatever_somebody_must_know(package: Package) -> None:
    by_canary = "Canary" in package.template["Parameters"]
    assert set(alarms(package)) == ALARMS | (OF_A_RELEASE if by_canary else set())


def test_a_state_machine_has_alarms_of_its_own(with_state_machine: Package) -> None:
    by_canary = "Canary" in with_state_machine.template["Parameters"]
    release = OF_A_RELEASE | {"release-saga-step"} if by_canary else set()
    assert set(alarms(with_state_machine)) == ALARMS | OF_STEP_FUNCTIONS | release
    limit = with_state_machine.function("saga_step")["Timeout"]
    assert alarms(with_state_machine)["saga-step-duration"]["Threshold"] == 0.8 * limit * 1000


def test_every_alarm_notifies_the_topic_when_it_starts_and_when_it_is_over(package: Package) -> None:
    for alarm in alarms(package).values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "AlertsTopic"}]


def test_what_missing_data_means_is_chosen_for_every_alarm(package: Package) -> None:
    silence = {name: alarm["TreatMissingData"] for name, alarm in alarms(package).items()}
    assert {name for name, meaning in silence.items() if meaning == "breaching"} == {"orders-overdue"}
    assert set(silence.values()) == {"breaching", "notBreaching"}


def test_failed_orders_are_counted_by_the_business_and_not_by_lambda(prod: Package) -> None:
    """So that a saga that ends in FAILED counts, though its function succeeded."""
    stats = [query["MetricStat"]["Metric"] for query in alarms(prod)["failed-orders-rate"]["Metrics"][:3]]
    assert {stat["Namespace"] for stat in stats} == {NAMESPACE}
    for stat in stats:
        assert stat["Dimensions"] == [{"Name": "service", "Value": {"Fn::Sub": "orderonce-${Stage}"}}]


def test_metric_mathematics_is_small_enough(package: Package) -> None:
    """Ten metrics an alarm (Amazon CloudWatch User Guide, "CloudWatch service quotas"); ids are words."""
    for alarm in alarms(package).values():
        queries = alarm.get("Metrics", [])
        assert sum("MetricStat" in query for query in queries) <= 10
        assert all(re.fullmatch("[a-z][A-Za-z0-9_]*", query["Id"]) for query in queries)
        assert sum(query["ReturnData"] for query in queries) == (1 if queries else 0)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_run_near_its_time_limit_has_an_alarm(function: str, package: Package) -> None:
    alarm = alarms(package)[f"{function.replace('_', '-')}-duration"]
    limit = package.function(function)["Timeout"]
    assert alarm["Threshold"] == 0.8 * limit * 1000
    assert alarm["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": FUNCTIONS[function]}}]


def test_beside_chalice_deploy_functions_are_named_as_it_names_them() -> None:
    template = Template(resources_template("dev"), {"Stage": "dev"})
    names = {
        template.resolve(dimension["Value"])
        for resource in template.resources.values()
        if resource["Type"] == "AWS::CloudWatch::Alarm" and "Dimensions" in resource["Properties"]
        for dimension in resource["Properties"]["Dimensions"]
        if dimension["Name"] == "FunctionName"
    }
    assert names == {"orderonce-dev", *(f"orderonce-dev-{name}" for name in FUNCTIONS if name != "api_handler")}
    assert {function_name(name).replace("${Stage}", "dev") for name in FUNCTIONS} == names


# --- the runbook ---


def chapters() -> dict[str, str]:
    text = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    parts = re.split(r"^### (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_runbook_says_what_every_alarm_means_and_what_to_do_and_has_no_other_chapter(
    prod: Package, packages_folder: Path
) -> None:
    assert set(chapters()) == ALARMS | OF_A_RELEASE | OF_STEP_FUNCTIONS | {"release-saga-step"} | WITH_A_PROVIDER
    for name, chapter in chapters().items():
        assert [part for part in ("**Means**", "**Look at**", "**Do**") if part not in chapter] == [], name
    with_state_machine = packaged("prod", packages_folder, ENGINE="step-functions")
    for name, alarm in {**alarms(prod), **alarms(with_state_machine)}.items():
        assert alarm["AlarmDescription"].endswith(f"docs/runbook.md#{name}")


@pytest.mark.parametrize("stage", DEPLOYED)
def test_the_runbook_has_the_time_limits_as_they_are(stage: str) -> None:
    for function in FUNCTIONS:
        assert f"{function_timeout(stage, function)} s" in chapters()[f"{function.replace('_', '-')}-duration"]


# --- the dashboard ---


def board(package: Package) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(package.properties("Dashboard")["DashboardBody"]["Fn::Sub"])
    return body


def test_the_dashboard_has_six_full_rows(package: Package) -> None:
    widgets = board(package)["widgets"]
    rows: dict[int, int] = {}
    for widget in widgets:
        rows[widget["y"]] = rows.get(widget["y"], 0) + widget["width"]
    assert rows == {y * 6: 24 for y in range(6)}


def test_with_a_state_machine_the_dashboard_has_a_row_about_it(with_state_machine: Package) -> None:
    widgets = board(with_state_machine)["widgets"]
    assert {widget["y"] for widget in widgets} == {y * 6 for y in range(7)}
    shown = {line[1]: line[2:4] for widget in widgets for line in widget["properties"]["metrics"] if len(line) > 1}
    arn = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:stateMachine:orderonce-${Stage}-saga"
    executions = ["ExecutionThrottled", "ExecutionTime", *(f"Executions{end}" for end in ("Started", "Failed"))]
    assert [shown[name] for name in executions] == [["StateMachineArn", arn]] * 4
    assert "${SagaStep}" in json.dumps(board(with_state_machine))


def test_the_dashboard_shows_what_the_operator_asks_for(package: Package) -> None:
    shown = json.dumps(board(package))
    wanted = """Count Latency 4XXError 5XXError p50 p95 p99 Duration Errors Throttles ConcurrentExecutions
        TransactionConflict NumberOfMessagesSent NumberOfMessagesReceived NumberOfMessagesDeleted
        ConsumedReadCapacityUnits WriteThrottleEvents ApproximateAgeOfOldestMessage"""
    assert [name for name in wanted.split() if f'"{name}"' not in shown] == []
    assert "{OrderOnce,reason,service}" in shown


def test_the_dashboard_names_existing_resources(package: Package) -> None:
    body = package.properties("Dashboard")["DashboardBody"]["Fn::Sub"]
    named = {name.partition(".")[0] for name in re.findall(r"\$\{([^}]+)\}", body)}
    assert named - {"Stage", "RestoredTables", "AWS::Region"} <= package.resources.keys()
    assert set(FUNCTIONS.values()) <= named


def test_every_business_metric_that_is_shown_or_watched_is_counted_somewhere(package: Package) -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "chalicelib").rglob("*.py"))
    wanted = set(business_metrics(package))
    # Names that are composed of an outcome or a status.
    composed = {name for name in wanted if re.fullmatch("Payments(Charged|Declined|Unknown)|OrdersCancelled", name)}
    assert {name for name in wanted - composed if f'"{name}"' not in source} == set()
    assert 'f"Payments{' in source
    assert 'f"Orders{' in source


def business_metrics(package: Package) -> Iterator[str]:
    for widget in board(package)["widgets"]:
        yield from (line[1] for line in widget["properties"]["metrics"] if line[0] == NAMESPACE)
    for alarm in alarms(package).values():
        if alarm.get("Namespace") == NAMESPACE:
            yield alarm["MetricName"]
        stats = [query["MetricStat"]["Metric"] for query in alarm.get("Metrics", []) if "MetricStat" in query]
        yield from (stat["MetricName"] for stat in stats if stat["Namespace"] == NAMESPACE)


# --- the saved queries ---


def test_one_query_finds_a_correlation_id_through_api_consumer_and_events(package: Package) -> None:
    query = package.properties("ByCorrelationIdQuery")
    groups = {group["Ref"] for group in query["LogGroupNames"]}
    assert {"ApiHandlerLogGroup", "OrderConsumerLogGroup", "OrderEventsLog"} <= groups
    assert groups <= package.resources.keys()
    # The field has the same name in log lines, in messages and (below `detail`) in events.
    assert 'correlationId = "PUT-IT-HERE" or detail.correlationId' in query["QueryString"]
    assert '"correlationId": "abc"' in order_created_event(an_order(correlation_id="abc"))


def test_why_orders_fail_and_wait_is_asked_of_the_function_of_the_steps_too(with_state_machine: Package) -> None:
    for query in ("FailedOrdersQuery", "RetriesQuery", "ByOrderQuery", "FaultsQuery"):
        groups = {group["Ref"] for group in with_state_machine.properties(query)["LogGroupNames"]}
        assert {"OrderConsumerLogGroup", "SagaStepLogGroup"} <= groups


def test_queries_ask_for_lines_that_are_logged(package: Package) -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "chalicelib").rglob("*.py"))
    for query in package.of_type("AWS::Logs::QueryDefinition").values():
        asked = re.findall(r"message (?:= |in \[)([^\]|\n]+)", query["QueryString"])
        for line in re.findall('"([^"]+)"', " ".join(asked)):
            assert f'"{line}"' in source
