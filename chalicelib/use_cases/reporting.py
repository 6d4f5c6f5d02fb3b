"""What is counted and logged of an order that has come to an end of the saga."""

from chalicelib import telemetry
from chalicelib.domain.order import Order


def report_confirmed(order: Order) -> None:
    telemetry.count("OrdersConfirmed")
    telemetry.info("order confirmed", **ids_of(order))


def report_failed(order: Order) -> None:
    telemetry.count("OrdersFailed", reason=order.failure_reason)
    telemetry.info("order failed", **ids_of(order), reason=order.failure_reason)


def ids_of(order: Order) -> dict[str, str | None]:
    """What a line of the log says about an order, so that it can be found."""
    return {"orderId": order.order_id, "customerId": order.customer_id, "correlationId": order.correlation_id}
