"""Where the payment provider's books and the orders differ, and what mends it. Pure: no AWS."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum

from chalicelib.domain.order import Order, Status

_SOLD = (Status.CONFIRMED, Status.SHIPPED, Status.DELIVERED)
_OPEN = (Status.PENDING, Status.RESERVED)

_NEVER_EXPIRED = timedelta(days=1)
"""Clocks differ, and a charge may come a while after its order. An order lives for 22 days after its end at least."""


class Remedy(Enum):
    """What mends a difference."""

    SEND = "send the order to the consumer: it is created again, on the same payment"
    REFUND = "refund the payment"
    CANCEL = "cancel the order again"
    PEOPLE = "yours to decide"


@dataclass(frozen=True, slots=True)
class Payment:
    """A row of the provider's books. `state`: CHARGED, REFUNDED, DECLINED or CLOSED; `amount` None: never charged.

    `at` None: it was made by a release that did not say when, so it is too old to be refunded for want of its order.
    """

    payment_key: str
    state: str
    amount: Decimal | None
    at: datetime | None

    @property
    def order_id(self) -> str:
        """A payment key begins with it."""
        return self.payment_key.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Difference:
    """One payment or order. `order` is the lost one that can be sent again."""

    order_id: str
    payment_key: str
    what: str
    remedy: Remedy
    order: Order | None = None


@dataclass(frozen=True, slots=True)
class Orders:
    """A table of orders: those that can be read, by id, and the ids of the others."""

    readable: Mapping[str, Order]
    unreadable: Collection[str] = ()


def differences(since: datetime, books: Iterable[Payment], orders: Orders, older: Orders) -> list[Difference]:
    """All of them, by order id. `older` is the table before the restore, which was to the second `since`.

    What is missing is lost only if it is as new as that: older orders expire, and their payments stay. What has work
    left, an order with an outbox entry, comes to its end by itself.
    """
    newer = since - _NEVER_EXPIRED
    payments = {payment.payment_key: payment for payment in books}
    known = orders.readable
    lost = {
        order.payment_key: order
        for order in older.readable.values()
        if (order.status in _OPEN or order.updated_at >= newer)
        and order.order_id not in known
        and order.order_id not in orders.unreadable
        and _is_wanted(order, payments.get(order.payment_key))
    }
    found = [
        Difference(order.order_id, key, "the restored table has lost it", Remedy.SEND, order)
        for key, order in lost.items()
    ]
    for payment in payments.values():
        is_new = payment.at is not None and payment.at >= newer
        if payment.state == "CHARGED" and is_new and payment.order_id not in orders.unreadable:
            what = is_owed(payment.payment_key, known.get(payment.order_id))
            if what and payment.payment_key not in lost:
                found.append(Difference(payment.order_id, payment.payment_key, what, Remedy.REFUND))
    for order in known.values():
        found += _of_sold(order, payments.get(order.payment_key))
    return sorted(found, key=lambda each: (each.order_id, each.payment_key))


def is_owed(payment_key: str, order: Order | None) -> str:
    """Why a charged payment has to be given back; empty: it has not. `order` is the one that it names."""
    if order is None:
        return "charged, but the order does not exist"
    if order.payment_key != payment_key:
        return "charged, but the order has another payment"
    if order.status in (Status.FAILED, Status.CANCELLED) and order.outbox is None:
        return f"charged, but the order is {order.status}"
    return ""


def _is_wanted(order: Order, payment: Payment | None) -> bool:
    """Whether a lost order can be created again: nothing will be charged that was not to be.

    One that ended without being sold ends as FAILED again, since its payment is closed; and its key is taken.
    """
    state = payment.state if payment else None
    if order.status in _SOLD:
        return state == "CHARGED"
    return order.status in _OPEN or state in ("CLOSED", "DECLINED", "REFUNDED")


def _of_sold(order: Order, payment: Payment | None) -> list[Difference]:
    if order.status not in _SOLD:
        return []
    state = payment.state if payment else "not charged"
    if payment is None or state != "CHARGED":
        remedy = Remedy.CANCEL if state == "REFUNDED" and order.status is Status.CONFIRMED else Remedy.PEOPLE
        return [Difference(order.order_id, order.payment_key, f"{order.status}, but {state}", remedy)]
    if payment.amount != order.total_amount:
        what = f"charged {payment.amount}, but the order is over {order.total_amount}"
        return [Difference(order.order_id, order.payment_key, what, Remedy.PEOPLE)]
    return []
