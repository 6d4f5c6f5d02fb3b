"""An order is stored whole and read back as it was, whatever DynamoDB does to its numbers."""

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chalicelib.changes import pushed_on
from chalicelib.idempotency import agrees, order_id_of_key
from chalicelib.items import LATE, MARK_NAMES, SHARDS, item_of, mark_values, marshalled, order_of, plain
from chalicelib.order import Address, HistoryEntry, LineItem, Mark, Order, Status
from tests.test_order import NOW, an_order, standing

GOLDEN = Path(__file__).parent / "golden" / "order_v1.json"


def golden() -> dict[str, Any]:
    item: dict[str, Any] = json.loads(GOLDEN.read_text("utf-8"))
    return item


def as_dynamodb_returns(item: Any) -> Any:
    """Numbers lose their trailing zeros on the way through DynamoDB."""
    if isinstance(item, dict) and set(item) == {"N"}:
        return {"N": format(Decimal(item["N"]).normalize(), "f")}
    if isinstance(item, dict):
        return {name: as_dynamodb_returns(value) for name, value in item.items()}
    return [as_dynamodb_returns(value) for value in item] if isinstance(item, list) else item


def test_an_order_stored_by_the_first_release_is_read_by_this_one() -> None:
    order = order_of(golden())
    assert order.order_id == order_id_of_key("CUST-42", "golden-v1")
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
    assert (order.status, order.reserved, order.mark) == (Status.CONFIRMED, {"PROD-100": 2, "PROD-003": 1}, None)
    assert (order.customer_id, order.currency) == ("CUST-42", "USD")


def test_an_order_stored_by_the_first_release_still_has_its_fingerprint() -> None:
    order = order_of(golden())
    assert agrees(order.fingerprint, order.content)
    assert not agrees(order.fingerprint, replace(order.content, total_amount=Decimal("349.81")))


def test_an_order_stored_by_the_first_release_is_written_as_it_was() -> None:
    assert as_dynamodb_returns(item_of(order_of(golden()))) == golden()


def test_amounts_come_back_with_two_decimals() -> None:
    order = order_of(golden())
    assert str(order.total_amount) == "349.80"
    assert [str(line.unit_price) for line in order.items] == ["149.90", "50.00"]


FULL = replace(
    standing(Status.RESERVED, quantities={"p1": 2, "p2": 1}),
    shipping_address=Address("s", "c", "US", state="OR"),
    request_id="r",
    correlation_id="k",
    failure_reason="OUT_OF_STOCK",
    mark=Mark(NOW + timedelta(seconds=60), 3),
)
BARE = an_order(items=(LineItem("p1", 1),)).moved(Status.PENDING, NOW)


@pytest.mark.parametrize("order", [FULL, BARE, standing(Status.FAILED)], ids=["full", "bare", "failed"])
def test_an_order_is_read_back_as_it_was_written(order: Order) -> None:
    assert order_of(as_dynamodb_returns(item_of(order))) == order


@pytest.mark.parametrize("name", [f.name for f in fields(Order) if f.default is None])
def test_what_an_order_does_not_have_is_not_stored(name: str) -> None:
    without_it: dict[str, Any] = {name: None}
    whole, without = item_of(FULL), item_of(replace(FULL, **without_it))
    assert without.items() <= whole.items() or name == "updated_at"
    assert {"NULL": True} not in without.values()


def test_field_names_are_the_apis() -> None:
    assert set(item_of(FULL)) == {
        *("orderId", "customerId", "items", "totalAmount", "currency", "shippingAddress", "createdAt", "updatedAt"),
        *("status", "fingerprint", "history", "requestId", "correlationId", "failureReason", "reserved"),
        *MARK_NAMES,
    }
    assert set(plain(item_of(FULL))["items"][0]) == {"productId", "productName", "quantity", "unitPrice"}


def test_amounts_are_numbers_and_times_are_text_that_sorts() -> None:
    item = item_of(FULL)
    assert item["totalAmount"] == {"N": "30.00"}
    assert item["createdAt"] == {"S": "2026-01-15T12:00:00.000Z"}
    assert item["outboxDueAt"] == {"S": "2026-01-15T12:01:00.000Z"}


def test_none_is_left_out_and_nothing_else_is() -> None:
    assert marshalled({"a": None, "b": 0, "c": "", "d": False}) == {
        "b": {"N": "0"},
        "c": {"S": ""},
        "d": {"BOOL": False},
    }


def test_a_mark_is_spread_over_few_shards_by_order_id() -> None:
    shards = {mark_values(f"o{n}", Mark(NOW))["outbox"] for n in range(200)}
    assert shards == set(range(SHARDS))
    assert mark_values("o1", Mark(NOW)) == mark_values("o1", Mark(NOW))
    assert mark_values("o1", None) == {}


def shard_pushed(times: int) -> tuple[int, timedelta]:
    """The shard after so many pushes, each as soon as it is due, and how long the order is overdue by then."""
    order = replace(an_order(), mark=Mark(NOW))
    now = NOW
    for _ in range(times):
        assert order.mark
        now = order.mark.due_at
        order = pushed_on(order, order.mark, now).after
    return mark_values(order.order_id, order.mark)["outbox"], now - NOW


def test_a_mark_that_waits_long_moves_to_a_late_shard_and_stays_there() -> None:
    shards = [shard_pushed(times)[0] for times in range(20)]
    early = shards[0]
    assert early < LATE
    assert set(shards) == {early, early + LATE}
    assert shards == sorted(shards)


def test_an_order_is_late_from_the_first_push_after_an_hour() -> None:
    times = next(n for n in range(20) if shard_pushed(n)[1] >= timedelta(hours=1))
    assert shard_pushed(times)[0] >= LATE


def test_an_order_is_late_only_when_overdue_for_more_than_an_hour() -> None:
    first_late = next(n for n in range(20) if shard_pushed(n)[0] >= LATE)
    assert shard_pushed(first_late)[1] >= timedelta(hours=1)
