"""The dashboard: the state of a stage on one page, in six rows, or seven with a state machine."""

import json
from typing import Any

from deploy import state_machine
from deploy.alarms import INDEXES, NAMESPACE, TABLES
from deploy.names import Names
from deploy.stages import RECONCILING, SAGA_STEP

_WIDTH, _HEIGHT = 24, 6
_FAILED_BY_REASON = (
    f"SEARCH('{{{NAMESPACE},reason,service}} MetricName=\"OrdersFailed\" service=\"orderonce-${{Stage}}\"', 'Sum', 60)"
)

Line = list[Any]
"""A metric in a widget: namespace, name, dimension, value, …, options."""


def dashboard(names: Names) -> dict[str, Any]:
    """The dashboard, as a resource."""
    widgets = [
        {**widget, "x": x * width, "y": y * _HEIGHT, "width": width, "height": _HEIGHT}
        for y, row in enumerate(rows(names))
        for width in [_WIDTH // len(row)]
        for x, widget in enumerate(row)
    ]
    body = json.dumps({"start": "-PT3H", "widgets": widgets}, separators=(",", ":"))
    return {
        "Type": "AWS::CloudWatch::Dashboard",
        "Properties": {"DashboardName": {"Fn::Sub": "orderonce-${Stage}"}, "DashboardBody": {"Fn::Sub": body}},
    }


def rows(names: Names) -> list[list[dict[str, Any]]]:
    """The widgets, row by row. Their texts are for Fn::Sub."""
    executions = [_executions()] if SAGA_STEP in names.functions else []
    return [_api(), _sagas(), _queues(), _durations(names), _health(names), _data(names), *executions]


def _api() -> list[dict[str, Any]]:
    def line(metric: str, **options: Any) -> Line:
        return ["AWS/ApiGateway", metric, "ApiName", "orderonce", "Stage", "${Stage}", options]

    percentiles = [line("Latency", stat=p, label=p) for p in ("p50", "p95", "p99")]
    return [
        _graph("API requests", [line("Count")]),
        _graph("API latency, ms", percentiles),
        _graph("API 4xx and 5xx", [line("4XXError"), line("5XXError")]),
    ]


def _sagas() -> list[dict[str, Any]]:
    names = ("OrdersPlaced", "OrdersConfirmed", "OrdersFailed", "OrdersCancelled", "OrdersReplayed")
    return [
        _graph("Orders", _business(*names)),
        _graph("Orders failed, by reason", [[{"expression": _FAILED_BY_REASON, "label": ""}]]),
        _graph(
            "Orders overdue, retried, sent later; refunds pending",
            _business("OrdersOverdue", "OrdersRecovered", "EnqueuesDeferred", "RefundsPending"),
        ),
    ]


def _executions() -> list[dict[str, Any]]:
    arn = state_machine.arn()["Fn::Sub"]

    def line(metric: str, **options: Any) -> Line:
        return ["AWS/States", metric, "StateMachineArn", arn, options]

    ends = ("Started", "Succeeded", "Failed", "TimedOut", "Aborted")
    return [
        _graph("Sagas: executions", [line(f"Executions{end}") for end in ends]),
        _graph("Sagas: time, ms", [line("ExecutionTime", stat=p, label=p) for p in ("p50", "p95", "p99")]),
        _graph("Sagas: throttled steps", [line("ExecutionThrottled")]),
    ]


def _queues() -> list[dict[str, Any]]:
    def line(metric: str, queue: str = "OrderQueue", **options: Any) -> Line:
        return ["AWS/SQS", metric, "QueueName", f"${{{queue}.QueueName}}", options]

    flow = [line(f"NumberOfMessages{verb}") for verb in ("Sent", "Received", "Deleted")]
    depth = [line(f"ApproximateNumberOfMessages{how}") for how in ("Visible", "NotVisible")]
    return [
        _graph("Queue: sent, received, deleted", flow),
        _graph("Queue: depth", depth, "Maximum"),
        _graph("Queue: age of the oldest message, s", [line("ApproximateAgeOfOldestMessage")], "Maximum"),
        _graph(
            "Dead letters",
            [
                line("ApproximateNumberOfMessagesVisible", "OrderDeadLetters", stat="Maximum"),
                *_business("MessagesQuarantined", "MessagesReplayed"),
            ],
        ),
    ]


def _durations(names: Names) -> list[dict[str, Any]]:
    return [_graph(f"Lambda duration {p}, ms", _of_functions(names, "Duration"), p) for p in ("p95", "p99")]


def _health(names: Names) -> list[dict[str, Any]]:
    return [
        _graph("Lambda errors", _of_functions(names, "Errors")),
        _graph("Lambda throttles", _of_functions(names, "Throttles")),
        _graph("Lambda concurrency", _of_functions(names, "ConcurrentExecutions"), "Maximum"),
    ]


def _data(names: Names) -> list[dict[str, Any]]:
    def lines(*metrics: str) -> list[Line]:
        return [["AWS/DynamoDB", metric, "TableName", f"${{{table}}}"] for metric in metrics for table in TABLES]

    throttles = ("ReadThrottleEvents", "WriteThrottleEvents")
    of_indexes = [
        ["AWS/DynamoDB", metric, "TableName", f"${{{table}}}", "GlobalSecondaryIndexName", index]
        for metric in throttles
        for table, index in INDEXES
    ]
    conflicts = [*lines("TransactionConflict"), *_business("TransactionConflicts")]
    outcomes = [f"Payments{outcome}" for outcome in ("Charged", "Declined", "Unknown", "Refunded")]
    compared = ("PaymentDifferences",) if RECONCILING in names.functions else ()
    return [
        _graph("DynamoDB: consumed units", lines("ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits")),
        _graph("DynamoDB: throttles", [*lines(*throttles), *of_indexes]),
        _graph("DynamoDB: conflicts", conflicts),
        _graph("Stock and payments", _business("OrdersReserved", *outcomes, "PaymentRequestsRefused", *compared)),
    ]


def _business(*metrics: str) -> list[Line]:
    return [[NAMESPACE, metric, "service", "orderonce-${Stage}"] for metric in metrics]


def _of_functions(names: Names, metric: str) -> list[Line]:
    return [
        ["AWS/Lambda", metric, "FunctionName", names.in_text(function), {"label": function}]
        for function in names.functions
    ]


def _graph(title: str, metrics: list[Line], stat: str = "Sum") -> dict[str, Any]:
    properties = {"title": title, "region": "${AWS::Region}", "stat": stat, "period": 60, "metrics": metrics}
    return {"type": "metric", "properties": properties}
