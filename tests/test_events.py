"""What the service tells the world: every event at least once, under an id that never changes, as its schema says."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import chalicelib
from chalicelib import clients
from chalicelib.events import EVENTS, Event, Events, events_of
from chalicelib.order import Order, Status
from chalicelib.simulated_payments import TimesOut
from tests.support.aws_calls import AwsCalls, Call, Killed
from tests.support.events import Clock, sqs_event_received
from tests.support.stage import Stage
from tests.support.till import NOW, Till, an_order, open_till

SCHEMA = json.loads((Path(chalicelib.__file__).parent / "schemas" / "order_event.json").read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)
ENDS = {
    "delivered": [Status.RESERVED, Status.CONFIRMED, Status.SHIPPED, Status.DELIVERED],
    "declined": [Status.RESERVED, Status.FAILED],
    "rejected": [Status.FAILED],
    "cancelled": [Status.RESERVED, Status.CONFIRMED, Status.CANCELLED],
}


@pytest.fixture
def till(aws: Stage, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Till]:
    """Whatever it is used for, each event that it told is held against the schema in the end."""
    opened = open_till(aws, clock, monkeypatch)
    seen: list[dict[str, Any]] = []
    receive = opened.told

    def told() -> list[dict[str, Any]]:
        arrived = receive()
        seen.extend(arrived)
        return arrived

    monkeypatch.setattr(opened, "told", told)
    yield opened
    opened.told()
    for event in seen:
        check(event["detail-type"], event["detail"])


@pytest.fixture
def calls(till: Till, aws_calls: AwsCalls) -> AwsCalls:
    return aws_calls.watch(clients.dynamodb(), clients.sqs(), clients.events())


def check(name: str, detail: dict[str, Any]) -> None:
    """The event is as the schema says, has no field that the schema does not speak of, and the name of its status."""
    VALIDATOR.validate(_floats(detail))
    assert detail.keys() <= SCHEMA["properties"].keys()
    assert EVENTS[Status(detail["status"])] == name


def _floats(detail: dict[str, Any]) -> dict[str, Any]:
    return {name: float(value) if isinstance(value, Decimal) else value for name, value in detail.items()}


def moved(*statuses: Status, order: Order | None = None) -> Order:
    """An order that went this way, a second for each step."""
    order = order or an_order()
    for seconds, status in enumerate(statuses, 1):
        reason = f"why {status}" if status in (Status.FAILED, Status.CANCELLED) else None
        order = order.moved(status, NOW + timedelta(seconds=seconds), reason)
    return order


def details(events: list[Event]) -> list[dict[str, Any]]:
    return [event.detail for event in events]


# --- what an event says ---


def test_the_schema_is_one_and_says_of_each_field_what_it_is() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert set(SCHEMA["properties"]) - set(SCHEMA["required"]) == {"reason", "correlationId"}
    for field in SCHEMA["properties"].values():
        assert field["title"]
        assert field["description"]


def test_the_schema_has_teeth() -> None:
    (good,) = details(events_of(moved(Status.FAILED)))
    VALIDATOR.validate(_floats(good))
    for field in SCHEMA["required"]:
        assert not VALIDATOR.is_valid(_floats({name: value for name, value in good.items() if name != field}))
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
    for name, value in wrong.items():
        assert not VALIDATOR.is_valid(_floats({**good, name: value})), name


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("correlation_id", ["c-1", None])
def test_every_event_is_as_the_schema_says(end: str, correlation_id: str | None) -> None:
    for event in events_of(moved(*ENDS[end], order=an_order(correlation_id=correlation_id))):
        check(event.name, event.detail)
        assert event.detail.get("correlationId") == correlation_id


def test_the_statuses_that_bear_an_event_and_their_names() -> None:
    events = [event for end in ENDS.values() for event in events_of(moved(*end))]
    told = {Status(event.detail["status"]): event.name for event in events}
    assert told == {
        Status.CONFIRMED: "OrderPlaced",
        Status.FAILED: "OrderFailed",
        Status.CANCELLED: "OrderCancelled",
        Status.SHIPPED: "OrderShipped",
        Status.DELIVERED: "OrderDelivered",
    }


def test_an_event_says_what_the_history_says() -> None:
    order = moved(*ENDS["delivered"], order=an_order("o7", {"p1": 2, "p2": 1}))
    placed, shipped, delivered = details(events_of(order))
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
    assert [e["reason"] for e in details(events_of(moved(*ENDS["declined"])))] == ["why FAILED"]


def test_an_order_that_is_not_decided_yet_has_nothing_to_tell() -> None:
    assert events_of(an_order()) == events_of(moved(Status.RESERVED)) == []


# --- ids ---


def test_the_id_of_an_event_never_changes_not_even_from_release_to_release() -> None:
    (event,) = events_of(moved(Status.FAILED, order=an_order("ORD-1")))
    assert event.detail["eventId"] == "4b798fe2-7f74-5d8a-8341-48a8d80f6fe1"


def test_each_history_entry_has_an_id_of_its_own() -> None:
    orders = [moved(*end, order=an_order(f"{name}-{n}")) for name, end in ENDS.items() for n in range(25)]
    # An order id that ends like another one's sequence does not meet it.
    orders += [moved(Status.FAILED, order=an_order(order_id)) for order_id in ("o", "o-1", "o1", "1")]
    ids = [detail["eventId"] for order in orders for detail in details(events_of(order))]
    assert len(set(ids)) == len(ids) == 25 * (3 + 1 + 1 + 2) + 4
    assert all(uuid.UUID(each) for each in ids)


def test_the_ids_do_not_hang_on_times_amounts_or_what_came_after() -> None:
    order = moved(*ENDS["delivered"])
    later = replace(order, history=tuple(replace(e, at=datetime.now(UTC)) for e in order.history), customer_id="c2")
    early = events_of(moved(Status.RESERVED, Status.CONFIRMED))
    assert [e["eventId"] for e in details(events_of(later))] == [e["eventId"] for e in details(events_of(order))]
    assert early == events_of(order)[:1]


def test_a_redelivery_tells_the_same_events_again_and_no_others(till: Till) -> None:
    order_id = till.place(quantities={"p1": 1, "p2": 2})
    messages = till.stage.receive("ORDER_QUEUE")
    for _ in range(3):
        till.app.lambda_.invoke("order_consumer", sqs_event_received(messages))
    told = [event["detail"] for event in till.told()]
    assert len(told) == 3
    assert told[0] == told[1] == told[2]
    assert told[0]["orderId"] == order_id


def test_an_order_taken_up_from_the_table_tells_the_same_as_one_from_its_message(till: Till, calls: AwsCalls) -> None:
    """Including the correlation id: an event's detail hangs on nothing but the order."""
    order_id = till.place()
    (first,) = till.stage.receive("ORDER_QUEUE")
    calls.kill_after("PutEvents")
    with pytest.raises(Killed):
        till.consume([first])
    calls.revive()
    till.show_again([first])
    till.work()
    assert till.cancel(order_id).status_code == 200
    till.work()
    told = [event["detail"] for event in till.told()]
    by_id = {detail["eventId"]: detail for detail in told}
    assert len(told) == 4
    assert sorted(detail["status"] for detail in by_id.values()) == ["CANCELLED", "CONFIRMED"]
    assert all(detail == by_id[detail["eventId"]] for detail in told)


# --- publishing ---


@pytest.fixture
def events(till: Till, calls: AwsCalls) -> Events:
    return Events(clients.events(), till.stage["EVENT_BUS"])


def test_events_arrive_through_the_bus_and_a_rule(till: Till) -> None:
    order_id = till.place(quantities={"p1": 3})
    till.work()
    (event,) = till.told()
    assert (event["source"], event["detail-type"]) == ("orderonce", "OrderPlaced")
    assert (event["detail"]["orderId"], event["detail"]["totalAmount"]) == (order_id, 30)


def test_amounts_are_sent_with_their_two_decimals(events: Events, calls: AwsCalls) -> None:
    assert events.publish([moved(Status.FAILED)]) == {}
    (call,) = calls.of("PutEvents")
    assert '"totalAmount": 10.00,' in call.params["Entries"][0]["Detail"]


def test_more_than_ten_entries_are_split(till: Till, events: Events, calls: AwsCalls) -> None:
    orders = [moved(*ENDS["delivered"], order=an_order(f"o{n}")) for n in range(7)]
    assert events.publish(orders) == {}
    assert [len(call.params["Entries"]) for call in calls.of("PutEvents")] == [10, 10, 1]
    told = [event["detail"]["eventId"] for event in till.told()]
    assert sorted(told) == sorted(d["eventId"] for order in orders for d in details(events_of(order)))


def test_nothing_to_tell_is_no_call(events: Events, calls: AwsCalls) -> None:
    assert events.publish([an_order(), moved(Status.RESERVED)]) == {}
    assert calls.made == []


def test_an_entry_that_failed_in_a_call_that_succeeded_is_looked_at(events: Events, calls: AwsCalls) -> None:
    _fails(calls, 1, of=3)
    orders = [moved(Status.FAILED, order=an_order(f"o{n}")) for n in range(3)]
    assert events.publish(orders) == {"o1": "InternalFailure"}


def test_an_order_of_whose_events_one_failed_is_not_out(events: Events, calls: AwsCalls) -> None:
    _fails(calls, 1, of=3)
    assert events.publish([moved(*ENDS["delivered"])]) == {"o1": "InternalFailure"}


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalException", "AccessDeniedException"])
def test_a_call_that_fails_fails_for_its_own_entries_alone(
    till: Till, events: Events, calls: AwsCalls, code: str
) -> None:
    calls.refuse(code, "PutEvents", nth=2)
    failed = events.publish([moved(Status.FAILED, order=an_order(f"o{n}")) for n in range(25)])
    assert set(failed) == {f"o{n}" for n in range(10, 20)}
    assert len(till.told()) == 15


# --- at least once ---


def test_a_failed_entry_brings_its_message_again_and_leaves_a_mark(till: Till, calls: AwsCalls) -> None:
    orders = [till.place(f"k{n}") for n in range(3)]
    messages = till.stage.receive("ORDER_QUEUE")
    calls.forget()
    _fails(calls, 1, of=3)
    assert not till.consume(messages)
    _, failed, _ = [json.loads(message["Body"])["orderId"] for message in messages]

    assert {order_id for order_id in orders if till.marked(order_id)} == {failed}
    assert len(calls.of("DeleteMessageBatch")[0].params["Entries"]) == 2
    till.show_again(messages)
    till.work()
    assert [event["detail"]["orderId"] for event in till.told()] == [failed]
    assert not till.marked(failed)


def test_while_the_bus_is_down_no_message_is_acknowledged_and_a_mark_stays(till: Till, calls: AwsCalls) -> None:
    order_id = till.place()
    messages = till.stage.receive("ORDER_QUEUE")
    calls.drop_request("PutEvents", attempts=None, times=None)
    assert not till.consume(messages)
    assert till.status(order_id) == "CONFIRMED"
    assert till.marked(order_id)
    assert calls.of("DeleteMessageBatch") == []

    calls.heal()
    till.show_again(messages)
    till.work()
    assert till.told_of(order_id) == ["OrderPlaced"]
    assert not till.marked(order_id)


def test_a_mark_alone_gets_the_event_out_when_the_message_is_lost(till: Till, calls: AwsCalls, clock: Clock) -> None:
    order_id = till.place()
    (message,) = till.stage.receive("ORDER_QUEUE")
    calls.drop_request("PutEvents", attempts=None, times=None)
    assert not till.consume([message])
    till.stage.delete("ORDER_QUEUE", message)
    calls.heal()
    till.recover()
    till.work()
    assert till.told() == []
    clock.advance(seconds=61)
    till.recover()
    till.work()
    assert till.told_of(order_id) == ["OrderPlaced"]
    assert not till.marked(order_id)


@pytest.mark.parametrize("verb", ["cancel", "ship"])
def test_while_the_bus_and_the_queue_are_down_a_mark_is_enough(
    till: Till, calls: AwsCalls, clock: Clock, verb: str
) -> None:
    order_id = till.place()
    till.work()
    till.told()
    calls.drop_request("SendMessage", attempts=None, times=None)
    assert till.post(f"/orders/{order_id}/{verb}").status_code == 200
    calls.heal()
    assert till.stage.receive("ORDER_QUEUE") == []
    clock.advance(seconds=61)
    till.recover()
    till.work()
    assert till.told_of(order_id) == ["OrderPlaced", "OrderCancelled" if verb == "cancel" else "OrderShipped"]
    assert not till.marked(order_id)


def test_the_mark_goes_after_the_event_so_a_crash_loses_none_even_with_its_message(
    till: Till, calls: AwsCalls, clock: Clock
) -> None:
    order_id = till.place()
    till.work()
    till.told()
    till.cancel(order_id)
    (message,) = till.stage.receive("ORDER_QUEUE")
    calls.kill_before("PutEvents")
    with pytest.raises(Killed):
        till.consume([message])
    calls.revive()
    till.stage.delete("ORDER_QUEUE", message)
    assert till.marked(order_id)
    clock.advance(seconds=61)
    till.recover()
    till.work()
    assert till.told_of(order_id) == ["OrderPlaced", "OrderCancelled"]
    assert not till.marked(order_id)


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_crash_between_the_write_and_the_event_loses_no_event(till: Till, calls: AwsCalls, where: str) -> None:
    order_id = till.place()
    messages = till.stage.receive("ORDER_QUEUE")
    getattr(calls, f"kill_{where}")("PutEvents")
    with pytest.raises(Killed):
        till.consume(messages)
    calls.revive()
    assert till.status(order_id) == "CONFIRMED"
    till.show_again(messages)
    till.work()
    told = till.told()
    assert {event["detail"]["eventId"] for event in told} == {told[0]["detail"]["eventId"]}
    assert len(told) == (1 if where == "before" else 2)


def test_nothing_is_told_before_it_is_true(till: Till, calls: AwsCalls) -> None:
    """When the event goes out, the order has that status already: whoever reads it then finds it so."""
    order_id = till.place()
    found: list[str] = []
    calls.meanwhile(lambda: found.append(till.status(order_id)), "PutEvents")
    till.work()
    assert found == ["CONFIRMED"]


def test_an_order_whose_payment_is_unknown_tells_nothing(till: Till) -> None:
    till.troubles.on("charge", TimesOut.AFTER)
    till.place()
    messages = till.stage.receive("ORDER_QUEUE")
    assert not till.consume(messages)
    assert till.told() == []


def test_an_order_that_moved_on_meanwhile_still_tells_all_that_happened_to_it(till: Till, calls: AwsCalls) -> None:
    order_id = till.place()
    messages = till.stage.receive("ORDER_QUEUE")
    calls.drop_request("PutEvents", attempts=None, times=None)
    assert not till.consume(messages)
    assert till.ship(order_id).status_code == till.deliver(order_id).status_code == 200
    till.stage.receive_all("ORDER_QUEUE")
    calls.heal()
    till.show_again(messages)
    till.work()
    told = [(event["detail-type"], event["detail"]["sequence"]) for event in till.told()]
    assert told == [("OrderPlaced", 2), ("OrderShipped", 3), ("OrderDelivered", 4)]


def test_new_work_that_comes_between_the_event_and_the_mark_keeps_its_mark(
    till: Till, calls: AwsCalls, clock: Clock
) -> None:
    """The mark goes on condition of the one seen: what was set anew meanwhile speaks of work not done yet."""
    order_id = till.place()
    messages = till.stage.receive("ORDER_QUEUE")
    calls.drop_request("PutEvents", attempts=None)
    assert not till.consume(messages)
    calls.heal()

    def ship() -> None:
        clock.advance(seconds=1)
        assert till.ship(order_id).status_code == 200

    calls.meanwhile(ship, "UpdateItem", when=_takes_the_mark_away)
    till.show_again(messages)
    assert till.consume(till.stage.receive("ORDER_QUEUE"))
    assert till.status(order_id) == "SHIPPED"
    assert till.marked(order_id)
    till.work()
    assert not till.marked(order_id)
    assert till.told_of(order_id) == ["OrderPlaced", "OrderPlaced", "OrderShipped"]


def test_an_event_does_not_wait_for_the_refund(till: Till) -> None:
    order_id = till.place()
    till.work()
    till.told()
    till.cancel(order_id)
    till.troubles.on("refund", TimesOut.BEFORE)
    messages = till.stage.receive("ORDER_QUEUE")
    assert not till.consume(messages)
    assert till.told_of(order_id) == ["OrderPlaced", "OrderCancelled"]
    assert till.marked(order_id)
    till.show_again(messages)
    till.work()
    assert till.get(order_id)["refund"] == "DONE"
    assert not till.marked(order_id)


def test_every_path_of_an_order_tells_what_the_schema_says(till: Till) -> None:
    """All five events, from the app's own entry points, through the bus, held against the schema by the fixture."""
    delivered, cancelled = till.place("k1"), till.place("k2")
    short = till.place("k3", {"p1": 1000})
    till.work()
    assert till.ship(delivered, carrier="ACME").status_code == 200
    assert till.deliver(delivered).status_code == till.cancel(cancelled, "too late").status_code == 200
    till.provider.decline_percent = 100
    declined = till.place("k4")
    till.work()
    told = {(event["detail"]["orderId"], event["detail-type"]) for event in till.told()}
    assert told == {
        (delivered, "OrderPlaced"),
        (delivered, "OrderShipped"),
        (delivered, "OrderDelivered"),
        (cancelled, "OrderPlaced"),
        (cancelled, "OrderCancelled"),
        (short, "OrderFailed"),
        (declined, "OrderFailed"),
    }


def test_a_producers_order_that_the_catalogue_refuses_tells_so(till: Till) -> None:
    body = {
        "orderId": "ORD-9",
        "customerId": "c1",
        "items": [{"productId": "gone", "quantity": 1}],
        "totalAmount": 10.0,
        "correlationId": "batch-7",
    }
    till.stage.sqs.send_message(QueueUrl=till.stage.queue_url("ORDER_QUEUE"), MessageBody=json.dumps(body))
    till.work()
    (event,) = till.told()
    assert event["detail-type"] == "OrderFailed"
    assert event["detail"]["sequence"] == 1
    assert event["detail"]["correlationId"] == "batch-7"
    assert "gone" in event["detail"]["reason"]


def _fails(calls: AwsCalls, *failing: int, of: int) -> None:
    """The next PutEvents, of so many entries, succeeds but for those at these places."""
    entries = [{"ErrorCode": "InternalFailure"} if n in failing else {"EventId": str(n)} for n in range(of)]
    calls.refuse("None", "PutEvents", status=200, FailedEntryCount=len(failing), Entries=entries)


def _takes_the_mark_away(call: Call) -> bool:
    return "REMOVE #outbox" in call.params["UpdateExpression"]
