"""The steps of one order as tasks of the state machine: what each comes to, what it raises, what people can read."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.domain.order import Status
from tests.support.aws_calls import AwsCalls
from tests.support.conservation import check_conserved
from tests.support.events import Clock
from tests.support.orders import standing
from tests.support.payments import TimesOut
from tests.support.shop import STOCK, Shop, opened
from tests.support.stage import Stage
from tests.support.tables import books_in, forget_order, store

STEPS = ("reserve", "charge", "confirm", "decline", "complete")


@pytest.fixture
def shop(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> Iterator[Shop]:
    with opened(aws, aws_calls, clock, settings={"ENGINE": "step-functions"}) as shop:
        shop.machine.aborts_after = lambda: 0  # the tests take the steps themselves
        yield shop


def place(shop: Shop, units: int = 1, key: str = "k1", **fields: Any) -> str:
    return shop.place(shop.order("p1", units, customerId=key, **fields), key).order_id


def take(shop: Shop, step: str, order_id: str, **ids: str) -> str:
    """The outcome of a step."""
    key = shop.stored(order_id)["paymentKey"]
    row = books_in(shop.stage).get(key, {"paymentId": "pay-1"})
    payment = {"paymentId": row.get("paymentId", "pay-1")} if step == "confirm" else {}
    answer = shop.step({"step": step, "orderId": order_id, "paymentKey": key, **payment, **ids})
    assert answer.keys() == {"outcome", "paymentId"}
    assert (answer["paymentId"] is not None) == (answer["outcome"] == "CHARGED")
    return str(answer["outcome"])


# --- what a step comes to ---


def test_an_order_goes_step_by_step_and_has_an_entry_until_the_last_one_is_done(shop: Shop) -> None:
    order_id = place(shop)
    outcomes = []
    for step in ("reserve", "charge", "confirm", "complete"):
        assert shop.has_entry(order_id)
        outcomes.append(take(shop, step, order_id))
    assert outcomes == ["RESERVED", "CHARGED", "CONFIRMED", "CONFIRMED"]
    assert (shop.has_entry(order_id), shop.published_of(order_id)) == (False, shop.owed(order_id))


def test_a_declined_order_fails_with_the_providers_reason_and_gives_back_what_it_took(shop: Shop) -> None:
    order_id = place(shop)
    shop.provider.decline_percent = 100
    outcomes = [take(shop, step, order_id) for step in ("reserve", "charge", "decline")]
    assert (outcomes, shop.has_entry(order_id)) == (["RESERVED", "DECLINED", "FAILED"], True)
    assert take(shop, "complete", order_id) == "FAILED"
    stored = shop.stored(order_id)
    assert (stored["failureReason"], stored["history"][-1]["reason"]) == (
        "PAYMENT_DECLINED",
        "the payment is declined",
    )
    assert (shop.stock("p1"), shop.has_entry(order_id)) == (STOCK, False)


def test_an_order_out_of_stock_fails_at_once_and_keeps_its_entry_for_its_event(shop: Shop) -> None:
    order_id = place(shop, STOCK + 1)
    assert (take(shop, "reserve", order_id), shop.has_entry(order_id)) == ("FAILED", True)
    assert (take(shop, "complete", order_id), shop.has_entry(order_id)) == ("FAILED", False)


def test_a_step_that_comes_late_passes_on_the_status_and_writes_nothing(shop: Shop) -> None:
    for status in (Status.CONFIRMED, Status.SHIPPED, Status.DELIVERED, Status.FAILED, Status.CANCELLED):
        store(shop.stage, standing(status))
        shop.calls.forget()
        assert [take(shop, step, "o1") for step in STEPS[:4]] == [status] * 4
        assert (shop.calls.operations(), shop.payments.asked) == (["GetItem"] * 4, [])


@pytest.mark.parametrize("at", range(4))
def test_a_cancel_between_any_two_steps_is_refunded_by_the_last_one(shop: Shop, at: int) -> None:
    order_id = place(shop)
    for number, step in enumerate(("reserve", "charge", "confirm", "complete")):
        if number == at:
            assert shop.cancel(order_id).status == 200
        outcome = take(shop, step, order_id)
    assert outcome == "CANCELLED"
    assert shop.stored(order_id)["refund"] == ("DONE" if at >= 2 else "NONE")
    assert check_conserved(shop.stage, {"p1": STOCK}, {order_id}) == {"CANCELLED": 1}


def test_every_step_may_be_taken_twice(shop: Shop) -> None:
    order_id = place(shop)
    outcomes = [take(shop, step, order_id) for step in ("reserve", "charge", "confirm", "complete") for _ in range(2)]
    assert outcomes == ["RESERVED"] * 2 + ["CHARGED"] * 2 + ["CONFIRMED"] * 4
    assert check_conserved(shop.stage, {"p1": STOCK}, {order_id}) == {"CONFIRMED": 1}


# --- what is tried again, and what is not ---


@pytest.mark.parametrize(
    ("step", "operation", "reason"),
    [
        ("reserve", "GetItem", "GetItem: InternalServerError"),
        ("reserve", "TransactWriteItems", "TransactWriteItems: InternalServerError"),
        ("confirm", "UpdateItem", "UpdateItem: InternalServerError"),
        ("complete", "PutEvents", "PutEvents: InternalServerError"),
    ],
)
def test_what_may_pass_is_raised_with_its_reason(shop: Shop, step: str, operation: str, reason: str) -> None:
    order_id = place(shop)
    for before in STEPS[: STEPS.index(step)]:
        if before != "decline":
            take(shop, before, order_id)
    shop.calls.refuse("InternalServerError", operation, status=500)
    with pytest.raises(Exception, match=f"^{reason}$") as raised:
        take(shop, step, order_id)
    assert type(raised.value).__name__ == "TryAgain"
    line = json.loads(shop.lines[-1])
    assert (line["level"], line["message"], line["reason"]) == ("WARNING", "step will be tried again", reason)
    assert (line["orderId"], line["step"]) == (order_id, step)
    shop.calls.heal()
    take(shop, step, order_id)


def test_an_unknown_payment_is_asked_for_again_and_is_not_a_decline(shop: Shop) -> None:
    order_id = place(shop)
    take(shop, "reserve", order_id)
    shop.payments.on("charge", TimesOut.AFTER)
    with pytest.raises(Exception, match="timed out"):
        take(shop, "charge", order_id)
    assert (shop.status(order_id), take(shop, "charge", order_id)) == ("RESERVED", "CHARGED")


def test_an_order_that_has_not_come_so_far_is_not_completed(shop: Shop) -> None:
    order_id = place(shop)
    with pytest.raises(Exception, match=r"^still PENDING$"):
        take(shop, "complete", order_id)
    assert (shop.has_entry(order_id), shop.published()) == (True, [])


def test_an_unexpected_fault_shows_its_kind_and_not_its_text(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    order_id = place(shop)

    def mistaken(*_: object) -> None:
        raise RuntimeError("Jane Doe, 1 Main Street")

    monkeypatch.setattr(type(shop.service.orders), "get", mistaken)
    with pytest.raises(Exception, match=r"^an unexpected fault: RuntimeError$") as raised:
        take(shop, "charge", order_id)
    assert raised.value.__suppress_context__
    assert shop.metrics["UnexpectedFaults"] == 1
    line = json.loads(shop.lines[-1])
    assert (line["level"], line["message"], line["orderId"], line["step"]) == (
        "ERROR",
        "step failed",
        order_id,
        "charge",
    )


def test_an_order_that_is_gone_is_never(shop: Shop) -> None:
    for step in STEPS[:4]:
        ids = {"orderId": "gone", "paymentKey": "k", **({"paymentId": "pay-1"} if step == "confirm" else {})}
        assert shop.step({"step": step, **ids}) == {"outcome": "NEVER", "paymentId": None}
        line = json.loads(shop.lines[-1])
        assert (line["message"], line["reason"]) == ("execution given up", "there is no such order")


def test_the_last_step_raises_for_an_order_that_is_gone_since_no_choice_follows_it(shop: Shop) -> None:
    with pytest.raises(Exception, match=r"^there is no such order$"):
        shop.step({"step": "complete", "orderId": "gone", "paymentKey": "k"})


def test_an_earlier_orders_execution_does_nothing_to_a_later_one_with_its_id(shop: Shop) -> None:
    order_id = place(shop)
    shop.calls.forget()
    earlier = f"{order_id}.00000000-0000-4000-8000-000000000000"
    assert [take(shop, step, order_id, paymentKey=earlier) for step in STEPS] == ["DONE"] * 5
    assert (shop.calls.of("UpdateItem"), shop.calls.of("TransactWriteItems"), shop.payments.asked) == ([], [], [])


def test_an_order_that_goes_while_its_stock_is_taken_is_not_created_again(shop: Shop) -> None:
    order_id = place(shop)
    shop.calls.meanwhile(lambda: forget_order(shop.stage, order_id), "TransactWriteItems")
    assert shop.step({"step": "reserve", "orderId": order_id, "paymentKey": shop.stored(order_id)["paymentKey"]}) == {
        "outcome": "DONE",
        "paymentId": None,
    }
    assert shop.orders() == []


# --- what people can read ---

SECRETS = {
    "customerId": "Jane-Doe-of-Main-Street",
    "shippingAddress": {"street": "1 Secret Street", "city": "Hidden City", "country": "Nowhere"},
    "paymentMethod": "pm_of_jane_doe",
}
ENDS = ("charged", "declined", "out of stock", "silent", "dropped", "unexpected")


def test_a_history_shows_ids_and_outcomes_and_nothing_else(shop: Shop) -> None:
    """Whatever becomes of the orders: inputs, outputs and errors of executions can be read for 90 days."""
    shop.machine.aborts_after = lambda: None
    for end in ENDS:
        units = STOCK * 7 if end == "out of stock" else 7
        assert shop.post(shop.order("p1", units, **SECRETS), end.replace(" ", "-")).status == 201
        shop.provider.decline_percent = 100 if end == "declined" else 0
        if end == "silent":
            shop.payments.on("charge", TimesOut.BEFORE, times=None)
        if end == "dropped":
            shop.calls.refuse("InternalServerError", "UpdateItem", status=500, times=None)
        with pytest.MonkeyPatch.context() as patch:
            if end == "unexpected":
                patch.setattr(type(shop.service.fulfilment.payments), "charge", _mistaken)
            shop.run_queue()
        shop.payments.over()
        shop.calls.heal()
    executions = shop.machine.executions.values()
    assert [execution.status for execution in executions] == ["SUCCEEDED"] * 3 + ["FAILED"] * 3
    for text in (text for execution in executions for text in execution.shown):
        assert not any(secret in text for secret in ("Jane", "Secret", "Hidden", "Nowhere", "pm_of", '"p1"', "70.00"))
        if text.startswith("{"):
            _check_ids(json.loads(text))
        else:
            assert re.fullmatch(f"TryAgain: ({'|'.join(_ERRORS)})", text), text


_ERRORS = ("charge of [0-9a-f-]{36} timed out", "UpdateItem: InternalServerError", "an unexpected fault: RuntimeError")


def _mistaken(_: object, orders: Any, *_more: object) -> Any:
    raise RuntimeError(f"a mistake with {orders}")


def _check_ids(shown: dict[str, Any]) -> None:
    for name, value in shown.items():
        match name:
            case "orderId" | "paymentKey" | "paymentId":
                assert re.fullmatch(r"(pay-)?[0-9a-f-]{36}(\.[0-9a-f-]{36})?", value or "0" * 36), value
            case "outcome":
                assert value in {*Status, "CHARGED", "DECLINED"}
            case "step":
                assert value in STEPS
            case "reserve" | "charge":
                _check_ids(value)
            case _:
                raise AssertionError(f"{name} is shown")
