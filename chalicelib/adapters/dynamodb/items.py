"""Orders as DynamoDB items and back. The fields are those of `domain/fields.py`; the outbox entry is added here."""

import zlib
from collections.abc import Mapping
from typing import Any

from chalicelib import times
from chalicelib.adapters.dynamodb.attributes import plain, typed
from chalicelib.domain import fields
from chalicelib.domain.fields import In
from chalicelib.domain.order import Order, OutboxEntry
from chalicelib.faults import Unreadable

Item = dict[str, Any]
"""An item in DynamoDB's typed form: `{"orderId": {"S": "…"}}`."""

OUTBOX_ATTRIBUTES = ("outbox", "outboxDueAt", "outboxTries", "outboxFault")
SHARDS = 4
LATE_SHARD = 100
"""Shards from this number on hold the entries that are overdue for more than an hour, so that they can be counted."""

REFUND_SHARD = 200
"""Shards from this number on hold the entries that say that only a pending refund is left, to be counted apart."""

_LATE_AFTER_RETRIES = 7
"""1 + 2 + 4 + 8 + 16 + 32 minutes: the seventh retry happens 63 minutes after the first entry was due."""


def to_item(values: Mapping[str, Any]) -> Item:
    """Plain values as an item; None is left out."""
    return {name: typed(value) for name, value in values.items() if value is not None}


def from_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item as plain values; numbers are Decimals."""
    return {name: plain(value) for name, value in item.items()}


def order_to_item(order: Order) -> Item:
    """The whole order."""
    return to_item(fields.write(order, In.ITEM) | outbox_attributes(order.order_id, order.outbox))


def order_from_item(item: Mapping[str, Any]) -> Order:
    """The order that an item holds. Raises Unreadable."""
    try:
        values = from_item(item)
        return Order(**fields.read(values, In.ITEM), outbox=_outbox_entry(values))
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as fault:
        order_id = item.get("orderId", {}).get("S", "?")
        raise Unreadable(f"order {order_id} cannot be read by this release") from fault


def outbox_attributes(order_id: str, entry: OutboxEntry | None) -> dict[str, Any]:
    """The outbox entry's attributes: a shard by order id, when it is due, how often it was retried, and a fault."""
    if entry is None:
        return {}
    shard = _first_shard(entry) + zlib.crc32(order_id.encode()) % SHARDS
    values = {"outbox": shard, "outboxDueAt": times.to_text(entry.due_at), "outboxTries": entry.retries}
    return values | ({"outboxFault": entry.fault} if entry.fault else {})


def _first_shard(entry: OutboxEntry) -> int:
    if entry.refund_pending:
        return REFUND_SHARD
    return LATE_SHARD if entry.retries >= _LATE_AFTER_RETRIES else 0


def _outbox_entry(values: Mapping[str, Any]) -> OutboxEntry | None:
    if "outboxDueAt" not in values:
        return None
    due_at, retries = times.from_text(values["outboxDueAt"]), int(values.get("outboxTries", 0))
    # The shard alone says it: an attribute of its own would be left over by a release that does not know it.
    return OutboxEntry(due_at, retries, values.get("outboxFault"), int(values["outbox"]) >= REFUND_SHARD)
