"""Payments by the stage's provider, and those of orders that were under way with another one by that one."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from chalicelib.domain.outcomes import Charged, Declined, NothingToRefund, Refunded, RefundPending
from chalicelib.faults import OtherProvider
from chalicelib.use_cases.ports import Payments

T = TypeVar("T")


@dataclass(frozen=True)
class PaymentRouter:
    """The port on several providers: a payment stays with the one that its row names, so it is charged once.

    `by_name` makes another provider, or raises PaymentUnknown. The stage's own is asked first, since its ledger reads
    the row anyhow; so nothing is read twice but for the payments of another.
    """

    provider: Payments
    by_name: Callable[[str], Payments]

    def charge(
        self,
        payment_key: str,
        amount: Decimal,
        currency: str,
        *,
        method: str | None = None,
        customer_id: str | None = None,
    ) -> Charged | Declined:
        """As the port says."""
        return self._ask(lambda p: p.charge(payment_key, amount, currency, method=method, customer_id=customer_id))

    def refund(self, payment_key: str) -> Refunded | RefundPending | NothingToRefund:
        """As the port says."""
        return self._ask(lambda p: p.refund(payment_key))

    def _ask(self, call: Callable[[Payments], T]) -> T:
        try:
            return call(self.provider)
        except OtherProvider as elsewhere:
            return call(self.by_name(elsewhere.provider))
