"""The dashboard: the state of a stage on one page, in six rows."""

import json
from collections.abc import Iterator
from typing import Any

from deploy.alarms import INDEXES, NAMESPACE, TABLES
from deploy.names import Names
from deploy.stages import FUNCTIONS

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
    return [_api(), _sagas(), _queues(), _durations(names), _health(names), _data()]


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
            "Orders overdue, retried, sent later",
            _business("OrdersOverdue", "OrdersRecovered", "EnqueuesDeferred"),
        ),
    ]


def _queues() -> list[dict[str, Any]]:
    def line(metric: str, queue: str = "OrderQueue", stat: str = "Sum") -> Line:
        return ["AWS/SQS", metric, "QueueName", f"${{{queue}.QueueName}}", {"stat": stat}]

    flow = [line(f"NumberOfMessages{verb}") for verb in ("Sent", "Received", "Deleted")]
    depth = [line(f"ApproximateNumberOfMessages{how}", stat="Maximum") for how in ("Visible", "NotVisible")]
    return [
        _graph("Queue: sent, received, deleted", flow),
        _graph("Queue: depth", depth),
        _graph("Queue: age of the oldest message, s", [line("ApproximateAgeOfOldestMessage", stat="Maximum")]),
        _graph(
            "Dead letters",
            [
                line("ApproximateNumberOfMessagesVisible", "OrderDeadLetters", "Maximum"),
                *_business("MessagesQuarantined", "MessagesReplayed"),
            ],
        ),
    ]


def _durations(names: Names) -> list[dict[str, Any]]:
    return [_graph(f"Lambda duration {p}, ms", list(_of_functions(names, "Duration", p))) for p in ("p95", "p99")]


def _health(names: Names) -> list[dict[str, Any]]:
    return [
        _graph("Lambda errors", list(_of_functions(names, "Errors", "Sum"))),
        _graph("Lambda throttles", list(_of_functions(names, "Throttles", "Sum"))),
        _graph("Lambda concurrency", list(_of_functions(names, "ConcurrentExecutions", "Maximum"))),
    ]


def _data() -> list[dict[str, Any]]:
    def lines(*metrics: str) -> list[Line]:
        return [["AWS/DynamoDB", metric, "TableName", f"${{{table}}}"] for metric in metrics for table in TABLES]

    throttles = ("ReadThrottleEvents", "WriteThrottleEvents")
    of_indexes = [
        ["AWS/DynamoDB", metric, "TableName", f"${{{table}}}", "GlobalSecondaryIndexName", index]
        for metric in throttles
        for table, index in INDEXES
    ]
    conflicts = [*lines("TransactionConflict"), *_business("TransactionConflicts")]
    trade = ("OrdersReserved", "PaymentsCharged", "PaymentsDeclined", "PaymentsUnknown", "PaymentsRefunded")
    return [
        _graph("DynamoDB: consumed units", lines("ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits")),
        _graph("DynamoDB: throttles", [*lines(*throttles), *of_indexes]),
        _graph("DynamoDB: conflicts", conflicts),
        _graph("Stock and payments", _business(*trade)),
    ]


def _business(*metrics: str) -> list[Line]:
    return [[NAMESPACE, metric, "service", "orderonce-${Stage}"] for metric in metrics]


def _of_functions(names: Names, metric: str, stat: str) -> Iterator[Line]:
    for function in FUNCTIONS:
        yield ["AWS/Lambda", metric, "FunctionName", names.in_text(function), {"stat": stat, "label": function}]


def _graph(title: str, metrics: list[Line]) -> dict[str, Any]:
    view = {"view": "timeSeries", "region": "${AWS::Region}", "stat": "Sum", "period": 60}
    return {"type": "metric", "properties": {"title": title, **view, "metrics": metrics}}
