"""Taking money and giving it back: what any payment provider must promise."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Charged:
    """The money is taken, now or at an earlier call."""

    payment_id: str


@dataclass(frozen=True, slots=True)
class Declined:
    """The money is not taken and never will be for this order; `reason` is fit for the customer."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refunded:
    """The money is given back, now or at an earlier call, and the payment closed."""

    payment_id: str


@dataclass(frozen=True, slots=True)
class NothingToRefund:
    """No money was taken, and the payment is closed: none can be any more."""


class PaymentUnknown(Exception):
    """No clear answer: it may have taken effect, it may yet, or never. To be asked again with the same order id."""


class Payments(Protocol):
    """The port. Both calls are idempotent by order id, which is the provider's idempotency key.

    A refund closes the payment: once it has returned, no charge for this order can take effect any more, not even one
    that is under way; that one meets Declined. tests/test_payments.py is the contract that every provider passes.
    """

    def charge(self, order_id: str, amount: Decimal, currency: str) -> Charged | Declined:
        """Take the money of an order, once. Raises PaymentUnknown."""
        ...

    def refund(self, order_id: str) -> Refunded | NothingToRefund:
        """Give back all that was taken for an order, once, and close its payment. Raises PaymentUnknown."""
        ...
