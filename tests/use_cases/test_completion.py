"""What the service publishes: every event at least once, under an id that never changes, as its schema says."""

import json
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import chalicelib
from chalicelib.adapters.event_bus import EventBridgeBus
from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.domain import changes
from chalicelib.domain.changes import OutboxUpdate
from chalicelib.domain.events import EVENTS, events_so_far
from chalicelib.domain.order import HistoryEntry, Order, OutboxEntry, Refund, Status
from chalicelib.domain.outcomes import Committed, NothingToRefund, Refunded, RefundPending, Unknown
from chalicelib.domain.pending_refunds import refund_pending
from chalicelib.domain.request import OrderRequest
from chalicelib.faults import Rejected
from chalicelib.use_cases.committing import BatchCommitter
from chalicelib.use_cases.completion import Completion
from chalicelib.use_cases.saga import Delivery, Outcome, Retry, SagaItem
from tests.support.aws_calls import AwsCalls
from tests.support.orders import NOW, an_order, standing
from tests.support.payments import TimesOut
from tests.support.shop import Shop, killed

SCHEMA = json.loads(
    (Path(chalicelib.__file__).parent / "entrypoints" / "schemas" / "order_event.json").read_text("utf-8")
)
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)
RESERVED, CONFIRMED, SHIPPED, DELIVERED = Status.RESERVED, Status.CONFIRMED, Status.SHIPPED, Status.DELIVERED
FAILED, CANCELLED = Status.FAILED, Status.CANCELLED
# Ways that an order can go, and the events on each.
PATHS = {
    (): [],
    (RESERVED,): [],
    (RESERVED, CONFIRMED, SHIPPED, DELIVERED): ["OrderPlaced", "OrderShipped", "OrderDelivered"],
    (RESERVED, FAILED): ["OrderFailed"],
    (FAILED,): ["OrderFailed"],
    (RESERVED, CONFIRMED, CANCELLED): ["OrderPlaced", "OrderCancelled"],
}
TO_DELIVERED = (RESERVED, CONFIRMED, SHIPPED, DELIVERED)


@pytest.fixture
def shop(small_shop: Shop) -> Shop:
    return small_shop


@pytest.fixture
def events(shop: Shop) -> EventBridgeBus:
    bus = shop.service.fulfilment.completion.event_bus
    assert isinstance(bus, EventBridgeBus)
    return bus


def check(name: str, detail: dict[str, Any]) -> None:
    """The event is as the schema says, has no field that is not in the schema, and the name of its status."""
    VALIDATOR.validate(_floats(detail))
    assert detail.keys() <= SCHEMA["properties"].keys()
    assert EVENTS[Status(detail["status"])] == name


def _floats(detail: dict[str, Any]) -> dict[str, Any]:
    return {name: float(value) if isinstance(value, Decimal) else value for name, value in detail.items()}


def moved(*statuses: Status, order: Order | None = None) -> Order:
    """An order that went this way, a second for each step."""
    order = order or an_order()
    for seconds, status in enumerate(statuses, 1):
        reason = f"why {status}" if status in (FAILED, CANCELLED) else None
        order = order.moved(HistoryEntry(status, NOW + timedelta(seconds=seconds), reason))
    return order


def failed_orders(number: int) -> list[Order]:
    return [moved(FAILED, order=an_order(f"o{n}")) for n in range(number)]


def details(*orders: Order) -> list[dict[str, Any]]:
    return [event.detail for order in orders for event in events_so_far(order)]


def detail_of(name: str, order: Order) -> dict[str, Any]:
    """What the one event of this name says."""
    (detail,) = (event.detail for event in events_so_far(order) if event.name == name)
    return detail


# --- what an event says ---


def test_the_schema_says_of_each_field_what_it_is() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert set(SCHEMA["properties"]) - set(SCHEMA["required"]) == {"reason", "correlationId"}
    assert all(field["title"] and field["description"] for field in SCHEMA["properties"].values())


def test_the_schema_refuses_what_is_missing_or_wrong() -> None:
    (good,) = map(_floats, details(moved(FAILED)))
    wrong = {
        "eventId": "1",
        "sequence": 0,
        "orderId": "a b",
        "customerId": "",
        "totalAmount": "1",
        "currency": "usd",
        "itemCount": 0,
        "status": "PENDING",
        "occurredAt": "2026-01-15T12:00:00Z",
        "reason": 1,
        "correlationId": None,
    }
    assert wrong.keys() == SCHEMA["properties"].keys()
    bad = [good | {name: value} for name, value in wrong.items()]
    bad += [{name: value for name, value in good.items() if name != field} for field in SCHEMA["required"]]
    assert [VALIDATOR.is_valid(detail) for detail in (good, *bad)] == [True, *[False] * len(bad)]


@pytest.mark.parametrize(("path", "names"), PATHS.items())
@pytest.mark.parametrize("correlation_id", ["c-1", None])
def test_an_order_has_the_events_of_its_history_as_the_schema_says(
    path: tuple[Status, ...], names: list[str], correlation_id: str | None
) -> None:
    events = events_so_far(moved(*path, order=an_order(correlation_id=correlation_id)))
    assert [event.name for event in events] == names
    for event in events:
        check(event.name, event.detail)
        assert event.detail.get("correlationId") == correlation_id


def test_an_event_says_what_the_history_says() -> None:
    order = moved(*TO_DELIVERED, order=an_order("o7", {"p1": 2, "p2": 1}))
    placed, shipped, delivered = (detail_of(f"Order{what}", order) for what in ("Placed", "Shipped", "Delivered"))
    assert placed == {
        "eventId": placed["eventId"],
        "sequence": 2,
        "orderId": "o7",
        "customerId": "c1",
        "totalAmount": Decimal("30.00"),
        "currency": "USD",
        "itemCount": 2,
        "status": "CONFIRMED",
        "occurredAt": "2026-01-15T12:00:02.000Z",
    }
    assert [(e["sequence"], e["occurredAt"][-7:]) for e in (shipped, delivered)] == [(3, "03.000Z"), (4, "04.000Z")]
    assert detail_of("OrderFailed", moved(RESERVED, FAILED))["reason"] == "why FAILED"


# --- ids ---


def test_the_id_of_an_event_never_changes_not_even_from_release_to_release() -> None:
    (detail,) = details(moved(FAILED, order=an_order("ORD-1")))
    assert detail["eventId"] == "4b798fe2-7f74-5d8a-8341-48a8d80f6fe1"


def test_each_history_entry_has_an_id_of_its_own() -> None:
    """Also of an order whose id ends like another one's sequence."""
    orders = [moved(*path, order=an_order(order_id)) for order_id in ("o", "o-1", "o1", "1") for path in PATHS]
    entries = {(e["orderId"], e["sequence"], e["status"]): uuid.UUID(e["eventId"]) for e in details(*orders)}
    assert entries.keys() == {
        (order.order_id, sequence, entry.status)
        for order in orders
        for sequence, entry in enumerate(order.history)
        if entry.status in EVENTS
    }
    assert len(set(entries.values())) == len(entries)


def test_the_ids_do_not_depend_on_times_customer_or_what_came_after() -> None:
    order = moved(*TO_DELIVERED)
    later = replace(order, history=tuple(replace(e, at=datetime.now(UTC)) for e in order.history), customer_id="c2")
    assert [e["eventId"] for e in details(later)] == [e["eventId"] for e in details(order)]
    before = events_so_far(moved(*TO_DELIVERED[:2]))
    assert before[-1].name == "OrderPlaced"
    assert before == events_so_far(order)[: len(before)]


# --- publishing ---


def test_amounts_are_published_with_their_two_decimals(events: EventBridgeBus, shop: Shop) -> None:
    assert events.publish(failed_orders(1)) == {}
    (call,) = shop.calls.of("PutEvents")
    assert '"totalAmount": 10.00,' in call.params["Entries"][0]["Detail"]


def test_more_than_ten_entries_are_split(events: EventBridgeBus, shop: Shop) -> None:
    orders = [moved(*TO_DELIVERED, order=an_order(f"o{n}")) for n in range(7)]
    assert events.publish(orders) == {}
    count = len(details(*orders))
    assert count > 2 * 10
    calls = [len(call.params["Entries"]) for call in shop.calls.of("PutEvents")]
    assert sorted(calls, reverse=True) == [min(10, count - start) for start in range(0, count, 10)]
    assert sorted(event["detail"]["eventId"] for event in shop.published()) == sorted(
        detail["eventId"] for detail in details(*orders)
    )


def test_without_events_there_is_no_call(events: EventBridgeBus, shop: Shop) -> None:
    assert events.publish([an_order("o1"), an_order("o2")]) == {}
    assert shop.calls.made == []


@pytest.mark.parametrize("orders", [failed_orders(3), [moved(*TO_DELIVERED)]], ids=["of three", "of one"])
def test_an_entry_that_failed_in_a_call_that_succeeded_fails_its_order(
    events: EventBridgeBus, shop: Shop, orders: list[Order]
) -> None:
    _an_entry_fails(shop.calls, 1, len(details(*orders)))
    assert events.publish(orders) == {"o1": "InternalFailure"}


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalException", "AccessDeniedException"])
def test_a_call_that_fails_fails_for_its_own_entries_alone(events: EventBridgeBus, shop: Shop, code: str) -> None:
    shop.calls.refuse(code, "PutEvents", nth=2)
    failed = set(events.publish(failed_orders(25)))
    refused = shop.calls.of("PutEvents")[1].params["Entries"]
    assert failed == {json.loads(entry["Detail"])["orderId"] for entry in refused}
    assert len(shop.published()) == 25 - len(refused)


# --- at least once ---


def test_a_failed_entry_brings_its_message_again_and_leaves_an_entry(shop: Shop) -> None:
    orders = [shop.place(key=f"k{n}").order_id for n in range(3)]
    messages = shop.receive()
    shop.calls.forget()
    each = len(details(moved(RESERVED, CONFIRMED)))
    _an_entry_fails(shop.calls, 2 * each - 1, 3 * each)  # the last one of the second order
    assert not shop.consume(messages)
    _, failed, _ = [json.loads(message["Body"])["orderId"] for message in messages]

    assert [order_id for order_id in orders if shop.has_entry(order_id)] == [failed]
    assert len(shop.calls.of("DeleteMessageBatch")[0].params["Entries"]) == 2
    shop.come_again()
    shop.drain()
    published = shop.published()
    assert {event["detail"]["orderId"] for event in published} == {failed}
    assert [event["detail-type"] for event in published] == shop.owed(failed)
    assert not shop.has_entry(failed)


def test_an_entry_that_exists_is_not_set_again_when_an_event_fails(shop: Shop) -> None:
    """Else the retries would begin again at a minute, and the order would never be counted as late."""
    order_id = shop.place(key="k1").order_id
    shop.run_queue()
    shop.ship(order_id)
    shop.change_stored(order_id, outboxTries=5)
    before = shop.stored(order_id)
    shop.clock.advance(seconds=7)
    shop.calls.drop_request("PutEvents", times=None, attempts=None)
    assert shop.run_queue() == 1
    assert shop.stored(order_id) == before


@pytest.mark.parametrize("dies", ["before its message is sent", "before the event"])
@pytest.mark.parametrize(("verb", "event"), [("cancel", "OrderCancelled"), ("ship", "OrderShipped")])
def test_what_an_operation_leaves_to_do_is_done_by_the_mark_alone(shop: Shop, verb: str, event: str, dies: str) -> None:
    order_id = shop.place().order_id
    shop.drain()
    shop.published()
    if dies == "before the event":
        assert shop.act(verb, order_id).status == 200
        shop.calls.kill_before("PutEvents")
        assert killed(shop.run_queue)
        shop.calls.revive()
        shop.lose_messages()
    else:
        shop.calls.drop_request("SendMessage", attempts=None, times=None)
        assert shop.act(verb, order_id).status == 200
        shop.calls.heal()
    assert (shop.messages(), shop.has_entry(order_id)) == ([], True)
    shop.recover_later()
    shop.drain()
    assert shop.published_of(order_id, "OrderPlaced", event) == ["OrderPlaced", event]
    assert shop.document(order_id).get("refund", "DONE") == "DONE"
    assert not shop.has_entry(order_id)


@pytest.mark.parametrize(("dies", "times"), [("kill_before", 2), ("kill_after", 3)])
def test_after_a_crash_and_from_the_table_the_same_events_are_published_again(
    shop: Shop, dies: str, times: int
) -> None:
    """Including the correlation id: an event's detail depends on nothing but the order."""
    order_id = shop.place().order_id
    getattr(shop.calls, dies)("PutEvents")
    assert killed(shop.run_queue)
    shop.calls.revive()
    assert shop.status(order_id) == "CONFIRMED", "nothing is published before it is true"
    shop.come_again()
    shop.drain()
    assert shop.cancel(order_id).status == 200
    shop.drain()
    events = [event["detail"] for event in shop.published()]
    by_id = {event["eventId"]: event for event in events}
    published = Counter(event["status"] for event in events)
    assert (published["CONFIRMED"], published["CANCELLED"]) == (times, 1)
    assert len(by_id) == len(published), "one id for each"
    assert all(event == by_id[event["eventId"]] for event in events)


def test_of_an_order_that_moved_on_meanwhile_all_events_are_published(shop: Shop) -> None:
    order_id = shop.place().order_id
    shop.calls.drop_request("PutEvents", attempts=None, times=None)
    messages = shop.receive()
    assert not shop.consume(messages)
    assert shop.ship(order_id).status == shop.deliver(order_id).status == 200
    shop.stage.receive_all("ORDER_QUEUE")  # so that only the first message comes again
    shop.calls.heal()
    shop.show_again(messages)
    shop.drain()
    published = [(event["detail-type"], event["detail"]["sequence"]) for event in shop.published()]
    assert [name for name, _ in published] == shop.owed(order_id)
    assert published[-3:] == [("OrderPlaced", 2), ("OrderShipped", 3), ("OrderDelivered", 4)]


@pytest.mark.parametrize("when", [TimesOut.BEFORE, TimesOut.AFTER])
def test_an_event_does_not_wait_for_the_refund(shop: Shop, when: TimesOut) -> None:
    order_id = shop.place().order_id
    shop.drain()
    shop.published()
    shop.cancel(order_id)
    shop.payments.on("refund", when)
    assert shop.run_queue() == 1
    assert shop.published_of(order_id, "OrderPlaced", "OrderCancelled") == ["OrderPlaced", "OrderCancelled"]
    assert (shop.document(order_id)["refund"], shop.has_entry(order_id)) == ("PENDING", True)
    shop.come_again()
    shop.drain()
    assert (shop.document(order_id)["refund"], shop.has_entry(order_id)) == ("DONE", False)


def test_all_events_come_through_the_bus_as_the_schema_says(shop: Shop) -> None:
    delivered, cancelled = shop.place(key="k1").order_id, shop.place(key="k2").order_id
    short = shop.place(shop.order("p1", 1000), "k3").order_id
    shop.produce(shop.event("ORD-9", "gone", correlationId="batch-7"))
    shop.drain()
    assert shop.ship(delivered, carrier="ACME").status == 200
    assert shop.deliver(delivered).status == shop.cancel(cancelled, "too late").status == 200
    shop.provider.decline_percent = 100
    declined = shop.place(key="k4").order_id
    shop.drain()
    events = {(event["detail"]["orderId"], event["detail-type"]): event["detail"] for event in shop.published()}
    ends = {delivered: "DELIVERED", cancelled: "CANCELLED", short: "FAILED", declined: "FAILED", "ORD-9": "FAILED"}
    assert {order["orderId"]: order["status"] for order in shop.orders()} == ends
    assert events.keys() == {(order_id, name) for order_id in ends for name in shop.owed(order_id)}
    for (_, name), detail in events.items():
        check(name, detail)
    refused = events["ORD-9", "OrderFailed"]
    assert (refused["sequence"], refused["correlationId"]) == (1, "batch-7")
    assert "gone" in refused["reason"]


def _an_entry_fails(calls: AwsCalls, index: int, of: int) -> None:
    """The next PutEvents, of so many entries, succeeds but for this one."""
    entries = [{"ErrorCode": "InternalFailure"} if n == index else {"EventId": str(n)} for n in range(of)]
    calls.refuse("None", "PutEvents", status=200, FailedEntryCount=1, Entries=entries)


# --- refund, events and entry: what each of them owes the others ---

ENTRY, REFUND_PENDING = OutboxEntry(NOW, 3), OutboxEntry(NOW, refund_pending=True)
REFUNDS = {Refunded("r"): Refund.DONE, RefundPending(): Refund.PENDING, NothingToRefund(): Refund.NONE}
NO_REFUND = Unknown("no refund")
OWING: dict[str, Order] = {
    "failed": standing(Status.FAILED),
    "cancelled": standing(Status.CANCELLED, refund=Refund.PENDING),
}
OWING_NOTHING: dict[str, Order] = {
    "confirmed": standing(Status.CONFIRMED),
    "shipped": standing(Status.SHIPPED),
    "refunded": standing(Status.CANCELLED, refund=Refund.DONE),
}


@dataclass(frozen=True)
class Case:
    """An order of the batch, and how it goes: what its refund answers, and whether event and entry fail."""

    order: Order
    answer: Any
    event_fails: bool
    write_fails: bool

    @property
    def owes_refund(self) -> bool:
        return self.answer is not None

    def expected(self) -> tuple[Outcome | None, OutboxUpdate | None]:
        """Its outcome, and what is asked to be written."""
        order, fault = self.order, None
        if self.answer == NO_REFUND:
            fault = "no refund"
        if self.event_fails:
            fault = "no event"
        refund = REFUNDS.get(self.answer)
        update: OutboxUpdate | None = None
        if fault:
            update = changes.work_left(order, NOW)
        elif refund is Refund.PENDING:
            update = refund_pending(order, NOW)
        elif order.outbox:
            update = changes.work_done(order, order.outbox, refund if order.status is Status.CANCELLED else None)
        if update and self.write_fails:
            fault = "no entry"
        return (Retry(fault) if fault else None), update


def every_case() -> list[Case]:
    orders = [(order, answer) for order in OWING.values() for answer in (NO_REFUND, *REFUNDS)]
    orders += [(order, None) for order in OWING_NOTHING.values()]
    ways = product(orders, (None, ENTRY, REFUND_PENDING), (False, True), (False, True))
    return [
        Case(replace(order, order_id=f"o{n}", outbox=entry), answer, event_fails, write_fails)
        for n, ((order, answer), entry, event_fails, write_fails) in enumerate(ways)
    ]


@dataclass
class Ports:
    """All that a completion needs of the world, for these cases; notes what it is asked."""

    cases: Sequence[Case]
    deadline: Deadline = NO_DEADLINE
    refunded: list[str] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    commits: list[Sequence[OutboxUpdate]] = field(default_factory=list)

    def refund(self, orders: Sequence[Order], _: Deadline) -> list[Any]:
        self.refunded += [order.order_id for order in orders]
        return [self._case(order.order_id).answer for order in orders]

    def publish(self, orders: Sequence[Order], deadline: Deadline) -> dict[str, str]:
        assert deadline is self.deadline
        self.published += [order.order_id for order in orders]
        return {order.order_id: "no event" for order in orders if self._case(order.order_id).event_fails}

    def commit(self, updates: Sequence[OutboxUpdate]) -> Committed:
        self.commits.append(updates)
        if any(self._case(update.order_id).write_fails for update in updates):
            raise Rejected("no entry")
        return Committed(tuple(update.after for update in updates))

    def outcomes(self) -> list[Outcome | None]:
        """Of a completion of all the cases in one batch."""
        ports: Any = self
        items = [
            SagaItem(Delivery(case.order, OrderRequest.from_order(case.order), None), case.order) for case in self.cases
        ]
        Completion(BatchCommitter(ports), ports, ports, lambda: NOW).complete(items, self.deadline)
        return [item.outcome for item in items]

    def _case(self, order_id: str) -> Case:
        return next(case for case in self.cases if case.order.order_id == order_id)


def test_what_becomes_of_each_order_of_a_batch_follows_from_its_own_refund_event_and_entry() -> None:
    cases = every_case()
    ports = Ports(cases)
    outcomes = ports.outcomes()
    expected = [case.expected() for case in cases]
    assert outcomes == [outcome for outcome, _ in expected]
    assert ports.refunded == [case.order.order_id for case in cases if case.owes_refund]
    assert ports.published == [case.order.order_id for case in cases]
    assert ports.commits[0] == [update for _, update in expected if update]


@pytest.mark.parametrize("fails", [False, True])
def test_without_time_no_refund_is_asked_for_and_the_entries_are_tried_in_one_write(fails: bool) -> None:
    cases = [Case(replace(OWING["failed"], order_id=f"o{n}"), Refunded("r"), False, fails) for n in range(2)]
    ports = Ports(cases, Deadline(lambda: 1.0))
    assert ports.outcomes() == [Retry("no time left")] * 2
    assert ports.refunded == []
    assert ports.commits == [[changes.work_left(case.order, NOW) for case in cases]]
