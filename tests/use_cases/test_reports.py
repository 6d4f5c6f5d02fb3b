"""What the use cases report: each event of the log with its level and all its keys, and what they count.

An operator searches by these names, and alarms and the runbook are made of them. Each scenario leads to one of them.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.payment_key import fresh_payment_key
from chalicelib.use_cases.fulfilment import Fulfilment
from chalicelib.use_cases.letters import Kind
from chalicelib.use_cases.paying import BatchPayments
from chalicelib.use_cases.ports import Message
from tests.support.events import FakeLambdaContext
from tests.support.payments import TimesOut
from tests.support.shop import Shop
from tests.support.tables import forget_order

OF_EVERY_LINE = {"level", "message", "location", "timestamp", "service", "requestId", "xray_trace_id"}
OF_A_FAULT = {"exception", "exception_name", "stack_trace"}

Keys = dict[str, Any]
Line = tuple[str, str, Keys]


@pytest.fixture
def shop(small_shop: Shop) -> Shop:
    return small_shop


def said(shop: Shop, *messages: str) -> list[Line]:
    """Level, message and keys of the lines with one of these messages."""
    lines = [json.loads(line) for line in shop.lines if line.startswith("{")]
    return [
        (line["level"], line["message"], {k: v for k, v in line.items() if k not in OF_EVERY_LINE | OF_A_FAULT})
        for line in lines
        if line["message"] in messages or not messages
    ]


def about(shop: Shop, order_id: str) -> Keys:
    """What the lines about an order's end say of it."""
    stored = shop.stored(order_id)
    named = {"orderId": order_id, "customerId": stored["customerId"], "correlationId": stored.get("correlationId")}
    return {name: value for name, value in named.items() if value is not None}


def place(shop: Shop) -> str:
    """A new order; nothing has been said or counted before what the test is about."""
    order_id = shop.place(key="k1", x_correlation_id="c-1").order_id
    forget(shop)
    return order_id


def confirmed(shop: Shop) -> str:
    order_id = place(shop)
    shop.run_queue()
    forget(shop)
    return order_id


def forget(shop: Shop) -> None:
    shop.metrics.clear()
    shop.lines.clear()


# --- an order on its way ---


def test_an_order_that_is_confirmed(shop: Shop) -> None:
    order_id = place(shop)
    (message,) = shop.receive()
    shop.consume([message])
    received = {"messageId": message["MessageId"], "orderId": order_id, "correlationId": "c-1", "receiveCount": 1}
    assert said(shop) == [("INFO", "message received", received), ("INFO", "order confirmed", about(shop, order_id))]
    assert shop.metrics == {"OrdersReserved": 1, "PaymentsCharged": 1, "OrdersConfirmed": 1, "EventsPublished": 1}


def test_orders_of_a_producer_that_are_confirmed_and_that_fail(shop: Shop) -> None:
    shop.produce(shop.event("GOOD"), shop.event("SHORT", "PROD-100", 26), shop.event("WRONG", totalAmount=1))
    shop.run_queue()
    reasons = {"SHORT": "OUT_OF_STOCK", "WRONG": "TOTAL_MISMATCH"}
    failed = [("INFO", "order failed", about(shop, name) | {"reason": reason}) for name, reason in reasons.items()]
    assert sorted(said(shop, "order failed"), key=repr) == failed
    counted = {"OrdersPlaced": 2, "OrdersReserved": 1, "OrdersConfirmed": 1, "PaymentsCharged": 1, "OrdersFailed": 2}
    by_reason = {f"OrdersFailed {reason}": 1 for reason in reasons.values()}
    assert shop.metrics == counted | by_reason | {"EventsPublished": 3}


def test_two_who_write_the_same_at_once(shop: Shop) -> None:
    place(shop)
    shop.calls.refuse("TransactionConflictException", "TransactWriteItems")
    shop.run_queue()
    assert shop.metrics["TransactionConflicts"] == 1


def test_an_order_that_is_cancelled_and_refunded(shop: Shop) -> None:
    order_id = confirmed(shop)
    shop.cancel(order_id)
    assert shop.metrics == {"OrdersCancelled": 1}
    shop.run_queue()
    assert without_request(said(shop, "order cancelled", "order refunded")) == [
        ("INFO", "order cancelled", {"orderId": order_id, "customerId": "CUST-1"}),
        ("INFO", "order refunded", {"orderId": order_id}),
    ]
    assert shop.metrics == {"OrdersCancelled": 1, "PaymentsRefunded": 1, "EventsPublished": 2}


def test_an_order_that_is_shipped_and_delivered(shop: Shop) -> None:
    order_id = confirmed(shop)
    shop.ship(order_id)
    shop.ship(order_id, carrier="UPS")
    shop.deliver(order_id)
    keys = {"orderId": order_id, "customerId": "CUST-1"}
    assert without_request(said(shop)) == [
        ("INFO", "order shipped", keys),
        ("INFO", "shipment details added", keys),
        ("INFO", "order delivered", keys),
    ]
    assert shop.metrics == {"OrdersShipped": 1, "OrdersDelivered": 1}


def without_request(lines: list[Line]) -> list[Line]:
    """Without what every line of a request has."""
    return [(level, text, {k: v for k, v in keys.items() if k != "correlationId"}) for level, text, keys in lines]


# --- what is in the way ---


@pytest.mark.parametrize("fault", [TimeoutError, ValueError])
def test_a_payment_without_an_answer(shop: Shop, monkeypatch: pytest.MonkeyPatch, fault: type[Exception]) -> None:
    place(shop)

    def faulty(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(shop.payments, "charge", faulty)
    (message,) = shop.receive()
    assert not shop.consume([message])
    late = fault is TimeoutError
    reason = "the payment provider did not answer in time" if late else "the payment provider failed: ValueError"
    assert said(shop, "payment provider failed", "message will be retried") == [
        *([] if late else [("ERROR", "payment provider failed", {})]),
        ("WARNING", "message will be retried", {"messageId": message["MessageId"], "reason": reason}),
    ]
    assert shop.metrics == {"OrdersReserved": 1, "PaymentsUnknown": 1, "MessagesRetried": 1}
    assert "MessagesLeft('1 of 1 messages will be retried')" in shop.lines


def test_a_fault_that_nobody_expected(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    order_id = place(shop)

    def faulty(*_: object) -> None:
        raise RuntimeError("a mistake in the program")

    monkeypatch.setattr(BatchPayments, "charge", faulty)
    (message,) = shop.receive()
    assert not shop.consume([message])
    reason = "an unexpected fault: RuntimeError"
    assert said(shop)[1:] == [
        ("ERROR", "fulfilment failed", {"orderIds": [order_id]}),
        ("WARNING", "message will be retried", {"messageId": message["MessageId"], "reason": reason}),
    ]
    assert shop.metrics == {"OrdersReserved": 1, "UnexpectedFaults": 1, "MessagesRetried": 1}


def test_a_message_that_is_left_to_recovery(shop: Shop) -> None:
    order_id = place(shop)
    shop.payments.on("charge", TimesOut.BEFORE)
    (message,) = shop.receive()
    message["Attributes"]["ApproximateReceiveCount"] = "14"
    assert shop.consume([message])
    reason = f"charge of {order_id} timed out"
    assert said(shop, "message left to recovery", "message will be retried") == [
        ("WARNING", "message left to recovery", {"messageId": message["MessageId"], "reason": reason})
    ]
    assert shop.metrics == {"OrdersReserved": 1, "PaymentsUnknown": 1, "MessagesLeftToRecovery": 1}


def test_messages_that_cannot_be_deleted_or_hidden(shop: Shop) -> None:
    shop.produce(shop.event("GOOD"), shop.event("LATE"))
    shop.payments.trouble = lambda _, order_id: TimesOut.BEFORE if order_id == "LATE" else None
    for operation in ("DeleteMessageBatch", "ChangeMessageVisibilityBatch"):
        shop.calls.refuse("InternalError", operation, status=500)
    assert shop.run_queue() == 1
    assert said(shop, "messages not deleted", "messages not hidden") == [
        ("WARNING", "messages not deleted", {"reason": "DeleteMessageBatch: InternalError"}),
        ("WARNING", "messages not hidden", {"reason": "ChangeMessageVisibilityBatch: InternalError"}),
    ]


def test_an_own_message_that_the_schema_refuses(shop: Shop) -> None:
    order_id = place(shop)
    (message,) = shop.receive()
    message["Body"] = message["Body"].replace('"quantity": 1', '"quantity": 1000001')
    assert shop.consume([message])
    ((level, event, keys),) = said(shop, "own message refused")
    assert (level, event, set(keys)) == ("ERROR", "own message refused", {"messageId", "orderId", "reason"})
    assert (keys["messageId"], keys["orderId"]) == (message["MessageId"], order_id)
    assert "#/items/0/quantity" in keys["reason"]


def test_an_order_that_is_created_again(shop: Shop) -> None:
    order_id = place(shop)
    forget_order(shop.stage, order_id)
    shop.run_queue()
    assert said(shop, "order created again") == [("WARNING", "order created again", about(shop, order_id))]
    assert (shop.metrics["OrdersPlaced"], shop.metrics["OrdersReserved"]) == (1, 1)


def test_messages_of_orders_that_were_deleted(shop: Shop) -> None:
    order_id = place(shop)
    shop.change_stored(order_id, paymentKey=fresh_payment_key(order_id), fingerprint="v1:" + "0" * 64)
    (message,) = shop.receive()
    shop.consume([message])
    forget_order(shop.stage, order_id)
    shop.clock.now = datetime.now(UTC) + timedelta(days=91)
    shop.consume([message])
    assert said(shop, "message outdated") == [
        ("WARNING", "message outdated", {"orderId": order_id, "reason": "of an earlier order with this id"}),
        ("WARNING", "message outdated", {"orderId": order_id, "reason": "its order has ended, and was deleted"}),
    ]
    assert shop.metrics == {"MessagesOutdated": 2}


# --- dead letters ---


@pytest.mark.parametrize("body", ['{"orderId": "o1"}', "not JSON"])
def test_a_message_that_is_kept_and_replayed(shop: Shop, body: str) -> None:
    order_id = "o1" if "o1" in body else ""
    shop.produce(body)
    (message,) = shop.receive()
    assert shop.consume([message])
    ((level, _, keys),) = said(shop, "message quarantined")
    reason = keys.pop("reason")
    assert (level, keys) == ("WARNING", {"messageId": message["MessageId"], "orderId": order_id, "kind": "never"})
    assert shop.metrics == {"MessagesQuarantined": 1, "MessagesQuarantined never": 1}
    forget(shop)
    (letter,) = shop.service.dead_letters.replay_all(10)
    ids = {"messageId": letter.message_id, "orderId": order_id, "reason": reason}
    assert said(shop) == [("INFO", "message replayed", ids)]
    assert shop.metrics == {"MessagesReplayed": 1}


def test_a_message_that_cannot_be_kept(shop: Shop) -> None:
    shop.calls.refuse("InvalidParameterValue", "SendMessage")
    shop.produce({"orderId": "o1"})
    (message,) = shop.receive()
    assert not shop.consume([message])
    ((level, event, keys),) = said(shop)[-1:]
    assert (level, event) == ("WARNING", "message not quarantined")
    assert "items" in keys.pop("reason")
    fault = "SendMessage: InvalidParameterValue"
    assert keys == {"messageId": message["MessageId"], "orderId": "o1", "fault": fault}
    assert shop.metrics == {}


def test_a_message_that_cannot_be_replayed_and_letters_that_cannot_be_released(shop: Shop) -> None:
    shop.service.dead_letters.keep(Message("m1", "", '{"orderId": "o1"}', 6, 0, {}), Kind.RETRY, "why")
    forget(shop)
    shop.calls.refuse("InvalidMessageContents", "SendMessage")
    shop.calls.refuse("InternalError", "ChangeMessageVisibilityBatch", status=500)
    assert shop.service.dead_letters.replay_all(10, visibility_timeout=1) == []
    (not_replayed, not_released) = said(shop)
    keys = not_replayed[2]
    assert keys.pop("messageId")
    fault = "SendMessage: InvalidMessageContents"
    assert not_replayed == ("WARNING", "message not replayed", {"orderId": "o1", "reason": "why", "fault": fault})
    reason = "ChangeMessageVisibilityBatch: InternalError"
    assert not_released == ("WARNING", "dead letters not released", {"reason": reason})
    assert shop.metrics == {}


def test_dead_letters_that_wait(shop: Shop) -> None:
    for n in range(2):
        shop.service.dead_letters.keep(Message(f"m{n}", "", "x", 6, 0, {}), Kind.RETRY, "why")
    forget(shop)
    shop.calls.refuse("AccessDenied", "ReceiveMessage")
    shop.service.monitor.watch("123456789012")
    assert said(shop) == [
        ("WARNING", "dead letters are waiting", {"count": 2}),
        ("WARNING", "dead letters not sampled", {"reason": "ReceiveMessage: AccessDenied"}),
    ]
    assert shop.metrics == {"DeadLetters": 2, "MessagesWaiting": 0, "MessagesInFlight": 0}


# --- recovery ---


def overdue(shop: Shop, number: int) -> list[str]:
    """Orders in one shard whose messages are lost and whose entries are due."""
    placed = [shop.place(shop.order(customerId=f"C{n}"), "k").order_id for n in range(number)]
    shop.lose_messages()
    for order_id in placed:
        shop.change_stored(order_id, outbox=0)
    shop.clock.advance(seconds=61)
    forget(shop)
    return placed


def test_orders_that_are_recovered(shop: Shop) -> None:
    placed = overdue(shop, 2)
    assert shop.recover() == 2
    *each, total = said(shop)
    assert sorted(each, key=repr) == sorted(
        (("INFO", "order recovered", {"orderId": order_id, "status": "PENDING"}) for order_id in placed), key=repr
    )
    assert total == ("INFO", "overdue orders sent", {"count": 2})
    assert shop.metrics == {"OrdersOverdue": 0, "RefundsPending": 0, "OrdersRecovered": 2}


@pytest.mark.parametrize(
    ("operation", "code", "event", "keys"),
    [
        ("BatchGetItem", "InternalServerError", "overdue orders not read", {"count": 2}),
        ("SendMessageBatch", "InternalError", "overdue orders not sent", {"count": 2}),
    ],
)
def test_orders_that_cannot_be_recovered(shop: Shop, operation: str, code: str, event: str, keys: Keys) -> None:
    overdue(shop, 2)
    shop.calls.refuse(code, operation, status=500)
    assert shop.recover() == 0
    assert said(shop) == [("WARNING", event, keys | {"reason": f"{operation}: {code}"})]
    assert shop.metrics == {"OrdersOverdue": 0, "RefundsPending": 0}


def test_an_order_that_cannot_be_backed_off(shop: Shop) -> None:
    (order_id,) = overdue(shop, 1)
    shop.calls.refuse("ValidationException", "UpdateItem")
    assert shop.recover() == 0
    keys = {"orderId": order_id, "reason": "UpdateItem: ValidationException"}
    assert said(shop) == [("WARNING", "overdue order not retried", keys)]


def test_an_order_that_another_release_wrote(shop: Shop) -> None:
    (order_id,) = overdue(shop, 1)
    shop.change_stored(order_id, status="RETURNED")
    assert shop.recover() == 0
    assert said(shop) == [("WARNING", "order cannot be read by this release", {"orderId": order_id})]


# --- why a message is retried, or a request is not answered ---


def reasons(shop: Shop) -> list[str]:
    return [keys["reason"] for _, _, keys in said(shop, "message will be retried")]


@pytest.mark.parametrize(
    ("operation", "code", "reason"),
    [
        ("TransactWriteItems", "InternalServerError", "TransactWriteItems: InternalServerError"),
        ("TransactWriteItems", "TransactionConflictException", "conflict"),
        ("UpdateItem", "ValidationException", "UpdateItem: ValidationException"),
        ("PutEvents", "InternalException", "PutEvents: InternalException"),
    ],
)
def test_a_call_that_fails_is_named(shop: Shop, operation: str, code: str, reason: str) -> None:
    place(shop)
    status = 400 if code in ("TransactionConflictException", "ValidationException") else 500
    shop.calls.refuse(code, operation, status=status, times=None)
    assert shop.run_queue() == 1
    assert reasons(shop) == [reason]


def test_a_catalogue_that_cannot_be_read_is_named(shop: Shop) -> None:
    shop.produce(shop.event("ORD-1"), shop.event("ORD-2"))
    shop.calls.refuse("InternalServerError", "BatchGetItem", status=500, times=None)
    assert shop.run_queue() == 1
    assert reasons(shop) == ["BatchGetItem: InternalServerError"] * 2
    assert shop.orders() == []


def test_an_order_that_is_gone_again_before_each_reservation_is_still_pending(shop: Shop) -> None:
    order_id = place(shop)
    shop.calls.meanwhile(lambda: forget_order(shop.stage, order_id), "TransactWriteItems", times=None)
    assert shop.run_queue() == 1
    assert (reasons(shop), shop.status(order_id)) == (["still PENDING"], "PENDING")
    assert len(shop.calls.of("TransactWriteItems")) == 4


def test_an_order_that_is_another_one_when_it_is_confirmed_is_still_reserved(shop: Shop) -> None:
    order_id = place(shop)

    def created_again() -> None:
        shop.change_stored(order_id, paymentKey=fresh_payment_key(order_id))

    shop.calls.meanwhile(created_again, "UpdateItem")
    assert shop.run_queue() == 1
    assert (reasons(shop), shop.status(order_id)) == (["still RESERVED"], "RESERVED")


def test_a_refund_without_an_answer_and_an_entry_that_cannot_be_removed_are_named(shop: Shop) -> None:
    order_id = confirmed(shop)
    shop.cancel(order_id)
    shop.payments.on("refund", TimesOut.BEFORE)
    shop.calls.refuse("ValidationException", "UpdateItem", nth=1)
    assert shop.run_queue() == 1
    shop.come_again()
    assert shop.run_queue() == 1
    assert reasons(shop) == [f"refund of {order_id} timed out", "UpdateItem: ValidationException"]


def test_what_another_release_wrote_is_named(shop: Shop) -> None:
    order_id = place(shop)
    shop.change_stored(order_id, fingerprint="v9:" + "0" * 64)
    assert shop.run_queue() == 1
    assert shop.post(shop.order(), "k1").status == 503
    text = "\"the fingerprint's version 'v9' is unknown to this release\""
    assert reasons(shop) == [text]
    assert [keys["reason"] for _, _, keys in said(shop, "unavailable")] == [text]


@pytest.mark.parametrize("faulty", [False, True], ids=["before the first step", "after a fault that nobody expected"])
def test_time_that_is_up_is_named(shop: Shop, monkeypatch: pytest.MonkeyPatch, faulty: bool) -> None:
    shop.produce(shop.event("ORD-1"), shop.event("ORD-2"))
    context = FakeLambdaContext()

    def fulfil(*_: object) -> None:
        context.remaining_ms = 0
        raise RuntimeError("a mistake in the program")

    if faulty:
        monkeypatch.setattr(Fulfilment, "fulfil", fulfil)
    messages = shop.receive()
    remaining = iter([10_000])
    if not faulty:
        monkeypatch.setattr(context, "get_remaining_time_in_millis", lambda: next(remaining, 0))
    assert not shop.consume(messages, context=context)
    assert reasons(shop) == ["no time left"] * 2


def test_of_two_different_orders_with_one_id_in_a_batch_one_waits(shop: Shop) -> None:
    shop.produce(shop.event("ORD-1"), shop.event("ORD-1", quantity=2))
    assert shop.run_queue() == 1
    assert reasons(shop) == ["another order with this id is in the same batch"]


@pytest.mark.parametrize("verb", ["place", "cancel", "fill in"])
def test_a_request_that_cannot_be_written_says_so_in_the_log(shop: Shop, verb: str) -> None:
    order_id = confirmed(shop)
    if verb == "fill in":
        shop.ship(order_id)
    forget(shop)
    for operation in ("PutItem", "UpdateItem", "TransactWriteItems"):
        shop.calls.refuse("InternalServerError", operation, status=500, times=None)
    ask = {
        "place": lambda: shop.post(shop.order(), "k2"),
        "cancel": lambda: shop.cancel(order_id),
        "fill in": lambda: shop.ship(order_id, carrier="UPS"),
    }
    assert ask[verb]().status == 503
    operation = {"place": "PutItem", "cancel": "TransactWriteItems", "fill in": "UpdateItem"}[verb]
    what = "stored" if verb == "place" else "changed"
    ((level, _, keys),) = said(shop, "unavailable")
    assert level == "WARNING"
    assert keys["reason"] == f"the order could not be {what}: Retryable(reason='{operation}: InternalServerError')"
