"""What the tests of the saga lean on: a shop reached through the app's own entry points, and the provider's books."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from botocore.exceptions import ClientError
from chalice.test import Client, HTTPResponse

from chalicelib import clients
from chalicelib.consumer import MessagesLeft
from chalicelib.idempotency import fingerprint
from chalicelib.order import TRANSITIONS, LineItem, Order, Status, new_order
from chalicelib.service import Service, compose
from chalicelib.settings import settings_of
from chalicelib.simulated_payments import SimulatedPayments, TimesOut
from chalicelib.times import Clock
from tests.support.events import sqs_event_received
from tests.support.stage import Stage
from tests.support.template import ROOT

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
PRICE = Decimal("10.00")
ARROWS = {(arrow.source, arrow.target) for arrow in TRANSITIONS}
JSON = {"Content-Type": "application/json"}


def an_order(order_id: str = "o1", quantities: Mapping[str, int] | None = None, **fields: Any) -> Order:
    """A PENDING order of so many units of each product; `fields` are set as they are."""
    units = quantities or {"p1": 1}
    order = new_order(
        order_id=order_id,
        customer_id="c1",
        items=tuple(LineItem(product_id, n, PRICE, product_id) for product_id, n in units.items()),
        total_amount=PRICE * sum(units.values()),
        currency="USD",
        shipping_address=None,
        created_at=NOW,
        fingerprint="",
    )
    return replace(order, fingerprint=fingerprint(order.content), **fields)


def a_body(quantities: Mapping[str, int], customer_id: str = "c1") -> dict[str, Any]:
    """What a client sends to order so many units of each product."""
    return {
        "customerId": customer_id,
        "items": [{"productId": product_id, "quantity": n} for product_id, n in quantities.items()],
        "totalAmount": float(PRICE * sum(quantities.values())),
    }


class Troubles:
    """A provider's bad days: `on("charge", TimesOut.AFTER)` for the next call, or for so many in a row (None: all)."""

    def __init__(self) -> None:
        self._planned: list[list[Any]] = []
        self.asked: list[tuple[str, str]] = []

    def on(self, operation: str, when: TimesOut, times: int | None = 1) -> None:
        self._planned.append([operation, when, times])

    def over(self) -> None:
        self._planned.clear()

    def __call__(self, operation: str, order_id: str) -> TimesOut | None:
        self.asked.append((operation, order_id))
        for plan in self._planned:
            if plan[0] == operation and plan[2] != 0:
                plan[2] = None if plan[2] is None else plan[2] - 1
                when: TimesOut = plan[1]
                return when
        return None


@dataclass
class Till:
    """A shop: orders come and go through the app's routes and functions, the provider and the clock are the test's."""

    stage: Stage
    clock: Clock
    service: Service
    provider: SimulatedPayments
    troubles: Troubles
    app: Client
    left: list[str] = field(default_factory=list)

    # --- what people do ---

    def place(self, key: str = "k1", quantities: Mapping[str, int] | None = None, customer_id: str = "c1") -> str:
        body = a_body(quantities or {"p1": 1}, customer_id)
        answer = self.post("/orders", body, {"Idempotency-Key": key})
        assert answer.status_code == 201, answer.body
        return str(answer.json_body["orderId"])

    def post(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> HTTPResponse:
        if body is None:
            return self.app.http.post(path, headers=dict(headers or {}))
        return self.app.http.post(path, headers={**JSON, **(headers or {})}, body=json.dumps(body).encode())

    def cancel(self, order_id: str, reason: str | None = None) -> HTTPResponse:
        return self.post(f"/orders/{order_id}/cancel", {"reason": reason} if reason else None)

    def ship(self, order_id: str, **details: str) -> HTTPResponse:
        return self.post(f"/orders/{order_id}/ship", details or None)

    def deliver(self, order_id: str) -> HTTPResponse:
        return self.post(f"/orders/{order_id}/deliver")

    def get(self, order_id: str) -> dict[str, Any]:
        answer = self.app.http.get(f"/orders/{order_id}")
        assert answer.status_code == 200, answer.body
        document: dict[str, Any] = json.loads(answer.body, parse_float=Decimal)
        return document

    # --- what Lambda does ---

    def consume(self, receipts: Sequence[Any]) -> bool:
        """Hand received messages to the consumer, and delete them when it returns, as Lambda does; whether it did."""
        try:
            self.app.lambda_.invoke("order_consumer", sqs_event_received(list(receipts)))
        except MessagesLeft as left:
            self.left.append(str(left))
            return False
        for message in receipts:
            self.stage.delete("ORDER_QUEUE", message)
        return True

    def work(self, rounds: int = 20) -> None:
        """Deliver what is on the queue until nothing is, however long a message asks to be left alone."""
        for _ in range(rounds):
            messages = self.stage.receive("ORDER_QUEUE")
            if not messages:
                return
            if not self.consume(messages):
                self.show_again(messages)
        raise AssertionError(f"messages are left after {rounds} rounds: {self.left[-3:]}")

    def show_again(self, messages: Sequence[Any]) -> None:
        """Those of the messages that are not deleted are there to be received, without a wait."""
        for message in messages:
            try:
                self.stage.sqs.change_message_visibility(
                    QueueUrl=self.stage.queue_url("ORDER_QUEUE"),
                    ReceiptHandle=message["ReceiptHandle"],
                    VisibilityTimeout=0,
                )
            except ClientError:  # deleted: it was done
                continue

    def recover(self) -> None:
        self.app.lambda_.invoke("recover", self.app.events.generate_cw_event("aws.events", "Scheduled Event", {}, []))

    def produce(self, order_id: str, quantities: Mapping[str, int] | None = None, **fields: Any) -> None:
        """A producer puts an OrderCreated event on the queue."""
        body = json.dumps({"orderId": order_id, **a_body(quantities or {"p1": 1}), **fields})
        self.stage.sqs.send_message(QueueUrl=self.stage.queue_url("ORDER_QUEUE"), MessageBody=body)

    def replay(self) -> int:
        """The dead letters go back to the queue, as they came; how many."""
        letters = self.stage.receive_all("ORDER_DEAD_LETTERS")
        for letter in letters:
            self.stage.sqs.send_message(QueueUrl=self.stage.queue_url("ORDER_QUEUE"), MessageBody=letter["Body"])
            self.stage.delete("ORDER_DEAD_LETTERS", letter)
        return len(letters)

    def without_pauses(self) -> list[float]:
        """From now on, a conflict is met again at once; the seconds that would have been slept."""
        slept: list[float] = []
        object.__setattr__(self.service.operations.settlement, "sleep", slept.append)
        return slept

    # --- what stands ---

    def status(self, order_id: str) -> str:
        return str(self.get(order_id)["status"])

    def path(self, order_id: str) -> list[str]:
        """The statuses that an order has had, oldest first."""
        return [entry["status"] for entry in self.get(order_id)["history"]]

    def stored(self, order_id: str) -> dict[str, Any]:
        return next(item for item in self.stage.items("ORDERS_TABLE") if item["orderId"] == order_id)

    def marked(self, order_id: str) -> bool:
        return "outboxDueAt" in self.stored(order_id)

    def stock(self, product_id: str = "p1") -> int:
        return stock_of(self.stage)[product_id]

    def ledger(self) -> dict[str, str]:
        return {order_id: row["state"] for order_id, row in books_of(self.stage).items()}

    def told(self) -> list[dict[str, Any]]:
        """The events that have arrived through the bus since the last time, in the order in which they did."""
        messages = self.stage.sqs.receive_message
        arrived: list[dict[str, Any]] = []
        url = self.stage.sqs.get_queue_url(QueueName="told")["QueueUrl"]
        while batch := messages(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0).get("Messages"):
            for message in batch:
                arrived.append(json.loads(message["Body"], parse_float=Decimal))
                self.stage.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return arrived

    def told_of(self, order_id: str) -> list[str]:
        """The names of the events of one order that have arrived since the last time."""
        return [event["detail-type"] for event in self.told() if event["detail"]["orderId"] == order_id]


def open_till(stage: Stage, clock: Clock, patch: pytest.MonkeyPatch, stock: int = 100) -> Till:
    """A till whose app works with the test's own provider and clock. Products p1, p2 and p3 cost 10.00 each."""
    for product_id in ("p1", "p2", "p3"):
        stock_up(stage, product_id, stock)
    listen(stage)
    troubles = Troubles()
    provider = SimulatedPayments(clients.dynamodb(), stage["PAYMENTS_TABLE"], trouble=troubles)
    aws = clients.dynamodb(), clients.sqs(), clients.events(), clients.sns()
    service = compose(settings_of(), *aws, payments=provider, clock=clock)
    patch.setattr("app.service", lambda: service)
    from app import app

    # Away from .chalice, whose configuration of a deployed stage would take the place of the test's environment.
    return Till(stage, clock, service, provider, troubles, Client(app, project_dir=str(ROOT / "tests")))


def stock_up(stage: Stage, product_id: str, stock: int, price: Decimal = PRICE) -> None:
    stage.put_item("INVENTORY_TABLE", {"productId": product_id, "name": product_id, "price": price, "stock": stock})


def listen(stage: Stage) -> None:
    """From now on, every order event that goes through the bus and a rule arrives on a queue named `told`."""
    url = stage.sqs.create_queue(QueueName="told")["QueueUrl"]
    arn = stage.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = json.dumps({"source": ["orderonce"]})
    stage.events.put_rule(Name="told", EventBusName=stage["EVENT_BUS"], EventPattern=pattern)
    stage.events.put_targets(Rule="told", EventBusName=stage["EVENT_BUS"], Targets=[{"Id": "told", "Arn": arn}])


def stock_of(stage: Stage) -> dict[str, int]:
    return {item["productId"]: int(item["stock"]) for item in stage.items("INVENTORY_TABLE")}


def books_of(stage: Stage) -> dict[str, dict[str, Any]]:
    """The provider's ledger by order id."""
    return {row["orderId"]: row for row in stage.items("PAYMENTS_TABLE")}


# --- the conservation laws ---


def check_conserved(stage: Stage, stock_before: Mapping[str, int], expected: set[str] | None = None) -> Counter[str]:
    """Once all is quiet, what issue 4 says must be true of every order, all stock and all money; the statuses."""
    orders = {item["orderId"]: item for item in stage.items("ORDERS_TABLE")}
    books = books_of(stage)
    if expected is not None:
        assert set(orders) == expected, "an order is lost, or is there twice"
    for order in orders.values():
        check_order(order, books.get(order["orderId"]))
    standing = [order for order in orders.values() if order["status"] in STANDING]
    check_stock(stage, stock_before, standing)
    charged = sum(row["amount"] for row in books.values() if row["state"] in ("CHARGED", "REFUNDED"))
    refunded = sum(row["amount"] for row in books.values() if row["state"] == "REFUNDED")
    assert charged - refunded == sum(order["totalAmount"] for order in standing)
    return Counter(order["status"] for order in orders.values())


STANDING = (Status.CONFIRMED, Status.SHIPPED, Status.DELIVERED)
_ENDS = (*STANDING, Status.FAILED, Status.CANCELLED)


def check_order(order: Mapping[str, Any], row: Mapping[str, Any] | None) -> None:
    """One order has come to one end, by a path of the transition table, and its money is where its status says."""
    assert order["status"] in _ENDS, order
    path = [entry["status"] for entry in order["history"]]
    assert path[0] == Status.PENDING, path
    assert path[-1] == order["status"], path
    assert set(pairwise(path)) <= ARROWS, path
    assert "outboxDueAt" not in order, f"work is left on {order}"
    state = row["state"] if row else None
    if order["status"] in STANDING:
        assert state == "CHARGED", (order, row)
        assert row is not None
        assert (row["amount"], row["paymentId"]) == (order["totalAmount"], order["paymentId"])
    else:
        assert state != "CHARGED", (order, row)
    if order["status"] == Status.CANCELLED:
        assert order["refund"] == ("DONE" if state == "REFUNDED" else "NONE"), (order, row)
    else:
        assert "refund" not in order
    assert ("reserved" in order) == (Status.RESERVED in path)


def check_stock(stage: Stage, before: Mapping[str, int], standing: Sequence[Mapping[str, Any]]) -> None:
    """What there was is what there is and what the orders that stand have taken; and there is never less than none."""
    now = stock_of(stage)
    taken: Counter[str] = Counter()
    for order in standing:
        taken.update({product_id: int(n) for product_id, n in order["reserved"].items()})
    assert {product_id: now[product_id] + taken[product_id] for product_id in before} == dict(before)
    assert min(now.values()) >= 0


@contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """What is inside takes no longer than this. Generous: a shared machine is slow now and then."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < seconds, f"took {took:.2f} s"
