"""Many payments at once: the provider is asked side by side, and what it does not answer in time is unknown."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, TypeVar

from chalicelib import telemetry
from chalicelib.deadline import Deadline
from chalicelib.domain.order import Order
from chalicelib.domain.outcomes import Charged, Declined, NothingToRefund, Refunded, RefundPending, Unknown
from chalicelib.faults import PaymentUnknown
from chalicelib.use_cases.ports import Payments

T = TypeVar("T")

SHORTEST_WAIT = 1.0
"""Seconds: with less time left, no payment begins."""

_LATEST_BEGIN = 0.75
"""Of the wait: what begins later, its process would hardly see the end of."""

_NO_TIME = "no time left for the payment"


@dataclass(frozen=True)
class BatchPayments:
    """Payments of whole batches. `pool` is kept: making threads for each batch costs as much as the calls.

    `patience`: the seconds that a batch waits for its payments, or fewer, so that what they lead to can be written. A
    call that takes longer goes on, and its answer is in the ledger when it is asked again. `clock` is in seconds.
    """

    payments: Payments
    pool: Executor
    patience: float
    clock: Callable[[], float] = time.monotonic

    def charge(self, orders: Sequence[Order], deadline: Deadline) -> list[Charged | Declined | Unknown]:
        """An answer for each order, in their order."""
        return self._ask(orders, self._charge, deadline)

    def refund(
        self, orders: Sequence[Order], deadline: Deadline
    ) -> list[Refunded | RefundPending | NothingToRefund | Unknown]:
        """An answer for each order, in their order."""
        return self._ask(orders, lambda order: self.payments.refund(order.payment_key), deadline)

    def _charge(self, order: Order) -> Charged | Declined:
        key, amount, method = order.payment_key, order.total_amount, order.payment_method
        return self.payments.charge(key, amount, order.currency, method=method, customer_id=order.customer_id)

    def _ask(self, orders: Sequence[Order], call: Callable[[Order], T], deadline: Deadline) -> list[T | Unknown]:
        wait, began = deadline.patience(self.patience), self.clock()
        if wait < min(SHORTEST_WAIT, self.patience):
            return [Unknown(_NO_TIME) for _ in orders]
        latest, until = began + _LATEST_BEGIN * wait, began + wait
        # Each in the context of this invocation: what they log and count is its own.
        futures: list[Future[T]] = [
            self.pool.submit(copy_context().run, self._begin, call, latest, order) for order in orders
        ]
        return [_answer(future, max(0.0, until - self.clock())) for future in futures]

    def _begin(self, call: Callable[[Order], T], latest: float, order: Order) -> T:
        # Calls must not queue up behind a provider that hangs.
        if self.clock() > latest:
            raise PaymentUnknown(_NO_TIME)
        return call(order)


def _answer(future: Future[Any], timeout: float) -> Any:
    try:
        return future.result(timeout)
    except TimeoutError:
        return Unknown("the payment provider did not answer in time")
    except PaymentUnknown as fault:
        return Unknown(str(fault))
    except Exception as fault:  # noqa: BLE001 - whatever a provider's client raises, that is not a clear answer
        telemetry.exception("payment provider failed")
        return Unknown(f"the payment provider failed: {type(fault).__name__}")
