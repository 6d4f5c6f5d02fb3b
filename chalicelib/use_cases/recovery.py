"""Recovery: an order whose message was never sent, or was lost, is retried by itself."""

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextvars import copy_context
from dataclasses import dataclass

from chalicelib import telemetry
from chalicelib.deadline import Deadline
from chalicelib.domain.changes import OutboxUpdate, back_off
from chalicelib.domain.order import Order
from chalicelib.faults import Rejected, Unavailable
from chalicelib.times import Clock
from chalicelib.use_cases.committing import Applied, BatchCommitter, Retryable
from chalicelib.use_cases.dead_letters import DeadLetters
from chalicelib.use_cases.ports import Orders, Queue

SIDE_BY_SIDE = 8
"""Pages of overdue orders that are retried at a time."""

_REPLAYS_EVERY = 15
"""Minutes between two looks at the dead letters."""


@dataclass(frozen=True)
class Recovery:
    """The use case behind the schedule. `pool` runs SIDE_BY_SIDE pages at a time."""

    orders: Orders
    committer: BatchCommitter
    queue: Queue
    dead_letters: DeadLetters
    pool: Executor
    clock: Clock

    def recover(self, deadline: Deadline) -> int:
        """Send a message for each order with an overdue outbox entry; how many were sent. Raises Unavailable, Rejected.

        What there is no time for stays overdue until the next run. Every 15 minutes dead letters are replayed too.
        """
        # Counted before anything is retried: also where nothing can be, somebody must hear of it.
        waiting = self.orders.count_waiting(self.clock())
        telemetry.count("OrdersOverdue", waiting.overdue)
        telemetry.count("RefundsPending", waiting.refunds_pending)
        retried = self._retry_all(deadline)
        for order in retried:
            telemetry.info("order recovered", orderId=order.order_id, status=order.status.value)
        if retried:
            telemetry.count("OrdersRecovered", len(retried))
            telemetry.info("overdue orders sent", count=len(retried))
        if self.clock().minute % _REPLAYS_EVERY == 0:
            self.dead_letters.replay_due(deadline)
        return len(retried)

    def _retry_all(self, deadline: Deadline) -> list[Order]:
        """The orders that were sent. Pages of them are retried SIDE_BY_SIDE, and no more are waiting."""
        pages: list[Future[list[Order]]] = []
        under_way: set[Future[list[Order]]] = set()
        try:
            for order_ids in self.orders.overdue(self.clock()):
                if deadline.has_passed:
                    break
                pages.append(self.pool.submit(copy_context().run, self._retry, order_ids, deadline))
                under_way.add(pages[-1])
                if len(under_way) == SIDE_BY_SIDE:
                    _, under_way = wait(under_way, return_when=FIRST_COMPLETED)
        finally:
            wait(under_way)
        return [order for page in pages for order in page.result()]

    def _retry(self, order_ids: Sequence[str], deadline: Deadline) -> list[Order]:
        """Those of a page that were sent."""
        # Backed off first, then sent: a crash between the two costs a minute. The other way round two runs at once
        # would both send, and a message that kills its reader would be sent again and again without a pause.
        due: list[Order] = []
        try:
            changes = self._changes(order_ids)
        except (Unavailable, Rejected) as fault:
            telemetry.warning("overdue orders not read", count=len(order_ids), reason=str(fault))
            return []
        for change, result in zip(changes, self.committer.commit_each(changes, deadline), strict=True):
            if isinstance(result, Applied):
                due.append(result.order)
            elif isinstance(result, Retryable):
                # This one's turn comes again; those that are backed off already must be sent.
                telemetry.warning("overdue order not retried", orderId=change.order_id, reason=result.reason)
        try:
            return self.queue.enqueue(due)
        except (Unavailable, Rejected) as fault:
            telemetry.warning("overdue orders not sent", count=len(due), reason=str(fault))
            return []

    def _changes(self, order_ids: Sequence[str]) -> list[OutboxUpdate]:
        now = self.clock()
        return [
            back_off(order, order.outbox, now)
            for order in self.orders.get_all(order_ids)
            if order.outbox is not None and order.outbox.due_at <= now
        ]
