"""What the tests of this folder do again and again, each time with other faults: a preparation, and an act.

An act makes its calls of AWS one after the other. After somebody was struck by a fault in it, somebody healthy does the
same again, as clients, SQS and schedules do. In the end the world comes to rest, and every promise is asked.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count, cycle, groupby
from zlib import crc32

from chalicelib import exact_json
from chalicelib.adapters.dynamodb.items import SHARDS
from chalicelib.deadline import NO_DEADLINE
from chalicelib.domain.idempotency import order_id_from_key
from chalicelib.domain.order import Status
from chalicelib.faults import Rejected, Unavailable
from chalicelib.settings import DEFAULT_MAX_RECEIVES
from chalicelib.use_cases.letters import Kind
from chalicelib.use_cases.ports import Message
from tests.support.aws_calls import Killed
from tests.support.conservation import check_conserved
from tests.support.faults import FAULTS, REFUSED, Call, Life, life_with
from tests.support.orders import ANYBODY, a_body, an_event
from tests.support.payments import Bank
from tests.support.stage import Stage
from tests.support.tables import forget_order, stock_in, stock_up
from tests.support.world import Process, World, ask, check_events, check_messages, produce, world_of

ALL = os.environ.get("FAULTS") == "all"
STOCK = {"p1": 100_000, "p2": 100_000, "rare": 0}


@dataclass
class Run:
    """One run of a scenario. `expected` are the orders that there must be in the end, `for_people` the bodies of the
    dead letters that only people can help."""

    world: World
    healthy: Process
    name: str
    expected: set[str] = field(default_factory=set)
    for_people: set[str] = field(default_factory=set)
    answers: dict[str, str] = field(default_factory=dict)
    order_id: str = ""

    # --- what is done ---

    def place(self, process: Process, key: str | None, product: str = "p1") -> None:
        """POST /orders. Equal requests get equal answers."""
        answer = ask(process, key, {product: 1}, self.name)
        assert answer.status == 201
        assert self.answers.setdefault(f"{key} {product}", answer.body) == answer.body
        self.order_id = str(exact_json.loads(answer.body)["orderId"])
        self.expected.add(self.order_id)

    def deliver(self, process: Process) -> None:
        """Polls of the queue, once everything that was hidden is visible."""
        self.world.clock.advance(seconds=61)
        while self.world.deliver(process) and not process.life.dead:
            pass

    def deliver_before_the_bank(self, process: Process) -> None:
        """While its provider's refunds take their time."""
        process.payments.provider = Bank(process.provider)
        try:
            self.deliver(process)
        finally:
            process.payments.provider = process.provider

    def last_receive(self, process: Process) -> None:
        """The order's message comes for the last time."""
        self.world.clock.advance(seconds=61)
        records = self.world.queue.receive(self.world.stage["ORDER_QUEUE"])
        mine = [record for record in records if self.order_id in record["body"]]
        for record in mine:
            record["attributes"]["ApproximateReceiveCount"] = str(DEFAULT_MAX_RECEIVES)
        if mine:
            self.world.consume(process, mine)

    def cancel(self, process: Process) -> None:
        process.service.operations.cancel(self.order_id, None, ANYBODY)

    def ship(self, process: Process) -> None:
        process.service.operations.ship(self.order_id, "ACME", None, ANYBODY)

    def hand_over(self, process: Process) -> None:
        """The goods arrive."""
        process.service.operations.deliver(self.order_id, ANYBODY)

    def recover(self, process: Process) -> None:
        process.service.recovery.recover(NO_DEADLINE)

    def replay_due(self, process: Process) -> None:
        process.service.dead_letters.replay_due(NO_DEADLINE)

    def replay_all(self, process: Process) -> None:
        """As `ops dead-letters replay` does it, once what others have in hand is visible."""
        self.world.clock.advance(seconds=61)
        process.service.dead_letters.replay_all(100)

    def purge(self, process: Process) -> None:
        """As `ops dead-letters purge` does it, once what others have in hand is visible."""
        self.world.clock.advance(seconds=601)
        dead_letters = process.service.dead_letters
        with dead_letters.receiving(600) as in_flight:
            dead_letters.purge(in_flight, list(in_flight.letters(100)))

    # --- what has happened before ---

    def nothing(self) -> None:
        pass

    def placed(self, product: str = "p1") -> None:
        self.place(self.healthy, f"{self.name}-{product}", product)

    def placed_rare(self) -> None:
        self.placed("rare")

    def produced(self) -> None:
        order_id = f"ORD-{self.name}"
        produce(self.world, order_id, {"p1": 1})
        self.expected.add(order_id)

    def confirmed(self) -> None:
        self.placed()
        self.deliver(self.healthy)
        assert self.status == Status.CONFIRMED

    def reserved(self, trouble: str = "dropped") -> None:
        """The provider does not answer."""
        self.placed()
        self.healthy.life = Life(spoils=lambda call: trouble if call == self.world.provider.charge_call else None)
        self.deliver(self.healthy)
        self.healthy.life = Life()
        assert self.status == Status.RESERVED

    def batch(self) -> None:
        self.cancelled()
        self.placed("p2")
        self.placed("rare")
        self.produced()

    def cancelled(self) -> None:
        self.confirmed()
        self.cancel(self.healthy)

    def given_up(self) -> None:
        """Before it was charged."""
        self.reserved()
        self.cancel(self.healthy)

    def shipped(self) -> None:
        self.confirmed()
        self.ship(self.healthy)

    def lost(self) -> None:
        """Its message is gone, and it alone is overdue, always in the same shard.

        It is a quarter of an hour, when `recover` replays too.
        """
        self.deliver(self.healthy)
        keys = (f"{self.name}-{number}" for number in count())
        self.place(
            self.healthy, next(key for key in keys if crc32(order_id_from_key(self.name, key).encode()) % SHARDS == 0)
        )
        self.world.queue.lose(self.world.stage["ORDER_QUEUE"], self.expected)
        self.world.clock.advance(seconds=61)
        now = self.world.clock()
        self.world.clock.advance(seconds=-(60 * now.minute + now.second) % 900)

    def poisoned(self) -> None:
        """Messages that can never pass: no JSON, no order, and another order with the id of one that exists."""
        self.confirmed()
        other = an_event(self.order_id, {"p2": 3}, customerId=self.name)
        bodies = [f"{self.name} no JSON", exact_json.dumps(a_body({"p1": 0})), exact_json.dumps(other)]
        self.for_people.update(bodies)
        for body in bodies:
            self.world.queue.send_message(QueueUrl=self.world.stage["ORDER_QUEUE"], MessageBody=body)

    def dead_letter(self) -> None:
        """Of a producer's order that is not stored, after an outage."""
        order_id = f"ORD-{self.name}"
        self.expected.add(order_id)
        sent = int(self.world.clock().timestamp() * 1000)
        message = Message(order_id, "", exact_json.dumps(an_event(order_id)), DEFAULT_MAX_RECEIVES, sent, {})
        self.healthy.service.dead_letters.keep(message, Kind.RETRY, "an outage")
        self.world.clock.advance(minutes=16)

    def redriven(self) -> None:
        """The consumer died between confirming and publishing each time: nothing but the dead letter knows of it."""
        self.placed()
        self.healthy.life = Life(spoils=lambda call: "killed before" if call == "put_events" else None)
        self.deliver(self.healthy)
        self.healthy.life = Life()
        assert self.status == Status.CONFIRMED
        self.world.queue.redrive(self.world.stage["ORDER_QUEUE"], self.order_id)

    def restored(self) -> None:
        """The tables are as before the order was placed; its money is taken, and its message comes again."""
        self.reserved("lost")
        forget_order(self.world.stage, self.order_id)
        stock_up(self.world.stage, p1=stock_in(self.world.stage)["p1"] + 1)

    @property
    def status(self) -> str:
        order = self.healthy.service.orders.get(self.order_id)
        assert order
        return order.status


Act = Callable[[Run, Process], None]
Record = Callable[[str, object], None]
"""pytest's fixture `record_property`: `conftest.py` says what is recorded."""

SCENARIOS: dict[str, tuple[Callable[[Run], None], Act]] = {
    "place with a key": (Run.nothing, lambda run, process: run.place(process, run.name)),
    "place without a key": (Run.nothing, lambda run, process: run.place(process, None)),
    "a duplicate": (Run.placed, lambda run, process: run.place(process, f"{run.name}-p1")),
    "fulfil one": (Run.placed, Run.deliver),
    "fulfil a producer's": (Run.produced, Run.deliver),
    "fulfil a mixed batch": (Run.batch, Run.deliver),
    "decline": (Run.placed, Run.deliver),
    "out of stock": (Run.placed_rare, Run.deliver),
    "cancel, PENDING": (Run.placed, Run.cancel),
    "cancel, RESERVED": (Run.reserved, Run.cancel),
    "cancel, CONFIRMED": (Run.confirmed, Run.cancel),
    "refund": (Run.cancelled, Run.deliver),
    "pending refund": (Run.cancelled, Run.deliver_before_the_bank),
    "refund of nothing": (Run.given_up, Run.deliver),
    "ship": (Run.confirmed, Run.ship),
    "deliver": (Run.shipped, Run.hand_over),
    "events of a shipment": (Run.shipped, Run.deliver),
    "last receive": (Run.placed, Run.last_receive),
    "recover": (Run.lost, Run.recover),
    "quarantine": (Run.poisoned, Run.deliver),
    "automatic replay": (Run.dead_letter, Run.replay_due),
    "manual replay": (Run.dead_letter, Run.replay_all),
    "purge": (Run.redriven, Run.purge),
    "restore": (Run.restored, Run.deliver),
}
"""What has happened before, and the act."""

PAYING: tuple[str, ...] = ("fulfil one", "decline", "refund", "refund of nothing", "restore")
if ALL:
    PAYING = (*PAYING, "fulfil a producer's", "fulfil a mixed batch", "last receive")
"""Those whose act asks the payment provider: they are tried with Stripe too."""

WITH = {"simulated": "", "stripe": ", with Stripe"}
"""What is recorded of a provider."""


def useful(number: int, fault: str) -> bool:
    """Whether the fault at this call is tried without FAULTS=all: each call meets one of those that only refuse it, and
    who is killed before a call was killed after the one before it."""
    return ALL or (fault == REFUSED[number % 3] if fault in REFUSED else fault != "killed before" or number == 0)


class Trial:
    """A scenario, run as often as there are schedules; `check` asks every promise."""

    def __init__(self, world: World, scenario: str) -> None:
        self.world = world
        self.prepare, self.act = SCENARIOS[scenario]
        self.healthy, self.struck = world.process(), world.process()
        for process in (self.healthy, self.struck):
            process.provider.decline_percent = 100 if scenario == "decline" else 0
        if world.stripe:
            # None has succeeded at once: so the act has the same calls each time.
            world.stripe.fake.refunds_become = cycle([("pending", "failed"), ("pending", "succeeded")])
        self.runs: list[Run] = []

    def calls(self) -> list[Call]:
        """The act's calls when nothing goes wrong. Without FAULTS=all: of equal ones in a row the first and last; and
        where Stripe is asked, only the calls from the one before the first of it to the one after the last."""
        run = self.prepared("nothing")
        self.struck.start(Life())
        self.act(run, self.struck)
        calls = self.struck.life.calls
        asking = [call.number for call in calls if call.name.startswith("stripe ")]
        if asking and not ALL:
            calls = calls[asking[0] - 1 : asking[-1] + 2]
        rows = [list(row) for _, row in groupby(calls, key=lambda call: call.name)]
        return calls if ALL else [call for row in rows for call in (row[0], *row[1:][-1:])]

    def places(self, faults: Collection[str] | None = None) -> list[tuple[int, str]]:
        """Numbers of the act's calls, each with a fault that can strike it; by default with each that is useful."""
        return [
            (call.number, fault)
            for call in self.calls()
            for fault in faults or FAULTS
            if call.can_be(fault) and (faults or useful(call.number, fault))
        ]

    def prepared(self, name: str) -> Run:
        run = Run(self.world, self.healthy, name.replace(" ", "-"))
        self.prepare(run)
        self.runs.append(run)
        return run

    def schedule(self, *attempts: Mapping[int, str]) -> bool:
        """One run: each attempt is struck at these of its calls, then somebody healthy does the same.

        Whether all of the faults did strike.
        """
        run = self.prepared("-then-".join(f"{fault}-{n}" for each in attempts for n, fault in each.items()))
        lives = [life_with(strikes) for strikes in attempts]
        for life in lives:
            self.struck.start(life)
            with suppress(Unavailable, Rejected, Killed):
                self.act(run, self.struck)
        self.act(run, self.healthy)
        for life in lives:
            life.land()
        return sum(life.struck for life in lives) == sum(map(len, attempts))

    def overtaken(self, number: int) -> bool:
        """One run: just before this call of the act somebody healthy does the same, from beginning to end.

        Whether there was this call.
        """
        run = self.prepared(f"overtaken-{number}")
        self.struck.start(Life(at={number: lambda: self.act(run, self.healthy)}))
        self.act(run, self.struck)
        return self.struck.life.made > number

    def pays_too_late(self, number: int) -> bool:
        """One run: just before somebody pays, somebody else is declined, and dies after the call with this number.

        Whether there was this call.
        """
        assert self.world.stripe
        run, stripe = self.prepared(f"too-late-{number}"), self.world.stripe

        def declined() -> None:
            stripe.decline_percent = 100
            with suppress(Killed):
                self.act(run, self.healthy)
            stripe.decline_percent = 0

        self.healthy.start(Life(dies_at=number, after=True))
        self.struck.start(Life(before={stripe.charge_call: declined}))
        self.act(run, self.struck)
        died = self.healthy.life.dead
        self.healthy.start(Life())
        return died

    def check(self) -> None:
        """Once all is quiet: one order a key, an end each, stock and money conserved, events and messages complete."""
        self.world.come_to_rest()
        stored = {order["orderId"] for order in self.world.stage.items("ORDERS_TABLE")}
        assert not [run.name for run in self.runs if not run.expected <= stored], "an order is lost"
        expected = {order_id for run in self.runs for order_id in run.expected}
        check_conserved(self.world.stage, STOCK, expected, books=self.world.provider.books())
        check_events(self.world)
        check_messages(self.world, {body for run in self.runs for body in run.for_people})


@contextmanager
def trial(stage: Stage, scenario: str, provider: str = "simulated") -> Iterator[Trial]:
    """A trial in a world of its own, which is checked in the end."""
    with world_of(stage, scenario, STOCK, rate=0, provider=provider) as world:
        one = Trial(world, scenario)
        yield one
        one.check()
