"""Orders as DynamoDB items and back. Field names are those of the API."""

import zlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from chalicelib import times
from chalicelib.order import Address, HistoryEntry, LineItem, Mark, Order, Refund, Status, two_decimals

Item = dict[str, Any]
"""An item in DynamoDB's typed form: `{"orderId": {"S": "…"}}`."""

_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize

SHARDS = 4
MARK_NAMES = ("outbox", "outboxDueAt", "outboxTries")
LATE = 100
"""Shards from here on hold the marks that have waited for more than an hour, so that they can be counted."""

_LATE_AFTER_TRIES = 7
"""1 + 2 + 4 + 8 + 16 + 32 minutes: the seventh push happens 63 minutes after the first mark was due."""


def marshalled(values: Mapping[str, Any]) -> Item:
    """Plain values as an item; None is left out."""
    return {name: _serialize(value) for name, value in values.items() if value is not None}


def plain(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item as plain values; numbers are Decimals."""
    return {name: _deserialize(value) for name, value in item.items()}


def item_of(order: Order) -> Item:
    """The whole order."""
    return marshalled(
        {
            "orderId": order.order_id,
            "customerId": order.customer_id,
            "items": [line_values(line) for line in order.items],
            "totalAmount": order.total_amount,
            "currency": order.currency,
            "shippingAddress": address_values(order.shipping_address),
            "createdAt": times.to_text(order.created_at),
            "updatedAt": times.to_text(order.updated_at or order.created_at),
            "status": order.status.value,
            "fingerprint": order.fingerprint,
            "history": [entry_values(entry) for entry in order.history],
            "requestId": order.request_id,
            "correlationId": order.correlation_id,
            "failureReason": order.failure_reason,
            "reserved": dict(order.reserved) if order.reserved else None,
            "paymentId": order.payment_id,
            "refund": order.refund.value if order.refund else None,
            "carrier": order.carrier,
            "trackingNumber": order.tracking_number,
            **mark_values(order.order_id, order.mark),
        }
    )


class Unreadable(Exception):
    """An item that this release cannot read as an order: a newer one may have written it."""


def order_of(item: Mapping[str, Any]) -> Order:
    """The order that an item holds. Raises Unreadable."""
    try:
        return _order_of(item)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as fault:
        order_id = item.get("orderId", {}).get("S", "?")
        raise Unreadable(f"the order {order_id} cannot be read by this release") from fault


def _order_of(item: Mapping[str, Any]) -> Order:
    values = plain(item)
    address = values.get("shippingAddress")
    reserved = values.get("reserved")
    return Order(
        order_id=values["orderId"],
        customer_id=values["customerId"],
        items=tuple(_line_of(line) for line in values["items"]),
        total_amount=two_decimals(values["totalAmount"]),
        currency=values["currency"],
        shipping_address=Address(**address) if address else None,
        created_at=times.from_text(values["createdAt"]),
        fingerprint=values["fingerprint"],
        status=Status(values["status"]),
        updated_at=times.from_text(values["updatedAt"]),
        history=tuple(
            HistoryEntry(Status(entry["status"]), times.from_text(entry["at"]), entry.get("reason"))
            for entry in values["history"]
        ),
        request_id=values.get("requestId"),
        correlation_id=values.get("correlationId"),
        failure_reason=values.get("failureReason"),
        reserved={product: int(units) for product, units in reserved.items()} if reserved else None,
        payment_id=values.get("paymentId"),
        refund=Refund(values["refund"]) if "refund" in values else None,
        carrier=values.get("carrier"),
        tracking_number=values.get("trackingNumber"),
        mark=_mark_of(values),
    )


def line_values(line: LineItem) -> dict[str, Any]:
    """A line under the API's names; what is not known is left out."""
    values = {
        "productId": line.product_id,
        "productName": line.product_name,
        "quantity": line.quantity,
        "unitPrice": line.unit_price,
    }
    return {name: value for name, value in values.items() if value is not None}


def address_values(address: Address | None) -> dict[str, str] | None:
    """An address under the API's names; what is not known is left out."""
    if address is None:
        return None
    values = {f.name: getattr(address, f.name) for f in fields(Address)}
    return {name: value for name, value in values.items() if value is not None}


def entry_values(entry: HistoryEntry) -> dict[str, str]:
    """A history entry under the API's names."""
    values = {"status": entry.status.value, "at": times.to_text(entry.at), "reason": entry.reason}
    return {name: value for name, value in values.items() if value is not None}


def mark_values(order_id: str, mark: Mark | None) -> dict[str, Any]:
    """The outbox mark's attributes: a shard by order id, when it is due, how often it was taken up."""
    if mark is None:
        return {}
    shard = zlib.crc32(order_id.encode()) % SHARDS
    late = LATE if mark.tries >= _LATE_AFTER_TRIES else 0
    return {"outbox": shard + late, "outboxDueAt": times.to_text(mark.due_at), "outboxTries": mark.tries}


def _line_of(values: Mapping[str, Any]) -> LineItem:
    unit_price = values.get("unitPrice")
    return LineItem(
        values["productId"],
        int(values["quantity"]),
        two_decimals(unit_price) if unit_price is not None else None,
        values.get("productName"),
    )


def _mark_of(values: Mapping[str, Any]) -> Mark | None:
    if "outboxDueAt" not in values:
        return None
    return Mark(times.from_text(values["outboxDueAt"]), int(values.get("outboxTries", 0)))
