"""What is owed once an order is CONFIRMED, has ended, or is under way to the customer: refund, events, the mark."""

from collections.abc import Sequence
from dataclasses import dataclass

from chalicelib import changes, telemetry
from chalicelib.cashier import Cashier, Unknown
from chalicelib.changes import Remark
from chalicelib.deadline import Deadline
from chalicelib.events import Events
from chalicelib.order import Refund, Status
from chalicelib.payments import Declined, Refunded
from chalicelib.settlement import Settlement, Unsettled
from chalicelib.times import Clock
from chalicelib.work import TryAgain, Work, all_in_time


@dataclass(frozen=True)
class Aftermath:
    """The last step of the saga. All of it is idempotent, and done anew by each delivery that finds it owed."""

    settlement: Settlement
    cashier: Cashier
    events: Events
    clock: Clock

    def see_to(self, works: Sequence[Work], deadline: Deadline) -> None:
        """Refund, publish, and only then take the mark away; where one of them fails, a mark stays or is set.

        The marks are seen to even when there is no time for the rest: it is one short write, and all that is left
        of an order whose message does not come again.
        """
        refunds: dict[str, Refund] = {}
        owing = [work for work in works if _owes_a_refund(work)]
        if all_in_time(owing, deadline):
            refunds = self._refund(owing)
        # Published whatever became of the refunds: an event must not wait for a payment provider.
        for order_id, reason in self.events.publish([work.order for work in works], deadline).items():
            _of(works, order_id).outcome = TryAgain(reason)
        marks = [mark for work in works if (mark := self._mark(work, refunds.get(work.order.order_id)))]
        for mark, settled in zip(marks, self.settlement.settle(marks, deadline), strict=True):
            if isinstance(settled, Unsettled):
                _of(works, mark.order_id).outcome = TryAgain(settled.reason)

    def _refund(self, works: list[Work]) -> dict[str, Refund]:
        """What became of each order's money, by order id. A refund closes the payment, also where nothing was paid."""
        refunds: dict[str, Refund] = {}
        for work, answer in zip(works, self.cashier.refund([work.order for work in works]), strict=True):
            if isinstance(answer, Unknown):
                work.outcome = TryAgain(answer.reason)
                continue
            refunded = isinstance(answer, Refunded)
            refunds[work.order.order_id] = Refund.DONE if refunded else Refund.NONE
            if refunded:
                telemetry.count("PaymentsRefunded")
                telemetry.info("order refunded", orderId=work.order.order_id)
        return refunds

    def _mark(self, work: Work, refund: Refund | None) -> Remark | None:
        order = work.order
        if work.outcome is None:
            # On condition of the mark seen: whoever set another one meanwhile has left new work.
            recorded = refund if order.status is Status.CANCELLED else None
            return changes.work_done(order, order.mark, recorded) if order.mark else None
        return None if order.mark else changes.work_left(order, self.clock())


def _owes_a_refund(work: Work) -> bool:
    """Given up after stock was taken: it may have been charged, by anyone, unless the provider said no just now."""
    order = work.order
    if order.status is Status.FAILED:
        return order.reserved is not None and not isinstance(work.payment, Declined)
    return order.status is Status.CANCELLED and order.refund is Refund.PENDING


def _of(works: Sequence[Work], order_id: str) -> Work:
    return next(work for work in works if work.order.order_id == order_id)
