"""The pump treats the queue as Lambda's event source mapping does."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from local.aws import EmbeddedAws
from local.event_source_mapping import EventSourceMapping
from tests.local.conftest import Clients

PumpInto = Callable[[Callable[[Any], Any]], EventSourceMapping]


def bodies(event: Any) -> list[str]:
    return sorted(record.body for record in event)


@pytest.fixture
def queue(outputs: dict[str, str], clients: Clients) -> "Queue":
    return Queue(clients("sqs"), outputs)


class Queue:
    """The order queue and its dead letters, as a test sees them."""

    def __init__(self, sqs: Any, outputs: dict[str, str]) -> None:
        self.sqs = sqs
        self.url = sqs.get_queue_url(QueueName=outputs["OrderQueueName"])["QueueUrl"]
        self.dead_letters = sqs.get_queue_url(QueueName=outputs["OrderDeadLettersName"])["QueueUrl"]

    def send(self, *bodies: str, **more: Any) -> None:
        for body in bodies:
            self.sqs.send_message(QueueUrl=self.url, MessageBody=body, **more)

    def kept(self) -> int:
        """How many messages the queue still holds, visible or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        counts = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return sum(int(counts[name]) for name in names)

    def show(self, event: Any) -> None:
        """End the visibility timeout of the event's messages now."""
        for record in event:
            self.sqs.change_message_visibility(
                QueueUrl=self.url, ReceiptHandle=record.receipt_handle, VisibilityTimeout=0
            )


def test_a_batch_that_the_consumer_returned_from_is_deleted(pump_into: PumpInto, queue: Queue) -> None:
    seen: list[list[str]] = []
    queue.send("one", "two", "three")
    assert pump_into(lambda event: seen.append(bodies(event))).once(1) == 3
    assert seen == [["one", "three", "two"]]
    assert queue.kept() == 0


def test_a_consumer_that_raises_leaves_its_messages(pump_into: PumpInto, queue: Queue) -> None:
    def consume(event: Any) -> None:
        raise RuntimeError("no")

    queue.send("one", "two")
    pump_into(consume).once(1)
    assert queue.kept() == 2


def test_what_a_raising_consumer_deleted_itself_stays_deleted(pump_into: PumpInto, queue: Queue) -> None:
    def consume(event: Any) -> None:
        for record in event:
            if record.body == "good":
                queue.sqs.delete_message(QueueUrl=queue.url, ReceiptHandle=record.receipt_handle)
        raise RuntimeError("one of them failed")

    queue.send("good", "bad")
    pump_into(consume).once(1)
    assert queue.kept() == 1


def test_batch_item_failures_stay_and_the_rest_is_deleted(pump_into: PumpInto, queue: Queue) -> None:
    def consume(event: Any) -> dict[str, Any]:
        failed = [record.to_dict()["messageId"] for record in event if record.body == "bad"]
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}

    queue.send("good", "bad", "good")
    pump_into(consume).once(1)
    assert queue.kept() == 1


def test_a_failure_that_names_no_message_of_the_batch_fails_it_whole(pump_into: PumpInto, queue: Queue) -> None:
    queue.send("one", "two")
    pump_into(lambda event: {"batchItemFailures": [{"itemIdentifier": ""}]}).once(1)
    assert queue.kept() == 2


def test_a_consumer_that_outlives_its_timeout_has_failed(
    pump_into: PumpInto, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.invoking.LambdaContext.get_remaining_time_in_millis", lambda self: 0)
    queue.send("one")
    pump_into(lambda event: None).once(1)
    assert queue.kept() == 1


def test_a_message_is_a_dead_letter_after_its_last_permitted_receive(pump_into: PumpInto, queue: Queue) -> None:
    counts: list[str] = []

    def consume(event: Any) -> None:
        counts.extend(record.to_dict()["attributes"]["ApproximateReceiveCount"] for record in event)
        queue.show(event)
        raise RuntimeError("never")

    queue.send("poison")
    pump = pump_into(consume)
    while pump.once(0):
        pass
    assert counts == ["1", "2", "3", "4", "5", "6"]
    assert queue.kept() == 0
    [dead] = queue.sqs.receive_message(QueueUrl=queue.dead_letters)["Messages"]
    assert dead["Body"] == "poison"


def test_the_consumer_sees_an_event_as_lambda_makes_it(
    pump_into: PumpInto, queue: Queue, outputs: dict[str, str]
) -> None:
    seen: list[tuple[dict[str, Any], Any]] = []
    attributes = {
        "reason": {"DataType": "String", "StringValue": "replayed"},
        "raw": {"DataType": "Binary", "BinaryValue": b"\x00\x01"},
    }
    queue.send("body", MessageAttributes=attributes)
    pump_into(lambda event: seen.append((event.to_dict()["Records"][0], event.context))).once(1)

    [(record, context)] = seen
    assert record.pop("messageId")
    assert record.pop("receiptHandle")
    system = record.pop("attributes")
    assert system["ApproximateReceiveCount"] == "1"
    assert system["SentTimestamp"].isdigit()
    assert record == {
        "body": "body",
        "md5OfBody": "841a2d689ad86bd1611447453c22c6fc",
        "messageAttributes": {
            "reason": {
                "dataType": "String",
                "stringValue": "replayed",
                "stringListValues": [],
                "binaryListValues": [],
            },
            "raw": {
                "dataType": "Binary",
                "binaryValue": "AAE=",
                "stringListValues": [],
                "binaryListValues": [],
            },
        },
        "eventSource": "aws:sqs",
        "eventSourceARN": outputs["OrderQueueArn"],
        "awsRegion": "us-east-1",
    }
    assert context.function_name == "orderonce-local-order_consumer"
    assert context.memory_limit_in_mb == 512
    assert 9_000 < context.get_remaining_time_in_millis() <= 10_000


def test_a_running_pump_ends_at_once_in_the_middle_of_a_long_poll(
    pump_into: PumpInto, queue: Queue, embedded_aws: EmbeddedAws
) -> None:
    consumed = threading.Event()
    pump = pump_into(lambda event: consumed.set())
    pump.start()
    queue.send("one")
    assert consumed.wait(5)

    pump.stop()
    embedded_aws.end_long_polls()
    assert pump.join(1.0)


def test_a_pump_goes_on_when_a_poll_failed(pump_into: PumpInto, monkeypatch: pytest.MonkeyPatch) -> None:
    consumed = threading.Event()
    pump = pump_into(lambda event: None)

    def poll(wait_seconds: int) -> int:
        if consumed.is_set():
            pump.stop()
        consumed.set()
        raise OSError("gone for a moment")

    monkeypatch.setattr(pump, "once", poll)
    monkeypatch.setattr(pump, "_pause", 0.0)
    pump.start()
    assert pump.join(2.0)
    assert consumed.is_set()
