"""The life cycle is the table of the design, and an order is what its lines say."""

from dataclasses import FrozenInstanceError, replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.order import (
    TRANSITIONS,
    HistoryEntry,
    ImpossibleTransition,
    LineItem,
    Status,
    target_of,
    two_decimals,
    verbs_from,
)
from chalicelib.domain.request import Content
from tests.support.orders import NOW, an_order

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
VERBS = ("reserve", "confirm", "ship", "deliver", "reject", "decline", "cancel", "", "RESERVE", "refund", "resurrect")


def test_the_table_has_the_arrows_of_the_diagram_and_no_other() -> None:
    assert {(t.verb, t.source.value): t.target.value for t in TRANSITIONS} == DIAGRAM
    assert len(TRANSITIONS) == len(DIAGRAM)
    assert {*Status} == {"PENDING", "RESERVED", "CONFIRMED", "SHIPPED", "DELIVERED", "FAILED", "CANCELLED"}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("source", Status)
def test_a_verb_leads_where_the_diagram_has_it_or_nowhere(verb: str, source: Status) -> None:
    assert verbs_from(source) == tuple(verb for verb, status in DIAGRAM if status == source)
    if (verb, source) in DIAGRAM:
        assert target_of(verb, source) is Status(DIAGRAM[verb, source])
    else:
        with pytest.raises(ImpossibleTransition, match=f"^cannot {verb} an order that is {source}$"):
            target_of(verb, source)


def test_a_transition_adds_one_entry_to_the_history_and_changes_nothing_else() -> None:
    order = an_order()
    later = NOW + timedelta(seconds=1)

    moved = order.moved(HistoryEntry(Status.FAILED, later, "out of stock"))

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
    assert Content.from_order(order).quantities == {"a": 1, "b": 5}


@given(st.integers(0, 10**14 - 1), st.integers(0, 4))
def test_amounts_are_written_with_two_decimals(cents: int, zeros: int) -> None:
    amount = Decimal(f"{cents}{'0' * zeros}E-{2 + zeros}")
    assert str(two_decimals(amount)) == str(two_decimals(amount.normalize())) == f"{cents // 100}.{cents % 100:02}"
