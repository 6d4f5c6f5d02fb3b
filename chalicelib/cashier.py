"""Many payments at once: the provider is asked side by side, and what it does not answer in time is unknown."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, TypeVar

from chalicelib import telemetry
from chalicelib.order import Order
from chalicelib.payments import Charged, Declined, NothingToRefund, Payments, PaymentUnknown, Refunded

T = TypeVar("T")

PATIENCE = 3.0
"""Seconds that a batch waits for its payments."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """No clear answer, so neither yes nor no: to be asked again, with the same order id."""

    reason: str


@dataclass(frozen=True)
class Cashier:
    """Payments of whole batches. `pool` is kept: threads made anew for each batch cost as much as the calls."""

    payments: Payments
    pool: Executor
    patience: float = PATIENCE

    def charge(self, orders: Sequence[Order]) -> list[Charged | Declined | Unknown]:
        """An answer for each order, in their order."""
        payments = self.payments
        return self._ask(orders, lambda order: payments.charge(order.order_id, order.total_amount, order.currency))

    def refund(self, orders: Sequence[Order]) -> list[Refunded | NothingToRefund | Unknown]:
        """An answer for each order, in their order."""
        return self._ask(orders, lambda order: self.payments.refund(order.order_id))

    def _ask(self, orders: Sequence[Order], call: Callable[[Order], T]) -> list[T | Unknown]:
        futures: list[Future[T]] = [self.pool.submit(call, order) for order in orders]
        until = time.monotonic() + self.patience
        return [_answer(future, max(0.0, until - time.monotonic())) for future in futures]


def _answer(future: Future[Any], patience: float) -> Any:
    try:
        return future.result(patience)
    except TimeoutError:
        # One that has not begun need not begin any more: a hanging provider must not gather a queue of calls.
        future.cancel()
        return Unknown("the payment provider did not answer in time")
    except PaymentUnknown as fault:
        return Unknown(str(fault))
    except Exception as fault:  # noqa: BLE001 - whatever a provider's client raises, it is no clear answer
        telemetry.exception("payment provider failed")
        return Unknown(f"the payment provider failed: {type(fault).__name__}")
