"""Two services with the routes of OrderOnce: one that knows no keys, and one as Powertools teaches it."""

import json
import re
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

import boto3
from botocore.exceptions import ClientError

from benchmarks.scenario import Context
from benchmarks.usual.app import Order, placing_handler, set_status
from tests.conformance.serving import Reply
from tests.support.stage import Stage

JSON = {"Content-Type": "application/json"}


class OrderRoutes(ABC):
    """What the two have in common. `down`: it cannot do all of its work."""

    down = False

    @abstractmethod
    def place(self, headers: Message, body: bytes) -> Reply: ...

    @abstractmethod
    def ids(self, customer: str) -> list[str]: ...

    @abstractmethod
    def cancel(self, order_id: str) -> None: ...

    def answer(self, method: str, path: str, headers: Message, body: bytes) -> Reply:
        path = path.partition("?")[0]
        if path.startswith("/outage/"):
            self.down = path == "/outage/begins"
            return Reply(204)
        if (method, path) == ("POST", "/orders"):
            try:
                return self.place(headers, body)
            except Exception:  # noqa: BLE001 - as API Gateway does when a function fails
                return Reply(502, {"message": "Internal server error"}, JSON)
        if found := re.fullmatch("/customers/(.+)/orders", path):
            return Reply(200, {"orders": self.ids(found[1])}, JSON)
        if found := re.fullmatch("/orders/(.+)/cancel", path):
            self.cancel(found[1])
            return Reply(200, {}, JSON)
        return Reply(403, {"message": "Missing Authentication Token"}, JSON)


@dataclass
class Naive(OrderRoutes):
    """Each request is a new order."""

    orders: list[Order] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def place(self, headers: Message, body: bytes) -> Reply:
        order = json.loads(body)
        if not order["items"]:
            return Reply(400, {"message": "An order has items"}, JSON)
        if self.down:
            raise ConnectionError("the database does not answer")
        with self.lock:
            self.orders.append(order | {"orderId": str(len(self.orders) + 1), "status": "PENDING"})
            return Reply(201, dict(self.orders[-1]), JSON)

    def ids(self, customer: str) -> list[str]:
        return [order["orderId"] for order in self.orders if order["customerId"] == customer]

    def cancel(self, order_id: str) -> None:
        self.orders[int(order_id) - 1]["status"] = "CANCELLED"


class Usual(OrderRoutes):
    """`@idempotent` around *write the order, then send its message*, on a stage whose queue can be away."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._dynamodb = boto3.client("dynamodb")
        sqs = boto3.client("sqs")
        sqs.meta.events.register("before-call.sqs.SendMessage", self._if_down)
        self._place = placing_handler(self._dynamodb, sqs)

    def place(self, headers: Message, body: bytes) -> Reply:
        answer = self._place({"headers": dict(headers.items()), "body": body.decode()}, Context())
        return Reply(answer["statusCode"], answer["body"], answer["headers"])

    def ids(self, customer: str) -> list[str]:
        found = self._stage.items("ORDERS_TABLE")
        return [order["orderId"] for order in found if order["customerId"] == customer]

    def cancel(self, order_id: str) -> None:
        set_status(self._dynamodb, {"orderId": order_id}, "CANCELLED")

    def _if_down(self, **_: Any) -> None:
        if self.down:
            raise ClientError({"Error": {"Code": "ServiceUnavailable", "Message": "Try again"}}, "SendMessage")
