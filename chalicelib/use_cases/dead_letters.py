"""Messages that cannot be handled: kept with the reason, looked at, and replayed."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from chalicelib import telemetry, times
from chalicelib.exact_json import InvalidJson, loads
from chalicelib.faults import Rejected, Unavailable
from chalicelib.use_cases.ports import BATCH_SIZE, Message, Queue

MAX_REPLAYED = 100
"""Dead letters that one call replays at most."""

_MAX_LOOKED_AT = 1000
"""Dead letters that one call goes through in search of those that are wanted."""

_REFUSED_AS_SUCH = frozenset({"InvalidMessageContents", "InvalidParameterValue"})

_MAX_REASON_LENGTH = 500
_PATIENCE, _EMPTY, _KNOWN = 30, 10, 1
"""A receive may find nothing though there is something: SQS asks only some of its servers. So three empty ones in a row
end the search; one with only known messages counts a tenth of that."""

UNKNOWN_REASON = "redriven by SQS: the consumer never said why"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be handled, as it was received from the dead letters just now.

    `origin` has the attributes that it is replayed with.
    """

    message_id: str
    body: str
    reason: str
    order_id: str
    receive_count: int
    first_sent_at: datetime
    origin: Mapping[str, str]

    @classmethod
    def from_message(cls, message: Message) -> "DeadLetter":
        """A message of the dead-letter queue: kept by the consumer, or redriven by SQS with its own attributes."""
        own = message.attributes
        return cls(
            message.message_id,
            message.body,
            own.get("reason") or UNKNOWN_REASON,
            own.get("orderId") or order_id_in(message.body),
            _number(own.get("receiveCount", ""), message.receive_count),
            times.whole_milliseconds(datetime.fromtimestamp(message.first_sent_at / 1000, UTC)),
            message.origin,
        )


@dataclass
class InFlight:
    """Dead letters that were received, and are hidden from everybody else until they are removed or released."""

    queue: Queue
    visibility_timeout: int
    _receipts: dict[str, str] = field(default_factory=dict)

    def letters(self, limit: int) -> Iterator[DeadLetter]:
        """Up to `limit` dead letters, each once; more are received, and stay in flight. Raises Unavailable, Rejected.

        Those that came after this began are skipped: one that is replayed now and is still bad comes back under
        a new id, and would be replayed again and again.
        """
        began = int(time.time() * 1000)
        seen: set[str] = set()
        idle = 0
        while len(seen) < limit and idle < _PATIENCE:
            messages = self.queue.receive(self.visibility_timeout)
            # Of one that comes again only the newest receipt counts: with an older one SQS may do nothing.
            self._receipts |= {message.message_id: message.receipt_handle for message in messages}
            fresh = [m for m in messages if m.message_id not in seen and m.sent_at <= began][: limit - len(seen)]
            idle = 0 if fresh else idle + (_KNOWN if messages else _EMPTY)
            for message in fresh:
                seen.add(message.message_id)
                yield DeadLetter.from_message(message)

    def remove(self, letters: Sequence[DeadLetter]) -> None:
        """Delete them for good. Raises Unavailable, Rejected."""
        for start in range(0, len(letters), BATCH_SIZE):
            batch = [letter.message_id for letter in letters[start : start + BATCH_SIZE]]
            self.queue.delete([self._receipts[message_id] for message_id in batch])
            for message_id in batch:
                del self._receipts[message_id]

    def release(self) -> None:
        """Let others see what is left at once. If that fails they see it when its visibility timeout is over."""
        receipts = list(self._receipts.values())
        self._receipts.clear()
        try:
            for start in range(0, len(receipts), BATCH_SIZE):
                self.queue.change_visibility(dict.fromkeys(receipts[start : start + BATCH_SIZE], 0))
        except (Unavailable, Rejected) as fault:
            telemetry.warning("dead letters not released", reason=str(fault))


@dataclass(frozen=True)
class DeadLetters:
    """The queue of dead letters, and the one that they came from."""

    queue: Queue
    orders: Queue

    def keep(self, message: Message, reason: str) -> None:
        """Keep a message as it came; reason and origin are its attributes. Raises Unavailable, Rejected."""
        order_id = order_id_in(message.body)
        attributes = message.origin | {
            "reason": legible(reason),
            "receiveCount": str(message.receive_count),
            "orderId": order_id,
        }
        try:
            self.queue.send(message.body, {name: value for name, value in attributes.items() if value})
        except (Unavailable, Rejected) as fault:
            # One of the largest size has no room for attributes: SQS will redrive it, and this line alone says why.
            ids = {"messageId": message.message_id, "orderId": order_id}
            telemetry.warning("message not quarantined", **ids, reason=reason, fault=str(fault))
            raise
        telemetry.count("MessagesQuarantined")
        telemetry.warning("message quarantined", messageId=message.message_id, orderId=order_id, reason=reason)

    @contextmanager
    def receiving(self, visibility_timeout: int) -> Iterator[InFlight]:
        """Dead letters to look at, each hidden for so many seconds (SQS cannot peek); released however it ends."""
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
            self.orders.send(letter.body, letter.origin)
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
        self, limit: int, wanted: Callable[[DeadLetter], bool] = lambda _: True, visibility_timeout: int = 60
    ) -> list[DeadLetter]:
        """Replay up to `limit` of the first 1000 dead letters that are wanted; which they were.

        What is not wanted stays hidden until the end, so that it is not received twice, and is then released. Raises
        Unavailable, Rejected.
        """
        replayed: list[DeadLetter] = []
        with self.receiving(visibility_timeout) as in_flight:
            for letter in in_flight.letters(_MAX_LOOKED_AT):
                if wanted(letter) and self.replay(in_flight, letter):
                    replayed.append(letter)
                if len(replayed) == limit:
                    break
        return replayed


def order_id_in(body: str) -> str:
    """The order id, if the body has one that can be shown."""
    try:
        document = loads(body)
    except InvalidJson:
        return ""
    order_id = document.get("orderId") if isinstance(document, dict) else None
    return legible(order_id)[:64] if isinstance(order_id, str) else ""


def legible(text: str) -> str:
    """The text as an attribute of a message: SQS takes no control characters and no lone surrogates there."""
    return "".join(c if c.isprintable() else "?" for c in text)[:_MAX_REASON_LENGTH]


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 14 else otherwise
