"""What Lambda hands to a function, as AWS builds it: each message with an id and a receipt of its own."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import Any

QUEUE_ARN = "arn:aws:sqs:us-east-1:123456789012:orderonce-test-orders"


def sqs_record(
    body: object,
    *,
    message_id: str | None = None,
    receipt_handle: str | None = None,
    receive_count: int = 1,
    attributes: Mapping[str, str] | None = None,
    sent_at: datetime | None = None,
    queue_arn: str = QUEUE_ARN,
) -> dict[str, Any]:
    """One message as in an SQS event. A body that is not text is sent as JSON; `attributes` are
    message attributes of type String; `receive_count` is what SQS calls ApproximateReceiveCount."""
    text = body if isinstance(body, str) else json.dumps(body)
    sent = str(int((sent_at or datetime.now(UTC)).timestamp() * 1000))
    return {
        "messageId": message_id or str(uuid.uuid4()),
        "receiptHandle": receipt_handle or f"receipt-{uuid.uuid4()}",
        "body": text,
        "attributes": {
            "ApproximateReceiveCount": str(receive_count),
            "SentTimestamp": sent,
            "SenderId": "AIDAIENQZJOLO23YVJ4VO",
            "ApproximateFirstReceiveTimestamp": sent,
        },
        "messageAttributes": {
            name: {"stringValue": value, "stringListValues": [], "binaryListValues": [], "dataType": "String"}
            for name, value in (attributes or {}).items()
        },
        "md5OfBody": md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": "us-east-1",
    }


def sqs_event(*records: Mapping[str, Any]) -> dict[str, Any]:
    """The event of one batch, made of `sqs_record`s."""
    return {"Records": [dict(record) for record in records]}


def sqs_event_of(*bodies: object) -> dict[str, Any]:
    """The event of one batch of fresh messages with these bodies."""
    return sqs_event(*(sqs_record(body) for body in bodies))


def sqs_event_received(messages: list[Any], *, queue_arn: str = QUEUE_ARN) -> dict[str, Any]:
    """The event that Lambda makes of what `sqs.receive_message` brought (asked with all attribute names), so
    that receipt handles work on the queue they came from."""
    return sqs_event(
        *(
            sqs_record(
                message["Body"],
                message_id=message["MessageId"],
                receipt_handle=message["ReceiptHandle"],
                receive_count=int(message.get("Attributes", {}).get("ApproximateReceiveCount", "1")),
                attributes={
                    name: value["StringValue"]
                    for name, value in message.get("MessageAttributes", {}).items()
                    if "StringValue" in value
                },
                sent_at=_sent_at(message),
                queue_arn=queue_arn,
            )
            for message in messages
        )
    )


def _sent_at(message: Any) -> datetime | None:
    sent = message.get("Attributes", {}).get("SentTimestamp")
    return datetime.fromtimestamp(int(sent) / 1000, UTC) if sent else None


@dataclass
class FakeLambdaContext:
    """Lambda's context object. `remaining_ms`, what is left of the time-out, may be set during a test."""

    function_name: str = "orderonce-test-order_consumer"
    remaining_ms: int = 10_000
    memory_limit_in_mb: int = 512
    function_version: str = "$LATEST"
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def invoked_function_arn(self) -> str:
        return f"arn:aws:lambda:us-east-1:123456789012:function:{self.function_name}"

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


class Clock:
    """A clock that stops until it is advanced. Calling it gives the time, aware and in UTC."""

    def __init__(self, now: datetime = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> datetime:
        """Go on by this much, in the words of timedelta: `clock.advance(minutes=5, seconds=1)`."""
        self.now += timedelta(**duration)
        return self.now
