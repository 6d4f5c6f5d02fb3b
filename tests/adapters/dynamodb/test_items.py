"""An order is stored whole and read back as it was, whatever DynamoDB does to its numbers."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.adapters.dynamodb.items import (
    LATE_SHARD,
    OUTBOX_ATTRIBUTES,
    REFUND_SHARD,
    SHARDS,
    from_item,
    order_from_item,
    order_to_item,
    outbox_attributes,
    to_item,
)
from chalicelib.domain.changes import back_off
from chalicelib.domain.idempotency import agrees, order_id_from_key
from chalicelib.domain.order import Address, HistoryEntry, LineItem, Order, OutboxEntry, Refund, Status, two_decimals
from chalicelib.faults import Unreadable
from tests.support.orders import NOW, an_order, standing

GOLDEN = Path(__file__).parents[2] / "golden" / "order_v1.json"


def golden() -> dict[str, Any]:
    item: dict[str, Any] = json.loads(GOLDEN.read_text("utf-8"))
    return item


def as_dynamodb_returns(item: Any) -> Any:
    """Numbers lose their trailing zeros on the way through DynamoDB."""
    if isinstance(item, dict) and set(item) == {"N"} and isinstance(item["N"], str):
        return {"N": format(Decimal(item["N"]).normalize(), "f")}
    if isinstance(item, dict):
        return {name: as_dynamodb_returns(value) for name, value in item.items()}
    return [as_dynamodb_returns(value) for value in item] if isinstance(item, list) else item


def test_an_order_stored_by_the_first_release_is_read_by_this_one() -> None:
    order = order_from_item(golden())
    assert order.order_id == order_id_from_key("CUST-42", "golden-v1")
    assert order.items == (
        LineItem("PROD-100", 2, Decimal("149.90"), "Mechanical Keyboard (boutique)"),
        LineItem("PROD-003", 1, Decimal("50.00"), "USB-C Hub"),
    )
    assert order.shipping_address == Address("123 Dev Lane", "Portland", "US", "OR", "97201")
    assert order.history == (
        HistoryEntry(Status.PENDING, datetime(2026, 1, 15, 12, 0, tzinfo=UTC)),
        HistoryEntry(Status.RESERVED, datetime(2026, 1, 15, 12, 0, 0, 500_000, UTC)),
        HistoryEntry(Status.CONFIRMED, datetime(2026, 1, 15, 12, 0, 1, 250_000, UTC)),
    )
    assert (order.status, order.reserved, order.outbox) == (Status.CONFIRMED, {"PROD-100": 2, "PROD-003": 1}, None)
    assert (order.customer_id, order.currency) == ("CUST-42", "USD")


def test_an_order_stored_by_the_first_release_has_its_fingerprint_and_is_written_as_it_was() -> None:
    order = order_from_item(golden())
    assert agrees(order.fingerprint, order)
    assert as_dynamodb_returns(order_to_item(order)) == golden()


texts = st.text(max_size=8)
maybe = st.none() | texts.filter(bool)
amounts = st.integers(0, 10**14 - 1).map(lambda cents: two_decimals(Decimal(cents).scaleb(-2)))
instants = st.integers(0, 10**12).map(lambda ms: NOW + timedelta(milliseconds=ms))
units = st.integers(1, 1_000_000)
statuses = st.sampled_from(Status)
OPTIONAL = (
    *("request_id", "correlation_id", "failure_reason", "payment_id", "payment_method", "carrier", "tracking_number"),
)
orders = st.builds(
    Order,
    **dict.fromkeys(("order_id", "customer_id", "currency", "fingerprint", "payment_key"), texts),
    **dict.fromkeys(("created_at", "updated_at"), instants),
    **dict.fromkeys(OPTIONAL, maybe),
    items=st.lists(st.builds(LineItem, texts, units, st.none() | amounts, maybe), max_size=3).map(tuple),
    total_amount=amounts,
    shipping_address=st.none() | st.builds(Address, texts, texts, texts, maybe, maybe),
    status=statuses,
    history=st.lists(st.builds(HistoryEntry, statuses, instants, maybe), max_size=3).map(tuple),
    reserved=st.none() | st.dictionaries(texts, units, min_size=1, max_size=3),
    refund=st.none() | st.sampled_from(Refund),
    outbox=st.none() | st.builds(OutboxEntry, instants, st.integers(0, 1000), maybe),
)


@given(orders)
def test_an_order_is_read_back_as_it_was_written(order: Order) -> None:
    item = order_to_item(order)
    again = order_from_item(as_dynamodb_returns(item))
    assert again == order
    assert repr(again) == repr(order)  # amounts with two decimals, whatever DynamoDB did to them
    assert {"NULL": True} not in item.values()


def test_fields_have_the_apis_names_amounts_are_numbers_and_times_are_text_that_sorts() -> None:
    optional: dict[str, Any] = dict.fromkeys(OPTIONAL, "x")
    address, entry = Address("s", "c", "US", state="OR"), OutboxEntry(NOW + timedelta(seconds=60), 3, "why")
    order = standing(Status.RESERVED, shipping_address=address, refund=Refund.DONE, outbox=entry, **optional)
    item = order_to_item(order)
    assert set(item) == {
        *("orderId", "customerId", "items", "totalAmount", "currency", "shippingAddress", "createdAt", "updatedAt"),
        *("status", "fingerprint", "history", "requestId", "correlationId", "failureReason", "reserved"),
        *("paymentKey", "paymentId", "paymentMethod", "refund", "carrier", "trackingNumber"),
        *OUTBOX_ATTRIBUTES,
    }
    assert set(from_item(item)["items"][0]) == {"productId", "productName", "quantity", "unitPrice"}
    assert item["totalAmount"] == {"N": "10.00"}
    assert item["createdAt"] == {"S": "2026-01-15T12:00:00.000Z"}
    assert item["outboxDueAt"] == {"S": "2026-01-15T12:01:00.000Z"}


def test_none_is_left_out_and_nothing_else_is() -> None:
    assert to_item({"a": None, "b": 0, "c": "", "d": False}) == to_item({"b": 0, "c": "", "d": False})
    assert from_item(to_item({"b": 0, "c": "", "d": False})) == {"b": 0, "c": "", "d": False}


def test_a_mark_is_spread_over_few_shards_by_order_id() -> None:
    shards = {outbox_attributes(f"o{n}", OutboxEntry(NOW))["outbox"] for n in range(200)}
    assert shards == set(range(SHARDS))
    assert outbox_attributes("o1", OutboxEntry(NOW)) == outbox_attributes("o1", OutboxEntry(NOW))
    assert outbox_attributes("o1", None) == {}


def shard_pushed(times: int) -> tuple[int, timedelta]:
    """The shard after so many pushes, each as soon as it is due, and how long the order is overdue by then."""
    order = replace(an_order(), outbox=OutboxEntry(NOW))
    now = NOW
    for _ in range(times):
        assert order.outbox
        now = order.outbox.due_at
        order = back_off(order, order.outbox, now).after
    return outbox_attributes(order.order_id, order.outbox)["outbox"], now - NOW


def test_a_mark_that_waits_long_moves_to_its_late_shard() -> None:
    early = shard_pushed(0)[0]
    assert {shard_pushed(times)[0] for times in range(20)} == {early, early + LATE_SHARD}
    assert early < LATE_SHARD


def test_a_pending_refund_has_a_shard_of_its_own_and_no_attribute_that_another_release_could_leave_over() -> None:
    shards = set()
    for n in range(200):
        order = standing(Status.CANCELLED, f"o{n}", outbox=OutboxEntry(NOW, refund_pending=True))
        item = order_to_item(order)
        assert order_from_item(item) == order
        assert item.keys() - order_to_item(replace(order, outbox=None)).keys() < set(OUTBOX_ATTRIBUTES)
        shards.add(int(from_item(item)["outbox"]))
    assert shards == set(range(REFUND_SHARD, REFUND_SHARD + SHARDS))
    assert LATE_SHARD + SHARDS <= REFUND_SHARD


def test_an_order_is_late_once_it_is_overdue_for_more_than_an_hour() -> None:
    for times in range(20):
        shard, overdue = shard_pushed(times)
        assert (shard >= LATE_SHARD) is (overdue >= timedelta(hours=1))


def test_an_item_that_cannot_be_read_is_named() -> None:
    item = order_to_item(an_order("o1"))
    for broken, name in ((item | {"status": {"S": "RETURNED"}}, "o1"), ({"status": {"S": "PENDING"}}, "?"), ({}, "?")):
        with pytest.raises(Unreadable, match=f"^order {re.escape(name)} cannot be read by this release$"):
            order_from_item(broken)


def test_the_outbox_entry_of_an_item_is_read_as_it_was_written() -> None:
    entry = OutboxEntry(NOW, 6, "why")
    attributes = {"outboxDueAt": "2026-01-15T12:00:00.000Z", "outboxTries": 6, "outboxFault": "why"}
    assert outbox_attributes("o1", entry) == {"outbox": 1, **attributes}
    assert outbox_attributes("o1", replace(entry, retries=7))["outbox"] == 101
    assert "outboxFault" not in outbox_attributes("o1", OutboxEntry(NOW))
    item = order_to_item(replace(an_order(), outbox=entry))
    assert order_from_item(item).outbox == entry
    # Written by a release that did not count, or without a fault.
    bare = {name: value for name, value in item.items() if name not in ("outboxTries", "outboxFault")}
    assert order_from_item(bare).outbox == OutboxEntry(NOW)
