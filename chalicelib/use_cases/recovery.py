"""Recovery: an order whose message was never sent, or was lost, is retried by itself."""

from dataclasses import dataclass

from chalicelib import telemetry
from chalicelib.deadline import Deadline
from chalicelib.domain.changes import back_off
from chalicelib.domain.order import Order
from chalicelib.domain.outcomes import Committed
from chalicelib.faults import Rejected, Unavailable
from chalicelib.times import Clock
from chalicelib.use_cases.ports import BATCH_SIZE, Orders, Queue


@dataclass(frozen=True)
class Recovery:
    """The use case behind the schedule."""

    orders: Orders
    queue: Queue
    clock: Clock

    def recover(self, deadline: Deadline) -> int:
        """Send a message for each order with an overdue outbox entry; how many were sent. Raises Unavailable, Rejected.

        What there is no time for stays overdue until the next run.
        """
        sent = 0
        now = self.clock()
        for order_ids in self.orders.overdue(now):
            for start in range(0, len(order_ids), BATCH_SIZE):
                if deadline.has_passed:
                    return self._report(sent)
                sent += self._retry(order_ids[start : start + BATCH_SIZE])
        telemetry.count("OrdersOverdue", self.orders.count_late())
        return self._report(sent)

    def _retry(self, order_ids: list[str]) -> int:
        # Backed off first, then sent: a crash between the two costs a minute. The other way round two runs at once
        # would both send, and a message that kills its reader would be sent again and again without a pause.
        due = [order for order in self.orders.get_all(order_ids) if self._back_off(order)]
        try:
            sent = self.queue.enqueue(due)
        except (Unavailable, Rejected) as fault:
            telemetry.warning("overdue orders not sent", count=len(due), reason=str(fault))
            return 0
        telemetry.count("OrdersRecovered", len(sent))
        for order in sent:
            telemetry.info("order recovered", orderId=order.order_id, status=order.status.value)
        return len(sent)

    def _back_off(self, order: Order) -> bool:
        now = self.clock()
        if order.outbox is None or order.outbox.due_at > now:
            return False
        try:
            return isinstance(self.orders.commit([back_off(order, order.outbox, now)]), Committed)
        except (Unavailable, Rejected) as fault:
            # This one's turn comes again; those that are backed off already must be sent, and the others retried.
            telemetry.warning("overdue order not retried", orderId=order.order_id, reason=str(fault))
            return False

    @staticmethod
    def _report(sent: int) -> int:
        if sent:
            telemetry.info("overdue orders sent", count=sent)
        return sent
