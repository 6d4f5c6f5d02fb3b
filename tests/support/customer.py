"""A client of the API, through the Chalice test client."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chalice.test import Client

from chalicelib import exact_json
from tests.support.orders import a_body


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


class Customer:
    """What clients of the API do. Not for threads: the Chalice test client is for one only."""

    client: Client

    def order(self, product: str | Mapping[str, int] = "PROD-001", quantity: int = 1, **fields: Any) -> dict[str, Any]:
        """The body of an order of one product, or of so many units of each; `fields` replace or add, None removes."""
        return a_body({product: quantity} if isinstance(product, str) else product, **fields)

    def ask(self, method: str, path: str, body: object = b"", headers: Mapping[str, str] | None = None) -> Reply:
        """One request through the Chalice test client. A body that is not bytes is sent as JSON."""
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

    def document(self, order_id: str) -> dict[str, Any]:
        """The order as the API shows it."""
        reply = self.get(f"/orders/{order_id}")
        assert reply.status == 200, reply
        document: dict[str, Any] = reply.json
        return document

    def act(self, verb: str, order_id: str, **details: str) -> Reply:
        """POST /orders/{id}/{verb}; without details, without a body."""
        headers = {"Content-Type": "application/json"} if details else None
        return self.ask("POST", f"/orders/{order_id}/{verb}", details or b"", headers)

    def cancel(self, order_id: str, reason: str | None = None) -> Reply:
        return self.act("cancel", order_id, **({"reason": reason} if reason else {}))

    def ship(self, order_id: str, **details: str) -> Reply:
        return self.act("ship", order_id, **details)

    def deliver(self, order_id: str) -> Reply:
        return self.act("deliver", order_id)


def _one(value: Any) -> str:
    return str(value[0] if isinstance(value, list) else value)
