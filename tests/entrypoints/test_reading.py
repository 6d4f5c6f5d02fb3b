"""GET: an order as it is now, a customer's orders page by page, and what a key was used for."""

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest

from chalicelib import times
from tests.support.shop import Shop

ADDRESS = {"street": "123 Dev Lane", "city": "Portland", "state": "OR", "zip": "97201", "country": "US"}
ORDERS = "/customers/CUST-1/orders"


# --- one order ---


def test_an_order_is_read_and_listed_as_it_stands_and_nothing_else_of_it(shop: Shop) -> None:
    placed = shop.place(shop.order(shippingAddress=ADDRESS), "k1")
    path, created = placed.headers["location"], times.to_text(shop.clock())
    history: list[dict[str, Any]] = [{"status": "PENDING", "at": created}]
    further = {"shippingAddress": ADDRESS, "updatedAt": created, "history": history}
    new = shop.get(path)
    assert (new.status, new.headers["content-type"]) == (200, "application/json")
    assert new.json == placed.json | further

    shop.clock.advance(seconds=5)
    shop.run_queue()

    now = times.to_text(shop.clock())
    history += [{"status": "RESERVED", "at": now}, {"status": "CONFIRMED", "at": now}]
    paid = {"status": "CONFIRMED", "updatedAt": now, "paymentId": shop.stored(placed.order_id)["paymentId"]}
    assert shop.get(path).json == placed.json | further | paid
    assert shop.get(ORDERS).json == {"orders": [shop.get(path).json]}


@pytest.mark.parametrize("order_id", ["nothing", "%F0%9F%98%80", "a%20b", "x" * 65, "x" * 3000], ids=len)
def test_an_order_that_does_not_exist_is_not_found(small_shop: Shop, order_id: str) -> None:
    reply = small_shop.get(f"/orders/{order_id}")
    assert (reply.status, reply.kind) == (404, "order-not-found")


def test_while_dynamodb_is_down_a_reader_is_asked_to_retry(small_shop: Shop) -> None:
    small_shop.calls.drop_request(times=None, attempts=None)
    for path in ("/orders/x", ORDERS, f"{ORDERS}?idempotencyKey=k"):
        reply = small_shop.get(path)
        assert (reply.status, reply.kind) == (503, "unavailable"), path
        assert reply.headers["retry-after"]


# --- a customer's orders ---


def _place(shop: Shop, count: int, customer: str = "CUST-1") -> list[str]:
    """Orders of one customer, a second apart; their ids, newest first."""
    placed: list[str] = []
    for n in range(count):
        shop.clock.advance(seconds=1)
        placed.insert(0, shop.place(shop.order(customerId=customer), f"k{n}").order_id)
    return placed


def _walk(shop: Shop, path: str | None) -> list[list[str]]:
    """Page after page along `next`, as ids."""
    pages = []
    while path:
        document = shop.get(path).json
        pages.append([order["orderId"] for order in document["orders"]])
        assert ("cursor" in document) == ("next" in document)
        path = document.get("next")
    return pages


def test_walking_along_the_pages_meets_each_order_once_newest_first_whatever_is_placed_meanwhile(shop: Shop) -> None:
    placed = _place(shop, 7)
    _place(shop, 2, "CUST-2")
    first = shop.get(f"{ORDERS}?limit=3").json
    shop.clock.advance(seconds=1)
    shop.place(shop.order(), "newest")
    pages = [[order["orderId"] for order in first["orders"]], *_walk(shop, first["next"])]
    assert pages == [placed[:3], placed[3:6], placed[6:]]


def test_a_page_has_twenty_orders_by_default_and_takes_two_calls(small_shop: Shop) -> None:
    _place(small_shop, 21)
    assert [len(page) for page in _walk(small_shop, ORDERS)] == [20, 1]
    small_shop.calls.forget()
    assert [len(page) for page in _walk(small_shop, f"{ORDERS}?limit=100")] == [21]
    assert small_shop.counted() == {"Query": 1, "BatchGetItem": 1}


def test_a_page_of_large_orders_is_shorter_so_that_lambda_can_answer_it(small_shop: Shop) -> None:
    """Lambda answers at most 6 MB, and puts the body into a JSON document of its own."""
    placed = _place(small_shop, 12)
    for order_id in placed:
        small_shop.change_stored(order_id, failureReason='"' * 380_000)
    path, found = f"{ORDERS}?limit=100", []
    while path:
        reply = small_shop.get(path)
        assert len(json.dumps(reply.body.decode())) < 6_000_000
        found += [order["orderId"] for order in reply.json["orders"]]
        path = reply.json.get("next")
    assert found == placed


@pytest.mark.parametrize("customer", ["Ünïcode@shop.example", "a+b&c=d?e#f;g"])
def test_a_customer_id_of_any_characters_can_be_asked_for(small_shop: Shop, customer: str) -> None:
    placed = _place(small_shop, 3, customer)
    assert _walk(small_shop, f"/customers/{quote(customer, safe='')}/orders?limit=2") == [placed[:2], placed[2:]]


@pytest.mark.parametrize("customer", ["nobody", "x" * 3000], ids=len)
def test_a_customer_without_orders_has_an_empty_list(small_shop: Shop, customer: str) -> None:
    reply = small_shop.get(f"/customers/{customer}/orders")
    assert (reply.status, reply.json) == (200, {"orders": []})


@pytest.mark.parametrize("limit", ["", "0", "101", "-1", "1.5", "ten", "%D9%A3", "1e1", "01", "+5", "9" * 12])
def test_a_limit_that_is_not_a_number_from_1_to_100_is_refused(small_shop: Shop, limit: str) -> None:
    for query in (f"?limit={limit}", f"?idempotencyKey=k1&limit={limit}"):
        reply = small_shop.get(ORDERS + query)
        assert (reply.status, reply.kind) == (400, "invalid-limit")
    assert small_shop.calls.operations() == []


def _cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


NOW = "2026-01-15T12:00:00.000Z"
GOOD_CURSOR = _cursor(json.dumps([NOW, "id"]))
NOT_A_PLACE: list[Any] = [
    5,
    {NOW: 1, "id": 2, "more": 3},
    [NOW],
    [NOW, "id", "more"],
    ["yesterday", "id"],
    [5, "id"],
    ["2026-01-15T12:00:00Z", "id"],
    [NOW, "not an id"],
    [NOW, 5],
]
BAD_CURSORS = [
    *("!!!", "%C3%A9", GOOD_CURSOR[:-3], f"{GOOD_CURSOR}!", base64.urlsafe_b64encode(b"\xff\xfe").decode()),
    *(_cursor(text) for text in ("hello", "[" * 20_000, "1" * 5_000)),
    *(_cursor(json.dumps(place)) for place in NOT_A_PLACE),
]


def test_a_cursor_that_no_page_gave_is_refused(small_shop: Shop) -> None:
    assert small_shop.get(f"{ORDERS}?cursor={GOOD_CURSOR}").status == 200
    small_shop.calls.forget()
    replies = {cursor: small_shop.get(f"{ORDERS}?cursor={cursor}") for cursor in BAD_CURSORS}
    answers = {cursor: (reply.status, reply.kind) for cursor, reply in replies.items()}
    assert answers == dict.fromkeys(BAD_CURSORS, (400, "invalid-cursor"))
    assert small_shop.calls.operations() == []


def test_another_customers_cursor_shows_nothing_of_that_customers(shop: Shop) -> None:
    _place(shop, 3, "CUST-1")
    mine = _place(shop, 1, "CUST-2")
    cursor = shop.get(f"{ORDERS}?limit=1").json["cursor"]
    reply = shop.get(f"/customers/CUST-2/orders?cursor={cursor}")
    assert reply.status == 200
    assert {order["orderId"] for order in reply.json["orders"]} <= set(mine)


# --- what a key was used for ---


def test_a_key_that_was_used_is_explained(small_shop: Shop) -> None:
    placed = small_shop.place(key="k1")
    small_shop.run_queue()
    for spelling in ("k1", "%22k1%22"):
        reply = small_shop.get(f"{ORDERS}?idempotencyKey={spelling}")
        document = {"idempotencyKey": "k1", "used": True, "orderId": placed.order_id, "status": "CONFIRMED"}
        assert (reply.status, reply.json) == (200, document)


def test_a_key_that_was_not_used_by_this_customer_is_free(small_shop: Shop) -> None:
    small_shop.place(key="k1")
    for customer, key in (("CUST-1", "k2"), ("CUST-2", "k1")):
        reply = small_shop.get(f"/customers/{customer}/orders?idempotencyKey={key}")
        assert (reply.status, reply.json) == (200, {"idempotencyKey": key, "used": False})


@pytest.mark.parametrize("key", ["", "two%20words"])
def test_a_malformed_key_cannot_be_asked_for(small_shop: Shop, key: str) -> None:
    reply = small_shop.get(f"{ORDERS}?idempotencyKey={key}")
    assert (reply.status, reply.kind) == (400, "idempotency-key-invalid")
