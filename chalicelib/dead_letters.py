"""Messages that cannot be handled: kept, with the reason, and counted."""

from dataclasses import dataclass

from chalicelib import telemetry
from chalicelib.exact_json import InvalidJson, loads
from chalicelib.queues import Queue

_LONGEST_REASON = 500


@dataclass(frozen=True)
class DeadLetters:
    """The queue of dead letters."""

    queue: Queue

    def keep(self, body: str, message_id: str, receive_count: int, sent_at: str, reason: str) -> None:
        """Keep a message as it came; why and whence are its attributes. Raises Unavailable, Rejected."""
        order_id = _order_id_in(body)
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

    def monitor(self) -> int:
        """Count the dead letters and say so. Raises Unavailable."""
        waiting = self.queue.waiting()
        telemetry.count("DeadLetters", waiting)
        if waiting:
            telemetry.warning("dead letters are waiting", count=waiting)
        return waiting


def _order_id_in(body: str) -> str:
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
