"""What the service tells the world: an event for each history entry that bears one."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib import exact_json, telemetry, times
from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.faults import Rejected, Unavailable, faults
from chalicelib.order import HistoryEntry, Order, Status

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

SOURCE = "orderonce"
_NAMESPACE = uuid.UUID("c6b6a0a4-8c1d-5f0e-a2c1-7f5f7b1b3a90")
_AT_ONCE = 10
"""Entries a call (Amazon EventBridge User Guide, "Quotas")."""

EVENTS = {
    Status.CONFIRMED: "OrderPlaced",
    Status.FAILED: "OrderFailed",
    Status.CANCELLED: "OrderCancelled",
    Status.SHIPPED: "OrderShipped",
    Status.DELIVERED: "OrderDelivered",
}
"""The event of each status that bears one."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `name` is EventBridge's detail-type."""

    order_id: str
    name: str
    detail: dict[str, Any]


def events_of(order: Order) -> list[Event]:
    """Every event that the order has earned so far, oldest first. The same order gives the same ids every time."""
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


@dataclass(frozen=True)
class Events:
    """The event bus."""

    client: "EventBridgeClient"
    bus: str

    def publish(self, orders: Sequence[Order], deadline: Deadline = NO_DEADLINE) -> dict[str, str]:
        """Publish all that the orders have earned, at least once; the order ids of which some is not out, and why."""
        failed: dict[str, str] = {}
        for batch in _batches([event for order in orders for event in events_of(order)]):
            if deadline.has_come:
                failed |= {event.order_id: "no time left" for event in batch}
                continue
            try:
                failed |= self._put(batch)
            except (Unavailable, Rejected) as fault:
                failed |= {event.order_id: str(fault) for event in batch}
        return failed

    def _put(self, batch: list[Event]) -> dict[str, str]:
        entries: Any = [
            {
                "EventBusName": self.bus,
                "Source": SOURCE,
                "DetailType": event.name,
                "Detail": exact_json.dumps(event.detail),
            }
            for event in batch
        ]
        with faults():
            answer = self.client.put_events(Entries=entries)
        telemetry.count("EventsPublished", len(batch) - answer["FailedEntryCount"])
        # A call that succeeds may still have failed for some of its entries.
        return {
            event.order_id: entry["ErrorCode"]
            for event, entry in zip(batch, answer["Entries"], strict=True)
            if "ErrorCode" in entry
        }


def _batches(events: list[Event]) -> Iterator[list[Event]]:
    for start in range(0, len(events), _AT_ONCE):
        yield events[start : start + _AT_ONCE]
