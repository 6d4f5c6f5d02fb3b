"""The queue's event source mapping: what Lambda does between SQS and a consumer."""

from __future__ import annotations

import base64
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config as ClientConfig
from chalice.app import Chalice, SQSEventConfig
from chalice.config import Config

from local.invoking import Function, region

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageAttributeValueOutputTypeDef, MessageTypeDef

log = logging.getLogger(__name__)

LONG_POLL_SECONDS = 10
MAX_RECEIVED = 10
"""Messages that one call of SQS receives at most; a larger batch is put together of several."""

POLLERS = 5
"""Batches at the same time where the mapping names no maximum: what Lambda begins with."""


class EventSourceMapping:
    """Passes a queue's messages to its consumer, on as many threads as the mapping allows batches at the same time.

    A batch is deleted only after the consumer returned; what it names in `batchItemFailures` stays. If it raises,
    nothing is deleted: the messages are visible again when their visibility timeout ends, and the queue's redrive
    policy counts how often.
    """

    def __init__(self, app: Chalice, config: Config, source: SQSEventConfig) -> None:
        pollers = source.maximum_concurrency or POLLERS
        # A long poll may take its full time to answer. No retries: the loop retries.
        self._sqs = boto3.client(
            "sqs",
            config=ClientConfig(
                read_timeout=LONG_POLL_SECONDS + 10, retries={"total_max_attempts": 1}, max_pool_connections=pollers
            ),
        )
        self._app_name = app.app_name
        self._function = Function.from_app(app, config, source.name)
        self._batch_size = source.batch_size
        self._window = source.maximum_batching_window_in_seconds
        name = source.queue or str(source.queue_arn).rsplit(":", 1)[-1]
        self.queue_url: str = self._sqs.get_queue_url(QueueName=name)["QueueUrl"]
        self._queue_arn = self._sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=["QueueArn"])[
            "Attributes"
        ]["QueueArn"]
        self._stop = threading.Event()
        self._pause = 1.0  # seconds from a failed poll to the next
        self._threads = [
            threading.Thread(target=self._poll, name=f"{source.name}-{n}", daemon=True) for n in range(pollers)
        ]

    def start(self) -> None:
        """Start polling."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Receive no further batch. A long poll under way continues until it is answered."""
        self._stop.set()

    def join(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for each thread's current batch. False: one is still busy."""
        for thread in self._threads:
            thread.join(timeout)
        return not any(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Close its connections, once it is stopped."""
        self._sqs.close()

    def _poll(self) -> None:
        while not self._stop.is_set():
            try:
                self.once(LONG_POLL_SECONDS)
            except Exception as error:  # noqa: BLE001 - whatever it is, polling must go on
                if not self._stop.wait(self._pause):
                    log.warning("cannot poll %s, trying again: %s", self.queue_url, error)

    def once(self, wait_seconds: int) -> int:
        """Receive one batch, waiting up to `wait_seconds` for its first message, and process it; its size.

        As on Lambda it is full, or what has come until the batching window was over.
        """
        messages = self._receive(self._batch_size, wait_seconds)
        until = time.monotonic() + self._window
        while 0 < len(messages) < self._batch_size and time.monotonic() < until and not self._stop.is_set():
            messages += self._receive(self._batch_size - len(messages), wait_seconds=1)
        done = self._consume(messages) if messages else []
        for start in range(0, len(done), MAX_RECEIVED):
            self._delete(done[start : start + MAX_RECEIVED])
        return len(messages)

    def _receive(self, limit: int, wait_seconds: int) -> list[MessageTypeDef]:
        return self._sqs.receive_message(
            QueueUrl=self.queue_url,
            MaxNumberOfMessages=min(limit, MAX_RECEIVED),
            WaitTimeSeconds=wait_seconds,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        ).get("Messages", [])

    def _consume(self, messages: list[MessageTypeDef]) -> list[MessageTypeDef]:
        event = {"Records": [self._record(message) for message in messages]}
        try:
            result = self._function.invoke(event, self._app_name)
        except Exception as error:
            log.warning(
                "%s raised %s (%s): messages that it did not delete will be retried: %s",
                self._function.name, type(error).__name__, error,
                ", ".join(message["MessageId"] for message in messages),
            )  # fmt: skip
            log.debug("raised by %s", self._function.name, exc_info=True)
            return []
        return _succeeded(messages, result)

    def _delete(self, messages: list[MessageTypeDef]) -> None:
        answer = self._sqs.delete_message_batch(
            QueueUrl=self.queue_url,
            Entries=[{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(messages)],
        )
        for failed in answer.get("Failed", []):
            message_id = messages[int(failed["Id"])]["MessageId"]
            log.warning("message %s was not deleted: %s", message_id, failed.get("Message"))

    def _record(self, message: MessageTypeDef) -> dict[str, Any]:
        """The message as in Lambda's SQS event."""
        attributes = message.get("MessageAttributes", {})
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message.get("Attributes", {}),
            "messageAttributes": {name: _attribute(value) for name, value in attributes.items()},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self._queue_arn,
            "awsRegion": region(),
        }


def _attribute(value: MessageAttributeValueOutputTypeDef) -> dict[str, Any]:
    result: dict[str, Any] = {
        "stringListValues": [],
        "binaryListValues": [],
        "dataType": value["DataType"],
    }
    if "StringValue" in value:
        result["stringValue"] = value["StringValue"]
    if "BinaryValue" in value:
        result["binaryValue"] = base64.b64encode(value["BinaryValue"]).decode("ascii")
    return result


def _succeeded(messages: list[MessageTypeDef], result: Any) -> list[MessageTypeDef]:
    """The messages to delete after a normal return.

    A failure that does not name a message of the batch fails the whole batch, as on Lambda.
    """
    failures = result.get("batchItemFailures") if isinstance(result, dict) else None
    failed = {failure.get("itemIdentifier") for failure in failures or []}
    if not failed <= {message["MessageId"] for message in messages}:
        return []
    return [message for message in messages if message["MessageId"] not in failed]


def event_source_mappings(app: Chalice, config: Config) -> list[EventSourceMapping]:
    """One mapping for each queue that the app registered a consumer for."""
    sources = [source for source in app.event_sources if isinstance(source, SQSEventConfig)]
    return [EventSourceMapping(app, config, source) for source in sources]
