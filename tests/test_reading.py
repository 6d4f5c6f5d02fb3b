"""GET: an order as it stands, a customer's orders page by page, and what a key was used for."""

import base64
import json
from decimal import Decimal
from urllib.parse import quote

import pytest

from chalicelib import times
from tests.support.shop import Shop

ADDRESS = {"street": "123 Dev Lane", "city": "Portland", "state": "OR", "zip": "97201", "country": "US"}


# --- one order ---


def test_a_new_order_is_read_as_it_was_placed(small_shop: Shop) -> None:
    placed = small_shop.place(small_shop.order(shippingAddress=ADDRESS), "k1")
    reply = small_shop.get(placed.headers["location"])

    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    now = times.to_text(small_shop.clock())
    further = {"shippingAddress": ADDRESS, "updatedAt": now, "history": [{"status": "PENDING", "at": now}]}
    assert reply.json == placed.json | further


def test_an_order_is_read_as_it_stands_with_its_history_oldest_first(shop: Shop) -> None:
    placed = shop.place(key="k1")
    created = times.to_text(shop.clock())
    shop.clock.advance(seconds=5)
    shop.run_queue()

    order = shop.get(f"/orders/{placed.order_id}").json

    assert (order["status"], order["createdAt"], order["updatedAt"]) == (
        "CONFIRMED",
        created,
        times.to_text(shop.clock()),
    )
    assert [entry["status"] for entry in order["history"]] == ["PENDING", "RESERVED", "CONFIRMED"]
    assert [entry["at"] for entry in order["history"]] == sorted(entry["at"] for entry in order["history"])


def test_an_order_that_failed_says_why(small_shop: Shop) -> None:
    small_shop.set_product("PROD-001", stock=0)
    placed = small_shop.place(key="k1")
    small_shop.run_queue()
    order = small_shop.get(f"/orders/{placed.order_id}").json
    assert (order["status"], order["failureReason"]) == ("FAILED", "OUT_OF_STOCK")
    assert order["history"][-1]["reason"] == "1 of PROD-001 wanted, 0 there"


def test_amounts_are_read_with_two_decimals(small_shop: Shop) -> None:
    small_shop.set_product("ROUND", name="Round", price=Decimal("10.5"))
    order = {"customerId": "C", "items": [{"productId": "ROUND", "quantity": 2}], "totalAmount": 21}
    placed = small_shop.place(order, "k1")
    body = small_shop.get(f"/orders/{placed.order_id}").body
    assert b'"totalAmount": 21.00' in body
    assert b'"unitPrice": 10.50' in body


def test_what_is_the_services_own_is_not_shown(small_shop: Shop) -> None:
    placed = small_shop.place(key="k1")
    small_shop.run_queue()
    shown = small_shop.get(f"/orders/{placed.order_id}").json.keys()
    own = {"fingerprint", "requestId", "reserved", "outbox", "outboxDueAt", "outboxTries", "expiresAt"}
    assert not shown & own


def test_an_order_is_read_consistently_in_one_call(small_shop: Shop) -> None:
    placed = small_shop.place(key="k1")
    small_shop.calls.forget()
    small_shop.get(f"/orders/{placed.order_id}")
    (call,) = small_shop.calls.made
    assert (call.operation, call.params["ConsistentRead"]) == ("GetItem", True)


@pytest.mark.parametrize("order_id", ["nothing", "8e03978e-40d5-43dd-bc93-6894a57f9324", "%F0%9F%98%80", "a%20b"])
def test_an_order_that_does_not_stand_is_not_found(small_shop: Shop, order_id: str) -> None:
    reply = small_shop.get(f"/orders/{order_id}")
    assert (reply.status, reply.kind) == (404, "order-not-found")


@pytest.mark.parametrize("length", [65, 3000])
def test_an_order_id_longer_than_any_is_not_found(shop: Shop, length: int) -> None:
    reply = shop.get(f"/orders/{'x' * length}")
    assert (reply.status, reply.kind) == (404, "order-not-found")


def test_while_dynamodb_is_down_a_reader_is_told_to_come_again(small_shop: Shop) -> None:
    small_shop.calls.drop_request(times=None, attempts=None)
    for path in ("/orders/x", "/customers/C/orders", "/customers/C/orders?idempotencyKey=k"):
        reply = small_shop.get(path)
        assert (reply.status, reply.kind) == (503, "unavailable"), path
        assert reply.headers["retry-after"]


# --- a customer's orders ---


def _place(shop: Shop, count: int, customer: str = "CUST-1", seconds: float = 1) -> list[str]:
    """Orders of one customer, a little apart; their ids, newest first."""
    placed: list[str] = []
    for n in range(count):
        shop.clock.advance(seconds=seconds)
        placed.insert(0, shop.place(shop.order(customerId=customer), f"k{n}").order_id)
    return placed


def _walk(shop: Shop, path: str) -> list[list[str]]:
    """Page after page along `next`, as ids."""
    pages = []
    following: str | None = path
    while following:
        document = shop.get(following).json
        pages.append([order["orderId"] for order in document["orders"]])
        assert ("cursor" in document) == ("next" in document)
        following = document.get("next")
    return pages


def test_a_customers_orders_are_listed_newest_first(shop: Shop) -> None:
    mine = _place(shop, 3)
    _place(shop, 2, "CUST-2")
    assert _walk(shop, "/customers/CUST-1/orders") == [mine]


def test_an_order_is_listed_as_it_is_read_alone(small_shop: Shop) -> None:
    placed = small_shop.place(small_shop.order(shippingAddress=ADDRESS), "k1")
    small_shop.run_queue()
    (listed,) = small_shop.get("/customers/CUST-1/orders").json["orders"]
    assert listed == small_shop.get(f"/orders/{placed.order_id}").json


def test_a_customer_without_orders_has_an_empty_list(small_shop: Shop) -> None:
    reply = small_shop.get("/customers/nobody/orders")
    assert (reply.status, reply.json) == (200, {"orders": []})


@pytest.mark.parametrize("seconds", [1, 0], ids=["one after the other", "all in one instant"])
def test_walking_along_the_pages_meets_each_order_once(shop: Shop, seconds: float) -> None:
    placed = _place(shop, 7, seconds=seconds)
    pages = _walk(shop, "/customers/CUST-1/orders?limit=3")
    met = [order_id for page in pages for order_id in page]
    assert sorted(met) == sorted(placed)
    assert max(len(page) for page in pages) == 3
    if seconds:
        assert met == placed


def test_an_order_placed_meanwhile_does_not_disturb_the_walk(small_shop: Shop) -> None:
    placed = _place(small_shop, 4)
    first = small_shop.get("/customers/CUST-1/orders?limit=2").json
    small_shop.clock.advance(seconds=1)
    small_shop.place(small_shop.order(), "newest")
    second = small_shop.get(first["next"]).json
    assert [order["orderId"] for order in first["orders"] + second["orders"]] == placed


def test_a_page_has_twenty_orders_unless_said_otherwise(small_shop: Shop) -> None:
    _place(small_shop, 21)
    assert [len(page) for page in _walk(small_shop, "/customers/CUST-1/orders")] == [20, 1]
    assert [len(page) for page in _walk(small_shop, "/customers/CUST-1/orders?limit=100")] == [21]


def test_a_page_takes_two_calls(small_shop: Shop) -> None:
    _place(small_shop, 3)
    small_shop.calls.forget()
    small_shop.get("/customers/CUST-1/orders")
    assert small_shop.counted() == {"Query": 1, "BatchGetItem": 1}


@pytest.mark.parametrize("customer", ["CUST@shop.example", "Ünïcode", "a+b&c=d?e#f", "a;b"])
def test_a_customer_id_of_any_characters_can_be_asked_for(small_shop: Shop, customer: str) -> None:
    placed = _place(small_shop, 3, customer)
    path = f"/customers/{quote(customer, safe='')}/orders?limit=2"
    assert [order_id for page in _walk(small_shop, path) for order_id in page] == placed


def test_a_customer_id_longer_than_any_has_no_orders(shop: Shop) -> None:
    reply = shop.get(f"/customers/{'x' * 3000}/orders")
    assert (reply.status, reply.json) == (200, {"orders": []})


def test_a_limit_that_is_none_is_refused(small_shop: Shop) -> None:
    limits = ("0", "101", "-1", "1.5", "ten", "%D9%A3", "1e1", "01", "+5", "999999999999")
    replies = {limit: small_shop.get(f"/customers/C/orders?limit={limit}") for limit in limits}
    answers = {limit: (reply.status, reply.kind) for limit, reply in replies.items()}
    assert answers == dict.fromkeys(limits, (400, "invalid-limit"))
    assert small_shop.calls.operations() == []


def _cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


NOW = "2026-01-15T12:00:00.000Z"
BAD_CURSORS = {
    "not base64": "!!!",
    "not ASCII": "%C3%A9",
    "cut off": _cursor(json.dumps([NOW, "id"]))[:-3],
    "no JSON": _cursor("hello"),
    "not UTF-8": base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    "a number": _cursor("5"),
    "an object": _cursor('{"createdAt": "x", "orderId": "y"}'),
    "too short": _cursor(json.dumps([NOW])),
    "too long": _cursor(json.dumps([NOW, "id", "more"])),
    "no time": _cursor(json.dumps(["yesterday", "id"])),
    "no text for a time": _cursor(json.dumps([5, "id"])),
    "another spelling of the time": _cursor(json.dumps(["2026-01-15T12:00:00Z", "id"])),
    "no order id": _cursor(json.dumps([NOW, "not an id"])),
    "no text for an id": _cursor(json.dumps([NOW, 5])),
    "null": _cursor("null"),
    "nested": _cursor("[" * 20_000),
    "a number of 5,000 digits": _cursor("1" * 5_000),
}


def test_a_cursor_that_is_none_is_refused(small_shop: Shop) -> None:
    replies = {name: small_shop.get(f"/customers/C/orders?cursor={cursor}") for name, cursor in BAD_CURSORS.items()}
    answers = {name: (reply.status, reply.kind) for name, reply in replies.items()}
    assert answers == dict.fromkeys(BAD_CURSORS, (400, "invalid-cursor"))
    assert small_shop.calls.operations() == []


def test_another_customers_cursor_shows_nothing_of_that_customers(shop: Shop) -> None:
    _place(shop, 3, "CUST-1")
    mine = _place(shop, 1, "CUST-2")
    cursor = shop.get("/customers/CUST-1/orders?limit=1").json["cursor"]
    reply = shop.get(f"/customers/CUST-2/orders?cursor={cursor}")
    assert reply.status == 200
    assert {order["orderId"] for order in reply.json["orders"]} <= set(mine)


# --- what a key was used for ---


def test_a_key_that_was_used_is_explained(small_shop: Shop) -> None:
    placed = small_shop.place(key="k1")
    small_shop.run_queue()
    for spelling in ("k1", "%22k1%22"):
        reply = small_shop.get(f"/customers/CUST-1/orders?idempotencyKey={spelling}")
        document = {"idempotencyKey": "k1", "used": True, "orderId": placed.order_id, "status": "CONFIRMED"}
        assert (reply.status, reply.json) == (200, document)


def test_a_key_that_was_not_used_by_this_customer_is_free(small_shop: Shop) -> None:
    small_shop.place(key="k1")
    for customer, key in (("CUST-1", "k2"), ("CUST-2", "k1")):
        reply = small_shop.get(f"/customers/{customer}/orders?idempotencyKey={key}")
        assert (reply.status, reply.json) == (200, {"idempotencyKey": key, "used": False})


def test_a_key_that_was_refused_is_free(small_shop: Shop) -> None:
    small_shop.post(small_shop.order(quantity=0), "k1")
    assert small_shop.get("/customers/CUST-1/orders?idempotencyKey=k1").json["used"] is False


@pytest.mark.parametrize("key", ["", "two%20words", "k" * 256, "%C3%A9"])
def test_a_malformed_key_cannot_be_asked_for(small_shop: Shop, key: str) -> None:
    reply = small_shop.get(f"/customers/CUST-1/orders?idempotencyKey={key}")
    assert (reply.status, reply.kind) == (400, "idempotency-key-invalid")
