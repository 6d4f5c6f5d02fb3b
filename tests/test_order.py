"""The life cycle is the table of the design, and an order is what its lines say."""

from collections.abc import Mapping
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from chalicelib.idempotency import fingerprint
from chalicelib.order import (
    TRANSITIONS,
    HistoryEntry,
    ImpossibleTransition,
    LineItem,
    Order,
    Status,
    target_of,
    two_decimals,
    verbs_from,
)

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)

DIAGRAM: dict[tuple[str, str], str] = {
    ("reserve", "PENDING"): "RESERVED",
    ("confirm", "RESERVED"): "CONFIRMED",
    ("ship", "CONFIRMED"): "SHIPPED",
    ("deliver", "SHIPPED"): "DELIVERED",
    ("reject", "PENDING"): "FAILED",
    ("decline", "RESERVED"): "FAILED",
    ("cancel", "PENDING"): "CANCELLED",
    ("cancel", "RESERVED"): "CANCELLED",
    ("cancel", "CONFIRMED"): "CANCELLED",
}
VERBS = ("reserve", "confirm", "ship", "deliver", "reject", "decline", "cancel")


def an_order(order_id: str = "o1", quantities: Mapping[str, int] | None = None, **fields: Any) -> Order:
    """An order of so many units of each product, at 10.00 a piece; `fields` are set as they are."""
    lines = tuple(LineItem(p, n, Decimal("10.00"), f"name of {p}") for p, n in (quantities or {"p1": 1}).items())
    order = Order(
        order_id=order_id,
        customer_id="c1",
        items=lines,
        total_amount=two_decimals(Decimal(10 * sum(line.quantity for line in lines))),
        currency="USD",
        shipping_address=None,
        created_at=NOW,
        fingerprint="",
    )
    return replace(order, **{"fingerprint": fingerprint(order.content), **fields})


def standing(status: Status, order_id: str = "o1", quantities: Mapping[str, int] | None = None, **fields: Any) -> Order:
    """An order that has come to this status the shortest way."""
    order = an_order(order_id, quantities).moved(Status.PENDING, NOW)
    way = {
        Status.RESERVED: [Status.RESERVED],
        Status.CONFIRMED: [Status.RESERVED, Status.CONFIRMED],
        Status.SHIPPED: [Status.RESERVED, Status.CONFIRMED, Status.SHIPPED],
        Status.DELIVERED: [Status.RESERVED, Status.CONFIRMED, Status.SHIPPED, Status.DELIVERED],
        Status.FAILED: [Status.FAILED],
        Status.CANCELLED: [Status.CANCELLED],
    }
    for step in way.get(status, []):
        order = order.moved(step, NOW)
        if step is Status.RESERVED:
            order = replace(order, reserved=order.quantities)
    return replace(order, **fields)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("source", Status)
def test_the_life_cycle_has_the_arrows_of_the_diagram_and_no_other(verb: str, source: Status) -> None:
    if (verb, source) in DIAGRAM:
        assert target_of(verb, source) is Status(DIAGRAM[verb, source])
        assert verb in verbs_from(source)
    else:
        with pytest.raises(ImpossibleTransition, match=f"{verb} an order that is {source}"):
            target_of(verb, source)
        assert verb not in verbs_from(source)


def test_the_table_has_no_arrow_twice_and_none_beside_the_diagram() -> None:
    assert {(t.verb, t.source.value): t.target.value for t in TRANSITIONS} == DIAGRAM
    assert len(TRANSITIONS) == len(DIAGRAM)


@pytest.mark.parametrize("verb", ["", "RESERVE", "refund", "resurrect"])
@pytest.mark.parametrize("source", Status)
def test_an_unknown_verb_leads_nowhere(verb: str, source: Status) -> None:
    with pytest.raises(ImpossibleTransition):
        target_of(verb, source)


@pytest.mark.parametrize("end", [Status.DELIVERED, Status.FAILED, Status.CANCELLED])
def test_nothing_leads_out_of_an_end_state(end: Status) -> None:
    assert verbs_from(end) == ()


def test_there_are_these_seven_statuses() -> None:
    assert {*Status} == {"PENDING", "RESERVED", "CONFIRMED", "SHIPPED", "DELIVERED", "FAILED", "CANCELLED"}


def test_a_transition_adds_one_entry_to_the_history_and_changes_nothing_else() -> None:
    order = an_order().moved(Status.PENDING, NOW)
    later = NOW + timedelta(seconds=1)

    moved = order.moved(Status.FAILED, later, "out of stock")

    assert moved.history == (HistoryEntry(Status.PENDING, NOW), HistoryEntry(Status.FAILED, later, "out of stock"))
    assert (moved.status, moved.updated_at) == (Status.FAILED, later)
    assert replace(moved, status=order.status, updated_at=order.updated_at, history=order.history) == order


def test_an_order_is_a_value() -> None:
    order = an_order()
    with pytest.raises(FrozenInstanceError):
        order.status = Status.CONFIRMED  # type: ignore[misc]
    assert order == an_order()


def test_two_lines_of_one_product_are_summed_in_the_order_of_their_first_lines() -> None:
    lines = (LineItem("b", 2), LineItem("a", 1), LineItem("b", 3))
    order = an_order(items=lines)
    assert list(order.quantities.items()) == [("b", 5), ("a", 1)]
    assert order.content.quantities == {"a": 1, "b": 5}


def test_amounts_are_written_with_two_decimals() -> None:
    assert [str(two_decimals(Decimal(text))) for text in ("10", "10.5", "1E+1", "999999999999.99")] == [
        "10.00",
        "10.50",
        "10.00",
        "999999999999.99",
    ]
