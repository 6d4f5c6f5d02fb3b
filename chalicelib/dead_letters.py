"""Messages that cannot be handled: kept with the reason, looked at, and replayed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chalicelib import telemetry
from chalicelib.faults import Rejected, Unavailable
from chalicelib.held import DeadLetter, Held, legible, order_id_in
from chalicelib.queues import Queue

MOST_REPLAYED = 100
"""Dead letters that one call replays at most."""

_MOST_LOOKED_AT = 1000
"""Dead letters that one call goes through in search of those that are wanted."""

_REFUSED_AS_SUCH = frozenset({"InvalidMessageContents", "InvalidParameterValue"})


@dataclass(frozen=True)
class DeadLetters:
    """The queue of dead letters, and the one that they came from."""

    queue: Queue
    orders: Queue

    def keep(self, body: str, message_id: str, receive_count: int, sent_at: str, reason: str) -> None:
        """Keep a message as it came; why and whence are its attributes. Raises Unavailable, Rejected."""
        order_id = order_id_in(body)
        attributes = {
            "reason": legible(reason),
            "originalMessageId": message_id,
            "receiveCount": str(receive_count),
            "firstSentAt": sent_at,
            "orderId": order_id,
        }
        try:
            self.queue.send(body, {name: value for name, value in attributes.items() if value})
        except (Unavailable, Rejected):
            # One of the largest size has no room for attributes: SQS will redrive it, and this line alone says why.
            telemetry.warning("message not quarantined", messageId=message_id, orderId=order_id, reason=reason)
            raise
        telemetry.count("MessagesQuarantined")
        telemetry.warning("message quarantined", messageId=message_id, orderId=order_id, reason=reason)

    @contextmanager
    def holding(self, hidden_for: int) -> Iterator[Held]:
        """Dead letters to look at, each hidden for so many seconds (SQS cannot peek); handed back however it ends."""
        held = Held(self.queue, hidden_for)
        try:
            yield held
        finally:
            held.hand_back()

    def replay(self, held: Held, letter: DeadLetter) -> bool:
        """Send a dead letter to the order queue again, then delete it here. Raises Unavailable, Rejected.

        In this order: a crash in between leaves a duplicate, which the consumer finds done, and never a loss.
        False: the order queue refuses the message itself, and it stays where it is.
        """
        told = {"messageId": letter.message_id, "orderId": letter.order_id, "reason": letter.reason}
        try:
            self.orders.send(letter.body, {})
        except Rejected as fault:
            if _code(fault) not in _REFUSED_AS_SUCH:
                raise
            telemetry.warning("message not replayed", **told, fault=str(fault))
            return False
        held.remove([letter])
        telemetry.count("MessagesReplayed")
        telemetry.info("message replayed", **told)
        return True

    def replay_requested(self, event: Any) -> dict[str, Any]:
        """What an invocation asks for: `{"limit": 1–100, "reason": "a part of it", "orderId": "…"}`, all optional.

        Answers how many were replayed, and their orders. Raises ValueError, Unavailable, Rejected.
        """
        limit, wanted = _requested(event)
        replayed = self.replay_all(limit, wanted)
        return {"replayed": len(replayed), "orderIds": [letter.order_id for letter in replayed if letter.order_id]}

    def replay_all(
        self, limit: int, wanted: Callable[[DeadLetter], bool] = lambda _: True, hidden_for: int = 60
    ) -> list[DeadLetter]:
        """Replay up to `limit` of the first 1000 dead letters that are wanted; which they were.

        What is not wanted stays hidden until the end, so that it is not met twice, and is then handed back. Raises
        Unavailable, Rejected.
        """
        replayed: list[DeadLetter] = []
        with self.holding(hidden_for) as held:
            for letter in held.letters(_MOST_LOOKED_AT):
                if wanted(letter) and self.replay(held, letter):
                    replayed.append(letter)
                if len(replayed) == limit:
                    break
        return replayed


def _requested(event: Any) -> tuple[int, Callable[[DeadLetter], bool]]:
    """How many dead letters an invocation wants replayed, and which. Raises ValueError, with what is wrong."""
    if not isinstance(event, Mapping):
        raise ValueError(f"the event must be an object, not {type(event).__name__}")
    unknown = set(event) - {"limit", "reason", "orderId"}
    if unknown:
        raise ValueError(f"unknown fields: {', '.join(sorted(map(str, unknown)))}; known are limit, reason, orderId")
    limit, reason, order_id = event.get("limit", MOST_REPLAYED), event.get("reason"), event.get("orderId")
    if type(limit) is not int or not 1 <= limit <= MOST_REPLAYED:
        raise ValueError(f"limit must be a whole number from 1 to {MOST_REPLAYED}, not {limit!r}")
    for name, value in (("reason", reason), ("orderId", order_id)):
        if not (value is None or (isinstance(value, str) and value)):
            raise ValueError(f"{name} must be a text, not {value!r}")
    return limit, lambda letter: (reason is None or reason in letter.reason) and order_id in (None, letter.order_id)


def _code(fault: Rejected) -> str:
    response = getattr(fault.__cause__, "response", {})
    return str(response.get("Error", {}).get("Code", ""))
