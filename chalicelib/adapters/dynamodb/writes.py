"""A change as DynamoDB's expressions and conditions. Pure; the calls are in `repository.py`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from chalicelib import times
from chalicelib.adapters.dynamodb.items import OUTBOX_ATTRIBUTES, order_to_item, outbox_attributes, to_item
from chalicelib.adapters.dynamodb.update import Update
from chalicelib.domain import fields
from chalicelib.domain.changes import Change, Create, Move, OutboxUpdate, Unchanged
from chalicelib.domain.order import Order, Status
from chalicelib.domain.shipments import ShipmentDetails

_MARGIN = timedelta(days=1)
"""A message may be sent a moment after the end of its order, and clocks differ: in vain if the order outlives all."""

_EXPIRING = frozenset({Status.DELIVERED, Status.FAILED, Status.CANCELLED})


@dataclass(frozen=True)
class Writes:
    """The actions of one pair of tables. `ttl` is how long an order is kept at least once it has ended; 0: forever."""

    orders_table: str
    inventory_table: str
    ttl: timedelta

    def action(self, change: Change) -> dict[str, dict[str, Any]]:
        """The change as one action of a transaction: `{"Put": …}` or `{"Update": …}`."""
        if isinstance(change, Create):
            return {"Put": self._put(change.order)}
        update = Update()
        if isinstance(change, Move):
            self._move(update, change)
        elif isinstance(change, ShipmentDetails):
            _shipment_details(update, change)
        else:
            self._outbox_update(update, change)
        key = {"orderId": {"S": change.order_id}}
        return {"Update": {"TableName": self.orders_table, "Key": key, **update.parameters()}}

    def stock_action(self, product_id: str, units: int) -> dict[str, dict[str, Any]]:
        """Units taken (negative), on condition that they are there, or given back."""
        taking = {"UpdateExpression": "SET stock = stock - :units", "ConditionExpression": "stock >= :units"}
        # Giving back has no condition: not even a product that has left the catalogue may stop a compensation.
        giving = {"UpdateExpression": "ADD stock :units"}
        return {
            "Update": {
                "TableName": self.inventory_table,
                "Key": {"productId": {"S": product_id}},
                "ExpressionAttributeValues": {":units": {"N": str(abs(units))}},
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                **(taking if units < 0 else giving),
            }
        }

    def _put(self, order: Order) -> dict[str, Any]:
        expiry = to_item({"expiresAt": self._expiry(order)})
        return {
            "TableName": self.orders_table,
            "Item": order_to_item(order) | expiry,
            "ConditionExpression": "attribute_not_exists(orderId)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    def _move(self, update: Update, move: Move) -> None:
        update.set("status", move.to.value)
        update.set("updatedAt", times.to_text(move.at))
        update.append("history", fields.write_entry(move.entry))
        _set_extra_fields(update, move.extra_fields)
        if isinstance(move.outbox, Unchanged):
            update.set("expiresAt", None)
        else:
            self._set_outbox(update, move.after)
        _require_unmoved(update, move.before)

    def _outbox_update(self, update: Update, change: OutboxUpdate) -> None:
        if change.if_absent:
            self._ensure_outbox(update, change.after)
        else:
            self._set_outbox(update, change.after, change.seen)
        _set_extra_fields(update, change.extra_fields)
        if change.seen:
            update.require("outboxDueAt", times.to_text(change.seen))
            if change.outbox is None:
                # New work changes the status, and might by chance be due at the same millisecond.
                update.require("status", change.order.status.value)
        else:
            update.require_existence()

    def _set_outbox(self, update: Update, after: Order, seen: datetime | None = None) -> None:
        values = outbox_attributes(after.order_id, after.outbox)
        for name in OUTBOX_ATTRIBUTES:
            update.set(name, values.get(name))
        update.set("expiresAt", self._expiry(after, seen))

    def _ensure_outbox(self, update: Update, after: Order) -> None:
        """An entry that the order has stays; only the fault is written over."""
        for name, value in outbox_attributes(after.order_id, after.outbox).items():
            update.set(name, value, if_absent=name != "outboxFault")
        update.set("expiresAt", None)

    def _expiry(self, after: Order, seen: datetime | None = None) -> int | None:
        # Never on an order with work or goods under way. No message of it may be younger than `ttl` once it is gone:
        # it would be created again. `recover` sent the last one before the entry that was seen was due again.
        if not self.ttl or after.outbox or after.status not in _EXPIRING:
            return None
        return int((max(after.updated_at, seen or after.updated_at) + self.ttl + _MARGIN).timestamp())


def _shipment_details(update: Update, change: ShipmentDetails) -> None:
    _set_extra_fields(update, change.details)
    _require_unmoved(update, change.order)
    for attribute in change.details:
        update.require_absence(fields.name_of(attribute))


def _require_unmoved(update: Update, order: Order) -> None:
    update.require("status", order.status.value)
    update.require("fingerprint", order.fingerprint)
    update.require("paymentKey", order.payment_key)


def _set_extra_fields(update: Update, values: Mapping[str, Any]) -> None:
    for name, value in fields.write_values(values).items():
        update.set(name, value)
