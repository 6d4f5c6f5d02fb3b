"""Events built for tests look like Lambda's own."""

import json
from datetime import UTC, datetime
from typing import Any

from tests.support.events import sqs_event, sqs_event_received, sqs_record
from tests.support.stage import Stage


def test_a_record_carries_what_it_is_given_under_an_id_and_a_receipt_of_its_own() -> None:
    sent_at = datetime(2026, 1, 1, tzinfo=UTC)
    record, other = (sqs_record("b", receive_count=6, attributes={"a": "c"}, sent_at=sent_at) for _ in range(2))

    assert sqs_event(record, other)["Records"] == [record, other]
    assert record["messageId"] != other["messageId"]
    assert record["receiptHandle"] != other["receiptHandle"]
    assert record["attributes"]["ApproximateReceiveCount"] == "6"
    assert record["attributes"]["SentTimestamp"] == "1767225600000"
    assert record["messageAttributes"]["a"]["stringValue"] == "c"


def test_what_was_received_becomes_an_event_whose_receipts_work(aws: Stage) -> None:
    sent: Any = {"correlationId": {"DataType": "String", "StringValue": "c"}}
    body = json.dumps({"n": 1})
    aws.sqs.send_message(QueueUrl=aws.queue_url("ORDER_QUEUE"), MessageBody=body, MessageAttributes=sent)

    messages = aws.receive("ORDER_QUEUE")
    (record,) = sqs_event_received(messages)["Records"]

    assert (record["body"], record["messageId"]) == (body, messages[0]["MessageId"])
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert record["messageAttributes"]["correlationId"]["stringValue"] == "c"
    aws.sqs.delete_message(QueueUrl=aws.queue_url("ORDER_QUEUE"), ReceiptHandle=record["receiptHandle"])
