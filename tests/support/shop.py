"""A shop on a test's stage: its catalogue and the app's use cases, and around them a client, a producer and Lambda.

    with opened(stage, calls, clock) as shop:
        placed = shop.post(shop.order(), key="k1")
        shop.run_queue()
        assert shop.stored(placed.json["orderId"])["status"] == "CONFIRMED"

Calls that the shop itself makes on a stage are the test's own: `shop.calls` sees those of the code under test only.
"""

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from chalice.test import Client

import app as entry
from chalicelib import clients, exact_json, telemetry
from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.items import marshalled, plain
from chalicelib.service import Service, compose
from chalicelib.settings import settings_of
from chalicelib.validation import order_request
from tests.support.aws_calls import AwsCalls, Call, Killed
from tests.support.events import Clock, FakeLambdaContext, sqs_event_received
from tests.support.stage import Stage
from tests.support.template import ROOT

SAMPLES = ROOT / "tests" / "samples"

PATIENT = Config(read_timeout=30, connect_timeout=10, max_pool_connections=64)
"""For many threads on a busy machine: what is under test then is the race, not the time limits."""


def sample(name: str) -> Any:
    """A sample document; its amounts are Decimals."""
    return exact_json.loads((SAMPLES / f"{name}.json").read_bytes())


@dataclass(frozen=True)
class Reply:
    """What a client got; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return exact_json.loads(self.body)

    @property
    def order_id(self) -> str:
        return str(self.json["orderId"])

    @property
    def replayed(self) -> bool:
        return self.headers.get("idempotent-replayed") == "true"

    @property
    def kind(self) -> str:
        """The last part of a problem's `type`."""
        assert self.headers["content-type"] == "application/problem+json", self
        return str(self.json["type"]).rpartition("/")[2]


@dataclass
class Shop:
    """One shop. `metrics` and `lines` are what the service has counted and logged so far."""

    stage: Stage
    calls: AwsCalls
    clock: Clock
    service: Service
    metrics: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)
    in_flight: dict[str, Any] = field(default_factory=dict)
    client: Client = field(default_factory=lambda: Client(entry.app, project_dir=str(ROOT / "tests")))

    # --- as a client ---

    def order(self, product: str = "PROD-001", quantity: int = 1, **fields: Any) -> dict[str, Any]:
        """The body of an order of one product, at the catalogue's price; `fields` replace or add, None removes."""
        price = next(p["price"] for p in sample("products") if p["productId"] == product)
        lines = [{"productId": product, "quantity": quantity}]
        body = {"customerId": "CUST-1", "items": lines, "totalAmount": price * quantity, **fields}
        return {name: value for name, value in body.items() if value is not None}

    def ask(self, method: str, path: str, body: object = b"", headers: Mapping[str, str] | None = None) -> Reply:
        """One request through the Chalice test client. A body that is no bytes is sent as JSON."""
        sent = body if isinstance(body, bytes) else exact_json.dumps(body).encode()
        answer = self.client.http.request(method, path, headers=dict(headers or {}), body=sent)
        return Reply(answer.status_code, {n.lower(): _one(v) for n, v in answer.headers.items()}, answer.body)

    def post(self, order: object, key: str | None = None, **headers: str) -> Reply:
        """POST /orders. `headers` in Python's spelling: `content_type="text/plain"`."""
        named = {"Content-Type": "application/json"} | {n.replace("_", "-").title(): v for n, v in headers.items()}
        if key is not None:
            named["Idempotency-Key"] = key
        return self.ask("POST", "/orders", order, named)

    def place(self, order: object = None, key: str | None = None, **headers: str) -> Reply:
        """POST /orders, which succeeds."""
        reply = self.post(order or self.order(), key, **headers)
        assert reply.status == 201, reply
        return reply

    def get(self, path: str) -> Reply:
        return self.ask("GET", path)

    def place_directly(self, order: dict[str, Any], key: str | None) -> Any:
        """The use case without HTTP, for threads: the Chalice test client is for one only."""
        request = order_request(exact_json.loads(exact_json.dumps(order)), self.service.settings.currency)
        return self.service.placing.place(request, key)

    # --- as a producer ---

    def event(self, order_id: str, product: str = "PROD-001", quantity: int = 1, **fields: Any) -> dict[str, Any]:
        """An OrderCreated event, as a producer would send it."""
        created = {"orderId": order_id, "createdAt": "2026-01-15T11:59:00Z"}
        return self.order(product, quantity, **(created | fields))

    def produce(self, *bodies: object) -> None:
        """Put messages on the order queue. A body that is no text is sent as JSON."""
        for body in bodies:
            text = body if isinstance(body, str) else exact_json.dumps(body)
            self.stage.sqs.send_message(QueueUrl=self.stage.queue_url("ORDER_QUEUE"), MessageBody=text)

    # --- as Lambda ---

    def consume(
        self, messages: list[Any], *, reporting: bool = False, context: FakeLambdaContext | None = None
    ) -> bool:
        """Hand messages to `order_consumer` and delete as Lambda's mapping would. False: the consumer raised.

        `reporting`: the mapping reports batch item failures.
        """
        try:
            result = entry.order_consumer(sqs_event_received(messages), context or FakeLambdaContext())
        except Exception as raised:  # noqa: BLE001 - Lambda takes any for the failure of the batch
            self.lines.append(repr(raised))
            return False
        failed = {f["itemIdentifier"] for f in (result or {}).get("batchItemFailures", [])} if reporting else set()
        for message in messages:
            if message["MessageId"] not in failed:
                self.stage.delete("ORDER_QUEUE", message)
        return True

    def receive(self) -> list[Any]:
        """A batch of what is visible on the order queue."""
        messages = self.stage.receive("ORDER_QUEUE")
        self.in_flight |= {message["MessageId"]: message for message in messages}
        return messages

    def run_queue(self, **how: Any) -> int:
        """Batch after batch until nothing is visible any more; how many batches the consumer raised for."""
        raised = 0
        while messages := self.receive():
            raised += not self.consume(messages, **how)
        return raised

    def lose_messages(self) -> None:
        """Every message of the order queue is gone, in flight or not."""
        self.come_again()
        for message in self.stage.receive_all("ORDER_QUEUE"):
            self.stage.delete("ORDER_QUEUE", message)
        self.in_flight.clear()

    def come_again(self) -> None:
        """Every message in flight is visible again, as if its visibility timeout were over."""
        self._show(list(self.in_flight.values()))
        self.in_flight.clear()

    def _show(self, messages: list[Any]) -> None:
        url = self.stage.queue_url("ORDER_QUEUE")
        for message in messages:
            receipt = message["ReceiptHandle"]
            with suppress(ClientError):  # it may be deleted
                self.stage.sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=0)

    def hidden(self) -> int:
        """How many messages of the order queue are in flight or delayed."""
        answer = self.stage.sqs.get_queue_attributes(
            QueueUrl=self.stage.queue_url("ORDER_QUEUE"), AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
        )
        return int(answer["Attributes"]["ApproximateNumberOfMessagesNotVisible"])

    def recover(self, deadline: Deadline = NO_DEADLINE) -> int:
        """One run of the schedule; how many messages it sent."""
        with telemetry.invocation():
            return self.service.recovery.recover(deadline)

    def recover_later(self, **duration: float) -> int:
        """Let time pass, by default until a new order's mark is overdue, and run the schedule once."""
        self.clock.advance(**(duration or {"seconds": 61}))
        return self.recover()

    # --- what has come of it ---

    def stored(self, order_id: str) -> dict[str, Any]:
        """The order as it is stored."""
        (item,) = (item for item in self.stage.items("ORDERS_TABLE") if item["orderId"] == order_id)
        return item

    def orders(self) -> list[dict[str, Any]]:
        return self.stage.items("ORDERS_TABLE")

    def statuses(self) -> Counter[str]:
        return Counter(order["status"] for order in self.orders())

    def stock(self, product: str = "PROD-001") -> int:
        (item,) = (item for item in self.stage.items("INVENTORY_TABLE") if item["productId"] == product)
        return int(item["stock"])

    def set_product(self, product: str, **fields: Any) -> None:
        """Change a row of the catalogue, past the code under test; None removes the field."""
        key: Any = {"productId": {"S": product}}
        found = self.stage.dynamodb.get_item(TableName=self.stage["INVENTORY_TABLE"], Key=key).get("Item", {})
        row = {"productId": product, **plain(found), **fields}
        self.stage.put_item("INVENTORY_TABLE", {name: value for name, value in row.items() if value is not None})

    def remove_product(self, product: str) -> None:
        key: Any = {"productId": {"S": product}}
        self.stage.dynamodb.delete_item(TableName=self.stage["INVENTORY_TABLE"], Key=key)

    def change_stored(self, order_id: str, **fields: Any) -> None:
        """Change a stored order, past the code under test; None removes the attribute."""
        item = {**self.stored(order_id), **fields}
        self.stage.put_item("ORDERS_TABLE", {name: value for name, value in item.items() if value is not None})

    def messages(self) -> list[Any]:
        """What is visible on the order queue; it stays visible."""
        seen = self.stage.receive_all("ORDER_QUEUE")
        self._show(seen)
        return seen

    def dead_letters(self) -> list[dict[str, Any]]:
        """The dead letters, removed: their attributes by name, and `body`."""
        found = []
        for message in self.stage.receive_all("ORDER_DEAD_LETTERS"):
            self.stage.delete("ORDER_DEAD_LETTERS", message)
            attributes = {name: a["StringValue"] for name, a in message.get("MessageAttributes", {}).items()}
            found.append(attributes | {"body": message["Body"]})
        return found

    def counted(self) -> dict[str, int]:
        """Calls so far by operation: those on orders, stock, reservations of order ids, and the queues.

        Not counted: the payment provider's own books, the events, and asking for a queue's address (once a process).
        """
        return dict(Counter(call.operation for call in self.calls.made if self._counts(call)))

    def _counts(self, call: Call) -> bool:
        own_books = self.stage["PAYMENTS_TABLE"] in repr(call.params)
        return call.service in ("dynamodb", "sqs") and call.operation != "GetQueueUrl" and not own_books

    def warm_up(self) -> None:
        """The catalogue and the queue's address are remembered; then nothing has happened yet."""
        self.place(self.order(customerId="CUST-0"), "warm-up")
        self.lose_messages()
        for order in self.orders():
            key: Any = {"orderId": {"S": order["orderId"]}}
            self.stage.dynamodb.delete_item(TableName=self.stage["ORDERS_TABLE"], Key=key)
        for product in sample("products"):
            order = self.order(product["productId"])
            self.service.placing.catalogue.price(order_request(order, "USD"))
        self.calls.forget()
        self.metrics.clear()
        self.lines.clear()


def killed(action: Callable[[], object]) -> bool:
    """Whether the process died while it did this."""
    try:
        action()
    except Killed:
        return True
    return False


@contextmanager
def opened(
    stage: Stage, calls: AwsCalls, clock: Clock, *, patient: bool = False, settings: Mapping[str, str] | None = None
) -> Iterator[Shop]:
    """A shop with the sample catalogue, whose service is the app's. `settings` are further environment variables."""
    made: tuple[Any, ...] = (clients.dynamodb(), clients.sqs(), clients.events(), clients.sns())
    if patient:
        made = tuple(_like(client) for client in made)
    calls.watch(*made)
    dynamodb, sqs, events, sns = made
    service = compose(settings_of(stage.settings | dict(settings or {})), dynamodb, sqs, events, sns, clock=clock)
    shop = Shop(stage, calls, clock, service)
    rows: Any = [{"PutRequest": {"Item": marshalled(product)}} for product in sample("products")]
    stage.dynamodb.batch_write_item(RequestItems={stage["INVENTORY_TABLE"]: rows})
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        # Chalice's local gateway knows no IAM: it lets everybody through, and says so.
        warnings.filterwarnings("ignore", message="IAMAuthorizer is not a supported in local mode")
        patch.setattr(entry, "service", lambda: service)
        _listen(shop, patch)
        yield shop


def _like(client: Any) -> Any:
    return boto3.client(client.meta.service_model.service_name, config=client.meta.config.merge(PATIENT))


def _listen(shop: Shop, patch: pytest.MonkeyPatch) -> None:
    """Have all that is counted and logged noted in the shop too."""
    count = telemetry.count

    def noting(name: str, value: int = 1, reason: str | None = None) -> None:
        shop.metrics[name] += value
        if reason:
            shop.metrics[f"{name} {reason}"] += value
        count(name, value, reason)

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shop.lines.append(telemetry.logger().registered_formatter.format(record))

    patch.setattr(telemetry, "count", noting)
    underneath = logging.getLogger(telemetry.logger().name)
    patch.setattr(underneath, "handlers", [*underneath.handlers, Noting()])


def _one(value: Any) -> str:
    return str(value[0] if isinstance(value, list) else value)
