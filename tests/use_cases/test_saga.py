"""The saga on orders that are a dictionary: what its steps make of each order of a batch, and when none is begun."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest

from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.domain.changes import FIRST_RETRY_AFTER, Change, Create, Move
from chalicelib.domain.order import Order, OutboxEntry, Status
from chalicelib.domain.outcomes import (
    Charged,
    Committed,
    Conflict,
    Declined,
    InsufficientStock,
    NotFound,
    Reason,
    Refused,
    StatusChanged,
    Unknown,
)
from chalicelib.domain.pricing import IntakeRefusal, Priced
from chalicelib.domain.request import FieldError, OrderRequest
from chalicelib.faults import Unavailable
from chalicelib.use_cases.committing import BatchCommitter
from chalicelib.use_cases.fulfilment import Fulfilment
from chalicelib.use_cases.ports import Message
from chalicelib.use_cases.saga import Delivery, Done, Outcome, Retry, SagaItem
from tests.support.orders import NOW, PRICE, an_order

ENTRY = OutboxEntry(NOW + FIRST_RETRY_AFTER)
STORED = ("paid", "declined", "unanswered", "short", "vanished", "restless")
"""Orders of the API that are stored; their messages carry their payment keys."""

UNITS = {"short": {"p2": 5}, "vanished": {"gone": 1}, "dear": {"p1": 3}}
CATALOGUE_SAYS = IntakeRefusal("PRICE_MISMATCH", (FieldError("#/items/0/unitPrice", "is", Decimal("9.99")),))


def order(order_id: str) -> Order:
    return an_order(order_id, UNITS.get(order_id))


def delivery(order_id: str, *, carries_key: bool = True, last: bool = False, outdated: bool = False) -> Delivery:
    one = order(order_id)
    return Delivery(one, OrderRequest.from_order(one), one.payment_key if carries_key else None, last, outdated)


@dataclass
class World:
    """Orders, stock, catalogue and payments; `completed` are the orders of which nothing but completion is left.

    At commit number `conflicts_at` another transaction is in the way, and the time is over after number `time_until`.
    """

    conflicts_at: int | None = None
    time_until: int | None = None
    priced: bool = True
    orders: dict[str, Order] = field(default_factory=lambda: {o: replace(order(o), outbox=ENTRY) for o in STORED})
    stock: dict[str, int] = field(default_factory=lambda: {"p1": 100, "p2": 1})
    commits: list[list[str]] = field(default_factory=list)
    charged: list[str] = field(default_factory=list)
    completed: dict[str, Order] = field(default_factory=dict)

    def fulfil(self, *deliveries: Delivery) -> list[Outcome]:
        world: Any = self
        deadline = NO_DEADLINE
        if self.time_until is not None:
            until = self.time_until
            deadline = Deadline(lambda: 9.0 if len(self.commits) < until else 1.0)
        return Fulfilment(BatchCommitter(world), world, world, world, lambda: NOW).fulfil(deliveries, deadline)

    def commit(self, batch: Sequence[Change]) -> Committed | Refused:
        self.commits.append([change.order_id for change in batch])
        if len(self.commits) == self.conflicts_at:
            return Refused(tuple(Conflict() for _ in batch))
        reasons = tuple(map(self._reason, batch))
        if any(reasons):
            return Refused(reasons)
        for change in batch:
            self.orders[change.order_id] = self._applied(change)
        return Committed(tuple(change.after for change in batch))

    def _applied(self, change: Change) -> Order:
        if not isinstance(change, Move):
            return change.after
        for product_id, units in change.stock.items():
            self.stock[product_id] += units
        # The entry that is stored stays, whatever the message says.
        return replace(change, before=self.orders[change.order_id]).after

    def _reason(self, change: Change) -> Reason | None:
        existing = self.orders.get(change.order_id)
        if isinstance(change, Create):
            return StatusChanged(existing) if existing else None
        if existing is None:
            return NotFound()
        if (
            not isinstance(change, Move)
            or existing.status is not change.before.status
            or existing.order_id == "restless"
        ):
            return StatusChanged(existing)
        for product_id, units in change.stock.items():
            available = self.stock.get(product_id)
            if available is None or available + units < 0:
                return InsufficientStock(product_id, -units, available)
        return None

    def price(self, request: OrderRequest, is_new: bool) -> Priced | IntakeRefusal:
        if not self.priced:
            raise Unavailable("no catalogue")
        lines = tuple(replace(line, product_name="as the catalogue has it") for line in request.items)
        return CATALOGUE_SAYS if request.total_amount == 3 * PRICE else Priced(lines)

    def charge(self, orders: Sequence[Order], _: Deadline) -> list[Charged | Declined | Unknown]:
        self.charged += [one.order_id for one in orders]
        answers: dict[str, Declined | Unknown] = {"declined": Declined("no money"), "unanswered": Unknown("no answer")}
        return [answers.get(one.order_id) or Charged(f"pay-{one.order_id}") for one in orders]

    def complete(self, items: Sequence[SagaItem], _: Deadline) -> None:
        self.completed |= {item.order.order_id: item.order for item in items}


Ending = tuple[str, str | None, str | None, str | None]

ENDS: dict[str, Ending] = {
    "paid": ("CONFIRMED", None, None, "pay-paid"),
    "declined": ("FAILED", "PAYMENT_DECLINED", "no money", None),
    "unanswered": ("RESERVED", None, None, None),
    "short": ("FAILED", "OUT_OF_STOCK", "5 of p2 wanted, 1 available", None),
    "vanished": ("FAILED", "UNKNOWN_PRODUCT", "1 of gone wanted, 0 available", None),
    "restless": ("PENDING", None, None, None),
    "new": ("CONFIRMED", None, None, "pay-new"),
    "dear": ("FAILED", "PRICE_MISMATCH", "#/items/0/unitPrice: is (9.99)", None),
    "lost": ("CONFIRMED", None, None, "pay-lost"),
}
OUTCOMES: dict[str, Outcome] = {"unanswered": Retry("no answer"), "restless": Retry("still PENDING")}


def ending(one: Order) -> Ending:
    return one.status.value, one.failure_reason, one.history[-1].reason, one.payment_id


@pytest.mark.parametrize("last", [False, True])
def test_each_order_of_a_batch_comes_to_its_own_end_and_outcome(last: bool) -> None:
    world = World()
    batch = [delivery(name, last=last) for name in (*STORED, "lost")]
    batch += [delivery(name, carries_key=False, last=last) for name in ("new", "dear")]
    outcomes = world.fulfil(*batch, delivery("deleted", outdated=True, last=last))
    assert dict(zip([*(one.order.order_id for one in batch), "deleted"], outcomes, strict=True)) == {
        **dict.fromkeys([*ENDS, "deleted"], Done()),
        **OUTCOMES,
    }
    assert {name: ending(one) for name, one in world.orders.items()} == ENDS
    ended = {name for name, (status, *_) in ENDS.items() if status in ("CONFIRMED", "FAILED")}
    assert world.completed == {name: world.orders[name] for name in ended}
    under_way = ENDS.keys() - ended
    assert {name for name, one in world.orders.items() if one.outbox} == under_way | (ended if last else set())
    assert world.stock == {"p1": 100 - 4, "p2": 1}
    assert world.orders["new"].items[0].product_name == "as the catalogue has it"
    assert world.charged == ["paid", "declined", "unanswered", "lost", "new"]
    assert world.commits[0] == ["new", "dear"], "those of producers are created first"


STEPS = {
    "of the API": (delivery("paid"), 2),
    "of a producer": (delivery("new", carries_key=False), 3),
    "lost": (delivery("lost"), 4),
    "declined": (delivery("declined"), 2),
    "short": (delivery("short"), 2),
}
"""Orders, and how many commits bring them to their ends."""


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("in_conflict", [False, True], ids=["", "in conflict"])
def test_when_the_time_is_over_no_further_step_is_begun_and_no_conflict_waited_for(
    name: str, in_conflict: bool
) -> None:
    one, steps = STEPS[name]
    for step in range(1, steps + 1):
        world = World(conflicts_at=step if in_conflict else None, time_until=step)
        (outcome,) = world.fulfil(one)
        assert len(world.commits) == step
        if in_conflict:
            assert outcome == Retry("conflict")
        elif step < steps:
            assert outcome == Retry("no time left")
        else:
            assert outcome == Done()
            assert ending(world.orders[one.order.order_id]) == ENDS[one.order.order_id]


def test_orders_that_the_catalogue_is_needed_for_wait_for_it_and_the_others_do_not() -> None:
    world = World(priced=False)
    outcomes = world.fulfil(delivery("new", carries_key=False), delivery("paid"), delivery("lost"))
    assert outcomes == [Retry("no catalogue"), Done(), Retry("no catalogue")]
    assert (ending(world.orders["paid"]), world.orders.keys() - STORED) == (ENDS["paid"], set())


def test_a_delivery_of_several_messages_has_the_id_of_the_one_sent_last() -> None:
    sent_at = {"a": 1, "b": 3, "c": 2}
    messages = [Message(name, name, "{}", 1, sent, {}) for name, sent in sent_at.items()]
    assert replace(delivery("paid"), message_id="a").of_last(messages) == replace(delivery("paid"), message_id="b")


def test_a_delivery_of_a_stored_order_is_of_that_order_and_its_key() -> None:
    stored, message = an_order("o1", status=Status.RESERVED), Message("m", "r", "{}", 1, 1, {})
    asked = OrderRequest.from_order(stored)
    by_message = Delivery.from_stored(stored, last=False, message=message)
    assert by_message == Delivery(stored, asked, stored.payment_key, message_id="m")
    alone = Delivery.from_stored(stored, last=True, outdated=True)
    assert alone == Delivery(stored, asked, stored.payment_key, last=True, outdated=True)
