"""A batch of messages: each is parsed, its order fulfilled, and each is acknowledged by its own outcome."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from chalicelib import telemetry
from chalicelib.dead_letters import DeadLetters
from chalicelib.deadline import Deadline
from chalicelib.exact_json import InvalidJson, loads
from chalicelib.faults import Rejected, Unavailable
from chalicelib.fulfilment import Fulfilment
from chalicelib.idempotency import fingerprint
from chalicelib.order import LineItem, Order, new_order
from chalicelib.queues import STORED, Queue
from chalicelib.times import Clock
from chalicelib.validation import Invalid, OrderCreated, order_created
from chalicelib.work import Assignment, Done, Never, Outcome, TryAgain

_CLOCKS_DIFFER = timedelta(days=1)


class MessagesLeft(Exception):
    """Some messages of the batch are to come again; all the others are deleted already."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as SQS hands it to a Lambda function. `sent_at` is epoch milliseconds, as text."""

    message_id: str
    receipt_handle: str
    body: str
    receive_count: int
    sent_at: str
    attributes: Mapping[str, str]


def message_of(record: Mapping[str, Any]) -> Message:
    """A record of an SQS event."""
    system = record.get("attributes", {})
    own = record.get("messageAttributes", {})
    return Message(
        record["messageId"],
        record["receiptHandle"],
        record["body"],
        int(system.get("ApproximateReceiveCount", 1)),
        system.get("SentTimestamp", ""),
        {name: value["stringValue"] for name, value in own.items() if "stringValue" in value},
    )


@dataclass(frozen=True)
class Consumer:
    """The use case behind the queue's Lambda function."""

    fulfilment: Fulfilment
    queue: Queue
    dead_letters: DeadLetters
    clock: Clock
    currency: str
    max_receives: int
    random: Callable[[], float] = random.random

    def consume(self, records: Sequence[Mapping[str, Any]], deadline: Deadline) -> None:
        """Work on a batch, then acknowledge it. Raises MessagesLeft where some of it is to come again.

        Raising is safe whatever the event source mapping says, since what succeeded is deleted first. Returning the
        failed ones is not: unless the mapping reports batch item failures, every one of them would be deleted.
        """
        messages = [message_of(record) for record in records]
        outcomes = self._outcomes(messages, deadline)
        left = [m for m in messages if not self._settled(m, outcomes[m.message_id])]
        if left:
            self._delete([message for message in messages if message not in left])
            self._hide(left)
            raise MessagesLeft(f"{len(left)} of {len(messages)} messages are to come again")

    def _outcomes(self, messages: Sequence[Message], deadline: Deadline) -> dict[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        first: dict[str, Assignment] = {}
        waiting: dict[str, list[str]] = {}
        for message in messages:
            try:
                assignment = self._assignment(message)
            except (InvalidJson, Invalid) as fault:
                outcomes[message.message_id] = Never(str(fault))
                continue
            order = assignment.order
            telemetry.info(
                "message received",
                messageId=message.message_id,
                orderId=order.order_id,
                correlationId=order.correlation_id,
                receiveCount=message.receive_count,
            )
            # The same order twice is one order with two messages; of unlike contents the first is tried.
            if first.setdefault(order.order_id, assignment).order.fingerprint == order.fingerprint:
                waiting.setdefault(order.order_id, []).append(message.message_id)
            else:
                outcomes[message.message_id] = TryAgain("another order of this id is in the same batch")
        for order_id, outcome in zip(first, self._fulfilled(list(first.values()), deadline), strict=True):
            outcomes |= dict.fromkeys(waiting[order_id], outcome)
        return outcomes

    def _fulfilled(self, assignments: list[Assignment], deadline: Deadline) -> list[Outcome]:
        """An outcome for each. A fault that nobody expected is one order's: the others must not pay for it."""
        try:
            return self.fulfilment.fulfil(assignments, deadline)
        except Exception as fault:  # noqa: BLE001 - whatever it is, each message must come to an outcome of its own
            ids = [assignment.order.order_id for assignment in assignments]
            telemetry.exception("fulfilment failed", orderIds=ids)
            if len(assignments) == 1:
                return [TryAgain(f"an unexpected fault: {type(fault).__name__}")]
        # Every step is idempotent, so each alone goes on from where it stands.
        return [
            TryAgain("no time left") if deadline.has_come else self._fulfilled([assignment], deadline)[0]
            for assignment in assignments
        ]

    def _assignment(self, message: Message) -> Assignment:
        event = order_created(loads(message.body), self.currency)
        last = message.receive_count >= self.max_receives
        return Assignment(self._order(event), event.request, stored=STORED in message.attributes, last=last)

    def _order(self, event: OrderCreated) -> Order:
        """The order as it stood when the message was sent: PENDING, if it stood at all."""
        request = event.request
        prices = {line.product_id: line for line in request.lines}
        return new_order(
            order_id=event.order_id,
            customer_id=request.customer_id,
            items=tuple(
                LineItem(product_id, units, prices[product_id].unit_price, prices[product_id].product_name)
                for product_id, units in request.quantities.items()
            ),
            total_amount=request.total_amount,
            currency=request.currency,
            shipping_address=request.shipping_address,
            created_at=self._created_at(event),
            fingerprint=fingerprint(request.content),
            correlation_id=event.correlation_id,
        )

    def _created_at(self, event: OrderCreated) -> datetime:
        """What the producer says, unless it lies in the future by more than clocks may differ."""
        now = self.clock()
        return event.created_at if event.created_at and event.created_at - now <= _CLOCKS_DIFFER else now

    def _settled(self, message: Message, outcome: Outcome) -> bool:
        """Whether the message may be deleted: its order is done, or it is kept among the dead letters."""
        match outcome:
            case Done():
                return True
            case Never(reason):
                return self._quarantined(message, reason)
            case TryAgain(reason) if message.receive_count >= self.max_receives:
                return self._quarantined(message, reason)
            case TryAgain(reason):
                telemetry.count("MessagesRetried")
                telemetry.warning("message to come again", messageId=message.message_id, reason=reason)
                return False

    def _quarantined(self, message: Message, reason: str) -> bool:
        try:
            self.dead_letters.keep(message.body, message.message_id, message.receive_count, message.sent_at, reason)
        except (Unavailable, Rejected) as fault:
            # Then it comes again, and SQS's own redrive is the backstop.
            telemetry.warning("dead letter not kept", messageId=message.message_id, reason=str(fault))
            return False
        return True

    def _delete(self, messages: Sequence[Message]) -> None:
        if messages:
            try:
                self.queue.delete([message.receipt_handle for message in messages])
            except (Unavailable, Rejected) as fault:
                # They come again, and are found done.
                telemetry.warning("messages not deleted", reason=str(fault))

    def _hide(self, messages: Sequence[Message]) -> None:
        """The next try comes after about 2, 4, 8, 16 … seconds, by the number of receives, give or take a quarter."""
        delays = {m.receipt_handle: self._delay(m.receive_count) for m in messages}
        try:
            self.queue.delay(delays)
        except (Unavailable, Rejected) as fault:
            # They come again all the same, when the queue's own visibility timeout is over.
            telemetry.warning("messages not delayed", reason=str(fault))

    def _delay(self, receives: int) -> int:
        return max(1, round(float(2 ** min(receives, 9)) * (0.75 + self.random() / 2)))
