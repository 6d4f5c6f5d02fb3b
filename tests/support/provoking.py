"""How the service is made to answer each thing that the API's description says it may: by operation and problem."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

import app as entry
from chalicelib import exact_json
from tests.support import gateway
from tests.support.callers import SERVICE, Claims, context_of
from tests.support.customer import Reply
from tests.support.shop import Shop

Provoke = Callable[[Shop], Reply]

JSON = {"Content-Type": "application/json"}
ORDERS = "/customers/CUST-1/orders"
PATHS = {
    "placeOrder": ("POST", "/orders"),
    "getOrder": ("GET", "/orders/x"),
    "cancelOrder": ("POST", "/orders/x/cancel"),
    "shipOrder": ("POST", "/orders/x/ship"),
    "deliverOrder": ("POST", "/orders/x/deliver"),
    "listOrders": ("GET", ORDERS),
    "listProducts": ("GET", "/products"),
    "getHealth": ("GET", "/health"),
    "getOpenapi": ("GET", "/openapi.json"),
}
"""Each operation, of an order that does not exist."""

_ACTING = ("cancel", "ship", "deliver")


def asking(operation: str, query: str = "", body: object = b"", **headers: str) -> Provoke:
    """A request of the operation. `headers` in Python's spelling, beside the content type of JSON."""
    method, path = PATHS[operation]
    named = JSON | {name.replace("_", "-").title(): value for name, value in headers.items()}
    return lambda shop: shop.ask(method, path + query, body, named)


def ordering(key: str | None = "k1", body: object = None, **headers: str) -> Provoke:
    return lambda shop: shop.post(shop.order() if body is None else body, key, **headers)


def acting(verb: str, *before: str, body: object = b"") -> Provoke:
    """The action on a confirmed order, or after what was done to it before."""

    def act(shop: Shop) -> Reply:
        order_id = shop.place(key="k1").order_id
        shop.run_queue()
        for each in before:
            assert shop.act(each, order_id).status == 200
        return shop.ask("POST", f"/orders/{order_id}/{verb}", body, JSON)

    return act


def _shipped_otherwise(shop: Shop) -> Reply:
    first = acting("ship", body={"carrier": "one", "trackingNumber": "1"})(shop)
    return shop.ship(first.order_id, carrier="another")


def _without_key(shop: Shop) -> Reply:
    settings = replace(shop.service.settings, require_idempotency_key=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry, "service", lambda: replace(shop.service, settings=settings))
        return shop.post(shop.order())


def _key_reused(shop: Shop) -> Reply:
    shop.place(key="k1")
    return shop.post(shop.order(quantity=2), "k1")


def _cut_off(ask: Provoke) -> Provoke:
    """The same while no call of AWS gets through."""

    def asked(shop: Shop) -> Reply:
        shop.calls.drop_request(times=None, attempts=None)
        return ask(shop)

    return asked


_OF_BODIES: Mapping[str, Callable[[str], Provoke]] = {
    "invalid-json": lambda operation: asking(operation, body=b"{"),
    "body-too-large": lambda operation: asking(operation, body=b" " * 70_000),
    "unsupported-content-encoding": lambda operation: asking(operation, body=b"{}", content_encoding="gzip"),
    "unsupported-media-type": lambda operation: asking(operation, body=b"{}", content_type="text/plain"),
}


def _asked_by(caller: Claims | None, operation: str) -> Provoke:
    """The same on a stage of customers."""
    method, path = PATHS[operation]
    resource = path.replace("/x", "/{order_id}").replace("/CUST-1/", "/{customer_id}/")

    def asked(shop: Shop) -> Reply:
        body = exact_json.dumps(shop.order()).encode() if operation == "placeOrder" else None
        event = gateway.event(method, path, JSON.items(), body, resource=resource)
        event["requestContext"] |= context_of(caller)
        settings = replace(shop.service.settings, auth="cognito", user_pool_clients=frozenset({SERVICE["client_id"]}))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(entry, "service", lambda: replace(shop.service, settings=settings))
            return gateway.invoke(event)

    return asked


_CLOSED = PATHS.keys() - {"listProducts", "getHealth", "getOpenapi"}

PROBLEMS: Mapping[tuple[str, str], Provoke] = {
    **{("placeOrder", kind): provoke("placeOrder") for kind, provoke in _OF_BODIES.items()},
    ("placeOrder", "idempotency-key-invalid"): ordering("a,b"),
    ("placeOrder", "idempotency-key-missing"): _without_key,
    ("placeOrder", "idempotency-key-reused"): _key_reused,
    ("placeOrder", "invalid-order"): ordering(body={"items": [{"productId": "PROD-001", "quantity": 0}]}),
    ("placeOrder", "unavailable"): _cut_off(ordering()),
    ("getOrder", "order-not-found"): asking("getOrder"),
    ("getOrder", "unavailable"): _cut_off(asking("getOrder")),
    **{(f"{verb}Order", kind): provoke(f"{verb}Order") for verb in _ACTING for kind, provoke in _OF_BODIES.items()},
    **{(f"{verb}Order", "invalid-request"): asking(f"{verb}Order", body={"colour": 1}) for verb in _ACTING},
    **{(f"{verb}Order", "order-not-found"): asking(f"{verb}Order") for verb in _ACTING},
    **{(f"{verb}Order", "unavailable"): _cut_off(asking(f"{verb}Order")) for verb in _ACTING},
    ("cancelOrder", "transition-not-possible"): acting("cancel", "ship"),
    ("shipOrder", "transition-not-possible"): acting("ship", "cancel"),
    ("deliverOrder", "transition-not-possible"): acting("deliver"),
    ("shipOrder", "shipment-differs"): _shipped_otherwise,
    ("listOrders", "idempotency-key-invalid"): asking("listOrders", "?idempotencyKey=a,b"),
    **{(operation, "unauthenticated"): _asked_by(None, operation) for operation in _CLOSED},
    **{(operation, "forbidden"): _asked_by(SERVICE | {"scope": "another"}, operation) for operation in _CLOSED},
    **{(op, "invalid-limit"): asking(op, "?limit=0") for op in ("listOrders", "listProducts")},
    **{(op, "invalid-cursor"): asking(op, "?cursor=!") for op in ("listOrders", "listProducts")},
    **{(op, "unavailable"): _cut_off(asking(op)) for op in ("listOrders", "listProducts")},
}
"""By operation and kind. What the gateway alone refuses is not here."""


def _failed(shop: Shop) -> Reply:
    shop.produce(shop.event("ORD-1", unknown=None, totalAmount=1))
    shop.run_queue()
    return shop.get("/orders/ORD-1")


def _refunded(shop: Shop) -> Reply:
    cancelled = acting("cancel")(shop)
    shop.run_queue()
    return shop.get(f"/orders/{cancelled.order_id}")


def _replayed(shop: Shop) -> Reply:
    shop.place(key="k1")
    return ordering()(shop)


def _with_address(shop: Shop) -> Reply:
    address = {"street": "123 Dev Lane", "city": "Portland", "state": "OR", "zip": "97201", "country": "US"}
    return shop.get(shop.place(shop.order(shippingAddress=address)).headers["location"])


def _listed(query: str) -> Provoke:
    def listed(shop: Shop) -> Reply:
        for key in ("k1", "k2"):
            shop.place(key=key)
        return shop.get(ORDERS + query)

    return listed


def _unchanged(operation: str) -> Provoke:
    def asked(shop: Shop) -> Reply:
        return asking(operation, if_none_match=asking(operation)(shop).headers["etag"])(shop)

    return asked


SUCCESSES: Mapping[str, list[tuple[str, Provoke]]] = {
    "placeOrder": [("201", ordering()), ("201", ordering(None)), ("201", _replayed)],
    "getOrder": [("200", _with_address), ("200", _failed), ("200", _refunded)],
    "cancelOrder": [("200", acting("cancel")), ("200", acting("cancel", "cancel", body={"reason": "late"}))],
    "shipOrder": [("200", acting("ship")), ("200", acting("ship", body={"carrier": "DHL", "trackingNumber": "1"}))],
    "deliverOrder": [("200", acting("deliver", "ship")), ("200", acting("deliver", "ship", "deliver", body={}))],
    "listOrders": [
        *(("200", _listed(query)) for query in ("", "?limit=1", "?idempotencyKey=k1", "?idempotencyKey=%22k3%22"))
    ],
    "listProducts": [("200", asking("listProducts", "?limit=2")), ("304", _unchanged("listProducts"))],
    "getHealth": [("200", asking("getHealth"))],
    "getOpenapi": [("200", asking("getOpenapi")), ("304", _unchanged("getOpenapi"))],
}
"""By operation: the status of an answer, and how it comes."""


def broken(shop: Shop, operation: str) -> Reply:
    """What it answers to a fault that nobody expected."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry, "service", _raise)
        return asking(operation, body={} if PATHS[operation][0] == "POST" else b"")(shop)


def _raise(*_: Any) -> Any:
    raise RuntimeError("nobody expected this")
