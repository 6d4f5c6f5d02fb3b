"""What can be written to an order, as values: pure, and handed to `Repository.commit` to be done.

The life of the outbox mark stands here, and nowhere else: each function below says what becomes of it, and why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from chalicelib.order import HistoryEntry, Mark, Order, Refund, Status, target_of

FIRST_TAKE_UP = timedelta(seconds=60)
"""How long a new order may be on its way before `recover` takes it up."""

_LONGEST_REASON = 500

LONGEST_PUSH = timedelta(hours=6)


class Keep(Enum):
    """The mark stays whatever it is."""

    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Create:
    """The order comes to be, on condition that there is none of its id."""

    order: Order

    @property
    def order_id(self) -> str:
        """The order that this is about."""
        return self.order.order_id

    @property
    def after(self) -> Order:
        """The order as it stands once this is done."""
        return self.order


@dataclass(frozen=True, slots=True)
class Move:
    """One transition, on condition that the order still has the status and the fingerprint it is believed to have.

    `stock` is signed units by product: negative ones are taken, on condition that they are there; positive ones are
    given back without any. `also` names further fields of the order. `mark` None removes the mark.
    """

    before: Order
    to: Status
    at: datetime
    reason: str | None = None
    mark: Mark | Keep | None = Keep.KEEP
    stock: Mapping[str, int] = field(default_factory=dict)
    also: Mapping[str, Any] = field(default_factory=dict)

    @property
    def order_id(self) -> str:
        """The order that this is about."""
        return self.before.order_id

    @property
    def entry(self) -> HistoryEntry:
        """What this adds to the history."""
        return HistoryEntry(self.to, self.at, self.reason)

    @property
    def after(self) -> Order:
        """The order as it stands once this is done."""
        mark = self.before.mark if isinstance(self.mark, Keep) else self.mark
        return replace(self.before.moved(self.to, self.at, self.reason), mark=mark, **self.also)


@dataclass(frozen=True, slots=True)
class Remark:
    """A new mark, or none, on condition that the mark seen is still there; `seen` None asks only for the order.

    `also` names further fields of the order.
    """

    order: Order
    seen: datetime | None
    mark: Mark | None
    also: Mapping[str, Any] = field(default_factory=dict)

    @property
    def order_id(self) -> str:
        """The order that this is about."""
        return self.order.order_id

    @property
    def after(self) -> Order:
        """The order as it stands once this is done."""
        return replace(self.order, mark=self.mark, **self.also)


Change = Create | Move | Remark


def taken_by(change: Change) -> Mapping[str, int]:
    """Signed units by product of one change."""
    return change.stock if isinstance(change, Move) else {}


def stock_of(changes: Sequence[Change]) -> dict[str, int]:
    """Signed units by product over all the changes: a product is touched once, however many orders want it."""
    units: dict[str, int] = {}
    for change in changes:
        for product_id, n in taken_by(change).items():
            units[product_id] = units.get(product_id, 0) + n
    return units


def create(order: Order, at: datetime) -> Create:
    """A new order, marked: if its message is never sent, or dies, `recover` finds it."""
    return Create(replace(order, mark=_fresh_mark(at)))


def create_failed(order: Order, at: datetime, failure: str, reason: str) -> Create:
    """A producer's order that the catalogue refuses, kept where its producer can look it up. Nothing is left to do."""
    return Create(replace(order.moved(Status.FAILED, at, reason[:_LONGEST_REASON]), failure_reason=failure))


def reserve(order: Order, at: datetime) -> Move:
    """The stock of every product is taken with the transition, and recorded; that record never changes again.

    The mark stays: the order is under way until it is confirmed.
    """
    units = order.quantities
    return _move("reserve", order, at, stock={p: -n for p, n in units.items()}, also={"reserved": units})


def reject(order: Order, at: datetime, failure: str, reason: str) -> Move:
    """There is no stock for a PENDING order: it took nothing and owes nothing, so the mark goes."""
    return _move("reject", order, at, reason, mark=None, also={"failure_reason": failure})


def confirm(order: Order, at: datetime, payment_id: str) -> Move:
    """The order is paid and on. Its event is owed by the message in hand, so the mark goes."""
    return _move("confirm", order, at, mark=None, also={"payment_id": payment_id})


def decline(order: Order, at: datetime, failure: str, reason: str) -> Move:
    """The payment is declined: what the order recorded as taken goes back in the same write, and so does the mark."""
    return _move(
        "decline",
        order,
        at,
        reason[:_LONGEST_REASON],
        mark=None,
        stock=order.reserved or {},
        also={"failure_reason": failure},
    )


def cancel(order: Order, at: datetime, reason: str | None) -> Move:
    """The order is given up, and what it recorded as taken goes back in the same write.

    A refund and an event may be owed, so the mark is set anew. An order that never got past PENDING cannot have been
    charged; of any other only the payment provider knows.
    """
    refund = Refund.NONE if order.status is Status.PENDING else Refund.PENDING
    stock = order.reserved or {}
    return _move("cancel", order, at, reason, mark=_fresh_mark(at), stock=stock, also={"refund": refund})


def ship(order: Order, at: datetime, carrier: str | None, tracking_number: str | None) -> Move:
    """The goods are under way. An event is owed, so the mark is set anew."""
    also = {"carrier": carrier, "tracking_number": tracking_number}
    return _move("ship", order, at, mark=_fresh_mark(at), also=also)


def deliver(order: Order, at: datetime) -> Move:
    """The goods are there. An event is owed, so the mark is set anew."""
    return _move("deliver", order, at, mark=_fresh_mark(at))


def still_owing(move: Move) -> Move:
    """The same move with a mark: its message is on its last receive, and could not bring what is owed after a crash."""
    return replace(move, mark=_fresh_mark(move.at))


def work_done(order: Order, mark: Mark, refund: Refund | None) -> Remark:
    """Refund and events are out, so the mark goes: on condition of the mark seen, since new work sets a new one."""
    return Remark(order, mark.due_at, None, {"refund": refund} if refund else {})


def work_left(order: Order, at: datetime) -> Remark:
    """A refund or an event could not be got out, and the commit took the mark away: it is set again."""
    return Remark(order, None, _fresh_mark(at))


def pushed_on(order: Order, mark: Mark, now: datetime) -> Remark:
    """`recover` takes the order up: its mark is due again in 1 minute, then 2, 4 … up to 6 hours.

    On condition of the mark seen, so of two runs at once only one sends.
    """
    delay = min(FIRST_TAKE_UP * 2 ** min(mark.tries, 20), LONGEST_PUSH)
    return Remark(order, mark.due_at, Mark(now + delay, mark.tries + 1))


def _fresh_mark(at: datetime) -> Mark:
    return Mark(at + FIRST_TAKE_UP)


def _move(verb: str, order: Order, at: datetime, reason: str | None = None, **fields: Any) -> Move:
    return Move(order, target_of(verb, order.status), at, reason, **fields)
