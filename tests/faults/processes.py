"""Real processes on a real engine: the API, the consumer and recover are killed at random while orders come in.

Clients repeat a request until it is answered, as clients do. In the end every promise is asked of what is stored.
"""

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise, repeat
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib import exact_json
from tests.faults import workers
from tests.faults.unkind_aws import UnkindAws
from tests.support.conservation import check_conserved
from tests.support.network import free_port
from tests.support.orders import a_body, an_event
from tests.support.providers import Simulated, Stripe, WorldsProvider
from tests.support.stage import Stage
from tests.support.stripe_fake import LOCKED, Step, Trouble
from tests.support.tables import stock_up
from tests.support.template import ROOT, Template, create_tables
from tests.support.world import check_events

RATE = 20.0
"""How much faster than real time the service's clock runs."""

APIS, CONSUMERS, CLIENTS = 3, 3, 8
STOCK = {"p1": 1_000_000, "p2": 1_000_000, "rare": 50}
DECLINED_PERCENT = 5
MAX_BACKLOG = 300
TROUBLES: Sequence[Step] = (Trouble.DROPPED, Trouble.LOST, Trouble.FAILED, Trouble.FAILED_AFTER, LOCKED)
"""What a request to Stripe meets now and then."""

CALLS_BETWEEN_KILLS = 100
"""On average, of all processes together: so a slow machine kills no more of them than a fast one."""

PATIENCE = 600.0
"""Seconds that all may take to come to rest, once the last order was placed."""

EVERY = 10.0


class Workers:
    """The processes of the service, by their ids; `tests/faults/workers.py` forks them."""

    def __init__(self, roles: Sequence[str]) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.workers"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.alive = {role: self._fork(role) for role in roles}

    def kill(self, role: str) -> None:
        """SIGKILL; a new one takes the place."""
        os.kill(self.alive[role], signal.SIGKILL)
        self.alive[role] = self._fork(role)

    def stop(self) -> None:
        """End all of them."""
        self._server.communicate()

    def _fork(self, role: str) -> int:
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(f"{role}\n")
        return int(self._server.stdout.readline())


class Run:
    """One run of so many orders. `say` is handed a line every few seconds."""

    def __init__(
        self,
        stage: Stage,
        aws: UnkindAws,
        orders: int,
        seed: int,
        say: Callable[[str], object],
        provider: WorldsProvider,
    ) -> None:
        self.stage, self.aws, self.orders, self.say, self.provider = stage, aws, orders, say, provider
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.expected: set[str] = set()
        self.keyless: set[str] = set()
        self.poison: set[str] = set()
        self.numbers = iter(range(orders))
        self.lock, self.placed = threading.Lock(), threading.Event()
        self.broken: list[str] = []
        self.ports = [free_port() for _ in range(APIS)]
        self.began = self.all_placed = time.monotonic()
        apis = [f"api {port}" for port in self.ports]
        # The url ends in a number that nobody reads: it tells the consumers apart.
        consumers = [f"consumer {self.aws.url}/{n}" for n in range(CONSUMERS)]
        self.workers = Workers([*apis, *consumers, f"recover {60 / RATE}"])

    def run(self) -> Counter[str]:
        """All of it; how many orders have come to which end. Raises AssertionError where a promise is broken."""
        killer = threading.Thread(target=self._kill)
        killer.start()
        try:
            with ThreadPoolExecutor(CLIENTS) as pool:
                clients = [pool.submit(self._client, random.Random(n)) for n in range(CLIENTS)]
                while not all(client.done() for client in clients):
                    time.sleep(min(EVERY, 1 + self.orders / 100))
                    self.say(self.line())
                for client in clients:
                    client.result()
        finally:
            self.all_placed = time.monotonic()
            self.placed.set()
            killer.join()
        self.aws.be_kind()
        self._come_to_rest()
        self.say(self.line())
        return self.check()

    def stop(self) -> None:
        self.workers.stop()

    def line(self) -> str:
        seconds, aws = time.monotonic() - self.began, self.aws
        return (
            f"{seconds:6.0f} s  {len(self.expected)} orders  {self.counts['killed']} kills  "
            f"{aws.counts['lost']} answers lost  {aws.counts['reset']} resets  {aws.counts['late']} late  "
            f"{aws.queue.doubled} messages doubled  {aws.queue.waiting()} waiting"
        )

    def summary(self, ends: Counter[str]) -> Iterator[str]:
        """What was done to the service, and what came of it."""
        aws, minutes = self.aws, (self.all_placed - self.began) / 60
        yield f"{len(self.expected)} orders in {minutes:.1f} minutes, {len(self.expected) / minutes:.0f} a minute;"
        yield f"  at rest {time.monotonic() - self.all_placed:.0f} s after the last."
        yield f"{self.counts['killed']} processes killed by SIGKILL, of {len(self.workers.alive)} that run at a time."
        yield (
            f"{aws.counts['calls']} calls of AWS: {aws.counts['lost']} answers lost, {aws.counts['reset']} connections "
            f"reset, {aws.counts['late']} late."
        )
        yield f"{aws.queue.doubled} messages given twice, {len(self.poison)} that are no events kept as dead letters."
        yield f"{self.counts['repeated']} requests repeated by clients: no answer, or a 5xx."
        yield f"Orders by end: {', '.join(f'{status} {n}' for status, n in sorted(ends.items()))}."
        yield f"0 violations in {sum(ends.values())} orders."

    def _kill(self) -> None:
        """Somebody is killed, and a new one takes the place."""
        calls = 0
        while not self.placed.wait(0.05):
            if self.aws.counts["calls"] < calls:
                continue
            calls = self.aws.counts["calls"] + self.chance.randrange(2 * CALLS_BETWEEN_KILLS)
            self.workers.kill(self.chance.choice(list(self.workers.alive)))
            self.counts["killed"] += 1
            if isinstance(self.provider, Stripe):
                self.provider.fake.spoil(None, self.chance.choice(TROUBLES))
                self.counts["requests to Stripe spoiled"] += 1

    # --- clients and a producer ---

    def _client(self, chance: random.Random) -> None:
        while (number := self._next()) is not None:
            while self.aws.queue.waiting() > MAX_BACKLOG:
                time.sleep(0.05)
            what = chance.choices(("key", "no key", "event"), (75, 10, 15))[0]
            quantities = {chance.choice(("p1", "p1", "p2", "rare" if chance.random() < 0.1 else "p1")): 1}
            if what == "event":
                self._produce(f"ORD-{number}", quantities, chance)
            else:
                self._place(number, quantities, what == "key", chance)
            if number % 500 == 0:
                self.poison.add(f"poison {number}")
                self.aws.queue.send_message(QueueUrl=self.stage["ORDER_QUEUE"], MessageBody=f"poison {number}")

    def _next(self) -> int | None:
        with self.lock:
            return next(self.numbers, None)

    def _produce(self, order_id: str, quantities: dict[str, int], chance: random.Random) -> None:
        method = self.provider.method("CUST-1")
        body = exact_json.dumps(an_event(order_id, quantities, createdAt=None, paymentMethod=method))
        for _ in range(chance.choice((1, 1, 2))):
            self.aws.queue.send_message(QueueUrl=self.stage["ORDER_QUEUE"], MessageBody=body)
        self.expected.add(order_id)

    def _place(self, number: int, quantities: dict[str, int], with_key: bool, chance: random.Random) -> None:
        headers = {"Idempotency-Key": f"key-{number}"} if with_key else {}
        answers = []
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            method = self.provider.method(f"c{number}")
            body = exact_json.dumps(a_body(quantities, customerId=f"c{number}", paymentMethod=method))
            answers.append(self._ask("/orders", body, headers, chance))
        ids = [str(json.loads(said)["orderId"]) for status, said in answers if status == 201]
        if len(ids) != len(answers) or len(set(answers)) != len(set(ids)) or (with_key and len(set(ids)) != 1):
            self.broken.append(f"equal requests were answered {answers}")
            return
        order_id = ids[-1]
        self.expected.update(ids)
        if not with_key:
            self.keyless.add(f"c{number}")
        if chance.random() < 0.05:
            cancellations = {self._ask(f"/orders/{order_id}/cancel", "{}", {}, chance) for _ in range(2)}
            if len(cancellations) != 1:
                self.broken.append(f"equal cancellations were answered {cancellations}")

    def _ask(self, path: str, body: str, headers: dict[str, str], chance: random.Random) -> tuple[int, bytes]:
        """A request, again and again until it has an answer that is not a 5xx, by whichever API lives."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            connection = http.client.HTTPConnection("127.0.0.1", chance.choice(self.ports), timeout=30)
            with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
                answer = connection.getresponse()
                said = answer.read()
                if answer.status < 500:
                    return answer.status, said
            self.counts["repeated"] += 1
            time.sleep(0.02 + 0.1 * chance.random())
        raise AssertionError(f"no answer to {path} in {PATIENCE:.0f} s")

    # --- the end ---

    def _come_to_rest(self) -> None:
        until, said = time.monotonic() + PATIENCE, time.monotonic()
        while time.monotonic() < until:
            time.sleep(1)
            if time.monotonic() - said > EVERY:
                said = time.monotonic()
                self.say(self.line())
            if self.aws.queue.waiting():
                continue
            if not any("outboxDueAt" in order for order in self.stage.items("ORDERS_TABLE")):
                return
        raise AssertionError("it does not come to rest")

    def check(self) -> Counter[str]:
        assert not self.broken, self.broken
        self._check_keyless()
        ends = check_conserved(self.stage, STOCK, self.expected, books=self.provider.books())
        seen: Any = SimpleNamespace(stage=self.stage, bus=self.aws.bus)
        check_events(seen)
        assert self.aws.queue.letters_for_people() == self.poison, "other dead letters than there should be"
        return ends

    def _check_keyless(self) -> None:
        """A request without a key that comes again is a new order only where the one before was given up by then.

        That one may be unknown to the client: its answer may be lost.
        """
        of_customer: dict[str, list[dict[str, Any]]] = {customer: [] for customer in self.keyless}
        for order in self.stage.items("ORDERS_TABLE"):
            of_customer.get(order["customerId"], []).append(order)
        for orders in of_customer.values():
            orders.sort(key=lambda order: str(order["createdAt"]))
            for earlier, later in pairwise(orders):
                given_up = earlier["status"] in ("FAILED", "CANCELLED")
                assert given_up, f"an order without a key is there twice: {earlier}, {later}"
                assert earlier["history"][-1]["at"] <= later["createdAt"], f"placed again too early: {earlier}, {later}"
            self.expected.update(order["orderId"] for order in orders)


@contextmanager
def running(
    engine: str, orders: int, seed: int, say: Callable[[str], object], provider: str = "simulated"
) -> Iterator[Run]:
    """A run that is ready to begin, on tables of its own of this DynamoDB Local."""
    stage = Stage(f"c{seed}-{os.getpid()}", dynamodb_endpoint=engine)
    began = time.time()
    clock = workers.fast_clock(began, RATE)
    aws = UnkindAws(stage, engine, clock, seed)
    aws.start()
    tables = create_tables(stage.dynamodb, Template.load({"Stage": stage.name}))
    stock_up(stage, **STOCK)
    own = {"CHAOS_BEGAN": str(began), "CHAOS_RATE": str(RATE), "AWS_ENDPOINT_URL": aws.url, "LOG_LEVEL": "CRITICAL"}
    percent = {"FAIL_PAYMENT_PERCENT": str(DECLINED_PERCENT), "LOG_FORMAT": "text"}
    with pytest.MonkeyPatch.context() as patch, _paying(stage, provider, clock, seed) as (pays, where):
        for name, value in (stage.settings | own | percent | where).items():
            patch.setenv(name, value)
        run = Run(stage, aws, orders, seed, say, pays)
        try:
            yield run
        finally:
            run.stop()
            aws.stop()
            for table in tables:
                stage.dynamodb.delete_table(TableName=table)


@contextmanager
def _paying(
    stage: Stage, provider: str, clock: Callable[[], datetime], seed: int
) -> Iterator[tuple[WorldsProvider, dict[str, str]]]:
    """What the processes pay by, and the environment that says so."""
    if provider == "stripe":
        stripe = Stripe(stage, clock, random.Random(seed), decline_percent=DECLINED_PERCENT)
        stripe.fake.refunds_become = repeat(("succeeded",))  # recovery asks too seldom for one that is pending
        with stripe.over_http():
            yield stripe, {"CHAOS_STRIPE": stripe.url}
    else:
        yield Simulated(stage), {}
