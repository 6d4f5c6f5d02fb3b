"""The consumer: each message is done, comes again, or is kept as a dead letter, and never anything else."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

import app as entry
from chalicelib import exact_json, times
from chalicelib.order import Order
from tests.support.aws_calls import AwsCalls, Call
from tests.support.events import Clock, FakeLambdaContext, sqs_event, sqs_record
from tests.support.shop import Shop, opened, sample
from tests.support.stage import Stage

ADDRESS = {"street": "221B Baker Street", "city": "Londinium", "state": "Midd", "zip": "NW16XE", "country": "GB"}


@pytest.fixture
def shop(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> Iterator[Shop]:
    with opened(aws, aws_calls, clock) as shop:
        yield shop


@pytest.fixture
def each_shop(each_aws: Stage, aws_calls: AwsCalls, clock: Clock) -> Iterator[Shop]:
    with opened(each_aws, aws_calls, clock) as shop:
        yield shop


def fail(shop: Shop, order_id: str) -> None:
    """From now on something that may pass stands in the way of this order, and of no other."""

    def charges(call: Call) -> bool:
        return shop.stage["PAYMENTS_TABLE"] in repr(call.params) and order_id in repr(call.params)

    shop.calls.refuse("ThrottlingException", when=charges, times=None)


# --- the three outcomes ---


def test_a_message_whose_order_is_done_is_deleted(shop: Shop) -> None:
    order_id = shop.place(key="k1").order_id
    assert shop.run_queue() == 0
    shop.come_again()
    assert (shop.messages(), shop.hidden(), shop.dead_letters()) == ([], 0, [])
    assert (shop.stored(order_id)["status"], shop.stock()) == ("CONFIRMED", 499)


@pytest.mark.parametrize("status", ["CONFIRMED", "SHIPPED", "DELIVERED", "FAILED", "CANCELLED"])
def test_a_message_of_an_order_that_is_past_it_is_a_duplicate_and_done(each_shop: Shop, status: str) -> None:
    shop = each_shop
    order_id = shop.place(key="k1").order_id
    shop.change_stored(order_id, status=status, outbox=None, outboxDueAt=None, outboxTries=None)
    before = shop.stored(order_id)
    assert shop.run_queue() == 0
    assert (shop.stored(order_id), shop.stock()) == (before, 500)


def test_a_message_that_may_succeed_later_comes_again(shop: Shop) -> None:
    order_id = shop.place(key="k1").order_id
    fail(shop, order_id)
    assert shop.run_queue() == 1
    assert (shop.messages(), shop.hidden(), shop.metrics["MessagesRetried"]) == ([], 1, 1)

    shop.calls.heal()
    shop.come_again()
    assert shop.run_queue() == 0

    assert (shop.stored(order_id)["status"], shop.stock()) == ("CONFIRMED", 499)


@pytest.mark.parametrize("operation", ["TransactWriteItems", "UpdateItem"])
@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServerError"])
def test_while_dynamodb_does_not_answer_messages_come_again(shop: Shop, operation: str, code: str) -> None:
    order_id = shop.place(key="k1").order_id
    shop.calls.refuse(code, operation, times=None, status=500 if code == "InternalServerError" else 400)
    assert shop.run_queue() == 1
    shop.calls.heal()
    shop.come_again()
    assert shop.run_queue() == 0
    assert (shop.stored(order_id)["status"], shop.stock()) == ("CONFIRMED", 499)


def test_each_try_waits_about_twice_as_long_as_the_one_before(shop: Shop) -> None:
    order_id = shop.place(key="k1").order_id
    fail(shop, order_id)
    (message,) = shop.receive()
    for receives in range(1, 6):
        for _ in range(5):
            record = sqs_record(message["Body"], receipt_handle=message["ReceiptHandle"], receive_count=receives)
            with pytest.raises(Exception, match="1 of 1 messages"):
                entry.order_consumer(sqs_event(record), FakeLambdaContext())
        calls = shop.calls.of("ChangeMessageVisibilityBatch")[-5:]
        delays = [call.params["Entries"][0]["VisibilityTimeout"] for call in calls]
        assert all(0.75 * 2**receives - 0.5 <= delay <= 1.25 * 2**receives + 0.5 for delay in delays), delays
        if receives > 3:
            assert len(set(delays)) > 1, "all at once again: no jitter"


def test_on_its_last_receive_a_message_becomes_a_dead_letter_with_the_reason(shop: Shop) -> None:
    order_id = shop.place(key="k1").order_id
    fail(shop, order_id)
    for _ in range(5):
        assert shop.run_queue() == 1
        assert shop.dead_letters() == []
        shop.come_again()
    (message,) = shop.receive()

    assert shop.consume([message])

    (letter,) = shop.dead_letters()
    assert letter["body"] == message["Body"]
    assert (letter["originalMessageId"], letter["receiveCount"]) == (message["MessageId"], "6")
    assert letter["orderId"] == order_id
    assert "ThrottlingException" in letter["reason"]
    assert shop.metrics["MessagesQuarantined"] == 1
    assert shop.stored(order_id)["status"] == "RESERVED"
    shop.come_again()
    assert shop.messages() == []


def test_how_often_a_message_is_tried_can_be_set(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> None:
    with opened(aws, aws_calls, clock, settings={"MAX_RECEIVES": "1"}) as shop:
        fail(shop, shop.place(key="k1").order_id)
        assert shop.run_queue() == 0
        assert len(shop.dead_letters()) == 1


EVENT = sample("order_created_event")
POISON: dict[str, str] = {
    "empty object": "{}",
    "no JSON": "order 5 please",
    "cut off": exact_json.dumps(EVENT)[:-1],
    "a list": "[]",
    "null": "null",
    "a name twice": exact_json.dumps(EVENT)[:-1] + ', "orderId": "ORD-2"}',
    "NaN": exact_json.dumps(EVENT).replace("149.99", "NaN"),
    "deep": "[" * 20_000,
    "a number of 5,000 digits": exact_json.dumps(EVENT).replace("149.99", "1" * 5_000),
    "no order id": exact_json.dumps({**EVENT, "orderId": None}),
    "an order id with a blank": exact_json.dumps({**EVENT, "orderId": "ORD 1"}),
    "an order id with a line feed": exact_json.dumps({**EVENT, "orderId": "ORD-1\n"}),
    "a long order id": exact_json.dumps({**EVENT, "orderId": "O" * 65}),
    "a lone surrogate": exact_json.dumps({**EVENT, "orderId": "\ud800"}),
    "no items": exact_json.dumps({**EVENT, "items": []}),
    "a fraction of a quantity": exact_json.dumps({**EVENT, "items": [{"productId": "P", "quantity": Decimal("0.5")}]}),
    "a time without an offset": exact_json.dumps({**EVENT, "createdAt": "2026-04-20T14:30:00"}),
    "a time that is none": exact_json.dumps({**EVENT, "createdAt": "yesterday"}),
}


def test_a_message_that_can_never_be_handled_is_a_dead_letter_at_once(shop: Shop) -> None:
    for name, body in POISON.items():
        shop.produce(body)
        (message,) = shop.receive()
        assert shop.consume([message]), name
        (letter,) = shop.dead_letters()
        assert letter["body"] == body, name
        assert letter["reason"], name
        assert (letter["originalMessageId"], letter["receiveCount"]) == (message["MessageId"], "1"), name
    assert shop.orders() == []
    assert shop.metrics["MessagesQuarantined"] == len(POISON)
    assert shop.metrics["MessagesRetried"] == 0


@pytest.mark.parametrize("reporting", [False, True], ids=["under a mapping without", "with batch item failures"])
def test_each_message_of_a_mixed_batch_ends_where_it_belongs(shop: Shop, reporting: bool) -> None:
    done = shop.place(key="done").order_id
    shop.run_queue()
    shop.produce(shop.event("GOOD"), shop.event("FAILING"), shop.event("GOOD"), "poison", shop.event(done))
    shop.produce(shop.event("GOOD", quantity=2), shop.event("SHORT", "PROD-100", 26))
    fail(shop, "FAILING")

    assert shop.run_queue(reporting=reporting) == 1

    letters = {letter["body"]: letter["reason"] for letter in shop.dead_letters()}
    assert "poison" in letters
    assert {order["orderId"]: order["status"] for order in shop.orders()} == {
        done: "CONFIRMED",
        "GOOD": "CONFIRMED",
        "FAILING": "RESERVED",
        "SHORT": "FAILED",
    }
    # Left are the one that failed and the other content of GOOD, which waits for its next delivery.
    assert shop.hidden() == 2
    shop.calls.heal()
    shop.come_again()
    assert shop.run_queue(reporting=reporting) == 0
    (letter,) = shop.dead_letters()
    assert letter["orderId"] == "GOOD"
    assert shop.statuses() == {"CONFIRMED": 3, "FAILED": 1}
    shop.come_again()
    assert (shop.messages(), shop.stock(), shop.stock("PROD-100")) == ([], 497, 25)


def test_what_succeeded_is_deleted_before_the_consumer_raises(shop: Shop) -> None:
    shop.produce(shop.event("GOOD"), shop.event("FAILING"))
    fail(shop, "FAILING")
    messages = shop.receive()
    assert not shop.consume(messages)
    (deleted,) = shop.calls.of("DeleteMessageBatch")
    assert [e["ReceiptHandle"] for e in deleted.params["Entries"]] == [messages[0]["ReceiptHandle"]]


def test_a_batch_that_all_succeeded_is_lambdas_to_delete(shop: Shop) -> None:
    shop.warm_up()
    shop.place(key="k1")
    shop.calls.forget()
    shop.run_queue()
    assert "DeleteMessageBatch" not in shop.counted()


@pytest.mark.parametrize("operation", ["DeleteMessageBatch", "ChangeMessageVisibilityBatch"], ids=["deleted", "hidden"])
def test_messages_that_cannot_be_acknowledged_come_again_and_do_no_harm(shop: Shop, operation: str) -> None:
    shop.produce(shop.event("GOOD"), shop.event("FAILING"))
    fail(shop, "FAILING")
    shop.calls.drop_request(operation, times=None, attempts=None)
    assert shop.run_queue() == 1
    shop.calls.heal()
    shop.come_again()
    assert shop.run_queue() == 0
    assert (shop.statuses(), shop.stock()) == ({"CONFIRMED": 2}, 498)


def test_a_dead_letter_that_cannot_be_kept_is_not_lost(shop: Shop) -> None:
    shop.produce("poison")
    shop.calls.drop_request("SendMessage", times=None, attempts=None)
    assert shop.run_queue() == 1
    assert shop.dead_letters() == []
    shop.calls.heal()
    shop.come_again()
    assert shop.run_queue() == 0
    assert [letter["body"] for letter in shop.dead_letters()] == ["poison"]


def test_an_order_that_cannot_be_read_does_not_stop_the_batch(each_shop: Shop) -> None:
    """A newer release may have written what this one cannot read; its message waits for that release."""
    shop = each_shop
    newer = shop.place(shop.order(customerId="newer"), "k").order_id
    good = [shop.place(shop.order(customerId=f"C{n}"), "k").order_id for n in range(3)]
    shop.change_stored(newer, fingerprint="v9:" + "0" * 64)
    shop.run_queue()
    assert {shop.stored(order_id)["status"] for order_id in good} == {"CONFIRMED"}
    assert shop.stored(newer)["status"] == "PENDING"
    assert shop.hidden() == 1


def test_an_order_of_a_status_that_is_not_known_does_not_stop_the_batch(each_shop: Shop) -> None:
    shop = each_shop
    newer = shop.place(shop.order(customerId="newer"), "k").order_id
    good = [shop.place(shop.order(customerId=f"C{n}"), "k").order_id for n in range(3)]
    shop.change_stored(newer, status="RETURNED")
    shop.run_queue()
    assert {shop.stored(order_id)["status"] for order_id in good} == {"CONFIRMED"}
    assert shop.stored(newer)["status"] == "RETURNED"


# --- the same order twice in a batch ---


def test_the_same_order_twice_in_a_batch_is_one_order_with_two_messages(each_shop: Shop) -> None:
    shop = each_shop
    shop.produce(shop.event("ORD-1"), shop.event("ORD-1", createdAt="2026-01-15T12:34:56Z"), shop.event("ORD-1"))
    assert shop.run_queue() == 0
    assert (shop.statuses(), shop.stock(), shop.dead_letters()) == ({"CONFIRMED": 1}, 499, [])


def test_of_two_contents_under_one_id_in_a_batch_the_first_is_tried_and_the_other_waits(each_shop: Shop) -> None:
    shop = each_shop
    shop.produce(shop.event("ORD-1"), shop.event("ORD-1", quantity=2))
    assert shop.run_queue() == 1
    assert (shop.stock(), shop.hidden(), shop.dead_letters()) == (499, 1, [])

    shop.come_again()
    assert shop.run_queue() == 0

    (letter,) = shop.dead_letters()
    assert exact_json.loads(letter["body"])["items"][0]["quantity"] == 2
    assert letter["reason"] == "another order of this id stands"
    assert (shop.statuses(), shop.stock()) == ({"CONFIRMED": 1}, 499)


# --- a producer's events ---


def test_a_producers_event_creates_its_order_and_goes_on(each_shop: Shop) -> None:
    shop = each_shop
    shop.clock.now = datetime(2026, 4, 20, 14, 30, 1, tzinfo=UTC)
    shop.produce(EVENT)
    assert shop.run_queue() == 0
    order = shop.get("/orders/ORD-20260420-001").json
    assert (order["status"], order["customerId"], order["shippingAddress"]) == (
        "CONFIRMED",
        "CUST-42",
        EVENT["shippingAddress"],
    )
    assert order["createdAt"] == "2026-04-20T14:30:00.000Z"
    assert order["items"] == [
        {
            "productId": "PROD-100",
            "productName": "Mechanical Keyboard (boutique)",
            "quantity": 1,
            "unitPrice": Decimal("149.99"),
        }
    ]
    assert shop.stock("PROD-100") == 24


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"createdAt": "2026-04-20T15:00:00Z"},
        {"createdAt": None},
        {"currency": None},
        {"items": [{"productId": "PROD-100", "qty": 1}]},
        {"traceId": "x", "version": 2},
    ],
    ids=["as it was", "another createdAt", "no createdAt", "no currency", "other spellings", "unknown fields"],
)
def test_the_same_event_again_is_a_duplicate(shop: Shop, change: dict[str, Any]) -> None:
    shop.produce(EVENT)
    shop.run_queue()
    before = shop.stored(EVENT["orderId"])
    shop.clock.advance(hours=1)

    shop.produce({name: value for name, value in {**EVENT, **change}.items() if value is not None})

    assert shop.run_queue() == 0
    assert (shop.stored(EVENT["orderId"]), shop.stock("PROD-100"), shop.dead_letters()) == (before, 24, [])


@pytest.mark.parametrize("status", ["PENDING", "RESERVED", "CONFIRMED", "FAILED", "CANCELLED"])
def test_the_same_order_id_with_other_content_is_a_dead_letter_with_the_reason(each_shop: Shop, status: str) -> None:
    shop = each_shop
    shop.produce(EVENT)
    shop.run_queue()
    shop.change_stored(EVENT["orderId"], status=status)
    before = shop.stored(EVENT["orderId"])

    other = {**EVENT, "shippingAddress": ADDRESS}
    shop.produce(other)
    assert shop.run_queue() == 0

    (letter,) = shop.dead_letters()
    assert exact_json.loads(letter["body"]) == other
    assert (letter["reason"], letter["orderId"]) == ("another order of this id stands", EVENT["orderId"])
    assert (shop.stored(EVENT["orderId"]), shop.stock("PROD-100")) == (before, 24)


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "a wrong total": ({"totalAmount": 1}, "TOTAL_MISMATCH", "149.99"),
    "a wrong price": (
        {"items": [{"productId": "PROD-100", "quantity": 1, "unitPrice": 1}]},
        "PRICE_MISMATCH",
        "149.99",
    ),
    "an unknown product": ({"items": [{"productId": "NOTHING", "quantity": 1}]}, "UNKNOWN_PRODUCT", "NOTHING"),
    "another currency": ({"currency": "EUR"}, "CURRENCY_MISMATCH", "USD"),
}


@pytest.mark.parametrize(("change", "failure", "told"), REFUSED.values(), ids=REFUSED.keys())
def test_a_producers_order_that_the_catalogue_refuses_is_stored_as_failed_with_the_reason(
    shop: Shop, change: dict[str, Any], failure: str, told: str
) -> None:
    shop.produce({**EVENT, **change})
    assert shop.run_queue() == 0
    order = shop.get(f"/orders/{EVENT['orderId']}").json
    assert (order["status"], order["failureReason"]) == ("FAILED", failure)
    assert told in order["history"][-1]["reason"]
    assert shop.dead_letters() == []
    assert (shop.metrics["OrdersFailed"], shop.metrics[f"OrdersFailed {failure}"]) == (1, 1)

    shop.produce({**EVENT, **change})
    assert shop.run_queue() == 0
    assert shop.get(f"/orders/{EVENT['orderId']}").json == order


def test_a_refused_order_among_others_is_failed_alone(shop: Shop) -> None:
    events = [shop.event(f"ORD-{n}") for n in range(10)]
    events[4]["totalAmount"] = 1
    shop.produce(*events)
    assert shop.run_queue() == 0
    assert (shop.statuses(), shop.stock()) == ({"CONFIRMED": 9, "FAILED": 1}, 491)


def test_an_event_without_a_time_is_of_now(shop: Shop) -> None:
    shop.produce({name: value for name, value in EVENT.items() if name != "createdAt"})
    shop.run_queue()
    assert shop.stored(EVENT["orderId"])["createdAt"] == times.to_text(shop.clock())


def test_a_producers_event_for_an_order_of_the_api_is_its_duplicate(shop: Shop) -> None:
    order_id = shop.place(key="k1").order_id
    shop.produce(shop.event(order_id))
    assert shop.run_queue() == 0
    assert (len(shop.orders()), shop.stock()) == (1, 499)


def test_that_a_message_says_its_order_is_stored_is_a_hint_only(each_shop: Shop) -> None:
    shop = each_shop
    record = sqs_record(exact_json.dumps(shop.event("ORD-1")), attributes={"stored": "yes"})
    entry.order_consumer(sqs_event(record), FakeLambdaContext())
    assert (shop.statuses(), shop.stock()) == ({"CONFIRMED": 1}, 499)


def test_a_message_moves_no_order_but_its_own(each_shop: Shop) -> None:
    """It says that its order is stored, so it goes straight to the transaction, whose condition has to hold it back."""
    shop = each_shop
    order_id = shop.place(key="k1").order_id
    before = shop.stored(order_id)
    foreign = exact_json.dumps(shop.event(order_id, quantity=2))
    entry.order_consumer(sqs_event(sqs_record(foreign, attributes={"stored": "yes"})), FakeLambdaContext())
    assert (shop.stored(order_id), shop.stock()) == (before, 500)
    (letter,) = shop.dead_letters()
    assert (letter["reason"], letter["body"]) == ("another order of this id stands", foreign)


# --- nothing personal is told ---


def test_a_customers_address_is_in_no_log_line(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    def addressed(order_id: str, **fields: Any) -> dict[str, Any]:
        return shop.event(order_id, shippingAddress=ADDRESS, **fields)

    placed = shop.place(shop.order(shippingAddress=ADDRESS), "k1")
    shop.place(shop.order(shippingAddress=ADDRESS), "k1")
    shop.post(shop.order(shippingAddress={**ADDRESS, "floor": ADDRESS["street"]}), "k2")
    shop.post(shop.order(shippingAddress={**ADDRESS, "city": ADDRESS["city"] * 99}), "k3")
    shop.post(shop.order(quantity=2, shippingAddress=ADDRESS), "k1")
    shop.produce(addressed("A"), addressed("A", quantity=2), addressed("B", totalAmount=1), addressed("FAILING"))
    shop.produce(addressed("C", items=[]), exact_json.dumps(addressed("D"))[:-1], addressed("E", customerId=5))
    shop.produce(addressed("F") | {"shippingAddress": {**ADDRESS, "zip": 5, "state": ADDRESS["street"] * 99}})
    fail(shop, "FAILING")
    shop.run_queue()
    shop.come_again()
    shop.run_queue()
    shop.recover_later()
    reasons = [letter["reason"] for letter in shop.dead_letters()]

    told = "\n".join([*shop.lines, *reasons, capsys.readouterr().out])
    assert placed.order_id in told
    for part in ("Baker", "Londinium", "Midd", "NW16XE"):
        assert part not in told


def test_an_address_is_not_told_when_something_unexpected_happens(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any, order: Order) -> None:
        raise RuntimeError("the send broke")

    monkeypatch.setattr(type(shop.service.placing.queue), "send_order", broken)
    reply = shop.post(shop.order(shippingAddress=ADDRESS), "k1")
    assert reply.status == 500
    assert "the send broke" in "\n".join(shop.lines)
    assert "Baker" not in "\n".join(shop.lines)
