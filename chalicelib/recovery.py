"""Recovery: an order whose message was never sent, or died, is taken up again by itself."""

from dataclasses import dataclass

from chalicelib import telemetry
from chalicelib.changes import pushed_on
from chalicelib.deadline import Deadline
from chalicelib.faults import Rejected, Unavailable
from chalicelib.order import Order
from chalicelib.queues import Queue
from chalicelib.refusals import Committed
from chalicelib.repository import Repository
from chalicelib.times import Clock

_AT_ONCE = 10


@dataclass(frozen=True)
class Recovery:
    """The use case behind the schedule."""

    repository: Repository
    queue: Queue
    clock: Clock

    def recover(self, deadline: Deadline) -> int:
        """Send a message for every order whose mark is overdue; how many were sent. Raises Unavailable, Rejected.

        What there is no time for stays overdue, and is the next run's.
        """
        sent = 0
        now = self.clock()
        for order_ids in self.repository.overdue(now):
            for start in range(0, len(order_ids), _AT_ONCE):
                if deadline.has_come:
                    return self._told(sent)
                sent += self._take_up(order_ids[start : start + _AT_ONCE])
        telemetry.count("OrdersOverdue", self.repository.count_late())
        return self._told(sent)

    def _take_up(self, order_ids: list[str]) -> int:
        # Pushed on first, then sent: a crash between the two costs a minute. The other way round two runs at once
        # would both send, and a message that kills its reader would be sent again and again without a pause.
        taken = [order for order in self.repository.get_all(order_ids) if self._push_on(order)]
        try:
            sent = self.queue.send_orders(taken)
        except (Unavailable, Rejected) as fault:
            telemetry.warning("overdue orders not sent", count=len(taken), reason=str(fault))
            return 0
        telemetry.count("OrdersRecovered", len(sent))
        for order in sent:
            telemetry.info("order recovered", orderId=order.order_id, status=order.status.value)
        return len(sent)

    def _push_on(self, order: Order) -> bool:
        now = self.clock()
        if order.mark is None or order.mark.due_at > now:
            return False
        try:
            return isinstance(self.repository.commit([pushed_on(order, order.mark, now)]), Committed)
        except (Unavailable, Rejected) as fault:
            # This one's turn comes again; those that are pushed on already must be sent, and the others taken up.
            telemetry.warning("overdue order not taken up", orderId=order.order_id, reason=str(fault))
            return False

    @staticmethod
    def _told(sent: int) -> int:
        if sent:
            telemetry.info("overdue orders sent", count=sent)
        return sent
