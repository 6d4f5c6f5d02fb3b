"""What is owed once an order is CONFIRMED, has ended, or is on its way to the customer: refund, events, outbox."""

from collections.abc import Sequence
from dataclasses import dataclass

from chalicelib import telemetry
from chalicelib.deadline import Deadline
from chalicelib.domain import changes
from chalicelib.domain.changes import OutboxUpdate
from chalicelib.domain.order import Order, Refund, Status
from chalicelib.domain.outcomes import NothingToRefund, Refunded, RefundPending, Unknown
from chalicelib.domain.pending_refunds import refund_pending
from chalicelib.times import Clock
from chalicelib.use_cases.committing import BatchCommitter, Retryable
from chalicelib.use_cases.paying import BatchPayments
from chalicelib.use_cases.ports import EventBus
from chalicelib.use_cases.saga import Retry, SagaItem, all_in_time

_REFUNDS = {Refunded: Refund.DONE, RefundPending: Refund.PENDING, NothingToRefund: Refund.NONE}


@dataclass(frozen=True)
class Completion:
    """The last step of the saga. All of it is idempotent, and repeated by each delivery that finds it owed."""

    committer: BatchCommitter
    payments: BatchPayments
    event_bus: EventBus
    clock: Clock

    def complete(self, items: Sequence[SagaItem], deadline: Deadline) -> None:
        """Refund, publish, and only then remove the outbox entry; where one of them fails, an entry stays or is set.

        The entries are written even when there is no time for the rest: it is one short write, and without it
        nobody would retry an order whose message is gone.
        """
        refunds: dict[str, Refund] = {}
        owing = [item for item in items if _owes_refund(item.order)]
        if all_in_time(owing, deadline):
            refunds = self._refund(owing, deadline)
        # Published whatever became of the refunds: an event must not wait for a payment provider.
        for order_id, reason in self.event_bus.publish([item.order for item in items], deadline).items():
            _find(items, order_id).outcome = Retry(reason)
        updates = [u for item in items if (u := self._outbox_update(item, refunds.get(item.order.order_id)))]
        for update, result in zip(updates, self.committer.commit_each(updates, deadline), strict=True):
            if isinstance(result, Retryable):
                _find(items, update.order_id).outcome = Retry(result.reason)

    def _refund(self, items: list[SagaItem], deadline: Deadline) -> dict[str, Refund]:
        """What happened to each order's money, by order id. A refund closes the payment, even if nothing was paid."""
        refunds: dict[str, Refund] = {}
        for item, answer in zip(items, self.payments.refund([item.order for item in items], deadline), strict=True):
            if isinstance(answer, Unknown):
                item.outcome = Retry(answer.reason)
                continue
            refunds[item.order.order_id] = _REFUNDS[type(answer)]
            if isinstance(answer, Refunded):
                telemetry.count("PaymentsRefunded")
                telemetry.info("order refunded", orderId=item.order.order_id)
        return refunds

    def _outbox_update(self, item: SagaItem, refund: Refund | None) -> OutboxUpdate | None:
        order = item.order
        if item.outcome is not None:
            return changes.work_left(order, self.clock())
        if refund is Refund.PENDING:
            return refund_pending(order, self.clock())
        # On condition of the entry seen: whoever set another one meanwhile has left new work.
        recorded = refund if order.status is Status.CANCELLED else None
        return changes.work_done(order, order.outbox, recorded) if order.outbox else None


def _owes_refund(order: Order) -> bool:
    """Given up: it may have been charged, by anyone, even if it took no stock (before its table was restored)."""
    return order.status is Status.FAILED or (order.status is Status.CANCELLED and order.refund is Refund.PENDING)


def _find(items: Sequence[SagaItem], order_id: str) -> SagaItem:
    return next(item for item in items if item.order.order_id == order_id)
