"""Many payments at once: the provider is asked side by side, and what it does not answer in time is unknown."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, TypeVar

from chalicelib import telemetry
from chalicelib.domain.order import Order
from chalicelib.domain.outcomes import Charged, Declined, NothingToRefund, Refunded, RefundPending, Unknown
from chalicelib.faults import PaymentUnknown
from chalicelib.use_cases.ports import Payments

T = TypeVar("T")

TIMEOUT = 3.0
"""Seconds that a batch waits for its payments."""


@dataclass(frozen=True)
class BatchPayments:
    """Payments of whole batches. `pool` is kept: making threads for each batch costs as much as the calls."""

    payments: Payments
    pool: Executor
    timeout: float = TIMEOUT

    def charge(self, orders: Sequence[Order]) -> list[Charged | Declined | Unknown]:
        """An answer for each order, in their order."""
        return self._ask(orders, self._charge)

    def refund(self, orders: Sequence[Order]) -> list[Refunded | RefundPending | NothingToRefund | Unknown]:
        """An answer for each order, in their order."""
        return self._ask(orders, lambda order: self.payments.refund(order.payment_key))

    def _charge(self, order: Order) -> Charged | Declined:
        key, amount, method = order.payment_key, order.total_amount, order.payment_method
        return self.payments.charge(key, amount, order.currency, method=method, customer_id=order.customer_id)

    def _ask(self, orders: Sequence[Order], call: Callable[[Order], T]) -> list[T | Unknown]:
        futures: list[Future[T]] = [self.pool.submit(call, order) for order in orders]
        until = time.monotonic() + self.timeout
        return [_answer(future, max(0.0, until - time.monotonic())) for future in futures]


def _answer(future: Future[Any], timeout: float) -> Any:
    try:
        return future.result(timeout)
    except TimeoutError:
        # One that has not begun need not begin any more: calls must not queue up behind a provider that hangs.
        future.cancel()
        return Unknown("the payment provider did not answer in time")
    except PaymentUnknown as fault:
        return Unknown(str(fault))
    except Exception as fault:  # noqa: BLE001 - whatever a provider's client raises, that is not a clear answer
        telemetry.exception("payment provider failed")
        return Unknown(f"the payment provider failed: {type(fault).__name__}")
