"""The consumer's part where a state machine runs the saga: it starts an execution for each order."""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from chalicelib import telemetry
from chalicelib.deadline import Deadline
from chalicelib.domain.changes import ensure_entry
from chalicelib.domain.order import Status
from chalicelib.faults import Rejected, Unavailable
from chalicelib.use_cases.fulfilment import Fulfilment
from chalicelib.use_cases.ports import Execution, Executions, Orders
from chalicelib.use_cases.saga import Delivery, Done, Outcome, Retry, SagaItem, all_in_time, commit_step, in_status

_NAMESPACE = uuid.UUID("5b7a5c9e-6f0b-5d53-9d1c-2a4f8f0c7e21")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


@dataclass(frozen=True)
class Starting:
    """Stands in for `Fulfilment` in the consumer.

    A message is done once the execution of its order is started: from then on the outbox entry alone says that work may
    be left, and if the execution stops, `recover` sends another message. An order without an entry is owed by its
    message alone. Mostly all that can be left of it is its last step, which is done here, while the message is there
    to come again; one that has not come so far (`ops payments reconcile` sends it) is given an entry, and started.
    """

    orders: Orders
    fulfilment: Fulfilment
    executions: Executions

    def fulfil(self, deliveries: Sequence[Delivery], deadline: Deadline) -> list[Outcome]:
        """An outcome for each, in their order. An order is named once."""
        items = [SagaItem(delivery, delivery.order) for delivery in deliveries]
        if all_in_time(items, deadline):
            producers = [item for item in items if item.delivery.payment_key is None]
            gone = self._look_up([item for item in items if item.delivery.payment_key])
            self.fulfilment.create([*producers, *gone], deadline)
            on_their_way = in_status(items, Status.PENDING, Status.RESERVED)
            self._give_entries([item for item in on_their_way if not item.order.outbox], deadline)
            going_on = [item for item in items if item.outcome is None]
            self._start([item for item in going_on if item.order.outbox], deadline)
            self.fulfilment.complete([item for item in going_on if not item.order.outbox], deadline)
        return [item.outcome or Done() for item in items]

    def _look_up(self, items: Sequence[SagaItem]) -> list[SagaItem]:
        """From now on each order counts as it is stored; those that are gone."""
        try:
            stored = {order.order_id: order for order in self.orders.get_all([item.order.order_id for item in items])}
        except (Unavailable, Rejected) as fault:
            for item in items:
                item.outcome = Retry(str(fault))
            return []
        gone: list[SagaItem] = []
        for item in items:
            if order := stored.get(item.order.order_id):
                item.found(order)
            else:
                gone.append(item)
        return gone

    def _give_entries(self, items: Sequence[SagaItem], deadline: Deadline) -> None:
        if all_in_time(items, deadline):
            entries = [ensure_entry(item.order, self.fulfilment.clock()) for item in items]
            commit_step(self.fulfilment.committer, items, entries, deadline)

    def _start(self, items: Sequence[SagaItem], deadline: Deadline) -> None:
        if not all_in_time(items, deadline):
            return
        executions = [_execution(item) for item in items]
        failed = self.executions.start(executions, deadline)
        for item, execution in zip(items, executions, strict=True):
            if reason := failed.get(execution.order_id):
                item.outcome = Retry(reason)
            else:
                telemetry.info("execution started", orderId=execution.order_id, execution=execution.name)


def _execution(item: SagaItem) -> Execution:
    """Its name is the payment's and the message's: a message that is received again starts nothing, any other one does.

    At most 80 letters, digits, `-` and `_` (AWS Step Functions API Reference, "StartExecution").
    """
    order = item.order
    payment, message = order.payment_key.rpartition(".")[2], item.delivery.message_id
    return Execution(f"{_as_uuid(payment)}_{_as_uuid(message)}", order.order_id, order.payment_key)


def _as_uuid(text: str) -> str:
    return text if _UUID.fullmatch(text) else str(uuid.uuid5(_NAMESPACE, text))
