"""The conservation laws: what must be true of every order, all stock and all money once all is quiet."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any

from chalicelib.domain.order import TRANSITIONS, Status
from tests.support.stage import Stage
from tests.support.tables import books_in, stock_in

SOLD = (Status.CONFIRMED, Status.SHIPPED, Status.DELIVERED)
_ENDS = (*SOLD, Status.FAILED, Status.CANCELLED)
_ARROWS = {(arrow.source, arrow.target) for arrow in TRANSITIONS}


@dataclass(frozen=True)
class Payment:
    """What a provider's books say under one payment key. `closed`: nothing can be taken any more, and asked again the
    provider declines. `payment_id` is that of what was taken."""

    taken: Decimal
    given_back: Decimal
    closed: bool
    payment_id: str | None

    @property
    def kept(self) -> Decimal:
        return self.taken - self.given_back


Books = Mapping[str, Payment]
"""By payment key."""


def simulated_books(stage: Stage) -> Books:
    """The simulation's."""
    return {key: _simulated(row) for key, row in books_in(stage).items()}


def _simulated(row: Mapping[str, Any]) -> Payment:
    taken, given_back, closed = _STATES[row["state"]]
    amount = row.get("amount", Decimal(0))
    return Payment(amount * taken, amount * given_back, closed, row["paymentId"] if taken else None)


_STATES = {"CHARGED": (1, 0, False), "REFUNDED": (1, 1, True), "DECLINED": (0, 0, True), "CLOSED": (0, 0, True)}
"""By the state of a row: whether money was taken, and given back; whether the payment is closed."""


def check_conserved(
    stage: Stage,
    stock_before: Mapping[str, int],
    expected: set[str] | None = None,
    closed: bool = True,
    books: Books | None = None,
) -> Counter[str]:
    """Check all of a stage; `expected` are the ids of its orders. How many orders have come to each status.

    `closed`: no message was lost that owed the end of a payment, so whatever was given up is closed at the provider.
    `books` are the provider's; None: the simulation's.
    """
    orders = {item["orderId"]: item for item in stage.items("ORDERS_TABLE")}
    books = simulated_books(stage) if books is None else books
    if expected is not None:
        assert set(orders) == expected, "an order is lost, or is there twice"
    for order in orders.values():
        payment = books.get(order["paymentKey"])
        check_order(order, payment, closed)
        if order.get("failureReason") == "PAYMENT_DECLINED":
            assert not (payment and payment.taken), f"declined, and charged all the same: {order}, {payment}"
    sold = [order for order in orders.values() if order["status"] in SOLD]
    check_stock(stage, stock_before, sold)
    assert sum(payment.kept for payment in books.values()) == sum(order["totalAmount"] for order in sold)
    return Counter(order["status"] for order in orders.values())


def check_order(order: Mapping[str, Any], payment: Payment | None, closed: bool = True) -> None:
    """One order has come to one end, by a path of the transition table, and its money is where its status says."""
    assert order["status"] in _ENDS, order
    path = [entry["status"] for entry in order["history"]]
    assert path[0] == Status.PENDING, path
    assert path[-1] == order["status"], path
    assert set(pairwise(path)) <= _ARROWS, path
    assert "outboxDueAt" not in order, f"work is left on {order}"
    if order["status"] in SOLD:
        assert payment == Payment(order["totalAmount"], Decimal(0), False, order["paymentId"]), (order, payment)
    else:
        assert payment or not closed, (order, payment)
        assert not payment or (payment.closed and payment.kept == 0), (order, payment)
        assert not payment or payment.taken in (0, order["totalAmount"]), (order, payment)
    if order["status"] == Status.CANCELLED:
        assert order["refund"] == ("DONE" if payment and payment.taken else "NONE"), (order, payment)
    else:
        assert "refund" not in order
    assert ("reserved" in order) == (Status.RESERVED in path)


def check_stock(stage: Stage, before: Mapping[str, int], sold: Sequence[Mapping[str, Any]]) -> None:
    """What there was is what there is and what was sold; and there is never less than none."""
    now = stock_in(stage)
    taken: Counter[str] = Counter()
    for order in sold:
        taken.update({product_id: int(n) for product_id, n in order["reserved"].items()})
    assert {product_id: now[product_id] + taken[product_id] for product_id in before} == dict(before)
    assert min(now.values()) >= 0
