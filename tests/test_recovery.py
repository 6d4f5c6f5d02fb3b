"""The outbox mark says "work may be left". Its whole life, as the table of the design's section 5 has it."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib import exact_json, times
from chalicelib.deadline import Deadline
from chalicelib.items import mark_values
from chalicelib.order import Mark
from tests.support.aws_calls import AwsCalls
from tests.support.events import Clock
from tests.support.shop import Shop, killed, opened
from tests.support.stage import Stage

MINUTE = timedelta(minutes=1)


def due(shop: Shop, order_id: str) -> datetime | None:
    """When the order's mark is due; None: it bears none."""
    stored = shop.stored(order_id)
    assert ("outbox" in stored) == ("outboxDueAt" in stored)
    return times.from_text(stored["outboxDueAt"]) if "outboxDueAt" in stored else None


def writes(shop: Shop) -> int:
    """How many writes on orders there were."""
    operations = {"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem"}
    return sum(n for operation, n in shop.counted().items() if operation in operations)


def confirmed(shop: Shop, key: str = "k1") -> str:
    """A CONFIRMED order's id."""
    order_id = shop.place(key=key).order_id
    shop.run_queue()
    assert shop.stored(order_id)["status"] == "CONFIRMED"
    return order_id


# --- place; the consumer when it creates: mark, due in 60 s, part of the PutItem ---


def test_an_order_is_stored_with_its_mark_in_one_write(shop: Shop) -> None:
    shop.warm_up()
    order_id = shop.place(key="k1").order_id
    assert due(shop, order_id) == shop.clock() + MINUTE
    assert writes(shop) == 1


def test_a_producers_order_is_stored_with_its_mark_too(shop: Shop) -> None:
    shop.produce(shop.event("ORD-1"))
    shop.calls.kill_before("TransactWriteItems")  # which reserves; it was created alone before
    assert killed(shop.run_queue)
    assert due(shop, "ORD-1") == shop.clock() + MINUTE
    assert writes(shop) == 2


# --- a commit that reaches an end state with nothing owed: removes it, part of the commit ---


def _in_stock(shop: Shop) -> None: ...


def _out_of_stock(shop: Shop) -> None:
    shop.set_product("PROD-001", stock=0)


@pytest.mark.parametrize(("prepare", "end", "commits"), [(_in_stock, "CONFIRMED", 2), (_out_of_stock, "FAILED", 2)])
def test_the_commit_that_ends_an_order_takes_its_mark_away(
    shop: Shop, prepare: Callable[[Shop], None], end: str, commits: int
) -> None:
    prepare(shop)
    shop.warm_up()
    order_id = shop.place(key="k1").order_id
    shop.calls.forget()
    shop.run_queue()
    assert (shop.stored(order_id)["status"], due(shop, order_id)) == (end, None)
    assert writes(shop) == commits


def test_a_declined_payment_takes_the_mark_away(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> None:
    with opened(aws, aws_calls, clock, settings={"FAIL_PAYMENT_PERCENT": "100"}) as shop:
        order_id = shop.place(key="k1").order_id
        shop.run_queue()
        assert (shop.stored(order_id)["status"], due(shop, order_id)) == ("FAILED", None)


def test_a_producers_order_that_the_catalogue_refuses_has_no_mark(small_shop: Shop) -> None:
    small_shop.produce(small_shop.event("ORD-1", totalAmount=1))
    small_shop.run_queue()
    assert (small_shop.stored("ORD-1")["status"], due(small_shop, "ORD-1")) == ("FAILED", None)


def test_a_reserved_order_keeps_the_mark_that_it_has(shop: Shop) -> None:
    order_id = shop.place(key="k1").order_id
    first = due(shop, order_id)
    shop.clock.advance(seconds=5)
    shop.calls.kill_after("TransactWriteItems")
    assert killed(shop.run_queue)
    assert (shop.stored(order_id)["status"], due(shop, order_id)) == ("RESERVED", first)


# --- a commit outside the consumer that leaves work: sets it anew, part of the commit ---


def _act(shop: Shop, order_id: str, *verbs: str) -> None:
    for verb in verbs:
        reply = shop.ask("POST", f"/orders/{order_id}/{verb}", {}, {"Content-Type": "application/json"})
        assert reply.status == 200, reply


@pytest.mark.parametrize("verbs", [("cancel",), ("ship",), ("ship", "deliver")], ids=" ".join)
def test_a_commit_that_leaves_work_sets_the_mark_anew(shop: Shop, verbs: tuple[str, ...]) -> None:
    order_id = confirmed(shop)
    assert due(shop, order_id) is None
    for verb in verbs:
        shop.clock.advance(minutes=7)
        shop.calls.forget()
        _act(shop, order_id, verb)
        assert due(shop, order_id) == shop.clock() + MINUTE
        assert shop.stored(order_id)["outboxTries"] == 0


def test_cancelling_an_order_under_way_sets_its_mark_anew(shop: Shop) -> None:
    order_id = shop.place(key="k1").order_id
    shop.recover_later(hours=5)
    _act(shop, order_id, "cancel")
    assert due(shop, order_id) == shop.clock() + MINUTE


# --- the consumer, after the last piece of such work: removes it, if it is the mark that was seen ---


@pytest.mark.parametrize("verb", ["cancel", "ship"])
def test_when_the_work_is_done_the_mark_goes(shop: Shop, verb: str) -> None:
    order_id = confirmed(shop)
    _act(shop, order_id, verb)
    shop.run_queue()
    assert due(shop, order_id) is None


def test_a_mark_that_was_set_meanwhile_stays(shop: Shop) -> None:
    order_id = confirmed(shop)
    _act(shop, order_id, "ship")

    def meanwhile() -> None:
        shop.clock.advance(seconds=1)
        _act(shop, order_id, "deliver")

    shop.calls.meanwhile(meanwhile, "PutEvents")
    shop.consume(shop.receive())

    assert due(shop, order_id) == shop.clock() + MINUTE
    shop.run_queue()
    assert due(shop, order_id) is None


# --- the consumer, when publish or refund failed: sets it, if the order exists ---


@pytest.mark.parametrize("prepare", [_in_stock, _out_of_stock])
def test_when_an_event_cannot_be_published_a_mark_is_set(shop: Shop, prepare: Callable[[Shop], None]) -> None:
    prepare(shop)
    order_id = shop.place(key="k1").order_id
    shop.calls.drop_request("PutEvents", times=None, attempts=None)
    assert shop.run_queue() == 1
    assert due(shop, order_id) == shop.clock() + MINUTE

    shop.calls.heal()
    shop.lose_messages()
    assert shop.recover_later() == 1
    shop.run_queue()

    assert due(shop, order_id) is None


def test_when_a_refund_failed_the_mark_stays(shop: Shop) -> None:
    order_id = confirmed(shop)
    _act(shop, order_id, "cancel")
    shop.calls.drop_request(
        when=lambda call: shop.stage["PAYMENTS_TABLE"] in repr(call.params), times=None, attempts=None
    )
    assert shop.run_queue() == 1
    assert due(shop, order_id) == shop.clock() + MINUTE
    assert shop.stored(order_id)["refund"] == "PENDING"


def test_a_mark_is_not_set_on_an_order_that_is_gone(shop: Shop) -> None:
    shop.place(key="k1")

    def gone() -> None:
        for order in shop.orders():
            key: Any = {"orderId": {"S": order["orderId"]}}
            shop.stage.dynamodb.delete_item(TableName=shop.stage["ORDERS_TABLE"], Key=key)

    shop.calls.meanwhile(gone, "PutEvents")
    shop.calls.drop_request("PutEvents", times=None, attempts=None)
    shop.run_queue()
    assert shop.orders() == []


# --- recover, every minute: pushes it on, then sends, if it is the mark that was seen ---


def test_recover_sends_what_is_overdue_and_nothing_else(shop: Shop) -> None:
    overdue = shop.place(key="k1")
    shop.lose_messages()
    assert shop.recover_later(seconds=59) == 0
    shop.place(shop.order("PROD-002"), "k2")
    shop.lose_messages()
    assert shop.recover_later(seconds=1) == 1
    (message,) = shop.messages()
    assert exact_json.loads(message["Body"])["orderId"] == overdue.order_id


def test_what_recover_sends_is_the_message_that_was_lost(shop: Shop) -> None:
    shop.place(shop.order(shippingAddress={"street": "s", "city": "c", "country": "US"}), "k1", x_correlation_id="c-1")
    (lost,) = shop.messages()
    shop.lose_messages()
    shop.recover_later()
    (sent,) = shop.messages()
    assert sent["Body"] == lost["Body"]
    assert {n: a["StringValue"] for n, a in sent["MessageAttributes"].items()} == {
        n: a["StringValue"] for n, a in lost["MessageAttributes"].items()
    }


def test_recover_pushes_on_first_and_sends_then(shop: Shop) -> None:
    order_id = shop.place(key="k1").order_id
    shop.lose_messages()
    shop.calls.kill_before("SendMessageBatch")
    assert killed(shop.recover_later)
    assert due(shop, order_id) == shop.clock() + MINUTE
    shop.calls.revive()

    assert shop.recover() == 0
    assert shop.recover_later() == 1


def test_recover_that_died_after_pushing_on_costs_a_minute_and_no_order(shop: Shop) -> None:
    order_id = shop.place(key="k1").order_id
    shop.lose_messages()
    shop.calls.kill_after("UpdateItem")
    assert killed(shop.recover_later)
    shop.calls.revive()
    assert shop.recover_later() == 1
    shop.run_queue()
    assert shop.stored(order_id)["status"] == "CONFIRMED"


def test_the_pushes_double_from_a_minute_up_to_six_hours(shop: Shop) -> None:
    order_id = shop.place(key="k1").order_id
    pushes = []
    for _ in range(12):
        shop.lose_messages()
        was_due = due(shop, order_id)
        assert was_due
        shop.clock.now = was_due
        assert shop.recover() == 1
        now_due = due(shop, order_id)
        assert now_due
        pushes.append((now_due - was_due) / MINUTE)
    assert pushes == [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360, 360]


def test_of_two_recovers_at_once_one_sends(shop: Shop) -> None:
    shop.place(key="k1")
    shop.lose_messages()
    others: list[int] = []
    shop.calls.meanwhile(lambda: others.append(shop.recover()), "UpdateItem")
    assert (shop.recover_later(), others) == (0, [1])
    assert len(shop.messages()) == 1


def test_of_many_recovers_at_once_each_order_is_sent_by_one(real_aws: Stage, aws_calls: AwsCalls, clock: Clock) -> None:
    with opened(real_aws, aws_calls, clock, patient=True) as shop:
        orders = {shop.place(shop.order(customerId=f"C{n}"), "k").order_id for n in range(25)}
        shop.lose_messages()
        clock.advance(seconds=61)
        together = threading.Barrier(4)

        def run(_: int) -> int:
            together.wait()
            return shop.recover()

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(run, range(4))) == 25
        sent = [exact_json.loads(message["Body"])["orderId"] for message in shop.messages()]
        assert (len(sent), set(sent)) == (25, orders)


def test_recover_looks_at_the_order_not_at_its_index(shop: Shop) -> None:
    """The index is a little behind: an order may have ended since."""
    order_id = shop.place(key="k1").order_id
    shop.calls.meanwhile(shop.run_queue, "BatchGetItem")
    assert shop.recover_later() == 0
    assert (shop.stored(order_id)["status"], shop.messages()) == ("CONFIRMED", [])


def test_recover_takes_up_all_shards_and_more_than_a_page(small_shop: Shop) -> None:
    orders = [small_shop.place(small_shop.order(customerId=f"C{n}"), "k").order_id for n in range(24)]
    small_shop.lose_messages()
    assert {order["outbox"] for order in small_shop.orders()} == {0, 1, 2, 3}
    assert small_shop.recover_later() == 24
    assert small_shop.metrics["OrdersRecovered"] == 24
    assert len({exact_json.loads(m["Body"])["orderId"] for m in small_shop.messages()}) == len(orders)


def test_what_there_is_no_time_for_is_the_next_runs(small_shop: Shop) -> None:
    order_id = small_shop.place(key="k1").order_id
    small_shop.lose_messages()
    before = due(small_shop, order_id)
    small_shop.clock.advance(seconds=61)
    assert small_shop.recover(Deadline(lambda: 3.9)) == 0
    assert due(small_shop, order_id) == before
    assert small_shop.recover() == 1


def test_while_sqs_is_down_recover_goes_on_trying(shop: Shop) -> None:
    order_id = shop.place(key="k1").order_id
    shop.lose_messages()
    shop.calls.drop_request("SendMessageBatch", times=None, attempts=None)
    for _ in range(3):
        assert shop.recover_later(minutes=10) == 0
    shop.calls.heal()
    assert shop.recover_later(minutes=10) == 1
    shop.run_queue()
    assert shop.stored(order_id)["status"] == "CONFIRMED"


def test_an_order_that_cannot_be_taken_up_does_not_stop_the_others(shop: Shop) -> None:
    """A newer release may have written what this one cannot read, and leaves it to that one."""
    orders = [shop.place(shop.order(customerId=f"C{n}"), "k").order_id for n in range(8)]
    shop.lose_messages()
    shop.change_stored(orders[0], status="RETURNED")
    shop.clock.advance(seconds=61)
    try:
        shop.recover()
    except Exception:  # noqa: BLE001 - an error is told by an alarm, but it must not come first each time
        shop.clock.advance(seconds=0)
    sent = {exact_json.loads(message["Body"])["orderId"] for message in shop.messages()}
    assert set(orders[1:]) <= sent


# --- what it is for ---


def test_killed_between_its_write_and_its_message_an_order_is_sent_once_its_mark_is_overdue(shop: Shop) -> None:
    shop.calls.kill_before("SendMessage")
    assert killed(lambda: shop.post(shop.order(), "k1"))
    shop.calls.revive()
    (order,) = shop.orders()
    assert (shop.run_queue(), shop.recover()) == (0, 0)

    assert shop.recover_later() == 1
    shop.run_queue()

    assert shop.stored(order["orderId"])["status"] == "CONFIRMED"
    assert shop.place(key="k1").replayed


def test_placed_while_sqs_was_down_for_hours_an_order_comes_to_its_end(shop: Shop) -> None:
    shop.calls.drop_request("SendMessage", times=None, attempts=None)
    shop.calls.drop_request("SendMessageBatch", times=None, attempts=None)
    order_id = shop.place(key="k1").order_id
    for _ in range(5):
        shop.recover_later(hours=1)
    shop.calls.heal()
    assert shop.recover_later(hours=6) == 1
    shop.run_queue()
    assert shop.stored(order_id)["status"] == "CONFIRMED"


@pytest.mark.parametrize("steps", [1, 2])
def test_an_order_whose_message_is_lost_after_a_step_comes_to_its_end(shop: Shop, steps: int) -> None:
    order_id = shop.place(key="k1").order_id
    shop.calls.kill_after("TransactWriteItems" if steps == 1 else "PutItem")
    assert killed(shop.run_queue)
    shop.calls.revive()
    shop.lose_messages()

    shop.recover_later()
    shop.run_queue()

    assert (shop.stored(order_id)["status"], shop.stock()) == ("CONFIRMED", 499)


def test_a_duplicate_does_not_send_again(shop: Shop) -> None:
    shop.place(key="k1")
    shop.lose_messages()
    shop.place(key="k1")
    assert shop.messages() == []
    assert shop.recover_later() == 1


def test_an_order_that_has_ended_is_left_alone(shop: Shop) -> None:
    confirmed(shop)
    assert shop.recover_later(days=1) == 0


# --- OrdersOverdue ---


def test_orders_that_wait_for_over_an_hour_are_counted(small_shop: Shop) -> None:
    """Due after a minute, so overdue for an hour after 61; all that the schedule sends is lost."""
    order_id = small_shop.place(key="k1").order_id
    counted: dict[int, int] = {}
    began = small_shop.clock()
    for minute in (
        1,
        2,
        4,
        8,
        16,
        31,
        32,
        33,
        59,
        60,
        61,
        64,
        66,
        70,
        100,
    ):  # those at which it is due, and some others
        small_shop.metrics.clear()
        small_shop.clock.now = began + MINUTE * minute
        small_shop.recover()
        counted[minute] = small_shop.metrics["OrdersOverdue"]
        small_shop.lose_messages()
    assert [minute for minute, n in counted.items() if n and minute <= 61] == []
    assert [minute for minute, n in counted.items() if not n and minute >= 66] == []

    small_shop.recover_later(hours=6)
    small_shop.run_queue()
    small_shop.metrics.clear()
    small_shop.recover()

    assert small_shop.stored(order_id)["status"] == "CONFIRMED"
    assert small_shop.metrics["OrdersOverdue"] == 0


def test_a_mark_says_in_which_shard_it_is_by_the_order_alone() -> None:
    at = datetime.fromisoformat("2026-01-15T12:00:00+00:00")
    values = [mark_values("some order", Mark(at + MINUTE * n)) for n in range(3)]
    assert len({value["outbox"] for value in values}) == 1
