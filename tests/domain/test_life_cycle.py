"""The life cycle, walked: whatever happens to orders, in whatever order, each is what the transition table says.

`Expected` is the model. What a delivery does to an order depends on the weather: on provider and stock at that time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from chalicelib.domain.events import EVENTS
from chalicelib.domain.order import TRANSITIONS, Status
from tests.support.aws_calls import AwsCalls
from tests.support.conservation import check_conserved
from tests.support.events import Clock
from tests.support.payments import TimesOut
from tests.support.shop import STOCK, Shop, opened
from tests.support.stage import Stage
from tests.support.tables import books_in, forget_order, stock_up

TABLE = {(arrow.verb, arrow.source): arrow.target for arrow in TRANSITIONS}
WEATHERS = ("fine", "declining", "silent", "answers lost", "sold out")
BY_PEOPLE = ("cancel", "ship", "deliver")


@dataclass
class Expected:
    """What must be true of one order."""

    units: int
    path: list[Status] = field(default_factory=lambda: [Status.PENDING])
    has_entry: bool = True
    in_queue: bool = True
    payment: str | None = None
    refund: str | None = None
    published: list[str] = field(default_factory=list)

    @property
    def status(self) -> Status:
        return self.path[-1]

    @property
    def holds_stock(self) -> bool:
        return self.status in (Status.RESERVED, Status.CONFIRMED, Status.SHIPPED, Status.DELIVERED)

    def go(self, verb: str) -> None:
        self.path.append(TABLE[verb, self.status])

    def act(self, verb: str) -> int:
        """A person asks for this; the status code of the answer."""
        target = next(arrow.target for arrow in TRANSITIONS if arrow.verb == verb)
        if target in self.path:
            return 200
        if (verb, self.status) not in TABLE:
            return 409
        if verb == "cancel":
            self.refund = "PENDING"
        self.go(verb)
        self.has_entry = self.in_queue = True
        return 200

    def delivered(self, weather: str) -> None:
        """Its message is delivered: the saga goes as far as the weather lets it."""
        self.in_queue = False
        if self.status is Status.PENDING:
            verb = "reject" if weather == "sold out" else "reserve"
            self.go(verb)
            self.has_entry = verb == "reserve"
        if self.status is Status.RESERVED:
            self._pay(weather)
        if self._owes_a_refund:
            self._refund(weather)
        if self.status is not Status.RESERVED:
            self.published = [EVENTS[status] for status in self.path if status in EVENTS]
            self.has_entry = self.in_queue

    def _pay(self, weather: str) -> None:
        if weather != "silent":
            self.payment = self.payment or ("DECLINED" if weather == "declining" else "CHARGED")
        if weather in ("silent", "answers lost"):
            self.in_queue = True
        else:
            self.go("confirm" if self.payment == "CHARGED" else "decline")

    @property
    def _owes_a_refund(self) -> bool:
        return self.refund == "PENDING" or self.status is Status.FAILED

    def _refund(self, weather: str) -> None:
        if weather != "silent":
            self.payment = {"CHARGED": "REFUNDED", None: "CLOSED"}.get(self.payment, self.payment)
        if weather in ("silent", "answers lost"):
            self.in_queue = True
        elif self.status is Status.CANCELLED:
            self.refund = "DONE" if self.payment == "REFUNDED" else "NONE"


class Walk(RuleBasedStateMachine):
    """Some orders of one product, and all that may happen to them."""

    shop: Shop
    walks = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).walks += 1
        stock_up(self.shop.stage, p1=STOCK)
        self.orders: dict[str, Expected] = {}
        self.seen: dict[str, dict[str, dict[str, Any]]] = {}

    @initialize()
    def begin(self) -> None:
        self.place(2)

    @rule(units=st.integers(1, 3))
    def place(self, units: int) -> None:
        key = f"walk-{self.walks}-{len(self.orders)}"
        order_id = self.shop.place(self.shop.order("p1", units), key).order_id
        self.orders[order_id] = Expected(units)

    @rule(verb=st.sampled_from(BY_PEOPLE), which=st.integers(0, 9))
    def act(self, verb: str, which: int) -> None:
        order_id = list(self.orders)[which % len(self.orders)]
        assert self.shop.act(verb, order_id).status == self.orders[order_id].act(verb)

    @rule(which=st.integers(0, 9))
    def send_again(self, which: int) -> None:
        """A duplicate of the first message; it says how the order stood then."""
        order_id = list(self.orders)[which % len(self.orders)]
        order = self.orders[order_id]
        self.shop.produce(self.shop.event(order_id, "p1", order.units, createdAt="2026-01-15T12:00:00Z"))
        order.in_queue = True

    @rule(weather=st.sampled_from(WEATHERS))
    def deliver(self, weather: str) -> None:
        """Every message of the queue is delivered once."""
        shop = self.shop
        shop.provider.decline_percent = 100 if weather == "declining" else 0
        if when := {"silent": TimesOut.BEFORE, "answers lost": TimesOut.AFTER}.get(weather):
            shop.payments.on("charge", when, times=None)
            shop.payments.on("refund", when, times=None)
        left = shop.stock("p1")
        if weather == "sold out":
            shop.set_product("p1", stock=0)

        shop.run_queue()

        shop.payments.over()
        if weather == "sold out":
            shop.set_product("p1", stock=left + shop.stock("p1"))
        self._come_again()
        for order in self.orders.values():
            if order.in_queue:
                order.delivered(weather)

    def _come_again(self) -> None:
        """What is left on the queue, as fresh messages: none is ever on its last receive."""
        self.shop.come_again()
        for message in self.shop.stage.receive_all("ORDER_QUEUE"):
            self.shop.stage.delete("ORDER_QUEUE", message)
            attributes = message.get("MessageAttributes", {})
            kept = {name: value["StringValue"] for name, value in attributes.items()}
            self.shop.produce(message["Body"], attributes=kept)

    @invariant()
    def each_order_is_as_the_table_says(self) -> None:
        stored = {order["orderId"]: order for order in self.shop.orders()}
        books = books_in(self.shop.stage)
        for event in self.shop.published():
            detail = event["detail"]
            self.seen.setdefault(detail["orderId"], {}).setdefault(str(detail["eventId"]), event)
        for order_id, order in self.orders.items():
            found = stored[order_id]
            assert [entry["status"] for entry in found["history"]] == order.path
            assert (found["status"], found.get("refund")) == (order.status, order.refund)
            assert ("outboxDueAt" in found) == order.has_entry
            assert ("reserved" in found) == (Status.RESERVED in order.path)
            assert books.get(found["paymentKey"], {}).get("state") == order.payment
            events = sorted(self.seen.get(order_id, {}).values(), key=lambda event: int(event["detail"]["sequence"]))
            assert [event["detail-type"] for event in events] == order.published
        taken = sum(order.units for order in self.orders.values() if order.holds_stock)
        assert self.shop.stock("p1") == STOCK - taken

    def teardown(self) -> None:
        """In fine weather each order comes to an end; then the tables are emptied for the next walk."""
        while any(order.in_queue for order in self.orders.values()):
            self.deliver("fine")
        stage = self.shop.stage
        self.each_order_is_as_the_table_says()
        check_conserved(stage, {"p1": STOCK}, set(self.orders))
        assert self.shop.dead_letters() == []
        for order_id in self.orders:
            forget_order(stage, order_id)
        for payment_key in books_in(stage):
            key: Any = {"paymentKey": {"S": payment_key}}
            stage.dynamodb.delete_item(TableName=stage["PAYMENTS_TABLE"], Key=key)


@pytest.fixture
def walk(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> Iterator[type[Walk]]:
    with opened(aws, aws_calls, clock) as shop:
        yield type("Walk", (Walk,), {"shop": shop})


def paths(source: Status = Status.PENDING) -> Iterator[tuple[str, ...]]:
    """Every way through the transition table, from PENDING to where nothing leads on, as verbs."""
    arrows = [arrow for arrow in TRANSITIONS if arrow.source is source]
    if not arrows:
        yield ()
    for arrow in arrows:
        yield from ((arrow.verb, *rest) for rest in paths(arrow.target))


STEPS = {"reserve": "silent", "confirm": "fine", "reject": "sold out", "decline": "declining"}


@pytest.mark.parametrize("path", list(paths()), ids="-".join)
def test_each_path_of_the_transition_table_can_be_taken(walk: type[Walk], path: tuple[str, ...]) -> None:
    machine = walk()
    machine.begin()
    (order,) = machine.orders.values()
    for verb in path:
        target = TABLE[verb, order.status]
        if verb in BY_PEOPLE:
            machine.act(verb, 0)
        else:
            machine.deliver(STEPS[verb])
        assert order.status is target
        machine.each_order_is_as_the_table_says()
    machine.teardown()


def test_whatever_happens_an_order_is_as_the_table_says(walk: type[Walk]) -> None:
    run_state_machine_as_test(walk, settings=settings(max_examples=6, stateful_step_count=8))
