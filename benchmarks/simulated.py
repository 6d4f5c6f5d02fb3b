"""A simulated AWS for the real use cases: SimPy's clock, and tables whose items conflict as DynamoDB's do.

The code under simulation blocks, and SimPy's processes are generators. So each simulated process is a thread that runs
only while SimPy waits for it, one at a time: what happens is decided by the clock and the seed alone.
"""

import logging
import os
import random
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import simpy

from chalicelib.adapters.dynamodb.items import order_to_item
from chalicelib.adapters.dynamodb.reasons import read_cancellation
from chalicelib.deadline import Deadline
from chalicelib.domain.changes import Change, Create, Move, OutboxUpdate, total_stock_delta
from chalicelib.domain.order import Order
from chalicelib.domain.outcomes import Committed, Refused
from chalicelib.faults import Unavailable
from chalicelib.use_cases.ports import MAX_ACTIONS, Waiting

BEGINNING = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
AWAY_SECONDS = 3.0
"""What a call to a dependency that is away takes: three tries of a second each (adapters/clients.py)."""


def silence() -> None:
    """Nobody reads the log lines and metrics of simulated invocations."""
    logging.disable(logging.CRITICAL)
    os.environ["LOG_FORMAT"] = "text"  # writes no metrics


class _Over(BaseException):
    """The simulation has ended: the thread unwinds."""


class _Worker(threading.local):
    """Of this thread: what it waits for, and how it is resumed."""

    hand_over: Callable[[simpy.Event], Any]


class Simulation:
    """The clock. `sleep` and `clock` are what the use cases are given instead of the real ones."""

    def __init__(self) -> None:
        self.environment = simpy.Environment()
        self._worker = _Worker()
        self._threads: list[tuple[threading.Thread, threading.Lock]] = []
        self._over = False

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return float(self.environment.now)

    def clock(self) -> datetime:
        return BEGINNING + timedelta(milliseconds=round(self.now * 1000))

    def sleep(self, seconds: float) -> None:
        self._worker.hand_over(self.environment.timeout(seconds))

    def deadline(self, seconds: float) -> Deadline:
        """Of a function that is given so many seconds, from now on."""
        end = self.now + seconds
        return Deadline(lambda: end - self.now)

    def begin(self, work: Callable[[], None]) -> None:
        """From now on `work` runs too, as a process of its own."""
        self.environment.process(self._drive(work))

    def run(self, until: float) -> None:
        """Let time pass, then end every process where it is."""
        try:
            self.environment.run(until)
        finally:
            self._over = True
            for thread, resume in self._threads:
                resume.release()
                thread.join()

    def _drive(self, work: Callable[[], None]) -> Generator[simpy.Event, Any, None]:
        resume, parked = threading.Lock(), threading.Lock()
        resume.acquire()
        parked.acquire()
        waits_for: list[simpy.Event] = []
        faults: list[BaseException] = []

        def hand_over(event: simpy.Event) -> None:
            waits_for.append(event)
            parked.release()
            resume.acquire()
            if self._over:
                raise _Over

        def body() -> None:
            self._worker.hand_over = hand_over
            resume.acquire()
            if self._over:
                return
            try:
                with suppress(_Over):
                    work()
            except BaseException as fault:  # noqa: BLE001 - raised again by SimPy's process
                faults.append(fault)
            if not self._over:
                parked.release()

        thread = threading.Thread(target=body, daemon=True)
        entry = thread, resume
        self._threads.append(entry)
        thread.start()
        while True:
            resume.release()
            parked.acquire()
            if not waits_for:
                thread.join()
                self._threads.remove(entry)
                if faults:
                    raise faults[0]
                return
            yield waits_for.pop()


@dataclass(frozen=True, slots=True)
class Times:
    """What is assumed of DynamoDB. A transaction of one action holds its items for `hold` seconds, one of a hundred for
    `hold_of_100`, and between them it grows with each action. `travel`: to DynamoDB, and back again."""

    hold: float = 0.005
    hold_of_100: float = 0.015
    travel: float = 0.001
    units_a_second: int = 1_000
    units_a_write: int = 2

    def holds(self, actions: int) -> float:
        """Seconds."""
        return self.hold + (self.hold_of_100 - self.hold) * (actions - 1) / (MAX_ACTIONS - 1)


@dataclass
class Row:
    """A row of stock. `units` are write units left of a second's; DynamoDB keeps no more than that here."""

    stock: int
    units: float
    filled_at: float = 0.0
    held: bool = False


@dataclass
class SimulatedOrders:
    """The port `Orders`. `stock` has the units of each product, spread over `rows` rows each.

    An item is in one transaction at a time: the loser is cancelled. `attempts` counts transactions, `cancelled` those
    of them that met a held or throttled row.
    """

    simulation: Simulation
    times: Times
    stock: Mapping[str, int]
    rows: int = 1
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    attempts: int = 0
    cancelled: int = 0
    away: bool = False
    orders: dict[str, Order] = field(default_factory=dict)
    table: dict[tuple[str, int], Row] = field(init=False)

    def __post_init__(self) -> None:
        full = self.times.units_a_second
        self.table = {
            (product, row): Row(units // self.rows, full)
            for product, units in self.stock.items()
            for row in range(self.rows)
        }

    def stock_left(self, product: str) -> int:
        return sum(self.table[product, row].stock for row in range(self.rows))

    def commit(self, changes: Sequence[Change]) -> Committed | Refused:
        """As the port says, after as long as it takes."""
        self._answers()
        self.attempts += 1
        units = total_stock_delta(changes)
        rows = {product: self.table[product, self.chance.randrange(self.rows)] for product in units}
        codes = [self._order_code(change) for change in changes]
        codes += [self._row_code(row, units[product], product) for product, row in rows.items()]
        if any(code["Code"] != "None" for code in codes):
            self.cancelled += any(code["Code"] == "TransactionConflict" for code in codes)
            self.simulation.sleep(self.times.travel)
            return read_cancellation(changes, units, codes)
        for row in rows.values():
            row.held = True
        self.simulation.sleep(self.times.holds(len(codes)))
        for product, row in rows.items():
            row.held = False
            row.stock += units[product]
            assert row.stock >= 0, "oversold"
        self.orders.update((change.order_id, change.after) for change in changes)
        self.simulation.sleep(self.times.travel)
        return Committed(tuple(change.after for change in changes))

    def get_all(self, order_ids: Sequence[str]) -> list[Order]:
        self._answers()
        self.simulation.sleep(self.times.travel)
        return [self.orders[order_id] for order_id in order_ids if order_id in self.orders]

    def overdue(self, now: datetime) -> list[list[str]]:
        self._answers()
        due = [order.order_id for order in self.orders.values() if order.outbox and order.outbox.due_at <= now]
        return [due[start : start + 100] for start in range(0, len(due), 100)]

    def count_waiting(self, now: datetime) -> Waiting:
        self._answers()
        hour_ago = now - timedelta(hours=1)
        overdue = sum(bool(order.outbox and order.outbox.due_at < hour_ago) for order in self.orders.values())
        return Waiting(overdue, refunds_pending=0)

    def _answers(self) -> None:
        if self.away:
            self.simulation.sleep(AWAY_SECONDS)
            raise Unavailable("DynamoDB is away")
        self.simulation.sleep(self.times.travel)

    def _order_code(self, change: Change) -> dict[str, Any]:
        existing = self.orders.get(change.order_id)
        if isinstance(change, Create):
            fits = existing is None
        elif isinstance(change, Move):
            fits = existing is not None and existing.status is change.before.status
        else:
            fits = existing is not None and isinstance(change, OutboxUpdate) and _entry_is_as_seen(existing, change)
        if fits:
            return {"Code": "None"}
        item = {"Item": order_to_item(existing)} if existing else {}
        return {"Code": "ConditionalCheckFailed", **item}

    def _row_code(self, row: Row, units: int, product: str) -> dict[str, Any]:
        now, times = self.simulation.now, self.times
        row.units = min(times.units_a_second, row.units + (now - row.filled_at) * times.units_a_second)
        row.filled_at = now
        if row.units < times.units_a_write:
            return {"Code": "ThrottlingError"}
        # A transaction that is cancelled has written nothing, and is billed all the same.
        row.units -= times.units_a_write
        if row.held:
            return {"Code": "TransactionConflict"}
        if row.stock + units < 0:
            item = {"productId": {"S": product}, "stock": {"N": str(row.stock)}}
            return {"Code": "ConditionalCheckFailed", "Item": item}
        return {"Code": "None"}


def _entry_is_as_seen(existing: Order, change: OutboxUpdate) -> bool:
    return change.seen is None or (existing.outbox is not None and existing.outbox.due_at == change.seen)
