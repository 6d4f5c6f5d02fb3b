"""Cancel, ship, deliver through the API: what each does from each status, however often it is asked for."""

from typing import Any

import pytest

from chalicelib.domain.order import Status
from tests.support.customer import Reply
from tests.support.orders import standing
from tests.support.payments import TimesOut
from tests.support.shop import STOCK, Shop
from tests.support.tables import forget_order, store

# What each verb comes to from each status: the status afterwards. Any other verb is refused.
TABLE: dict[Status, dict[str, str]] = {
    Status.PENDING: {"cancel": "CANCELLED"},
    Status.RESERVED: {"cancel": "CANCELLED"},
    Status.CONFIRMED: {"ship": "SHIPPED", "cancel": "CANCELLED"},
    Status.SHIPPED: {"ship": "SHIPPED", "deliver": "DELIVERED"},
    Status.DELIVERED: {"ship": "DELIVERED", "deliver": "DELIVERED"},
    Status.FAILED: {},
    Status.CANCELLED: {"cancel": "CANCELLED"},
}
VERBS = ["cancel", "ship", "deliver"]
BEFORE = {"cancel": Status.CONFIRMED, "ship": Status.CONFIRMED, "deliver": Status.SHIPPED}
UNITS = 3


@pytest.fixture
def shop(small_shop: Shop) -> Shop:
    return small_shop


def stored(shop: Shop, status: Status) -> dict[str, Any]:
    """The order o1 of this status, past the code under test, and nothing has been called yet."""
    store(shop.stage, standing(status))
    shop.calls.forget()
    return shop.stored("o1")


def placed(shop: Shop, status: str) -> str:
    """An order of 3 p1 that came to this status by itself; RESERVED, its payment timed out."""
    order_id = shop.place(shop.order("p1", UNITS), "k1").order_id
    if status == "RESERVED":
        shop.payments.on("charge", TimesOut.BEFORE, times=None)
        shop.run_queue()
        shop.payments.over()
    elif status != "PENDING":
        shop.drain()
    assert shop.status(order_id) == status
    if status != "PENDING":
        shop.lose_messages()
    shop.calls.forget()
    return order_id


def refused(reply: Reply) -> str:
    """The status of the order, as the refusal has it."""
    assert (reply.status, reply.kind) == (409, "transition-not-possible")
    return str(reply.json["orderStatus"])


def answered(reply: Reply) -> tuple[int, bytes]:
    """Status and body, byte for byte, but for the correlation id that a problem has in it: each request has its own."""
    return reply.status, reply.body.replace(reply.headers["x-correlation-id"].encode(), b"ID")


def ask(shop: Shop, verb: str, body: Any) -> Reply:
    return shop.ask("POST", f"/orders/o1/{verb}", body, {"Content-Type": "application/json"})


# --- every status, every verb ---


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("status", Status)
def test_each_verb_does_from_each_status_what_the_table_says_once(shop: Shop, status: Status, verb: str) -> None:
    before = stored(shop, status)
    reply = shop.act(verb, "o1")
    after = shop.stored("o1")
    if target := TABLE[status].get(verb):
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        assert reply.json["status"] == after["status"] == target
    else:
        assert refused(reply) == status
        assert reply.json["status"] == 409, "a number: RFC 9457, section 3.1.2"
        possible = [name for name, leads_to in TABLE[status].items() if leads_to != status]
        assert reply.json["possible"] == possible
        assert all(word in reply.json["detail"] for word in [status, *(possible or ["none"])])
    if target in (None, status):
        assert after == before, "nothing is written"

    shop.calls.forget()
    assert answered(shop.act(verb, "o1")) == answered(reply)
    assert shop.calls.operations() == ["GetItem"]
    assert shop.stored("o1") == after


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("goes", ["long ago", "just before the write"])
def test_an_order_that_does_not_exist_is_not_found(shop: Shop, verb: str, goes: str) -> None:
    if goes == "just before the write":
        stored(shop, BEFORE[verb])
        write = "TransactWriteItems" if verb == "cancel" else "UpdateItem"
        shop.calls.meanwhile(lambda: forget_order(shop.stage, "o1"), write)
    reply = shop.act(verb, "o1")
    assert (reply.status, reply.kind, shop.orders()) == (404, "order-not-found", [])


@pytest.mark.parametrize(
    ("verb", "operation"),
    [(verb, "GetItem") for verb in VERBS]
    + [("cancel", "TransactWriteItems"), ("ship", "UpdateItem"), ("deliver", "UpdateItem")],
)
def test_what_cannot_be_written_now_is_unavailable_changes_nothing_and_can_be_retried(
    shop: Shop, verb: str, operation: str
) -> None:
    before = stored(shop, BEFORE[verb])
    shop.calls.drop_request(operation, attempts=None, times=None)
    reply = shop.act(verb, "o1")
    assert (reply.status, reply.kind) == (503, "unavailable")
    assert reply.headers["retry-after"]
    assert (shop.stored("o1"), shop.stock("p1")) == (before, STOCK)
    shop.calls.heal()
    assert shop.act(verb, "o1").status == 200


# --- cancel ---


@pytest.mark.parametrize(
    ("status", "write", "in_the_end"),
    [
        ("PENDING", "UpdateItem", "NONE"),
        ("RESERVED", "TransactWriteItems", "NONE"),
        ("CONFIRMED", "TransactWriteItems", "DONE"),
    ],
)
def test_a_cancelled_order_has_its_stock_back_at_once_and_its_money_later(
    shop_of_each_engine: Shop, status: str, write: str, in_the_end: str
) -> None:
    """However often it is cancelled, also after the refund: the same bytes, and nothing more is given back."""
    shop = shop_of_each_engine
    order_id = placed(shop, status)
    assert "refund" not in shop.document(order_id)
    shop.calls.forget()
    first = shop.cancel(order_id, "changed my mind")
    assert shop.calls.operations() == ["GetItem", write, "SendMessage"]
    assert (first.status, first.json["reason"], first.json["refund"]) == (200, "changed my mind", "PENDING")
    assert (shop.document(order_id)["refund"], shop.stock("p1")) == ("PENDING", STOCK)
    for _ in range(2):
        shop.clock.advance(seconds=10)
        for reason in (None, "another reason"):
            assert answered(shop.cancel(order_id, reason)) == answered(first)
        shop.drain()
        assert (shop.document(order_id)["refund"], shop.stock("p1")) == (in_the_end, STOCK)
    assert shop.ledger().get(order_id) != "CHARGED"


def test_a_cancel_that_meets_a_step_of_fulfilment_goes_on_from_there(shop_of_each_engine: Shop) -> None:
    """Read as PENDING, reserved a moment later: refused, and cancelled from there, with the stock of that record."""
    shop = shop_of_each_engine
    order_id = placed(shop, "PENDING")
    orders = shop.stage["ORDERS_TABLE"]
    shop.calls.meanwhile(shop.drain, "UpdateItem", when=lambda call: call.params["TableName"] == orders)
    assert shop.cancel(order_id).json["refund"] == "PENDING"
    assert shop.path(order_id) == ["PENDING", "RESERVED", "CONFIRMED", "CANCELLED"]
    assert shop.stock("p1") == STOCK
    shop.drain()
    assert shop.document(order_id)["refund"] == "DONE"


def test_a_cancel_that_comes_too_late_by_a_moment_is_refused(shop: Shop) -> None:
    stored(shop, Status.CONFIRMED)
    shop.calls.meanwhile(lambda: shop.ship("o1"), "TransactWriteItems")
    assert refused(shop.cancel("o1")) == "SHIPPED"
    assert shop.stock("p1") == STOCK


def test_two_cancels_at_once_give_back_once_and_answer_the_same(shop: Shop) -> None:
    order_id = placed(shop, "CONFIRMED")
    inner: list[Reply] = []
    shop.calls.meanwhile(lambda: inner.append(shop.cancel(order_id, "one")), "TransactWriteItems")
    assert answered(shop.cancel(order_id, "two")) == answered(inner[0])
    assert inner[0].json["reason"] == "one"
    assert shop.stock("p1") == STOCK


def test_a_cancel_whose_answer_was_lost_gives_back_once(shop: Shop) -> None:
    order_id = placed(shop, "CONFIRMED")
    # moto ignores request tokens: botocore's retry is another transaction, which the order's own condition refuses.
    shop.calls.lose_answer("TransactWriteItems")
    assert shop.cancel(order_id).status == 200
    assert shop.stock("p1") == STOCK


# --- bodies ---


@pytest.mark.parametrize("reason", [None, "too dear", "", "x" * 256, "zu spät – 太晚"], ids=str)
def test_the_reason_of_a_cancellation_is_kept_as_it_was_given(shop: Shop, reason: str | None) -> None:
    stored(shop, Status.PENDING)
    reply = ask(shop, "cancel", {} if reason is None else {"reason": reason})
    assert reply.json.get("reason") == shop.document("o1")["history"][-1].get("reason") == reason


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        *(("cancel", {"reason": reason}) for reason in (1, None, "x" * 257, "a\u0000b")),
        ("cancel", {"why": "typo"}),
        ("cancel", ["reason"]),
        ("ship", {"carrier": ""}),
        ("ship", {"trackingNumber": 12}),
        ("ship", {"carrier": "x" * 257}),
        ("ship", {"tracking": "typo"}),
    ],
)
def test_an_invalid_body_is_refused_and_changes_nothing(shop: Shop, verb: str, body: Any) -> None:
    before = stored(shop, Status.CONFIRMED)
    reply = ask(shop, verb, body)
    assert (reply.status, reply.kind) == (400, "invalid-request")
    assert reply.json["errors"]
    assert (shop.stored("o1"), shop.stock("p1")) == (before, STOCK)
