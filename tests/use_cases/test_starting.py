"""ENGINE=step-functions, the consumer's part: which orders get an execution, under which name, and which need none."""

import re
import uuid
from collections.abc import Iterator
from functools import partial
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import exact_json
from chalicelib.deadline import Deadline
from chalicelib.domain.order import OutboxEntry
from chalicelib.domain.request import OrderRequest
from chalicelib.entrypoints.messages import read_records
from chalicelib.use_cases.saga import Delivery, Retry, SagaItem
from chalicelib.use_cases.starting import _execution
from tests.support.aws_calls import AwsCalls
from tests.support.conservation import check_conserved
from tests.support.events import Clock, sqs_event_received
from tests.support.orders import NOW, an_order
from tests.support.shop import STOCK, Shop, opened
from tests.support.stage import Stage
from tests.support.tables import forget_order, lose_entry

ON_STEP_FUNCTIONS = {"ENGINE": "step-functions"}


@pytest.fixture
def shop(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> Iterator[Shop]:
    with opened(aws, aws_calls, clock, settings=ON_STEP_FUNCTIONS) as shop:
        yield shop


def place(shop: Shop, key: str = "k1", units: int = 1) -> str:
    return shop.place(shop.order("p1", units, customerId=key), key).order_id


def ends(shop: Shop) -> list[str]:
    """How each execution has ended, in the order of their starts."""
    return [execution.status for execution in shop.machine.executions.values()]


# --- who gets an execution ---


def test_a_message_is_done_once_the_execution_of_its_order_is_started(shop: Shop) -> None:
    order_id = place(shop)
    shop.machine.aborts_after = lambda: 0
    assert shop.consume(shop.receive())
    assert (shop.status(order_id), shop.has_entry(order_id), shop.hidden()) == ("PENDING", True, 0)
    (execution,) = shop.machine.executions.values()
    assert exact_json.loads(execution.input) == {
        "orderId": order_id,
        "paymentKey": shop.stored(order_id)["paymentKey"],
    }


def test_the_execution_brings_the_order_to_its_end_and_only_that_removes_the_entry(shop: Shop) -> None:
    order_id = place(shop)
    shop.drain()
    assert (shop.path(order_id), shop.has_entry(order_id)) == (["PENDING", "RESERVED", "CONFIRMED"], False)
    assert shop.published_of(order_id) == ["OrderPlaced"]
    assert (ends(shop), shop.recover_later()) == (["SUCCEEDED"], 0)


def test_a_batch_reads_once_and_starts_an_execution_for_each_order(shop: Shop) -> None:
    shop.warm_up()
    orders = {place(shop, f"k{n}") for n in range(10)}
    shop.machine.aborts_after = lambda: 0
    shop.calls.forget()
    assert shop.consume(shop.receive())
    assert [call.operation for call in shop.calls.made if call.service == "dynamodb"] == ["BatchGetItem"]
    assert {exact_json.loads(e.input)["orderId"] for e in shop.machine.executions.values()} == orders


def test_a_redelivery_starts_nothing_while_the_execution_runs_and_once_it_has_ended(shop: Shop) -> None:
    order_id = place(shop)
    messages = shop.receive()
    shop.machine.aborts_after = lambda: 2
    assert shop.consume(messages)
    assert shop.consume(messages)
    assert ends(shop) == ["ABORTED"]
    shop.machine.aborts_after = lambda: None
    assert shop.recover_later() == 1
    shop.drain()
    assert shop.consume(messages)
    assert (ends(shop), shop.status(order_id), shop.has_entry(order_id)) == (
        ["ABORTED", "SUCCEEDED"],
        "CONFIRMED",
        False,
    )


def test_a_message_of_recover_of_cancel_and_of_a_replay_always_starts_one(shop: Shop) -> None:
    order_id = place(shop)
    shop.machine.aborts_after = lambda: 2
    shop.drain()
    assert shop.recover_later() == 1
    shop.drain()
    shop.cancel(order_id)
    shop.drain()
    assert ends(shop) == ["ABORTED"] * 3
    shop.produce(shop.event(order_id, "p1", customerId="k1"), attributes={"paymentKey": "no key of this order"})
    shop.drain()
    assert ends(shop) == ["ABORTED"] * 4, "an equal event of a producer's"
    shop.machine.aborts_after = lambda: None
    assert shop.recover_later(minutes=10) == 1
    shop.drain()
    assert (shop.path(order_id), shop.stored(order_id)["refund"]) == (["PENDING", "RESERVED", "CANCELLED"], "NONE")


@pytest.mark.parametrize("way", ["charged", "declined", "out of stock", "cancelled"])
def test_an_execution_that_is_aborted_at_any_state_is_started_again_by_recover_and_ends(shop: Shop, way: str) -> None:
    shop.provider.decline_percent = 100 if way == "declined" else 0
    placed: set[str] = set()
    for states in map(str, range(6)):
        order_id = place(shop, states, STOCK + 1 if way == "out of stock" else 1)
        placed.add(order_id)
        shop.machine.aborts_after = partial(int, states)
        assert shop.run_queue() == 0
        if way == "cancelled":
            assert shop.cancel(order_id).status == 200
        shop.lose_messages()
        shop.machine.aborts_after = lambda: None
        shop.recover_later()
        shop.drain()
        assert shop.published_of(order_id) == shop.owed(order_id)
    end = {"charged": "CONFIRMED", "cancelled": "CANCELLED"}.get(way, "FAILED")
    assert check_conserved(shop.stage, {"p1": STOCK}, placed) == {end: 6}


def test_a_throttled_start_is_tried_again(shop: Shop) -> None:
    order_id = place(shop)
    shop.machine.throttled = True
    messages = shop.receive()
    assert not shop.consume(messages)
    assert any("StartExecution: ThrottlingException" in line for line in shop.lines)
    shop.machine.throttled = False
    assert shop.consume(messages)
    assert shop.status(order_id) == "CONFIRMED"


def test_on_its_last_receive_a_message_whose_start_is_throttled_is_left_to_recovery(shop: Shop) -> None:
    shop.produce(shop.event("ORD-1", "p1"))
    shop.machine.throttled = True
    for _ in range(shop.service.settings.max_receives):
        shop.run_queue()
        shop.come_again()
    assert (shop.messages(), shop.dead_letters(), shop.has_entry("ORD-1")) == ([], [], True)
    shop.machine.throttled = False
    assert shop.recover_later() == 1
    shop.drain()
    assert shop.status("ORD-1") == "CONFIRMED"


def test_orders_that_cannot_be_read_are_tried_again(shop: Shop) -> None:
    order_id = place(shop)
    shop.calls.refuse("InternalServerError", "BatchGetItem", status=500)
    messages = shop.receive()
    assert not shop.consume(messages)
    assert shop.machine.executions == {}
    shop.calls.heal()
    assert shop.consume(messages)
    assert shop.status(order_id) == "CONFIRMED"


@pytest.mark.parametrize("reads", [0, 1])
def test_nothing_is_started_when_no_time_is_left(shop: Shop, reads: int) -> None:
    order_id = place(shop)
    (message,) = read_records(shop.service, sqs_event_received(shop.receive())["Records"])
    shop.calls.forget()
    deadline = Deadline(lambda: 9.0 if len(shop.calls.of("BatchGetItem")) < reads else 1.0)
    assert shop.service.consumer.engine.fulfil([cast(Delivery, message.content)], deadline) == [Retry("no time left")]
    assert ([*shop.machine.executions], shop.calls.operations()) == ([], ["BatchGetItem"] * reads)
    assert shop.status(order_id) == "PENDING"


# --- who needs none ---


def test_an_order_without_an_entry_is_completed_by_its_message_and_starts_nothing(shop: Shop) -> None:
    """As after a crash of the other engine: it confirms, and its message owes the event."""
    order_id = place(shop)
    messages = shop.receive()
    assert shop.consume(messages)
    shop.machine.executions.clear()
    assert shop.consume(messages)
    assert (shop.published_of(order_id), shop.machine.executions) == (["OrderPlaced"] * 2, {})
    shop.calls.refuse("InternalFailure", "PutEvents", status=500)
    assert not shop.consume(messages), "it comes again, and there is an entry"
    assert (shop.has_entry(order_id), shop.machine.executions) == (True, {})
    shop.calls.heal()
    assert shop.consume(messages)
    assert (shop.published_of(order_id), ends(shop)) == (["OrderPlaced"], ["SUCCEEDED"])


@pytest.mark.parametrize("aborted", [False, True])
@pytest.mark.parametrize("states", [0, 1, 3])
def test_an_order_on_its_way_without_an_entry_is_given_one_and_started(shop: Shop, states: int, aborted: bool) -> None:
    """As `ops payments reconcile` sends it. Until it has ended its entry says so, whatever becomes of the execution."""
    order_id = place(shop)
    shop.machine.aborts_after = lambda: states
    shop.run_queue()
    shop.lose_messages()
    lose_entry(shop.stage, order_id)
    order = shop.service.orders.get(order_id)
    assert order
    shop.machine.aborts_after = lambda: 0 if aborted else None
    shop.service.queue.enqueue([order])
    assert (shop.run_queue(), shop.has_entry(order_id)) == (0, aborted)
    shop.machine.aborts_after = lambda: None
    assert shop.recover_later() == aborted
    shop.drain()
    assert (shop.status(order_id), shop.published_of(order_id)) == ("CONFIRMED", shop.owed(order_id))


def test_an_order_that_cannot_be_given_an_entry_is_tried_again_and_not_started(shop: Shop) -> None:
    order_id = place(shop)
    lose_entry(shop.stage, order_id)
    messages = shop.receive()
    shop.calls.refuse("InternalServerError", "UpdateItem", status=500)
    assert not shop.consume(messages)
    assert shop.machine.executions == {}
    shop.calls.heal()
    assert shop.consume(messages)
    assert shop.status(order_id) == "CONFIRMED"


def test_a_producers_order_that_the_catalogue_refuses_fails_with_its_event_and_without_an_execution(
    shop: Shop,
) -> None:
    shop.produce(shop.event("ORD-1", "no-such-product"))
    shop.drain()
    assert (shop.path("ORD-1"), shop.has_entry("ORD-1")) == (["PENDING", "FAILED"], False)
    assert (shop.published_of("ORD-1"), shop.machine.executions) == (shop.owed("ORD-1"), {})


def test_a_producers_order_is_created_once_and_started(shop: Shop) -> None:
    event = shop.event("ORD-1", {"p1": 2, "p3": 1})
    shop.produce(event, event)
    shop.drain()
    assert (shop.path("ORD-1"), shop.metrics["OrdersPlaced"]) == (["PENDING", "RESERVED", "CONFIRMED"], 1)


# --- the message's order, and the one that is stored ---


def test_an_order_that_a_restored_table_has_lost_is_created_again_with_the_key_of_its_message(shop: Shop) -> None:
    order_id = place(shop)
    key = shop.stored(order_id)["paymentKey"]
    forget_order(shop.stage, order_id)
    shop.drain()
    assert (shop.stored(order_id)["paymentKey"], shop.status(order_id)) == (key, "CONFIRMED")
    assert any("order created again" in line for line in shop.lines)


def test_a_lost_order_is_not_created_by_a_message_older_than_orders_are_kept(shop: Shop) -> None:
    order_id = place(shop)
    forget_order(shop.stage, order_id)
    shop.clock.advance(days=20000)
    shop.drain()
    assert (shop.orders(), shop.machine.executions) == ([], {})
    assert shop.metrics["MessagesOutdated"] == 1


def test_the_same_order_id_with_other_content_is_a_dead_letter_and_starts_nothing(shop: Shop) -> None:
    order_id = place(shop)
    shop.lose_messages()
    shop.produce(shop.event(order_id, "p1", 7, customerId="k1"))
    shop.drain()
    (letter,) = shop.dead_letters()
    assert letter["reason"] == "an order with this id and different contents exists"
    assert shop.machine.executions == {}


def test_a_message_of_an_earlier_order_with_this_id_is_done_and_starts_nothing(shop: Shop) -> None:
    order_id = place(shop)
    shop.lose_messages()
    body = shop.event(order_id, "p1", 7, customerId="k1")
    shop.produce(body, attributes={"paymentKey": f"{order_id}.{uuid.uuid4()}"})
    shop.drain()
    assert (shop.dead_letters(), shop.machine.executions, shop.metrics["MessagesOutdated"]) == ([], {}, 1)


# --- names ---

UUID = st.uuids().map(str)
ORDER_IDS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


def name_of(payment_key: str, message_id: str) -> str:
    order = an_order("o1", payment_key=payment_key, outbox=OutboxEntry(NOW))
    delivery = Delivery(order, OrderRequest.from_order(order), payment_key, message_id=message_id)
    return _execution(SagaItem(delivery, order)).name


@given(ORDER_IDS, UUID, st.lists(UUID | st.text(max_size=200), min_size=2, max_size=2, unique=True))
def test_a_name_is_one_payments_and_one_messages_and_as_step_functions_wants_it(
    order_id: str, payment: str, messages: list[str]
) -> None:
    first, other = (name_of(f"{order_id}.{payment}", message_id) for message_id in messages)
    assert first != other, "another message starts another execution"
    assert first == name_of(f"{order_id}.{payment}", messages[0])
    assert first != name_of(f"{order_id}.{uuid.uuid4()}", messages[0])
    for name in (first, other):
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,80}", name, re.ASCII)
        assert name.startswith(payment), "people find the executions of a payment by its key"


def test_of_several_messages_about_an_order_the_one_sent_last_names_the_execution(shop: Shop) -> None:
    """Else a redelivery beside a message that `recover` has sent since would start nothing, and both would be done."""
    order_id = place(shop)
    first = shop.receive()
    shop.machine.aborts_after = lambda: 2
    assert shop.consume(first)
    assert shop.recover_later() == 1
    second = shop.receive()
    shop.machine.aborts_after = lambda: None
    assert shop.consume([*first, *second])
    assert (ends(shop), shop.status(order_id)) == (["ABORTED", "SUCCEEDED"], "CONFIRMED")
