"""The mapping treats the queue as Lambda's event source mapping does."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.settings import DEFAULT_MAX_RECEIVES
from local.aws import EmbeddedAws
from tests.local.conftest import Clients, MapTo


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
        """How many messages are left in the queue, visible or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        counts = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return sum(int(counts[name]) for name in names)

    def show(self, event: Any) -> None:
        """End the visibility timeout of the event's messages now."""
        for record in event:
            self.sqs.change_message_visibility(
                QueueUrl=self.url, ReceiptHandle=record.receipt_handle, VisibilityTimeout=0
            )


def test_a_batch_that_the_consumer_returned_from_is_deleted(map_to: MapTo, queue: Queue) -> None:
    seen: list[list[str]] = []
    queue.send("one", "two", "three")
    assert map_to(lambda event: seen.append(bodies(event))).once(1) == 3
    assert seen == [["one", "three", "two"]]
    assert queue.kept() == 0


def test_as_many_batches_are_consumed_at_once_as_the_mapping_allows(map_to: MapTo, queue: Queue) -> None:
    all_busy = threading.Barrier(3)
    mapping = map_to(lambda event: all_busy.wait(10), batch_size=1, maximum_concurrency=3)
    queue.send("one", "two", "three")
    mapping.start()
    try:
        until = time.monotonic() + 10
        while queue.kept() and time.monotonic() < until:
            time.sleep(0.05)
        assert queue.kept() == 0
    finally:
        mapping.stop()


def test_a_batch_of_more_than_ten_is_put_together_within_the_window_and_deleted_as_a_whole(
    map_to: MapTo, queue: Queue
) -> None:
    sizes: list[int] = []
    mapping = map_to(
        lambda event: sizes.append(len(bodies(event))), batch_size=25, maximum_batching_window_in_seconds=1
    )
    queue.send(*map(str, range(27)))
    assert [mapping.once(1), mapping.once(1)] == [25, 2]
    assert sizes == [25, 2]
    assert queue.kept() == 0


def raises(event: Any) -> None:
    raise RuntimeError("no")


def reports_bad_ones(event: Any) -> dict[str, Any]:
    failed = [record.to_dict()["messageId"] for record in event if record.body == "bad"]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def reports_an_unknown_one(event: Any) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": ""}]}


@pytest.mark.parametrize(("consume", "kept"), [(raises, 3), (reports_bad_ones, 1), (reports_an_unknown_one, 3)])
def test_what_the_consumer_does_not_complete_stays(
    map_to: MapTo, queue: Queue, consume: Callable[[Any], Any], kept: int
) -> None:
    queue.send("good", "bad", "good")
    map_to(consume).once(1)
    assert queue.kept() == kept


def test_what_a_raising_consumer_deleted_itself_stays_deleted(map_to: MapTo, queue: Queue) -> None:
    def consume(event: Any) -> None:
        for record in event:
            if record.body == "good":
                queue.sqs.delete_message(QueueUrl=queue.url, ReceiptHandle=record.receipt_handle)
        raise RuntimeError("one of them failed")

    queue.send("good", "bad")
    map_to(consume).once(1)
    assert queue.kept() == 1


def test_a_consumer_that_outlives_its_timeout_has_failed(
    map_to: MapTo, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.invoking.LambdaContext.get_remaining_time_in_millis", lambda self: 0)
    queue.send("one")
    map_to(lambda event: None).once(1)
    assert queue.kept() == 1


def test_a_message_is_a_dead_letter_after_its_last_permitted_receive(map_to: MapTo, queue: Queue) -> None:
    counts: list[str] = []

    def consume(event: Any) -> None:
        counts.extend(record.to_dict()["attributes"]["ApproximateReceiveCount"] for record in event)
        queue.show(event)
        raise RuntimeError("never")

    queue.send("poison")
    mapping = map_to(consume)
    while mapping.once(0):
        pass
    assert counts == [str(n) for n in range(1, DEFAULT_MAX_RECEIVES + 1)]
    assert queue.kept() == 0
    [dead] = queue.sqs.receive_message(QueueUrl=queue.dead_letters)["Messages"]
    assert dead["Body"] == "poison"


def test_the_consumer_gets_an_event_as_from_lambda(map_to: MapTo, queue: Queue, outputs: dict[str, str]) -> None:
    seen: list[tuple[dict[str, Any], Any]] = []
    text = {"DataType": "String", "StringValue": "replayed"}
    binary = {"DataType": "Binary", "BinaryValue": b"\x00\x01"}
    queue.send("body", MessageAttributes={"reason": text, "raw": binary})
    map_to(lambda event: seen.append((event.to_dict()["Records"][0], event.context))).once(1)

    [(record, context)] = seen
    assert record.pop("messageId")
    assert record.pop("receiptHandle")
    system = record.pop("attributes")
    assert system["ApproximateReceiveCount"] == "1"
    assert system["SentTimestamp"].isdigit()
    no_lists: dict[str, Any] = {"stringListValues": [], "binaryListValues": []}
    assert record == {
        "body": "body",
        "md5OfBody": "841a2d689ad86bd1611447453c22c6fc",
        "messageAttributes": {
            "reason": {"dataType": "String", "stringValue": "replayed"} | no_lists,
            "raw": {"dataType": "Binary", "binaryValue": "AAE="} | no_lists,
        },
        "eventSource": "aws:sqs",
        "eventSourceARN": outputs["OrderQueueArn"],
        "awsRegion": "us-east-1",
    }
    assert context.function_name == "orderonce-local-order_consumer"
    assert context.memory_limit_in_mb == 512
    assert 9_000 < context.get_remaining_time_in_millis() <= 10_000


def test_a_running_mapping_ends_at_once_in_the_middle_of_a_long_poll(
    map_to: MapTo, queue: Queue, embedded_aws: EmbeddedAws
) -> None:
    consumed = threading.Event()
    mapping = map_to(lambda event: consumed.set())
    mapping.start()
    queue.send("one")
    assert consumed.wait(5)

    mapping.stop()
    embedded_aws.end_long_polls()
    assert mapping.join(1.0)


def test_a_mapping_continues_after_a_failed_poll(map_to: MapTo, monkeypatch: pytest.MonkeyPatch) -> None:
    consumed = threading.Event()
    mapping = map_to(lambda event: None)

    def poll(wait_seconds: int) -> int:
        if consumed.is_set():
            mapping.stop()
        consumed.set()
        raise OSError("gone for a moment")

    monkeypatch.setattr(mapping, "once", poll)
    monkeypatch.setattr(mapping, "_pause", 0.0)
    mapping.start()
    assert mapping.join(2.0)
    assert consumed.is_set()
