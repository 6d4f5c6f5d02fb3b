"""POST /orders: one order comes of a request, however often it is sent, and the same answer each time."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from chalicelib import exact_json, times
from tests.support.aws_calls import AwsCalls
from tests.support.events import Clock
from tests.support.shop import Shop, killed, opened, sample
from tests.support.stage import Stage

ADDRESS = {"street": "123 Dev Lane", "city": "Portland", "state": "OR", "zip": "97201", "country": "US"}


# --- a new order ---


def test_a_new_order_is_answered_with_what_was_ordered(shop: Shop) -> None:
    reply = shop.post(sample("api_order"), "k1")

    assert reply.status == 201
    assert reply.headers["location"] == f"/orders/{reply.order_id}"
    assert reply.headers["content-type"] == "application/json"
    assert "idempotent-replayed" not in reply.headers
    mouse = {"productId": "PROD-001", "productName": "Wireless Mouse", "quantity": 2, "unitPrice": Decimal("29.99")}
    hub = {"productId": "PROD-003", "productName": "USB-C Hub", "quantity": 1, "unitPrice": Decimal("49.99")}
    assert reply.json == {
        "orderId": reply.order_id,
        "customerId": "CUST-42",
        "status": "PENDING",
        "items": [mouse, hub],
        "totalAmount": Decimal("109.97"),
        "currency": "USD",
        "createdAt": times.to_text(shop.clock()),
    }


def test_a_new_order_takes_one_write_and_one_send_and_nothing_more(shop: Shop) -> None:
    shop.warm_up()
    shop.place(key="k1")
    assert shop.counted() == {"PutItem": 1, "SendMessage": 1}
    assert [call.operation for call in shop.calls.made] == ["PutItem", "SendMessage"]


def test_what_is_answered_is_stored(shop: Shop) -> None:
    reply = shop.place(shop.order(quantity=2, shippingAddress=ADDRESS), "k1")
    stored = shop.stored(reply.order_id)
    assert (stored["status"], stored["totalAmount"], stored["shippingAddress"]) == (
        "PENDING",
        Decimal("59.98"),
        ADDRESS,
    )
    assert [entry["status"] for entry in stored["history"]] == ["PENDING"]


def test_a_new_order_sends_an_event_that_tells_all_of_it(small_shop: Shop) -> None:
    reply = small_shop.place(small_shop.order(shippingAddress=ADDRESS), "k1", x_correlation_id="corr-1")
    (message,) = small_shop.messages()
    event = exact_json.loads(message["Body"])
    named = ("orderId", "customerId", "totalAmount", "currency", "items", "createdAt")
    assert {name: event[name] for name in named} == {name: reply.json[name] for name in named}
    assert (event["shippingAddress"], event["correlationId"]) == (ADDRESS, "corr-1")


@pytest.mark.parametrize("name", ["api_order", "short_order"])
def test_the_samples_work_as_they_are(small_shop: Shop, name: str) -> None:
    assert small_shop.place(sample(name)).json["totalAmount"] == Decimal("109.97")


def test_amounts_are_answered_with_two_decimals(small_shop: Shop) -> None:
    small_shop.set_product("ROUND", name="Round", price=Decimal(10))
    order = {"customerId": "C", "items": [{"productId": "ROUND", "quantity": 3}], "totalAmount": 30}
    reply = small_shop.place(order, "k1")
    assert b'"totalAmount": 30.00' in reply.body
    assert b'"unitPrice": 10.00' in reply.body
    assert small_shop.place(order, "k1").body == reply.body


# --- the same key, the same order ---

Meanwhile = Callable[[Shop, str], object]
MEANWHILE: dict[str, Meanwhile] = {
    "at once": lambda shop, order_id: None,
    "a month later": lambda shop, order_id: shop.clock.advance(days=31),
    "after CONFIRMED": lambda shop, order_id: shop.run_queue(),
    "after FAILED": lambda shop, order_id: shop.change_stored(order_id, status="FAILED", failureReason="OUT_OF_STOCK"),
    "after CANCELLED": lambda shop, order_id: shop.change_stored(order_id, status="CANCELLED"),
    "after the stock is gone": lambda shop, order_id: shop.set_product("PROD-001", stock=0),
}


@pytest.mark.parametrize("meanwhile", MEANWHILE.values(), ids=MEANWHILE.keys())
def test_the_same_order_under_the_same_key_gets_the_first_answer_byte_for_byte(
    shop: Shop, meanwhile: Meanwhile
) -> None:
    shop.warm_up()
    first = shop.place(key="k1")
    meanwhile(shop, first.order_id)
    shop.clock.advance(seconds=1)
    orders, before = len(shop.orders()), shop.stored(first.order_id)
    waiting = len(shop.messages())
    shop.place(shop.order("PROD-002"), "other")  # whatever the catalogue has forgotten of itself it reads again
    shop.place(shop.order(customerId="CUST-0"), "other")
    shop.calls.forget()

    again = shop.post(shop.order(), "k1")

    assert (again.status, again.body, again.replayed) == (201, first.body, True)
    assert again.headers["location"] == first.headers["location"]
    assert shop.counted() == {"PutItem": 1}
    assert len(shop.orders()) == orders + 2
    assert shop.stored(first.order_id) == before
    assert len(shop.messages()) == waiting + 2


def _dearer(shop: Shop) -> None:
    shop.set_product("PROD-001", price=Decimal("31.00"))


def _gone(shop: Shop) -> None:
    shop.remove_product("PROD-001")


@pytest.mark.parametrize("change", [_dearer, _gone])
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
    assert len(shop.orders()) == 1


def test_a_replay_counts_as_one(small_shop: Shop) -> None:
    for _ in range(3):
        small_shop.place(key="k1")
    assert (small_shop.metrics["OrdersPlaced"], small_shop.metrics["OrdersReplayed"]) == (1, 2)


SAME: dict[str, dict[str, Any]] = {
    "another order of the lines": {
        "items": [{"productId": "PROD-003", "quantity": 1}, {"productId": "PROD-001", "quantity": 2}]
    },
    "a product in two lines": {
        "items": [
            {"productId": "PROD-001", "quantity": 1},
            {"productId": "PROD-003", "quantity": 1},
            {"productId": "PROD-001", "quantity": 1},
        ]
    },
    "no unit prices": {"items": [{"productId": "PROD-001", "quantity": 2}, {"productId": "PROD-003", "quantity": 1}]},
    "names of its own": {
        "items": [
            {"productId": "PROD-001", "quantity": 2, "productName": "Mouse!"},
            {"productId": "PROD-003", "quantity": 1},
        ]
    },
    "the short spellings": {
        "customerId": None,
        "userId": "CUST-42",
        "items": [{"productId": "PROD-001", "qty": 2}, {"productId": "PROD-003", "qty": 1}],
    },
    "the currency by default": {"currency": None},
    "another spelling of the amount": {"totalAmount": Decimal("109.9700")},
}


@pytest.mark.parametrize("key", ["k1", None])
def test_what_means_the_same_is_the_same_order(small_shop: Shop, key: str | None) -> None:
    first = small_shop.place(sample("api_order"), key)
    for fields in SAME.values():
        body = {name: value for name, value in {**sample("api_order"), **fields}.items() if value is not None}
        again = small_shop.post(body, key)
        assert (again.status, again.body, again.replayed) == (201, first.body, True), fields


# --- the same key, another order ---

DIFFERENT: dict[str, Callable[[Shop], dict[str, Any]]] = {
    "quantity": lambda shop: shop.order(quantity=2),
    "product": lambda shop: shop.order("PROD-002"),
    "one product more": lambda shop: shop.order(
        items=[{"productId": "PROD-001", "quantity": 1}, {"productId": "PROD-002", "quantity": 1}],
        totalAmount=Decimal("119.98"),
    ),
    "address": lambda shop: shop.order(shippingAddress={**ADDRESS, "zip": "97202"}),
    "no address": lambda shop: shop.order(shippingAddress=None),
}


@pytest.mark.parametrize("other", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_a_key_reused_for_another_order_is_refused_whatever_state_the_order_is_in(
    small_shop: Shop, other: Callable[[Shop], dict[str, Any]]
) -> None:
    first = small_shop.place(small_shop.order(shippingAddress=ADDRESS), "k1")
    for status in ("PENDING", "CONFIRMED", "FAILED", "CANCELLED"):
        small_shop.change_stored(first.order_id, status=status)
        before = small_shop.orders()

        reply = small_shop.post(other(small_shop), "k1")

        assert (reply.status, reply.kind) == (422, "idempotency-key-reused")
        assert reply.order_id == first.order_id
        assert first.order_id in reply.json["detail"]
        assert small_shop.orders() == before
    assert len(small_shop.messages()) == 1
    assert small_shop.metrics["KeysReused"] == 4


def test_a_reused_key_is_refused_by_the_first_write(shop: Shop) -> None:
    shop.warm_up()
    shop.place(key="k1")
    shop.calls.forget()
    assert shop.post(shop.order(quantity=2), "k1").status == 422
    assert shop.counted() == {"PutItem": 1}


def test_the_same_key_of_another_customer_is_another_key(shop: Shop) -> None:
    replies = [shop.place(shop.order(customerId=customer), "k1") for customer in ("A", "B")]
    assert len({reply.order_id for reply in replies}) == len(shop.orders()) == 2
    assert not any(reply.replayed for reply in replies)


def test_no_two_pairs_of_customer_and_key_run_together(small_shop: Shop) -> None:
    pairs = [
        ("A", "Bk"),
        ("AB", "k"),
        ('A"', "k"),
        ("A", '"\\"k"'),
        ("A,B", "k"),
        ("A", "B,k"),
        ("A|", "k"),
        ("A", "|k"),
    ]
    for customer, key in pairs:
        assert not small_shop.place(small_shop.order(customerId=customer), key).replayed
    assert len(small_shop.orders()) == len(pairs)


# --- the form of the key ---

BAD_KEYS = [
    "",
    " ",
    '""',
    '"',
    '"k',
    'k"" "',
    "two words",
    "k\tk",
    "k" * 256,
    '"' + "k" * 256 + '"',
    "schlüssel",
    "k\x7f",
]


def test_a_malformed_key_is_refused_before_anything_else_is_looked_at(small_shop: Shop) -> None:
    replies = {key: small_shop.post(b"not even JSON", key, content_type="text/plain") for key in BAD_KEYS}
    answers = {key: (reply.status, reply.kind) for key, reply in replies.items()}
    assert answers == dict.fromkeys(BAD_KEYS, (400, "idempotency-key-invalid"))
    assert small_shop.calls.operations() == []


def test_any_255_visible_ascii_characters_are_a_key(small_shop: Shop) -> None:
    for key in ("k", "!~", "k" * 255, "8e03978e-40d5-43dd-bc93-6894a57f9324", "a\\b", "k:1/2,3=4;5"):
        assert not small_shop.place(key=key).replayed, key
        assert small_shop.place(key=key).replayed, key


def test_a_bare_and_a_quoted_key_are_the_same_key(small_shop: Shop) -> None:
    for bare, quoted in (("k1", '"k1"'), ("a\\b", '"a\\\\b"'), ("x", ' "x" '), ('y"z', '"y\\"z"')):
        first = small_shop.place(key=bare)
        again = small_shop.place(key=quoted)
        assert (again.body, again.replayed) == (first.body, True)


# --- no key ---


def test_without_a_key_the_same_body_within_the_hour_is_the_same_order(shop: Shop) -> None:
    first = shop.place()
    shop.clock.advance(minutes=59, seconds=59)
    again = shop.place()
    assert (again.body, again.replayed) == (first.body, True)
    assert (len(shop.orders()), len(shop.messages())) == (1, 1)


def test_without_a_key_the_same_body_after_the_hour_is_a_new_order(shop: Shop) -> None:
    first = shop.place()
    shop.clock.advance(hours=1)
    second, third = shop.place(), shop.place()
    assert (second.replayed, third.replayed) == (False, True)
    assert third.body == second.body != first.body
    assert len(shop.orders()) == 2


def test_the_window_of_an_order_without_a_key_can_be_set(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> None:
    with opened(aws, aws_calls, clock, settings={"IDEMPOTENCY_WINDOW_SECONDS": "5"}) as shop:
        shop.place()
        clock.advance(seconds=4)
        assert shop.place().replayed
        clock.advance(seconds=1)
        assert not shop.place().replayed


@pytest.mark.parametrize("other", [{"customerId": "CUST-2"}, {"shippingAddress": ADDRESS}], ids=["customer", "address"])
def test_without_a_key_another_body_is_another_order(small_shop: Shop, other: dict[str, Any]) -> None:
    small_shop.place()
    assert not small_shop.place(small_shop.order(**other)).replayed
    assert len(small_shop.orders()) == 2


def test_an_order_with_a_key_is_another_than_the_same_one_without(small_shop: Shop) -> None:
    small_shop.place(key="k1")
    assert not small_shop.place().replayed


@pytest.mark.parametrize("status", ["FAILED", "CANCELLED"])
def test_without_a_key_an_order_that_was_given_up_is_followed_by_a_new_one(shop: Shop, status: str) -> None:
    first = shop.place()
    shop.change_stored(first.order_id, status=status)

    second, third = shop.place(), shop.place()

    assert (second.replayed, third.replayed) == (False, True)
    assert third.body == second.body
    assert second.order_id != first.order_id
    assert len(shop.orders()) == 2


def test_with_a_key_an_order_that_was_given_up_stays_the_answer(shop: Shop) -> None:
    first = shop.place(key="k1")
    shop.change_stored(first.order_id, status="FAILED")
    assert shop.place(key="k1").body == first.body


def test_without_a_key_a_new_order_takes_a_reservation_a_write_and_a_send(shop: Shop) -> None:
    shop.warm_up()
    shop.place()
    assert shop.counted() == {"PutItem": 2, "SendMessage": 1}
    shop.calls.forget()
    shop.place()
    assert shop.counted() == {"PutItem": 2}


@pytest.mark.parametrize("moment", ["kill_before", "kill_after"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_crash_at_either_step_of_an_order_without_a_key_leaves_one_that_can_be_repeated(
    shop: Shop, moment: str, nth: int
) -> None:
    getattr(shop.calls, moment)("PutItem", nth=nth)
    assert killed(lambda: shop.post(shop.order()))
    shop.calls.revive()

    reply = shop.place()

    assert reply.replayed == (moment == "kill_after" and nth == 2)
    assert [order["orderId"] for order in shop.orders()] == [reply.order_id]


def test_a_required_key_that_is_missing_is_asked_for(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> None:
    with opened(aws, aws_calls, clock, settings={"REQUIRE_IDEMPOTENCY_KEY": "true"}) as shop:
        reply = shop.post(shop.order())
        assert (reply.status, reply.kind) == (400, "idempotency-key-missing")
        assert shop.calls.operations() == []
        assert shop.place(key="k1").status == 201


# --- an invalid order ---


def test_an_invalid_order_is_told_everything_that_is_wrong_at_once(small_shop: Shop) -> None:
    body = {
        "items": [{"productId": "PROD-001", "qty": 0}, {"quantity": 1, "colour": "red"}],
        "totalAmount": Decimal("1.005"),
        "currency": "usd",
        "shippingAddress": {"street": 5},
        "giftWrap": True,
    }
    reply = small_shop.post(body, "k1")

    assert (reply.status, reply.kind) == (400, "invalid-order")
    assert {error["pointer"] for error in reply.json["errors"]} == {
        "#/customerId",
        "#/items/0/qty",
        "#/items/1/productId",
        "#/items/1/colour",
        "#/totalAmount",
        "#/currency",
        "#/shippingAddress/street",
        "#/shippingAddress/city",
        "#/shippingAddress/country",
        "#/giftWrap",
    }
    assert all(error["detail"] for error in reply.json["errors"])
    assert small_shop.metrics["OrdersInvalid"] == 1


def test_an_invalid_order_stores_nothing_and_leaves_the_key_free(small_shop: Shop) -> None:
    assert small_shop.post(small_shop.order(quantity=0), "k1").kind == "invalid-order"
    assert small_shop.post(small_shop.order(totalAmount=1), "k1").kind == "invalid-order"
    assert (small_shop.orders(), small_shop.messages()) == ([], [])
    assert small_shop.stage.items("IDEMPOTENCY_TABLE") == []
    assert not small_shop.place(key="k1").replayed


LINE = {"productId": "PROD-001", "quantity": 1}
BOUNDS: list[tuple[str, dict[str, Any]]] = [
    ("#/items", {"items": []}),
    ("#/items", {"items": [LINE] * 51}),
    ("#/items", {"items": {"0": LINE}}),
    ("#/items/0/quantity", {"items": [{**LINE, "quantity": 0}]}),
    ("#/items/0/quantity", {"items": [{**LINE, "quantity": -1}]}),
    ("#/items/0/quantity", {"items": [{**LINE, "quantity": Decimal("1.5")}]}),
    ("#/items/0/quantity", {"items": [{**LINE, "quantity": 1_000_001}]}),
    ("#/items/0/quantity", {"items": [{**LINE, "quantity": "1"}]}),
    ("#/items/0/quantity", {"items": [{**LINE, "quantity": True}]}),
    ("#/items/0/unitPrice", {"items": [{**LINE, "unitPrice": Decimal("29.999")}]}),
    ("#/items/0/unitPrice", {"items": [{**LINE, "unitPrice": Decimal("-0.01")}]}),
    ("#/items/0/productId", {"items": [{**LINE, "productId": "P" * 65}]}),
    ("#/items/0/productId", {"items": [{**LINE, "productId": ""}]}),
    ("#/items/0/productName", {"items": [{**LINE, "productName": "n" * 257}]}),
    ("#/totalAmount", {"totalAmount": 0}),
    ("#/totalAmount", {"totalAmount": 10**12}),
    ("#/totalAmount", {"totalAmount": "29.99"}),
    ("#/customerId", {"customerId": "C" * 129}),
    ("#/customerId", {"customerId": "two words"}),
    ("#/customerId", {"customerId": 42}),
    ("#/customerId", {"customerId": "C\n"}),
    ("#/currency", {"currency": "EURO"}),
    ("#/shippingAddress/city", {"shippingAddress": {**ADDRESS, "city": "c" * 257}}),
    ("#/shippingAddress/floor", {"shippingAddress": {**ADDRESS, "floor": "3"}}),
    ("#/shippingAddress", {"shippingAddress": {}}),
]


def test_what_is_out_of_bounds_is_pointed_at(small_shop: Shop) -> None:
    for pointer, fields in BOUNDS:
        reply = small_shop.post(small_shop.order(**fields), "k1")
        assert (reply.status, reply.kind) == (400, "invalid-order"), fields
        assert any(error["pointer"].startswith(pointer) for error in reply.json["errors"]), fields
    assert small_shop.calls.operations() == []


def test_the_bounds_themselves_are_taken(small_shop: Shop) -> None:
    for n in range(50):
        small_shop.set_product(f"P{n:063}", name="n" * 256, price=Decimal("0.01"), stock=1)
    lines = [{"productId": f"P{n:063}", "quantity": 1_000_000, "productName": "n" * 256} for n in range(50)]
    address = dict.fromkeys(ADDRESS, "a" * 256)
    order = {"customerId": "C" * 128, "items": lines, "totalAmount": 500_000, "shippingAddress": address}
    assert small_shop.place(order, "k" * 255).status == 201


# --- the catalogue ---


def test_an_order_that_the_catalogue_refuses_is_told_the_right_figures(small_shop: Shop) -> None:
    lines = [
        {"productId": "PROD-001", "quantity": 2, "unitPrice": Decimal("19.99")},
        {"productId": "PROD-002", "quantity": 1},
    ]
    reply = small_shop.post(small_shop.order(items=lines, totalAmount=Decimal("39.98")), "k1")
    assert (reply.status, reply.kind) == (400, "invalid-order")
    assert {error["pointer"]: error.get("expected") for error in reply.json["errors"]} == {
        "#/items/0/unitPrice": Decimal("29.99"),
        "#/totalAmount": Decimal("149.97"),
    }


def test_a_currency_that_is_not_the_catalogues_is_refused(small_shop: Shop) -> None:
    reply = small_shop.post(small_shop.order(currency="EUR"))
    (error,) = reply.json["errors"]
    assert (error["pointer"], error["expected"]) == ("#/currency", "USD")


def test_a_product_that_is_not_in_the_catalogue_is_refused_and_never_remembered_so(small_shop: Shop) -> None:
    order = {"customerId": "C", "items": [{"productId": "NEW", "quantity": 1}], "totalAmount": 1}
    reply = small_shop.post(order, "k1")
    assert [error["pointer"] for error in reply.json["errors"]] == ["#/items/0/productId"]

    small_shop.set_product("NEW", name="New", price=Decimal(1), stock=1)

    assert not small_shop.place(order, "k1").replayed


def test_the_catalogue_is_remembered_for_a_minute(small_shop: Shop) -> None:
    small_shop.place(key="k1")
    small_shop.set_product("PROD-001", price=Decimal("31.00"))
    small_shop.calls.forget()

    small_shop.clock.advance(seconds=59)
    assert small_shop.post(small_shop.order(), "k2").status == 201
    assert "BatchGetItem" not in small_shop.calls.operations()
    small_shop.clock.advance(seconds=1)
    assert small_shop.post(small_shop.order(), "k3").json["errors"]


def test_no_order_is_refused_because_of_a_remembered_price(small_shop: Shop) -> None:
    small_shop.place(key="k1")
    small_shop.set_product("PROD-001", price=Decimal("31.00"))
    assert small_shop.post(small_shop.order(totalAmount=31), "k2").status == 201


# --- what is down ---


def test_an_order_is_placed_while_sqs_is_down(shop: Shop) -> None:
    shop.warm_up()
    shop.calls.drop_request("SendMessage", times=None, attempts=None)

    reply = shop.place(key="k1")

    assert not reply.replayed
    assert shop.messages() == []
    assert shop.metrics["EnqueuesDeferred"] == 1
    due = shop.clock() + timedelta(seconds=60)
    assert shop.stored(reply.order_id)["outboxDueAt"] == times.to_text(due)


@pytest.mark.parametrize(
    ("code", "status"),
    [("ThrottlingException", 400), ("InternalError", 500), ("AWS.SimpleQueueService.NonExistentQueue", 400)],
)
def test_whatever_sqs_says_the_order_is_placed(small_shop: Shop, code: str, status: int) -> None:
    small_shop.calls.refuse(code, "SendMessage", status=status, times=None)
    assert small_shop.place(key="k1").status == 201


def test_an_order_is_placed_while_not_even_the_queues_address_is_known(small_shop: Shop) -> None:
    small_shop.calls.drop_request("GetQueueUrl", times=None, attempts=None)
    assert small_shop.place(key="k1").status == 201


Break = Callable[[AwsCalls], None]
DOWN: dict[str, Break] = {
    "no connection": lambda calls: calls.drop_request("PutItem", times=None, attempts=None),
    "no answer": lambda calls: calls.lose_answer("PutItem", times=None, attempts=None),
    "throttled": lambda calls: calls.refuse("ThrottlingException", "PutItem", times=None),
    "over capacity": lambda calls: calls.refuse("ProvisionedThroughputExceededException", "PutItem", times=None),
    "over the account's limit": lambda calls: calls.refuse("RequestLimitExceeded", "PutItem", times=None),
    "an error of its own": lambda calls: calls.refuse("InternalServerError", "PutItem", times=None, status=500),
    "no catalogue": lambda calls: calls.drop_request("BatchGetItem", times=None, attempts=None),
}


@pytest.mark.parametrize("broken", DOWN.values(), ids=DOWN.keys())
@pytest.mark.parametrize("key", ["k1", None])
def test_while_dynamodb_is_down_a_client_is_told_to_come_again_and_may(
    shop: Shop, broken: Break, key: str | None
) -> None:
    broken(shop.calls)
    reply = shop.post(shop.order(), key)
    assert (reply.status, reply.kind) == (503, "unavailable")
    assert int(reply.headers["retry-after"]) > 0
    shop.calls.heal()

    placed = shop.place(key=key)

    assert [order["orderId"] for order in shop.orders()] == [placed.order_id]
    shop.recover_later()
    assert {exact_json.loads(message["Body"])["orderId"] for message in shop.messages()} == {placed.order_id}


def test_a_write_that_meets_a_transaction_is_written_again(shop: Shop) -> None:
    shop.calls.refuse("TransactionConflictException", "PutItem", times=2)
    assert not shop.place(key="k1").replayed
    assert len(shop.calls.of("PutItem")) == 3


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


def test_a_reservation_whose_answer_was_lost_is_ones_own(shop: Shop) -> None:
    table = shop.stage["IDEMPOTENCY_TABLE"]
    shop.calls.lose_answer("PutItem", when=lambda call: call.params["TableName"] == table)
    assert not shop.place().replayed
    assert len(shop.orders()) == len(shop.messages()) == 1


def test_the_echo_of_another_request_is_a_replay(shop: Shop) -> None:
    shop.calls.lose_answer("PutItem", attempts=None)
    assert shop.post(shop.order(), "k1").status == 503
    assert shop.place(key="k1").replayed
