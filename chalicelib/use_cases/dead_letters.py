"""Messages that cannot be handled: kept with the reason, replayed by `recover` or by people, and deleted by people."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from chalicelib import telemetry
from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.domain.changes import ensure_entry
from chalicelib.faults import Rejected, Unavailable
from chalicelib.times import Clock
from chalicelib.use_cases.committing import Applied, BatchCommitter
from chalicelib.use_cases.in_flight import InFlight
from chalicelib.use_cases.letters import DeadLetter, Kind, attributes
from chalicelib.use_cases.ports import Message, Orders, Queue

MAX_REPLAYED = 100
"""Dead letters that one call replays at most."""

_MAX_LOOKED_AT = 1000
"""Dead letters that one call goes through in search of those that are wanted."""

_HIDDEN_FROM_PEOPLE = 20
"""Seconds for which the automatic replay may hide a letter from an operator's command."""

_REFUSED_AS_SUCH = frozenset({"InvalidMessageContents", "InvalidParameterValue"})


@dataclass(frozen=True)
class DeadLetters:
    """The queue of dead letters, and the one that they came from."""

    queue: Queue
    order_queue: Queue
    orders: Orders
    committer: BatchCommitter
    clock: Clock

    def keep(self, message: Message, kind: Kind, reason: str) -> None:
        """Keep a message as it came; why and its origin are its attributes. Raises Unavailable, Rejected."""
        own = attributes(message, kind, reason)
        order_id = own.get("orderId", "")
        try:
            self.queue.send(message.body, own)
        except (Unavailable, Rejected) as fault:
            # One of the largest size has no room for attributes: SQS will redrive it, and this line alone says why.
            ids = {"messageId": message.message_id, "orderId": order_id}
            telemetry.warning("message not quarantined", **ids, reason=reason, fault=str(fault))
            raise
        telemetry.count("MessagesQuarantined", reason=kind.value)
        telemetry.warning(
            "message quarantined", messageId=message.message_id, orderId=order_id, kind=kind.value, reason=reason
        )

    @contextmanager
    def receiving(self, visibility_timeout: int) -> Iterator[InFlight]:
        """Dead letters to look at, each hidden for so many seconds; released however it ends."""
        in_flight = InFlight(self.queue, visibility_timeout)
        try:
            yield in_flight
        finally:
            in_flight.release()

    def replay(self, in_flight: InFlight, letter: DeadLetter) -> bool:
        """Send a dead letter to the order queue again, then delete it here. Raises Unavailable, Rejected.

        In this order: a crash in between leaves a duplicate, which the consumer finds done, and never a loss.
        False: the order queue refuses the message itself, and it stays where it is.
        """
        ids = {"messageId": letter.message_id, "orderId": letter.order_id, "reason": letter.reason}
        try:
            self.order_queue.send(letter.body, letter.replayed_by(in_flight.run))
        except Rejected as fault:
            if fault.code not in _REFUSED_AS_SUCH:
                raise
            telemetry.warning("message not replayed", **ids, fault=str(fault))
            return False
        in_flight.remove([letter])
        telemetry.count("MessagesReplayed")
        telemetry.info("message replayed", **ids)
        return True

    def replay_all(
        self,
        limit: int,
        wanted: Callable[[DeadLetter], bool] = lambda _: True,
        visibility_timeout: int = 60,
        deadline: Deadline = NO_DEADLINE,
    ) -> list[DeadLetter]:
        """Replay up to `limit` of the first 1000 dead letters that are wanted; which they were.

        What is not wanted stays hidden until the end, so that it is not received twice, and is then released. Raises
        Unavailable, Rejected.
        """
        replayed: list[DeadLetter] = []
        with self.receiving(visibility_timeout) as in_flight:
            for letter in in_flight.letters(_MAX_LOOKED_AT):
                if deadline.has_passed:
                    break
                if wanted(letter) and self.replay(in_flight, letter):
                    replayed.append(letter)
                if len(replayed) == limit:
                    break
        return replayed

    def replay_due(self, deadline: Deadline) -> int:
        """Replay what no person is needed for, once its time has come; how many. Raises Unavailable, Rejected."""
        now = self.clock()

        def due(letter: DeadLetter) -> bool:
            return letter.next_replay_at is not None and letter.next_replay_at <= now

        return len(self.replay_all(MAX_REPLAYED, due, _HIDDEN_FROM_PEOPLE, deadline))

    def purge(self, in_flight: InFlight, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Delete them for good; which they were. Raises Unavailable, Rejected.

        First the order of each, if it exists, gets an outbox entry: whatever the message was to bring about, `recover`
        does. Where that fails the letter stays.
        """
        purged = [letter for letter in letters if not letter.order_id or self._is_left_to_recovery(letter.order_id)]
        in_flight.remove(purged)
        return purged

    def _is_left_to_recovery(self, order_id: str) -> bool:
        """Whether the order has an outbox entry now, or does not exist."""
        try:
            order = self.orders.get(order_id)
        except (Unavailable, Rejected):
            return False
        if order is None:
            return True
        (result,) = self.committer.commit_each([ensure_entry(order, self.clock())])
        return isinstance(result, Applied)
