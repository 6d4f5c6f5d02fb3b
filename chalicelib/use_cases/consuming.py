"""A batch of messages: the order of each is fulfilled, and each is acknowledged by its own outcome."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from chalicelib import telemetry
from chalicelib.deadline import Deadline
from chalicelib.domain.changes import ensure_entry
from chalicelib.domain.idempotency import UnknownVersion, agrees
from chalicelib.domain.order import Order
from chalicelib.faults import Rejected, Unavailable
from chalicelib.times import Clock
from chalicelib.use_cases.committing import Applied, BatchCommitter, Retryable
from chalicelib.use_cases.dead_letters import DeadLetters
from chalicelib.use_cases.letters import Kind
from chalicelib.use_cases.ports import Message, Orders, Queue
from chalicelib.use_cases.saga import Delivery, Done, Engine, Never, Outcome, ReadMessage, RefusedByOwnSchema, Retry

_MAX_PAUSE = 900
"""Seconds between two receives at most: 15 minutes."""

_UNEXPECTED_RECEIVES = 6
"""Receives after which an unexpected fault ends: a mistake in the program does not pass like an outage."""


class MessagesLeft(Exception):
    """Some messages of the batch will be retried; all the others are deleted already."""


@dataclass(frozen=True)
class Consumer:
    """The use case behind the queue's Lambda function."""

    engine: Engine
    committer: BatchCommitter
    orders: Orders
    queue: Queue
    dead_letters: DeadLetters
    clock: Clock
    max_receives: int
    random: Callable[[], float] = random.random

    def consume(self, batch: Sequence[ReadMessage], deadline: Deadline) -> None:
        """Work on a batch, then acknowledge it. Raises MessagesLeft if some of it will be retried.

        Raising is safe whatever the event source mapping says, since what succeeded is deleted first. Returning the
        failed ones is not: unless the mapping reports batch item failures, every one of them would be deleted.
        """
        outcomes, orders = self._outcomes(batch, deadline)
        if any(isinstance(outcome, Never) for outcome in outcomes.values()):
            telemetry.version_fault()  # a release that refuses good messages would fill the dead letters
        messages = [read.message for read in batch]
        acknowledged = self._acknowledged(messages, outcomes, orders, deadline)
        left = [message for message in messages if message.message_id not in acknowledged]
        if left:
            self._delete([message for message in messages if message.message_id in acknowledged])
            self._hide(left)
            raise MessagesLeft(f"{len(left)} of {len(messages)} messages will be retried")

    def _outcomes(
        self, batch: Sequence[ReadMessage], deadline: Deadline
    ) -> tuple[dict[str, Outcome], dict[str, Order]]:
        """By message id: each message's outcome, and the order of those that were worked on."""
        outcomes: dict[str, Outcome] = {}
        orders: dict[str, Order] = {}
        first: dict[str, Delivery] = {}
        waiting: dict[str, list[Message]] = {}
        for read in batch:
            message, delivery = read.message, self._content(read)
            if isinstance(delivery, Never | Retry):
                outcomes[message.message_id] = delivery
                continue
            order = delivery.order
            _log_received(message, delivery)
            # The same order twice is one order with two messages; if they differ, the first is tried.
            if _means(first.setdefault(order.order_id, delivery)) == _means(delivery):
                waiting.setdefault(order.order_id, []).append(message)
                orders[message.message_id] = order
            else:
                outcomes[message.message_id] = Retry("another order with this id is in the same batch")
        deliveries = [delivery.of_last(waiting[order_id]) for order_id, delivery in first.items()]
        for order_id, outcome in zip(first, self._fulfil(deliveries, deadline), strict=True):
            outcomes |= dict.fromkeys((message.message_id for message in waiting[order_id]), outcome)
        return outcomes, orders

    def _content(self, read: ReadMessage) -> Delivery | Never | Retry:
        if not isinstance(read.content, RefusedByOwnSchema):
            return read.content
        order_id, reason = read.content.order_id, read.content.reason
        telemetry.error("own message refused", messageId=read.message.message_id, orderId=order_id, reason=reason)
        telemetry.version_fault()
        try:
            order = self.orders.get(order_id)
        except (Unavailable, Rejected) as fault:
            return Retry(str(fault))
        last = read.message.receive_count >= self.max_receives
        return Delivery.from_stored(order, last=last, message=read.message) if order else Never(reason)

    def _fulfil(self, deliveries: list[Delivery], deadline: Deadline) -> list[Outcome]:
        """An outcome for each. A fault that nobody expected is one order's: the others must not pay for it."""
        try:
            return self.engine.fulfil(deliveries, deadline)
        except Exception as fault:  # noqa: BLE001 - whatever it is, each message must come to an outcome of its own
            ids = [delivery.order.order_id for delivery in deliveries]
            telemetry.exception("fulfilment failed", orderIds=ids)
            if len(deliveries) == 1:
                telemetry.count("UnexpectedFaults")
                telemetry.version_fault()
                return [Retry(f"an unexpected fault: {type(fault).__name__}", unexpected=True)]
        # Every step is idempotent, so each order alone goes on from where it is.
        return [
            Retry("no time left") if deadline.has_passed else self._fulfil([delivery], deadline)[0]
            for delivery in deliveries
        ]

    def _acknowledged(
        self,
        messages: Sequence[Message],
        outcomes: Mapping[str, Outcome],
        orders: Mapping[str, Order],
        deadline: Deadline,
    ) -> set[str]:
        """The ids of those that may be deleted: its order done or left to recovery, or kept as a dead letter."""

        def left_to_recovery(message: Message) -> bool | None:
            return self._left_to_recovery(message, orders.get(message.message_id), outcomes[message.message_id])

        def quarantined(message: Message) -> bool | None:
            return self._quarantined(message, outcomes[message.message_id])

        given_up = [message for message in messages if self._gives_up(message, outcomes[message.message_id])]
        acknowledged = {m.message_id for m in messages if isinstance(outcomes[m.message_id], Done)}
        acknowledged |= _each(given_up, left_to_recovery, deadline)
        acknowledged |= _each([m for m in given_up if m.message_id not in acknowledged], quarantined, deadline)
        for message in messages:
            outcome = outcomes[message.message_id]
            if isinstance(outcome, Retry) and message not in given_up:
                telemetry.count("MessagesRetried")
                telemetry.warning("message will be retried", messageId=message.message_id, reason=outcome.reason)
        return acknowledged

    def _gives_up(self, message: Message, outcome: Outcome) -> bool:
        if isinstance(outcome, Retry):
            receives = min(_UNEXPECTED_RECEIVES, self.max_receives) if outcome.unexpected else self.max_receives
            return message.receive_count >= receives
        return isinstance(outcome, Never)

    def _left_to_recovery(self, message: Message, order: Order | None, outcome: Outcome) -> bool | None:
        """Whether the order has an outbox entry now: then an outage needs no message, and no person, to end."""
        if order is None or not isinstance(outcome, Retry):
            return False
        # Alone, so that the order comes back as it is: the message may be about another one with its id.
        entry = ensure_entry(order, self.clock(), fault=outcome.reason if outcome.unexpected else None)
        (result,) = self.committer.commit_each([entry])
        if isinstance(result, Retryable):
            return None
        if not isinstance(result, Applied) or not _same(result.order, order):
            return False
        telemetry.count("MessagesLeftToRecovery")
        telemetry.warning("message left to recovery", messageId=message.message_id, reason=outcome.reason)
        return True

    def _quarantined(self, message: Message, outcome: Outcome) -> bool | None:
        assert not isinstance(outcome, Done)
        kind = Kind.NEVER if isinstance(outcome, Never) else Kind.RETRY
        try:
            self.dead_letters.keep(message, kind, outcome.reason)
        except Rejected:
            return False
        except Unavailable:
            return None
        return True

    def _delete(self, messages: Sequence[Message]) -> None:
        if messages:
            try:
                self.queue.delete([message.receipt_handle for message in messages])
            except (Unavailable, Rejected) as fault:
                # They will be received again, and their orders are found done.
                telemetry.warning("messages not deleted", reason=str(fault))

    def _hide(self, messages: Sequence[Message]) -> None:
        """The next try comes after about 2, 4, 8 … seconds, up to 15 minutes, give or take a quarter."""
        seconds: Mapping[str, int] = {m.receipt_handle: self._backoff(m.receive_count) for m in messages}
        try:
            self.queue.change_visibility(seconds)
        except (Unavailable, Rejected) as fault:
            # They are received again when the queue's own visibility timeout is over.
            telemetry.warning("messages not hidden", reason=str(fault))

    def _backoff(self, receives: int) -> int:
        return round(min(1 << min(receives, 20), _MAX_PAUSE) * (0.75 + self.random() / 2))


def _each(messages: Sequence[Message], call: Callable[[Message], bool | None], deadline: Deadline) -> set[str]:
    """The ids of those whose call did what it says. None: a dependency is away.

    After that, and after the first one when the time is over, no more calls are made: the function must live to delete
    what is done. A message that is neither left to recovery nor kept is received again; SQS's redrive is the backstop.
    """
    done: set[str] = set()
    for number, message in enumerate(messages):
        if number and deadline.has_passed:
            break
        answer = call(message)
        if answer is None:
            break
        if answer:
            done.add(message.message_id)
    return done


def _same(existing: Order, order: Order) -> bool:
    try:
        return agrees(existing.fingerprint, order)
    except UnknownVersion:
        return False


def _means(delivery: Delivery) -> tuple[str, bool]:
    return delivery.order.fingerprint, delivery.outdated


def _log_received(message: Message, delivery: Delivery) -> None:
    telemetry.info(
        "message received",
        messageId=message.message_id,
        orderId=delivery.order.order_id,
        correlationId=delivery.order.correlation_id,
        receiveCount=message.receive_count,
    )
