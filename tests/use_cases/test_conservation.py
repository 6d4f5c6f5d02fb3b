"""Stock and money are conserved, whatever happens at once: real threads on a real engine, rounds by seed.

ROUNDS (1 unless set) says how many times over: `ROUNDS=20 make test ARGS="-k conservation"`.
"""

import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import pytest

from chalicelib import exact_json
from chalicelib.deadline import NO_DEADLINE
from chalicelib.domain.idempotency import order_id_from_key
from chalicelib.entrypoints.exchange import Answer
from chalicelib.entrypoints.problems import Problem
from chalicelib.faults import Unavailable
from tests.support.aws_calls import AwsCalls, Killed
from tests.support.conservation import check_conserved
from tests.support.faults import Life
from tests.support.orders import ANYBODY
from tests.support.payments import TimesOut
from tests.support.stage import Stage
from tests.support.tables import statuses_in
from tests.support.world import Process, World, ask, check_events, check_messages, produce, world_of

pytestmark = pytest.mark.usefixtures("quiet")

T = TypeVar("T")

ROUNDS = int(os.environ.get("ROUNDS", "1"))
BEFORE = {"p1": 40, "p2": 500, "p3": 6}
PLENTY = {"p1": 1_000_000}


def place(process: Process, key: str | None, quantities: dict[str, int], customer_id: str = "c1") -> str:
    """As a client does it: again with the same key until the answer is 2xx. The order id."""
    answer = until_it_works(process, lambda: ask(process, key, quantities, customer_id))
    assert answer.status == 201
    return str(exact_json.loads(answer.body)["orderId"])


def until_it_works(process: Process, act: Callable[[], Any]) -> Any:
    """A process that dies is replaced, and what is unavailable is asked for again."""
    while True:
        try:
            return act()
        except Killed:
            process.life = Life()
        except Unavailable:
            continue


# --- everything at once ---


@dataclass
class Chaos:
    """One round: placers, a producer, customers, an operator, consumers and recover, each a thread and all unwell."""

    world: World
    orders: int = 40
    decline_percent: int = 15
    batch_size: int = 10

    def __post_init__(self) -> None:
        chance = self.world.chance
        self.keys = {f"key-{n}": self._quantities() for n in range(self.orders)}
        self.ids = {order_id_from_key("c1", key): key for key in self.keys}
        self.produced = {f"ORD-{n}": self._quantities() for n in range(self.orders // 4)}
        self.over = threading.Event()
        # Each is sent once, twice or three times over.
        self.placing = [key for key in self.keys for _ in range(chance.choice((1, 1, 2, 3)))]
        self.producing = [order_id for order_id in self.produced for _ in range(chance.choice((1, 2)))]
        chance.shuffle(self.placing)
        chance.shuffle(self.producing)
        self.lock = threading.Lock()

    def _quantities(self) -> dict[str, int]:
        chance = self.world.chance
        products = chance.sample(sorted(BEFORE), chance.choice((1, 1, 2)))
        return {product_id: chance.choice((1, 1, 2, 3)) for product_id in products}

    def run(self) -> None:
        self.world.queue.twice, self.world.bus.fails = 0.15, 0.1
        chance = random.Random(self.world.chance.random())
        self.world.machine.aborts_after = lambda: chance.randrange(6) if chance.random() < 0.2 else None
        ends = [self._placer, self._placer, self._producer]
        others = [self._consumer, self._consumer, self._consumer, self._recover, self._customers, self._operator]
        with ThreadPoolExecutor(len(ends) + len(others)) as pool:
            beginning = [pool.submit(each, *self._unwell_process(n)) for n, each in enumerate(ends)]
            going_on = [pool.submit(each, *self._unwell_process(n + 9)) for n, each in enumerate(others)]
            try:
                for future in beginning:
                    future.result(60)
                time.sleep(0.3)
            finally:
                self.over.set()
            for future in going_on:
                future.result(60)
        self.world.come_to_rest()

    def _unwell_process(self, n: int) -> tuple[Process, random.Random]:
        process = self.world.process()
        chance = random.Random(self.world.chance.random() + n)
        process.provider.decline_percent = self.decline_percent

        def trouble(_operation: str, _order_id: str) -> TimesOut | None:
            return chance.choice(list(TimesOut)) if chance.random() < 0.2 else None

        process.payments.trouble = trouble
        return process, chance

    @staticmethod
    def _life(chance: random.Random) -> Life:
        def spoils(_: str) -> str | None:
            return chance.choice(("dropped", "lost", "conflict")) if chance.random() < 0.04 else None

        return Life(chance.randrange(14) if chance.random() < 0.4 else None, chance.random() < 0.5, spoils)

    def _while_it_lasts(self, process: Process, chance: random.Random, act: Callable[[], object]) -> None:
        while not self.over.is_set():
            process.life = self._life(chance)
            until_it_works(process, act)
            time.sleep(chance.random() * 0.01)

    def _placer(self, process: Process, chance: random.Random) -> None:
        while True:
            with self.lock:
                if not self.placing:
                    return
                key = self.placing.pop()
            process.life = self._life(chance)
            assert self.ids[place(process, key, self.keys[key])] == key

    def _producer(self, _: Process, chance: random.Random) -> None:
        for order_id in self.producing:
            produce(self.world, order_id, self.produced[order_id])
            time.sleep(chance.random() * 0.02)

    def _consumer(self, process: Process, chance: random.Random) -> None:
        self._while_it_lasts(
            process, chance, lambda: self.world.deliver(process, chance.choice((1, 3, self.batch_size)))
        )

    def _recover(self, process: Process, chance: random.Random) -> None:
        self._while_it_lasts(process, chance, lambda: process.service.recovery.recover(NO_DEADLINE))

    def _customers(self, process: Process, chance: random.Random) -> None:
        fickle = chance.sample(sorted(self.ids) + sorted(self.produced), self.orders // 3)
        self._while_it_lasts(
            process,
            chance,
            lambda: process.service.operations.cancel(chance.choice(fickle), "no more", ANYBODY),
        )

    def _operator(self, process: Process, chance: random.Random) -> None:
        sent = chance.sample(sorted(self.ids), self.orders // 4)

        def act() -> None:
            order_id = chance.choice(sent)
            process.service.operations.ship(order_id, "ACME", None, ANYBODY)
            if chance.random() < 0.5:
                process.service.operations.deliver(order_id, ANYBODY)

        self._while_it_lasts(process, chance, act)


@pytest.mark.parametrize(
    ("engine", "provider", "seed"),
    [
        *(("queue", "simulated", n) for n in range(6 * ROUNDS)),
        *(("step-functions", "simulated", n) for n in range(4, 6 * ROUNDS)),
        *(("queue", "stripe", n) for n in range(2 * ROUNDS)),
        ("step-functions", "stripe", 0),
    ],
)
def test_stock_and_money_are_conserved_whatever_happens_at_once(
    real_tables: Stage, engine: str, provider: str, seed: int
) -> None:
    with world_of(real_tables, f"chaos {seed}", BEFORE, engine=engine, provider=provider) as world:
        if world.stripe:
            world.stripe.strange_percent = 10
        chaos = Chaos(world, batch_size=100 if seed % 6 == 5 else 10)
        chaos.run()
        expected = {*chaos.ids, *chaos.produced}
        statuses = check_conserved(real_tables, BEFORE, expected, books=world.provider.books())
        check_events(world)
        check_messages(world)
        assert len(statuses) >= 3, f"too peaceful to show anything: {statuses}"
        ends = {execution.status for execution in world.machine.executions.values()}
        assert ends >= ({"SUCCEEDED", "ABORTED"} if engine == "step-functions" else set())


# --- cancel against fulfilment ---


@pytest.mark.parametrize(
    ("engine", "provider", "seed"),
    [
        ("queue", "simulated", 0),
        ("queue", "simulated", 1),
        ("queue", "stripe", 0),
        ("step-functions", "simulated", 0),
    ],
)
def test_a_cancel_races_with_fulfilment_and_whoever_comes_first_wins(
    real_tables: Stage, engine: str, provider: str, seed: int
) -> None:
    """Hundreds of orders, each cancelled by one thread while two others have its message, or its execution, in hand."""
    rounds = (10 if engine == "step-functions" else 5 if provider == "stripe" else 20) * ROUNDS
    many = 10
    with (
        world_of(real_tables, f"race {seed}", PLENTY, engine=engine, provider=provider) as world,
        ThreadPoolExecutor(12) as pool,
    ):
        people, one, other = world.process(), world.process(), world.process()

        def cancel(order_id: str, delay: float) -> None:
            time.sleep(delay)
            people.service.operations.cancel(order_id, None, ANYBODY)

        for n in range(rounds):
            # An execution takes a call for each step of each order: how long, the machine decides.
            latest = 0.15 if engine == "queue" else 0.15 * (n + 1)
            orders = [place(people, f"{n}-{m}", {"p1": 1}) for m in range(many)]
            records = world.queue.receive(real_tables["ORDER_QUEUE"])
            both = [pool.submit(world.consume, process, records) for process in (one, other)]
            cancels = [pool.submit(cancel, order_id, world.chance.random() * latest) for order_id in orders]
            for cancelled in cancels:
                cancelled.result(30)
            assert all(consumed.result(30) for consumed in both)
        world.come_to_rest()
        assert check_conserved(real_tables, PLENTY, books=world.provider.books()) == {"CANCELLED": rounds * many}
        check_events(world)
        stored = real_tables.items("ORDERS_TABLE")
        assert {order["refund"] for order in stored} == {"DONE", "NONE"}
        assert len({len(order["history"]) for order in stored}) >= 2, "the races have all one winner"


# --- one crash at each place there is ---


def a_batch(world: World, people: Process, name: str) -> set[str]:
    """Messages of orders to charge and to decline, of one that has too little stock, of one of a producer, and of one
    that was confirmed and is cancelled. Their order ids."""
    given_up = place(people, f"{name}-given-up", {"p1": 2})
    placed = [place(people, key, {"p1": 1}, name) for key in (f"{name}-0", f"{name}-1", None)]
    placed.append(place(people, f"{name}-short", {"p3": 1_000}))
    people.life = Life()
    mine = [r for r in world.queue.receive(world.stage["ORDER_QUEUE"]) if given_up in r["body"]]
    if mine:
        assert world.consume(people, mine)
    people.service.operations.cancel(given_up, None, ANYBODY)
    produce(world, f"{name}-produced", {"p2": 1})
    world.clock.advance(seconds=61)  # what was received before is there again
    return {*placed, given_up, f"{name}-produced"}


MOST_CALLS = 40


@pytest.mark.parametrize(
    ("engine", "after", "lost", "more", "provider"),
    [
        *(("queue", after, lost, 0, "simulated") for lost in (False, True) for after in (False, True)),
        ("queue", True, False, 5, "simulated"),
        ("queue", True, True, 2, "stripe"),
        ("step-functions", False, False, 0, "simulated"),
        ("step-functions", True, True, 0, "simulated"),
    ],
    ids=[
        *("before", "after", "before, messages lost", "after, messages lost", "after, in a batch of up to a hundred"),
        "after, messages lost, with Stripe",
        "step functions, before",
        "step functions, after, messages lost",
    ],
)
def test_a_process_killed_between_any_two_of_its_calls_leaves_nothing_half_done(
    real_tables: Stage, engine: str, after: bool, lost: bool, more: int, provider: str
) -> None:
    """Be it placing or consuming. A message lost before its order was created is its producer's to send again.

    `more` orders of a producer make the batch one whose deletions and events take several calls, side by side; of its
    calls only every third is one to die at, and with Stripe every sixth; with Step Functions, where an order takes more
    calls, every fifth.
    """
    gap, most = (
        (6 if provider == "stripe" else 3 if more else 1),
        MOST_CALLS + (15 if provider == "stripe" else 3) * more,
    )
    if engine == "step-functions":
        gap, most = 5, 2 * MOST_CALLS
    with world_of(real_tables, f"kill {after}", BEFORE, engine=engine, provider=provider) as world:
        people, consumer = world.process(), world.process()
        people.provider.decline_percent = consumer.provider.decline_percent = 30
        expected: set[str] = set()
        for number in range(0, most, gap):
            people.life = Life(dies_at=number, after=after)
            expected |= a_batch(world, people, f"{after}-{number}")
            for n in range(more):
                produce(world, f"{after}-{number}-{n}", {"p2": 1})
                expected.add(f"{after}-{number}-{n}")
            life = consumer.life = Life(dies_at=number, after=after)
            while world.deliver(consumer, 100 if more else 10):
                pass
            died = life.dead
            if lost:
                world.queue.lose(real_tables["ORDER_QUEUE"], statuses_in(real_tables))
            world.come_to_rest()
            check_conserved(real_tables, BEFORE, expected, not lost, world.provider.books())
            if not died:
                break
        assert 10 < number < most - gap
        if not lost:  # once an order is CONFIRMED, its message alone owes the event, and SQS loses none
            check_events(world)


@pytest.mark.parametrize("engines", [("queue", "step-functions"), ("step-functions", "queue")], ids=lambda e: e[0])
def test_a_stage_that_changes_its_engine_with_orders_under_way_loses_none(
    real_tables: Stage, engines: tuple[str, str]
) -> None:
    """The old one is cut off at any of its calls, and its executions after any of their states."""
    before, after = engines
    with world_of(real_tables, f"from {before}", BEFORE, engine=before) as world:
        people, consumer = world.process(), world.process()
        people.provider.decline_percent = consumer.provider.decline_percent = 30
        expected: set[str] = set()
        for number in range(0, 2 * MOST_CALLS, 4):
            expected |= a_batch(world, people, f"{before}-{number}")
            life = consumer.life = Life(dies_at=number, after=number % 8 == 0)
            world.machine.aborts_after = partial(int, number // 4 % 6)
            world.deliver(consumer)
            world.switch(after)
            world.come_to_rest()
            check_conserved(real_tables, BEFORE, expected)
            check_events(world)
            check_messages(world)
            world.switch(before)
            if not life.dead:
                break
        assert 10 < number < 2 * MOST_CALLS - 4


# --- equal and unlike requests at once ---


def at_once(count: int, action: Callable[[int], T]) -> list[T]:
    """Do it in as many threads, which begin together."""
    together = threading.Barrier(count)

    def begin(n: int) -> T:
        together.wait()
        return action(n)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def check_one_order(world: World, answers: list[Answer], orders: int = 1) -> None:
    """All were answered with one order, which one of them placed, and its message was sent once."""
    assert {answer.status for answer in answers} == {201}
    assert len({(answer.body, answer.headers["Location"]) for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert (len(statuses_in(world.stage)), world.queue.waiting()) == (orders, 1)


@pytest.mark.parametrize("key", ["k1", None], ids=["with one key", "without a key"])
@pytest.mark.parametrize("lost", [0, 2], ids=["all answered", "two answers of DynamoDB lost"])
def test_two_hundred_equal_requests_at_once_are_one_order_and_two_hundred_equal_answers(
    real_tables: Stage, aws_calls: AwsCalls, key: str | None, lost: int
) -> None:
    with world_of(real_tables, "equal", PLENTY) as world:
        process = world.process()
        if lost:
            aws_calls.watch(process.dynamodb)
            aws_calls.lose_answer("PutItem", nth=2, times=lost)
        check_one_order(world, at_once(200, lambda _: ask(process, key, {"p1": 1})))
        world.come_to_rest()
        assert check_conserved(real_tables, PLENTY) == {"CONFIRMED": 1}


def test_of_many_equal_requests_each_with_a_payment_method_of_its_own_one_method_pays(real_tables: Stage) -> None:
    """As a double submit makes them: a token of the provider is used once."""
    with world_of(real_tables, "tokens", PLENTY, provider="stripe") as world:
        process = world.process()
        check_one_order(world, at_once(32, lambda _: ask(process, "k1", {"p1": 1})))
        world.come_to_rest()
        assert check_conserved(real_tables, PLENTY, books=world.provider.books()) == {"CONFIRMED": 1}
        assert world.stripe
        assert [method["_used"] for method in world.stripe.fake.methods.values()].count(True) == 1


def test_of_unlike_orders_at_once_under_one_key_one_stands_and_the_others_are_refused(real_tables: Stage) -> None:
    with world_of(real_tables, "unlike", PLENTY) as world:
        process = world.process()

        def try_it(n: int) -> Answer | int:
            try:
                return ask(process, "k1", {"p1": 1 + n % 4})
            except Problem as problem:
                return problem.status

        answers = at_once(32, try_it)
        assert answers.count(422) == 24
        check_one_order(world, [answer for answer in answers if isinstance(answer, Answer)])


def test_many_at_once_after_an_order_without_a_key_was_given_up_are_one_new_order(real_tables: Stage) -> None:
    with world_of(real_tables, "given up", PLENTY) as world:
        process = world.process()
        first = place(process, None, {"p1": 1})
        process.service.operations.cancel(first, None, ANYBODY)
        world.come_to_rest()
        check_one_order(world, at_once(32, lambda _: ask(process, None, {"p1": 1})), orders=2)


@pytest.mark.parametrize("seed", range(3 * ROUNDS))
def test_of_fifty_orders_for_thirty_units_thirty_are_confirmed_and_twenty_fail(real_tables: Stage, seed: int) -> None:
    with world_of(real_tables, f"hot {seed}", {"p1": 30}) as world, ThreadPoolExecutor(10) as pool:
        keys = [f"k{n}" for n in range(50)] * 2  # a client retries
        world.chance.shuffle(keys)
        people = world.process()
        placed = [pool.submit(place, people, key, {"p1": 1}) for key in keys]

        def consume(process: Process, chance: random.Random) -> None:
            while not all(future.done() for future in placed):
                world.deliver(process, chance.randint(1, 10))

        for consumer in [pool.submit(consume, world.process(), random.Random(n)) for n in range(4)]:
            consumer.result(60)
        world.come_to_rest()
        assert check_conserved(real_tables, {"p1": 30}) == {"CONFIRMED": 30, "FAILED": 20}


def test_the_world_itself_is_as_unkind_as_it_says(real_tables: Stage) -> None:
    """A test that cannot fail is worse than none: messages do come twice, processes die, entries fail."""
    with world_of(real_tables, "unkind", PLENTY) as world:
        process = world.process()
        world.queue.twice, world.bus.fails = 1.0, 1.0
        order_id = place(process, "k", {"p1": 1})
        queue = real_tables["ORDER_QUEUE"]
        first, again = world.queue.receive(queue), world.queue.receive(queue)
        assert first[0]["messageId"] == again[0]["messageId"]
        assert not world.consume(process, again)
        process.life = Life(dies_at=0)
        assert not world.consume(process, again)
        assert process.life.dead
        assert "outboxDueAt" in next(o for o in real_tables.items("ORDERS_TABLE") if o["orderId"] == order_id)
