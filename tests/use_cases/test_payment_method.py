"""The payment method goes with its order until the charge is decided, and is shown to nobody but the provider."""

from typing import Any

import pytest

from chalicelib import exact_json
from tests.support.payments import TimesOut
from tests.support.shop import STOCK, Shop, killed
from tests.support.tables import forget_order

METHOD = "pm_1MqLiJLkdIwHu7ixUEgbFdYl"
CUSTOMER = "CUST-1"


def place(shop: Shop, key: str = "k1", method: str = METHOD, **fields: Any) -> str:
    return shop.place(shop.order("p1", paymentMethod=method, **fields), key).order_id


def methods_of_messages(shop: Shop) -> list[str | None]:
    return [exact_json.loads(message["Body"]).get("paymentMethod") for message in shop.messages()]


def kept(shop: Shop, order_id: str) -> tuple[str, str | None]:
    item = shop.stored(order_id)
    return item["status"], item.get("paymentMethod")


# --- where it comes from ---


def test_the_same_order_with_another_method_is_a_replay_and_the_first_one_is_charged(shop: Shop) -> None:
    order_id = place(shop)
    again = shop.place(shop.order("p1", paymentMethod="pm_2"), "k1")
    without = shop.place(shop.order("p1"), "k1")
    assert [(reply.order_id, reply.replayed) for reply in (again, without)] == [(order_id, True)] * 2
    shop.drain()
    assert shop.payments.methods == [(order_id, METHOD, CUSTOMER)]


def test_without_a_key_too_another_method_is_the_same_order(small_shop: Shop) -> None:
    first = small_shop.place(small_shop.order("p1", paymentMethod=METHOD))
    again = small_shop.place(small_shop.order("p1", paymentMethod="pm_2"))
    assert (again.body, again.replayed) == (first.body, True)


def test_the_method_of_a_producers_first_event_is_charged(small_shop: Shop) -> None:
    shop = small_shop
    shop.payments.on("charge", TimesOut.BEFORE)
    shop.produce(shop.event("ORD-1", "p1", paymentMethod=METHOD))
    shop.run_queue()
    assert kept(shop, "ORD-1") == ("RESERVED", METHOD)
    shop.produce(shop.event("ORD-1", "p1", paymentMethod="pm_2"))
    shop.drain()
    assert kept(shop, "ORD-1") == ("CONFIRMED", None)
    assert set(shop.payments.methods) == {("ORD-1", METHOD, CUSTOMER)}


def test_a_card_number_is_refused_and_stored_nowhere_from_a_client(small_shop: Shop) -> None:
    reply = small_shop.post(small_shop.order("p1", paymentMethod="4111-1111-1111-1111"), "k1")
    assert (reply.status, reply.kind) == (400, "invalid-order")
    detail = "must be a token of the payment provider, not a card number"
    assert reply.json["errors"] == [{"pointer": "#/paymentMethod", "detail": detail}]
    assert b"1111" not in reply.body
    assert (small_shop.orders(), small_shop.messages()) == ([], [])


def test_an_event_with_a_card_number_is_a_dead_letter_whose_reason_does_not_have_it(small_shop: Shop) -> None:
    small_shop.produce(small_shop.event("ORD-1", "p1", paymentMethod="4111111111111111"))
    small_shop.drain()
    (letter,) = small_shop.dead_letters()
    assert (letter["kind"], small_shop.orders()) == ("never", [])
    assert letter["reason"] == "#/paymentMethod: must be a token of the payment provider, not a card number"


# --- how long it stays ---


def test_it_stays_until_the_charge_is_decided_whoever_asks_again(shop: Shop) -> None:
    """A provider that does not answer, a redelivery, a message that was lost."""
    order_id = place(shop)
    assert (kept(shop, order_id), methods_of_messages(shop)) == (("PENDING", METHOD), [METHOD])
    for _ in range(2):
        shop.payments.on("charge", TimesOut.BEFORE)
        assert shop.run_queue() == 1
        assert kept(shop, order_id) == ("RESERVED", METHOD)
        shop.come_again()
    shop.lose_messages()
    assert shop.recover_later(hours=7) == 1
    assert methods_of_messages(shop) == [METHOD]
    shop.drain()
    assert kept(shop, order_id) == ("CONFIRMED", None)
    assert shop.payments.methods == [(order_id, METHOD, CUSTOMER)] * 3


@pytest.mark.parametrize("end", ["CONFIRMED", "declined", "out of stock", "refused by the catalogue", "cancelled"])
@pytest.mark.parametrize("known", [True, False])
def test_it_is_gone_with_the_write_that_ends_the_order(shop: Shop, end: str, known: bool) -> None:
    """Also where the message does not have it, as that of an older release or of an order that had ended."""
    order_id = "ORD-1"
    if end == "refused by the catalogue":
        shop.produce(shop.event(order_id, "p1", paymentMethod=METHOD, totalAmount=1))
    else:
        order_id = place(shop)
        (message,) = shop.receive()
        own = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
        body = exact_json.loads(message["Body"])
        shop.lose_messages()
        shop.produce(body if known else {n: v for n, v in body.items() if n != "paymentMethod"}, attributes=own)
    shop.provider.decline_percent = 100 if end == "declined" else 0
    if end == "out of stock":
        shop.set_product("p1", stock=0)
    if end == "cancelled":
        shop.cancel(order_id)
    shop.drain()
    expected = {"CONFIRMED": "CONFIRMED", "cancelled": "CANCELLED"}.get(end, "FAILED")
    assert kept(shop, order_id) == (expected, None)


@pytest.mark.parametrize("status", ["PENDING", "RESERVED"])
def test_an_order_that_was_lost_is_created_again_with_the_method_of_its_message(shop: Shop, status: str) -> None:
    order_id = place(shop)
    if status == "RESERVED":
        shop.payments.on("charge", TimesOut.BEFORE)
        shop.run_queue()
        shop.come_again()
        shop.set_product("p1", stock=STOCK)
    forget_order(shop.stage, order_id)
    shop.payments.on("charge", TimesOut.BEFORE)
    shop.run_queue()
    assert kept(shop, order_id) == ("RESERVED", METHOD)
    shop.come_again()
    shop.drain()
    assert kept(shop, order_id) == ("CONFIRMED", None)
    assert set(shop.payments.methods) == {(order_id, METHOD, CUSTOMER)}


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("call", range(1, 5))
def test_wherever_the_consumer_dies_an_order_that_is_not_decided_has_its_method(
    small_shop: Shop, call: int, done: bool, lost: bool
) -> None:
    """Before or after each of its calls: reserve, charge, confirm, publish. Its message comes again, or is lost."""
    shop = small_shop
    order_id = place(shop)
    (shop.calls.kill_after if done else shop.calls.kill_before)(nth=call)
    assert killed(shop.run_queue)
    shop.calls.revive()
    status, method = kept(shop, order_id)
    assert status == ("PENDING", "RESERVED", "RESERVED", "CONFIRMED", "CONFIRMED")[call - 1 + done]
    assert method == (None if status == "CONFIRMED" else METHOD)
    if lost:
        shop.lose_messages()
        assert shop.recover_later(hours=7) == (status != "CONFIRMED")
    shop.come_again()
    shop.drain()
    assert kept(shop, order_id) == ("CONFIRMED", None)
    assert set(shop.payments.methods) == {(order_id, METHOD, CUSTOMER)}


# --- who sees it ---


def test_no_answer_and_no_event_has_it(small_shop: Shop) -> None:
    shop = small_shop
    first = shop.place(shop.order("p1", paymentMethod=METHOD), "k1")
    order_id = first.order_id
    shop.payments.on("charge", TimesOut.BEFORE)
    shop.run_queue()
    assert kept(shop, order_id) == ("RESERVED", METHOD)
    listed = shop.get(f"/customers/{CUSTOMER}/orders").json
    key = shop.get(f"/customers/{CUSTOMER}/orders?idempotencyKey=k1").json
    told = [first.json, shop.document(order_id), listed, key, shop.cancel(order_id).json]
    shop.come_again()
    shop.drain()
    told += [shop.document(order_id), shop.published(), shop.lines]
    assert METHOD not in repr(told)
