"""Where orders, ledger and the provider's books differ, and what mends it. Pure: nothing is read or changed here."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from chalicelib.domain.books import Intent, Payment, RowState, Taken
from chalicelib.domain.order import Order, Status
from chalicelib.settings import MESSAGE_LIFE

_SOLD = (Status.CONFIRMED, Status.SHIPPED, Status.DELIVERED)
_OPEN = (Status.PENDING, Status.RESERVED)
_ENDED = (Status.FAILED, Status.CANCELLED)

MARGIN = timedelta(days=1)
"""Clocks differ, a charge may come a while after its order, and what is younger than this may be under way."""

_ORDERS_LIVE = MESSAGE_LIFE + timedelta(days=1)
"""After their end, at least (`ORDER_TTL_DAYS`). Then they expire, and their payments stay."""

_TWICE = "MONEY IS TAKEN TWICE"


class Remedy(Enum):
    """What mends a difference."""

    SEND = "send the order to the consumer: it goes on, on the same payment"
    REFUND = "refund the payment"
    CANCEL = "cancel the order again"
    REBUILD = "write the row again, from what the provider says"
    END = "cancel the intent, which nobody will pay"
    PEOPLE = "yours to decide"


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs about one payment or order. `order` is the one that can be sent; `payment_ids` are the intents.

    `is_worst`: it must never happen, and comes first.
    """

    order_id: str
    payment_key: str
    what: str
    remedy: Remedy
    order: Order | None = None
    payment_ids: tuple[str, ...] = ()
    is_worst: bool = False


@dataclass(frozen=True, slots=True)
class KnownOrders:
    """Orders: those that can be read, by id, and the ids of the others."""

    readable: Mapping[str, Order] = field(default_factory=dict)
    unreadable: Collection[str] = ()

    def only(self, order_id: str) -> "KnownOrders":
        """This one of them."""
        readable = {order_id: self.readable[order_id]} if order_id in self.readable else {}
        return KnownOrders(readable, [each for each in self.unreadable if each == order_id])


@dataclass(frozen=True, slots=True)
class Period:
    """What is compared: all that happened `since` then, seen `now`."""

    since: datetime
    now: datetime

    @classmethod
    def of_living_orders(cls, now: datetime) -> "Period":
        """As far back as no order of it can have expired."""
        return cls(now - _ORDERS_LIVE + 2 * MARGIN, now)

    def has(self, at: datetime | None) -> bool:
        """Whether something is as new as that: older orders expire, and their payments stay."""
        return at is not None and at >= self.since - MARGIN

    def may_have_expired(self, at: datetime) -> bool:
        """Whether the order of a payment that was made then may be gone, as it should."""
        return at <= self.now - _ORDERS_LIVE + MARGIN

    def is_old(self, at: datetime | None) -> bool:
        """Whether nobody is about it any more."""
        return at is None or at <= self.now - MARGIN


_Found = tuple[str, Remedy, list[Intent]] | None


def differences(
    period: Period, payments: Iterable[Payment], orders: KnownOrders, older: KnownOrders | None = None
) -> list[Difference]:
    """All of them, the worst first, then by order id.

    `older` is the table before a restore, which was to the second `since`: what only it has is lost. What has work
    left, an order with an outbox entry, comes to its end by itself.
    """
    known = {payment.payment_key: payment for payment in payments}
    lost = _lost(period, known, orders, older or KnownOrders())
    found = [
        Difference(order.order_id, key, "the restored table has lost it", Remedy.SEND, order)
        for key, order in lost.items()
    ]
    for order in orders.readable.values():
        known.setdefault(order.payment_key, Payment(order.payment_key))
    for payment in known.values():
        if payment.is_seen:
            found += _of_payment(period, payment, orders, payment.payment_key in lost)
    return sorted(found, key=lambda each: (not each.is_worst, each.order_id, each.payment_key, each.what))


def _lost(period: Period, payments: Mapping[str, Payment], orders: KnownOrders, older: KnownOrders) -> dict[str, Order]:
    """The lost orders that can be created again, by payment key."""
    return {
        order.payment_key: order
        for order in older.readable.values()
        if (order.status in _OPEN or period.has(order.updated_at))
        and order.order_id not in orders.readable
        and order.order_id not in orders.unreadable
        and _is_wanted(order, payments.get(order.payment_key))
    }


def _is_wanted(order: Order, payment: Payment | None) -> bool:
    """Whether a lost order can be created again: nothing will be charged that was not to be.

    One that ended without being sold ends as FAILED again, since its payment is closed; and its key is taken.
    """
    row = payment.row if payment else None
    if order.status in _SOLD:
        return row is not None and row.state is RowState.OPEN and _pays(payment)
    return order.status in _OPEN or (row is not None and row.state is not RowState.OPEN)


def _pays(payment: Payment | None) -> bool:
    intent = payment.of_row if payment else None
    return intent is not None and intent.taken is Taken.YES and intent.kept == intent.amount


def _of_payment(period: Period, payment: Payment, orders: KnownOrders, is_lost: bool) -> Iterator[Difference]:
    """What differs about one payment: what its order says, and what is wrong whatever that is."""
    named = orders.readable.get(payment.order_id)
    order = named if named and named.payment_key == payment.payment_key else None
    sent = order if order and order.status in _OPEN else None

    def difference(what: str, remedy: Remedy, intents: Sequence[Intent], is_worst: bool = False) -> Difference:
        ids = tuple(each.payment_id for each in intents)
        own = sent if remedy in (Remedy.SEND, Remedy.REBUILD) else None
        return Difference(payment.order_id, payment.payment_key, what, remedy, own, ids, is_worst)

    is_twice = len(payment.keeping) > 1
    found = None
    if payment.order_id not in orders.unreadable and not is_lost:
        found = _without_order(period, payment, named) if order is None else _of_order(period, payment, order)
    if found and found[1] is Remedy.REFUND:
        what, remedy, intents = found
        yield difference(f"{_TWICE}: {what}" if is_twice else what, remedy, intents, is_twice)
    else:
        if is_twice:
            of_order = f"the order is {order.status}" if order else "the order does not exist"
            yield difference(f"{_TWICE}, and {of_order}", Remedy.PEOPLE, payment.keeping, True)
        if found and not (found[1] is Remedy.PEOPLE and payment.is_explained):
            yield difference(*found)
    for intent in payment.intents:
        for what in [] if payment.is_explained else _disputes(intent, order):
            yield difference(what, Remedy.PEOPLE, [intent])
        if _is_stray(period, payment, intent) and (payment.row or order):
            yield difference("an intent in no row, which can still be paid", Remedy.END, [intent])


def _disputes(intent: Intent, order: Order | None) -> Iterator[str]:
    """Those under way, those that were lost though the order was sold, and money that went back twice."""
    of_order = order.status if order else "the order does not exist"
    if intent.disputed:
        yield f"{of_order}, and {_part(intent.disputed, intent)} is disputed"
    if intent.withdrawn and not (order and order.status in _ENDED):
        yield f"{of_order}, and {_part(intent.withdrawn, intent)} was lost in a dispute"
    if intent.kept < 0:
        yield f"{of_order}, and {-intent.kept} {intent.currency} more was given back than taken"


def _is_stray(period: Period, payment: Payment, intent: Intent) -> bool:
    """Whether it was made and never entered, and nobody is about it any more."""
    return intent.taken is Taken.NOT_YET and intent is not payment.of_row and period.is_old(intent.at)


def _of_order(period: Period, payment: Payment, order: Order) -> _Found:
    """A payment and its own order."""
    if payment.row is None and payment.keeping and order.status not in _ENDED:
        # Whatever is under way: a charge that finds no row would take the money again.
        oldest = min(payment.keeping, key=lambda each: (each.at is not None, each.at, each.payment_id))
        return f"{order.status}, and charged, but its row is lost", Remedy.REBUILD, [oldest]
    if order.outbox is not None:
        return None
    if order.status in _OPEN:
        if not period.is_old(order.updated_at):
            return None
        return f"{order.status} for more than a day, and left behind", Remedy.SEND, []
    return _of_ended(payment, order) if order.status in _ENDED else _of_sold(period, payment, order)


def _without_order(period: Period, payment: Payment, named: Order | None) -> _Found:
    """A payment whose order does not exist; `named` is the order that has its id and another payment."""
    taken = [each for each in payment.keeping if period.has(each.at) and not each.disputed]
    if not taken:
        return None
    what = "charged, but the order has another payment" if named else "charged, but the order does not exist"
    if payment.row is None:
        # Metadata alone does not say that it is this stage's: two may share an account of the provider.
        return f"{what}, nor a row: is it another stage's?", Remedy.PEOPLE, taken
    if any(each.at and period.may_have_expired(each.at) for each in taken):
        return f"{what}: it may have expired", Remedy.PEOPLE, taken
    return what, Remedy.REFUND, taken


def _of_ended(payment: Payment, order: Order) -> _Found:
    """What an order that was not sold owes: its money, and that nobody can pay it any more."""
    taken = [each for each in payment.keeping if not each.disputed]
    if taken:
        return f"charged, but the order is {order.status}", Remedy.REFUND, taken
    if (
        payment.row
        and payment.row.state is RowState.OPEN
        and not any(e.disputed + e.withdrawn for e in payment.intents)
    ):
        return f"not closed, but the order is {order.status}", Remedy.REFUND, []
    return None


def _of_sold(period: Period, payment: Payment, order: Order) -> _Found:
    """What a sold order lacks of its price. Its money is never given back here."""
    row, intent = payment.row, payment.of_row
    own = [intent] if intent else []
    if row and row.state is RowState.REFUNDING:
        # Only an order that is given up has such a row: it was cancelled after the second that was restored.
        is_cancelled = order.status is Status.CONFIRMED
        return f"{order.status}, but refunded", Remedy.CANCEL if is_cancelled else Remedy.PEOPLE, own
    if row and row.state is not RowState.OPEN:
        return f"{order.status}, but the payment is {row.state}", Remedy.PEOPLE, payment.keeping
    if intent is None or intent.taken is not Taken.YES:
        by_another = f"{order.status}, but paid by an intent that is not the row's"
        if payment.keeping:
            return by_another, Remedy.PEOPLE, payment.keeping
        is_known = intent is not None or period.has(order.updated_at)
        return (f"{order.status}, but not charged", Remedy.PEOPLE, own) if is_known else None
    if (intent.amount, intent.currency) != (order.total_amount, order.currency):
        charged, price = f"{intent.amount} {intent.currency}", f"{order.total_amount} {order.currency}"
        return f"charged {charged}, but the order is over {price}", Remedy.PEOPLE, own
    if intent.refunded:
        return f"{order.status}, but {_part(intent.refunded, intent)} was refunded by hand", Remedy.PEOPLE, own
    return None


def _part(amount: object, intent: Intent) -> str:
    return f"{amount} of {intent.amount} {intent.currency}"
