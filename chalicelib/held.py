"""Dead letters in the hand: received, hidden from everybody else for a while, and handed back."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from chalicelib import telemetry, times
from chalicelib.exact_json import InvalidJson, loads
from chalicelib.faults import Rejected, Unavailable
from chalicelib.queues import Queue, Received

_LONGEST_REASON = 500
_AT_ONCE = 10
_PATIENCE, _EMPTY, _KNOWN = 30, 10, 1
"""A receive may find nothing though there is something: SQS asks only some of its servers. So the third in a row that
is empty ends the search; one that brings only what came before (hidden no longer) says less."""

UNKNOWN_REASON = "redriven by SQS: the consumer never said why"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be handled, as it was received from the dead letters just now."""

    message_id: str
    body: str
    reason: str
    order_id: str
    receive_count: int
    first_sent_at: datetime


@dataclass
class Held:
    """Dead letters that were received, and are hidden from everybody else until they are removed or handed back."""

    queue: Queue
    hidden_for: int
    _receipts: dict[str, str] = field(default_factory=dict)

    def letters(self, most: int) -> Iterator[DeadLetter]:
        """Up to `most` dead letters, each once; more are received, and held. Raises Unavailable, Rejected.

        Those that came after this began are passed over: one that is replayed now and is still bad comes back under
        a new id, and would be met, and replayed, again and again.
        """
        began = int(time.time() * 1000)
        met: set[str] = set()
        idle = 0
        while len(met) < most and idle < _PATIENCE:
            messages = self.queue.receive(self.hidden_for)
            # Of one that comes again only the newest receipt counts: with an older one SQS may do nothing.
            self._receipts |= {message.message_id: message.receipt_handle for message in messages}
            fresh = [m for m in messages if m.message_id not in met and m.sent_at <= began][: most - len(met)]
            idle = 0 if fresh else idle + (_KNOWN if messages else _EMPTY)
            for message in fresh:
                met.add(message.message_id)
                yield dead_letter_of(message)

    def remove(self, letters: Sequence[DeadLetter]) -> None:
        """Delete them for good. Raises Unavailable, Rejected."""
        for start in range(0, len(letters), _AT_ONCE):
            batch = [letter.message_id for letter in letters[start : start + _AT_ONCE]]
            self.queue.delete([self._receipts[message_id] for message_id in batch])
            for message_id in batch:
                del self._receipts[message_id]

    def hand_back(self) -> None:
        """Let others see what is left at once. Where that fails they see it when its time is over."""
        receipts = list(self._receipts.values())
        self._receipts.clear()
        try:
            for start in range(0, len(receipts), _AT_ONCE):
                self.queue.delay(dict.fromkeys(receipts[start : start + _AT_ONCE], 0))
        except (Unavailable, Rejected) as fault:
            telemetry.warning("dead letters not handed back", reason=str(fault))


def dead_letter_of(message: Received) -> DeadLetter:
    """A message of the dead-letter queue: kept by the consumer, or redriven by SQS with whatever attributes it had."""
    own = message.attributes
    return DeadLetter(
        message.message_id,
        message.body,
        own.get("reason") or UNKNOWN_REASON,
        own.get("orderId") or order_id_in(message.body),
        _number(own.get("receiveCount", ""), message.receive_count),
        times.whole_milliseconds(
            datetime.fromtimestamp(_number(own.get("firstSentAt", ""), message.sent_at) / 1000, UTC)
        ),
    )


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
    return "".join(c if c.isprintable() else "?" for c in text)[:_LONGEST_REASON]


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 14 else otherwise
