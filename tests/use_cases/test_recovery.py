"""The outbox entry says "work may be left". Its whole life, as the table of the design's section 5 has it."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib import exact_json, times
from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.domain.changes import OutboxUpdate
from chalicelib.domain.order import Order, OutboxEntry
from chalicelib.domain.outcomes import Committed, Conflict, Refused
from chalicelib.use_cases.committing import BatchCommitter
from chalicelib.use_cases.ports import Waiting
from chalicelib.use_cases.recovery import SIDE_BY_SIDE, Recovery
from tests.support.aws_calls import AwsCalls
from tests.support.events import Clock, FakeLambdaContext
from tests.support.orders import NOW, an_order
from tests.support.shop import Shop, killed, opened
from tests.support.stage import Stage

MINUTE = timedelta(minutes=1)


def due(shop: Shop, order_id: str) -> datetime | None:
    """When the order's entry is due; None: it has none."""
    stored = shop.stored(order_id)
    assert ("outbox" in stored) == ("outboxDueAt" in stored)
    return times.from_text(stored["outboxDueAt"]) if "outboxDueAt" in stored else None


def place(shop: Shop, count: int) -> list[str]:
    """The ids of new orders whose messages are lost."""
    placed = [shop.place(shop.order(customerId=f"C{n}"), "k").order_id for n in range(count)]
    shop.lose_messages()
    return placed


def confirmed(shop: Shop) -> str:
    order_id = shop.place(key="k1").order_id
    shop.run_queue()
    assert (shop.status(order_id), due(shop, order_id)) == ("CONFIRMED", None)
    return order_id


def act(shop: Shop, order_id: str, verb: str) -> None:
    reply = shop.act(verb, order_id)
    assert reply.status == 200, reply


def sent(shop: Shop) -> set[str]:
    """The orders whose messages are on the queue, each once."""
    order_ids = [exact_json.loads(message["Body"])["orderId"] for message in shop.messages()]
    assert len(order_ids) == len(set(order_ids))
    return set(order_ids)


# --- place; the consumer when it creates: an entry, due in 60 s, part of the PutItem ---


def test_an_order_is_stored_with_its_entry_in_one_write(shop: Shop) -> None:
    order_id = shop.place(key="k1").order_id
    assert due(shop, order_id) == shop.clock() + MINUTE
    assert shop.calls.operations()[:2] == ["BatchGetItem", "PutItem"]
    assert {"UpdateItem", "TransactWriteItems"}.isdisjoint(shop.calls.operations())


def test_a_producers_order_is_stored_with_its_entry_too(shop: Shop) -> None:
    shop.produce(shop.event("ORD-1"))
    shop.calls.kill_before("TransactWriteItems")  # which reserves; it was created alone before
    assert killed(shop.run_queue)
    assert due(shop, "ORD-1") == shop.clock() + MINUTE
    assert shop.counted() == {"BatchGetItem": 1, "PutItem": 1, "TransactWriteItems": 1}


# --- a commit that reaches an end state with nothing owed: removes it, part of the commit ---


@pytest.mark.parametrize(
    ("change", "end"), [({}, "CONFIRMED"), ({"quantity": 501}, "FAILED"), ({"totalAmount": 1}, "FAILED")]
)
def test_the_commit_that_ends_an_order_takes_its_entry_away(shop: Shop, change: dict[str, Any], end: str) -> None:
    shop.produce(shop.event("ORD-1", **change))
    shop.run_queue()
    assert (shop.status("ORD-1"), due(shop, "ORD-1")) == (end, None)
    assert shop.calls.operations()[-1] == "PutEvents", "no further write"
    assert shop.recover_later(days=1) == 0


# --- a commit outside the consumer that leaves work: sets it again; the consumer, after that work: removes it ---


@pytest.mark.parametrize("verbs", [("cancel",), ("ship", "deliver")], ids=" ".join)
def test_a_commit_that_leaves_work_sets_the_entry_again_until_the_work_is_done(
    shop: Shop, verbs: tuple[str, ...]
) -> None:
    order_id = confirmed(shop)
    for verb in verbs:
        shop.clock.advance(minutes=7)
        act(shop, order_id, verb)
        assert due(shop, order_id) == shop.clock() + MINUTE
        assert shop.stored(order_id)["outboxTries"] == 0
        shop.run_queue()
        assert due(shop, order_id) is None


def test_an_entry_that_was_set_meanwhile_stays(shop: Shop) -> None:
    order_id = confirmed(shop)
    act(shop, order_id, "ship")

    def meanwhile() -> None:
        shop.clock.advance(seconds=1)
        act(shop, order_id, "deliver")

    shop.calls.meanwhile(meanwhile, "PutEvents")
    shop.consume(shop.receive())

    assert due(shop, order_id) == shop.clock() + MINUTE
    shop.run_queue()
    assert due(shop, order_id) is None


# --- the consumer, when publish or refund failed: sets it, if the order exists ---


def _the_bus_is_down(shop: Shop, _: FakeLambdaContext) -> None:
    shop.calls.drop_request("PutEvents", times=None, attempts=None)


def _there_is_no_time_left(shop: Shop, context: FakeLambdaContext) -> None:
    def time_flies() -> None:
        context.remaining_ms = 3_900

    shop.calls.meanwhile(time_flies, "UpdateItem", after=True)


def _the_process_dies(shop: Shop, _: FakeLambdaContext) -> None:
    shop.calls.kill_before("PutEvents")


@pytest.mark.parametrize(
    ("trouble", "receives"), [(_the_bus_is_down, 1), (_there_is_no_time_left, 14), (_the_process_dies, 14)]
)
def test_an_event_that_is_owed_leaves_an_entry_even_on_the_last_receive(
    shop: Shop, trouble: Callable[[Shop, FakeLambdaContext], None], receives: int
) -> None:
    order_id = shop.place(key="k1").order_id
    (message,) = shop.receive()
    message["Attributes"]["ApproximateReceiveCount"] = str(receives)
    context = FakeLambdaContext()
    trouble(shop, context)
    assert killed(lambda: shop.consume([message], context=context)) == (trouble is _the_process_dies)
    shop.calls.revive()
    shop.lose_messages()
    assert (shop.status(order_id), due(shop, order_id)) == ("CONFIRMED", shop.clock() + MINUTE)
    assert shop.metrics["EventsPublished"] == 0

    assert shop.recover_later() == 1
    assert shop.run_queue() == 0

    assert (shop.metrics["EventsPublished"], due(shop, order_id)) == (len(shop.owed(order_id)), None)


def test_when_a_refund_failed_the_entry_stays(shop: Shop) -> None:
    order_id = confirmed(shop)
    act(shop, order_id, "cancel")
    shop.calls.drop_request(
        when=lambda call: shop.stage["PAYMENTS_TABLE"] in repr(call.params), times=None, attempts=None
    )
    assert shop.run_queue() == 1
    assert due(shop, order_id) == shop.clock() + MINUTE
    assert shop.stored(order_id)["refund"] == "PENDING"


# --- recover, every minute: backs off, then sends, if it is the entry that was seen ---


def test_recover_sends_what_is_overdue_and_nothing_else(shop: Shop) -> None:
    overdue = place(shop, 1)
    assert shop.recover_later(seconds=59) == 0
    shop.place(shop.order("PROD-002"), "k2")
    shop.lose_messages()
    assert shop.recover_later(seconds=1) == 1
    assert sent(shop) == set(overdue)


def test_what_recover_sends_is_the_message_that_was_lost(shop: Shop) -> None:
    def message() -> Any:
        (only,) = shop.messages()
        return only["Body"], {name: a["StringValue"] for name, a in only["MessageAttributes"].items()}

    shop.place(shop.order(shippingAddress={"street": "s", "city": "c", "country": "US"}), "k1", x_correlation_id="c-1")
    lost = message()
    shop.lose_messages()
    shop.recover_later()
    assert message() == lost


@pytest.mark.parametrize(("moment", "operation"), [("kill_before", "SendMessageBatch"), ("kill_after", "UpdateItem")])
def test_recover_backs_off_first_and_sends_then_so_a_crash_costs_a_minute_and_no_order(
    shop: Shop, moment: str, operation: str
) -> None:
    (order_id,) = place(shop, 1)
    getattr(shop.calls, moment)(operation)
    assert killed(shop.recover_later)
    shop.calls.revive()
    assert due(shop, order_id) == shop.clock() + MINUTE

    assert shop.recover() == 0
    assert shop.recover_later() == 1


def test_of_two_recovers_at_once_one_sends(shop: Shop) -> None:
    placed = place(shop, 1)
    others: list[int] = []
    shop.calls.meanwhile(lambda: others.append(shop.recover()), "UpdateItem")
    assert (shop.recover_later(), others) == (0, [1])
    assert sent(shop) == set(placed)


def test_recover_looks_at_the_order_not_at_its_index(shop: Shop) -> None:
    """The index is a little behind: an order may have ended since."""
    order_id = shop.place(key="k1").order_id
    shop.calls.meanwhile(shop.run_queue, "BatchGetItem")
    assert shop.recover_later() == 0
    assert (shop.status(order_id), shop.messages()) == ("CONFIRMED", [])


def test_recover_sends_more_than_one_batch(small_shop: Shop) -> None:
    placed = place(small_shop, 21)
    for order_id in placed:
        small_shop.change_stored(order_id, outbox=3)
    assert small_shop.recover_later() == 21
    assert small_shop.metrics["OrdersRecovered"] == 21
    assert [len(call.params["Entries"]) for call in small_shop.calls.of("SendMessageBatch")] == [10, 10, 1]
    assert sent(small_shop) == set(placed)


def test_what_there_is_no_time_for_is_the_next_runs(small_shop: Shop) -> None:
    (order_id,) = place(small_shop, 1)
    before = due(small_shop, order_id)
    small_shop.clock.advance(seconds=61)
    assert small_shop.recover(Deadline(lambda: 3.9)) == 0
    assert due(small_shop, order_id) == before
    assert small_shop.recover() == 1


def test_an_order_that_cannot_be_backed_off_does_not_stop_recovery(small_shop: Shop) -> None:
    first, *others = place(small_shop, 4)
    for order_id in (first, *others):
        small_shop.change_stored(order_id, outbox=0)
    for operation in ("TransactWriteItems", "UpdateItem"):
        small_shop.calls.refuse("ValidationException", operation, when=lambda call: first in repr(call.params))
    assert small_shop.recover_later() == 3
    assert sent(small_shop) == set(others)
    assert small_shop.recover_later(seconds=1) == 1


@pytest.mark.parametrize("change", [{"status": "RETURNED"}, {"totalAmount": "29.99"}, {"items": "none"}])
def test_an_order_that_another_release_wrote_does_not_stop_recovery(shop: Shop, change: dict[str, Any]) -> None:
    newer, *others = place(shop, 4)
    shop.change_stored(newer, **change)
    assert shop.recover_later() == 3
    assert sent(shop) == set(others)


@pytest.fixture
def quick_shop(real_aws: Stage, aws_calls: AwsCalls, clock: Clock) -> Iterator[Shop]:
    """On DynamoDB Local: a transaction of 100 orders takes moto seconds."""
    with opened(real_aws, aws_calls, clock) as shop:
        yield shop


def store_overdue(shop: Shop, number: int) -> None:
    """So many overdue orders, all in one shard, whose messages are lost."""
    (order_id,) = place(shop, 1)
    shop.change_stored(order_id, outbox=0)
    item = next(i for i in shop.stage.dynamodb.scan(TableName=shop.stage["ORDERS_TABLE"])["Items"])
    puts: list[Any] = [
        {"PutRequest": {"Item": {**item, "orderId": {"S": f"{order_id}-{n}"}}}} for n in range(1, number)
    ]
    for start in range(0, len(puts), 25):
        shop.stage.dynamodb.batch_write_item(RequestItems={shop.stage["ORDERS_TABLE"]: puts[start : start + 25]})
    shop.clock.advance(seconds=61)
    shop.calls.forget()


MILLISECONDS = {"Query": 10, "BatchGetItem": 20, "TransactWriteItems": 60, "SendMessageBatch": 20}
"""What a call takes, assumed generously; a run has 50 s, of which 4 are kept."""


def test_a_run_retries_fifty_thousand_orders_by_count_of_calls_and_latency(quick_shop: Shop) -> None:
    store_overdue(quick_shop, 300)
    assert quick_shop.recover() == 300
    assert len(sent(quick_shop)) == 300
    calls = quick_shop.calls.operations()
    counted = {name: calls.count(name) for name in MILLISECONDS}
    # Shards without orders, and the count of the late ones, cost as much for one order as for all.
    assert counted == {"Query": 24 + 3, "BatchGetItem": 3, "TransactWriteItems": 3, "SendMessageBatch": 30}
    a_page = sum(counted[name] // 3 * MILLISECONDS[name] for name in MILLISECONDS if name != "Query")
    assert SIDE_BY_SIDE * 100 * 46_000 / a_page >= 50_000, "the pages"
    assert 100 * 46_000 / MILLISECONDS["Query"] >= 50_000, "the queries that find them"


@dataclass
class Ports:
    """Pages of one overdue order each, and all else that a recovery needs of the world; notes what it is asked.

    `on_page` is called with the number of each page, in the thread in which it is retried.
    """

    number: int
    on_page: Callable[[int], object] = lambda _: None
    in_conflict: bool = False
    read: list[int] = field(default_factory=list)
    tries: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    replays: list[Deadline] = field(default_factory=list)

    def recover(self, deadline: Deadline = NO_DEADLINE, now: datetime = NOW) -> int:
        ports: Any = self
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            committer = BatchCommitter(ports, sleep=lambda _: None)
            return Recovery(ports, committer, ports, ports, pool, lambda: now).recover(deadline)

    def count_waiting(self, _: datetime) -> Waiting:
        assert self.read == [], "counted before anything is retried"
        return Waiting(0, 0)

    def overdue(self, _: datetime) -> Iterator[list[str]]:
        for page in range(self.number):
            self.read.append(page)
            yield [f"o{page}"]

    def get_all(self, order_ids: Sequence[str]) -> list[Order]:
        self.on_page(int(order_ids[0][1:]))
        return [an_order(order_id, outbox=OutboxEntry(NOW)) for order_id in order_ids]

    def commit(self, changes: Sequence[OutboxUpdate]) -> Committed | Refused:
        self.tries += [change.order_id for change in changes]
        return Refused((Conflict(),)) if self.in_conflict else Committed(tuple(change.after for change in changes))

    def enqueue(self, orders: Sequence[Order]) -> Sequence[Order]:
        self.sent += [order.order_id for order in orders]
        return orders

    def replay_due(self, deadline: Deadline) -> None:
        self.replays.append(deadline)


def test_pages_of_overdue_orders_are_retried_side_by_side_and_no_more_are_read() -> None:
    """Each page waits for SIDE_BY_SIDE others: alone, none would ever end."""
    together = threading.Barrier(SIDE_BY_SIDE, timeout=20)

    def waits(page: int) -> None:
        assert page >= SIDE_BY_SIDE or len(ports.read) <= SIDE_BY_SIDE
        together.wait()

    ports = Ports(2 * SIDE_BY_SIDE, waits)
    assert ports.recover() == len(ports.read) == 2 * SIDE_BY_SIDE


def test_a_page_that_has_ended_makes_room_for_the_next_whatever_the_others_do() -> None:
    last_began = threading.Event()

    def waits(page: int) -> None:
        if page == SIDE_BY_SIDE:
            last_began.set()
        assert page or last_began.wait(10)

    assert Ports(SIDE_BY_SIDE + 1, waits).recover() == SIDE_BY_SIDE + 1


def test_what_a_page_reports_belongs_to_the_run_that_it_is_of() -> None:
    """What is logged and counted has the run's own context: its request, its metrics."""
    run = ContextVar("run", default="none")
    seen: list[str] = []
    run.set("this one")
    Ports(3, lambda _: seen.append(run.get())).recover()
    assert seen == ["this one"] * 3


def test_a_page_in_conflict_is_left_to_the_next_run_when_the_time_is_over() -> None:
    ports = Ports(1, in_conflict=True)
    assert ports.recover(Deadline(lambda: 1.0 if ports.tries else 9.0)) == 0
    assert (ports.tries, ports.sent) == (["o0"], [])


def test_dead_letters_are_replayed_every_quarter_of_an_hour_in_the_time_that_is_left() -> None:
    deadline = Deadline(lambda: 9.0)
    for minute in range(60):
        ports = Ports(0)
        ports.recover(deadline, NOW.replace(minute=minute, second=minute))
        assert ports.replays == ([deadline] if minute in (0, 15, 30, 45) else [])


@pytest.mark.parametrize("operation", ["BatchGetItem", "TransactWriteItems", "SendMessageBatch"])
def test_a_page_that_fails_does_not_stop_the_others(quick_shop: Shop, operation: str) -> None:
    store_overdue(quick_shop, 200)
    quick_shop.calls.refuse("InternalServerError", operation, status=500, nth=1)
    assert quick_shop.recover() in (100, 190)
    quick_shop.lose_messages()
    assert quick_shop.recover_later() > 0


# --- what it is for ---


def test_killed_between_its_write_and_its_message_an_order_is_sent_once_its_entry_is_overdue(shop: Shop) -> None:
    shop.calls.kill_before("SendMessage")
    assert killed(lambda: shop.post(shop.order(), "k1"))
    shop.calls.revive()
    (order,) = shop.orders()
    assert (shop.run_queue(), shop.recover()) == (0, 0)

    assert shop.recover_later() == 1
    shop.run_queue()

    assert shop.status(order["orderId"]) == "CONFIRMED"
    assert shop.place(key="k1").replayed


def test_placed_while_sqs_was_down_for_hours_an_order_comes_to_its_end(shop: Shop) -> None:
    for operation in ("SendMessage", "SendMessageBatch"):
        shop.calls.drop_request(operation, times=None, attempts=None)
    order_id = shop.place(key="k1").order_id
    assert [shop.recover_later(hours=1) for _ in range(5)] == [0] * 5
    shop.calls.heal()
    assert shop.recover_later(hours=6) == 1
    shop.run_queue()
    assert shop.status(order_id) == "CONFIRMED"


def test_orders_that_wait_for_over_an_hour_are_counted(small_shop: Shop) -> None:
    """Due after a minute, so overdue for an hour after 61; all that the schedule sends is lost."""
    (order_id,) = place(small_shop, 1)
    began = small_shop.clock()

    def overdue() -> int:
        small_shop.metrics.clear()
        small_shop.recover()
        small_shop.lose_messages()
        return small_shop.metrics["OrdersOverdue"]

    for minute in (1, 2, 4, 8, 16, 32, 60, 61, 66, 100):  # those at which it is due, and some others
        small_shop.clock.now = began + MINUTE * minute
        assert overdue() == (minute > 66), minute  # counted before it is retried

    small_shop.clock.advance(minutes=1)
    assert overdue() == 1

    small_shop.recover_later(hours=6)
    small_shop.run_queue()
    assert (small_shop.status(order_id), overdue()) == ("CONFIRMED", 0)
