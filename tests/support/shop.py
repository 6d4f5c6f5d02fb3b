"""A shop on a test's stage: its catalogue and the app's use cases, and around them a client, a producer and Lambda.

    with opened(stage, calls, clock) as shop:
        order_id = shop.place(shop.order("PROD-001", 2), "k1").order_id
        shop.run_queue()
        assert shop.status(order_id) == "CONFIRMED"

Its products are those of the sample, and p1, p2 and p3: 100 of each, at 10.00. It never sleeps: `slept` has the pauses.
Calls that the shop itself makes on a stage are the test's own: `shop.calls` sees those of the code under test only.
"""

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from chalice.test import Client

import app as entry
from chalicelib import exact_json, telemetry
from chalicelib.adapters import clients
from chalicelib.adapters.dynamodb.items import from_item, to_item
from chalicelib.adapters.executions import StateMachine
from chalicelib.adapters.side_by_side import WIDTH
from chalicelib.adapters.simulated_payments import SimulatedPayments
from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.domain.events import EVENTS
from chalicelib.domain.order import Status
from chalicelib.entrypoints import saga_steps
from chalicelib.entrypoints.validation import order_request
from chalicelib.service import Service, compose
from chalicelib.settings import Settings
from tests.support import bus
from tests.support.aws_calls import INVOCATION, AwsCalls, Call, Killed
from tests.support.customer import Customer, Reply
from tests.support.events import Clock, FakeLambdaContext, sqs_event_received
from tests.support.orders import PRICE, an_event, sample
from tests.support.payments import FlakyPayments
from tests.support.permissions import granted, permissions
from tests.support.stage import Stage
from tests.support.tables import books_in, forget_order, stock_in
from tests.support.template import ROOT
from tests.support.walker import ARN, Machine

STOCK = 100
ROWS = [{"productId": name, "name": name, "price": PRICE, "stock": STOCK} for name in ("p1", "p2", "p3")]

PATIENT = Config(read_timeout=30, connect_timeout=10, max_pool_connections=64)
"""For many threads on a busy machine: what is under test then is the race, not the time limits."""


@dataclass
class Shop(Customer):
    """One shop. `metrics` and `lines` are what the service has counted and logged so far.

    `payments` is the provider as the service sees it; `provider`, behind it, always answers.
    """

    stage: Stage
    calls: AwsCalls
    clock: Clock
    service: Service
    provider: SimulatedPayments
    payments: FlakyPayments
    slept: list[float]
    metrics: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)
    in_flight: dict[str, Any] = field(default_factory=dict)
    machine: Machine = field(default_factory=Machine)
    client: Client = field(default_factory=lambda: Client(entry.app, project_dir=str(ROOT / "tests")))

    # --- as a producer ---

    def event(
        self, order_id: str, product: str | Mapping[str, int] = "PROD-001", quantity: int = 1, **fields: Any
    ) -> dict[str, Any]:
        """An OrderCreated event, as a producer would send it."""
        return an_event(order_id, {product: quantity} if isinstance(product, str) else product, **fields)

    def produce(self, *bodies: object, attributes: Mapping[str, str] | None = None) -> None:
        """Put messages on the order queue. A body that is no text is sent as JSON."""
        typed: Any = {name: {"DataType": "String", "StringValue": v} for name, v in (attributes or {}).items()}
        for body in bodies:
            text = body if isinstance(body, str) else exact_json.dumps(body)
            url = self.stage.queue_url("ORDER_QUEUE")
            self.stage.sqs.send_message(QueueUrl=url, MessageBody=text, MessageAttributes=typed)

    # --- as Lambda ---

    def consume(
        self, messages: list[Any], *, reporting: bool = False, context: FakeLambdaContext | None = None
    ) -> bool:
        """Hand messages to `order_consumer` and delete as Lambda's mapping would. False: the consumer raised.

        `reporting`: the mapping reports batch item failures.
        """
        try:
            with self.role("order_consumer"):
                result = entry.order_consumer(sqs_event_received(messages), context or FakeLambdaContext())
        except Exception as raised:  # noqa: BLE001 - Lambda takes any for the failure of the batch
            self.lines.append(repr(raised))
            self.run_executions()
            return False
        failed = {f["itemIdentifier"] for f in (result or {}).get("batchItemFailures", [])} if reporting else set()
        for message in messages:
            if message["MessageId"] not in failed:
                self.stage.delete("ORDER_QUEUE", message)
        self.run_executions()
        return True

    def run_executions(self) -> None:
        """What the state machine does: the executions that were started run, if that is the shop's engine."""
        self.machine.run(self.step)

    def step(self, event: Any) -> Any:
        """As the function of the state machine's tasks."""
        with telemetry.invocation(), self.role("saga_step"):
            return saga_steps.saga_step(self.service, event, Deadline.from_context(FakeLambdaContext()))

    @contextmanager
    def role(self, function: str) -> Iterator[None]:
        """What is called inside, a function calls: its role must allow it, whatever the test is about."""
        invocation = object()
        token = INVOCATION.set(invocation)
        try:
            yield
        finally:
            INVOCATION.reset(token)
            own = [call for call in self.calls.made if call.invocation is invocation]
            used = {permission for call in own for permission in permissions(call, self.stage)}
            if missing := used - granted(function, self.stage, self.service.settings.engine):
                pytest.fail(f"{function} may not do {missing}")

    def ask(self, method: str, path: str, body: object = b"", headers: Mapping[str, str] | None = None) -> Reply:
        with self.role("api_handler"):
            return super().ask(method, path, body, headers)

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

    def drain(self, rounds: int = 20) -> None:
        """Deliver until the order queue is empty, however long a message asks to be left alone."""
        for _ in range(rounds):
            if not (messages := self.receive()):
                return
            if not self.consume(messages):
                self.show_again(messages)
        raise AssertionError(f"messages are left after {rounds} rounds: {self.lines[-3:]}")

    def lose_messages(self) -> None:
        """Every message of the order queue is gone, in flight or not."""
        self.come_again()
        for message in self.stage.receive_all("ORDER_QUEUE"):
            self.stage.delete("ORDER_QUEUE", message)
        self.in_flight.clear()

    def come_again(self) -> None:
        """Every message in flight is visible again, as if its visibility timeout were over."""
        self.show_again(list(self.in_flight.values()))
        self.in_flight.clear()

    def show_again(self, messages: list[Any]) -> None:
        """Those of the messages that are not deleted are visible again."""
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
        with telemetry.invocation(), self.role("recover"):
            return self.service.recovery.recover(deadline)

    def recover_later(self, **duration: float) -> int:
        """Let time pass, by default until a new order's mark is overdue, and run the schedule once."""
        self.clock.advance(**(duration or {"seconds": 61}))
        return self.recover()

    def replay(self) -> int:
        """The dead letters go back to the queue; how many."""
        return len(self.service.dead_letters.replay_all(100))

    # --- what has come of it ---

    def stored(self, order_id: str) -> dict[str, Any]:
        """The order as it is stored."""
        (item,) = (item for item in self.stage.items("ORDERS_TABLE") if item["orderId"] == order_id)
        return item

    def status(self, order_id: str) -> str:
        return str(self.stored(order_id)["status"])

    def path(self, order_id: str) -> list[str]:
        """The statuses that an order has had, oldest first."""
        return [entry["status"] for entry in self.stored(order_id)["history"]]

    def has_entry(self, order_id: str) -> bool:
        return "outboxDueAt" in self.stored(order_id)

    def orders(self) -> list[dict[str, Any]]:
        return self.stage.items("ORDERS_TABLE")

    def statuses(self) -> Counter[str]:
        return Counter(order["status"] for order in self.orders())

    def stock(self, product: str = "PROD-001") -> int:
        return stock_in(self.stage)[product]

    def ledger(self) -> dict[str, str]:
        """The state of the payment of each order."""
        books = books_in(self.stage)
        keys = {order["orderId"]: order["paymentKey"] for order in self.orders()}
        return {order_id: books[key]["state"] for order_id, key in keys.items() if key in books}

    def published(self) -> list[dict[str, Any]]:
        """The events that have arrived through the bus since the last time, in the order in which they did."""
        return bus.published(self.stage)

    def published_of(self, order_id: str, *names: str) -> list[str]:
        """The names of the events of one order that have arrived since the last time; those of others are dropped.

        `names` are those that the test is about; without them, all.
        """
        events = [event["detail-type"] for event in self.published() if event["detail"]["orderId"] == order_id]
        return [name for name in events if not names or name in names]

    def owed(self, order_id: str) -> list[str]:
        """The names of the events that are owed for the history of an order, oldest first."""
        return [EVENTS[status] for status in map(Status, self.path(order_id)) if status in EVENTS]

    def set_product(self, product: str, **fields: Any) -> None:
        """Change a row of the catalogue, past the code under test; None removes the field."""
        key: Any = {"productId": {"S": product}}
        found = self.stage.dynamodb.get_item(TableName=self.stage["INVENTORY_TABLE"], Key=key).get("Item", {})
        row = {"productId": product, **from_item(found), **fields}
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
        self.show_again(seen)
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
            forget_order(self.stage, order["orderId"])
        for product in [*sample("products"), *ROWS]:
            order = self.order(product["productId"])
            self.service.placing.intake.price(order_request(order, "USD"))
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
    """A shop with the sample catalogue, whose service is the app's. `settings` are further environment variables.

    With ENGINE=step-functions, executions run as soon as the consumer has returned.
    """
    made: tuple[Any, Any, Any, Any] = (clients.dynamodb(), clients.sqs(), clients.events(), clients.sns())
    if patient:
        made = _like(made[0]), _like(made[1]), _like(made[2]), _like(made[3])
    calls.watch(*made)
    dynamodb: Any = made[0]
    made_of = Settings.from_environment(stage.settings | dict(settings or {}))
    provider = SimulatedPayments(dynamodb, made_of.payments_table, made_of.fail_payment_percent, clock)
    payments, slept = FlakyPayments(provider), list[float]()
    machine = Machine()
    service = compose(
        made_of,
        *made,
        payments=payments,
        clock=clock,
        sleep=slept.append,
        payment_timeout=60,
        executions=StateMachine(cast(Any, machine), ARN, ThreadPoolExecutor(WIDTH)),
    )
    shop = Shop(stage, calls, clock, service, provider, payments, slept, machine=machine)
    rows: Any = [{"PutRequest": {"Item": to_item(product)}} for product in [*sample("products"), *ROWS]]
    stage.dynamodb.batch_write_item(RequestItems={stage["INVENTORY_TABLE"]: rows})
    bus.listen(stage)
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
            shop.lines.append(self.format(record))

    patch.setattr(telemetry, "count", noting)
    logger, noting_lines = telemetry.logger(), Noting()
    noting_lines.setFormatter(logger.handlers[0].formatter)
    patch.setattr(logger, "handlers", [*logger.handlers, noting_lines])
