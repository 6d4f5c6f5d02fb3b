"""Messages that cannot be handled: kept with the reason, looked at, and replayed."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chalicelib import telemetry, times
from chalicelib.exact_json import InvalidJson, loads
from chalicelib.queues import Queue, Received

_LONGEST_REASON = 500
MOST_REPLAYED = 100
"""Dead letters that one call replays at most."""

_EMPTY_RECEIVES = 3
"""A receive may find nothing though there is something: SQS asks only some of its servers."""

UNKNOWN_REASON = "redriven by SQS: the consumer never said why"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be handled, as it was received from the dead letters just now."""

    message_id: str
    receipt_handle: str
    body: str
    reason: str
    order_id: str
    receive_count: int
    first_sent_at: datetime


@dataclass(frozen=True)
class DeadLetters:
    """The queue of dead letters, and the one that they came from."""

    queue: Queue
    orders: Queue

    def keep(self, body: str, message_id: str, receive_count: int, sent_at: str, reason: str) -> None:
        """Keep a message as it came; why and whence are its attributes. Raises Unavailable, Rejected."""
        order_id = order_id_in(body)
        attributes = {
            "reason": _legible(reason),
            "originalMessageId": message_id,
            "receiveCount": str(receive_count),
            "firstSentAt": sent_at,
            "orderId": order_id,
        }
        self.queue.send(body, {name: value for name, value in attributes.items() if value})
        telemetry.count("MessagesQuarantined")
        telemetry.warning("message quarantined", messageId=message_id, orderId=order_id, reason=reason)

    def sample(self, limit: int, hidden_for: int) -> Iterator[DeadLetter]:
        """Up to `limit` dead letters, each once, hidden for so many seconds: SQS cannot peek.

        Hand back with `hand_back` what is not dealt with. Raises Unavailable, Rejected.
        """
        seen: set[str] = set()
        empty = 0
        while len(seen) < limit and empty < _EMPTY_RECEIVES:
            fresh = [message for message in self.queue.receive(hidden_for) if message.message_id not in seen]
            empty = 0 if fresh else empty + 1
            for message in fresh[: limit - len(seen)]:
                seen.add(message.message_id)
                yield dead_letter_of(message)
            self.hand_back([dead_letter_of(message) for message in fresh if message.message_id not in seen])

    def hand_back(self, letters: list[DeadLetter]) -> None:
        """Let others see these again at once. Raises Unavailable, Rejected."""
        for start in range(0, len(letters), 10):
            self.queue.delay({letter.receipt_handle: 0 for letter in letters[start : start + 10]})

    def replay(self, letter: DeadLetter) -> None:
        """Send a dead letter to the order queue again, then delete it here. Raises Unavailable, Rejected.

        In this order: a crash in between leaves a duplicate, which the consumer finds done, and never a loss.
        """
        self.orders.send(letter.body, {})
        self.queue.delete([letter.receipt_handle])
        telemetry.count("MessagesReplayed")
        telemetry.info("message replayed", messageId=letter.message_id, orderId=letter.order_id, reason=letter.reason)

    def replay_requested(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """What an invocation asks for: `{"limit": 1–100, "reason": "a part of it", "orderId": "…"}`, all optional.

        Answers how many were replayed, and their orders. Raises ValueError, Unavailable, Rejected.
        """
        limit, wanted = _requested(event)
        replayed = self.replay_all(limit, wanted)
        return {"replayed": len(replayed), "orderIds": [letter.order_id for letter in replayed if letter.order_id]}

    def replay_all(
        self, limit: int, wanted: Callable[[DeadLetter], bool] = lambda _: True, hidden_for: int = 60
    ) -> list[DeadLetter]:
        """Replay up to `limit` dead letters that are wanted; which they were. Raises Unavailable, Rejected.

        What is not wanted stays hidden until the end, so that it is not met twice, and is then handed back.
        """
        replayed: list[DeadLetter] = []
        unwanted: list[DeadLetter] = []
        try:
            for letter in self.sample(10 * limit, hidden_for):
                if len(replayed) < limit and wanted(letter):
                    self.replay(letter)
                    replayed.append(letter)
                else:
                    unwanted.append(letter)
                if len(replayed) == limit:
                    break
        finally:
            self.hand_back(unwanted)
        return replayed


def _requested(event: Mapping[str, Any]) -> tuple[int, Callable[[DeadLetter], bool]]:
    """How many dead letters an invocation wants replayed, and which. Raises ValueError, with what is wrong."""
    unknown = set(event) - {"limit", "reason", "orderId"}
    limit = event.get("limit", MOST_REPLAYED)
    if unknown:
        raise ValueError(f"unknown fields: {', '.join(sorted(unknown))}; known are limit, reason, orderId")
    if type(limit) is not int or not 1 <= limit <= MOST_REPLAYED:
        raise ValueError(f"limit must be a whole number from 1 to {MOST_REPLAYED}, not {limit!r}")
    reason, order_id = event.get("reason"), event.get("orderId")
    return limit, lambda letter: (reason is None or reason in letter.reason) and order_id in (None, letter.order_id)


def dead_letter_of(message: Received) -> DeadLetter:
    """A message of the dead-letter queue: kept by the consumer, or redriven by SQS."""
    own = message.attributes
    sent_at = own.get("firstSentAt", "")
    epoch = int(sent_at) if sent_at.isdigit() else message.sent_at
    return DeadLetter(
        message.message_id,
        message.receipt_handle,
        message.body,
        own.get("reason", UNKNOWN_REASON),
        own.get("orderId") or order_id_in(message.body),
        int(own["receiveCount"]) if own.get("receiveCount", "").isdigit() else message.receive_count,
        times.whole_milliseconds(datetime.fromtimestamp(epoch / 1000, UTC)),
    )


def order_id_in(body: str) -> str:
    """The order id, if the body has one that can be shown."""
    try:
        document = loads(body)
    except InvalidJson:
        return ""
    order_id = document.get("orderId") if isinstance(document, dict) else None
    return _legible(order_id)[:64] if isinstance(order_id, str) else ""


def _legible(text: str) -> str:
    """SQS takes no control characters and no lone surrogates in an attribute."""
    return "".join(c if c.isprintable() else "?" for c in text)[:_LONGEST_REASON]
