"""POST /orders: one order comes of a request, however often it is sent, and the same answer each time."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from chalicelib import exact_json, times
from chalicelib.domain.payment_key import names_payment_of
from tests.support.aws_calls import AwsCalls
from tests.support.events import Clock
from tests.support.orders import sample
from tests.support.shop import Shop, opened
from tests.support.stage import Stage

ADDRESS = {"street": "123 Dev Lane", "city": "Portland", "state": "OR", "zip": "97201", "country": "US"}


# --- a new order ---


@pytest.mark.parametrize(("name", "customer"), [("api_order", "CUST-42"), ("short_order", "user-123")])
def test_a_new_order_is_answered_with_what_was_ordered(shop: Shop, name: str, customer: str) -> None:
    reply = shop.post(sample(name), "k1")

    assert reply.status == 201
    assert reply.headers["location"] == f"/orders/{reply.order_id}"
    assert reply.headers["content-type"] == "application/json"
    assert "idempotent-replayed" not in reply.headers
    mouse = {"productId": "PROD-001", "productName": "Wireless Mouse", "quantity": 2, "unitPrice": Decimal("29.99")}
    hub = {"productId": "PROD-003", "productName": "USB-C Hub", "quantity": 1, "unitPrice": Decimal("49.99")}
    assert reply.json == {
        "orderId": reply.order_id,
        "customerId": customer,
        "status": "PENDING",
        "items": [mouse, hub],
        "totalAmount": Decimal("109.97"),
        "currency": "USD",
        "createdAt": times.to_text(shop.clock()),
    }


def test_placing_takes_no_more_calls_than_it_must(shop: Shop) -> None:
    shop.warm_up()
    for order, key, calls in (
        (shop.order(), "k1", ["PutItem", "SendMessage"]),
        (shop.order(), "k1", ["PutItem"]),
        (shop.order(quantity=2), "k1", ["PutItem"]),
        (shop.order(), None, ["PutItem", "PutItem", "SendMessage"]),
        (shop.order(), None, ["PutItem", "PutItem"]),
    ):
        shop.calls.forget()
        shop.post(order, key)
        assert shop.calls.operations() == calls
    counted = [shop.metrics[name] for name in ("OrdersPlaced", "OrdersReplayed", "KeysReused")]
    assert counted == [2, 2, 1]


def test_a_new_order_sends_an_event_that_describes_all_of_it(small_shop: Shop) -> None:
    reply = small_shop.place(small_shop.order(shippingAddress=ADDRESS), "k1", x_correlation_id="corr-1")
    (message,) = small_shop.messages()
    event = exact_json.loads(message["Body"])
    named = ("orderId", "customerId", "totalAmount", "currency", "items", "createdAt")
    assert {name: event[name] for name in named} == {name: reply.json[name] for name in named}
    assert (event["shippingAddress"], event["correlationId"]) == (ADDRESS, "corr-1")
    assert names_payment_of(message["MessageAttributes"]["paymentKey"]["StringValue"], reply.order_id)


def test_amounts_have_two_decimals_in_every_answer(small_shop: Shop) -> None:
    small_shop.set_product("ROUND", name="Round", price=Decimal("10.5"))
    order = {"customerId": "C", "items": [{"productId": "ROUND", "quantity": 2}], "totalAmount": 21}
    first, again = small_shop.place(order, "k1"), small_shop.place(order, "k1")
    for reply in (first, again, small_shop.get(first.headers["location"])):
        assert b'"totalAmount": 21.00' in reply.body
        assert b'"unitPrice": 10.50' in reply.body


# --- the same key, the same order ---

Action = Callable[[Shop, str], object]
MEANWHILE: dict[str, Action] = {
    "at once": lambda shop, order_id: None,
    "a month later": lambda shop, order_id: shop.clock.advance(days=31),
    "after CONFIRMED": lambda shop, order_id: shop.run_queue(),
    "after FAILED": lambda shop, order_id: shop.change_stored(order_id, status="FAILED", failureReason="OUT_OF_STOCK"),
    "after CANCELLED": lambda shop, order_id: shop.change_stored(order_id, status="CANCELLED"),
    "after the stock is gone": lambda shop, order_id: shop.set_product("PROD-001", stock=0),
}


@pytest.mark.parametrize("meanwhile", MEANWHILE.values(), ids=MEANWHILE.keys())
def test_the_same_order_under_the_same_key_gets_the_first_answer_byte_for_byte(shop: Shop, meanwhile: Action) -> None:
    first = shop.place(key="k1")
    meanwhile(shop, first.order_id)
    shop.clock.advance(seconds=1)
    orders, messages = shop.orders(), len(shop.messages())

    again = shop.post(shop.order(), "k1")

    assert (again.status, again.body, again.replayed) == (201, first.body, True)
    assert again.headers["location"] == first.headers["location"]
    assert (shop.orders(), len(shop.messages())) == (orders, messages)


MOVED_ON: dict[str, Callable[[Shop], None]] = {
    "dearer": lambda shop: shop.set_product("PROD-001", price=Decimal("31.00")),
    "gone": lambda shop: shop.remove_product("PROD-001"),
}


@pytest.mark.parametrize("change", MOVED_ON.values(), ids=MOVED_ON.keys())
@pytest.mark.parametrize("key", ["k1", None])
def test_a_replay_is_a_replay_though_the_catalogue_has_moved_on(
    shop: Shop, change: Callable[[Shop], None], key: str | None
) -> None:
    first = shop.place(key=key)
    change(shop)
    shop.clock.advance(minutes=2)

    again = shop.post(shop.order(), key)

    assert (again.status, again.body, again.replayed) == (201, first.body, True)
    assert shop.post(shop.order(), "another-key").kind == "invalid-order"
    assert shop.post(shop.order(quantity=2), None).kind == "invalid-order"
    assert len(shop.orders()) == 1

    shop.change_stored(first.order_id, status="FAILED")
    assert shop.post(shop.order(), key).status == (201 if key else 400)


@pytest.mark.parametrize("status", ["PENDING", "CONFIRMED", "FAILED", "CANCELLED"])
@pytest.mark.parametrize(
    "other", [{"quantity": 2, "totalAmount": 1}, {"product": "NOTHING"}, {"currency": "EUR"}], ids=str
)
def test_a_reused_key_is_refused_as_one_though_the_catalogue_refuses_the_order_too(
    small_shop: Shop, status: str, other: dict[str, Any]
) -> None:
    """A 400 would say that the key is still free."""
    first = small_shop.place(key="k1")
    small_shop.change_stored(first.order_id, status=status)
    before = small_shop.orders()
    reply = small_shop.post(small_shop.order(**other), "k1")
    assert (reply.status, reply.kind, reply.order_id) == (422, "idempotency-key-reused", first.order_id)
    assert small_shop.orders() == before
    assert (small_shop.metrics["KeysReused"], small_shop.metrics["OrdersInvalid"]) == (1, 0)


@pytest.mark.parametrize(("key", "same_key"), [("k1", ' "k1" '), (None, None)])
def test_what_means_the_same_is_the_same_order(small_shop: Shop, key: str | None, same_key: str | None) -> None:
    first = small_shop.place(sample("api_order"), key)
    lines = [("PROD-003", 1), ("PROD-001", 1), ("PROD-001", 1)]
    same = {
        "userId": "CUST-42",
        "items": [{"productId": product, "qty": units, "productName": "My own"} for product, units in lines],
        "totalAmount": Decimal("109.9700"),
    }
    again = small_shop.post(same, same_key)
    assert (again.status, again.body, again.replayed) == (201, first.body, True)


# --- another order ---


def test_a_key_reused_for_another_order_is_refused_whatever_state_the_order_is_in(small_shop: Shop) -> None:
    first = small_shop.place(small_shop.order(shippingAddress=ADDRESS), "k1")
    for status in ("PENDING", "CONFIRMED", "FAILED", "CANCELLED"):
        small_shop.change_stored(first.order_id, status=status)
        before = small_shop.orders()

        reply = small_shop.post(small_shop.order(), "k1")

        assert (reply.status, reply.kind) == (422, "idempotency-key-reused")
        assert reply.order_id == first.order_id
        assert first.order_id in reply.json["detail"]
        assert small_shop.orders() == before
    assert len(small_shop.messages()) == 1


def test_another_customer_another_body_or_no_key_at_all_makes_another_order(shop: Shop) -> None:
    one, other = shop.order(), shop.order(customerId="CUST-2")
    requests = [(one, "k1"), (other, "k1"), (one, None), (other, None), (shop.order(shippingAddress=ADDRESS), None)]
    replies = [shop.place(order, key) for order, key in requests]
    assert not any(reply.replayed for reply in replies)
    assert len({reply.order_id for reply in replies}) == len(shop.orders()) == len(requests)


@pytest.mark.parametrize("key", ["", "two words", "k" * 256, "schlüssel"])
def test_a_malformed_key_is_refused_before_anything_else_is_looked_at(small_shop: Shop, key: str) -> None:
    reply = small_shop.post(b"not even JSON", key, content_type="text/plain")
    assert (reply.status, reply.kind) == (400, "idempotency-key-invalid")
    assert small_shop.calls.operations() == []


# --- no key ---


@pytest.mark.parametrize(("settings", "window"), [({}, 3600), ({"IDEMPOTENCY_WINDOW_SECONDS": "5"}, 5)])
def test_without_a_key_the_same_body_is_the_same_order_until_the_window_is_over(
    each_aws: Stage, aws_calls: AwsCalls, clock: Clock, settings: dict[str, str], window: int
) -> None:
    with opened(each_aws, aws_calls, clock, settings=settings) as shop:
        first = shop.place()
        clock.advance(seconds=window - 1)
        again = shop.place()
        assert (again.body, again.replayed) == (first.body, True)

        clock.advance(seconds=1)
        second, third = shop.place(), shop.place()
        assert (second.replayed, third.replayed) == (False, True)
        assert third.body == second.body != first.body
        assert len(shop.orders()) == len(shop.messages()) == 2


@pytest.mark.parametrize("status", ["FAILED", "CANCELLED"])
def test_without_a_key_an_order_that_was_given_up_is_followed_by_a_new_one(shop: Shop, status: str) -> None:
    first = shop.place()
    shop.change_stored(first.order_id, status=status)

    second, third = shop.place(), shop.place()

    assert (second.replayed, third.replayed) == (False, True)
    assert third.body == second.body
    assert second.order_id != first.order_id
    assert len(shop.orders()) == 2
    claims = [
        call.params for call in shop.calls.of("PutItem") if call.params["TableName"] == shop.stage["IDEMPOTENCY_TABLE"]
    ]
    replaced = [claim["ExpressionAttributeValues"].get(":old") for claim in claims]
    assert replaced == [None, None, {"S": first.order_id}, None], "on condition of the old id, and only then"


def test_a_required_key_that_is_missing_is_asked_for(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> None:
    with opened(aws, aws_calls, clock, settings={"REQUIRE_IDEMPOTENCY_KEY": "true"}) as shop:
        reply = shop.post(shop.order())
        assert (reply.status, reply.kind) == (400, "idempotency-key-missing")
        assert shop.calls.operations() == []
        assert shop.place(key="k1").status == 201


# --- an invalid order ---


def test_an_invalid_order_is_answered_with_everything_that_is_wrong(small_shop: Shop) -> None:
    order = small_shop.order(currency="usd", giftWrap=True, items=[{"productId": "PROD-001", "qty": 0}])
    reply = small_shop.post(order, "k1")
    assert (reply.status, reply.kind) == (400, "invalid-order")
    assert {error["pointer"] for error in reply.json["errors"]} == {"#/currency", "#/giftWrap", "#/items/0/qty"}
    assert all(error["detail"] and "expected" not in error for error in reply.json["errors"])
    assert small_shop.metrics["OrdersInvalid"] == 1
    assert small_shop.calls.operations() == []


def test_an_order_that_the_catalogue_refuses_is_answered_with_the_right_figures(small_shop: Shop) -> None:
    lines = [{"productId": "PROD-001", "quantity": 2, "unitPrice": Decimal("19.99")}]
    reply = small_shop.post(small_shop.order(items=lines, totalAmount=Decimal("39.98"), currency="EUR"), "k1")
    assert (reply.status, reply.kind) == (400, "invalid-order")
    assert {error["pointer"]: error.get("expected") for error in reply.json["errors"]} == {
        "#/items/0/unitPrice": Decimal("29.99"),
        "#/totalAmount": Decimal("59.98"),
        "#/currency": "USD",
    }


def test_an_invalid_order_stores_nothing_and_leaves_the_key_free(small_shop: Shop) -> None:
    for order in (small_shop.order(quantity=0), small_shop.order(totalAmount=1)):
        assert small_shop.post(order, "k1").kind == "invalid-order"
    assert (small_shop.orders(), small_shop.messages()) == ([], [])
    assert small_shop.stage.items("IDEMPOTENCY_TABLE") == []
    assert not small_shop.place(key="k1").replayed


def test_an_order_at_its_bounds_is_placed(small_shop: Shop) -> None:
    for n in range(50):
        small_shop.set_product(f"P{n:063}", name="n" * 256, price=Decimal("0.01"), stock=1)
    lines = [{"productId": f"P{n:063}", "quantity": 1_000_000, "productName": "n" * 256} for n in range(50)]
    address = dict.fromkeys(ADDRESS, "a" * 256)
    order = {"customerId": "C" * 128, "items": lines, "totalAmount": 500_000, "shippingAddress": address}
    assert small_shop.place(order, "k" * 255).status == 201


# --- what is down ---

Fault = Callable[[AwsCalls], None]
SQS_IS_DOWN: dict[str, Fault] = {
    "no connection": lambda calls: calls.drop_request("SendMessage", times=None, attempts=None),
    "no queue": lambda calls: calls.refuse("AWS.SimpleQueueService.NonExistentQueue", "SendMessage", times=None),
    "no address": lambda calls: calls.drop_request("GetQueueUrl", times=None, attempts=None),
}


@pytest.mark.parametrize("fault", SQS_IS_DOWN.values(), ids=SQS_IS_DOWN.keys())
def test_an_order_is_placed_while_sqs_is_down(small_shop: Shop, fault: Fault) -> None:
    fault(small_shop.calls)
    reply = small_shop.place(key="k1")
    assert not reply.replayed
    assert small_shop.messages() == []
    assert small_shop.metrics["EnqueuesDeferred"] == 1
    assert "outboxDueAt" in small_shop.stored(reply.order_id)


DYNAMODB_IS_DOWN: dict[str, Fault] = {
    "no connection": lambda calls: calls.drop_request("PutItem", times=None, attempts=None),
    "no answer": lambda calls: calls.lose_answer("PutItem", times=None, attempts=None),
    "no catalogue": lambda calls: calls.drop_request("BatchGetItem", times=None, attempts=None),
}


@pytest.mark.parametrize("fault", DYNAMODB_IS_DOWN.values(), ids=DYNAMODB_IS_DOWN.keys())
@pytest.mark.parametrize("key", ["k1", None])
def test_while_dynamodb_is_down_a_client_is_asked_to_retry_and_may(shop: Shop, fault: Fault, key: str | None) -> None:
    fault(shop.calls)
    reply = shop.post(shop.order(), key)
    assert (reply.status, reply.kind) == (503, "unavailable")
    assert int(reply.headers["retry-after"]) > 0
    stored = [order["orderId"] for order in shop.orders()]
    shop.calls.heal()

    placed = shop.place(key=key)

    assert placed.replayed == (stored == [placed.order_id])
    assert [order["orderId"] for order in shop.orders()] == [placed.order_id]
    shop.recover_later()
    assert {exact_json.loads(message["Body"])["orderId"] for message in shop.messages()} == {placed.order_id}


# --- one's own echo ---


@pytest.mark.parametrize("key", ["k1", None])
@pytest.mark.parametrize("lost", [1, 2])
def test_a_write_whose_answer_was_lost_still_answers_as_a_first(shop: Shop, key: str | None, lost: int) -> None:
    table = shop.stage["ORDERS_TABLE"]
    shop.calls.lose_answer("PutItem", when=lambda call: call.params["TableName"] == table, attempts=lost)

    reply = shop.place(key=key)

    assert not reply.replayed
    assert len(shop.orders()) == len(shop.messages()) == 1
    assert shop.calls.of("PutItem")[-1].attempts == lost + 1
    assert shop.place(key=key).body == reply.body
