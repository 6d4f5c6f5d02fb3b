"""One order's trouble is its own: the others of its batch, of `recover` and of a replay go on."""

import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib.order import Order
from chalicelib.queues import Queue
from tests.support.aws_calls import AwsCalls, Call
from tests.support.events import Clock, FakeLambdaContext
from tests.support.shop import Shop, killed, opened
from tests.support.stage import Stage


@pytest.fixture
def shop(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> Iterator[Shop]:
    with opened(aws, aws_calls, clock) as one:
        yield one


def test_a_row_of_stock_that_makes_no_sense_costs_the_others_nothing(shop: Shop) -> None:
    good = shop.place(shop.order("PROD-001"), "good").order_id
    bad = shop.place(shop.order("PROD-002"), "bad").order_id
    shop.set_product("PROD-002", stock=Decimal("0.5"))
    shop.run_queue()
    assert shop.stored(good)["status"] == "CONFIRMED"
    assert shop.stored(bad)["failureReason"] == "OUT_OF_STOCK"


@pytest.mark.parametrize(
    "row",
    [{"price": "29.99"}, {"price": Decimal("29.995")}, {"price": Decimal(-1)}, {"name": "x" * 257}, {"name": "a\nb"}],
)
def test_a_row_of_the_catalogue_that_makes_no_sense_is_no_product(shop: Shop, row: dict[str, Any]) -> None:
    shop.set_product("PROD-001", **row)
    assert shop.post(shop.order("PROD-001")).kind == "invalid-order"
    shop.produce(shop.event("ORD-1", "PROD-001"), shop.event("ORD-2", "PROD-002"))
    assert shop.run_queue() == 0
    assert {o["orderId"]: o["status"] for o in shop.orders()} == {"ORD-1": "FAILED", "ORD-2": "CONFIRMED"}


def test_a_fault_that_nobody_expected_is_one_orders_own(shop: Shop) -> None:
    good = [shop.place(shop.order(customerId=f"C{n}"), "k").order_id for n in range(3)]
    bad = shop.place(shop.order(customerId="bad"), "k").order_id
    charge = shop.service.consumer.fulfilment.cashier.charge

    def faulty(orders: Sequence[Order]) -> Sequence[object]:
        if any(order.order_id == bad for order in orders):
            raise RuntimeError("a mistake in the program")
        return charge(orders)

    object.__setattr__(shop.service.consumer.fulfilment, "cashier", SimpleNamespace(charge=faulty))
    assert shop.run_queue() == 1
    assert {shop.stored(order_id)["status"] for order_id in good} == {"CONFIRMED"}
    assert (shop.stored(bad)["status"], shop.hidden()) == ("RESERVED", 1)


@pytest.mark.parametrize("change", [{"totalAmount": "29.99"}, {"reserved": ["PROD-001"]}, {"items": "none"}])
def test_an_order_that_another_release_wrote_stops_nobody(shop: Shop, change: dict[str, Any]) -> None:
    newer = shop.place(shop.order(customerId="newer"), "k").order_id
    good = shop.place(shop.order(customerId="good"), "k").order_id
    shop.change_stored(newer, **change)
    shop.change_stored(newer, status="RESERVED")
    shop.lose_messages()
    assert shop.recover_later() == 1
    shop.run_queue()
    assert shop.stored(good)["status"] == "CONFIRMED"
    assert shop.get(f"/orders/{newer}").kind == "unavailable"


@pytest.mark.parametrize("code", ["ValidationException", "ThrottlingException"])
def test_an_order_that_cannot_be_pushed_on_does_not_stop_recovery(shop: Shop, code: str) -> None:
    orders = [shop.place(shop.order(customerId=f"C{n}"), "k").order_id for n in range(4)]
    shop.lose_messages()

    def is_the_first(call: Call) -> bool:
        return orders[0] in repr(call.params)

    shop.calls.refuse(code, "UpdateItem", when=is_the_first)
    assert shop.recover_later() == 3
    assert len(shop.messages()) == 3
    assert shop.recover_later(seconds=1) == 1


def test_an_event_owed_on_the_last_receive_has_a_mark(shop: Shop) -> None:
    order_id = shop.place(key="k").order_id
    context = FakeLambdaContext()

    def time_flies() -> None:
        context.remaining_ms = 3_900

    shop.calls.meanwhile(time_flies, "TransactWriteItems", nth=2, after=True)
    shop.calls.meanwhile(time_flies, "UpdateItem", after=True)
    (message,) = shop.receive()
    message["Attributes"]["ApproximateReceiveCount"] = "6"
    shop.consume([message], context=context)
    assert shop.stored(order_id)["status"] == "CONFIRMED"
    assert shop.metrics["EventsPublished"] == 0
    assert shop.recover_later() == 1
    assert shop.run_queue() == 0
    assert shop.metrics["EventsPublished"] == 1
    assert "outbox" not in shop.stored(order_id)


def test_killed_on_its_last_receive_the_consumer_leaves_a_mark_for_the_event(shop: Shop) -> None:
    order_id = shop.place(key="k").order_id
    shop.calls.kill_before("PutEvents")
    (message,) = shop.receive()
    message["Attributes"]["ApproximateReceiveCount"] = "6"
    assert killed(lambda: shop.consume([message]))
    shop.calls.revive()
    shop.lose_messages()
    assert shop.stored(order_id)["status"] == "CONFIRMED"
    assert shop.recover_later() == 1
    assert shop.run_queue() == 0
    assert shop.metrics["EventsPublished"] == 1


def test_a_replay_meets_each_dead_letter_once_however_soon_it_comes_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.produce("no json")
    shop.run_queue()
    letters = shop.service.dead_letters
    send = type(letters.orders).send
    sent: list[str] = []

    def and_the_consumer_is_quick(queue: Queue, body: str, attributes: dict[str, str]) -> None:
        send(queue, body, attributes)
        if queue.name == letters.orders.name:
            sent.append(body)
            time.sleep(0.002)
            shop.run_queue()

    monkeypatch.setattr(type(letters.orders), "send", and_the_consumer_is_quick)
    time.sleep(0.002)
    assert letters.replay_requested({})["replayed"] == 1
    assert sent == ["no json"]


def test_a_producers_time_that_lies_far_ahead_is_not_believed(shop: Shop) -> None:
    shop.produce(shop.event("ORD-1", createdAt="9999-12-31T23:59:59Z"), shop.event("ORD-2", createdAt=None))
    shop.run_queue()
    for order in shop.orders():
        assert order["createdAt"] == "2026-01-15T12:00:00.000Z"
