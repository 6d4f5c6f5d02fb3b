"""What can be written to an order, as values: pure, and handed to the repository's `commit`.

The life of the outbox entry is here and nowhere else: each function below says what happens to it, and why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from chalicelib.domain.order import HistoryEntry, Order, OutboxEntry, Refund, Status, target_of
from chalicelib.domain.shipments import ShipmentDetails

FIRST_RETRY_AFTER = timedelta(seconds=60)
"""How long a new order may be under way before `recover` sends it again."""

MAX_BACKOFF = timedelta(hours=6)

_MAX_REASON_LENGTH = 500


class Unchanged(Enum):
    """The outbox entry stays as it is."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED


@dataclass(frozen=True, slots=True)
class Create:
    """A new order, on condition that there is none with its id."""

    order: Order

    @property
    def order_id(self) -> str:
        """The order that this is about."""
        return self.order.order_id

    @property
    def after(self) -> Order:
        """The order once this is done."""
        return self.order


@dataclass(frozen=True, slots=True)
class Move:
    """One transition, on condition that the order still has the status, fingerprint and payment key of `before`.

    `stock` is signed units by product: negative ones are taken, on condition that they are there; positive ones are
    given back without a condition. `extra_fields` are further fields of the order. `outbox` None removes the entry.
    `by` is who asked for it.
    """

    before: Order
    to: Status
    at: datetime
    reason: str | None = None
    outbox: OutboxEntry | Unchanged | None = UNCHANGED
    stock: Mapping[str, int] = field(default_factory=dict)
    extra_fields: Mapping[str, Any] = field(default_factory=dict)
    by: str | None = None

    @property
    def order_id(self) -> str:
        return self.before.order_id

    @property
    def entry(self) -> HistoryEntry:
        """What this adds to the history."""
        return HistoryEntry(self.to, self.at, self.reason, self.by)

    @property
    def after(self) -> Order:
        outbox = self.before.outbox if isinstance(self.outbox, Unchanged) else self.outbox
        return self.before.moved(self.entry, outbox=outbox, **self.extra_fields)


@dataclass(frozen=True, slots=True)
class OutboxUpdate:
    """A new outbox entry, or none, on condition that the entry seen is still there.

    `seen` None: the only condition is that the order exists; with `if_absent`, an entry that it has stays as it is, but
    for the fault. `extra_fields` are further fields of the order.
    """

    order: Order
    seen: datetime | None
    outbox: OutboxEntry | None
    extra_fields: Mapping[str, Any] = field(default_factory=dict)
    if_absent: bool = False

    @property
    def order_id(self) -> str:
        return self.order.order_id

    @property
    def after(self) -> Order:
        return replace(self.order, outbox=self.outbox, **self.extra_fields)


Change = Create | Move | OutboxUpdate | ShipmentDetails


def stock_delta(change: Change) -> Mapping[str, int]:
    """Signed units by product of one change."""
    return change.stock if isinstance(change, Move) else {}


def total_stock_delta(changes: Sequence[Change]) -> dict[str, int]:
    """Signed units by product over all the changes: a product is written once, however many orders want it."""
    units: dict[str, int] = {}
    for change in changes:
        for product_id, n in stock_delta(change).items():
            units[product_id] = units.get(product_id, 0) + n
    return units


def create(order: Order, at: datetime) -> Create:
    """A new order with an outbox entry: if its message is never sent, or lost, `recover` finds it."""
    return Create(replace(order, outbox=_new_entry(at)))


def create_failed(order: Order, at: datetime, failure: str, reason: str) -> Create:
    """A producer's order that the catalogue refuses, stored where its producer can look it up."""
    entry = HistoryEntry(Status.FAILED, at, reason[:_MAX_REASON_LENGTH])
    return Create(order.moved(entry, failure_reason=failure, payment_method=None))


def reserve(order: Order, at: datetime) -> Move:
    """The stock of every product is taken with the transition, and recorded; that record never changes again.

    The entry stays: the order is under way until it is confirmed.
    """
    units = order.quantities
    return _move("reserve", order, at, stock={p: -n for p, n in units.items()}, extra_fields={"reserved": units})


def reject(order: Order, at: datetime, failure: str, reason: str) -> Move:
    """There is no stock for a PENDING order: it took nothing. The message that is being handled owes its event."""
    return _move("reject", order, at, reason, outbox=None, extra_fields={"failure_reason": failure})


def confirm(order: Order, at: datetime, payment_id: str) -> Move:
    """The order is paid. Its event is owed by the message that is being handled, so the entry goes."""
    return _move("confirm", order, at, outbox=None, extra_fields={"payment_id": payment_id})


def decline(order: Order, at: datetime, failure: str, reason: str) -> Move:
    """The payment is declined: the same write gives back what the order took, and removes the entry."""
    stock, fields = order.reserved or {}, {"failure_reason": failure}
    return _move("decline", order, at, reason[:_MAX_REASON_LENGTH], outbox=None, stock=stock, extra_fields=fields)


def cancel(order: Order, at: datetime, reason: str | None, by: str | None = None) -> Move:
    """The order is given up: the same write gives back what the order took.

    A refund and an event may be owed, so there is a new entry. Whether it was charged only the payment provider knows:
    even one that is PENDING may have been, before its table was restored.
    """
    stock, refund = order.reserved or {}, {"refund": Refund.PENDING}
    return _move("cancel", order, at, reason, outbox=_new_entry(at), stock=stock, extra_fields=refund, by=by)


def ship(order: Order, at: datetime, carrier: str | None, tracking_number: str | None, by: str | None = None) -> Move:
    """The goods are under way. An event is owed, so there is a new entry."""
    details = {"carrier": carrier, "tracking_number": tracking_number}
    return _move("ship", order, at, outbox=_new_entry(at), extra_fields=details, by=by)


def deliver(order: Order, at: datetime, by: str | None = None) -> Move:
    """The goods have arrived. An event is owed, so there is a new entry."""
    return _move("deliver", order, at, outbox=_new_entry(at), by=by)


def with_entry(change: Create | Move, at: datetime) -> Create | Move:
    """The same with a new entry: its message is on its last receive, and could not publish what is owed."""
    if isinstance(change, Create):
        return create(change.order, at)
    return replace(change, outbox=_new_entry(at))


def work_done(order: Order, entry: OutboxEntry, refund: Refund | None) -> OutboxUpdate:
    """Refund and events are done, so the entry goes: on condition of the entry seen, since new work sets a new one."""
    return OutboxUpdate(order, entry.due_at, None, {"refund": refund} if refund else {})


def work_left(order: Order, at: datetime) -> OutboxUpdate | None:
    """A refund or an event failed. None: there is an entry that says so, and its retries do not begin again."""
    if order.outbox and not order.outbox.refund_pending:
        return None
    return OutboxUpdate(order, order.outbox.due_at if order.outbox else None, _new_entry(at))


def ensure_entry(order: Order, at: datetime, fault: str | None = None) -> OutboxUpdate:
    """The order's message will not come again: with an entry, `recover` goes on by itself. None is ever reset.

    `order` is the order as a message has it, and need not be the order as it is now. `fault` is shown to operators.
    """
    return OutboxUpdate(order, None, replace(_new_entry(at), fault=fault), if_absent=True)


def back_off(order: Order, entry: OutboxEntry, now: datetime) -> OutboxUpdate:
    """`recover` retries the order: its entry is due again in 1 minute, then 2, 4 … up to 6 hours.

    On condition of the entry seen, so of two runs at once only one sends. It says no more that a refund is pending.
    """
    delay = min(FIRST_RETRY_AFTER * 2 ** min(entry.retries, 20), MAX_BACKOFF)
    return OutboxUpdate(order, entry.due_at, OutboxEntry(now + delay, entry.retries + 1, entry.fault))


def _new_entry(at: datetime) -> OutboxEntry:
    return OutboxEntry(at + FIRST_RETRY_AFTER)


def _move(verb: str, order: Order, at: datetime, reason: str | None = None, **fields: Any) -> Move:
    target = target_of(verb, order.status)
    if target is not Status.RESERVED:
        # With this the charge is decided. Removed whatever `order` says: it may be as a message has it.
        fields["extra_fields"] = {**fields.get("extra_fields", {}), "payment_method": None}
    return Move(order, target, at, reason, **fields)
