"""Payment providers that go wrong when a test says so, whose declines are not the last word, whose refunds are slow."""

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import TypeVar

from chalicelib.domain.outcomes import Charged, Declined, NothingToRefund, Refunded, RefundPending
from chalicelib.faults import PaymentUnknown
from chalicelib.use_cases.ports import Payments

T = TypeVar("T")


class TimesOut(Enum):
    """When a call times out: before it takes effect, after it, or before it takes effect later (see `land`)."""

    BEFORE = "before"
    AFTER = "after"
    LATER = "later"


Trouble = Callable[[str, str], TimesOut | None]
"""Called with "charge" or "refund" and the order id: how this call goes wrong, if it does."""


class FlakyPayments:
    """Any provider, with bad days: `on("charge", TimesOut.AFTER)` spoils the next charge.

    `asked` lists the calls so far, `methods` the order id, method and customer of each charge; `trouble`, if it is set,
    decides of each call in place of what was planned.
    """

    def __init__(self, provider: Payments, trouble: Trouble | None = None) -> None:
        self.provider = provider
        self.trouble: Trouble = trouble or self._planned
        self.asked: list[tuple[str, str]] = []
        self.methods: list[tuple[str, str | None, str | None]] = []
        self._plans: list[tuple[str, TimesOut, int | None]] = []
        self._later: list[Callable[[], object]] = []

    def on(self, operation: str, when: TimesOut, times: int | None = 1) -> None:
        """Spoil the next call of this operation, or so many in a row (None: all)."""
        self._plans.append((operation, when, times))

    def over(self) -> None:
        """From now on nothing goes wrong."""
        self._plans.clear()
        self.trouble = self._planned

    def land(self) -> None:
        """Let the calls that were to take effect later take effect now. Nobody hears what they are answered."""
        while self._later:
            with suppress(PaymentUnknown):
                self._later.pop()()

    @property
    def late(self) -> int:
        """How many calls are still to take effect."""
        return len(self._later)

    def charge(
        self,
        payment_key: str,
        amount: Decimal,
        currency: str,
        *,
        method: str | None = None,
        customer_id: str | None = None,
    ) -> Charged | Declined:
        self.methods.append((payment_key.partition(".")[0], method, customer_id))
        charge = partial(self.provider.charge, payment_key, amount, currency, method=method, customer_id=customer_id)
        return self._call("charge", payment_key, charge)

    def refund(self, payment_key: str) -> Refunded | RefundPending | NothingToRefund:
        return self._call("refund", payment_key, lambda: self.provider.refund(payment_key))

    def _call(self, operation: str, payment_key: str, call: Callable[[], T]) -> T:
        order_id = payment_key.partition(".")[0]
        self.asked.append((operation, order_id))
        when = self.trouble(operation, order_id)
        if when is TimesOut.LATER:
            self._later.append(call)
        answer = call() if when in (None, TimesOut.AFTER) else None
        if when or answer is None:
            raise PaymentUnknown(f"{operation} of {order_id} timed out")
        return answer

    def _planned(self, operation: str, _order_id: str) -> TimesOut | None:
        for n, (planned, when, times) in enumerate(self._plans):
            if planned == operation:
                if times == 1:
                    del self._plans[n]
                elif times:
                    self._plans[n] = (planned, when, times - 1)
                return when
        return None


class ConfirmsLate:
    """A provider that declines every charge, and could still take the money: the customer confirms later."""

    def __init__(self, provider: Payments) -> None:
        self._provider = provider
        self.confirm: Callable[[], Charged | Declined]

    def charge(self, payment_key: str, amount: Decimal, currency: str, **_: str | None) -> Charged | Declined:
        self.confirm = lambda: self._provider.charge(payment_key, amount, currency)
        return Declined("the customer has not confirmed")

    def refund(self, payment_key: str) -> Refunded | RefundPending | NothingToRefund:
        return self._provider.refund(payment_key)


class Bank:
    """Any provider whose refunds take their time: each is pending until it has `arrived`."""

    def __init__(self, provider: Payments) -> None:
        self.provider, self.arrived = provider, False

    def charge(self, payment_key: str, amount: Decimal, currency: str, **_: str | None) -> Charged | Declined:
        return self.provider.charge(payment_key, amount, currency)

    def refund(self, payment_key: str) -> Refunded | RefundPending | NothingToRefund:
        answer = self.provider.refund(payment_key)
        return answer if self.arrived else RefundPending()
