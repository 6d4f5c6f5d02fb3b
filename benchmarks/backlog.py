"""What an outage, a poisonous message and a flash sale leave behind: the real consumer and `recover`, simulated.

`make simulation` prints the tables of docs/scale.md; `--write` writes them there. Consumer, fulfilment, completion,
dead letters and recovery are the real ones; tables, queue, bus and payment provider are simulated.
"""

import heapq
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

from benchmarks.simulated import AWAY_SECONDS, BEGINNING, SimulatedOrders, Simulation, Times, silence
from benchmarks.simulation import FUNCTION_SECONDS, ORDER, PAYMENT_SECONDS, PAYMENTS_AT_ONCE, lines_of
from benchmarks.tables import print_or_write, table
from chalicelib.deadline import Deadline
from chalicelib.domain.changes import create
from chalicelib.domain.order import HistoryEntry, Order, Status
from chalicelib.domain.outcomes import Charged, NothingToRefund, Unknown
from chalicelib.domain.request import OrderRequest
from chalicelib.faults import Unavailable
from chalicelib.providers import PROVIDERS
from chalicelib.settings import DEFAULT_MAX_RECEIVES
from chalicelib.use_cases.committing import BatchCommitter
from chalicelib.use_cases.completion import Completion
from chalicelib.use_cases.consuming import Consumer, MessagesLeft
from chalicelib.use_cases.dead_letters import DeadLetters
from chalicelib.use_cases.fulfilment import Fulfilment
from chalicelib.use_cases.ports import BATCH_SIZE, Depth, Message
from chalicelib.use_cases.recovery import Recovery
from chalicelib.use_cases.saga import Delivery, Never, ReadMessage

NAME = "python -m benchmarks.backlog"
PATIENCE = PROVIDERS["simulated"].patience
CALL_SECONDS, VISIBILITY_TIMEOUT, POLL_SECONDS = 0.01, 60.0, 0.2
WINDOW = 1.0
"""Seconds. A batch of more than ten waits so long for what is missing, once."""

MINUTE, RECOVER_SECONDS = 60.0, 50.0


@dataclass
class Stored:
    """A message. `order` None: what nobody can read."""

    message_id: str
    order: Order | None
    sent_at: float
    receives: int = 0
    version: int = 0
    gone: bool = False


@dataclass
class SimulatedQueue:
    """The port `Queue`: at least once, hidden while it is worked on."""

    simulation: Simulation
    away: bool = False
    sent: int = 0
    waiting: list[tuple[float, int, int, Stored]] = field(default_factory=list)
    stored: dict[str, Stored] = field(default_factory=dict)
    url: str = "simulated"

    def put(self, order: Order | None) -> None:
        self.sent += 1
        message = Stored(f"m{self.sent}", order, self.simulation.now)
        self.stored[message.message_id] = message
        self._show(message, 0)

    def _show(self, message: Stored, seconds: float) -> None:
        message.version += 1
        heapq.heappush(self.waiting, (self.simulation.now + seconds, self.sent, message.version, message))
        self.sent += 1

    def _answers(self) -> None:
        self.simulation.sleep(AWAY_SECONDS if self.away else CALL_SECONDS)
        if self.away:
            raise Unavailable("SQS is away")

    def take(self, limit: int) -> list[Stored]:
        """What the mapping receives."""
        taken: list[Stored] = []
        while not self.away and self.waiting and len(taken) < limit and self.waiting[0][0] <= self.simulation.now:
            _, _, version, message = heapq.heappop(self.waiting)
            if version == message.version and not message.gone:
                message.receives += 1
                taken.append(message)
        for message in taken:
            self._show(message, VISIBILITY_TIMEOUT)
        return taken

    def enqueue(self, orders: Sequence[Order]) -> list[Order]:
        self._answers()
        for order in orders:
            self.put(order)
        return list(orders)

    def try_enqueue(self, order: Order) -> None:
        self.put(order)

    def send(self, body: str, attributes: Mapping[str, str]) -> None:
        self._answers()
        self.put(None)

    def receive(self, visibility_timeout: int) -> list[Message]:
        return []

    def delete(self, receipt_handles: Sequence[str]) -> None:
        self._answers()
        for handle in receipt_handles:
            if message := self.stored.pop(handle, None):
                message.gone = True

    def change_visibility(self, seconds: Mapping[str, int]) -> None:
        self._answers()
        for handle, timeout in seconds.items():
            if handle in self.stored:
                self._show(self.stored[handle], timeout)

    def depth(self) -> Depth:
        return Depth(len(self.stored), 0)


@dataclass
class SimulatedPayments:
    """The payments of a batch, as `BatchPayments` makes them: sixteen at a time, three seconds for all."""

    simulation: Simulation
    away: bool = False

    def charge(self, orders: Sequence[Order]) -> list[Charged | Unknown]:
        return self._ask(orders, Charged("pay-1"))

    def refund(self, orders: Sequence[Order]) -> list[NothingToRefund | Unknown]:
        return self._ask(orders, NothingToRefund())

    def _ask(self, orders: Sequence[Order], answer: Any) -> list[Any]:
        rounds = -(-len(orders) // PAYMENTS_AT_ONCE)
        self.simulation.sleep(PATIENCE if self.away else min(PATIENCE, rounds * PAYMENT_SECONDS))
        return [Unknown("away") if self.away else answer for _ in orders]


@dataclass
class SimulatedBus:
    """The port `EventBus`."""

    simulation: Simulation
    away: bool = False

    def publish(self, orders: Sequence[Order], deadline: Deadline) -> dict[str, str]:
        if not orders:
            return {}
        self.simulation.sleep(AWAY_SECONDS if self.away else CALL_SECONDS)
        return {order.order_id: "away" for order in orders} if self.away else {}


class Inline(Executor):
    """Calls at once what is submitted: a simulated process has one thread."""

    def submit(self, call: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(call(*given, **named))
        return future


class Stage:
    """A stage with its clients. `cursed` orders raise what nobody expects whenever they are charged."""

    def __init__(self, batch: int, consumers: int, stock: int) -> None:
        self.simulation = simulation = Simulation()
        self.chance = random.Random(f"{batch} {consumers}")
        self.batch, self.consumers = batch, consumers
        self.orders = SimulatedOrders(simulation, Times(), {"hot": stock}, chance=random.Random(1))
        self.queue, self.letters = SimulatedQueue(simulation), SimulatedQueue(simulation)
        self.payments, self.bus = SimulatedPayments(simulation), SimulatedBus(simulation)
        port: Any = self.orders
        committer = BatchCommitter(port, simulation.sleep, self.chance.random)
        queue, letters, payments = cast("Any", self.queue), cast("Any", self.letters), cast("Any", self)
        dead_letters = DeadLetters(letters, queue, port, committer, simulation.clock)
        completion = Completion(committer, payments, self.bus, simulation.clock)
        fulfilment = Fulfilment(committer, cast("Any", None), payments, completion, simulation.clock)
        self.consumer = Consumer(
            fulfilment, committer, port, queue, dead_letters, simulation.clock, DEFAULT_MAX_RECEIVES, self.chance.random
        )
        self.recovery = Recovery(port, committer, queue, dead_letters, Inline(), simulation.clock)
        self.cursed: set[str] = set()
        self.placed: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.refused = 0

    def charge(self, orders: Sequence[Order], deadline: Deadline) -> list[Charged | Unknown]:
        if any(order.order_id in self.cursed for order in orders):
            raise RuntimeError("a mistake in the program")
        return self.payments.charge(orders)

    def refund(self, orders: Sequence[Order], deadline: Deadline) -> list[NothingToRefund | Unknown]:
        return self.payments.refund(orders)

    def begin(self) -> None:
        for _ in range(self.consumers):
            self.simulation.begin(self._poll)
        self.simulation.begin(self._recover)

    def place(self) -> Order | None:
        """POST /orders, but for its own time. None: it is answered 503, and the client must try again."""
        if self.orders.away:
            self.refused += 1
            return None
        now = self.simulation.clock()
        order_id = f"o{len(self.placed)}"
        first = (HistoryEntry(Status.PENDING, now),)
        order = replace(ORDER, order_id=order_id, items=lines_of("hot"), created_at=now, updated_at=now, history=first)
        order = create(order, now).order
        self.orders.orders[order_id] = order
        self.placed[order_id] = self.simulation.now
        if not self.queue.away:
            self.queue.try_enqueue(order)
        return order

    def _poll(self) -> None:
        self.simulation.sleep(self.chance.random() * POLL_SECONDS)
        while True:
            if not (taken := self.queue.take(self.batch)):
                self.simulation.sleep(POLL_SECONDS)
                continue
            if BATCH_SIZE < self.batch > len(taken):
                self.simulation.sleep(WINDOW)
                taken += self.queue.take(self.batch - len(taken))
            began = self.simulation.now
            deadline = self.simulation.deadline(FUNCTION_SECONDS)
            handles = [message.message_id for message in taken]
            try:
                self.consumer.consume([self._read(message) for message in taken], deadline)
                self.queue.delete(handles)
            except (MessagesLeft, Unavailable):
                pass
            assert self.simulation.now - began <= FUNCTION_SECONDS, "the function is ended before it has acknowledged"
            for message in taken:
                self._note(message)

    def _note(self, message: Stored) -> None:
        order = self.orders.orders.get(message.order.order_id) if message.order else None
        if order and order.status in (Status.CONFIRMED, Status.FAILED) and order.outbox is None:
            self.ended.setdefault(order.order_id, self.simulation.now)

    def _recover(self) -> None:
        while True:
            self.simulation.sleep(MINUTE)
            try:
                self.recovery.recover(self.simulation.deadline(RECOVER_SECONDS))
            except Unavailable:
                continue

    def _read(self, stored: Stored) -> ReadMessage:
        order = stored.order
        body = json.dumps({"orderId": order.order_id}) if order else "poison"
        sent = BEGINNING + timedelta(seconds=stored.sent_at)
        message = Message(stored.message_id, stored.message_id, body, stored.receives, int(sent.timestamp() * 1000), {})
        if order is None:
            return ReadMessage(message, Never("not JSON"))
        last = stored.receives >= DEFAULT_MAX_RECEIVES
        # As it was when it was placed: a message says no more.
        as_sent = replace(order, status=Status.PENDING, history=order.history[:1], reserved=None)
        return ReadMessage(message, Delivery(as_sent, OrderRequest.from_order(order), order.payment_key, last))


# --- an outage of ten minutes ---

AWAY = ("DynamoDB", "SQS", "EventBridge", "the payment provider")
BATCHES = (10, 99)
RATE = 2.0
QUIET, OUTAGE, AFTER = 60.0, 600.0, 2400.0


def outage(away: str, batch: int, seconds: float = OUTAGE, after: float = AFTER) -> tuple[str, ...]:
    """A row: what waits when the dependency is back, and how long until the last of it is done."""
    stage = Stage(batch, consumers=2, stock=10**6)
    part: Any = dict(zip(AWAY, (stage.orders, stage.queue, stage.bus, stage.payments), strict=True))[away]
    back = QUIET + seconds
    found: list[int] = []

    def clients() -> None:
        while True:
            stage.simulation.sleep(1 / RATE)
            stage.place()

    def dependency() -> None:
        stage.simulation.sleep(QUIET)
        part.away = True
        stage.simulation.sleep(seconds)
        part.away = False
        found.extend([len(stage.placed) - len(stage.ended), len(stage.queue.stored)])

    stage.begin()
    stage.simulation.begin(clients)
    stage.simulation.begin(dependency)
    stage.simulation.run(back + after)
    before = [order_id for order_id, at in stage.placed.items() if at < back]
    late = sorted(stage.ended.get(order_id, float("inf")) - back for order_id in before)
    waiting, messages = found
    drained = [max(0.0, at) for at in late[len(late) - waiting :]] or [0.0]
    assert drained[-1] < after, "an order is lost"
    half, most = drained[len(drained) // 2], drained[len(drained) * 99 // 100]
    cells = (waiting, messages, round(half), round(most), round(drained[-1]), len(stage.letters.stored), stage.refused)
    return (away, str(batch), *(f"{cell:,}" for cell in cells))


OUTAGES = tuple((away, batch) for away in AWAY for batch in BATCHES)
OUTAGE_COLUMNS = (
    "without", "batch", "orders waiting", "messages", "half done after, s", "99 % after, s", "all after, s",
    "dead letters", "answered 503",
)  # fmt: skip

# --- a poisonous message ---

POISON = ("none", "cannot be read", "a mistake in the program")


def poison(kind: str, batch: int) -> tuple[str, ...]:
    """A row: what the others suffer from one message among 50 orders a second."""
    stage = Stage(batch, consumers=2, stock=10**6)

    def clients() -> None:
        for number in range(1500):
            stage.simulation.sleep(0.02)
            order = stage.place()
            if number == 200 and kind == POISON[1]:
                stage.queue.put(None)
            if number == 200 and kind == POISON[2] and order:
                stage.cursed.add(order.order_id)

    stage.begin()
    stage.simulation.begin(clients)
    stage.simulation.run(240)
    others = [order_id for order_id in stage.placed if order_id not in stage.cursed]
    taken = sorted(stage.ended[order_id] - stage.placed[order_id] for order_id in others)
    faults = [o.outbox.fault for o in stage.orders.orders.values() if o.outbox and o.outbox.fault]
    cells = (taken[len(taken) // 2], taken[len(taken) * 99 // 100], taken[-1])
    return (kind, str(batch), *(f"{cell:.1f}" for cell in cells), str(len(stage.letters.stored)), str(len(faults)))


POISONS = tuple((kind, batch) for kind in POISON for batch in BATCHES)
POISON_COLUMNS = ("message", "batch", "p50, s", "p99, s", "last, s", "dead letters", "orders with a fault")

# --- a flash sale ---


def flash_sale(
    batch: int, consumers: int, wanted: int = 10_000, stock: int = 5_000, seconds: float = 120
) -> tuple[str, ...]:
    """A row: everybody orders one unit within two seconds, and there is half of what they want."""
    stage = Stage(batch, consumers, stock)

    def clients() -> None:
        for _ in range(wanted // 10):
            for _ in range(10):
                stage.place()
            stage.simulation.sleep(20 / wanted)

    stage.begin()
    stage.simulation.begin(clients)
    stage.simulation.run(seconds)
    statuses = Counter(order.status.value for order in stage.orders.orders.values())
    assert statuses == {"CONFIRMED": stock, "FAILED": wanted - stock}, statuses
    assert stage.orders.stock_left("hot") == 0
    ended = sorted(stage.ended.values())
    cells = (f"{ended[len(ended) // 2]:.0f}", f"{ended[len(ended) * 99 // 100]:.0f}", f"{ended[-1]:.0f}")
    return (str(batch), str(consumers), f"{statuses['CONFIRMED']:,}", f"{statuses['FAILED']:,}", *cells)


SALES = tuple((batch, consumers) for batch in BATCHES for consumers in (2, 20, 100))
SALE_COLUMNS = (
    "batch", "consumers", "confirmed", "out of stock", "half done after, s", "99 % after, s", "all after, s",
)  # fmt: skip

TABLES: tuple[tuple[str, tuple[str, ...], Callable[..., tuple[str, ...]], tuple[tuple[Any, ...], ...]], ...] = (
    ("Ten minutes without a dependency", OUTAGE_COLUMNS, outage, OUTAGES),
    ("A poisonous message", POISON_COLUMNS, poison, POISONS),
    ("A flash sale", SALE_COLUMNS, flash_sale, SALES),
)


def computed() -> Iterator[str]:
    """The part of the document that this simulation prints."""
    for title, columns, row, rows in TABLES:
        yield table(title, columns, [row(*of) for of in rows])


def main() -> int:
    """Print the tables, or write them into the document."""
    silence()
    return print_or_write(__doc__, NAME, computed())


if __name__ == "__main__":
    sys.exit(main())
