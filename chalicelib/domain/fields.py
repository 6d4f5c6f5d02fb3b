"""The one codec of an order's fields: their names and shapes in items, messages, answers and requests.

A new field is one row here, beside the attribute in `Order` (and in `OrderRequest`, if clients send it) and the schema.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from dataclasses import fields as fields_of
from decimal import Decimal
from enum import Flag, auto
from typing import Any

from chalicelib import times
from chalicelib.domain.order import Address, HistoryEntry, LineItem, Order, Refund, Status, two_decimals

Document = dict[str, Any]
"""Values under the API's names: text, numbers, lists and objects. Amounts are Decimals, times ISO 8601 text."""


class In(Flag):
    """Where a field is written."""

    ITEM = auto()
    MESSAGE = auto()
    ANSWER = auto()
    FIRST_ANSWER = auto()
    REQUEST = auto()


@dataclass(frozen=True, slots=True)
class Codec:
    """How the value of a field is written and read."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


def _amount(value: Any) -> Decimal:
    if not isinstance(value, Decimal | int):
        raise TypeError(f"an amount must be a number, not {value!r}")
    return two_decimals(Decimal(value))


def _drop_none(document: Mapping[str, Any]) -> Document:
    return {name: value for name, value in document.items() if value is not None}


def _write_line(line: LineItem) -> Document:
    document: Document = {"productId": line.product_id}
    if line.product_name is not None:
        document["productName"] = line.product_name
    document["quantity"] = line.quantity
    if line.unit_price is not None:
        document["unitPrice"] = line.unit_price
    return document


def _read_line(document: Mapping[str, Any]) -> LineItem:
    price = document.get("unitPrice")
    return LineItem(
        document["productId"],
        int(document["quantity"]),
        _amount(price) if price is not None else None,
        document.get("productName"),
    )


def _write_address(address: Address) -> Document:
    return _drop_none({field.name: getattr(address, field.name) for field in fields_of(Address)})


def write_entry(entry: HistoryEntry) -> Document:
    """One entry of the history."""
    at = times.to_text(entry.at)
    return _drop_none({"status": entry.status.value, "at": at, "reason": entry.reason, "by": entry.by})


def _read_entry(document: Mapping[str, Any]) -> HistoryEntry:
    status, at = Status(document["status"]), times.from_text(document["at"])
    return HistoryEntry(status, at, document.get("reason"), document.get("by"))


_TEXT = Codec(_same, _same)
_AMOUNT = Codec(_same, _amount)
_TIME = Codec(times.to_text, times.from_text)
_STATUS = Codec(lambda status: status.value, Status)
_REFUND = Codec(lambda refund: refund.value, Refund)
_LINES = Codec(lambda lines: [_write_line(line) for line in lines], lambda lines: tuple(map(_read_line, lines)))
_ADDRESS = Codec(_write_address, lambda document: Address(**document))
_HISTORY = Codec(lambda entries: [write_entry(entry) for entry in entries], lambda es: tuple(map(_read_entry, es)))
_UNITS = Codec(dict, lambda document: {product_id: int(units) for product_id, units in document.items()})


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its attribute in `Order`, its name in documents, where it is written, and how."""

    attribute: str
    name: str
    where: In
    codec: Codec = _TEXT


_ALWAYS = In.ITEM | In.MESSAGE | In.ANSWER | In.FIRST_ANSWER
_SHOWN = In.ITEM | In.ANSWER

FIELDS = (
    Field("order_id", "orderId", _ALWAYS),
    Field("customer_id", "customerId", _ALWAYS | In.REQUEST),
    Field("status", "status", _SHOWN | In.FIRST_ANSWER, _STATUS),
    Field("items", "items", _ALWAYS | In.REQUEST, _LINES),
    Field("total_amount", "totalAmount", _ALWAYS | In.REQUEST, _AMOUNT),
    Field("currency", "currency", _ALWAYS | In.REQUEST),
    Field("created_at", "createdAt", _ALWAYS, _TIME),
    Field("shipping_address", "shippingAddress", _SHOWN | In.MESSAGE | In.REQUEST, _ADDRESS),
    Field("payment_method", "paymentMethod", In.ITEM | In.MESSAGE | In.REQUEST),
    Field("updated_at", "updatedAt", _SHOWN, _TIME),
    Field("failure_reason", "failureReason", _SHOWN),
    Field("payment_id", "paymentId", _SHOWN),
    Field("refund", "refund", _SHOWN, _REFUND),
    Field("carrier", "carrier", _SHOWN),
    Field("tracking_number", "trackingNumber", _SHOWN),
    Field("history", "history", _SHOWN, _HISTORY),
    Field("fingerprint", "fingerprint", In.ITEM),
    Field("payment_key", "paymentKey", In.ITEM),
    Field("request_id", "requestId", In.ITEM),
    Field("correlation_id", "correlationId", In.ITEM | In.MESSAGE),
    Field("reserved", "reserved", In.ITEM, _UNITS),
)
"""Every field of an order but its outbox entry, in the order in which answers show them."""

_BY_ATTRIBUTE = {field.attribute: field for field in FIELDS}
_BY_PLACE = {place: tuple(field for field in FIELDS if place in field.where) for place in In}


def write(order: Order, place: In) -> Document:
    """The order's fields in one place; what is not set is left out."""
    return {
        field.name: field.codec.write(value)
        for field in _BY_PLACE[place]
        if (value := getattr(order, field.attribute)) is not None
    }


def write_values(values: Mapping[str, Any]) -> Document:
    """Values by attribute, under their names in documents; None stays None."""
    return {
        (field := _BY_ATTRIBUTE[attribute]).name: None if value is None else field.codec.write(value)
        for attribute, value in values.items()
    }


def read(document: Mapping[str, Any], place: In) -> dict[str, Any]:
    """The values of a document by attribute. Raises LookupError, TypeError, ValueError for a broken one."""
    return {
        field.attribute: field.codec.read(value)
        for field in _BY_PLACE[place]
        if (value := document.get(field.name)) is not None
    }


def name_of(attribute: str) -> str:
    """The name of an attribute in documents."""
    return _BY_ATTRIBUTE[attribute].name


def names(place: In) -> Iterable[str]:
    """The names of the fields that are written in one place."""
    return [field.name for field in _BY_PLACE[place]]
