"""The examples of `docs/asyncapi.json`: an order at each status and its events, made by the service's own code."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from chalicelib.adapters.event_bus import SOURCE
from chalicelib.domain.events import Event
from chalicelib.domain.order import TRANSITIONS, HistoryEntry, LineItem, Order, Status, new_order
from chalicelib.domain.payment_key import payment_key_of_message

_ORDER_ID = "06a6e1b8-2259-5ecc-8313-bd01e465b0f0"
_REASONS = {Status.FAILED: "2 of PROD-001 wanted, 1 available", Status.CANCELLED: "ordered by mistake"}


def example_order(status: Status) -> Order:
    """An order that has come to this status, by the shortest way."""
    if status is Status.PENDING:
        return new_order(
            order_id=_ORDER_ID,
            customer_id="CUST-7",
            items=(LineItem("PROD-001", 2, Decimal("29.99"), "Wireless Mouse"),),
            total_amount=Decimal("59.98"),
            currency="USD",
            shipping_address=None,
            created_at=datetime(2026, 11, 21, 8, 52, 16, 67_000, tzinfo=UTC),
            fingerprint="",
            payment_key=payment_key_of_message(_ORDER_ID, "example"),
            correlation_id="f909ef5f-32c8-4678-8016-1bb6f3d0b196",
        )
    before = example_order(next(arrow.source for arrow in TRANSITIONS if arrow.target is status))
    at = before.updated_at + timedelta(milliseconds=182)
    return before.moved(HistoryEntry(status, at, _REASONS.get(status)))


def delivered(event: Event) -> dict[str, Any]:
    """An event as EventBridge delivers it."""
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": event.name,
        "source": SOURCE,
        "account": "123456789012",
        "time": event.detail["occurredAt"][:19] + "Z",
        "region": "us-east-1",
        "resources": [],
        "detail": event.detail,
    }
