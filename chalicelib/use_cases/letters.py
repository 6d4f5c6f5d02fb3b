"""A dead letter: what a message that could not be handled says about itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from chalicelib import times
from chalicelib.exact_json import InvalidJson, loads
from chalicelib.use_cases.ports import Message

UNKNOWN_REASON = "redriven by SQS: the consumer never said why"

_FIRST_REPLAY_AFTER = timedelta(minutes=15)
_MAX_DOUBLINGS = 6
"""A letter is replayed after 15 minutes, 30 … up to 16 hours: always long before SQS deletes it, after 14 days."""

_MAX_UNKNOWN_REPLAYS = 3
_MAX_REASON_LENGTH = 500


class Kind(StrEnum):
    """Why it is a dead letter, and so what becomes of it."""

    RETRY = "retry"
    """Something that may pass was in the way on every receive: replayed automatically until it is handled."""

    NEVER = "never"
    """No further try would help: it waits for people."""

    UNKNOWN = "unknown"
    """Redriven by SQS, as when every receive ended in a crash: replayed automatically three times."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be handled, as it was received from the dead letters just now.

    `sent_at` is when it came there (redriven by SQS: when it was first sent). `run` names the search that replayed it
    last; `origin` has the attributes that it keeps for good.
    """

    message_id: str
    body: str
    kind: Kind
    reason: str
    order_id: str
    receive_count: int
    replays: int
    run: str
    sent_at: datetime
    first_sent_at: datetime
    origin: Mapping[str, str]

    @classmethod
    def from_message(cls, message: Message) -> "DeadLetter":
        """A message of the dead-letter queue: kept by the consumer, or redriven by SQS with its own attributes."""
        own = message.attributes
        return cls(
            message.message_id,
            message.body,
            Kind(own["kind"]) if own.get("kind") in list(Kind) else Kind.UNKNOWN,
            own.get("reason") or UNKNOWN_REASON,
            own.get("orderId") or order_id_in(message.body),
            _number(own.get("receiveCount", ""), message.receive_count),
            _number(own.get("replays", ""), 0),
            own.get("replayRun", ""),
            _time(message.sent_at),
            _time(message.first_sent_at),
            message.origin,
        )

    @property
    def next_replay_at(self) -> datetime | None:
        """When `recover` sends it again; None: it waits for people."""
        if self.kind is Kind.NEVER or (self.kind is Kind.UNKNOWN and self.replays >= _MAX_UNKNOWN_REPLAYS):
            return None
        return self.sent_at + _FIRST_REPLAY_AFTER * (1 << min(self.replays, _MAX_DOUBLINGS))

    def replayed_by(self, run: str) -> Mapping[str, str]:
        """The attributes of the message when it is sent again; a letter that it becomes has them too."""
        return {**self.origin, "replays": str(self.replays + 1), "replayRun": run}


def attributes(message: Message, kind: Kind, reason: str) -> dict[str, str]:
    """The attributes of a message that is kept as a dead letter: why, and where it comes from."""
    own = message.attributes
    values = message.origin | {
        "kind": kind.value,
        "reason": legible(reason),
        "receiveCount": str(message.receive_count),
        "orderId": order_id_in(message.body),
        "replays": str(_number(own.get("replays", ""), 0) or ""),
        "replayRun": legible(own.get("replayRun", "")),
    }
    return {name: value for name, value in values.items() if value}


def order_id_in(body: str) -> str:
    """The order id, if the body has one that can be shown."""
    try:
        return order_id_of(loads(body))
    except InvalidJson:
        return ""


def order_id_of(document: Any) -> str:
    """The same of a parsed body."""
    order_id = document.get("orderId") if isinstance(document, dict) else None
    return legible(order_id)[:64] if isinstance(order_id, str) else ""


def legible(text: str) -> str:
    """The text as an attribute of a message: SQS takes no control characters and no lone surrogates there."""
    return "".join(c if c.isprintable() else "?" for c in text)[:_MAX_REASON_LENGTH]


def _time(milliseconds: int) -> datetime:
    return times.whole_milliseconds(datetime.fromtimestamp(milliseconds / 1000, UTC))


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 14 else otherwise
