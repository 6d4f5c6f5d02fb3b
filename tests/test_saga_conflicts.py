"""Every write of the saga through what DynamoDB answers when many want the same items: conflicts and throttling.

No engine at hand raises these, so they are stubbed, as the DynamoDB Developer Guide ("Transaction conflict handling in
DynamoDB", "Error handling") has them.
"""

from collections.abc import Callable
from typing import Any

import pytest

from chalicelib import clients
from tests.support.aws_calls import AwsCalls, Call
from tests.support.events import Clock
from tests.support.stage import Stage
from tests.support.till import Till, check_conserved, open_till, stock_up

STOCK = 100
BEFORE = {"p1": STOCK, "p2": STOCK, "p3": STOCK}


@pytest.fixture
def till(aws: Stage, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Till:
    return open_till(aws, clock, monkeypatch, STOCK)


@pytest.fixture
def calls(till: Till, aws_calls: AwsCalls) -> AwsCalls:
    return aws_calls.watch(clients.dynamodb(), clients.sqs(), clients.events())


class Step:
    """One write of the saga: how to come to it, the call that makes it, and what stands after it.

    `stock`: it touches the product, so that it is a transaction also for one order.
    """

    def __init__(self, name: str, after: str, *, nth: int = 1, stock: bool = False) -> None:
        self.name, self.after, self.nth, self.stock = name, after, nth, stock


STEPS = {
    step.name: step
    for step in (
        Step("create", "CONFIRMED"),
        Step("reserve", "CONFIRMED", stock=True),
        Step("confirm", "CONFIRMED", nth=2),
        Step("reject", "FAILED", nth=2),
        Step("decline", "FAILED", nth=2, stock=True),
        Step("clear the mark", "CANCELLED", nth=2),
    )
}
REASONS = [("TransactionConflict", 5), ("ThrottlingError", 1), ("ProvisionedThroughputExceeded", 1)]


def ready(till: Till, step: Step, many: int) -> list[str]:
    """Orders whose messages, when they are delivered next, lead to this write."""
    if step.name == "create":
        till.place("warm", {"p3": 1})
        till.work()
        for n in range(many):
            till.produce(f"ORD-{n}")
        return [f"ORD-{n}" for n in range(many)]
    if step.name == "reject":
        stock_up(till.stage, "p1", 0)
    till.provider.decline_percent = 100 if step.name == "decline" else 0
    orders = [till.place(f"k{n}") for n in range(many)]
    if step.name == "clear the mark":
        till.work()
        for order_id in orders:
            till.cancel(order_id)
    return orders


def the_call(step: Step, many: int) -> tuple[str, int]:
    """The operation that makes the write, and which of its kind it is in the delivery."""
    if many > 1 or step.stock:
        return "TransactWriteItems", step.nth
    return ("PutItem" if step.name == "create" else "UpdateItem"), 1


def arrived(till: Till, orders: list[str], step: Step) -> None:
    assert [till.status(order_id) for order_id in orders] == [step.after] * len(orders)
    others = {item["orderId"] for item in till.stage.items("ORDERS_TABLE")}
    check_conserved(till.stage, {**BEFORE, "p1": 0} if step.name == "reject" else BEFORE, others)


CONFLICTS = [
    (name, many, code, times)
    for name, step in STEPS.items()
    for many in (1, 3)
    for code, times in REASONS
    # A single write has no reasons, only one error for its conflict.
    if code == "TransactionConflict" or the_call(step, many)[0] == "TransactWriteItems"
]


@pytest.mark.parametrize(("name", "many", "code", "times"), CONFLICTS)
def test_each_step_goes_through_conflicts_without_its_message_coming_again(
    till: Till, calls: AwsCalls, name: str, many: int, code: str, times: int
) -> None:
    step, slept = STEPS[name], till.without_pauses()
    operation, nth = the_call(step, many)
    orders = ready(till, step, many)
    calls.forget()
    if operation == "TransactWriteItems":
        # All that it touches, or the last of it alone: an order, or the product.
        actions = many + (1 if step.stock else 0)
        reasons = [{"Code": "None"}] * (actions - 1) + [{"Code": code}] if times == 1 else [{"Code": code}] * actions
        calls.refuse("TransactionCanceledException", operation, nth=nth, times=times, CancellationReasons=reasons)
    else:
        calls.refuse("TransactionConflictException", operation, when=not_the_ledger(till), nth=nth, times=times)
    assert till.consume(till.stage.receive("ORDER_QUEUE"))

    arrived(till, orders, step)
    tried = [call for call in calls.of(operation) if not_the_ledger(till)(call)][nth - 1 :][: times + 1]
    assert [_size(call) for call in tried] == [_size(tried[0])] * (times + 1), "a conflict never splits a batch"
    assert len(slept) == times
    assert all(pause <= 0.010 * 2**n for n, pause in enumerate(slept))


@pytest.mark.parametrize("name", [name for name, step in STEPS.items() if step.stock])
def test_a_transaction_that_is_in_progress_is_a_conflict_too(till: Till, calls: AwsCalls, name: str) -> None:
    step, slept = STEPS[name], till.without_pauses()
    orders = ready(till, step, 3)
    calls.refuse("TransactionInProgressException", "TransactWriteItems", nth=step.nth, times=2)
    assert till.consume(till.stage.receive("ORDER_QUEUE"))
    arrived(till, orders, step)
    assert len(slept) == 2


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize(("many", "code"), [(1, "ThrottlingException"), (3, "InternalServerError")])
def test_a_step_that_is_throttled_past_the_retries_goes_on_with_the_next_delivery(
    till: Till, calls: AwsCalls, name: str, many: int, code: str
) -> None:
    step = STEPS[name]
    operation, nth = the_call(step, many)
    orders = ready(till, step, many)
    status = 500 if code == "InternalServerError" else 400
    calls.refuse(code, operation, when=not_the_ledger(till), nth=nth, status=status)
    messages = till.stage.receive("ORDER_QUEUE")
    assert not till.consume(messages)
    till.show_again(messages)
    till.work()
    arrived(till, orders, step)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("many", [1, 3])
def test_a_step_whose_conflicts_do_not_end_gives_up_and_goes_on_with_the_next_delivery(
    till: Till, calls: AwsCalls, name: str, many: int
) -> None:
    step, slept = STEPS[name], till.without_pauses()
    operation, nth = the_call(step, many)
    orders = ready(till, step, many)
    if operation == "TransactWriteItems":
        reasons = [{"Code": "TransactionConflict"}] * (many + (1 if step.stock else 0))
        calls.refuse("TransactionCanceledException", operation, nth=nth, times=None, CancellationReasons=reasons)
    else:
        calls.refuse("TransactionConflictException", operation, when=not_the_ledger(till), nth=nth, times=None)
    messages = till.stage.receive("ORDER_QUEUE")
    assert not till.consume(messages)
    assert 10 <= len(slept) <= 12
    assert sum(slept) < 2.5
    calls.heal()
    till.show_again(messages)
    till.work()
    arrived(till, orders, step)


@pytest.mark.parametrize("verb", ["cancel", "ship", "deliver"])
@pytest.mark.parametrize("status", [200, 503])
def test_what_people_ask_for_goes_through_conflicts_too(till: Till, calls: AwsCalls, verb: str, status: int) -> None:
    till.without_pauses()
    order_id = till.place(quantities={"p1": 2})
    till.work()
    if verb == "deliver":
        till.ship(order_id)
    times = 5 if status == 200 else None
    if verb == "cancel":
        reasons = [{"Code": "None"}, {"Code": "TransactionConflict"}]
        calls.refuse("TransactionCanceledException", "TransactWriteItems", times=times, CancellationReasons=reasons)
    else:
        calls.refuse("TransactionConflictException", "UpdateItem", times=times)
    assert till.post(f"/orders/{order_id}/{verb}").status_code == status
    calls.heal()
    assert till.post(f"/orders/{order_id}/{verb}").status_code == 200
    till.work()
    check_conserved(till.stage, BEFORE, {order_id})


def test_a_duplicates_put_that_meets_a_transaction_is_asked_again(till: Till, calls: AwsCalls) -> None:
    till.without_pauses()
    order_id = till.place("k1")
    calls.refuse("TransactionConflictException", "PutItem", times=3)
    assert till.place("k1") == order_id
    till.work()
    check_conserved(till.stage, BEFORE, {order_id})


def not_the_ledger(till: Till) -> Callable[[Call], bool]:
    return lambda call: call.params.get("TableName") != till.stage["PAYMENTS_TABLE"]


def _size(call: Call) -> int:
    items: list[Any] = call.params.get("TransactItems", [call.params])
    return len(items)
