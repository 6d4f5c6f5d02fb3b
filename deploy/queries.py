"""Saved queries of CloudWatch Logs Insights: what an operator asks first."""

from typing import Any

from deploy.names import Names
from deploy.stages import SAGA_STEP

_BY_CORRELATION_ID = """\
# Everything that one request led to: API, consumer, events. Put the correlation id (header X-Correlation-Id) in twice.
fields @timestamp, @log, coalesce(message, `detail-type`) as what, coalesce(orderId, detail.orderId) as order, reason
| filter correlationId = "PUT-IT-HERE" or detail.correlationId = "PUT-IT-HERE"
| sort @timestamp asc
| limit 1000"""

_BY_ORDER = """\
# Everything that was logged about one order. Put the order id in twice.
fields @timestamp, @log, coalesce(message, `detail-type`) as what, level, reason, detail.status
| filter orderId = "PUT-IT-HERE" or detail.orderId = "PUT-IT-HERE"
| sort @timestamp asc
| limit 1000"""

_FAILED_ORDERS = """\
# Why orders failed.
filter message = "order failed"
| stats count(*) as orders by reason
| sort orders desc"""

_QUARANTINED = """\
# Messages that became dead letters, and why.
fields @timestamp, messageId, orderId, reason
| filter message in ["message quarantined", "message not quarantined"]
| sort @timestamp desc
| limit 200"""

_RETRIES = """\
# What has to be retried, and why.
filter message in ["message will be retried", "step will be tried again"]
| stats count(*) as retries by reason, bin(5m)
| sort retries desc"""

_FAULTS = """\
# Faults that nobody expected.
fields @timestamp, @log, message, exception_name, orderId, correlationId
| filter level = "ERROR"
| sort @timestamp desc
| limit 100"""


def queries(names: Names) -> dict[str, Any]:
    """The queries, as resources."""
    everywhere = [*(names.logs(function) for function in names.functions), {"Ref": "OrderEventsLog"}]
    # What fails an order, or has it wait.
    sagas = [names.logs(name) for name in ("order_consumer", SAGA_STEP) if name in names.functions]
    return {
        "ByCorrelationIdQuery": _saved("by correlation id", _BY_CORRELATION_ID, everywhere),
        "ByOrderQuery": _saved("by order", _BY_ORDER, everywhere),
        "FailedOrdersQuery": _saved("failed orders by reason", _FAILED_ORDERS, sagas),
        "QuarantinedQuery": _saved("dead letters", _QUARANTINED, [names.logs("order_consumer")]),
        "RetriesQuery": _saved("retries by reason", _RETRIES, sagas),
        "FaultsQuery": _saved("faults", _FAULTS, [names.logs(function) for function in names.functions]),
    }


def _saved(name: str, query: str, log_groups: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "Type": "AWS::Logs::QueryDefinition",
        "Properties": {
            "Name": {"Fn::Sub": f"orderonce-${{Stage}}/{name}"},
            "QueryString": query,
            "LogGroupNames": log_groups,
        },
    }
