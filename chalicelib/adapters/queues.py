"""The order queue and its dead letters."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from chalicelib import exact_json, telemetry
from chalicelib.adapters.aws_faults import faults
from chalicelib.adapters.side_by_side import in_tens
from chalicelib.domain import fields
from chalicelib.domain.fields import In
from chalicelib.domain.order import Order
from chalicelib.faults import Rejected, Unavailable
from chalicelib.use_cases.ports import BATCH_SIZE, PAYMENT_KEY, Depth, Message

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_MAX_BATCH_BYTES = 200_000


def order_created_event(order: Order) -> str:
    """The OrderCreated event of an order, as its producer might have sent it: there is no other kind of message."""
    return exact_json.dumps(fields.write(order, In.MESSAGE))


@dataclass(frozen=True)
class SqsQueue:
    """The port `Queue` on SQS: a queue by its name or URL. `pool` makes calls side by side where there are several."""

    client: "SQSClient"
    name: str
    pool: Executor

    @cached_property
    def url(self) -> str:
        """Where it is; asked for once, unless the name is a URL already."""
        if self.name.startswith("http"):
            return self.name
        with faults():
            return self.client.get_queue_url(QueueName=self.name)["QueueUrl"]

    def try_enqueue(self, order: Order) -> None:
        """Have the order worked on, now or when its outbox entry is due: it is stored with one."""
        try:
            self.send(order_created_event(order), _own(order))
        except (Unavailable, Rejected) as fault:
            telemetry.count("EnqueuesDeferred")
            telemetry.warning("message deferred", orderId=order.order_id, reason=str(fault))

    def enqueue(self, orders: Sequence[Order]) -> list[Order]:
        """Have the orders worked on; those of them that were sent."""
        sent: list[Order] = []
        url = self.url
        for batch in _batches(orders):
            entries: Any = [
                {"Id": str(index), "MessageBody": body, **_attributes(_own(order))}
                for index, (order, body) in enumerate(batch)
            ]
            with faults():
                answer = self.client.send_message_batch(QueueUrl=url, Entries=entries)
            sent += [batch[int(entry["Id"])][0] for entry in answer.get("Successful", ())]
        return sent

    def send(self, body: str, attributes: Mapping[str, str]) -> None:
        """One message with attributes."""
        url = self.url
        with faults():
            self.client.send_message(QueueUrl=url, MessageBody=body, **_attributes(attributes))

    def delete(self, receipt_handles: Sequence[str]) -> None:
        """Acknowledge messages. One that cannot be deleted will come again; the others are deleted all the same."""
        url = self.url

        def delete(handles: Sequence[str]) -> Any:
            entries: Any = [{"Id": str(i), "ReceiptHandle": handle} for i, handle in enumerate(handles)]
            with faults():
                return self.client.delete_message_batch(QueueUrl=url, Entries=entries)

        _all_done(in_tens(self.pool, delete, receipt_handles))

    def change_visibility(self, seconds: Mapping[str, int]) -> None:
        """Hide messages, by receipt handle, for so many seconds from now; where one cannot be, the others are."""
        url = self.url

        def hide(messages: Sequence[tuple[str, int]]) -> Any:
            entries: Any = [
                {"Id": str(i), "ReceiptHandle": handle, "VisibilityTimeout": timeout}
                for i, (handle, timeout) in enumerate(messages)
            ]
            with faults():
                return self.client.change_message_visibility_batch(QueueUrl=url, Entries=entries)

        _all_done(in_tens(self.pool, hide, list(seconds.items())))

    def receive(self, visibility_timeout: int) -> list[Message]:
        """Up to ten messages, hidden from everybody else for so many seconds; none: there are hardly any left."""
        url = self.url
        with faults():
            answer = self.client.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=BATCH_SIZE,
                VisibilityTimeout=visibility_timeout,
                WaitTimeSeconds=0,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
        return [_message(message) for message in answer.get("Messages", ())]

    def depth(self) -> Depth:
        """About how many messages it holds."""
        url = self.url
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        with faults():
            found: Any = self.client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return Depth(*(int(found[name]) for name in names))


def _all_done(answers: Sequence[tuple[Sequence[Any], Any]]) -> None:
    """Raises Unavailable or Rejected once every call was made, if an entry failed in one of them."""
    codes: list[str] = []
    for batch, answer in answers:
        if isinstance(answer, Unavailable | Rejected):
            if len(answers) == 1:
                raise answer
            codes += [str(answer)] * len(batch)
        else:
            # A batch call that succeeds may still have failed for some of its entries.
            codes += [entry["Code"] for entry in answer.get("Failed", ())]
    if codes:
        raise Unavailable(f"{len(codes)} of a batch: {codes[0]}")


def _message(message: Any) -> Message:
    system = message.get("Attributes", {})
    return Message(
        message["MessageId"],
        message["ReceiptHandle"],
        message["Body"],
        int(system.get("ApproximateReceiveCount", 1)),
        int(system.get("SentTimestamp", 0)),
        {name: value.get("StringValue", "") for name, value in message.get("MessageAttributes", {}).items()},
    )


def _own(order: Order) -> dict[str, str]:
    return {PAYMENT_KEY: order.payment_key}


def _attributes(values: Mapping[str, str]) -> dict[str, Any]:
    return {"MessageAttributes": {name: {"DataType": "String", "StringValue": v} for name, v in values.items()}}


def _batches(orders: Iterable[Order]) -> Iterator[list[tuple[Order, str]]]:
    """Orders with their messages: at most ten a call, and no more than a call may carry."""
    batch: list[tuple[Order, str]] = []
    size = 0
    for order in orders:
        body = order_created_event(order)
        if batch and (len(batch) == BATCH_SIZE or size + len(body) > _MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((order, body))
        size += len(body)
    if batch:
        yield batch
