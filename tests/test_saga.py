"""The saga through the app's own entry points: each path of the state diagram, and each way to be interrupted on it."""

from collections.abc import Callable, Iterator

import pytest

from chalicelib import clients
from chalicelib.order import TRANSITIONS, Status
from chalicelib.simulated_payments import TimesOut
from tests.support.aws_calls import AwsCalls, Call
from tests.support.events import Clock
from tests.support.stage import Stage
from tests.support.till import NOW, PRICE, Till, check_conserved, open_till, stock_up

STOCK = 100
BEFORE = {"p1": STOCK, "p2": STOCK, "p3": STOCK}
EVENTS = {
    "CONFIRMED": "OrderPlaced",
    "FAILED": "OrderFailed",
    "CANCELLED": "OrderCancelled",
    "SHIPPED": "OrderShipped",
    "DELIVERED": "OrderDelivered",
}


@pytest.fixture
def till(aws: Stage, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Till:
    return open_till(aws, clock, monkeypatch, STOCK)


@pytest.fixture
def calls(till: Till, aws_calls: AwsCalls) -> AwsCalls:
    return aws_calls.watch(clients.dynamodb(), clients.sqs(), clients.events())


# --- the state diagram ---


def paths(source: Status = Status.PENDING) -> Iterator[tuple[str, ...]]:
    """Every way through the table of transitions, from PENDING to where nothing leads on, as verbs."""
    arrows = [arrow for arrow in TRANSITIONS if arrow.source is source]
    if not arrows:
        yield ()
    for arrow in arrows:
        yield from ((arrow.verb, *rest) for rest in paths(arrow.target))


def step(till: Till, verb: str, order_id: str) -> None:
    """Bring one transition about, and no other."""
    if verb in ("cancel", "ship", "deliver"):
        assert till.post(f"/orders/{order_id}/{verb}").status_code == 200
        return
    if verb == "reserve":
        till.troubles.on("charge", TimesOut.BEFORE)
    if verb == "reject":
        stock_up(till.stage, "p1", 0)
    till.provider.decline_percent = 100 if verb == "decline" else 0
    messages = till.stage.receive("ORDER_QUEUE")
    if not till.consume(messages):
        till.show_again(messages)


@pytest.mark.parametrize("path", list(paths()), ids="-".join)
@pytest.mark.parametrize("eager", [True, False], ids=["all-done-in-between", "nothing-done-in-between"])
def test_each_path_of_the_state_diagram(till: Till, path: tuple[str, ...], eager: bool) -> None:
    order_id = till.place(quantities={"p1": 2})
    table = {(arrow.verb, arrow.source): arrow.target for arrow in TRANSITIONS}
    statuses = [Status.PENDING]
    for verb in path:
        step(till, verb, order_id)
        statuses.append(table[verb, statuses[-1]])
        assert till.status(order_id) == statuses[-1]
        if eager and statuses[-1] in EVENTS:
            till.work()
    till.work()

    assert till.path(order_id) == statuses
    assert list(dict.fromkeys(till.told_of(order_id))) == [EVENTS[status] for status in statuses if status in EVENTS]
    stood_at_0 = {**BEFORE, "p1": 0} if "reject" in path else BEFORE
    assert check_conserved(till.stage, stood_at_0, {order_id}) == {statuses[-1]: 1}


def test_the_paths_are_all_there_are() -> None:
    assert sorted("-".join(path) for path in paths()) == [
        "cancel",
        "reject",
        "reserve-cancel",
        "reserve-confirm-cancel",
        "reserve-confirm-ship-deliver",
        "reserve-decline",
    ]


def test_a_producers_order_goes_the_same_way(till: Till) -> None:
    till.produce("ORD-1", {"p1": 2, "p3": 1})
    till.work()
    assert till.path("ORD-1") == ["PENDING", "RESERVED", "CONFIRMED"]
    assert till.told_of("ORD-1") == ["OrderPlaced"]
    check_conserved(till.stage, BEFORE, {"ORD-1"})


def test_an_order_that_is_not_reserved_is_never_charged(till: Till) -> None:
    """That it was created, by this very delivery, says nothing of its stock."""
    till.produce("ORD-1", {"p1": STOCK + 1})
    order_id = till.place(quantities={"p1": 1, "p2": STOCK + 1})
    till.work()
    assert till.troubles.asked == []
    assert check_conserved(till.stage, BEFORE, {"ORD-1", order_id}) == {"FAILED": 2}


# --- how many calls it takes ---


def not_the_providers(till: Till, calls: AwsCalls) -> list[str]:
    """The calls but those on the provider's own ledger."""
    return [call.operation for call in calls.made if call.params.get("TableName") != till.stage["PAYMENTS_TABLE"]]


def test_ten_fresh_orders_take_three_calls_events_included(till: Till, calls: AwsCalls) -> None:
    orders = {till.place(f"k{n}", {"p1": 1, f"p{n % 2 + 2}": 1}) for n in range(10)}
    messages = till.stage.receive("ORDER_QUEUE")
    assert len(messages) == 10
    calls.forget()
    assert till.consume(messages)
    assert not_the_providers(till, calls) == ["TransactWriteItems", "TransactWriteItems", "PutEvents"]
    assert [call.attempts for call in calls.made] == [1] * len(calls.made)
    assert check_conserved(till.stage, BEFORE, orders) == {"CONFIRMED": 10}
    assert len(till.told()) == 10


def test_ten_orders_of_a_producer_take_one_call_more(till: Till, calls: AwsCalls) -> None:
    till.place("warm")
    till.work()
    for n in range(10):
        till.produce(f"ORD-{n}")
    messages = till.stage.receive("ORDER_QUEUE")
    calls.forget()
    assert till.consume(messages)
    assert not_the_providers(till, calls) == ["TransactWriteItems"] * 3 + ["PutEvents"]


def test_a_batch_of_duplicates_is_told_so_and_charged_nothing(till: Till, calls: AwsCalls) -> None:
    for n in range(5):
        till.place(f"k{n}")
    messages = till.stage.receive("ORDER_QUEUE")
    assert till.consume(messages)
    calls.forget()
    till.troubles.asked.clear()
    assert till.consume(messages)
    assert not_the_providers(till, calls) == ["TransactWriteItems", "PutEvents"]
    assert till.troubles.asked == []
    assert till.stock() == STOCK - 5


def test_each_order_of_a_batch_has_its_own_payment(till: Till) -> None:
    orders = [till.place(f"k{n}", {"p1": n + 1}) for n in range(5)]
    till.work()
    payments = {order_id: till.get(order_id)["paymentId"] for order_id in orders}
    assert len(set(payments.values())) == 5
    check_conserved(till.stage, BEFORE, set(orders))


# --- declined ---


def test_a_declined_order_is_failed_with_its_stock_back_at_once(till: Till, calls: AwsCalls) -> None:
    till.provider.decline_percent = 100
    orders = {till.place(f"k{n}", {"p1": 2, "p2": 1}) for n in range(3)}
    calls.forget()
    till.work()
    transactions = calls.of("TransactWriteItems")
    assert [len(call.params["TransactItems"]) for call in transactions] == [5, 5], "one reserves, one gives back"
    for order_id in orders:
        document = till.get(order_id)
        assert document["failureReason"] == "PAYMENT_DECLINED"
        assert document["history"][-1]["reason"] == "the payment is declined"
        assert not till.marked(order_id)
    assert check_conserved(till.stage, BEFORE, orders) == {"FAILED": 3}


def test_a_declined_order_leaves_the_rest_of_its_batch_alone(till: Till) -> None:
    till.provider.decline_percent = 50
    orders = {till.place(f"k{n}") for n in range(10)}
    till.work()
    statuses = check_conserved(till.stage, BEFORE, orders)
    assert statuses.keys() == {"CONFIRMED", "FAILED"}
    assert till.stock() == STOCK - statuses["CONFIRMED"]


def test_a_redelivered_decline_gives_back_nothing_more(till: Till) -> None:
    till.provider.decline_percent = 100
    order_id = till.place()
    messages = till.stage.receive("ORDER_QUEUE")
    for _ in range(3):
        assert till.consume(messages)
    assert till.stock() == STOCK
    assert till.path(order_id) == ["PENDING", "RESERVED", "FAILED"]


def test_stock_that_a_declined_order_gave_back_can_be_sold_again(till: Till) -> None:
    till.provider.decline_percent = 100
    till.place("k1", {"p1": STOCK})
    till.work()
    till.provider.decline_percent = 0
    order_id = till.place("k2", {"p1": STOCK})
    till.work()
    assert till.status(order_id) == "CONFIRMED"
    assert till.stock() == 0


# --- payments of which nothing is known ---


@pytest.mark.parametrize("when", list(TimesOut))
@pytest.mark.parametrize("lands", ["before the retry", "after the retry", "never"])
def test_a_payment_that_timed_out_is_asked_again_and_taken_once(till: Till, when: TimesOut, lands: str) -> None:
    till.troubles.on("charge", when)
    order_id = till.place()
    messages = till.stage.receive("ORDER_QUEUE")
    assert not till.consume(messages)
    assert till.status(order_id) == "RESERVED"
    assert till.stock() == STOCK - 1
    assert till.marked(order_id)
    if lands == "before the retry":
        till.provider.land()
    till.show_again(messages)
    till.work()
    if lands == "after the retry":
        till.provider.land()
    assert till.troubles.asked == [("charge", order_id)] * 2
    assert check_conserved(till.stage, BEFORE, {order_id}) == {"CONFIRMED": 1}


def test_a_payment_that_timed_out_holds_up_no_other_order_of_its_batch(till: Till) -> None:
    till.troubles.on("charge", TimesOut.AFTER)
    orders = {till.place(f"k{n}") for n in range(4)}
    messages = till.stage.receive("ORDER_QUEUE")
    assert not till.consume(messages)
    assert sorted(till.status(order_id) for order_id in orders) == ["CONFIRMED"] * 3 + ["RESERVED"]
    till.show_again(messages)
    till.work()
    assert check_conserved(till.stage, BEFORE, orders) == {"CONFIRMED": 4}


def test_a_decline_that_timed_out_is_a_decline_when_asked_again(till: Till) -> None:
    till.provider.decline_percent = 100
    till.troubles.on("charge", TimesOut.AFTER)
    order_id = till.place()
    messages = till.stage.receive("ORDER_QUEUE")
    assert not till.consume(messages)
    assert till.status(order_id) == "RESERVED"
    till.show_again(messages)
    till.work()
    assert check_conserved(till.stage, BEFORE, {order_id}) == {"FAILED": 1}


def test_a_provider_that_is_down_for_two_hours_costs_no_order_and_needs_nobody(till: Till, clock: Clock) -> None:
    """By a clock of its own: every four minutes what is due is taken up, and its messages are tried till they die."""
    till.troubles.on("charge", TimesOut.BEFORE, times=None)
    orders = {till.place(f"k{n}") for n in range(3)}
    while (clock() - NOW).total_seconds() < 2 * 3600:
        till.work()
        till.recover()
        clock.advance(minutes=4)
    till.work()
    assert [till.path(order_id) for order_id in orders] == [["PENDING", "RESERVED"]] * 3
    assert till.stock() == STOCK - 3
    assert till.ledger() == {}
    asked = len(till.troubles.asked)
    assert asked <= 3 * 6 * 9, "a provider that is down is asked less and less"

    till.troubles.over()
    while (clock() - NOW).total_seconds() < 3 * 3600 and till.stage.items("PAYMENTS_TABLE") == []:
        clock.advance(minutes=4)
        till.recover()
        till.work()
    assert check_conserved(till.stage, BEFORE, orders) == {"CONFIRMED": 3}
    assert (clock() - NOW).total_seconds() < 2.5 * 3600
    assert len(till.told()) == 3

    assert till.replay() > 0, "the messages that died meanwhile"
    till.work()
    assert len(till.troubles.asked) == asked + 3
    assert check_conserved(till.stage, BEFORE, orders) == {"CONFIRMED": 3}


# --- cancelled meanwhile ---


def test_an_order_cancelled_just_before_it_would_be_confirmed_is_refunded(till: Till, calls: AwsCalls) -> None:
    """Confirm is refused by what stands, and the one of the batch whose customer gave up gets the money back."""
    orders = [till.place(f"k{n}") for n in range(3)]
    messages = till.stage.receive("ORDER_QUEUE")
    calls.meanwhile(lambda: till.cancel(orders[1]), "TransactWriteItems", nth=2)
    assert till.consume(messages)
    assert till.ledger() == {orders[0]: "CHARGED", orders[1]: "REFUNDED", orders[2]: "CHARGED"}
    assert till.get(orders[1])["refund"] == "DONE"
    assert till.path(orders[1]) == ["PENDING", "RESERVED", "CANCELLED"]
    till.work()
    check_conserved(till.stage, BEFORE, set(orders))


MOMENTS: dict[str, Callable[[AwsCalls, Callable[[], object], str], None]] = {
    "before reserve": lambda calls, act, _: calls.meanwhile(act, "TransactWriteItems", nth=1),
    "after reserve": lambda calls, act, _: calls.meanwhile(act, "TransactWriteItems", nth=1, after=True),
    "before the charge": lambda calls, act, ledger: calls.meanwhile(act, "PutItem", when=on(ledger)),
    "after the charge": lambda calls, act, ledger: calls.meanwhile(act, "PutItem", when=on(ledger), after=True),
    "before confirm": lambda calls, act, _: calls.meanwhile(act, "UpdateItem"),
    "after confirm": lambda calls, act, _: calls.meanwhile(act, "UpdateItem", after=True),
    "before the event": lambda calls, act, _: calls.meanwhile(act, "PutEvents"),
    "after the event": lambda calls, act, _: calls.meanwhile(act, "PutEvents", after=True),
}


def on(table: str) -> Callable[[Call], bool]:
    return lambda call: call.params["TableName"] == table


FATES: list[str | TimesOut] = ["charged", "declined", *TimesOut]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("seen_to", ["at once", "later"])
def test_a_cancel_at_any_moment_owes_what_the_ledger_says(
    till: Till, calls: AwsCalls, moment: str, seen_to: str
) -> None:
    """The other consumer, which sees to the cancellation, comes within the first one's step or after it."""
    answers: list[int] = []

    def cancel() -> None:
        answers.append(till.cancel(order_id).status_code)
        if seen_to == "at once":
            till.work()

    for fate in FATES:
        order_id = till.place(f"k-{fate}", {"p1": 2})
        if isinstance(fate, TimesOut):
            till.troubles.on("charge", fate)
        till.provider.decline_percent = 100 if fate == "declined" else 0
        messages = till.stage.receive("ORDER_QUEUE")
        answers.clear()
        MOMENTS[moment](calls, cancel, till.stage["PAYMENTS_TABLE"])
        if not till.consume(messages):
            till.show_again(messages)
        till.work()
        calls.heal()
        till.provider.land()
        if answers == [200]:
            assert till.status(order_id) == "CANCELLED", fate
        else:
            assert answers in ([], [409]), fate
            assert till.status(order_id) == ("FAILED" if fate == "declined" else "CONFIRMED")
    check_conserved(till.stage, BEFORE, {item["orderId"] for item in till.stage.items("ORDERS_TABLE")})


def test_a_charge_that_lands_after_everything_is_over_takes_nothing(till: Till) -> None:
    till.troubles.on("charge", TimesOut.LATER)
    order_id = till.place()
    messages = till.stage.receive("ORDER_QUEUE")
    assert not till.consume(messages)
    assert till.cancel(order_id).status_code == 200
    till.work()
    assert till.get(order_id)["refund"] == "NONE"
    till.provider.land()
    assert till.ledger() == {order_id: "CLOSED"}
    till.show_again(messages)
    till.work()
    assert check_conserved(till.stage, BEFORE, {order_id}) == {"CANCELLED": 1}


# --- prices ---


def test_a_price_that_changes_between_placing_and_fulfilling_changes_nothing(till: Till, clock: Clock) -> None:
    order_id = till.place(quantities={"p1": 2})
    stock_up(till.stage, "p1", STOCK, price=PRICE * 2)
    clock.advance(minutes=2)
    till.work()
    document = till.get(order_id)
    assert (document["status"], document["totalAmount"]) == ("CONFIRMED", 20)
    assert document["items"][0]["unitPrice"] == 10
    check_conserved(till.stage, BEFORE, {order_id})


def test_a_product_that_leaves_the_catalogue_gets_its_units_back_all_the_same(till: Till) -> None:
    """Not even that may stop a compensation."""
    order_id = till.place(quantities={"p1": 2})
    till.work()
    till.stage.dynamodb.delete_item(TableName=till.stage["INVENTORY_TABLE"], Key={"productId": {"S": "p1"}})
    assert till.cancel(order_id).status_code == 200
    till.work()
    assert till.stock() == 2
    assert till.get(order_id)["refund"] == "DONE"


# --- dead letters ---

STUCK: dict[str, tuple[str, Callable[[Till, AwsCalls], None]]] = {
    "reserve": ("PENDING", lambda _, calls: calls.drop_request("TransactWriteItems", attempts=None, times=None)),
    "charge": ("RESERVED", lambda till, _: till.troubles.on("charge", TimesOut.AFTER, times=None)),
    "confirm": ("RESERVED", lambda _, calls: calls.drop_request("UpdateItem", attempts=None, times=None)),
    "publish": ("CONFIRMED", lambda _, calls: calls.drop_request("PutEvents", attempts=None, times=None)),
}


@pytest.mark.parametrize("step_that_fails", STUCK)
def test_after_the_last_receive_the_message_is_a_dead_letter_and_a_replay_goes_on(
    till: Till, calls: AwsCalls, step_that_fails: str
) -> None:
    status, fail = STUCK[step_that_fails]
    order_id = till.place(quantities={"p1": 2})
    fail(till, calls)
    till.work()

    assert till.status(order_id) == status
    assert till.marked(order_id)
    (letter,) = till.stage.receive_all("ORDER_DEAD_LETTERS")
    assert letter["MessageAttributes"]["reason"]["StringValue"]
    assert letter["MessageAttributes"]["receiveCount"]["StringValue"] == "6"
    assert len(till.left) == 5
    assert till.stock() == (STOCK if status == "PENDING" else STOCK - 2), "reserved once, however often it was tried"

    calls.heal()
    till.troubles.over()
    till.stage.sqs.change_message_visibility(
        QueueUrl=till.stage.queue_url("ORDER_DEAD_LETTERS"), ReceiptHandle=letter["ReceiptHandle"], VisibilityTimeout=0
    )
    assert till.replay() == 1
    till.work()
    assert till.path(order_id) == ["PENDING", "RESERVED", "CONFIRMED"]
    assert till.told_of(order_id) == ["OrderPlaced"]
    till.recover()
    till.work()
    assert check_conserved(till.stage, BEFORE, {order_id}) == {"CONFIRMED": 1}


def test_a_refund_that_fails_to_the_last_receive_is_taken_up_by_recover(till: Till, clock: Clock) -> None:
    order_id = till.place()
    till.work()
    till.cancel(order_id)
    till.troubles.on("refund", TimesOut.BEFORE, times=None)
    till.work()
    assert len(till.stage.receive_all("ORDER_DEAD_LETTERS")) == 1
    assert till.get(order_id)["refund"] == "PENDING"
    till.troubles.over()
    clock.advance(seconds=61)
    till.recover()
    till.work()
    assert check_conserved(till.stage, BEFORE, {order_id}) == {"CANCELLED": 1}
