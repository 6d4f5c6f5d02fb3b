"""Fulfilment: a batch of orders goes through stock, payment and confirmation together, and any delivery resumes it.

What each single order comes to, whatever happens to it, is shown in test_life_cycle.py.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from decimal import Decimal

import pytest

from chalicelib import times
from chalicelib.settings import DEFAULT_MAX_RECEIVES
from chalicelib.use_cases.ports import BATCH_SIZE
from tests.support.aws_calls import AwsCalls, Call
from tests.support.conservation import check_conserved
from tests.support.events import Clock, FakeLambdaContext
from tests.support.payments import TimesOut
from tests.support.shop import STOCK, Shop, killed, opened
from tests.support.stage import Stage
from tests.support.tables import stock_up

BEFORE = {"p1": STOCK, "p2": STOCK, "p3": STOCK}


@pytest.fixture
def shop(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> Iterator[Shop]:
    """Warm: the catalogue is remembered, and nothing has happened yet."""
    with opened(aws, aws_calls, clock) as shop:
        shop.warm_up()
        shop.published()
        yield shop


@pytest.fixture
def each_engine(shop_of_each_engine: Shop) -> Shop:
    """The same with each value of ENGINE."""
    shop_of_each_engine.warm_up()
    shop_of_each_engine.published()
    return shop_of_each_engine


def place(shop: Shop, count: int, units: int = 1, product: str = "p1") -> list[str]:
    """Orders of as many customers, in the order of their messages; then the calls are forgotten."""
    placed = [shop.place(shop.order(product, units, customerId=f"{product}-{n}"), "k").order_id for n in range(count)]
    shop.calls.forget()
    return placed


def statuses(shop: Shop, order_ids: list[str]) -> list[str]:
    return [shop.status(order_id) for order_id in order_ids]


def all_ids(shop: Shop) -> set[str]:
    return {order["orderId"] for order in shop.orders()}


def actions(shop: Shop) -> list[int]:
    """How many actions each transaction on orders and stock had."""
    return [len(call.params["TransactItems"]) for call in shop.calls.of("TransactWriteItems")]


def not_the_ledger(shop: Shop) -> Callable[[Call], bool]:
    return lambda call: call.params.get("TableName") != shop.stage["PAYMENTS_TABLE"]


def calls_of_the_consumer(shop: Shop) -> list[str]:
    """All of them but those on the provider's own ledger, and those on the queue."""
    return [call.operation for call in shop.calls.made if not_the_ledger(shop)(call) and call.service != "sqs"]


def calls_for_events(shop: Shop, order_ids: Iterable[str]) -> list[str]:
    """The fewest calls that publish all events of these orders."""
    events = sum(len(shop.owed(order_id)) for order_id in order_ids)
    return ["PutEvents"] * math.ceil(events / BATCH_SIZE)


def placed(shop: Shop) -> list[str]:
    """The orders whose OrderPlaced has arrived since the last time, as often as it did."""
    return sorted(e["detail"]["orderId"] for e in shop.published() if e["detail-type"] == "OrderPlaced")


# --- how many calls ---


def test_ten_fresh_orders_of_the_api_take_two_writes_and_as_few_calls_for_events_as_can_be(shop: Shop) -> None:
    orders = place(shop, 10)
    shop.metrics.clear()
    assert shop.run_queue() == 0
    assert calls_of_the_consumer(shop) == ["TransactWriteItems"] * 2 + calls_for_events(shop, orders)
    assert actions(shop) == [11, 10], "a batch touches its product once"
    assert {call.attempts for call in shop.calls.made} == {1}
    for metric in ("OrdersReserved", "PaymentsCharged", "OrdersConfirmed"):
        assert shop.metrics[metric] == 10, metric
    assert shop.metrics["EventsPublished"] == sum(len(shop.owed(order_id)) for order_id in orders)
    assert placed(shop) == sorted(orders)
    assert check_conserved(shop.stage, BEFORE, set(orders)) == {"CONFIRMED": 10}


def test_ten_fresh_orders_of_a_producer_take_one_call_more(shop: Shop) -> None:
    shop.produce(*(shop.event(f"ORD-{n}", {"p1": 2, "p3": 1}) for n in range(10)))
    assert shop.run_queue() == 0
    assert calls_of_the_consumer(shop) == ["TransactWriteItems"] * 3 + calls_for_events(shop, all_ids(shop))
    assert shop.metrics["OrdersPlaced"] == 10
    assert shop.path("ORD-1") == ["PENDING", "RESERVED", "CONFIRMED"]
    assert check_conserved(shop.stage, BEFORE, all_ids(shop)) == {"CONFIRMED": 10}


def test_one_order_alone_is_confirmed_without_a_transaction(shop: Shop) -> None:
    place(shop, 1)
    shop.run_queue()
    assert calls_of_the_consumer(shop) == ["TransactWriteItems", "UpdateItem", "PutEvents"]


def test_a_batch_of_duplicates_costs_one_call_and_its_events_and_charges_nothing(shop: Shop) -> None:
    place(shop, 5)
    messages = shop.receive()
    assert shop.consume(messages)
    shop.calls.forget()
    shop.payments.asked.clear()
    assert shop.consume(messages)
    assert calls_of_the_consumer(shop) == ["TransactWriteItems", "PutEvents"]
    assert (shop.payments.asked, shop.stock("p1")) == ([], STOCK - 5)


def test_those_refused_cost_the_others_one_more_round_trip_and_nothing_is_read(shop: Shop) -> None:
    orders = place(shop, 9) + place(shop, 1, STOCK + 1, "p2")
    shop.change_stored(orders[4], status="CANCELLED", refund="NONE")
    assert shop.run_queue() == 0
    # The one update is the rejection of the last order, the other removes the entry of the cancelled one.
    writes = ["TransactWriteItems"] * 3 + ["UpdateItem"] * 2
    assert sorted(calls_of_the_consumer(shop)) == calls_for_events(shop, orders) + writes
    assert statuses(shop, orders) == ["CONFIRMED"] * 4 + ["CANCELLED"] + ["CONFIRMED"] * 4 + ["FAILED"]
    assert shop.stock("p1") == STOCK - 8


# --- refused: by stock, by the provider ---


@pytest.mark.parametrize(
    ("there", "failure", "reason"),
    [(2, "OUT_OF_STOCK", "3 of p2 wanted, 2 available"), (None, "UNKNOWN_PRODUCT", "3 of p2 wanted, 0 available")],
)
def test_an_order_out_of_stock_fails_with_the_reason_takes_nothing_and_is_never_charged(
    each_engine: Shop, there: int | None, failure: str, reason: str
) -> None:
    shop = each_engine
    order_id = shop.place(shop.order({"p1": 1, "p2": 3})).order_id
    shop.produce(shop.event("ORD-1", {"p1": 1, "p2": 3}))
    if there is None:
        shop.remove_product("p2")
    else:
        stock_up(shop.stage, p2=there)
    assert shop.run_queue() == 0
    for failed in (order_id, "ORD-1"):
        document = shop.document(failed)
        assert (document["status"], document["failureReason"]) == ("FAILED", failure)
        assert document["history"][-1]["reason"] == reason
    assert (shop.stock("p1"), {operation for operation, _ in shop.payments.asked}) == (STOCK, {"refund"})
    assert shop.metrics[f"OrdersFailed {failure}"] == 2


def test_declined_orders_fail_with_their_stock_back_in_one_more_write(shop: Shop) -> None:
    shop.provider.decline_percent = 50
    orders = place(shop, 10, 2)
    shop.run_queue()
    ended = check_conserved(shop.stage, BEFORE, set(orders))
    declined = ended["FAILED"]
    assert 0 < declined < 10
    assert actions(shop) == [11, 10 - declined, declined + 1], "one reserves, one confirms, one gives back"
    for order_id in orders:
        if shop.status(order_id) == "FAILED":
            assert shop.stored(order_id)["failureReason"] == "PAYMENT_DECLINED"
            assert shop.stored(order_id)["history"][-1]["reason"] == "the payment is declined"
    assert (shop.metrics["PaymentsDeclined"], shop.metrics["OrdersFailed PAYMENT_DECLINED"]) == (declined, declined)


# --- payments of which nothing is known ---


@pytest.mark.parametrize("when", list(TimesOut))
@pytest.mark.parametrize("lands", ["before the retry", "after the retry"])
def test_a_payment_that_timed_out_is_asked_again_and_holds_up_no_other_order(
    shop: Shop, when: TimesOut, lands: str
) -> None:
    shop.payments.on("charge", when)
    orders = place(shop, 3)
    assert shop.run_queue() == 1
    assert sorted(statuses(shop, orders)) == ["CONFIRMED", "CONFIRMED", "RESERVED"]
    (unknown,) = (order_id for order_id in orders if shop.status(order_id) == "RESERVED")
    assert (shop.has_entry(unknown), shop.metrics["PaymentsUnknown"]) == (True, 1)
    if lands == "before the retry":
        shop.payments.land()
    shop.come_again()
    assert shop.run_queue() == 0
    shop.payments.land()
    assert shop.payments.asked.count(("charge", unknown)) == 2
    assert check_conserved(shop.stage, BEFORE, set(orders)) == {"CONFIRMED": 3}


def test_a_provider_that_is_down_for_two_hours_costs_no_order_and_needs_nobody(each_engine: Shop) -> None:
    """By a clock of its own: every four minutes what is due is sent again, and its messages are tried till they die."""
    shop = each_engine
    began = shop.clock()
    shop.payments.on("charge", TimesOut.BEFORE, times=None)
    orders = place(shop, 3)
    while shop.clock() - began < timedelta(hours=2):
        shop.drain()
        shop.recover_later(minutes=4)
    shop.drain()
    assert [shop.path(order_id) for order_id in orders] == [["PENDING", "RESERVED"]] * 3
    asked = len(shop.payments.asked)
    assert asked <= 3 * DEFAULT_MAX_RECEIVES * 9, "a provider that is down is asked less and less"

    shop.payments.over()
    while shop.clock() - began < timedelta(hours=2.5) and not shop.ledger():
        shop.recover_later(minutes=4)
        shop.drain()
    assert check_conserved(shop.stage, BEFORE, set(orders)) == {"CONFIRMED": 3}
    assert placed(shop) == sorted(orders)

    assert len(shop.payments.asked) == asked + 3
    assert shop.dead_letters() == [], "nobody has to do anything"


# --- others at work on the same ---


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("nth", range(1, 5), ids=["reserve", "charge", "confirm", "publish"])
@pytest.mark.parametrize("at_once", [True, False], ids=["seen to at once", "seen to later"])
def test_a_cancel_at_any_moment_owes_what_the_ledger_says(shop: Shop, nth: int, after: bool, at_once: bool) -> None:
    """Whatever the payment comes to. The other consumer comes within the first one's step, or after it."""
    _cancel_at(shop, nth, after, at_once)


@pytest.mark.parametrize("nth", range(1, 12, 2))
def test_a_cancel_at_any_moment_of_an_execution_owes_what_the_ledger_says(
    aws: Stage, aws_calls: AwsCalls, clock: Clock, nth: int
) -> None:
    with opened(aws, aws_calls, clock, settings={"ENGINE": "step-functions"}) as shop:
        _cancel_at(shop, nth, after=nth % 4 == 3, at_once=True)


def _cancel_at(shop: Shop, nth: int, after: bool, at_once: bool) -> None:
    answers: list[int] = []

    def cancel() -> None:
        answers.append(shop.cancel(order_id).status)
        if at_once:
            shop.drain()

    for fate in ("charged", "declined", *TimesOut):
        order_id = shop.place(shop.order("p1", 2), f"k-{fate}").order_id
        if isinstance(fate, TimesOut):
            shop.payments.on("charge", fate)
        shop.provider.decline_percent = 100 if fate == "declined" else 0
        messages = shop.receive()
        answers.clear()
        shop.calls.meanwhile(cancel, nth=nth, after=after)
        if not shop.consume(messages):
            shop.show_again(messages)
        shop.calls.heal()
        shop.drain()
        shop.payments.land()
        if answers == [200]:
            assert shop.status(order_id) == "CANCELLED", fate
        else:
            assert answers in ([], [409]), fate
            assert shop.status(order_id) == ("FAILED" if fate == "declined" else "CONFIRMED"), fate
    check_conserved(shop.stage, BEFORE, all_ids(shop))


def test_an_order_cancelled_just_before_it_would_be_confirmed_is_refunded_by_the_same_delivery(shop: Shop) -> None:
    orders = place(shop, 3)
    shop.calls.meanwhile(lambda: shop.cancel(orders[1]), "TransactWriteItems", nth=2)
    assert shop.consume(shop.receive())
    assert shop.ledger() == {orders[0]: "CHARGED", orders[1]: "REFUNDED", orders[2]: "CHARGED"}
    assert shop.path(orders[1]) == ["PENDING", "RESERVED", "CANCELLED"]
    assert shop.metrics["PaymentsRefunded"] == 1
    shop.drain()
    check_conserved(shop.stage, BEFORE, set(orders))


def test_an_order_created_meanwhile_by_somebody_else_is_as_good(shop: Shop) -> None:
    shop.produce(*(shop.event(f"ORD-{n}", "p1") for n in range(3)))
    messages = shop.receive()
    shop.calls.meanwhile(lambda: shop.consume(messages[:1]), "TransactWriteItems")
    assert shop.consume(messages)
    assert check_conserved(shop.stage, BEFORE) == {"CONFIRMED": 3}


def test_a_price_that_changes_after_the_order_was_placed_does_not_change_it(each_engine: Shop) -> None:
    shop = each_engine
    (order_id,) = place(shop, 1, 2)
    shop.set_product("p1", price=Decimal("99.99"))
    shop.clock.advance(hours=1)
    shop.run_queue()
    document = shop.document(order_id)
    assert (document["status"], document["totalAmount"], document["items"][0]["unitPrice"]) == ("CONFIRMED", 20, 10)


@pytest.mark.parametrize("lost", [1, None], ids=["once", "for good"])
@pytest.mark.parametrize("nth", [1, 2], ids=["reserve", "confirm"])
def test_a_transaction_whose_answer_was_lost_takes_the_stock_once(
    real_aws: Stage, aws_calls: AwsCalls, clock: Clock, lost: int | None, nth: int
) -> None:
    with opened(real_aws, aws_calls, clock, patient=True) as shop:
        orders = place(shop, 3)
        shop.calls.lose_answer("TransactWriteItems", nth=nth, attempts=lost)
        assert shop.run_queue() == (lost is None)
        shop.come_again()
        shop.run_queue()
        assert (statuses(shop, orders), shop.stock("p1")) == (["CONFIRMED"] * 3, STOCK - 3)


# --- each write of the saga meets conflicts and throttling ---

WRITES = {  # what stands in the end, and which call of the delivery makes the write
    "create": ("CONFIRMED", 1),
    "reserve": ("CONFIRMED", 1),
    "confirm": ("CONFIRMED", 2),
    "reject": ("FAILED", 2),
    "decline": ("FAILED", 2),
    "remove the entry": ("CANCELLED", 2),
}
TOUCHES_STOCK = ("reserve", "decline")
"""So it is a transaction for one order too."""


def ready(shop: Shop, write: str, many: int) -> list[str]:
    """Orders whose messages, when they are delivered next, lead to this write."""
    if write == "create":
        orders = [f"ORD-{n}" for n in range(many)]
        shop.produce(*(shop.event(order_id, "p1") for order_id in orders))
        return orders
    orders = place(shop, many)
    if write == "reject":
        stock_up(shop.stage, p1=0)
    shop.provider.decline_percent = 100 if write == "decline" else 0
    if write == "remove the entry":
        shop.drain()
        for order_id in orders:
            shop.cancel(order_id)
    return orders


@pytest.mark.parametrize("fault", ["conflicts", "conflicts without end", "throttled"])
@pytest.mark.parametrize("many", [1, 3])
@pytest.mark.parametrize("write", WRITES)
def test_each_write_goes_through_conflicts_and_throttling(shop: Shop, write: str, many: int, fault: str) -> None:
    """No engine at hand raises these, so they are stubbed, as the DynamoDB Developer Guide has them."""
    orders = ready(shop, write, many)
    shop.slept.clear()
    end, nth = WRITES[write]
    transaction = many > 1 or write in TOUCHES_STOCK
    operation = "TransactWriteItems" if transaction else "PutItem" if write == "create" else "UpdateItem"
    code = "TransactionCanceledException" if transaction else "TransactionConflictException"
    reasons = [{"Code": "TransactionConflict"}] * (many + (write in TOUCHES_STOCK))
    shop.calls.forget()
    shop.calls.refuse(
        "ThrottlingException" if fault == "throttled" else code,
        operation,
        when=not_the_ledger(shop),
        nth=nth if transaction else 1,
        times={"conflicts": 5, "conflicts without end": None, "throttled": 1}[fault],
        CancellationReasons=reasons,
    )

    raised = shop.run_queue()

    assert raised == (fault != "conflicts"), "only what does not pass in time brings the message again"
    assert len(shop.slept) == {"conflicts": 5, "conflicts without end": 11, "throttled": 0}[fault]
    assert sum(shop.slept) < 2.5
    assert shop.metrics["TransactionConflicts"] == {"conflicts": 5, "conflicts without end": 12, "throttled": 0}[fault]
    if fault == "conflicts" and transaction:
        first = actions(shop)[nth - 1]
        assert actions(shop)[nth - 1 : nth + 5] == [first] * 6, "a conflict never splits a batch"
    shop.calls.heal()
    shop.come_again()
    shop.drain()
    assert statuses(shop, orders) == [end] * many
    check_conserved(shop.stage, {**BEFORE, "p1": 0} if write == "reject" else BEFORE, set(orders))


@pytest.mark.parametrize("verb", ["cancel", "ship", "deliver"])
def test_what_people_ask_for_goes_through_conflicts_too(shop: Shop, verb: str) -> None:
    (order_id,) = place(shop, 1, 2)
    shop.drain()
    if verb == "deliver":
        shop.ship(order_id)
    for times_, status in ((None, 503), (5, 200)):
        if verb == "cancel":
            reasons = [{"Code": "None"}, {"Code": "TransactionConflict"}]
            shop.calls.refuse(
                "TransactionCanceledException", "TransactWriteItems", times=times_, CancellationReasons=reasons
            )
        else:
            shop.calls.refuse("TransactionConflictException", "UpdateItem", times=times_)
        assert shop.act(verb, order_id).status == status
        shop.calls.heal()
    shop.drain()
    check_conserved(shop.stage, BEFORE, {order_id})


# --- the deadline ---


@pytest.mark.parametrize(("step", "left"), [(1, "RESERVED"), (2, "CONFIRMED")])
def test_no_step_is_begun_with_less_than_four_seconds_left(shop: Shop, step: int, left: str) -> None:
    orders = place(shop, 3)
    context = FakeLambdaContext()

    def time_flies() -> None:
        context.remaining_ms = 3_900

    shop.calls.meanwhile(time_flies, "TransactWriteItems", nth=step, after=True)
    assert not shop.consume(shop.receive(), context=context)
    assert statuses(shop, orders) == [left] * 3
    assert actions(shop) == ([4] if step == 1 else [4, 3, 3]), "besides, three entries for the events that are owed"
    assert all(shop.has_entry(order_id) for order_id in orders)
    assert shop.hidden() == 3

    shop.come_again()
    assert shop.run_queue() == 0
    assert check_conserved(shop.stage, BEFORE, set(orders)) == {"CONFIRMED": 3}


def test_with_no_time_at_all_nothing_is_begun(shop: Shop) -> None:
    orders = place(shop, 3)
    shop.produce(shop.event("ORD-1"))
    context = FakeLambdaContext()
    given = [10_000]
    context.get_remaining_time_in_millis = lambda: given.pop() if given else 0  # type: ignore[method-assign]
    assert not shop.consume(shop.receive(), context=context)
    assert (actions(shop), statuses(shop, orders), len(shop.orders())) == ([], ["PENDING"] * 3, 3)


# --- the history ---


def test_each_step_is_in_the_history_with_its_time(each_engine: Shop) -> None:
    shop = each_engine
    (order_id,) = place(shop, 1)
    began = shop.clock()
    shop.calls.meanwhile(lambda: shop.clock.advance(seconds=1), "TransactWriteItems", after=True)
    shop.clock.advance(seconds=1)
    shop.run_queue()
    history = shop.document(order_id)["history"]
    expected = [times.to_text(began + timedelta(seconds=n)) for n in range(3)]
    assert [entry["at"] for entry in history] == expected


# --- dead letters ---


@pytest.mark.parametrize(
    ("decline_percent", "stock", "end"), [(0, STOCK, "CONFIRMED"), (100, STOCK, "FAILED"), (0, 0, "FAILED")]
)
def test_an_end_that_is_reached_on_the_last_receive_keeps_its_entry_until_its_event_is_published(
    shop: Shop, decline_percent: int, stock: int, end: str
) -> None:
    (order_id,) = place(shop, 1)
    shop.provider.decline_percent = decline_percent
    stock_up(shop.stage, p1=stock)
    (message,) = shop.receive()
    message["Attributes"]["ApproximateReceiveCount"] = "14"
    shop.calls.kill_before("PutEvents")
    assert killed(lambda: shop.consume([message]))
    shop.calls.revive()
    assert (shop.status(order_id), shop.has_entry(order_id)) == (end, True)


def test_a_refusal_by_the_catalogue_on_the_last_receive_keeps_an_entry_until_its_event_is_published(shop: Shop) -> None:
    shop.produce(shop.event("ORD-9", totalAmount=1))
    (message,) = shop.receive()
    message["Attributes"]["ApproximateReceiveCount"] = "14"
    shop.calls.kill_before("PutEvents")
    assert killed(lambda: shop.consume([message]))
    shop.calls.revive()
    assert (shop.status("ORD-9"), shop.has_entry("ORD-9")) == ("FAILED", True)


STUCK: dict[str, tuple[str, Callable[[Shop], None]]] = {
    "reserve": ("PENDING", lambda shop: shop.calls.drop_request("TransactWriteItems", attempts=None, times=None)),
    "charge": ("RESERVED", lambda shop: shop.payments.on("charge", TimesOut.AFTER, times=None)),
    "confirm": ("RESERVED", lambda shop: shop.calls.drop_request("UpdateItem", attempts=None, times=None)),
    "publish": ("CONFIRMED", lambda shop: shop.calls.drop_request("PutEvents", attempts=None, times=None)),
    "refund": ("CANCELLED", lambda shop: shop.payments.on("refund", TimesOut.BEFORE, times=None)),
}


@pytest.mark.parametrize(
    ("step_that_fails", "goes_on_by"), [*((step, "recover") for step in STUCK), ("confirm", "replay")]
)
def test_an_order_whose_message_died_keeps_its_entry_and_goes_on(
    shop: Shop, step_that_fails: str, goes_on_by: str
) -> None:
    status, fail = STUCK[step_that_fails]
    (order_id,) = place(shop, 1, 2)
    if step_that_fails == "refund":
        shop.drain()
        shop.cancel(order_id)
        shop.published()
    fail(shop)
    shop.drain()

    assert (shop.status(order_id), shop.has_entry(order_id)) == (status, True)
    only_without_an_update = step_that_fails == "confirm"  # only then no entry can be ensured
    assert shop.metrics["MessagesQuarantined"] == only_without_an_update
    assert shop.stock("p1") == (STOCK if status in ("PENDING", "CANCELLED") else STOCK - 2), "reserved once"

    shop.calls.heal()
    shop.payments.over()
    if goes_on_by == "replay":
        assert shop.replay() == 1
    else:
        assert shop.recover_later() == 1
    shop.drain()
    end, event = ("CANCELLED", "OrderCancelled") if step_that_fails == "refund" else ("CONFIRMED", "OrderPlaced")
    assert event in shop.published_of(order_id)
    assert check_conserved(shop.stage, BEFORE, {order_id}) == {end: 1}
