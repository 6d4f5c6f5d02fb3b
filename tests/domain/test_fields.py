"""The one codec: what a client sends reaches item, message and answer and, if it is content, the fingerprint."""

import json
import re
from dataclasses import fields as fields_of
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chalicelib import exact_json
from chalicelib.adapters.dynamodb.items import from_item, order_from_item, order_to_item
from chalicelib.adapters.queues import order_created_event
from chalicelib.domain import fields
from chalicelib.domain.fields import In
from chalicelib.domain.idempotency import fingerprint
from chalicelib.domain.order import HistoryEntry, LineItem, Order, Status
from chalicelib.domain.request import OrderRequest
from chalicelib.entrypoints.documents import first_answer, order_document
from chalicelib.entrypoints.validation import order_created, order_request
from tests.support.orders import NOW

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "chalicelib/entrypoints/schemas/order_request.json").read_text("utf-8")
)
BODY: dict[str, Any] = {
    "customerId": "CUST-1",
    "items": [{"productId": "P", "quantity": 2, "productName": "Mouse", "unitPrice": 5}],
    "totalAmount": 10,
    "currency": "EUR",
    "shippingAddress": {"street": "s", "city": "c", "state": "st", "zip": "z", "country": "DE"},
    "paymentMethod": "pm_1",
}
CHANGED: dict[str, Any] = {
    "customerId": "CUST-2",
    "items": [{"productId": "P", "quantity": 3, "productName": "Mouse", "unitPrice": 5}],
    "totalAmount": 11,
    "currency": "USD",
    "shippingAddress": {**BODY["shippingAddress"], "zip": "other"},
    "paymentMethod": "pm_2",
}
NO_CONTENT = {"paymentMethod"}
"""Fields of a request that are not part of the fingerprint."""
NOT_SHOWN = {"paymentMethod"}
"""Fields of a request that no answer has."""


def an_order(body: dict[str, Any]) -> Order:
    request = order_request(exact_json.loads(json.dumps(body)), "USD")
    return request.to_order(
        order_id="o1",
        items=request.items,
        created_at=NOW,
        fingerprint=fingerprint(request),
        payment_key="key",
        correlation_id="c",
    )


def test_the_example_has_each_property_of_the_schema() -> None:
    assert set(BODY) == set(CHANGED) == set(SCHEMA["properties"])
    assert set(BODY["items"][0]) == set(SCHEMA["$defs"]["line"]["properties"])
    assert set(BODY["shippingAddress"]) == set(SCHEMA["$defs"]["address"]["properties"])


@pytest.mark.parametrize("name", SCHEMA["properties"])
def test_each_property_of_the_schema_reaches_item_message_answer_and_fingerprint(name: str) -> None:
    order = an_order(BODY)
    wanted = exact_json.loads(exact_json.dumps(BODY))[name]
    assert from_item(order_to_item(order))[name] == wanted
    assert exact_json.loads(order_created_event(order))[name] == wanted
    assert order_document(order).get(name) == (None if name in NOT_SHOWN else wanted)
    assert NOT_SHOWN.isdisjoint(first_answer(order))
    assert order_from_item(order_to_item(order)) == order
    assert (
        order_created(exact_json.loads(order_created_event(order)), "USD").request.to_order(
            order_id="o1",
            items=order.items,
            created_at=NOW,
            fingerprint=order.fingerprint,
            payment_key="key",
            correlation_id="c",
        )
        == order
    )
    another = an_order(BODY | {name: CHANGED[name]})
    assert (another.fingerprint != order.fingerprint) == (name not in NO_CONTENT)


def test_every_attribute_of_an_order_has_one_row_in_the_codec() -> None:
    assert sorted(field.attribute for field in fields.FIELDS) == sorted(
        field.name for field in fields_of(Order) if field.name != "outbox"
    )
    assert {field.attribute for field in fields.FIELDS if In.REQUEST in field.where} == {
        field.name for field in fields_of(OrderRequest)
    }


def test_an_entry_of_the_history_is_written_without_what_it_does_not_have() -> None:
    entry = HistoryEntry(Status.FAILED, NOW, "why")
    written = {"status": "FAILED", "at": "2026-01-15T12:00:00.000Z", "reason": "why"}
    assert fields.write_entry(entry) == written
    assert fields.write_entry(replace(entry, reason=None)) == {k: v for k, v in written.items() if k != "reason"}


@pytest.mark.parametrize("amount", ["29.99", 29.99])
def test_an_amount_that_is_not_a_number_is_refused_by_name(amount: object) -> None:
    with pytest.raises(TypeError, match=f"^an amount must be a number, not {re.escape(repr(amount))}$"):
        fields.read({"items": [{"productId": "p", "quantity": 1, "unitPrice": amount}], "totalAmount": amount}, In.ITEM)


def test_a_line_is_read_with_or_without_name_and_price() -> None:
    line: dict[str, Any] = {"productId": "p", "quantity": 2, "unitPrice": 5, "productName": "P"}
    bare = {name: line[name] for name in ("productId", "quantity")}
    read = fields.read({"items": [line, bare]}, In.ITEM)["items"]
    assert read == (LineItem("p", 2, Decimal("5.00"), "P"), LineItem("p", 2))
    assert str(read[0].unit_price) == "5.00"


def test_names_are_those_of_the_place() -> None:
    order = ["orderId", "customerId", "status", "items", "totalAmount", "currency", "createdAt"]
    assert fields.names(In.FIRST_ANSWER) == order
    assert fields.name_of("tracking_number") == "trackingNumber"
