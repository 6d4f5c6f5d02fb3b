"""A refund may be pending for days: that is normal, counted apart, and asked about until the money is back."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib import times
from chalicelib.adapters.dynamodb.items import order_to_item
from chalicelib.adapters.dynamodb.repository import Repository
from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.domain.changes import Change, OutboxUpdate, ensure_entry
from chalicelib.domain.order import Order, OutboxEntry, Refund, Status
from chalicelib.domain.outcomes import (
    Committed,
    NothingToRefund,
    Refunded,
    RefundPending,
    Refused,
    StatusChanged,
    Unknown,
)
from chalicelib.domain.request import OrderRequest
from chalicelib.use_cases.committing import BatchCommitter
from chalicelib.use_cases.completion import Completion
from chalicelib.use_cases.ports import Waiting
from chalicelib.use_cases.recovery import Recovery
from chalicelib.use_cases.saga import Delivery, Retry, SagaItem
from tests.support.orders import NOW, standing
from tests.support.payments import Bank
from tests.support.shop import Shop
from tests.support.world import InTurn

NOBODY, PENDING, OVERDUE = Waiting(0, 0), Waiting(0, 1), Waiting(1, 0)
ENDS = {"CANCELLED": "DONE", "FAILED": None}
"""The statuses that bring a refund about, and what the order says of it in the end."""


@pytest.fixture
def bank(small_shop: Shop) -> Bank:
    small_shop.payments.provider = bank = Bank(small_shop.provider)
    return bank


def given_up(shop: Shop, status: str, key: str = "k1") -> str:
    """An order that owes a refund; its message is on the queue."""
    shop.provider.decline_percent = 100 if status == "FAILED" else 0
    order_id = shop.place(shop.order("p1"), key).order_id
    if status == "CANCELLED":
        shop.run_queue()
        assert shop.cancel(order_id).status == 200
    return order_id


def waiting(shop: Shop) -> Waiting:
    return shop.service.orders.count_waiting(shop.clock())


def deliver(shop: Shop, *, last: bool = False) -> bool:
    """Whatever is on the queue, however long it is hidden; whether all of it was done."""
    shop.come_again()
    messages = shop.receive()
    for message in messages:
        if last:
            message["Attributes"]["ApproximateReceiveCount"] = "14"
    return not messages or shop.consume(messages)


def next_retry(shop: Shop, order_id: str) -> timedelta:
    """Recovery and the consumer run when the entry is due; how long that took."""
    before, due_at = shop.clock(), times.from_text(shop.stored(order_id)["outboxDueAt"])
    shop.clock.now = due_at
    assert shop.recover() == 1
    assert deliver(shop)
    return due_at - before


@pytest.mark.parametrize("last", [False, True], ids=["", "last receive"])
@pytest.mark.parametrize("status", ENDS)
def test_a_refund_that_is_pending_is_asked_about_again_by_recovery_until_it_is_done(
    small_shop: Shop, bank: Bank, status: str, last: bool
) -> None:
    """The event does not wait for it, and no message is retried for it."""
    shop = small_shop
    order_id = given_up(shop, status)
    deliver(shop, last=last)
    assert ("OrderCancelled" if status == "CANCELLED" else "OrderFailed") in shop.published_of(order_id)
    for _ in range(3):
        assert (shop.status(order_id), waiting(shop), shop.messages()) == (status, PENDING, [])
        assert shop.document(order_id).get("refund") == ("PENDING" if status == "CANCELLED" else None)
        shop.metrics.clear()
        next_retry(shop, order_id)
        assert (shop.metrics["OrdersOverdue"], shop.metrics["RefundsPending"]) == (0, 1)
    bank.arrived = True
    next_retry(shop, order_id)
    assert (shop.has_entry(order_id), waiting(shop)) == (False, NOBODY)
    assert shop.document(order_id).get("refund") == ENDS[status]


def test_a_pending_refund_is_overdue_once_it_takes_longer_than_thirty_days(small_shop: Shop, bank: Bank) -> None:
    """The provider is asked after 5, 10, 20 … minutes, then every six hours, and never stops being asked."""
    shop = small_shop
    order_id = given_up(shop, "CANCELLED")
    cancelled_at = shop.clock()
    deliver(shop)
    minutes = [next_retry(shop, order_id) / timedelta(minutes=1) for _ in range(10)]
    assert minutes == [5, 5, 10, 20, 40, 80, 160, 320, 360, 360]
    shop.clock.now = cancelled_at + timedelta(days=30) - timedelta(hours=1)
    shop.recover()
    deliver(shop)
    assert waiting(shop) == PENDING
    next_retry(shop, order_id)
    began = shop.clock()
    asked = len(shop.payments.asked)
    for retries in range(1, 12):
        assert waiting(shop) == (OVERDUE if retries >= 7 else NOBODY), retries
        assert (shop.clock() - began > timedelta(hours=1)) is (retries >= 7)
        next_retry(shop, order_id)
        assert len(shop.payments.asked) == asked + retries
    bank.arrived = True
    next_retry(shop, order_id)
    assert (waiting(shop), shop.has_entry(order_id), shop.document(order_id)["refund"]) == (NOBODY, False, "DONE")


@pytest.mark.usefixtures("bank")
def test_a_pending_refund_that_recovery_cannot_retry_is_overdue(small_shop: Shop) -> None:
    shop = small_shop
    given_up(shop, "CANCELLED")
    deliver(shop)
    shop.clock.advance(minutes=5)
    shop.calls.refuse("ValidationException", "UpdateItem", times=None)
    for minutes, expected in ((0, PENDING), (60, PENDING), (1, OVERDUE), (300, OVERDUE)):
        shop.clock.advance(minutes=minutes)
        assert shop.recover() == 0
        assert waiting(shop) == expected, minutes
    shop.calls.heal()
    shop.recover()
    deliver(shop)
    assert waiting(shop) == PENDING


@pytest.mark.usefixtures("bank")
def test_what_is_heard_late_of_a_refund_changes_nothing(small_shop: Shop) -> None:
    """Recovery has retried the order meanwhile: only what its message brings counts."""
    shop = small_shop
    order_id = given_up(shop, "CANCELLED")

    def meanwhile() -> None:
        shop.clock.advance(seconds=61)
        assert shop.recover() == 1

    shop.calls.meanwhile(meanwhile, "PutEvents")
    shop.consume(shop.receive())
    assert (waiting(shop), shop.stored(order_id)["outboxTries"]) == (NOBODY, 1)
    deliver(shop)
    assert waiting(shop) == PENDING


# --- whatever is answered, and in whatever order ---

ANSWERS: dict[str, Any] = {
    "pending": RefundPending(),
    "trouble": Unknown("no answer"),
    "arrived": Refunded("pay-1"),
    "nothing": NothingToRefund(),
}


@dataclass(frozen=True)
class Round:
    """Some time passes, recovery runs, and the order's messages are delivered: how the world is meanwhile.

    `lost`: recovery's message is lost. `again`: another message of the order comes. `last`: for the last time.
    """

    minutes: float
    provider: str
    bus_is_down: bool = False
    lost: bool = False
    again: bool = False
    last: bool = False

    @property
    def says(self) -> str:
        """What becomes of an order that is worked on now."""
        return "trouble" if self.bus_is_down else self.provider


ROUNDS = st.builds(
    Round,
    st.sampled_from([0.5, 1.1, 2, 6, 33, 61, 370, 2000]),
    st.sampled_from(["pending", "pending", "trouble", "arrived"]),
    *[st.sampled_from([False, False, False, True])] * 4,
)


class OneOrder(Repository):
    """The repository of one order, in memory, and all else that completion and recovery need of the world.

    `heard` is the last that was heard of its refund; `sent` counts recovery's messages since then, if it was trouble.
    """

    def __init__(self, order: Order) -> None:
        this: Any = self
        super().__init__(this, "orders", this)
        self.order, self.now, self.world = order, order.updated_at, Round(0, "pending")
        self.heard, self.sent, self.messages = "trouble", 0, 1
        committer = BatchCommitter(self)
        self.completion = Completion(committer, this, this, lambda: self.now)
        self.recovery = Recovery(self, committer, this, this, InTurn(), lambda: self.now)

    # --- the table and its index ---

    def commit(self, changes: Sequence[Change]) -> Committed | Refused:
        (change,) = changes
        assert isinstance(change, OutboxUpdate)
        seen = self.order.outbox.due_at if self.order.outbox else None
        if change.seen and change.seen != seen:
            return Refused((StatusChanged(self.order),))
        if not (change.if_absent and seen):
            self.order = replace(self.order, outbox=change.outbox, **change.extra_fields)
        return Committed((self.order,))

    def get_all(self, _: Sequence[str]) -> list[Order]:
        return [self.order]

    def query(self, *, KeyConditionExpression: str, ExpressionAttributeValues: Any, **_: object) -> Any:  # noqa: N803
        item, values = order_to_item(self.order), dict(ExpressionAttributeValues)
        found = item.get("outbox") == values.pop(":shard")
        for value in values.values():
            older = item["outboxDueAt"]["S"] < value["S"] if found else False
            found = older or (found and "<=" in KeyConditionExpression and item["outboxDueAt"] == value)
        return {"Items": [item] if found else []}

    # --- provider, bus and queue ---

    def refund(self, orders: Sequence[Order], _: Deadline) -> list[Any]:
        return [ANSWERS[self.world.provider] for _ in orders]

    def publish(self, orders: Sequence[Order], _: Deadline) -> dict[str, str]:
        return {order.order_id: "the bus is down" for order in orders if self.world.bus_is_down}

    def enqueue(self, orders: Sequence[Order]) -> Sequence[Order]:
        self.messages += len(orders)
        return orders

    def replay_due(self, _: Deadline) -> None: ...

    # --- what happens ---

    def go(self, world: Round) -> None:
        self.world, self.now = world, self.now + timedelta(minutes=world.minutes)
        before = self.count_waiting(self.now)
        if self.order.outbox and self.order.outbox.due_at < self.now - timedelta(hours=1):
            assert before == OVERDUE, "whatever it is: nobody retries it"
        if self.recovery.recover(NO_DEADLINE):
            self.sent = self.sent + 1 if self.heard == "trouble" else 1
            self.heard = "trouble"  # until somebody hears otherwise
        self.messages = (0 if world.lost else self.messages) + world.again
        if self.messages:
            self._deliver()
        # Seven times retried is retried for an hour: test_items.py.
        in_trouble = OVERDUE if self.sent >= 7 else NOBODY
        expected = {"pending": PENDING, "trouble": in_trouble}.get(self.heard, NOBODY)
        assert self.count_waiting(self.now) == expected

    def _deliver(self) -> None:
        delivery = Delivery(self.order, OrderRequest.from_order(self.order), self.order.payment_key, self.world.last)
        item, owed = SagaItem(delivery, self.order), self.order.refund in (None, Refund.PENDING)
        self.completion.complete([item], NO_DEADLINE)
        if isinstance(item.outcome, Retry) and self.world.last:
            self.commit([ensure_entry(self.order, self.now)])
        self.messages = int(isinstance(item.outcome, Retry) and not self.world.last)
        says = self.world.says if owed or self.world.bus_is_down else "arrived"
        if says == "trouble" != self.heard:
            self.sent = 0
        self.heard = says


@pytest.mark.parametrize("status", ENDS)
@pytest.mark.usefixtures("quiet")
@given(rounds=st.lists(ROUNDS, min_size=15, max_size=60), last=st.sampled_from(["arrived", "nothing"]))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_answered_an_order_is_counted_once_at_most_and_ends_with_its_money_back(
    status: str, rounds: list[Round], last: str
) -> None:
    """As pending only while that is the last that was heard of it, by whatever message."""
    refund = Refund.PENDING if status == "CANCELLED" else None
    entry = OutboxEntry(NOW + timedelta(minutes=1)) if refund else None
    world = OneOrder(replace(standing(Status(status), refund=refund), outbox=entry))
    for one in rounds:
        world.go(one)
    world.go(Round(370, last, again=True))
    assert world.count_waiting(world.now + timedelta(days=99)) == NOBODY
    assert (world.order.outbox, world.messages) == (None, 0)
    assert world.order.refund in ((Refund.DONE, Refund.NONE) if status == "CANCELLED" else (None,))
