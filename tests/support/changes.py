"""Every change that the life cycle knows, each on an order of its own."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from chalicelib.domain import changes
from chalicelib.domain.changes import Move
from chalicelib.domain.order import TRANSITIONS, Order, OutboxEntry, Status
from tests.support.orders import NOW, standing

LATER = NOW + timedelta(seconds=5)
UNITS = {"p1": 2, "p2": 1}
OLD = OutboxEntry(NOW + timedelta(seconds=60), 2)

MOVES: dict[str, Callable[[Order], Move]] = {
    "reserve": lambda order: changes.reserve(order, LATER),
    "reject": lambda order: changes.reject(order, LATER, "OUT_OF_STOCK", "why"),
    "confirm": lambda order: changes.confirm(order, LATER, "pay-1"),
    "decline": lambda order: changes.decline(order, LATER, "PAYMENT_DECLINED", "why"),
    "cancel": lambda order: changes.cancel(order, LATER, "why"),
    "ship": lambda order: changes.ship(order, LATER, "UPS", "1Z"),
    "deliver": lambda order: changes.deliver(order, LATER),
}


def before(status: Status, order_id: str = "o1") -> Order:
    """An order with an old outbox entry. What it took differs from its lines: the record counts, not the lines.

    It has a payment method, as one that an older release brought there may have at any time.
    """
    order = standing(status, order_id, UNITS, outbox=OLD, payment_method="pm_1")
    return replace(order, reserved={"p1": 7}) if order.reserved else order


def every_move() -> list[Move]:
    """One along each arrow of the life cycle, of an order named for it."""
    return [MOVES[arrow.verb](before(arrow.source, f"{arrow.source}-{arrow.verb}")) for arrow in TRANSITIONS]
