"""The consumer: each message is done, comes again, or is kept as a dead letter, and never anything else.

One order's trouble is its own: the others of its batch go on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

import app as entry
from chalicelib import exact_json
from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.domain.changes import OutboxUpdate, ensure_entry
from chalicelib.domain.order import Order
from chalicelib.domain.outcomes import NotFound
from chalicelib.domain.payment_key import fresh_payment_key
from chalicelib.domain.request import OrderRequest
from chalicelib.faults import Rejected, Unavailable
from chalicelib.use_cases.committing import Applied, CommitResult, Retryable
from chalicelib.use_cases.consuming import Consumer, MessagesLeft
from chalicelib.use_cases.letters import Kind
from chalicelib.use_cases.paying import BatchPayments
from chalicelib.use_cases.ports import Message
from chalicelib.use_cases.saga import Delivery, Done, Never, Outcome, ReadMessage, RefusedByOwnSchema, Retry
from tests.support.aws_calls import AwsCalls, Call
from tests.support.events import Clock, FakeLambdaContext, sqs_event, sqs_record
from tests.support.orders import NOW, an_order, sample
from tests.support.shop import Shop, killed, opened
from tests.support.stage import Stage
from tests.support.tables import forget_order

ADDRESS = {"street": "221B Baker Street", "city": "Londinium", "state": "Midd", "zip": "NW16XE", "country": "GB"}
EVENT = sample("order_created_event")


def fail(shop: Shop, order_id: str) -> None:
    """From now on something that may pass is in the way of this order, and of no other."""

    def charges(call: Call) -> bool:
        return shop.stage["PAYMENTS_TABLE"] in repr(call.params) and order_id in repr(call.params)

    shop.calls.refuse("ThrottlingException", when=charges, times=None)


def place(shop: Shop, count: int) -> list[str]:
    """The ids of new orders, each of a customer of its own: C0, C1 …"""
    return [shop.place(shop.order(customerId=f"C{n}"), "k").order_id for n in range(count)]


# --- the three outcomes ---


@pytest.mark.parametrize("status", ["CONFIRMED", "SHIPPED", "DELIVERED", "FAILED", "CANCELLED"])
def test_a_message_of_an_order_that_is_past_it_is_a_duplicate_and_done(shop: Shop, status: str) -> None:
    order_id = shop.place(key="k1").order_id
    shop.change_stored(order_id, status=status, outbox=None, outboxDueAt=None, outboxTries=None)
    before = shop.stored(order_id)
    assert shop.run_queue() == 0
    assert (shop.stored(order_id), shop.stock()) == (before, 500)


def test_a_message_that_may_succeed_later_comes_again(small_shop: Shop) -> None:
    order_id = small_shop.place(key="k1").order_id
    fail(small_shop, order_id)
    assert (small_shop.run_queue(), small_shop.hidden(), small_shop.metrics["MessagesRetried"]) == (1, 1, 1)

    small_shop.calls.heal()
    small_shop.come_again()
    assert small_shop.run_queue() == 0

    assert (small_shop.status(order_id), small_shop.stock()) == ("CONFIRMED", 499)


def test_each_try_waits_about_twice_as_long_as_the_one_before(small_shop: Shop) -> None:
    fail(small_shop, small_shop.place(key="k1").order_id)
    (message,) = small_shop.receive()
    expected = dict(enumerate([2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900], start=1))
    for receives, pause in expected.items():
        message["Attributes"]["ApproximateReceiveCount"] = str(receives)
        assert not any(small_shop.consume([message]) for _ in range(5))
        calls = small_shop.calls.of("ChangeMessageVisibilityBatch")[-5:]
        delays = [call.params["Entries"][0]["VisibilityTimeout"] for call in calls]
        assert all(0.75 * pause - 0.5 <= delay <= 1.25 * pause + 0.5 for delay in delays), delays
    assert len(set(delays)) > 1, "all at once again: no jitter"
    assert timedelta(minutes=77) <= timedelta(seconds=sum(expected.values())) < timedelta(minutes=78)


@pytest.mark.parametrize(("settings", "receives"), [({}, 14), ({"MAX_RECEIVES": "2"}, 2)])
def test_on_its_last_receive_a_message_becomes_a_dead_letter_with_the_reason(
    aws: Stage, aws_calls: AwsCalls, clock: Clock, settings: dict[str, str], receives: int
) -> None:
    with opened(aws, aws_calls, clock, settings=settings) as shop:
        order_id = shop.place(key="k1").order_id
        fail(shop, order_id)
        for _ in range(receives - 1):
            assert shop.run_queue() == 1
            assert shop.dead_letters() == []
            shop.come_again()
        (message,) = shop.receive()
        shop.calls.refuse("ThrottlingException", "UpdateItem", times=None)  # no entry can be ensured either

        assert shop.consume([message])

        (letter,) = shop.dead_letters()
        assert (letter["body"], letter["orderId"]) == (message["Body"], order_id)
        assert (letter["originalMessageId"], letter["receiveCount"]) == (message["MessageId"], str(receives))
        assert ("ThrottlingException" in letter["reason"], letter["kind"]) == (True, "retry")
        assert (shop.metrics["MessagesQuarantined"], shop.status(order_id)) == (1, "RESERVED")
        shop.come_again()
        assert shop.messages() == []


POISON: dict[str, str] = {
    "no JSON": "order 5 please",
    "deep": "[" * 20_000,
    "a list": "[]",
    "no items": exact_json.dumps({**EVENT, "items": []}),
    "an order id with a line feed": exact_json.dumps({**EVENT, "orderId": "ORD-1\n"}),
    "a lone surrogate": exact_json.dumps({**EVENT, "orderId": "\ud800"}),
}


def test_a_message_that_can_never_be_handled_is_a_dead_letter_at_once(small_shop: Shop) -> None:
    for name, body in POISON.items():
        small_shop.produce(body)
        (message,) = small_shop.receive()
        assert small_shop.consume([message]), name
        (letter,) = small_shop.dead_letters()
        assert letter["body"] == body, name
        assert letter["reason"], name
        assert (letter["originalMessageId"], letter["receiveCount"]) == (message["MessageId"], "1"), name
        assert letter["kind"] == "never", name
    assert small_shop.orders() == []
    assert small_shop.metrics["MessagesQuarantined"] == len(POISON)
    assert small_shop.metrics["MessagesRetried"] == 0


# --- a batch ---


@pytest.mark.parametrize("reporting", [False, True], ids=["under a mapping without", "with batch item failures"])
def test_each_message_of_a_mixed_batch_ends_where_it_belongs(small_shop: Shop, reporting: bool) -> None:
    shop = small_shop
    done = shop.place(key="done").order_id
    shop.run_queue()
    shop.produce(shop.event("GOOD"), shop.event("FAILING"), "poison", shop.event(done))
    shop.produce(shop.event("SHORT", "PROD-100", 26))
    fail(shop, "FAILING")

    assert (shop.run_queue(reporting=reporting), shop.hidden()) == (1, 1)

    assert [letter["body"] for letter in shop.dead_letters()] == ["poison"]
    statuses = {done: "CONFIRMED", "GOOD": "CONFIRMED", "FAILING": "RESERVED", "SHORT": "FAILED"}
    assert {order["orderId"]: order["status"] for order in shop.orders()} == statuses
    shop.calls.heal()
    shop.come_again()
    assert shop.run_queue(reporting=reporting) == 0
    assert (shop.statuses(), shop.dead_letters()) == ({"CONFIRMED": 3, "FAILED": 1}, [])
    shop.come_again()
    assert (shop.messages(), shop.stock(), shop.stock("PROD-100")) == ([], 497, 25)


def test_what_succeeded_is_deleted_before_the_consumer_raises(small_shop: Shop) -> None:
    small_shop.produce(small_shop.event("GOOD"), small_shop.event("FAILING"))
    fail(small_shop, "FAILING")
    messages = small_shop.receive()
    assert not small_shop.consume(messages)
    (deleted,) = small_shop.calls.of("DeleteMessageBatch")
    assert [e["ReceiptHandle"] for e in deleted.params["Entries"]] == [messages[0]["ReceiptHandle"]]


@pytest.mark.parametrize("operation", ["DeleteMessageBatch", "ChangeMessageVisibilityBatch"], ids=["deleted", "hidden"])
def test_messages_that_cannot_be_acknowledged_come_again_and_do_no_harm(small_shop: Shop, operation: str) -> None:
    small_shop.produce(small_shop.event("GOOD"), small_shop.event("FAILING"))
    fail(small_shop, "FAILING")
    small_shop.calls.drop_request(operation, times=None, attempts=None)
    assert small_shop.run_queue() == 1
    small_shop.calls.heal()
    small_shop.come_again()
    assert small_shop.run_queue() == 0
    assert (small_shop.statuses(), small_shop.stock()) == ({"CONFIRMED": 2}, 498)


def test_a_dead_letter_that_cannot_be_kept_is_not_lost(small_shop: Shop) -> None:
    small_shop.produce("poison")
    small_shop.calls.drop_request("SendMessage", times=None, attempts=None)
    assert small_shop.run_queue() == 1
    assert small_shop.dead_letters() == []
    small_shop.calls.heal()
    small_shop.come_again()
    assert small_shop.run_queue() == 0
    assert [letter["body"] for letter in small_shop.dead_letters()] == ["poison"]


def test_an_unexpected_fault_is_one_orders_own(small_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, *good = place(small_shop, 4)
    charge = BatchPayments.charge

    def faulty(payments: BatchPayments, orders: Sequence[Order], deadline: Deadline) -> Sequence[object]:
        if any(order.order_id == bad for order in orders):
            raise RuntimeError("a mistake in the program")
        return charge(payments, orders, deadline)

    monkeypatch.setattr(BatchPayments, "charge", faulty)
    assert (small_shop.run_queue(), small_shop.hidden()) == (1, 1)
    assert {small_shop.status(order_id) for order_id in good} == {"CONFIRMED"}
    assert small_shop.status(bad) == "RESERVED"


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": "v9:" + "0" * 64},
        {"status": "RETURNED"},
        {"status": "RESERVED", "totalAmount": "29.99"},
        {"status": "RESERVED", "reserved": ["PROD-001"]},
        {"status": "RESERVED", "items": "none"},
    ],
    ids=lambda change: list(change)[-1],
)
def test_an_order_that_another_release_wrote_waits_for_it_and_stops_nobody(shop: Shop, change: dict[str, Any]) -> None:
    newer, *good = place(shop, 4)
    shop.change_stored(newer, **change)
    before = shop.stored(newer)
    assert (shop.run_queue(), shop.hidden()) == (1, 1)
    assert {shop.status(order_id) for order_id in good} == {"CONFIRMED"}
    assert shop.stored(newer) == before
    assert shop.post(shop.order(customerId="C0"), "k").kind == "unavailable"
    if "fingerprint" not in change:
        assert shop.get(f"/orders/{newer}").kind == "unavailable"


# --- the same order id again ---


def test_of_one_order_twice_in_a_batch_both_messages_are_done_and_another_of_its_id_waits(shop: Shop) -> None:
    shop.produce(shop.event("ORD-1"), shop.event("ORD-1", createdAt="2026-01-15T12:34:56Z"))
    shop.produce(shop.event("ORD-1", quantity=2))
    assert (shop.run_queue(), shop.hidden()) == (1, 1)
    assert (shop.stock(), shop.dead_letters(), shop.metrics["MessagesRetried"]) == (499, [], 1)
    assert any('"reason":"another order with this id is in the same batch"' in line for line in shop.lines)

    shop.come_again()
    assert shop.run_queue() == 0

    (letter,) = shop.dead_letters()
    assert exact_json.loads(letter["body"])["items"][0]["quantity"] == 2
    assert (shop.statuses(), shop.stock()) == ({"CONFIRMED": 1}, 499)


def test_the_same_event_again_is_a_duplicate_however_it_is_written(small_shop: Shop) -> None:
    small_shop.produce(EVENT)
    small_shop.run_queue()
    before = small_shop.stored(EVENT["orderId"])
    small_shop.clock.advance(hours=1)

    written_otherwise = {"items": [{"productId": "PROD-100", "qty": 1}], "traceId": "x", "version": 2}
    bare = {name: value for name, value in EVENT.items() if name not in ("createdAt", "currency")}
    small_shop.produce(EVENT, EVENT | {"createdAt": "2026-04-20T15:00:00Z"}, bare | written_otherwise)

    assert small_shop.run_queue() == 0
    after = small_shop.stored(EVENT["orderId"])
    assert (after, small_shop.stock("PROD-100"), small_shop.dead_letters()) == (before, 24, [])


@pytest.mark.parametrize("status", ["PENDING", "RESERVED", "CONFIRMED", "FAILED", "CANCELLED"])
@pytest.mark.parametrize("carries_key", [False, True], ids=["a producer's", "one that carries the order's key"])
def test_the_same_order_id_with_other_content_is_a_dead_letter_and_moves_nothing(
    shop: Shop, status: str, carries_key: bool
) -> None:
    order_id = shop.place(key="k1").order_id
    shop.change_stored(order_id, status=status)
    before = shop.stored(order_id)

    other = exact_json.dumps(shop.event(order_id, shippingAddress=ADDRESS))
    attributes = {"paymentKey": before["paymentKey"]} if carries_key else {}
    entry.order_consumer(sqs_event(sqs_record(other, attributes=attributes)), FakeLambdaContext())

    (letter,) = shop.dead_letters()
    assert (letter["body"], letter["orderId"]) == (other, order_id)
    assert letter["reason"] == "an order with this id and different contents exists"
    assert (shop.stored(order_id), shop.stock()) == (before, 500)


# --- a producer's events ---


def test_a_producers_event_creates_its_order_and_goes_on(shop: Shop) -> None:
    shop.clock.now = datetime(2026, 4, 20, 14, 30, 1, tzinfo=UTC)
    shop.produce(EVENT)
    assert shop.run_queue() == 0
    order = shop.document("ORD-20260420-001")
    line = {"productName": "Mechanical Keyboard (boutique)", "quantity": 1, "unitPrice": Decimal("149.99")}
    expected = {
        "status": "CONFIRMED",
        "customerId": "CUST-42",
        "shippingAddress": EVENT["shippingAddress"],
        "createdAt": "2026-04-20T14:30:00.000Z",
        "items": [{"productId": "PROD-100", **line}],
    }
    assert {name: order[name] for name in expected} == expected
    assert shop.stock("PROD-100") == 24


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        (None, "2026-01-15T12:00:00.000Z"),
        ("2026-01-16T12:00:00Z", "2026-01-16T12:00:00.000Z"),
        ("2026-01-16T12:00:00.001Z", "2026-01-15T12:00:00.000Z"),
        ("9999-12-31T23:59:59Z", "2026-01-15T12:00:00.000Z"),
    ],
)
def test_an_event_without_a_time_or_from_more_than_a_day_ahead_is_of_now(
    small_shop: Shop, said: str | None, stored: str
) -> None:
    small_shop.produce(small_shop.event("ORD-1", createdAt=said))
    small_shop.run_queue()
    assert small_shop.stored("ORD-1")["createdAt"] == stored


@pytest.mark.parametrize(
    ("change", "failure", "right"),
    [
        ({"totalAmount": 1}, "TOTAL_MISMATCH", "149.99"),
        ({"items": [{"productId": "NOTHING", "quantity": 1}]}, "UNKNOWN_PRODUCT", "NOTHING"),
    ],
)
def test_a_producers_order_that_the_catalogue_refuses_is_stored_as_failed_with_the_reason(
    small_shop: Shop, change: dict[str, Any], failure: str, right: str
) -> None:
    refused = EVENT | change
    small_shop.produce(*(small_shop.event(f"ORD-{n}") for n in range(3)), refused)
    assert small_shop.run_queue() == 0
    order = small_shop.document(EVENT["orderId"])
    assert (order["status"], order["failureReason"]) == ("FAILED", failure)
    assert right in order["history"][-1]["reason"]
    assert (small_shop.metrics["OrdersFailed"], small_shop.metrics[f"OrdersFailed {failure}"]) == (1, 1)
    assert (small_shop.statuses(), small_shop.stock()) == ({"CONFIRMED": 3, "FAILED": 1}, 497)

    small_shop.produce(refused)
    assert small_shop.run_queue() == 0
    assert (small_shop.document(EVENT["orderId"]), small_shop.dead_letters()) == (order, [])


@pytest.mark.parametrize(
    "row",
    [{"price": "29.99"}, {"price": Decimal("29.995")}, {"price": Decimal(-1)}, {"name": "x" * 257}, {"name": "a\nb"}],
)
def test_an_invalid_catalogue_row_is_not_a_product(small_shop: Shop, row: dict[str, Any]) -> None:
    small_shop.set_product("PROD-001", **row)
    assert small_shop.post(small_shop.order("PROD-001")).kind == "invalid-order"
    small_shop.produce(small_shop.event("ORD-1", "PROD-001"), small_shop.event("ORD-2", "PROD-002"))
    assert small_shop.run_queue() == 0
    assert {o["orderId"]: o["status"] for o in small_shop.orders()} == {"ORD-1": "FAILED", "ORD-2": "CONFIRMED"}


def test_a_producers_event_for_an_order_of_the_api_is_its_duplicate(small_shop: Shop) -> None:
    order_id = small_shop.place(key="k1").order_id
    small_shop.produce(small_shop.event(order_id))
    assert small_shop.run_queue() == 0
    assert (len(small_shop.orders()), small_shop.stock()) == (1, 499)


def test_that_a_message_carries_a_key_does_not_say_that_its_order_exists(shop: Shop) -> None:
    attributes = {"paymentKey": fresh_payment_key("ORD-1")}
    record = sqs_record(exact_json.dumps(shop.event("ORD-1")), attributes=attributes)
    entry.order_consumer(sqs_event(record), FakeLambdaContext())
    assert (shop.statuses(), shop.stock()) == ({"CONFIRMED": 1}, 499)


# --- nothing personal is logged ---


def test_a_customers_address_is_in_no_log_line_and_no_reason(
    small_shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = small_shop

    def addressed(order_id: str, **fields: Any) -> dict[str, Any]:
        return shop.event(order_id, **({"shippingAddress": ADDRESS} | fields))

    placed = shop.place(shop.order(shippingAddress=ADDRESS), "k1")
    shop.place(shop.order(shippingAddress=ADDRESS), "k1")
    shop.post(shop.order(quantity=2, shippingAddress=ADDRESS), "k1")
    for wrong in ({"floor": ADDRESS["street"]}, {"city": ADDRESS["city"] * 99}):
        shop.post(shop.order(shippingAddress=ADDRESS | wrong), "k2")
    shop.produce(addressed("A"), addressed("A", quantity=2), addressed("B", totalAmount=1), addressed("FAILING"))
    shop.produce(addressed("C", items=[]), exact_json.dumps(addressed("D"))[:-1], addressed("E", customerId=5))
    shop.produce(addressed("F", shippingAddress={**ADDRESS, "zip": 5, "state": ADDRESS["street"] * 99}))
    fail(shop, "FAILING")
    shop.run_queue()
    shop.come_again()
    shop.run_queue()
    shop.recover_later()
    reasons = [letter["reason"] for letter in shop.dead_letters()]

    logged = "\n".join([*shop.lines, *reasons, capsys.readouterr().out])
    assert placed.order_id in logged
    for part in ("Baker", "Londinium", "Midd", "NW16XE"):
        assert part not in logged


def test_an_own_message_that_the_schema_refuses_is_worked_on_from_the_stored_item(small_shop: Shop) -> None:
    order_id = small_shop.place(key="k1").order_id
    (message,) = small_shop.receive()
    message["Body"] = message["Body"].replace('"quantity": 1', '"quantity": 1000001')
    assert small_shop.consume([message])
    assert (small_shop.status(order_id), small_shop.stock(), small_shop.dead_letters()) == ("CONFIRMED", 499, [])
    assert any("own message refused" in line for line in small_shop.lines)


def test_an_own_message_that_the_schema_refuses_waits_for_the_table_and_is_kept_without_its_order(
    small_shop: Shop,
) -> None:
    order_id = small_shop.place(key="k1").order_id
    (message,) = small_shop.receive()
    message["Body"] = message["Body"].replace('"quantity": 1', '"quantity": 1000001')
    small_shop.calls.refuse("InternalServerError", "GetItem", times=None, status=500)
    assert not small_shop.consume([message])
    small_shop.calls.revive()
    forget_order(small_shop.stage, order_id)
    assert small_shop.consume([message])
    (letter,) = small_shop.dead_letters()
    assert "#/items/0/quantity" in letter["reason"]


class TimeIsUp(FakeLambdaContext):
    """There was time in all, and there is none left."""

    def get_remaining_time_in_millis(self) -> int:
        self.remaining_ms, remaining = 0, self.remaining_ms
        return remaining


@pytest.mark.parametrize("has_entry", [True, False])
def test_on_its_last_receive_an_order_is_left_to_recovery_and_no_person_is_needed(
    small_shop: Shop, clock: Clock, has_entry: bool
) -> None:
    order_id = small_shop.place(key="k1").order_id
    before = small_shop.stored(order_id)["outboxDueAt"]
    (message,) = small_shop.receive()
    message["Attributes"]["ApproximateReceiveCount"] = "14"
    if has_entry:
        clock.advance(seconds=5)
        fail(small_shop, order_id)
        assert small_shop.consume([message])
    else:
        small_shop.calls.kill_before("PutEvents")
        assert killed(lambda: small_shop.consume([{**message, "Attributes": {}}]))
        small_shop.calls.revive()
        assert "outboxDueAt" not in small_shop.stored(order_id)
        clock.advance(seconds=5)
        assert small_shop.consume([message], context=TimeIsUp())
    assert (small_shop.dead_letters(), small_shop.metrics["MessagesLeftToRecovery"]) == ([], 1)
    due_at = small_shop.stored(order_id)["outboxDueAt"]
    assert (due_at == before) is has_entry, "an entry that exists is never reset"
    small_shop.calls.revive()
    small_shop.published()
    assert small_shop.recover_later() == 1
    assert small_shop.run_queue() == 0
    assert small_shop.status(order_id) == "CONFIRMED"
    assert "OrderPlaced" in small_shop.published_of(order_id)
    assert "outboxDueAt" not in small_shop.stored(order_id)


@pytest.mark.parametrize("exists", [False, True])
def test_on_its_last_receive_an_order_that_is_not_the_messages_is_not_left_to_recovery(
    small_shop: Shop, exists: bool
) -> None:
    """Nothing else would bring an absent order; and of another order's message somebody must hear."""
    if exists:
        small_shop.produce(small_shop.event("ORD-1"))
        small_shop.run_queue()
    small_shop.calls.refuse("ThrottlingException", "PutItem", times=None)
    small_shop.produce(small_shop.event("ORD-1", quantity=2))
    (message,) = small_shop.receive()
    message["Attributes"]["ApproximateReceiveCount"] = "14"
    assert small_shop.consume([message])
    assert len(small_shop.dead_letters()) == 1


@pytest.mark.parametrize(
    ("away", "entries", "letters", "done"),
    [("nothing", 12, 12, 24), ("DynamoDB", 1, 24, 24), ("SQS", 12, 1, 12), ("the time", 1, 1, 2)],
)
def test_of_many_messages_that_are_given_up_not_each_waits_for_what_is_away(
    small_shop: Shop, away: str, entries: int, letters: int, done: int
) -> None:
    """A call to what is away takes seconds: the function would end before it had deleted what is done."""
    shop = small_shop
    place(shop, 12)
    shop.produce(*["poison"] * 12)
    messages = [message for _ in range(3) for message in shop.receive()]
    for message in messages:
        message["Attributes"]["ApproximateReceiveCount"] = "14"
    shop.calls.refuse("ThrottlingException", "TransactWriteItems", times=None)
    if away == "DynamoDB":
        shop.calls.refuse("ThrottlingException", "UpdateItem", times=None)
    if away == "SQS":
        shop.calls.drop_request("SendMessage", times=None, attempts=None)
    shop.calls.forget()
    context = TimeIsUp() if away == "the time" else FakeLambdaContext()
    assert shop.consume(messages, context=context) is (done == 24)
    assert len(shop.calls.of("UpdateItem")) == entries
    assert len(shop.calls.of("SendMessage")) == letters
    shop.come_again()
    assert len(shop.messages()) == 24 - done


@pytest.mark.parametrize("has_entry", [True, False])
def test_an_unexpected_fault_rings_at_once_and_ends_after_six_receives_with_the_fault_on_its_order(
    small_shop: Shop, monkeypatch: pytest.MonkeyPatch, has_entry: bool
) -> None:
    def faulty(*_: object) -> None:
        raise RuntimeError("a mistake in the program")

    shop = small_shop
    order_id = shop.place(key="k1").order_id
    before = shop.stored(order_id)["outboxDueAt"]
    if not has_entry:
        shop.change_stored(order_id, outbox=None, outboxDueAt=None, outboxTries=None)
        shop.clock.advance(seconds=5)
    (message,) = shop.receive()
    monkeypatch.setattr(BatchPayments, "charge", faulty)
    for receives in range(1, 6):
        message["Attributes"]["ApproximateReceiveCount"] = str(receives)
        assert not shop.consume([message])
        assert shop.metrics["UnexpectedFaults"] == receives
    message["Attributes"]["ApproximateReceiveCount"] = "6"
    assert shop.consume([message])
    stored = shop.stored(order_id)
    assert (stored["outboxFault"], stored["outboxDueAt"] == before) == ("an unexpected fault: RuntimeError", has_entry)
    assert (shop.dead_letters(), shop.metrics["MessagesLeftToRecovery"]) == ([], 1)

    shop.lose_messages()
    assert shop.recover_later() == 1
    assert shop.stored(order_id)["outboxFault"] == "an unexpected fault: RuntimeError", "until it is mended"
    monkeypatch.undo()
    entry.order_consumer(sqs_event(*map(sqs_record, [m["Body"] for m in shop.receive()])), FakeLambdaContext())
    assert (shop.status(order_id), "outboxFault" in shop.stored(order_id)) == ("CONFIRMED", False)


# --- by outcome and receives: what is deleted, hidden, left to recovery and kept ---


@dataclass
class Ports:
    """All that a consumer needs of the world, and its fulfilment; notes what it is asked.

    A message, its order and its receipt have one name. `outcomes` and `commits` are by it; the rest is Done, Applied.
    """

    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    commits: Mapping[str, CommitResult] = field(default_factory=dict)
    stored: Order | Exception | None = None
    delivered: list[Delivery] = field(default_factory=list)
    ensured: list[OutboxUpdate] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    hidden: dict[str, int] = field(default_factory=dict)
    kept: dict[str, tuple[Kind, str]] = field(default_factory=dict)

    def fulfil(self, deliveries: Sequence[Delivery], _: Deadline) -> list[Outcome]:
        self.delivered += deliveries
        return [self.outcomes.get(delivery.order.order_id, Done()) for delivery in deliveries]

    def commit_each(self, updates: Sequence[OutboxUpdate]) -> list[CommitResult]:
        self.ensured += updates
        return [self.commits.get(update.order_id, Applied(update.order)) for update in updates]

    def get(self, _: str) -> Order | None:
        if isinstance(self.stored, Exception):
            raise self.stored
        return self.stored

    def delete(self, receipts: Sequence[str]) -> None:
        self.deleted += receipts

    def change_visibility(self, seconds: Mapping[str, int]) -> None:
        self.hidden |= seconds

    def keep(self, message: Message, kind: Kind, reason: str) -> None:
        self.kept[message.message_id] = kind, reason

    def consume(
        self,
        receives: Mapping[str, int],
        content: RefusedByOwnSchema | None = None,
        max_receives: int = 14,
        draw: float = 0.5,
        deadline: Deadline = NO_DEADLINE,
    ) -> set[str]:
        """One batch of messages with so many receives; the names of those that are acknowledged."""
        ports: Any = self
        batch = [
            ReadMessage(Message(name, name, "{}", number, 0, {}), content or delivery_of(name))
            for name, number in receives.items()
        ]
        consumer = Consumer(ports, ports, ports, ports, ports, lambda: NOW, max_receives, lambda: draw)
        try:
            consumer.consume(batch, deadline)
        except MessagesLeft:
            assert {*self.deleted, *self.hidden} == set(receives)
            return set(self.deleted)
        assert (self.deleted, self.hidden) == ([], {}), "Lambda deletes all of them"
        return set(receives)


def delivery_of(name: str) -> Delivery:
    order = an_order(name)
    return Delivery(order, OrderRequest.from_order(order), order.payment_key)


@pytest.mark.parametrize("max_receives", [2, 14])
def test_when_a_message_is_given_up_and_to_whom_follows_from_its_outcome_and_its_receives(max_receives: int) -> None:
    kinds: dict[str, Outcome] = {
        "done": Done(),
        "away": Retry("away"),
        "mistake": Retry("mistake", unexpected=True),
        "never": Never("bad"),
    }
    receives = {f"{kind}-{number}": number for kind in kinds for number in range(1, 17)}
    ports = Ports({name: kinds[name.partition("-")[0]] for name in receives})
    acknowledged = ports.consume(receives, max_receives=max_receives)
    first = {"done": 1, "away": max_receives, "mistake": min(6, max_receives), "never": 1}
    assert acknowledged == {name for name, number in receives.items() if number >= first[name.partition("-")[0]]}
    given_up = [name for name in receives if name in acknowledged and kinds[name.partition("-")[0]] != Done()]
    assert ports.ensured == [
        ensure_entry(an_order(name), NOW, fault="mistake" if name.startswith("mistake") else None)
        for name in given_up
        if not name.startswith("never")
    ]
    assert ports.kept == {name: (Kind.NEVER, "bad") for name in given_up if name.startswith("never")}


@pytest.mark.parametrize(
    "result",
    [
        Applied(an_order("o1", quantities={"p1": 2})),
        Applied(an_order("o1", fingerprint="v9:of another release")),
        NotFound(),
        Retryable("DynamoDB is away"),
    ],
)
def test_what_recovery_is_not_known_to_have_is_kept(result: CommitResult) -> None:
    ports = Ports({"o1": Retry("away")}, {"o1": result})
    assert ports.consume({"o1": 14}) == {"o1"}
    assert ports.kept == {"o1": (Kind.RETRY, "away")}


@pytest.mark.parametrize(("left", "ensured", "kept"), [(5.0, 3, 0), (1.0, 1, 1)])
def test_of_those_given_up_when_the_time_is_over_one_is_left_to_recovery_and_one_is_kept(
    left: float, ensured: int, kept: int
) -> None:
    names = ("o1", "o2", "o3")
    ports = Ports(dict.fromkeys(names, Retry("away")))
    assert len(ports.consume(dict.fromkeys(names, 14), deadline=Deadline(lambda: left))) == ensured + kept
    assert (len(ports.ensured), len(ports.kept)) == (ensured, kept)


@pytest.mark.parametrize(
    ("draw", "pauses"),
    [
        (0.0, [2, 3, 6, 12, 24, 48, 96, 192, 384, 675, 675, 675, 675]),
        (0.5, [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900]),
        (1.0, [2, 5, 10, 20, 40, 80, 160, 320, 640, 1125, 1125, 1125, 1125]),
    ],
)
def test_a_message_is_hidden_for_a_quarter_more_or_less(draw: float, pauses: list[int]) -> None:
    receives = {f"o{number}": number for number in range(1, 14)}
    ports = Ports(dict.fromkeys(receives, Retry("away")))
    assert ports.consume(receives, draw=draw) == set()
    assert list(ports.hidden.values()) == pauses


OWN = RefusedByOwnSchema("o1", "the schema refuses it")


@pytest.mark.parametrize(("receives", "last"), [(13, False), (14, True), (15, True)])
def test_an_own_message_that_the_schema_refuses_is_a_delivery_of_the_stored_order(receives: int, last: bool) -> None:
    ports = Ports(stored=an_order("o1"))
    assert ports.consume({"o1": receives}, OWN) == {"o1"}
    assert ports.delivered == [replace(delivery_of("o1"), last=last, message_id="o1")]


@pytest.mark.parametrize(
    ("stored", "kept"),
    [
        (None, (Kind.NEVER, "the schema refuses it")),
        (Unavailable("DynamoDB is away"), (Kind.RETRY, "DynamoDB is away")),
        (Rejected("not allowed"), (Kind.RETRY, "not allowed")),
    ],
)
def test_one_whose_order_is_not_found_or_cannot_be_read_is_kept_with_that_reason(
    stored: Exception | None, kept: tuple[Kind, str]
) -> None:
    ports = Ports(stored=stored)
    assert ports.consume({"o1": 14}, OWN) == {"o1"}
    assert (ports.delivered, ports.ensured, ports.kept) == ([], [], {"o1": kept})
