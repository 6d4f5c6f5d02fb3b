"""Hot products, simulated: the real `BatchCommitter` on tables whose items are in one transaction at a time.

`make simulation` prints the tables of docs/scale.md; `--write` writes them there. Everything is seeded: the same
command prints the same tables. A run is a few simulated seconds in which consumers are never out of messages.
"""

import math
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import cache

from benchmarks.simulated import BEGINNING, SimulatedOrders, Simulation, Times, silence
from benchmarks.tables import print_or_write, table
from chalicelib.domain.changes import reserve
from chalicelib.domain.idempotency import fingerprint
from chalicelib.domain.order import LineItem, Order, new_order
from chalicelib.use_cases.committing import Applied, BatchCommitter

NAME = "python -m benchmarks.simulation"

WARM_UP, MEASURED = 1.0, 4.0
FUNCTION_SECONDS = 10.0
PAYMENT_SECONDS, PAYMENTS_AT_ONCE = 0.1, 16
OTHER_SECONDS = 0.02
"""Publishing, deleting and receiving. The payments of a batch come before, sixteen at a time."""

OTHER_PRODUCTS = 1_000
BATCHES = (1, 10, 50, 99)

MIDDLE, KIND, HARD = Times(0.005, 0.015), Times(0.005, 0.005), Times(0.005, 0.050)
"""An order's rows are held for 5 to 50 ms, more for more actions; the middle is the geometric one."""


@dataclass(frozen=True, slots=True)
class Run:
    """`hot`: the share of the orders that are of one product; the others are spread over a thousand."""

    batch: int
    consumers: int = 50
    hot: float = 1.0
    rows: int = 1
    times: Times = MIDDLE


@dataclass(frozen=True, slots=True)
class Result:
    """`attempts`: transactions a batch; `p50`, `p99`: seconds in which a batch is reserved. `later`: the share of the
    orders that twelve conflicts, or the time, sent back to the queue."""

    orders_a_second: float
    attempts: float
    p50: float
    p99: float
    later: float


def seconds_after_reserve(batch: int, times: Times = MIDDLE) -> float:
    """Of a batch, for its payments, its confirmation and the rest."""
    payments = math.ceil(batch / PAYMENTS_AT_ONCE) * PAYMENT_SECONDS
    return payments + times.holds(batch) + 2 * times.travel + OTHER_SECONDS


def simulate(run: Run, seconds: float = MEASURED) -> Result:
    """One run. Raises AssertionError if anything is sold twice, or lost."""
    simulation, chance = Simulation(), random.Random(repr(run))
    stock = {"hot": 10**9, **{f"p{n}": 10**9 for n in range(OTHER_PRODUCTS)}}
    orders = SimulatedOrders(simulation, run.times, stock, run.rows, random.Random(1))
    committer = BatchCommitter(orders, simulation.sleep, chance.random)  # type: ignore[arg-type]
    reserved: list[tuple[float, float, int, int]] = []
    numbers = iter(range(10**9))

    def placed() -> Order:
        product = "hot" if chance.random() < run.hot else f"p{chance.randrange(OTHER_PRODUCTS)}"
        order = replace(ORDER, order_id=f"o{next(numbers)}", items=lines_of(product))
        orders.orders[order.order_id] = order
        return order

    def consumer() -> None:
        simulation.sleep(chance.random() * 0.1)
        while True:
            batch = [placed() for _ in range(run.batch)]
            began = simulation.now
            deadline = simulation.deadline(FUNCTION_SECONDS)
            results = committer.commit_each([reserve(order, BEGINNING) for order in batch], deadline)
            applied = sum(isinstance(result, Applied) for result in results)
            reserved.append((simulation.now, simulation.now - began, applied, len(batch)))
            simulation.sleep(seconds_after_reserve(len(batch), run.times))
            for order in batch:
                del orders.orders[order.order_id]

    for _ in range(run.consumers):
        simulation.begin(consumer)
    before = attempts = 0

    def count() -> None:
        nonlocal before
        simulation.sleep(WARM_UP)
        before = orders.attempts

    simulation.begin(count)
    simulation.run(WARM_UP + seconds)
    attempts = orders.attempts - before
    measured = [entry for entry in reserved if entry[0] > WARM_UP]
    sold = sum(10**9 // run.rows * run.rows - orders.stock_left(product) for product in stock)
    assert sold >= sum(applied for _, _, applied, _ in reserved), "an order is reserved, and its stock is not taken"
    times = sorted(seconds for _, seconds, _, _ in measured) or [0.0]
    done, tried = (sum(entry[n] for entry in measured) for n in (2, 3))
    return Result(
        done / seconds,
        attempts / max(1, len(measured)),
        times[len(times) // 2],
        times[min(len(times) - 1, len(times) * 99 // 100)],
        1 - done / max(1, tried),
    )


@cache
def lines_of(product: str) -> tuple[LineItem, ...]:
    """One unit of it."""
    return (LineItem(product, 1, Decimal(1), product),)


ORDER = new_order(
    order_id="o",
    customer_id="c",
    items=lines_of("hot"),
    total_amount=Decimal(1),
    currency="USD",
    created_at=BEGINNING - timedelta(seconds=1),
    fingerprint="",
    payment_key="o.1",
)
ORDER = replace(ORDER, fingerprint=fingerprint(ORDER))


@dataclass(frozen=True, slots=True)
class Sweep:
    """A table: what is swept, and how its rows are named."""

    title: str
    column: str
    rows: tuple[tuple[str, Run], ...]


def _each_batch(rows: Iterator[tuple[str, Run]]) -> tuple[tuple[str, Run], ...]:
    return tuple((name, replace(run, batch=batch)) for name, run in rows for batch in BATCHES)


SWEEPS = (
    Sweep(
        "How long a transaction of a hundred actions holds its rows; 50 consumers",
        "ms",
        _each_batch((str(ms), Run(1, times=Times(0.005, ms / 1000))) for ms in (5, 10, 15, 20, 27, 50)),
    ),
    Sweep("Consumers at a time", "consumers", _each_batch((str(n), Run(1, consumers=n)) for n in (2, 8, 20, 50, 200))),
    Sweep(
        "Orders on one product; 50 consumers",
        "%",
        _each_batch((str(percent), Run(1, hot=percent / 100)) for percent in (0, 10, 50, 100)),
    ),
    Sweep(
        "Rows of stock a product, one of them drawn for each try; 200 consumers",
        "rows; ms",
        _each_batch(
            (f"{rows}; {times.hold_of_100 * 1000:.0f}", Run(1, consumers=200, rows=rows, times=times))
            for times in (MIDDLE, HARD)
            for rows in (1, 8)
        ),
    ),
)

COLUMNS = ("batch", "orders/s", "transactions a batch", "p50, ms", "p99, ms", "back to the queue")


def cells(run: Run) -> tuple[str, ...]:
    """One row of a table, without its name."""
    result = simulate(run)
    return (
        str(run.batch),
        f"{result.orders_a_second:,.0f}",
        f"{result.attempts:.1f}",
        f"{1000 * result.p50:,.0f}",
        f"{1000 * result.p99:,.0f}",
        f"{100 * result.later:.1f} %",
    )


def computed(sweeps: tuple[Sweep, ...] = SWEEPS) -> Iterator[str]:
    """The part of the document that the simulation prints."""
    for sweep in sweeps:
        yield table(sweep.title, (sweep.column, *COLUMNS), [(name, *cells(run)) for name, run in sweep.rows])


def main() -> int:
    """Print the tables, or write them into the document."""
    silence()
    return print_or_write(__doc__, NAME, computed())


if __name__ == "__main__":
    sys.exit(main())
