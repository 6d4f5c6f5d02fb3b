"""Stock and money are conserved, whatever happens at once: real threads on a real engine, rounds by seed.

ROUNDS (1 unless set) says how many times over: `ROUNDS=20 make test ARGS="-k conservation"`.
"""

import logging
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from chalicelib import exact_json
from chalicelib.api import Request, place_order
from chalicelib.deadline import NO_DEADLINE
from chalicelib.events import EVENTS
from chalicelib.faults import Unavailable
from chalicelib.idempotency import order_id_of_key
from chalicelib.order import Status
from chalicelib.simulated_payments import TimesOut
from tests.support.aws_calls import Killed
from tests.support.stage import Stage
from tests.support.till import a_body, check_conserved, stock_up
from tests.support.world import Life, Process, World

ROUNDS = int(os.environ.get("ROUNDS", "1"))
BEFORE = {"p1": 40, "p2": 500, "p3": 6}
PLENTY = {"p1": 1_000_000}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of lines that nobody reads cost more than what they speak of."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@contextmanager
def world_of(stage: Stage, seed: object, stock: dict[str, int]) -> Iterator[World]:
    for product_id, units in stock.items():
        stock_up(stage, product_id, units)
    world = World(stage, seed)
    try:
        yield world
    finally:
        world.close()


def place(process: Process, key: str, quantities: dict[str, int]) -> str:
    """POST /orders, as a client does it: again with the same key until the answer is 2xx."""
    body = exact_json.dumps(a_body(quantities) | {"totalAmount": 10 * sum(quantities.values())}).encode()
    headers = {"idempotency-key": key, "content-type": "application/json"}
    answer = until_it_works(process, lambda: place_order(process.service, Request(headers, {}, body, "test")))
    assert answer.status == 201
    return str(exact_json.loads(answer.body)["orderId"])


def until_it_works(process: Process, ask: Callable[[], Any]) -> Any:
    """A process that dies is replaced, and what is unavailable is asked for again."""
    while True:
        try:
            return ask()
        except Killed:
            process.life = Life()
        except Unavailable:
            continue


def check_events(world: World) -> None:
    """Each history entry that bears an event has told it, at least once, under one id and always the same; no more."""
    told: dict[tuple[str, int], set[str]] = {}
    details: dict[str, str] = {}
    for event in world.bus.told:
        told.setdefault((event["orderId"], int(event["sequence"])), set()).add(event["eventId"])
        assert details.setdefault(event["eventId"], repr(event)) == repr(event)
    owed = {
        (order["orderId"], sequence)
        for order in world.stage.items("ORDERS_TABLE")
        for sequence, entry in enumerate(order["history"])
        if entry["status"] in EVENTS
    }
    assert told.keys() == owed
    assert all(len(ids) == 1 for ids in told.values())
    assert len(details) == len(owed)


def paths_of(stage: Stage) -> Counter[str]:
    """How often each path was taken: PENDING-RESERVED-CONFIRMED and so on."""
    orders = stage.items("ORDERS_TABLE")
    return Counter("-".join(entry["status"] for entry in order["history"]) for order in orders)


# --- everything at once ---


@dataclass
class Chaos:
    """One round: placers, a producer, customers, an operator, consumers and recover, each a thread and all unwell."""

    world: World
    orders: int = 40
    decline_percent: int = 15

    def __post_init__(self) -> None:
        chance = self.world.chance
        self.keys = {f"key-{n}": self._quantities() for n in range(self.orders)}
        self.ids = {order_id_of_key("c1", key): key for key in self.keys}
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
        ends = [self._placer, self._placer, self._producer]
        others = [self._consumer, self._consumer, self._consumer, self._recover, self._customers, self._operator]
        with ThreadPoolExecutor(len(ends) + len(others)) as pool:
            beginning = [pool.submit(each, self._unwell_process(n)) for n, each in enumerate(ends)]
            going_on = [pool.submit(each, self._unwell_process(n + 9)) for n, each in enumerate(others)]
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

        process.provider.trouble = trouble
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

    def _placer(self, given: tuple[Process, random.Random]) -> None:
        process, chance = given
        while True:
            with self.lock:
                if not self.placing:
                    return
                key = self.placing.pop()
            process.life = self._life(chance)
            assert self.ids[place(process, key, self.keys[key])] == key

    def _producer(self, given: tuple[Process, random.Random]) -> None:
        _, chance = given
        for order_id in self.producing:
            quantities = self.produced[order_id]
            document = a_body(quantities) | {"orderId": order_id, "totalAmount": 10 * sum(quantities.values())}
            self.world.queue.send_message(
                QueueUrl=self.world.stage["ORDER_QUEUE"], MessageBody=exact_json.dumps(document)
            )
            time.sleep(chance.random() * 0.02)

    def _consumer(self, given: tuple[Process, random.Random]) -> None:
        process, chance = given
        self._while_it_lasts(process, chance, lambda: self.world.deliver(process, chance.choice((1, 3, 10))))

    def _recover(self, given: tuple[Process, random.Random]) -> None:
        process, chance = given
        self._while_it_lasts(process, chance, lambda: process.service.recovery.recover(NO_DEADLINE))

    def _customers(self, given: tuple[Process, random.Random]) -> None:
        process, chance = given
        fickle = chance.sample(sorted(self.ids) + sorted(self.produced), self.orders // 3)
        self._while_it_lasts(
            process, chance, lambda: process.service.operations.cancel(chance.choice(fickle), "changed my mind")
        )

    def _operator(self, given: tuple[Process, random.Random]) -> None:
        process, chance = given
        sent = chance.sample(sorted(self.ids), self.orders // 4)

        def act() -> None:
            order_id = chance.choice(sent)
            process.service.operations.ship(order_id, "ACME", None)
            if chance.random() < 0.5:
                process.service.operations.deliver(order_id)

        self._while_it_lasts(process, chance, act)


@pytest.mark.parametrize("seed", range(6 * ROUNDS))
def test_stock_and_money_are_conserved_whatever_happens_at_once(real_aws: Stage, seed: int) -> None:
    with world_of(real_aws, f"chaos {seed}", BEFORE) as world:
        chaos = Chaos(world)
        chaos.run()
        statuses = check_conserved(real_aws, BEFORE, {*chaos.ids, *chaos.produced})
        check_events(world)
        assert sum(statuses.values()) == len(chaos.ids) + len(chaos.produced)
        assert len(statuses) >= 3, f"too peaceful to show anything: {statuses}"


# --- cancel against fulfilment ---


@pytest.mark.parametrize("seed", range(2))
def test_a_cancel_races_with_fulfilment_and_whoever_comes_first_wins(real_aws: Stage, seed: int) -> None:
    """Hundreds of orders, each cancelled by one thread while two others have its message in hand."""
    rounds, many = 20 * ROUNDS, 10
    refunds: Counter[str] = Counter()
    with world_of(real_aws, f"race {seed}", PLENTY) as world, ThreadPoolExecutor(12) as pool:
        people, one, other = world.process(), world.process(), world.process()
        for n in range(rounds):
            orders = [place(people, f"{n}-{m}", {"p1": 1}) for m in range(many)]
            records = world.queue.receive(real_aws["ORDER_QUEUE"])
            both = [pool.submit(world.consume, process, records) for process in (one, other)]
            cancels = [pool.submit(_cancel, people, order_id, world.chance.random() * 0.15) for order_id in orders]
            for cancelled in cancels:
                cancelled.result(30)
            assert all(consumed.result(30) for consumed in both)
        world.come_to_rest()
        assert check_conserved(real_aws, PLENTY) == {"CANCELLED": rounds * many}
        check_events(world)
        refunds.update(order["refund"] for order in real_aws.items("ORDERS_TABLE"))
        assert refunds.keys() == {"DONE", "NONE"}
        paths = paths_of(real_aws)
        assert len(paths) >= 2, f"the races have all one winner: {paths}"


def _cancel(process: Process, order_id: str, delay: float) -> None:
    time.sleep(delay)
    process.service.operations.cancel(order_id, None)


# --- one crash, one cancel, at each place there is ---


def a_batch(world: World, people: Process, name: str) -> set[str]:
    """Messages of an order to charge, one to decline, one that has too little stock, one of a producer, and one that
    was confirmed and is cancelled. Their order ids."""
    placed = [place(people, f"{name}-{n}", {"p1": 1}) for n in range(2)]
    placed.append(place(people, f"{name}-short", {"p3": 1_000}))
    given_up = place(people, f"{name}-given-up", {"p1": 2})
    mine = [r for r in world.queue.receive(world.stage["ORDER_QUEUE"]) if given_up in r["body"]]
    assert world.consume(people, mine)
    people.service.operations.cancel(given_up, None)
    order_id = f"{name}-produced"
    document = a_body({"p2": 1}) | {"orderId": order_id, "totalAmount": 10}
    world.queue.send_message(QueueUrl=world.stage["ORDER_QUEUE"], MessageBody=exact_json.dumps(document))
    world.clock.advance(seconds=61)  # what was received before is there again
    return {*placed, given_up, order_id}


MOST_CALLS = 40


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_consumer_killed_between_any_two_of_its_calls_leaves_nothing_half_done(real_aws: Stage, after: bool) -> None:
    with world_of(real_aws, f"kill {after}", BEFORE) as world:
        people, consumer = world.process(), world.process()
        people.provider.decline_percent = consumer.provider.decline_percent = 30
        expected: set[str] = set()
        for number in range(MOST_CALLS):
            expected |= a_batch(world, people, f"{after}-{number}")
            consumer.life = Life(dies_at=number, after=after)
            while world.deliver(consumer):
                pass
            died = consumer.life.dead
            world.come_to_rest()
            check_conserved(real_aws, BEFORE, expected)
            if not died:
                break
        assert 10 < number < MOST_CALLS - 1
        check_events(world)


def test_a_cancel_between_any_two_calls_of_the_consumer_leaves_nothing_half_done(real_aws: Stage) -> None:
    """Of every order in hand, at every place, with the other consumer that sees to it coming at once or later."""
    with world_of(real_aws, "cancel", PLENTY) as world:
        people, consumer, other = world.process(), world.process(), world.process()
        expected: set[str] = set()
        for number in range(8):
            for at_once in (True, False):
                orders = [place(people, f"{number}-{at_once}-{n}", {"p1": 1}) for n in range(3)]
                expected |= set(orders)

                def cancel(orders: list[str] = orders, at_once: bool = at_once) -> None:
                    for order_id in orders[:2]:
                        people.service.operations.cancel(order_id, None)
                    if at_once:
                        world.clock.advance(seconds=61)
                        world.deliver(other)

                consumer.life = Life(at={number: cancel})
                world.deliver(consumer)
                world.come_to_rest()
                statuses = check_conserved(real_aws, PLENTY, expected)
        assert statuses["CANCELLED"] == 6 * 2 * 2, (
            "a delivery of three makes six calls: reserve, 3 charges, confirm, publish"
        )
        assert len(paths_of(real_aws)) >= 4
        check_events(world)


def test_the_world_itself_is_as_unkind_as_it_says(real_aws: Stage) -> None:
    """A test that cannot fail is worse than none: messages do come twice, processes die, entries fail."""
    with world_of(real_aws, "unkind", PLENTY) as world:
        process = world.process()
        world.queue.twice, world.bus.fails = 1.0, 1.0
        order_id = place(process, "k", {"p1": 1})
        queue = real_aws["ORDER_QUEUE"]
        first, again = world.queue.receive(queue), world.queue.receive(queue)
        assert first[0]["messageId"] == again[0]["messageId"]
        assert not world.consume(process, again)
        process.life = Life(dies_at=0)
        assert not world.consume(process, again)
        assert process.life.dead
        assert "outboxDueAt" in next(o for o in real_aws.items("ORDERS_TABLE") if o["orderId"] == order_id)
        world.come_to_rest()
        assert check_conserved(real_aws, PLENTY, {order_id}) == {Status.CONFIRMED: 1}
