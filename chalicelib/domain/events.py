"""Which history entry has an event, and what the event says. Publishing is `adapters/event_bus.py`."""

import uuid
from dataclasses import dataclass
from typing import Any

from chalicelib import times
from chalicelib.domain.order import HistoryEntry, Order, Status

_NAMESPACE = uuid.UUID("c6b6a0a4-8c1d-5f0e-a2c1-7f5f7b1b3a90")

EVENTS = {
    Status.CONFIRMED: "OrderPlaced",
    Status.FAILED: "OrderFailed",
    Status.CANCELLED: "OrderCancelled",
    Status.SHIPPED: "OrderShipped",
    Status.DELIVERED: "OrderDelivered",
}
"""The statuses that have an event, and its name."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `name` is EventBridge's detail-type."""

    order_id: str
    name: str
    detail: dict[str, Any]


def events_so_far(order: Order) -> list[Event]:
    """Every event of the order until now, oldest first. The same order gives the same ids every time."""
    return [
        Event(order.order_id, EVENTS[entry.status], _detail(order, sequence, entry))
        for sequence, entry in enumerate(order.history)
        if entry.status in EVENTS
    ]


def _detail(order: Order, sequence: int, entry: HistoryEntry) -> dict[str, Any]:
    detail = {
        "eventId": str(uuid.uuid5(_NAMESPACE, f"{order.order_id}/{sequence}/{entry.status}")),
        "sequence": sequence,
        "orderId": order.order_id,
        "customerId": order.customer_id,
        "totalAmount": order.total_amount,
        "currency": order.currency,
        "itemCount": len(order.items),
        "status": entry.status.value,
        "occurredAt": times.to_text(entry.at),
        "reason": entry.reason,
        "correlationId": order.correlation_id,
    }
    return {name: value for name, value in detail.items() if value is not None}
