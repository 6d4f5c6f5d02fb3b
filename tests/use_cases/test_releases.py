"""The release before this one and this one at the same time, as in a canary: on the same tables, queue and bus.

Whichever of them places, delivers, recovers or is killed, and whichever is left in the end: everything is once, and
what one has written the other understands. Rounds by seed; ROUNDS (1 unless set) says how many:
`ROUNDS=20 make test ARGS=tests/use_cases/test_releases.py`.
"""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from chalicelib import exact_json
from chalicelib.adapters.dynamodb.items import LATE_SHARD, REFUND_SHARD
from chalicelib.deadline import NO_DEADLINE
from chalicelib.domain.idempotency import order_id_from_key
from chalicelib.entrypoints.api import cancel_order, place_order
from chalicelib.entrypoints.exchange import Answer, Request
from chalicelib.entrypoints.problems import Problem
from tests.support.aws_calls import Killed
from tests.support.conservation import check_conserved
from tests.support.faults import Life
from tests.support.orders import a_body
from tests.support.payments import Bank
from tests.support.previous_release import PreviousProcess, unpack
from tests.support.stage import Stage
from tests.support.world import World, check_events, check_messages, produce, world_of

pytestmark = pytest.mark.usefixtures("quiet")

BEFORE = {"p1": 12, "p2": 500, "p3": 5}
ORDERS = 24
BATCHES = 60
"""That each release takes at most, empty ones too; the one that is left does the rest."""
RATE = 60
"""A minute is a second: so long is a message hidden that somebody works on."""
ROUNDS = int(os.environ.get("ROUNDS", "1"))


class ThisProcess:
    """A process of this release, asked for the same as one of the release before."""

    def __init__(self, world: World) -> None:
        self._world, self._process = world, world.process()

    def dies_after(self, calls: int | None) -> None:
        """So many calls of AWS later it is killed; None: it lives."""
        self._process.start(Life(calls))

    def consume(self, records: list[dict[str, Any]]) -> None:
        self._world.consume(self._process, records)
        if self._process.life.dead:
            self._process.start(Life())

    def recover(self) -> int:
        service = self._process.service
        return service.recovery.recover(NO_DEADLINE) + service.dead_letters.replay_due(NO_DEADLINE)

    def place(self, headers: dict[str, str], body: str) -> tuple[int, str]:
        return _answered(lambda: place_order(self._process.service, Request(headers, {}, body.encode(), "test")))

    def bank(self) -> Bank:
        """From now on its provider's refunds take their time."""
        self._process.payments.provider = bank = Bank(self._process.provider)
        return bank

    def cancel(self, order_id: str) -> int:
        return _answered(lambda: cancel_order(self._process.service, Request({}, {}, b"", "test"), order_id))[0]


Release: TypeAlias = PreviousProcess | ThisProcess


def _answered(act: Callable[[], Answer]) -> tuple[int, str]:
    try:
        answer = act()
    except Problem as problem:
        return problem.status, str(problem.body)
    return answer.status, answer.body


@dataclass
class SideBySide:
    """One round: both releases place and cancel the same orders, and then work on the same batches."""

    world: World
    old: PreviousProcess
    new: ThisProcess = field(init=False)

    def __post_init__(self) -> None:
        self.new = ThisProcess(self.world)
        chance = self.world.chance
        self.keys = {f"key-{n}": self._quantities() for n in range(ORDERS)}
        self.produced = {f"ORD-{n}": self._quantities() for n in range(ORDERS // 4)}
        self.cancelled = set(chance.sample([*self.keys], ORDERS // 6))

    def _quantities(self) -> dict[str, int]:
        chance = self.world.chance
        return {product: chance.randint(1, 2) for product in chance.sample([*BEFORE], chance.choice((1, 1, 2)))}

    @property
    def expected(self) -> set[str]:
        return {order_id_from_key("c1", key) for key in self.keys} | self.produced.keys()

    def place(self) -> None:
        """Each order at one release, and its repetition at the other: the first answer, byte for byte.

        A producer's event may have a field that the old release ignores, and an order that it creates lacks.
        """
        for order_id, quantities in self.produced.items():
            for _ in range(self.world.chance.choice((1, 2))):
                produce(self.world, order_id, quantities, paymentMethod="pm_1")
        for key, quantities in self.keys.items():
            both: list[Release] = [self.old, self.new]
            self.world.chance.shuffle(both)
            headers = {"content-type": "application/json", "idempotency-key": key}
            body = exact_json.dumps(a_body(quantities, customerId="c1"))
            first, again = (release.place(headers, body) for release in both)
            assert first[0] == 201, first
            assert again == first
            if key in self.cancelled:
                for release in both:
                    assert release.cancel(order_id_from_key("c1", key)) == 200

    def work(self) -> None:
        """Both begin with the same batch; then each takes its own, and half of the time the other gets it too."""
        self.world.queue.twice = 0.2
        first = self.world.queue.receive(self.queue, 5)
        inboxes: dict[Release, list[list[dict[str, Any]]]] = {self.old: [first], self.new: [first]}

        def take(release: Release, other: Release) -> None:
            for _ in range(BATCHES):
                records = inboxes[release].pop() if inboxes[release] else self.world.queue.receive(self.queue, 5)
                if not records and not self.world.queue.waiting():
                    break
                if not records:
                    time.sleep(0.02)  # a fraction of the time for which a message in flight is hidden
                    continue
                if self.world.chance.random() < 0.5:
                    inboxes[other].append(records)
                with suppress(Killed):
                    release.consume(records)

        with ThreadPoolExecutor(2) as threads:
            both = threads.submit(take, self.old, self.new), threads.submit(take, self.new, self.old)
            for each in both:
                each.result()
        self.old.dies_after(None)
        self.new.dies_after(None)

    @property
    def queue(self) -> str:
        return self.world.stage["ORDER_QUEUE"]

    def rest(self, left: Release) -> None:
        """Only one of them is left: how far does it go by itself?"""
        self.world.queue.twice = 0.0
        quiet = 0
        for _ in range(30):
            sent = left.recover()
            while records := self.world.queue.receive(self.queue):
                left.consume(records)
            quiet = 0 if sent or self.world.queue.waiting() else quiet + 1
            if quiet == 2:
                return
            self.world.clock.advance(hours=7)
        raise AssertionError("it does not come to rest")


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("previous"))


@contextmanager
def side_by_side(stage: Stage, seed: int, code: Path) -> Iterator[SideBySide]:
    with world_of(stage, f"releases {seed}", dict(BEFORE), RATE) as world:
        old = PreviousProcess(world, code)
        try:
            yield SideBySide(world, old)
        finally:
            old.close()


@pytest.mark.parametrize("kept", ["the new one", "the old one"])
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_both_releases_work_on_the_same_orders_and_either_may_be_left(
    seed: int, kept: str, real_tables: Stage, code: Path
) -> None:
    with side_by_side(real_tables, seed, code) as both:
        both.place()
        chance = both.world.chance
        both.old.dies_after(chance.randrange(8))
        both.new.dies_after(chance.randrange(12))
        both.work()
        both.rest(both.new if kept == "the new one" else both.old)
        ended = check_conserved(real_tables, BEFORE, both.expected)
        assert ended["CONFIRMED"], "nothing was sold"
        assert ended["CANCELLED"]
        check_messages(both.world)
        check_events(both.world)


def entry(stage: Stage) -> int | None:
    """The range of shards that the one order's outbox entry is in; of an entry that is gone nothing is left."""
    (order,) = stage.items("ORDERS_TABLE")
    kept = {name for name in order if name.startswith("outbox")} | order.keys() & {"expiresAt"}
    if "outbox" not in order:
        assert (kept, order["refund"]) == ({"expiresAt"}, "DONE")
        return None
    assert (kept, order["refund"]) == ({"outbox", "outboxDueAt", "outboxTries"}, "PENDING")
    return int(order["outbox"]) // 100 * 100


def test_either_release_ends_an_order_whose_refund_is_pending_but_only_the_new_one_asks_about_it(
    real_tables: Stage, code: Path
) -> None:
    """While only the old one recovers, such an order waits. Where the old one puts entries, the new one finds them."""
    with side_by_side(real_tables, 0, code) as both:
        world, old, new, bank = both.world, both.old, both.new, both.new.bank()
        order_id = order_id_from_key("c1", "k1")
        headers = {"content-type": "application/json", "idempotency-key": "k1"}
        assert old.place(headers, exact_json.dumps(a_body({"p2": 1}, customerId="c1")))[0] == 201
        old.consume(world.queue.receive(both.queue))
        assert old.cancel(order_id) == 200
        for _ in range(8):
            world.queue.lose(both.queue, {order_id})
            world.clock.advance(hours=2)
            assert old.recover() == 1
        assert entry(real_tables) == LATE_SHARD
        for _ in range(2):
            new.consume(world.queue.receive(both.queue))
            assert entry(real_tables) == REFUND_SHARD
            world.clock.advance(hours=7)
            assert (old.recover(), entry(real_tables)) == (0, REFUND_SHARD)
            assert (new.recover(), entry(real_tables)) == (1, 0)
        bank.arrived = True
        old.consume(world.queue.receive(both.queue))
        assert entry(real_tables) is None
        check_conserved(real_tables, BEFORE, {order_id})
