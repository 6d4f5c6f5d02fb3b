"""The alarms. Each notifies people through the topic, and its description names its chapter in docs/runbook.md.

What missing data means is chosen for each: nothing wrong where silence is normal, and a fault where it is not.
"""

from collections.abc import Sequence
from typing import Any

from deploy import state_machine
from deploy.names import Names
from deploy.stages import RECONCILING, SAGA_STEP, function_timeout

NAMESPACE = "OrderOnce"
"""Of the business metrics. Their dimension `service` distinguishes stages: `orderonce-<stage>`."""

MIN_COUNT = 10
"""Finished orders, or requests, in five minutes. With fewer a rate says nothing."""

STORM = 300
"""Requests in five minutes. One client's mistakes are fewer."""

_SERVICE = {"service": {"Fn::Sub": "orderonce-${Stage}"}}
_API = {"ApiName": "orderonce", "Stage": {"Ref": "Stage"}}
_EVENTS_RULE = {
    "EventBusName": {"Fn::Sub": "orderonce-${Stage}"},
    "RuleName": {"Fn::Sub": "orderonce-${Stage}-order-events"},
}
TABLES = ("OrdersTable", "InventoryTable", "IdempotencyTable", "PaymentsTable")
INDEXES = (("OrdersTable", "CustomerIndex"), ("OrdersTable", "OutboxIndex"))


def alarms(names: Names, stage: str) -> dict[str, Any]:
    """Every alarm of a stage, as resources."""
    found = [*_queue_alarms(), *_order_alarms(), *_api_alarms(), *_function_alarms(names, stage), *_table_alarms()]
    found += _execution_alarms() if SAGA_STEP in names.functions else []
    found += _payment_alarms() if RECONCILING in names.functions else []
    return {_logical_id(name): resource(name, properties) for name, properties in found}


def _queue_alarms() -> list[tuple[str, dict[str, Any]]]:
    dead = {"QueueName": {"Fn::GetAtt": ["OrderDeadLetters", "QueueName"]}}
    orders = {"QueueName": {"Fn::GetAtt": ["OrderQueue", "QueueName"]}}
    return [
        (
            "dead-letters",
            {
                "AlarmDescription": "Messages could not be handled.",
                **_metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum", dead, period=60),
                **above(0),
                # A queue that nobody used for hours reports nothing: then no message came.
                "TreatMissingData": "notBreaching",
            },
        ),
        (
            "oldest-message-age",
            {
                "AlarmDescription": "Orders have been waiting on the queue for more than ten minutes.",
                **_metric("AWS/SQS", "ApproximateAgeOfOldestMessage", "Maximum", orders, period=60),
                **above(600, periods=5),
                "TreatMissingData": "notBreaching",
            },
        ),
        (
            "events-undelivered",
            {
                "AlarmDescription": "Events of orders could not be written to their log.",
                **_metric("AWS/Events", "FailedInvocations", "Sum", _EVENTS_RULE, period=300),
                **above(0),
                # Only sent when it is not zero.
                "TreatMissingData": "notBreaching",
            },
        ),
    ]


def _order_alarms() -> list[tuple[str, dict[str, Any]]]:
    finished = ("OrdersFailed", "OrdersConfirmed", "OrdersCancelled")
    rate = [
        *(query(name, stat(NAMESPACE, name, "Sum", _SERVICE)) for name in finished),
        expression("finished", "SUM([ordersFailed, ordersConfirmed, ordersCancelled])"),
        expression(
            "rate", f"IF(finished >= {MIN_COUNT}, 100 * FILL(ordersFailed, 0) / finished, 0)", "failed orders, %"
        ),
    ]
    return [
        (
            "orders-overdue",
            {
                "AlarmDescription": "Orders have had work left for more than an hour, or recovery does not run.",
                **_metric(NAMESPACE, "OrdersOverdue", "Maximum", _SERVICE, period=300),
                **above(0, periods=2),
                # Recovery reports the count every minute, 0 too. Without recovery nothing heals.
                "TreatMissingData": "breaching",
            },
        ),
        (
            "unexpected-faults",
            {
                "AlarmDescription": "An order met a fault that nobody expected: a mistake in the program.",
                **_metric(NAMESPACE, "UnexpectedFaults", "Sum", _SERVICE, period=60),
                **above(0),
                # Counted only when there is one.
                "TreatMissingData": "notBreaching",
            },
        ),
        (
            "payment-requests-refused",
            {
                "AlarmDescription": "The payment provider refuses what it is asked: a mistake here or in its account.",
                **_metric(NAMESPACE, "PaymentRequestsRefused", "Sum", _SERVICE, period=60),
                **above(0),
                # Counted only when there is one.
                "TreatMissingData": "notBreaching",
            },
        ),
        (
            "failed-orders-rate",
            {
                "AlarmDescription": "More than 30 % of the orders that ended in five minutes have failed.",
                "Metrics": rate,
                **above(30),
                # No order ended.
                "TreatMissingData": "notBreaching",
            },
        ),
    ]


def _payment_alarms() -> list[tuple[str, dict[str, Any]]]:
    return [
        (
            "payment-differences",
            {
                "AlarmDescription": "Payments, ledger and orders differ, or have not been compared for a day.",
                **_metric(NAMESPACE, "PaymentDifferences", "Maximum", _SERVICE, period=86_400),
                **above(0),
                # Reported each day, 0 too, once all is compared.
                "TreatMissingData": "breaching",
            },
        )
    ]


def _api_alarms() -> list[tuple[str, dict[str, Any]]]:
    return [
        (
            "api-5xx-rate",
            {
                "AlarmDescription": "More than 5 % of the API's answers are 5xx.",
                "Metrics": _share_of_answers("5XXError", "faults", MIN_COUNT, "5xx, %"),
                **above(5),
                # No requests.
                "TreatMissingData": "notBreaching",
            },
        ),
        (
            "api-4xx-rate",
            {
                "AlarmDescription": "Most of the API's many answers are 4xx, or 429: clients are wrong, or too many.",
                "Metrics": _share_of_answers("4XXError", "refusals", STORM, "4xx, %"),
                **above({"Ref": "Alarm4xxPercent"}, periods=2),
                "TreatMissingData": "notBreaching",
            },
        ),
    ]


def _share_of_answers(metric: str, name: str, at_least: int, label: str) -> list[dict[str, Any]]:
    """The percentage of answers that this metric of the gateway counts, if there are so many in five minutes."""
    return [
        query(name, stat("AWS/ApiGateway", metric, "Sum", _API)),
        query("requests", stat("AWS/ApiGateway", "Count", "Sum", _API)),
        expression("rate", f"IF(requests >= {at_least}, 100 * {name} / requests, 0)", label),
    ]


def _function_alarms(names: Names, stage: str) -> list[tuple[str, dict[str, Any]]]:
    throttles = [
        *(
            query(name, stat("AWS/Lambda", "Throttles", "Sum", _function_dimension(names, name)))
            for name in names.functions
        ),
        expression("throttles", f"SUM([{', '.join(_id(name) for name in names.functions)}])", "throttled invocations"),
    ]
    return [
        (
            "failed-batches",
            {
                "AlarmDescription": "The consumer keeps raising: single errors are retries, this many are a fault.",
                **_metric("AWS/Lambda", "Errors", "Sum", _function_dimension(names, "order_consumer"), period=300),
                **above(20, periods=3),
                # No batch at all: oldest-message-age shows whether there should have been one.
                "TreatMissingData": "notBreaching",
            },
        ),
        (
            "lambda-throttles",
            {
                "AlarmDescription": "Lambda refused to run functions more than twenty times in five minutes.",
                "Metrics": throttles,
                # A schedule sometimes comes twice: its second run waits for its one place, and is refused a few times.
                **above(20),
                "TreatMissingData": "notBreaching",
            },
        ),
        *(_duration_alarm(names, stage, function) for function in names.functions),
    ]


def _duration_alarm(names: Names, stage: str, function: str) -> tuple[str, dict[str, Any]]:
    seconds = function_timeout(stage, function)
    often = function in ("api_handler", "order_consumer", SAGA_STEP)
    runs = "One in a hundred runs takes" if often else "A run takes"
    statistic = "p99" if often else "Maximum"
    # A replay is one run, and so is a day's comparison; the others follow one another.
    periods = 1 if function in ("replay_dead_letters", RECONCILING) else 3
    return (
        f"{function.replace('_', '-')}-duration",
        {
            "AlarmDescription": f"{runs} more than 80 % of its time limit of {seconds} s.",
            **_metric("AWS/Lambda", "Duration", statistic, _function_dimension(names, function), period=300),
            **above(800 * seconds, periods=periods),
            "TreatMissingData": "notBreaching",
        },
    )


def _execution_alarms() -> list[tuple[str, dict[str, Any]]]:
    """Of the state machine that runs the saga. Its metrics are sent only when there is something to count."""
    machine = {"StateMachineArn": state_machine.arn()}
    return [
        (
            "saga-executions-failed",
            {
                "AlarmDescription": "A saga has failed: a step was tried four times, or no further try would help.",
                **_metric("AWS/States", "ExecutionsFailed", "Sum", machine, period=60),
                **above(0),
                "TreatMissingData": "notBreaching",
            },
        ),
        (
            "saga-executions-timed-out",
            {
                "AlarmDescription": "A saga was ended after two minutes.",
                **_metric("AWS/States", "ExecutionsTimedOut", "Sum", machine, period=60),
                **above(0),
                "TreatMissingData": "notBreaching",
            },
        ),
        (
            "saga-executions-throttled",
            {
                "AlarmDescription": "Step Functions delays the steps of sagas: there are too many for the account.",
                **_metric("AWS/States", "ExecutionThrottled", "Sum", machine, period=300),
                **above(20, periods=2),
                "TreatMissingData": "notBreaching",
            },
        ),
    ]


def _table_alarms() -> list[tuple[str, dict[str, Any]]]:
    """An alarm looks at ten metrics at most, so the indexes have one of their own."""
    tables = {table: {"TableName": {"Ref": table}} for table in TABLES}
    # The metrics of a table leave its indexes out.
    indexes = {index: {**tables[table], "GlobalSecondaryIndexName": index} for table, index in INDEXES}
    return [
        ("dynamodb-throttles", _throttles("DynamoDB throttles the tables, for longer than retries cover.", tables)),
        ("dynamodb-index-throttles", _throttles("DynamoDB throttles the indexes of the orders.", indexes)),
    ]


def _throttles(description: str, dimensions: dict[str, dict[str, Any]]) -> dict[str, Any]:
    metrics = [
        query(f"{name}{kind}s", stat("AWS/DynamoDB", f"{kind}ThrottleEvents", "Sum", own))
        for name, own in dimensions.items()
        for kind in ("Read", "Write")
    ]
    ids = ", ".join(metric["Id"] for metric in metrics)
    return {
        "AlarmDescription": description,
        "Metrics": [*metrics, expression("throttles", f"SUM([{ids}])", "throttled requests")],
        **above(20, periods=2),
        # These metrics are only sent when there is a throttle.
        "TreatMissingData": "notBreaching",
    }


def resource(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    """An alarm that notifies people, and names its chapter of the runbook."""
    topic = [{"Ref": "AlertsTopic"}]
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmName": {"Fn::Sub": f"orderonce-${{Stage}}-{name}"},
            **properties,
            "AlarmDescription": f"{properties['AlarmDescription']} What to do: docs/runbook.md#{name}",
            "AlarmActions": topic,
            "OKActions": topic,
        },
    }


def above(threshold: float | dict[str, Any], *, periods: int = 1) -> dict[str, Any]:
    """It rings above the threshold, in each of so many periods."""
    return {
        "ComparisonOperator": "GreaterThanThreshold",
        "Threshold": threshold,
        "EvaluationPeriods": periods,
        "DatapointsToAlarm": periods,
    }


def _metric(namespace: str, name: str, statistic: str, dimensions: dict[str, Any], *, period: int) -> dict[str, Any]:
    kind = "ExtendedStatistic" if statistic.startswith("p") else "Statistic"
    return {
        "Namespace": namespace,
        "MetricName": name,
        kind: statistic,
        "Dimensions": _dimensions(dimensions),
        "Period": period,
    }


def stat(namespace: str, name: str, statistic: str, dimensions: dict[str, Any], *, period: int = 300) -> dict[str, Any]:
    """What metric mathematics begins with: a metric's statistic over a period, in seconds."""
    metric = {"Namespace": namespace, "MetricName": name, "Dimensions": _dimensions(dimensions)}
    return {"Metric": metric, "Stat": statistic, "Period": period}


def query(name: str, of: dict[str, Any]) -> dict[str, Any]:
    """Part of the metric mathematics: a statistic."""
    return {"Id": _id(name), "MetricStat": of, "ReturnData": False}


def expression(name: str, expression: str, label: str | None = None) -> dict[str, Any]:
    """Part of the metric mathematics; the one with a label is what the threshold is compared with."""
    shown = {"Label": label, "ReturnData": True} if label else {"ReturnData": False}
    return {"Id": name, "Expression": expression, **shown}


def _function_dimension(names: Names, function: str) -> dict[str, Any]:
    return {"FunctionName": names.function(function)}


def _dimensions(dimensions: dict[str, Any]) -> Sequence[dict[str, Any]]:
    return [{"Name": name, "Value": value} for name, value in dimensions.items()]


def _id(name: str) -> str:
    """An id of metric mathematics begins with a small letter."""
    return name[0].lower() + name[1:]


def _logical_id(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("-")) + "Alarm"
