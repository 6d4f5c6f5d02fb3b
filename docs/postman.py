"""Writes `docs/postman_collection.json`: a walk through the API whose every answer is checked (Postman Collection 2.1).

`make postman` makes it; tests/docs/test_postman.py fails when it is stale, and runs it with newman.
"""

import json
from pathlib import Path
from typing import Any

COLLECTION = Path(__file__).with_name("postman_collection.json")

_ABOUT = """\
Places an order of a product of the catalogue, repeats the request, reuses its key for another order, looks the key up,
lists and cancels; each answer is checked. Run it whole and in order: each run has a new key. `baseUrl` is the API's
address, without a slash at its end. For a deployed stage, set an authorization for the collection too.
"""

_CHOSEN = """\
["orderId", "placed"].forEach((name) => pm.collectionVariables.unset(name));
pm.collectionVariables.set("key", pm.variables.replaceIn("postman-{{$guid}}"));
pm.test("there is something to buy", () => {
    pm.response.to.have.status(200);
    const [product] = pm.response.json().products;
    pm.collectionVariables.set("productId", product.productId);
    pm.collectionVariables.set("unitPrice", product.price.toFixed(2));
    pm.collectionVariables.set("priceOfTwo", (2 * product.price).toFixed(2));
});
"""

_PLACED = """\
pm.test("201, and no replay", () => {
    pm.response.to.have.status(201);
    pm.response.to.not.have.header("Idempotent-Replayed");
});
pm.test("the order is PENDING, and Location names it", () => {
    const order = pm.response.json();
    pm.expect(order.status).to.equal("PENDING");
    pm.expect(pm.response.headers.get("Location")).to.match(new RegExp(`/orders/${order.orderId}$`));
    pm.collectionVariables.set("orderId", order.orderId);
    pm.collectionVariables.set("placed", pm.response.text());
});
"""

_REPLAYED = """\
pm.test("201, and it says that it is a replay", () => {
    pm.response.to.have.status(201);
    pm.response.to.have.header("Idempotent-Replayed", "true");
});
pm.test("the same bytes as the first time", () => {
    pm.response.to.have.body(pm.collectionVariables.get("placed"));
});
"""

_REUSED = """\
pm.test("422: the key is another order's, which is named", () => {
    pm.response.to.have.status(422);
    pm.response.to.have.header("Content-Type", "application/problem+json");
    const problem = pm.response.json();
    pm.expect(problem.type).to.match(/idempotency-key-reused$/);
    pm.expect(problem.orderId).to.equal(pm.collectionVariables.get("orderId"));
});
"""

_LOOKED_UP = """\
pm.test("the key is used, for the one order", () => {
    pm.response.to.have.status(200);
    const found = pm.response.json();
    pm.expect(found.used).to.equal(true);
    pm.expect(found.idempotencyKey).to.equal(pm.collectionVariables.get("key"));
    pm.expect(found.orderId).to.equal(pm.collectionVariables.get("orderId"));
});
"""

_LISTED = """\
pm.test("the order is among the customer's newest, once", () => {
    pm.response.to.have.status(200);
    const ids = pm.response.json().orders.map((order) => order.orderId);
    pm.expect(ids.filter((id) => id === pm.collectionVariables.get("orderId"))).to.have.lengthOf(1);
});
"""

_CANCELLED = """\
pm.test("the order is CANCELLED", () => {
    pm.response.to.have.status(200);
    const order = pm.response.json();
    pm.expect(order.orderId).to.equal(pm.collectionVariables.get("orderId"));
    pm.expect(order.status).to.equal("CANCELLED");
});
"""


_ORDER = """\
{
    "customerId": "{{customerId}}",
    "items": [{"productId": "{{productId}}", "quantity": QUANTITY, "unitPrice": {{unitPrice}}}],
    "totalAmount": {{TOTAL}}
}
"""


def collection() -> dict[str, Any]:
    """The collection as it should be."""
    orders = "customers/{{customerId}}/orders"
    return {
        "info": {
            "name": "OrderOnce",
            "description": _ABOUT,
            "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json",
        },
        "variable": [
            {"key": "baseUrl", "value": "http://127.0.0.1:8000"},
            {"key": "customerId", "value": "CUST-42"},
        ],
        "item": [
            _item("Choose a product", _CHOSEN, _request("GET", "products", limit="1")),
            _item("Place an order", _PLACED, _place("1", "unitPrice")),
            _item("Place it again", _REPLAYED, _place("1", "unitPrice")),
            _item("Reuse its key for two of the product", _REUSED, _place("2", "priceOfTwo")),
            _item("Look the key up", _LOOKED_UP, _request("GET", orders, idempotencyKey="{{key}}")),
            _item("List the customer's orders", _LISTED, _request("GET", orders, limit="20")),
            _item("Cancel the order", _CANCELLED, _request("POST", "orders/{{orderId}}/cancel")),
        ],
    }


def _item(name: str, script: str, request: dict[str, Any]) -> dict[str, Any]:
    checks = {"listen": "test", "script": {"type": "text/javascript", "exec": script.splitlines()}}
    return {"name": name, "event": [checks], "request": request}


def _place(quantity: str, total: str) -> dict[str, Any]:
    """The order of so many units, with the key of the run."""
    body = _ORDER.replace("QUANTITY", quantity).replace("TOTAL", total)
    return _request("POST", "orders") | {
        "header": [
            {"key": "Content-Type", "value": "application/json"},
            {"key": "Idempotency-Key", "value": "{{key}}"},
        ],
        "body": {"mode": "raw", "raw": body},
    }


def _request(method: str, path: str, **query: str) -> dict[str, Any]:
    address = f"{{{{baseUrl}}}}/{path}" + "".join(f"?{name}={value}" for name, value in query.items())
    parameters = [{"key": name, "value": value} for name, value in query.items()]
    url = {"raw": address, "host": ["{{baseUrl}}"], "path": path.split("/"), "query": parameters}
    return {"method": method, "url": url}


def text() -> str:
    """The collection as its file has it."""
    return json.dumps(collection(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    COLLECTION.write_text(text(), encoding="utf-8")
