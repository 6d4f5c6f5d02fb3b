"""Orders, ledger and the providers' books, compared: after a restore, each day, and for one order."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from chalicelib import telemetry
from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.domain.books import Intent, Payment, joined
from chalicelib.domain.order import Order
from chalicelib.domain.payment_key import order_id_of
from chalicelib.domain.reconciling import MARGIN, Difference, KnownOrders, Period, differences
from chalicelib.faults import Unreadable
from chalicelib.providers import SIMULATED
from chalicelib.times import Clock
from chalicelib.use_cases.ports import Books, Orders, OutOfTime, PaymentRows

WINDOW = timedelta(days=3)
"""What a daily run compares. Two runs may be missing until a payment is not looked at."""

_COMPARING = 60.0
"""Seconds of a run that are kept for the comparison: the provider's lists must end before."""

_PAGE = 100


@dataclass(frozen=True)
class Reconciling:
    """`books` are those of the providers that can be asked, by name. What is simulated has its books in the ledger.

    Every method raises PaymentUnknown, Unavailable, Rejected.
    """

    orders: Orders
    rows: PaymentRows
    books: Mapping[str, Books]
    clock: Clock

    def report(self, deadline: Deadline) -> list[Difference]:
        """Log and count what differs about the payments of the last days; mend nothing.

        The metric is 0 only if all was compared.
        """
        now = self.clock()
        period, found = Period(now - WINDOW, now), list[Difference]()
        by_key: dict[str, list[Intent]] = defaultdict(list)
        is_complete = self._list(period, Deadline(deadline.remaining, deadline.margin + _COMPARING), by_key)
        for page in _pages(by_key):
            if deadline.has_passed:
                break
            payments = self._joined(self.rows.get_all(page), (intent for key in page for intent in by_key[key]))
            orders = self._orders(payment.order_id for payment in payments)
            found += self.compare(period, payments, orders, deadline=deadline)
        is_complete = is_complete and not deadline.has_passed
        for each in sorted(found, key=lambda each: not each.is_worst):
            ids = {"orderId": each.order_id, "paymentKey": each.payment_key, "paymentIds": each.payment_ids}
            telemetry.warning("payment differs", **ids, difference=each.what, remedy=each.remedy.name)
        if is_complete or found:
            telemetry.count("PaymentDifferences", len(found))
        if not is_complete:
            telemetry.error("payments not compared in time", count=len(by_key))
        return found

    def payments(self, period: Period) -> list[Payment]:
        """Every row of the ledger, and what the providers' books have of the period."""
        intents: dict[str, list[Intent]] = defaultdict(list)
        self._list(period, NO_DEADLINE, intents)  # the books first: what they say then has its row and its order
        return self._joined(self.rows.all(), (intent for own in intents.values() for intent in own))

    def compare(
        self,
        period: Period,
        payments: Iterable[Payment],
        orders: KnownOrders,
        older: KnownOrders | None = None,
        deadline: Deadline = NO_DEADLINE,
    ) -> list[Difference]:
        """What differs, as `differences` says. What is found is looked at again, each payment by itself, while there is
        time: the parties are read one after the other, and meanwhile work goes on.
        """
        payments = list(payments)
        found = differences(period, payments, orders, older)
        names = {payment.payment_key: [each.payment_id for each in payment.intents] for payment in payments}
        return [
            again
            for key in dict.fromkeys(each.payment_key for each in found)
            if not deadline.has_passed
            for again in self.again(period, key, names.get(key, ()), older)
        ]

    def again(
        self, period: Period, payment_key: str, payment_ids: Iterable[str], older: KnownOrders | None = None
    ) -> list[Difference]:
        """What differs about one payment as it is now, with these intents; nothing while its order changes."""
        order_id = order_id_of(payment_key)
        before = self._order(order_id)
        payment = self.look(payment_key, payment_ids, before.readable.get(order_id))
        if self._order(order_id) != before:
            return []
        found = differences(period, [payment], before, (older or KnownOrders()).only(order_id))
        return [each for each in found if each.payment_key == payment_key]

    def look(self, payment_key: str, payment_ids: Iterable[str], order: Order | None) -> Payment:
        """A payment as it is now in ledger and books: with these intents, that of its row, and that of its order."""
        (payment,) = self.rows.get_all([payment_key]) or [Payment(payment_key)]
        row, names = payment.row, [*payment_ids]
        names += [row.payment_id] if row and row.payment_id else []
        names += [order.payment_id] if order and order.payment_key == payment_key and order.payment_id else []
        asked = [books for name, books in self.books.items() if row is None or row.provider == name]
        intents = [intent for books in asked for name in dict.fromkeys(names) if (intent := books.of(name))]
        (whole,) = self._joined([payment], (intent for intent in intents if intent.payment_key == payment_key))
        return whole

    def search(self, payment_key: str) -> list[str]:
        """The ids that the providers' own searches find: for people, since a search may miss something."""
        return [name for books in self.books.values() for name in books.search(payment_key)]

    def _list(self, period: Period, deadline: Deadline, found: dict[str, list[Intent]]) -> bool:
        """Add the intents of all books by payment key; whether that is all of them."""
        try:
            for books in self.books.values():
                for intent in books.payments(period.since - MARGIN, deadline):
                    found[intent.payment_key].append(intent)
        except OutOfTime:
            return False
        return True

    def _joined(self, payments: Iterable[Payment], intents: Iterable[Intent]) -> list[Payment]:
        """The same as `joined`, and which of them have a provider that can be asked."""
        known = {SIMULATED, *self.books}
        return [
            payment if payment.row is None or payment.row.provider in known else replace(payment, is_seen=False)
            for payment in joined(payments, intents)
        ]

    def _orders(self, order_ids: Iterable[str]) -> KnownOrders:
        """These orders. One that a page does not bring may be one that cannot be read."""
        wanted = set(order_ids)
        found = {order.order_id: order for page in _pages(wanted) for order in self.orders.get_all(page)}
        others = [self._order(order_id) for order_id in wanted - found.keys()]
        for each in others:
            found |= each.readable
        return KnownOrders(found, tuple(order_id for each in others for order_id in each.unreadable))

    def _order(self, order_id: str) -> KnownOrders:
        """One order, by a consistent read."""
        try:
            order = self.orders.get(order_id)
        except Unreadable:
            return KnownOrders({}, (order_id,))
        return KnownOrders({order_id: order} if order else {})


def _pages(names: Collection[str]) -> list[list[str]]:
    listed = list(names)
    return [listed[start : start + _PAGE] for start in range(0, len(listed), _PAGE)]
