"""OrderOnce and the usual design under the same schedules: which promises does each keep?

`make reliability` prints two tables, and ends with status 1 if OrderOnce broke a promise, or either design did where
nothing went wrong.

A *schedule* is a scenario, a fault, and the call of AWS at which the fault strikes. Each scenario is run with each
fault at its first call, at its second … until it makes no more. Then the world goes on as it would: the client sends
its request again until it is answered 2xx, SQS delivers again what was not deleted, what the design has on a schedule
is run, and an operator redrives what came to the dead letters. When all is quiet, every promise is asked.

Both designs run on DynamoDB Local, whose conditions and transactions are real, behind the same queue, clock, payment
provider and faults (tests/support/world.py). A fault is what the code sees after botocore's own retries.
"""

import argparse
import logging
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from types import SimpleNamespace
from typing import Any, Protocol

import pytest
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError
from aws_lambda_powertools.utilities.idempotency import base as powertools
from aws_lambda_powertools.utilities.idempotency.persistence import base as persistence
from aws_lambda_powertools.utilities.idempotency.persistence import datarecord, dynamodb

from benchmarks.usual import app
from benchmarks.usual.careful import work_once, write_same_order
from chalicelib import exact_json
from chalicelib.adapters.simulated_payments import SimulatedPayments
from chalicelib.deadline import NO_DEADLINE
from chalicelib.domain.outcomes import Charged
from chalicelib.entrypoints import messages
from chalicelib.entrypoints.api import place_order
from chalicelib.entrypoints.exchange import Request as HttpRequest
from chalicelib.faults import Rejected, Unavailable
from chalicelib.use_cases.consuming import MessagesLeft
from tests.support import dynamodb_local
from tests.support.aws_calls import Killed
from tests.support.orders import PRICE, a_body
from tests.support.stage import Stage, dummy_environment, on_dynamodb_local
from tests.support.tables import books_in, stock_in, stock_up
from tests.support.world import Life, Mortal, Process, World

FAULTS = ("dropped", "lost", "throttled", "failed", "conflict", "killed before", "killed after")
"""No effect; the answer lost; ThrottlingException; a 500; a conflict; the process dies before or after the call."""

WRITES = ("put_item", "update_item", "transact_write_items")

MAX_CALLS = 60
TRIES = 20
RETRY_AFTER = timedelta(seconds=15)
"""A client that was not answered 2xx sends its request again: so often, so much later."""

FUNCTION_TIMEOUT_MS = 10_000
"""Of both functions, as OrderOnce's. The queue's visibility timeout is six times as long, as AWS advises."""

STOCK = 100


@dataclass(frozen=True)
class Request:
    """POST /orders: one unit of a product."""

    customer: str
    key: str | None
    product: str

    @property
    def body(self) -> str:
        return exact_json.dumps(a_body({self.product: 1}, customerId=self.customer))

    @property
    def headers(self) -> dict[str, str]:
        return {"Content-Type": "application/json", **({"Idempotency-Key": self.key} if self.key else {})}


@dataclass(frozen=True)
class Answer:
    """What the client sees; 5xx where the function failed."""

    status: int
    body: str = ""


# --- the two designs ---


class Running(Protocol):
    """A process of a design. Its calls of AWS are those of its `life`."""

    life: Life
    provider: SimulatedPayments

    def place(self, request: Request) -> Answer:
        """POST /orders."""

    def consume(self, records: Sequence[dict[str, Any]]) -> Collection[str]:
        """An SQS event; the message ids that Lambda deletes then."""

    def run_schedules(self) -> None:
        """What the design does by itself from time to time."""


class OrderOnce:
    """A process of this service."""

    def __init__(self, world: World) -> None:
        self._process: Process = world.process()
        self.provider = self._process.provider

    @property
    def life(self) -> Life:
        return self._process.life

    @life.setter
    def life(self, life: Life) -> None:
        self._process.life = life

    def place(self, request: Request) -> Answer:
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            answer = place_order(self._process.service, HttpRequest(headers, {}, request.body.encode(), "test"))
        except (Unavailable, Rejected):
            return Answer(503)
        return Answer(answer.status, answer.body)

    def consume(self, records: Sequence[dict[str, Any]]) -> Collection[str]:
        service = self._process.service
        try:
            service.consumer.consume(messages.read_records(service, records), NO_DEADLINE)
        except MessagesLeft:
            return ()
        return {record["messageId"] for record in records}

    def run_schedules(self) -> None:
        self._process.service.recovery.recover(NO_DEADLINE)
        self._process.service.dead_letters.replay_due(NO_DEADLINE)


class Usual:
    """A process of the usual design: as documented, or `careful` beyond it."""

    def __init__(self, world: World, careful: bool = False) -> None:
        self.life = Life()
        process: Any = self
        client: Any = Mortal(world.dynamodb, process)
        queue: Any = Mortal(world.queue, process)
        self.provider = SimulatedPayments(client, world.stage["PAYMENTS_TABLE"])
        if careful:
            self._place = app.placing_handler(client, queue, write=write_same_order)
            self._consume = app.fulfilling_handler(client, self, work=work_once)
        else:
            self._place = app.placing_handler(client, queue)
            self._consume = app.fulfilling_handler(client, self)

    def charge(self, idempotency_key: str, amount: Decimal, currency: str) -> bool:
        """As the peer asks its payment provider."""
        return isinstance(self.provider.charge(idempotency_key, amount, currency), Charged)

    def place(self, request: Request) -> Answer:
        event = {"httpMethod": "POST", "headers": request.headers, "body": request.body}
        try:
            given = self._place(event, _CONTEXT)
        except Exception:  # noqa: BLE001 - whatever ends the function is a 502 to the client
            return Answer(502)
        return Answer(given["statusCode"], given["body"])

    def consume(self, records: Sequence[dict[str, Any]]) -> Collection[str]:
        try:
            failed = self._consume({"Records": list(records)}, _CONTEXT)["batchItemFailures"]
        except BatchProcessingError:
            return ()
        return {record["messageId"] for record in records} - {item["itemIdentifier"] for item in failed}

    def run_schedules(self) -> None:
        """Nothing."""


_CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: FUNCTION_TIMEOUT_MS)

DESIGNS: dict[str, Callable[[World], Running]] = {
    "OrderOnce": OrderOnce,
    "usual": Usual,
    "careful": lambda world: Usual(world, careful=True),
}


@contextmanager
def clock_of_powertools(clock: Callable[[], datetime]) -> Iterator[None]:
    """Its locks and records expire by this clock."""
    time = SimpleNamespace(datetime=SimpleNamespace(now=clock), timedelta=timedelta)
    with pytest.MonkeyPatch.context() as patch:
        for module in (powertools, persistence, datarecord, dynamodb):
            patch.setattr(module, "dt", time)
        yield


# --- one schedule ---


@dataclass
class Run:
    """One schedule, on a customer and products of its own. `answers` are the 2xx to each request."""

    shop: "Shop"
    number: int
    gives_up: bool = False
    requests: list[Request] = field(default_factory=list)
    answers: dict[Request, list[str]] = field(default_factory=dict)

    @property
    def customer(self) -> str:
        return f"c{self.number}"

    def request(self, product: str = "p", keyed: bool = True) -> Request:
        """A request for a product of this schedule's own; "rare" is out of stock."""
        made = Request(self.customer, f"k{self.number}-{product}" if keyed else None, f"{product}{self.number}")
        self.requests.append(made)
        stock_up(self.shop.stage, **{made.product: 0 if product == "rare" else STOCK})
        return made

    def send(self, process: Running, request: Request) -> bool:
        """Whether it was answered 2xx."""
        answers = self.answers.setdefault(request, [])
        answer = process.place(request)
        if answer.status // 100 == 2:
            answers.append(answer.body)
        return answer.status // 100 == 2

    def insist(self, request: Request) -> None:
        """The client sends until it is answered 2xx."""
        for _ in range(TRIES):
            if self.send(self.shop.healthy, request):
                return
            self.shop.world.clock.advance(seconds=RETRY_AFTER.total_seconds())

    def place(self, process: Running) -> None:
        self.send(process, self.requests[0])

    def fulfil(self, process: Running) -> None:
        self.shop.deliver(process)

    def fulfil_one(self, process: Running) -> None:
        self.shop.deliver(process, limit=1)


Act = Callable[[Run, Running], object]


@dataclass(frozen=True)
class Scenario:
    """`prepare` is done by a healthy process, then the fault strikes at a call of `act`.

    `meanwhile`: just before that call, another process does this too. `gives_up`: the client sends no more after that.
    """

    prepare: Callable[[Run], object]
    act: Act
    meanwhile: Act | None = None
    declines: bool = False
    gives_up: bool = False


def _ordered(*products: str) -> Callable[[Run], None]:
    def prepare(run: Run) -> None:
        for name in products:
            run.insist(run.request(name))

    return prepare


def _twice(run: Run) -> None:
    _ordered("p")(run)
    run.shop.duplicate()


SCENARIOS: dict[str, Scenario] = {
    "place with a key": Scenario(Run.request, Run.place),
    "place with a key, and the client gives up": Scenario(Run.request, Run.place, gives_up=True),
    "place without a key": Scenario(lambda run: run.request(keyed=False), Run.place),
    "a duplicate": Scenario(_ordered("p"), Run.place),
    "two equal requests at once": Scenario(Run.request, Run.place, meanwhile=Run.place),
    "fulfil one": Scenario(_ordered("p"), Run.fulfil),
    "fulfil a batch": Scenario(_ordered("p", "q", "rare"), Run.fulfil),
    "decline": Scenario(_ordered("p"), Run.fulfil, declines=True),
    "out of stock": Scenario(_ordered("rare"), Run.fulfil),
    "a message twice at once": Scenario(_twice, Run.fulfil_one, meanwhile=Run.fulfil_one),
}


class Shop:
    """A design in the world: two healthy processes, and one that faults strike."""

    def __init__(self, world: World, design: Callable[[World], Running]) -> None:
        self.world, self.stage, self.queue = world, world.stage, world.queue
        self.healthy, self.other, self.struck = design(world), design(world), design(world)

    def decline(self, percent: int) -> None:
        for process in (self.healthy, self.other, self.struck):
            process.provider.decline_percent = percent

    def deliver(self, process: Running, limit: int = 10) -> bool:
        """What Lambda does with the next batch: whether there was one."""
        name = self.stage["ORDER_QUEUE"]
        records = self.queue.receive(name, limit)
        deleted: Collection[str] = process.consume(records) if records else ()
        self._delete(name, [record["receiptHandle"] for record in records if record["messageId"] in deleted])
        return bool(records)

    def duplicate(self) -> None:
        """The last message sent comes twice."""
        self.queue.deliver_again(self.stage["ORDER_QUEUE"], self.queue.sent[-1])

    def run(self, scenario: Scenario, fault: str | None, number: int, call: int) -> tuple[Run, "Strike"]:
        """One schedule."""
        run = Run(self, number, scenario.gives_up)
        scenario.prepare(run)
        meanwhile = scenario.meanwhile
        strike = Strike(fault, call, lambda: meanwhile(run, self.other) if meanwhile else None)
        self.struck.life = strike.life
        with suppress(Killed):
            scenario.act(run, self.struck)
        self.struck.life = Life()
        for request in run.requests if not run.gives_up else ():
            run.insist(request)
        for _ in range(10):
            self.go_on(seconds=61)
            if not self.queue.waiting():
                break
        return run, strike

    def go_on(self, **passed: float) -> None:
        """Time passes, an operator redrives the dead letters, schedules and deliveries happen."""
        self.world.clock.advance(**passed)
        dead = self.stage["ORDER_DEAD_LETTERS"]
        letters = self.queue.receive_message(QueueUrl=dead, MaxNumberOfMessages=10, VisibilityTimeout=0)["Messages"]
        for letter in letters:
            self.queue.send_message(
                QueueUrl=self.stage["ORDER_QUEUE"],
                MessageBody=letter["Body"],
                MessageAttributes=letter["MessageAttributes"],
            )
        self._delete(dead, [letter["ReceiptHandle"] for letter in letters])
        self.healthy.run_schedules()
        while self.deliver(self.healthy):
            pass

    def _delete(self, queue: str, receipts: Sequence[str]) -> None:
        self.queue.delete_message_batch(QueueUrl=queue, Entries=[{"ReceiptHandle": receipt} for receipt in receipts])


class Strike:
    """A fault at call `number` of a life, just after `meanwhile` happened (None: only that happens)."""

    def __init__(self, fault: str | None, number: int, meanwhile: Callable[[], object]) -> None:
        self._fault, self._number = fault, number
        self._calls = count()
        self._spoilt = ""
        fatal = number if fault and fault.startswith("killed") else None
        at = {number: meanwhile}
        self.life = Life(dies_at=fatal, after=fault == "killed after", spoils=self._spoils, at=at)

    @property
    def reached(self) -> bool:
        """Whether there was such a call."""
        return self.life.made > self._number

    @property
    def struck(self) -> bool:
        """Whether something went wrong: only writes of DynamoDB meet a conflict."""
        return self._fault is not None and self.reached and (self._fault != "conflict" or self._spoilt in WRITES)

    def _spoils(self, name: str) -> str | None:
        if next(self._calls) != self._number:
            return None
        self._spoilt = name
        return self._fault


# --- what must be true in the end ---

ENDS = {"CONFIRMED", "FAILED"}


@dataclass(frozen=True)
class Books:
    """What is stored of one schedule when all is quiet. `stored` has each order's item by its id."""

    run: Run
    stored: Mapping[str, Mapping[str, Any]]
    stock: Mapping[str, int]
    taken: Mapping[str, Decimal]
    """What the payment provider took for each order id."""

    lost_messages: int
    """Messages that are nowhere, though their order has not ended."""

    def of(self, request: Request) -> list[Mapping[str, Any]]:
        """The orders stored for a request."""
        return [order for order in self.stored.values() if order["items"][0]["productId"] == request.product]

    @property
    def answered(self) -> set[str]:
        """The order ids of all 2xx."""
        return {exact_json.loads(body)["orderId"] for bodies in self.run.answers.values() for body in bodies}

    def sold(self, request: Request) -> int:
        return sum(order["status"] == "CONFIRMED" for order in self.of(request))

    def stock_before(self, request: Request) -> int:
        return 0 if request.product.startswith("rare") else STOCK


PROMISES: dict[str, Callable[[Books], bool]] = {
    "a client that keeps trying is answered 2xx": lambda books: books.run.gives_up or all(books.run.answers.values()),
    "one request is one order": lambda books: all(len(books.of(request)) <= 1 for request in books.run.requests),
    "an order that was answered 2xx is stored": lambda books: books.answered <= set(books.stored),
    "equal requests get equal answers": lambda books: all(len(set(a)) <= 1 for a in books.run.answers.values()),
    "every order comes to an end": lambda books: all(order["status"] in ENDS for order in books.stored.values()),
    "stock is what there was, less what was sold": lambda books: all(
        books.stock[request.product] == books.stock_before(request) - books.sold(request)
        for request in books.run.requests
    ),
    "money was taken once for each order sold, and for no other": lambda books: (
        books.taken == {order_id: PRICE for order_id, order in books.stored.items() if order["status"] == "CONFIRMED"}
    ),
    "every message is accounted for": lambda books: not books.lost_messages,
}


def books_of(shop: Shop, runs: Sequence[Run]) -> list[Books]:
    """Of each of these schedules."""
    orders = {order["orderId"]: order for order in shop.stage.items("ORDERS_TABLE")}
    sent = [exact_json.loads(message.body) for message in shop.queue.sent]
    customer_of = {order["orderId"]: order["customerId"] for order in (*sent, *orders.values())}
    stored: dict[str, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    taken: dict[str, dict[str, Decimal]] = defaultdict(dict)
    for order_id, order in orders.items():
        stored[order["customerId"]][order_id] = order
    for payment_key, row in books_in(shop.stage).items():
        if row["state"] == "CHARGED":
            order_id = payment_key.partition(".")[0]
            of_customer = taken[customer_of[order_id]]
            of_customer[order_id] = of_customer.get(order_id, Decimal()) + row["amount"]
    ended = {order_id for order_id, order in orders.items() if order["status"] in ENDS}
    lost = Counter(order["customerId"] for order in sent if order["orderId"] not in ended)
    stock = stock_in(shop.stage)
    return [Books(run, stored[run.customer], stock, taken[run.customer], lost[run.customer]) for run in runs]


# --- all of it ---


@dataclass(frozen=True)
class Tried:
    """A schedule that was run on a design, and the promises that it broke. `fault` None: nothing went wrong."""

    design: str
    scenario: str
    fault: str | None
    call: int
    broken: frozenset[str]


def try_design(stage: Stage, name: str, scenarios: Collection[str], faults: Sequence[str]) -> list[Tried]:
    """Every schedule of these scenarios and faults on a design."""
    runs: list[Run] = []
    labels: list[tuple[str, str | None, int]] = []
    with closing(World(stage, name, rate=0)) as world, clock_of_powertools(world.clock):
        shop = Shop(world, DESIGNS[name])
        for scenario in scenarios:
            what = SCENARIOS[scenario]
            shop.decline(100 if what.declines else 0)
            for fault in (*faults, None) if what.meanwhile else faults:
                for call in range(MAX_CALLS):
                    run, strike = shop.run(what, fault, len(runs), call)
                    runs.append(run)
                    labels.append((scenario, fault if strike.struck else None, call))
                    if not strike.reached:
                        break
                else:
                    raise AssertionError(f"{scenario} does not end within {MAX_CALLS} calls")
        for _ in range(3):
            shop.go_on(hours=7)
        assert not shop.queue.waiting(), "it does not come to rest"
        books = books_of(shop, runs)
    broken = [frozenset(promise for promise, kept in PROMISES.items() if not kept(each)) for each in books]
    return [Tried(name, *label, promises) for label, promises in zip(labels, broken, strict=True)]


def report(tried: Sequence[Tried]) -> Iterator[str]:
    """The tables, as Markdown."""
    struck = [each for each in tried if each.fault]
    yield from _head("promise")
    for promise in PROMISES:
        yield _row(promise, struck, lambda each, promise=promise: promise in each.broken)  # type: ignore[misc]
    yield _row("all of them", struck, lambda each: bool(each.broken))
    yield ""
    yield from _head("scenario")
    for scenario in dict.fromkeys(each.scenario for each in tried):
        yield _row(scenario, [each for each in struck if each.scenario == scenario], lambda each: bool(each.broken))
    yield _row("any, and nothing goes wrong", [e for e in tried if not e.fault], lambda each: bool(each.broken))


def _head(what: str) -> Iterator[str]:
    yield f"| {what} | {' | '.join(f'{design}: schedules | broken' for design in DESIGNS)} |"
    yield "| --- |" + " ---: | ---: |" * len(DESIGNS)


def _row(name: str, tried: Sequence[Tried], counts: Callable[[Tried], bool]) -> str:
    cells = []
    for design in DESIGNS:
        of_design = [each for each in tried if each.design == design]
        cells += [f"{len(of_design):,}", f"{sum(map(counts, of_design)):,}"]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> int:
    """Run the schedules and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__.partition("\n")[0])
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="only this one (may be repeated)")
    parser.add_argument("--explain", action="store_true", help="print each schedule that broke a promise")
    arguments = parser.parse_args()
    scenarios = arguments.scenario or list(SCENARIOS)
    dummy_environment()
    logging.disable(logging.CRITICAL)
    tried: list[Tried] = []
    with dynamodb_local.running() as endpoint:
        for design in DESIGNS:
            with on_dynamodb_local(endpoint) as stage:
                tried += try_design(stage, design, scenarios, FAULTS)
    print("\n".join(report(tried)))
    if arguments.explain:
        for each in tried:
            if each.broken:
                broken = "; ".join(sorted(each.broken))
                print(f"{each.design}: {each.scenario}, {each.fault} at call {each.call}: {broken}")
    return int(any(each.broken and (each.design == "OrderOnce" or each.fault is None) for each in tried))


if __name__ == "__main__":
    sys.exit(main())
