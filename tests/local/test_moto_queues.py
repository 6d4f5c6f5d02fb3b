"""The queues of the embedded AWS: moto's answers, without a walk over the backlog."""

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from moto.sqs import models
from moto.sqs.exceptions import ReceiptHandleIsInvalid
from moto.sqs.models import Message, SQSBackend

from local import moto_queues
from local.moto_fixes import Guards
from tests.local.calls import calls_of

QUEUE = "queue"
ACCOUNT, REGION = "123456789012", "eu-west-1"


@pytest.fixture
def sqs() -> Iterator[SQSBackend]:
    with Guards().installed():
        backend = SQSBackend(REGION, ACCOUNT)
        backend.create_queue(QUEUE)
        yield backend


def receive(sqs: SQSBackend, count: int = 10, hidden_for: int = 60) -> list[Message]:
    received = sqs.receive_message(QUEUE, count, 0, hidden_for, ["All"])
    assert isinstance(received, list)
    return received


def handle(message: Message) -> str:
    assert message.receipt_handle is not None
    return message.receipt_handle


OPERATIONS: dict[str, Callable[[SQSBackend, Message], object]] = {
    "send": lambda sqs, _: sqs.send_message(QUEUE, "sent"),
    "receive": lambda sqs, _: receive(sqs, 1),
    "delete": lambda sqs, message: sqs.delete_message(QUEUE, handle(message)),
    "hide": lambda sqs, message: sqs.change_message_visibility(QUEUE, handle(message), 60),
    "count": lambda sqs, _: sqs.get_queue_attributes(QUEUE, ["All"]),
    "wait": lambda sqs, _: sqs.get_queue(QUEUE).wait_for_messages(0),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_operation_costs_more_with_a_backlog(sqs: SQSBackend, operation: str) -> None:
    def cost(backlog: int) -> int:
        """With so many messages waiting, and as many in flight."""
        sqs.purge_queue(QUEUE)
        for number in range(2 * backlog):
            sqs.send_message(QUEUE, str(number))
        in_flight = [message for _ in range(backlog // 10) for message in receive(sqs)]
        return calls_of(lambda: OPERATIONS[operation](sqs, in_flight[-1]))

    cost(10)  # the first call of some functions does more
    # The heap of hidden messages grows by its logarithm.
    assert cost(400) < cost(10) + 50


def test_a_handle_that_no_queue_gave_is_refused(sqs: SQSBackend) -> None:
    with pytest.raises(ReceiptHandleIsInvalid):
        sqs.delete_message(QUEUE, "nonsense")
    sqs.send_message(QUEUE, "sent")
    [message] = receive(sqs)
    sqs.delete_message(QUEUE, handle(message))
    sqs.delete_message(QUEUE, handle(message))
    with pytest.raises(ReceiptHandleIsInvalid):
        sqs.change_message_visibility(QUEUE, handle(message), 0)


class LikeMoto(RuleBasedStateMachine):
    """Every answer is the one of moto's own queue, whatever happened before and however much time passed."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1_000.0
        self._sent = 0
        self._handles: list[tuple[str, str]] = []
        self._clock = patch.multiple(models, unix_time_millis=lambda: self._now, unix_time=lambda: self._now / 1000)
        self._clock.start()
        self._own_clock = patch.object(moto_queues, "unix_time_millis", lambda: self._now)
        self._own_clock.start()

    @initialize()
    def make_both(self) -> None:
        self.backend = SQSBackend(REGION, ACCOUNT)
        self.moto, dead = self.backend.create_queue(QUEUE), self.backend.create_queue("dead")
        with moto_queues.indexed_queues():
            backend = SQSBackend(REGION, ACCOUNT)
            indexed, indexed_dead = backend.create_queue(QUEUE), backend.create_queue("dead")
        assert isinstance(indexed, moto_queues.IndexedQueue)
        self.indexed = indexed
        self.dead = (dead, indexed_dead)
        for queue, its_dead in ((self.moto, dead), (self.indexed, indexed_dead)):
            queue.dead_letter_queue = its_dead
            queue.redrive_policy = {"maxReceiveCount": 3}

    @rule(delay=st.sampled_from([0, 0, 0, 2]))
    def send(self, delay: int) -> None:
        if self._sent - len(self._handles) >= 10:
            return  # so that one receive takes all that is visible
        self._sent += 1
        for queue in (self.moto, self.indexed):
            message = Message(str(self._sent), f"body {self._sent}")
            message.mark_sent(delay)
            queue.add_message(message)

    @rule(seconds=st.integers(0, 5))
    def pass_time(self, seconds: int) -> None:
        self._now += seconds * 1000 + 1

    @rule(hidden_for=st.integers(0, 4))
    def receive(self, hidden_for: int) -> None:
        expected = self.backend.receive_message(QUEUE, 1_000, 0, hidden_for, [])
        received = self.indexed.receive(1_000, hidden_for, [])
        assert sorted(_facts(message) for message in received) == sorted(_facts(message) for message in expected)
        handles = {message.id: handle(message) for message in received}
        self._handles += [(handle(message), handles[message.id]) for message in expected]

    @rule(data=st.data(), seconds=st.integers(0, 4))
    def hide(self, data: st.DataObject, seconds: int) -> None:
        if self._handles:
            theirs, own = data.draw(st.sampled_from(self._handles))
            expected = _outcome(lambda: self.backend.change_message_visibility(QUEUE, theirs, seconds))
            assert _outcome(lambda: self.indexed.change_visibility(own, seconds)) == expected

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        if self._handles:
            theirs, own = data.draw(st.sampled_from(self._handles))
            _outcome(lambda: self.moto.delete_message(theirs))  # moto refuses for a dead letter; SQS does not
            self.indexed.delete_message(own)

    @rule()
    def count(self) -> None:
        for own, expected in ((self.indexed, self.moto), (self.dead[1], self.dead[0])):
            assert own.approximate_number_of_messages == expected.approximate_number_of_messages
            assert own.approximate_number_of_messages_not_visible == expected.approximate_number_of_messages_not_visible
            assert own.approximate_number_of_messages_delayed == expected.approximate_number_of_messages_delayed

    def teardown(self) -> None:
        self._clock.stop()
        self._own_clock.stop()


def _facts(message: Message) -> tuple[Any, ...]:
    first = message.approximate_first_receive_timestamp
    return message.id, message.body, message.approximate_receive_count, first, message.sent_timestamp


def _outcome(do: Callable[[], object]) -> str:
    try:
        do()
    except ReceiptHandleIsInvalid:
        return "invalid"
    return "done"


TestLikeMoto = LikeMoto.TestCase
TestLikeMoto.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
