"""The conservation laws: what must be true of every order, all stock and all money once all is quiet."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from chalicelib.domain.order import TRANSITIONS, Status
from tests.support.stage import Stage
from tests.support.tables import books_in, stock_in

SOLD = (Status.CONFIRMED, Status.SHIPPED, Status.DELIVERED)
_ENDS = (*SOLD, Status.FAILED, Status.CANCELLED)
_ARROWS = {(arrow.source, arrow.target) for arrow in TRANSITIONS}


def check_conserved(
    stage: Stage, stock_before: Mapping[str, int], expected: set[str] | None = None, closed: bool = True
) -> Counter[str]:
    """Check all of a stage; `expected` are the ids of its orders. How many orders have come to each status.

    `closed`: no message was lost that owed the end of a payment, so whatever was given up is closed at the provider.
    """
    orders = {item["orderId"]: item for item in stage.items("ORDERS_TABLE")}
    books = books_in(stage)
    if expected is not None:
        assert set(orders) == expected, "an order is lost, or is there twice"
    for order in orders.values():
        check_order(order, books.get(order["paymentKey"]), closed)
    sold = [order for order in orders.values() if order["status"] in SOLD]
    check_stock(stage, stock_before, sold)
    charged = sum(row["amount"] for row in books.values() if row["state"] in ("CHARGED", "REFUNDED"))
    refunded = sum(row["amount"] for row in books.values() if row["state"] == "REFUNDED")
    assert charged - refunded == sum(order["totalAmount"] for order in sold)
    return Counter(order["status"] for order in orders.values())


def check_order(order: Mapping[str, Any], row: Mapping[str, Any] | None, closed: bool = True) -> None:
    """One order has come to one end, by a path of the transition table, and its money is where its status says."""
    assert order["status"] in _ENDS, order
    path = [entry["status"] for entry in order["history"]]
    assert path[0] == Status.PENDING, path
    assert path[-1] == order["status"], path
    assert set(pairwise(path)) <= _ARROWS, path
    assert "outboxDueAt" not in order, f"work is left on {order}"
    state = row["state"] if row else None
    if order["status"] in SOLD:
        assert state == "CHARGED", (order, row)
        assert row is not None
        assert (row["amount"], row["paymentId"]) == (order["totalAmount"], order["paymentId"])
    else:
        assert state in ("CLOSED", "DECLINED", "REFUNDED", *(() if closed else (None,))), (order, row)
    if order["status"] == Status.CANCELLED:
        assert order["refund"] == ("DONE" if state == "REFUNDED" else "NONE"), (order, row)
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
