"""Every call × every fault: whatever goes wrong at whichever call, in the end every promise is kept.

A scenario's act makes its calls of AWS one after the other. It is run again and again: the fault strikes at its first
call, at its second … until it makes no more. After each, somebody healthy does the same again, as clients, SQS and
schedules do. In the end the world comes to rest, and every promise is asked.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from chalicelib import exact_json
from chalicelib.deadline import NO_DEADLINE
from chalicelib.domain.order import Status
from chalicelib.faults import Rejected, Unavailable
from chalicelib.settings import DEFAULT_MAX_RECEIVES
from chalicelib.use_cases.letters import Kind
from chalicelib.use_cases.ports import Message
from tests.support.aws_calls import Killed
from tests.support.conservation import check_conserved
from tests.support.orders import an_event
from tests.support.stage import Stage
from tests.support.world import Life, Process, World, ask, check_events, produce, world_of

pytestmark = pytest.mark.usefixtures("quiet")

STOCK = {"p1": 1000, "p2": 1000, "rare": 0}
MOST_CALLS = 40

FAULTS = ("dropped", "lost", "throttled", "failed", "conflict", "killed before", "killed after")
"""No effect; the answer lost; ThrottlingException; a 500; a conflict; the process dies before or after the call."""


@dataclass
class Run:
    """Run number `number` of a scenario. `expected` are the orders that there must be in the end."""

    world: World
    healthy: Process
    number: int
    expected: set[str] = field(default_factory=set)
    answers: dict[str, str] = field(default_factory=dict)
    order_id: str = ""

    def place(self, process: Process, key: str | None, product: str = "p1") -> None:
        """POST /orders. Equal requests get equal answers."""
        answer = ask(process, key, {product: 1}, f"c{self.number}")
        assert answer.status == 201
        assert self.answers.setdefault(f"{key} {product}", answer.body) == answer.body
        self.order_id = str(exact_json.loads(answer.body)["orderId"])
        self.expected.add(self.order_id)

    def placed(self, product: str = "p1") -> None:
        self.place(self.healthy, f"k{self.number} {product}".replace(" ", "-"), product)

    def produced(self, product: str = "p1") -> None:
        order_id = f"ORD-{self.number}-{product}"
        produce(self.world, order_id, {product: 1})
        self.expected.add(order_id)

    def confirmed(self) -> None:
        self.placed()
        self.deliver(self.healthy)
        assert self.status == Status.CONFIRMED

    def reserved(self) -> None:
        """The provider does not answer."""
        self.placed()
        self.healthy.life = Life(spoils=lambda call: "dropped" if call == "put_item" else None)
        self.deliver(self.healthy)
        self.healthy.life = Life()
        assert self.status == Status.RESERVED

    @property
    def status(self) -> str:
        order = self.healthy.service.orders.get(self.order_id)
        assert order
        return order.status

    def deliver(self, process: Process) -> None:
        """Polls of the queue, once everything that was hidden is visible."""
        self.world.clock.advance(seconds=61)
        while self.world.deliver(process) and not process.life.dead:
            pass

    def last_receive(self, process: Process) -> None:
        """The order's message comes for the last time."""
        self.world.clock.advance(seconds=61)
        records = self.world.queue.receive(self.world.stage["ORDER_QUEUE"])
        mine = [record for record in records if self.order_id in record["body"]]
        for record in mine:
            record["attributes"]["ApproximateReceiveCount"] = str(DEFAULT_MAX_RECEIVES)
        if mine:
            self.world.consume(process, mine)

    def dead_letter(self) -> None:
        """Of a producer's order that is not stored."""
        order_id = f"ORD-{self.number}"
        self.expected.add(order_id)
        sent = int(self.world.clock().timestamp() * 1000)
        message = Message(order_id, "", exact_json.dumps(an_event(order_id)), DEFAULT_MAX_RECEIVES, sent, {})
        self.healthy.service.dead_letters.keep(message, Kind.RETRY, "an outage")
        self.world.clock.advance(minutes=16)

    def lose_messages(self) -> None:
        self.world.queue.lose(self.world.stage["ORDER_QUEUE"], self.expected)
        self.world.clock.advance(seconds=61)


Act = Callable[[Run, Process], object]


def _batch(run: Run) -> None:
    run.confirmed()
    run.healthy.service.operations.cancel(run.order_id, None)
    run.placed("p2")
    run.placed("rare")
    run.produced()


def _nothing(_: Run) -> None:
    pass


def _shipped(run: Run) -> None:
    run.confirmed()
    run.healthy.service.operations.ship(run.order_id, None, None)


def _lost(run: Run) -> None:
    run.placed()
    run.lose_messages()


def _cancel(run: Run, process: Process) -> None:
    process.service.operations.cancel(run.order_id, None)


def _cancelled(run: Run) -> None:
    run.confirmed()
    _cancel(run, run.healthy)


SCENARIOS: dict[str, tuple[Callable[[Run], object], Act]] = {
    "place with a key": (_nothing, lambda run, process: run.place(process, f"key-{run.number}")),
    "place without a key": (_nothing, lambda run, process: run.place(process, None)),
    "a duplicate": (Run.placed, lambda run, process: run.place(process, f"k{run.number}-p1")),
    "fulfil one": (Run.placed, Run.deliver),
    "fulfil a producer's": (Run.produced, Run.deliver),
    "fulfil a mixed batch": (_batch, Run.deliver),
    "decline": (Run.placed, Run.deliver),
    "out of stock": (lambda run: run.placed("rare"), Run.deliver),
    "cancel, PENDING": (Run.placed, _cancel),
    "cancel, RESERVED": (Run.reserved, _cancel),
    "cancel, CONFIRMED": (Run.confirmed, _cancel),
    "refund": (_cancelled, Run.deliver),
    "ship": (Run.confirmed, lambda run, process: process.service.operations.ship(run.order_id, "ACME", None)),
    "deliver": (_shipped, lambda run, process: process.service.operations.deliver(run.order_id)),
    "events of a shipment": (_shipped, Run.deliver),
    "last receive": (Run.placed, Run.last_receive),
    "recover": (
        _lost,
        lambda _, process: process.service.recovery.recover(NO_DEADLINE),
    ),
    "replay": (Run.dead_letter, lambda _, process: process.service.dead_letters.replay_due(NO_DEADLINE)),
}


def life(fault: str, number: int) -> Life:
    """A life in which the fault strikes at call `number`."""
    if fault.startswith("killed"):
        return Life(dies_at=number, after=fault == "killed after")
    made = iter(range(10_000))
    return Life(spoils=lambda _: fault if next(made) == number else None)


def attempt(act: Act, run: Run, process: Process) -> None:
    """It may fail in the ways that everybody expects."""
    with suppress(Unavailable, Rejected, Killed):
        act(run, process)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_whatever_goes_wrong_at_whichever_call_every_promise_is_kept(
    real_aws: Stage, scenario: str, fault: str
) -> None:
    prepare, act = SCENARIOS[scenario]
    with world_of(real_aws, f"{scenario} {fault}", STOCK, rate=0) as world:
        healthy, struck = world.process(), world.process()
        healthy.provider.decline_percent = struck.provider.decline_percent = 100 if scenario == "decline" else 0
        expected: set[str] = set()
        for number in range(MOST_CALLS):
            run = Run(world, healthy, number)
            prepare(run)
            struck.life = life(fault, number)
            attempt(act, run, struck)
            reached = struck.life.made > number
            struck.life = Life()
            act(run, healthy)
            expected |= run.expected
            if not reached:
                break
        assert 0 < number < MOST_CALLS - 1
        world.come_to_rest()
        ended: Any = check_conserved(real_aws, STOCK, expected)
        assert sum(ended.values()) == len(expected)
        check_events(world)
