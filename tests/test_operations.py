"""Cancel, ship, deliver through the API: what each does from each status, however often it is asked for."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from chalice.test import HTTPResponse

from chalicelib import clients
from chalicelib.order import Status
from chalicelib.simulated_payments import TimesOut
from tests.support.aws_calls import AwsCalls
from tests.support.events import Clock
from tests.support.stage import Stage
from tests.support.till import Till, open_till

# What each verb comes to from each status: the status afterwards, or 409.
TABLE: dict[str, dict[str, str | int]] = {
    "PENDING": {"cancel": "CANCELLED", "ship": 409, "deliver": 409},
    "RESERVED": {"cancel": "CANCELLED", "ship": 409, "deliver": 409},
    "CONFIRMED": {"cancel": "CANCELLED", "ship": "SHIPPED", "deliver": 409},
    "SHIPPED": {"cancel": 409, "ship": "SHIPPED", "deliver": "DELIVERED"},
    "DELIVERED": {"cancel": 409, "ship": "DELIVERED", "deliver": "DELIVERED"},
    "FAILED": {"cancel": 409, "ship": 409, "deliver": 409},
    "CANCELLED": {"cancel": "CANCELLED", "ship": 409, "deliver": 409},
}
POSSIBLE = {
    "PENDING": ["cancel"],
    "RESERVED": ["cancel"],
    "CONFIRMED": ["ship", "cancel"],
    "SHIPPED": ["deliver"],
    "DELIVERED": [],
    "FAILED": [],
    "CANCELLED": [],
}
STOCK = 100
UNITS = 3


@pytest.fixture
def till(aws: Stage, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Till:
    return open_till(aws, clock, monkeypatch, stock=STOCK)


@pytest.fixture
def calls(till: Till, aws_calls: AwsCalls) -> AwsCalls:
    return aws_calls.watch(clients.dynamodb(), clients.sqs(), clients.events())


def an_order_that_is(status: str, till: Till, key: str = "k1") -> str:
    """An order of 3 p1 that came to this status through the app; nothing is left to do for it."""
    if status == "FAILED":
        till.provider.decline_percent = 100
    order_id = till.place(key, {"p1": UNITS})
    if status == "PENDING":
        return order_id
    if status == "RESERVED":
        till.troubles.on("charge", TimesOut.BEFORE)
        messages = till.stage.receive("ORDER_QUEUE")
        assert not till.consume(messages)
        for message in messages:
            till.stage.delete("ORDER_QUEUE", message)
        return order_id
    till.work()
    for verb in {"SHIPPED": ["ship"], "DELIVERED": ["ship", "deliver"], "CANCELLED": ["cancel"]}.get(status, []):
        assert till.post(f"/orders/{order_id}/{verb}").status_code == 200
    till.work()
    assert till.status(order_id) == status
    return order_id


def problem(answer: HTTPResponse) -> dict[str, Any]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(answer.body)
    return body


def order_status(body: dict[str, Any]) -> str:
    """The state that a refused order is in, as its problem says."""
    return str(body["orderStatus"])


# --- every status, every verb ---


@pytest.mark.parametrize("verb", ["cancel", "ship", "deliver"])
@pytest.mark.parametrize("status", list(Status))
def test_each_verb_does_from_each_status_what_the_table_says(till: Till, status: Status, verb: str) -> None:
    order_id = an_order_that_is(status, till)
    before = till.stored(order_id)
    outcome = TABLE[status][verb]
    answer = till.post(f"/orders/{order_id}/{verb}")

    if outcome == 409:
        assert answer.status_code == 409
        body = problem(answer)
        assert body["type"].endswith("/transition-not-possible")
        assert (order_status(body), body["possible"]) == (status, POSSIBLE[status])
        assert status in body["detail"]
        assert all(possible in body["detail"] for possible in body["possible"] or ["nothing"])
        assert till.stored(order_id) == before
    else:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json_body["status"] == till.status(order_id) == outcome
        if outcome == status:
            assert till.stored(order_id) == before, "it was there already: nothing is written"


@pytest.mark.parametrize("verb", ["cancel", "ship", "deliver"])
def test_an_order_that_does_not_exist_is_not_found(till: Till, verb: str) -> None:
    answer = till.post(f"/orders/nobody/{verb}")
    assert answer.status_code == 404
    assert problem(answer)["type"].endswith("/order-not-found")
    assert till.stage.items("ORDERS_TABLE") == []


@pytest.mark.parametrize("verb", ["cancel", "ship", "deliver"])
def test_asked_again_the_answer_is_the_same_and_nothing_is_written(till: Till, calls: AwsCalls, verb: str) -> None:
    order_id = an_order_that_is("SHIPPED" if verb == "deliver" else "CONFIRMED", till)
    first = till.post(f"/orders/{order_id}/{verb}")
    stored = till.stored(order_id)
    calls.forget()
    again = till.post(f"/orders/{order_id}/{verb}")
    assert (first.status_code, first.body) == (again.status_code, again.body)
    assert till.stored(order_id) == stored
    assert calls.operations() == ["GetItem"]


def test_the_status_of_a_problem_is_the_http_status(till: Till) -> None:
    """RFC 9457, section 3.1.2: `status` is a number, the HTTP status code."""
    body = problem(till.cancel(an_order_that_is("SHIPPED", till)))
    assert body["status"] == 409
    assert body["orderStatus"] == "SHIPPED"


# --- cancel ---


@pytest.mark.parametrize("status", ["PENDING", "RESERVED", "CONFIRMED"])
def test_cancelling_twice_gives_the_same_bytes_also_after_the_refund(till: Till, clock: Clock, status: str) -> None:
    order_id = an_order_that_is(status, till)
    first = till.cancel(order_id, "changed my mind")
    answers = [first]
    for _ in range(2):
        clock.advance(seconds=10)
        answers += [till.cancel(order_id), till.cancel(order_id, "another reason")]
        till.work()
    assert {answer.body for answer in answers} == {first.body}
    assert {answer.status_code for answer in answers} == {200}
    assert first.json_body["reason"] == "changed my mind"
    assert till.stock() == STOCK


@pytest.mark.parametrize("status", ["RESERVED", "CONFIRMED"])
def test_the_stock_is_back_in_the_same_transaction(till: Till, calls: AwsCalls, status: str) -> None:
    order_id = an_order_that_is(status, till)
    assert till.stock() == STOCK - UNITS
    calls.forget()
    assert till.cancel(order_id).status_code == 200
    assert till.stock() == STOCK
    assert calls.operations() == ["GetItem", "TransactWriteItems", "SendMessage"]
    tables = [next(iter(action.values()))["TableName"] for action in _written(calls)]
    assert tables == [till.stage["ORDERS_TABLE"], till.stage["INVENTORY_TABLE"]]


@pytest.mark.parametrize("status", ["RESERVED", "CONFIRMED"])
def test_a_cancellation_that_is_refused_gives_nothing_back(till: Till, calls: AwsCalls, status: str) -> None:
    order_id = an_order_that_is(status, till)
    calls.drop_request("TransactWriteItems", attempts=None)
    assert till.cancel(order_id).status_code == 503
    assert till.stock() == STOCK - UNITS
    assert till.status(order_id) == status


def test_an_order_that_took_nothing_gives_nothing_back(till: Till) -> None:
    order_id = an_order_that_is("PENDING", till)
    assert till.cancel(order_id).status_code == 200
    till.work()
    assert till.stock() == STOCK


def test_a_cancel_that_meets_a_step_of_fulfilment_goes_on_from_what_stands(till: Till, calls: AwsCalls) -> None:
    """Read as PENDING, reserved a moment later: refused, and cancelled from there, with the stock of that record."""
    order_id = an_order_that_is("PENDING", till)
    calls.meanwhile(till.work, "UpdateItem", when=lambda call: call.params["TableName"] == till.stage["ORDERS_TABLE"])
    assert till.cancel(order_id).json_body["refund"] == "PENDING"
    assert till.path(order_id) == ["PENDING", "RESERVED", "CONFIRMED", "CANCELLED"]
    assert till.stock() == STOCK
    till.work()
    assert till.get(order_id)["refund"] == "DONE"


def test_a_cancel_that_comes_too_late_by_a_moment_is_refused(till: Till, calls: AwsCalls) -> None:
    order_id = an_order_that_is("CONFIRMED", till)
    calls.meanwhile(lambda: till.ship(order_id), "TransactWriteItems")
    answer = till.cancel(order_id)
    assert answer.status_code == 409
    assert order_status(problem(answer)) == "SHIPPED"
    assert till.stock() == STOCK - UNITS


def test_two_cancels_at_once_give_back_once_and_answer_the_same(till: Till, calls: AwsCalls) -> None:
    order_id = an_order_that_is("CONFIRMED", till)
    inner: list[HTTPResponse] = []
    calls.meanwhile(lambda: inner.append(till.cancel(order_id, "one")), "TransactWriteItems")
    outer = till.cancel(order_id, "two")
    assert outer.body == inner[0].body
    assert outer.json_body["reason"] == "one"
    assert till.stock() == STOCK


def test_a_cancel_whose_answer_was_lost_gives_back_once(till: Till, calls: AwsCalls) -> None:
    order_id = an_order_that_is("CONFIRMED", till)
    # moto ignores request tokens: botocore's retry is another transaction, which the order's own condition refuses.
    calls.lose_answer("TransactWriteItems")
    assert till.cancel(order_id).status_code == 200
    assert till.stock() == STOCK


@pytest.mark.parametrize(
    ("status", "at_once", "in_the_end"),
    [("PENDING", "NONE", "NONE"), ("RESERVED", "PENDING", "NONE"), ("CONFIRMED", "PENDING", "DONE")],
)
def test_what_becomes_of_the_money_is_visible(till: Till, status: str, at_once: str, in_the_end: str) -> None:
    order_id = an_order_that_is(status, till)
    assert "refund" not in till.get(order_id)
    assert till.cancel(order_id).json_body["refund"] == at_once
    assert till.get(order_id)["refund"] == at_once
    till.work()
    assert till.get(order_id)["refund"] == in_the_end
    assert till.ledger().get(order_id, "none") != "CHARGED"


def test_a_refund_of_which_nothing_is_known_stays_pending(till: Till) -> None:
    order_id = an_order_that_is("CONFIRMED", till)
    till.cancel(order_id)
    till.troubles.on("refund", TimesOut.AFTER)
    messages = till.stage.receive("ORDER_QUEUE")
    assert not till.consume(messages)
    assert till.get(order_id)["refund"] == "PENDING"
    till.show_again(messages)
    till.work()
    assert till.get(order_id)["refund"] == "DONE"


def test_a_cancel_leaves_a_message_and_a_mark_so_a_crash_in_between_loses_nothing(
    till: Till, calls: AwsCalls, clock: Clock
) -> None:
    order_id = an_order_that_is("CONFIRMED", till)
    calls.drop_request("SendMessage", attempts=None)
    assert till.cancel(order_id).status_code == 200
    assert till.marked(order_id)
    assert till.stage.receive("ORDER_QUEUE") == []
    clock.advance(seconds=61)
    till.recover()
    till.work()
    assert till.get(order_id)["refund"] == "DONE"
    assert not till.marked(order_id)


# --- ship, deliver ---


def test_carrier_and_tracking_number_are_kept_and_shown(till: Till) -> None:
    order_id = an_order_that_is("CONFIRMED", till)
    answer = till.ship(order_id, carrier="ACME", trackingNumber="1Z999")
    assert (answer.json_body["carrier"], answer.json_body["trackingNumber"]) == ("ACME", "1Z999")
    till.deliver(order_id)
    document = till.get(order_id)
    assert (document["status"], document["carrier"], document["trackingNumber"]) == ("DELIVERED", "ACME", "1Z999")


@pytest.mark.parametrize("again", [{}, {"carrier": "ACME"}, {"carrier": "ACME", "trackingNumber": "2"}])
@pytest.mark.parametrize("delivered", [False, True])
def test_shipping_again_otherwise_is_refused_and_changes_nothing(
    till: Till, again: dict[str, str], delivered: bool
) -> None:
    order_id = an_order_that_is("CONFIRMED", till)
    till.ship(order_id, carrier="ACME", trackingNumber="1")
    if delivered:
        till.deliver(order_id)
    stored = till.stored(order_id)
    assert till.ship(order_id, carrier="ACME", trackingNumber="1").status_code == 200
    answer = till.ship(order_id, **again)
    assert answer.status_code == 409
    assert order_status(problem(answer)) == ("DELIVERED" if delivered else "SHIPPED")
    assert till.stored(order_id) == stored


def test_of_two_shipments_at_once_one_is_told_that_it_was_not_its_own(till: Till, calls: AwsCalls) -> None:
    order_id = an_order_that_is("CONFIRMED", till)
    calls.meanwhile(lambda: till.ship(order_id, carrier="first"), "UpdateItem")
    assert till.ship(order_id, carrier="second").status_code == 409
    assert till.get(order_id)["carrier"] == "first"


def test_an_order_is_kept_for_good_while_its_goods_are_under_way_and_expires_after(till: Till) -> None:
    order_id = an_order_that_is("SHIPPED", till)
    assert "expiresAt" not in till.stored(order_id)
    till.deliver(order_id)
    assert "expiresAt" not in till.stored(order_id), "its event is still owed"
    till.work()
    assert till.stored(order_id)["expiresAt"] > 0


# --- bodies ---


@pytest.mark.parametrize("verb", ["cancel", "ship", "deliver"])
def test_the_body_may_be_left_out_or_empty(till: Till, verb: str) -> None:
    bodies: list[dict[str, str] | None] = [None, {}]
    for body in bodies:
        order_id = an_order_that_is("SHIPPED" if verb == "deliver" else "CONFIRMED", till, f"k{body}")
        assert till.post(f"/orders/{order_id}/{verb}", body).status_code == 200


REASONS = ["too dear", "", "x" * 256, "zu spät – 太晚"]


@pytest.mark.parametrize("reason", REASONS, ids=range(len(REASONS)))
def test_the_reason_of_a_cancellation_is_kept_as_it_was_given(till: Till, reason: str) -> None:
    order_id = an_order_that_is("PENDING", till)
    assert till.post(f"/orders/{order_id}/cancel", {"reason": reason}).json_body["reason"] == reason
    assert till.get(order_id)["history"][-1]["reason"] == reason


def test_a_cancellation_without_a_reason_shows_none(till: Till) -> None:
    order_id = an_order_that_is("PENDING", till)
    assert "reason" not in till.cancel(order_id).json_body
    assert "reason" not in till.get(order_id)["history"][-1]


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("cancel", {"reason": 1}),
        ("cancel", {"reason": None}),
        ("cancel", {"reason": "x" * 257}),
        ("cancel", {"reason": "a\u0000b"}),
        ("cancel", {"why": "typo"}),
        ("cancel", ["reason"]),
        ("ship", {"carrier": ""}),
        ("ship", {"trackingNumber": 12}),
        ("ship", {"carrier": "x" * 257}),
        ("ship", {"tracking": "typo"}),
    ],
)
def test_a_body_that_is_not_as_it_should_be_is_refused_and_changes_nothing(till: Till, verb: str, body: Any) -> None:
    order_id = an_order_that_is("CONFIRMED", till)
    answer = till.post(f"/orders/{order_id}/{verb}", body)
    assert answer.status_code == 400
    assert problem(answer)["errors"]
    assert till.status(order_id) == "CONFIRMED"
    assert till.stock() == STOCK - UNITS


# --- history ---


def test_the_history_has_each_status_with_its_time_and_reason_oldest_first(till: Till, clock: Clock) -> None:
    order_id = till.place()
    clock.advance(seconds=2)
    till.work()
    clock.advance(hours=1)
    till.cancel(order_id, "too late")
    assert till.get(order_id)["history"] == [
        {"status": "PENDING", "at": "2026-01-15T12:00:00.000Z"},
        {"status": "RESERVED", "at": "2026-01-15T12:00:02.000Z"},
        {"status": "CONFIRMED", "at": "2026-01-15T12:00:02.000Z"},
        {"status": "CANCELLED", "at": "2026-01-15T13:00:02.000Z", "reason": "too late"},
    ]


def test_the_history_is_bounded_by_the_life_cycle(till: Till) -> None:
    """However often everything is asked for: five statuses are the longest path there is."""
    order_id = an_order_that_is("CONFIRMED", till)
    asks: list[Callable[[str], HTTPResponse]] = [till.ship, till.deliver, till.cancel]
    for ask in asks * 3:
        ask(order_id)
        till.work()
    assert till.path(order_id) == ["PENDING", "RESERVED", "CONFIRMED", "SHIPPED", "DELIVERED"]


# --- when AWS is not there ---


@pytest.mark.parametrize("verb", ["cancel", "ship", "deliver"])
@pytest.mark.parametrize("operation", ["GetItem", "TransactWriteItems", "UpdateItem"])
def test_what_cannot_be_written_now_is_unavailable_and_can_be_asked_again(
    till: Till, calls: AwsCalls, verb: str, operation: str
) -> None:
    order_id = an_order_that_is("SHIPPED" if verb == "deliver" else "CONFIRMED", till)
    needed = operation == "GetItem" or (operation == "TransactWriteItems") == (verb == "cancel")
    calls.drop_request(operation, attempts=None, times=None)
    answer = till.post(f"/orders/{order_id}/{verb}")
    assert answer.status_code == (503 if needed else 200)
    if needed:
        assert problem(answer)
        assert answer.headers["Retry-After"]
    calls.heal()
    assert till.post(f"/orders/{order_id}/{verb}").status_code == 200


def _written(calls: AwsCalls) -> list[dict[str, Any]]:
    (transaction,) = calls.of("TransactWriteItems")
    actions: list[dict[str, Any]] = transaction.params["TransactItems"]
    return actions
