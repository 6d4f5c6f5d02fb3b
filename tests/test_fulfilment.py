"""Fulfilment: a batch of orders goes through stock, payment and confirmation together, in as few calls as can be.

The calls counted are those on orders and stock (`Shop.counted`): the payment provider's own books and the events are
counted where they are tested.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from chalicelib import times
from tests.support.aws_calls import AwsCalls
from tests.support.events import Clock, FakeLambdaContext
from tests.support.shop import Shop, opened
from tests.support.stage import Stage


@pytest.fixture
def shop(each_aws: Stage, aws_calls: AwsCalls, clock: Clock) -> Iterator[Shop]:
    """Warm: the catalogue is remembered, and nothing has happened yet."""
    with opened(each_aws, aws_calls, clock, patient=True) as shop:
        shop.warm_up()
        yield shop


@pytest.fixture
def real_shop(real_aws: Stage, aws_calls: AwsCalls, clock: Clock) -> Iterator[Shop]:
    with opened(real_aws, aws_calls, clock, patient=True) as shop:
        shop.warm_up()
        yield shop


def place(shop: Shop, count: int, **fields: Any) -> list[str]:
    """Orders of as many customers, in the order of their messages; then the calls are forgotten."""
    placed = [shop.place(shop.order(customerId=f"C{n}", **fields), "k").order_id for n in range(count)]
    shop.calls.forget()
    return placed


def statuses(shop: Shop, order_ids: list[str]) -> list[str]:
    stored = {order["orderId"]: order["status"] for order in shop.orders()}
    return [stored[order_id] for order_id in order_ids]


def actions(shop: Shop) -> list[int]:
    """How many actions each transaction on orders and stock had."""
    return [len(call.params["TransactItems"]) for call in shop.calls.of("TransactWriteItems")]


# --- how many calls ---


def test_ten_fresh_orders_of_the_api_are_confirmed_in_two_calls(shop: Shop) -> None:
    orders = place(shop, 10)
    assert shop.run_queue() == 0
    assert shop.counted() == {"TransactWriteItems": 2}
    assert statuses(shop, orders) == ["CONFIRMED"] * 10
    assert shop.stock() == 490


def test_ten_fresh_orders_of_a_producer_take_one_call_more(shop: Shop) -> None:
    shop.produce(*(shop.event(f"ORD-{n}") for n in range(10)))
    assert shop.run_queue() == 0
    assert shop.counted() == {"TransactWriteItems": 3}
    assert (shop.statuses(), shop.stock()) == ({"CONFIRMED": 10}, 490)


def test_a_batch_touches_a_product_once(shop: Shop) -> None:
    place(shop, 10)
    shop.run_queue()
    assert actions(shop) == [11, 10]


def test_one_order_alone_is_reserved_and_confirmed_in_two_calls(shop: Shop) -> None:
    place(shop, 1)
    shop.run_queue()
    assert shop.counted() == {"TransactWriteItems": 1, "UpdateItem": 1}


@pytest.mark.parametrize("status", ["CONFIRMED", "CANCELLED"])
def test_one_refused_order_of_ten_costs_the_others_one_more_round_trip(shop: Shop, status: str) -> None:
    orders = place(shop, 10)
    shop.change_stored(orders[4], status=status, outbox=None, outboxDueAt=None, outboxTries=None)
    assert shop.run_queue() == 0
    assert shop.counted() == {"TransactWriteItems": 3}
    assert statuses(shop, orders) == ["CONFIRMED" if n != 4 else status for n in range(10)]
    assert shop.stock() == 491


def test_an_order_out_of_stock_costs_the_others_one_more_round_trip(shop: Shop) -> None:
    orders = place(shop, 9)
    orders.append(shop.place(shop.order("PROD-100", 26), "k").order_id)
    shop.calls.forget()
    assert shop.run_queue() == 0
    assert shop.counted() == {"TransactWriteItems": 3, "UpdateItem": 1}  # the one is its own rejection
    assert statuses(shop, orders) == ["CONFIRMED"] * 9 + ["FAILED"]


def test_nothing_is_read_before_something_is_refused_and_then_the_refusal_tells(shop: Shop) -> None:
    orders = place(shop, 10)
    shop.change_stored(orders[0], status="CONFIRMED", outbox=None, outboxDueAt=None, outboxTries=None)
    shop.set_product("PROD-001", stock=5)
    shop.produce(shop.event("ORD-1"))
    shop.run_queue()
    assert not {"GetItem", "BatchGetItem", "Query", "Scan", "TransactGetItems"} & shop.counted().keys()


def test_a_duplicate_costs_one_call(shop: Shop) -> None:
    (order_id,) = place(shop, 1)
    messages = shop.messages()
    shop.run_queue()
    shop.produce(*(message["Body"] for message in messages))
    shop.calls.forget()
    shop.run_queue()
    assert sum(shop.counted().values()) <= 2  # as a producer's, it may first be tried to be created
    assert (statuses(shop, [order_id]), shop.stock()) == (["CONFIRMED"], 499)


# --- transactions of more than 100 actions ---


def test_transactions_of_more_than_100_actions_are_split(real_shop: Shop) -> None:
    shop = real_shop
    for n in range(120):
        shop.set_product(f"X{n}", name="x", price=Decimal(1), stock=1)
    for n in range(6):
        lines = [{"productId": f"X{20 * n + m}", "quantity": 1} for m in range(20)]
        shop.place(shop.order(customerId=f"C{n}", items=lines, totalAmount=20), "k")
    shop.calls.forget()

    assert shop.run_queue() == 0

    assert shop.statuses() == {"CONFIRMED": 6}
    assert actions(shop) == [84, 42, 6]
    assert {shop.stock(f"X{n}") for n in (0, 59, 119)} == {0}


def test_an_order_of_fifty_products_is_one_transaction(shop: Shop) -> None:
    for n in range(50):
        shop.set_product(f"X{n}", name="x", price=Decimal(1), stock=1)
    lines = [{"productId": f"X{n}", "quantity": 1} for n in range(50)]
    shop.place(shop.order(items=lines, totalAmount=50), "k")
    shop.calls.forget()
    shop.run_queue()
    assert (shop.statuses(), actions(shop)) == ({"CONFIRMED": 1}, [51])


# --- out of stock ---


def test_an_order_out_of_stock_fails_with_the_reason_and_takes_nothing(shop: Shop) -> None:
    lines = [{"productId": "PROD-001", "quantity": 1}, {"productId": "PROD-100", "quantity": 26}]
    order_id = shop.place(shop.order(items=lines, totalAmount=Decimal("3929.73")), "k").order_id
    assert shop.run_queue() == 0
    order = shop.get(f"/orders/{order_id}").json
    assert (order["status"], order["failureReason"]) == ("FAILED", "OUT_OF_STOCK")
    assert order["history"][-1]["reason"] == "26 of PROD-100 wanted, 25 there"
    assert (shop.stock(), shop.stock("PROD-100")) == (500, 25)
    assert (shop.metrics["OrdersFailed"], shop.metrics["OrdersFailed OUT_OF_STOCK"]) == (1, 1)


def test_a_product_that_went_after_the_order_was_placed_fails_it(shop: Shop) -> None:
    (order_id,) = place(shop, 1)
    shop.remove_product("PROD-001")
    assert shop.run_queue() == 0
    order = shop.get(f"/orders/{order_id}").json
    assert (order["status"], order["failureReason"]) == ("FAILED", "UNKNOWN_PRODUCT")


def test_the_last_of_the_stock_goes_to_those_who_came_first(shop: Shop) -> None:
    orders = place(shop, 10)
    shop.set_product("PROD-001", stock=7)
    assert shop.run_queue() == 0
    assert statuses(shop, orders) == ["CONFIRMED"] * 7 + ["FAILED"] * 3
    assert shop.stock() == 0
    assert len(actions(shop)) + len(shop.calls.of("UpdateItem")) <= 6


def test_a_small_order_fits_where_a_large_one_before_it_did_not(shop: Shop) -> None:
    large = shop.place(shop.order("PROD-100", 26, customerId="L"), "k").order_id
    small = shop.place(shop.order("PROD-100", 25, customerId="S"), "k").order_id
    assert shop.run_queue() == 0
    assert (statuses(shop, [large, small]), shop.stock("PROD-100")) == (["FAILED", "CONFIRMED"], 0)


def test_a_price_that_changes_after_the_order_was_placed_does_not_change_it(shop: Shop) -> None:
    (order_id,) = place(shop, 1)
    shop.set_product("PROD-001", price=Decimal("99.99"))
    shop.clock.advance(hours=1)
    shop.run_queue()
    stored = shop.stored(order_id)
    assert (stored["status"], stored["totalAmount"]) == ("CONFIRMED", Decimal("29.99"))


# --- others at work on the same ---


def _conflicts(shop: Shop, times_: int | None, *, of: int) -> None:
    """The next transactions meet another one at the first of their `of` actions."""
    reasons = [{"Code": "TransactionConflict"}, *({"Code": "None"} for _ in range(of - 1))]
    shop.calls.refuse(
        "TransactionCanceledException",
        "TransactWriteItems",
        when=lambda call: len(call.params["TransactItems"]) == of,
        times=times_,
        CancellationReasons=reasons,
    )


def test_a_conflict_is_met_with_the_same_batch_again_and_never_splits_it(shop: Shop) -> None:
    orders = place(shop, 10)
    _conflicts(shop, 3, of=11)
    assert shop.run_queue() == 0
    assert actions(shop) == [11, 11, 11, 11, 10]
    assert (statuses(shop, orders), shop.stock()) == (["CONFIRMED"] * 10, 490)
    assert shop.metrics["TransactionConflicts"] == 3


def test_a_conflict_on_confirming_is_met_the_same_way(shop: Shop) -> None:
    orders = place(shop, 10)
    _conflicts(shop, 2, of=10)
    assert shop.run_queue() == 0
    assert actions(shop) == [11, 10, 10, 10]
    assert (statuses(shop, orders), shop.stock()) == (["CONFIRMED"] * 10, 490)


def test_a_conflict_past_the_retries_is_tried_again_later(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> None:
    with opened(aws, aws_calls, clock) as shop:
        orders = place(shop, 2)
        _conflicts(shop, None, of=3)
        assert shop.run_queue() == 1
        assert (statuses(shop, orders), shop.hidden()) == (["PENDING"] * 2, 2)
        assert 8 <= len(actions(shop)) <= 16
        shop.calls.heal()
        shop.come_again()
        assert shop.run_queue() == 0
        assert (statuses(shop, orders), shop.stock()) == (["CONFIRMED"] * 2, 498)


def test_an_order_cancelled_between_reserve_and_confirm_gives_back_what_it_took(shop: Shop) -> None:
    orders = place(shop, 3)

    def cancel() -> None:
        headers = {"Content-Type": "application/json"}
        assert shop.ask("POST", f"/orders/{orders[1]}/cancel", {}, headers).status == 200

    shop.calls.meanwhile(cancel, "TransactWriteItems", after=True)
    shop.run_queue()
    assert statuses(shop, orders) == ["CONFIRMED", "CANCELLED", "CONFIRMED"]
    assert shop.stock() == 498


def test_an_order_created_meanwhile_by_somebody_else_is_as_good(shop: Shop) -> None:
    shop.produce(*(shop.event(f"ORD-{n}") for n in range(3)))
    messages = shop.receive()
    shop.calls.meanwhile(lambda: shop.consume(messages[:1]), "TransactWriteItems")
    assert shop.consume(messages)
    assert (shop.statuses(), shop.stock()) == ({"CONFIRMED": 3}, 497)


# --- answers that were lost ---


@pytest.mark.parametrize("lost", [1, 2, None], ids=["once", "twice", "for good"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_transaction_whose_answer_was_lost_takes_the_stock_once(
    real_aws: Stage, aws_calls: AwsCalls, clock: Clock, lost: int | None, nth: int
) -> None:
    with opened(real_aws, aws_calls, clock, patient=True) as shop:
        orders = place(shop, 3)
        shop.calls.lose_answer("TransactWriteItems", nth=nth, attempts=lost)
        raised = shop.run_queue()
        assert raised == (lost is None)
        shop.come_again()
        shop.run_queue()
        assert (statuses(shop, orders), shop.stock()) == (["CONFIRMED"] * 3, 497)


# --- the deadline ---


@pytest.mark.parametrize(("step", "left"), [(1, "RESERVED"), (2, "CONFIRMED")])
def test_no_step_is_begun_with_less_than_four_seconds_left(shop: Shop, step: int, left: str) -> None:
    orders = place(shop, 3)
    context = FakeLambdaContext()

    def time_flies() -> None:
        context.remaining_ms = 3_900

    shop.calls.meanwhile(time_flies, "TransactWriteItems", nth=step, after=True)
    messages = shop.receive()
    assert not shop.consume(messages, context=context)
    assert statuses(shop, orders) == [left] * 3
    assert actions(shop) == [4] if step == 1 else [4, 3, 3], "besides, three marks for the events that are owed"
    assert shop.hidden() == 3

    shop.come_again()
    assert shop.run_queue() == 0
    assert (statuses(shop, orders), shop.stock()) == (["CONFIRMED"] * 3, 497)


def test_with_no_time_at_all_nothing_is_begun(shop: Shop) -> None:
    orders = place(shop, 3)
    shop.produce(shop.event("ORD-1"))
    messages = shop.receive()
    context = FakeLambdaContext()
    given = [10_000]
    context.get_remaining_time_in_millis = lambda: given.pop() if given else 0  # type: ignore[method-assign]
    assert not shop.consume(messages, context=context)
    assert (actions(shop), statuses(shop, orders), len(shop.orders())) == ([], ["PENDING"] * 3, 3)


# --- the history ---


def test_each_step_is_told_in_the_history_with_its_time(shop: Shop) -> None:
    order_id = shop.place(key="k1").order_id
    began = shop.clock()
    shop.calls.meanwhile(lambda: shop.clock.advance(seconds=1), "TransactWriteItems", after=True)
    shop.clock.advance(seconds=1)
    shop.run_queue()
    history = shop.get(f"/orders/{order_id}").json["history"]
    assert [entry["status"] for entry in history] == ["PENDING", "RESERVED", "CONFIRMED"]
    assert history[0]["at"] == times.to_text(began)
    assert [entry["at"] for entry in history] == sorted({entry["at"] for entry in history})
