"""What mends the differences between payments and orders mends all of them, and touches nothing else."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.order import Order, OutboxEntry, Status
from ops.reconciling import Difference, Orders, Payment, Remedy, differences
from tests.support.conservation import SOLD
from tests.support.orders import NOW, standing

LONG_AGO, LATER = NOW - timedelta(days=30), NOW + timedelta(minutes=1)
SINCE = NOW - timedelta(minutes=1)
NUMBERS = st.integers(0, 3)
KEYS = st.builds("o{}.payment-{}".format, NUMBERS, st.integers(0, 2))


def order(key: str, status: Status, at: Any = LATER, **fields: Any) -> Order:
    return standing(status, key.partition(".")[0], {"p1": 1}, payment_key=key, updated_at=at, **fields)


def orders_at(*times: Any) -> st.SearchStrategy[dict[str, Order]]:
    """At most one order of each id, by id."""
    made = st.lists(st.builds(order, KEYS, st.sampled_from(Status), st.sampled_from(times)), max_size=4)
    return made.map(lambda found: {each.order_id: each for each in found})


def payment(key: str, state: str = "CHARGED", at: Any = LATER) -> Payment:
    return Payment(key, state, order(key, Status.PENDING).total_amount, at)


STATES = st.sampled_from(["CHARGED", "REFUNDED", "DECLINED", "CLOSED"])
BOOKS = st.lists(st.builds(payment, KEYS, STATES, st.sampled_from([LONG_AGO, LATER, None])), max_size=8).map(
    lambda rows: {row.payment_key: row for row in rows}
)


def mended(found: list[Difference], orders: dict[str, Order], books: dict[str, Payment]) -> None:
    """As the consumer and the provider do it."""
    for each in found:
        match each.remedy:
            case Remedy.SEND:
                assert each.order is not None
                assert each.order_id not in orders
                row = books.setdefault(each.payment_key, payment(each.payment_key))
                status = Status.CONFIRMED if row.state == "CHARGED" else Status.FAILED
                orders[each.order_id] = order(each.payment_key, status)
            case Remedy.REFUND:
                assert books[each.payment_key].state == "CHARGED"
                books[each.payment_key] = payment(each.payment_key, "REFUNDED")
            case Remedy.CANCEL:
                orders[each.order_id] = order(each.payment_key, Status.CANCELLED)


@given(orders_at(LATER), orders_at(LATER, LONG_AGO), BOOKS)
def test_nobody_is_charged_twice_and_no_sold_order_loses_its_money(
    orders: dict[str, Order], older: dict[str, Order], books: dict[str, Payment]
) -> None:
    sold = {key for each in orders.values() for key in [each.payment_key] if each.status in SOLD}
    paid = {key for key in sold if key in books and books[key].state == "CHARGED"}
    old = {key for key, row in books.items() if row.at != LATER and row.state == "CHARGED"}
    for _ in range(2):  # the payment of an order that failed is closed first; then its key can be taken again
        mended(differences(SINCE, books.values(), Orders(orders), Orders(older)), orders, books)
        assert all(books[key].state == "CHARGED" for key in paid | old)
    left = differences(SINCE, books.values(), Orders(orders), Orders(older))
    assert {each.remedy for each in left} <= {Remedy.PEOPLE}
    for row in books.values():
        if row.state == "CHARGED" and row.at == LATER:
            own = orders[row.order_id]
            assert own.payment_key == row.payment_key
            assert own.status not in (Status.FAILED, Status.CANCELLED)


@given(orders_at(LATER), orders_at(LATER, LONG_AGO), BOOKS)
def test_every_lost_order_is_found_if_it_can_be(
    orders: dict[str, Order], older: dict[str, Order], books: dict[str, Payment]
) -> None:
    found = differences(SINCE, books.values(), Orders(orders), Orders(older))
    sent = {each.order_id for each in found if each.remedy is Remedy.SEND}
    for order_id, lost in older.items():
        if order_id in orders:
            assert order_id not in sent
        elif lost.status in (Status.PENDING, Status.RESERVED):
            assert order_id in sent
        elif lost.updated_at == LONG_AGO:
            assert order_id not in sent, "it has expired"
        elif lost.payment_key in books:
            assert (order_id in sent) == ((lost.status in SOLD) == (books[lost.payment_key].state == "CHARGED"))
        else:
            assert order_id not in sent, "it would be charged"


@given(orders_at(LATER), BOOKS)
def test_an_order_that_was_paid_is_never_shown(orders: dict[str, Order], books: dict[str, Payment]) -> None:
    """Nor one whose payment is from before payments said when they were made."""
    shown = {each.order_id for each in differences(SINCE, books.values(), Orders(orders), Orders({}))}
    for order_id, each in orders.items():
        others = [row for row in books.values() if row.order_id == order_id and row.payment_key != each.payment_key]
        row = books.get(each.payment_key)
        if each.status in SOLD and row and row.state == "CHARGED" and not others:
            assert order_id not in shown


def test_what_cannot_be_read_keeps_its_money() -> None:
    books = [payment("o1.a"), payment("o2.a")]
    assert [each.order_id for each in differences(SINCE, books, Orders({}, ["o1"]), Orders({}))] == ["o2"]
    lost = {"o1": order("o1.a", Status.CONFIRMED)}
    assert [each.remedy for each in differences(SINCE, books, Orders({}, ["o1"]), Orders(lost))] == [Remedy.REFUND]


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED])
def test_what_has_work_left_comes_to_its_end_by_itself(status: Status) -> None:
    ended = order("o1.a", status)
    (found,) = differences(SINCE, [payment("o1.a")], Orders({"o1": ended}), Orders({}))
    assert (found.what, found.remedy) == (f"charged, but the order is {status}", Remedy.REFUND)
    waiting = replace(ended, outbox=OutboxEntry(LATER))
    assert differences(SINCE, [payment("o1.a")], Orders({"o1": waiting}), Orders({})) == []


@pytest.mark.parametrize(
    ("status", "row", "what", "remedy"),
    [
        (Status.CONFIRMED, payment("o1.a", "REFUNDED"), "CONFIRMED, but REFUNDED", Remedy.CANCEL),
        (Status.SHIPPED, payment("o1.a", "REFUNDED"), "SHIPPED, but REFUNDED", Remedy.PEOPLE),
        (Status.CONFIRMED, payment("o1.a", "CLOSED"), "CONFIRMED, but CLOSED", Remedy.PEOPLE),
        (Status.DELIVERED, payment("o2.a", "DECLINED"), "DELIVERED, but not charged", Remedy.PEOPLE),
        (
            Status.CONFIRMED,
            replace(payment("o1.a"), amount=Decimal(1)),
            f"charged 1, but the order is over {order('o1.a', Status.PENDING).total_amount}",
            Remedy.PEOPLE,
        ),
    ],
)
def test_what_was_sold_without_its_money_is_shown(status: Status, row: Payment, what: str, remedy: Remedy) -> None:
    (found,) = differences(SINCE, [row], Orders({"o1": order("o1.a", status)}), Orders({}))
    assert (found.what, found.remedy) == (what, remedy)
