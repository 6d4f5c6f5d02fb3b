"""Events built for tests look like Lambda's own."""

import json
from datetime import UTC, datetime
from typing import Any

from tests.support.events import (
    Clock,
    FakeLambdaContext,
    sqs_event,
    sqs_event_of,
    sqs_event_received,
    sqs_record,
)
from tests.support.stage import Stage


def test_every_message_has_an_id_and_a_receipt_of_its_own() -> None:
    records = sqs_event_of({"n": 1}, "not JSON", {"n": 1})["Records"]

    assert [record["body"] for record in records] == ['{"n": 1}', "not JSON", '{"n": 1}']
    assert len({record["messageId"] for record in records}) == 3
    assert len({record["receiptHandle"] for record in records}) == 3


def test_a_record_carries_what_it_is_given() -> None:
    sent_at = datetime(2026, 1, 1, tzinfo=UTC)
    record = sqs_record("b", message_id="m", receive_count=6, attributes={"correlationId": "c"}, sent_at=sent_at)

    assert sqs_event(record)["Records"] == [record]
    assert record["messageId"] == "m"
    assert record["attributes"]["ApproximateReceiveCount"] == "6"
    assert record["attributes"]["SentTimestamp"] == "1767225600000"
    assert record["messageAttributes"]["correlationId"]["stringValue"] == "c"


def test_what_was_received_becomes_an_event_whose_receipts_work(aws: Stage) -> None:
    sent: Any = {"correlationId": {"DataType": "String", "StringValue": "c"}}
    body = json.dumps({"n": 1})
    aws.sqs.send_message(QueueUrl=aws.queue_url("ORDER_QUEUE"), MessageBody=body, MessageAttributes=sent)

    messages: list[Any] = aws.receive("ORDER_QUEUE")
    (record,) = sqs_event_received(messages)["Records"]

    assert record["body"] == body
    assert record["messageId"] == messages[0]["MessageId"]
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert record["messageAttributes"]["correlationId"]["stringValue"] == "c"
    aws.sqs.delete_message(QueueUrl=aws.queue_url("ORDER_QUEUE"), ReceiptHandle=record["receiptHandle"])


def test_the_clock_goes_on_only_when_told(clock: Clock) -> None:
    before = clock()
    assert clock() == before
    assert before.tzinfo is UTC
    assert (clock.advance(minutes=1, seconds=0.5) - before).total_seconds() == 60.5


def test_the_context_tells_the_time_left() -> None:
    context = FakeLambdaContext(remaining_ms=4_000)
    assert context.get_remaining_time_in_millis() == 4_000
    assert context.invoked_function_arn.endswith(":orderonce-test-order_consumer")
