"""docs/scale.md says what its commands print; the simulation is repeatable, and tables conflict as DynamoDB's do."""

import re
from dataclasses import replace

import pytest

from benchmarks import backlog, capacity, simulation
from benchmarks.simulated import AWAY_SECONDS, SimulatedOrders, Simulation, Times
from benchmarks.simulation import MIDDLE, ORDER, Run, Sweep
from benchmarks.tables import DOCUMENT
from chalicelib.domain.changes import Change, reserve
from chalicelib.domain.outcomes import Committed, Conflict, Refused
from chalicelib.faults import Unavailable
from tests.support.orders import NOW

pytestmark = pytest.mark.usefixtures("quiet")

TEXT = DOCUMENT.read_text("utf-8")


# --- the page ---


def test_the_page_has_what_make_capacity_prints() -> None:
    assert capacity.computed() in TEXT


def sweep_of(column: str) -> Sweep:
    return next(sweep for sweep in simulation.SWEEPS if sweep.column == column)


GOAL = Run(99, consumers=50, times=MIDDLE)
CHEAP = [
    ("ms", "15", GOAL),
    *(("consumers", "2", Run(batch, consumers=2)) for batch in simulation.BATCHES),
    ("consumers", "8", Run(10, consumers=8)),
]
"""Rows that take little time; `make simulation` prints them all."""


@pytest.mark.parametrize(("column", "name", "run"), CHEAP, ids=lambda value: str(getattr(value, "batch", value)))
def test_the_page_has_what_make_simulation_prints(column: str, name: str, run: Run) -> None:
    sweep = sweep_of(column)
    assert (name, run) in sweep.rows
    chapter = TEXT.partition(f"### {sweep.title}\n")[2].partition("\n#")[0]
    assert f"| {name} | {' | '.join(simulation.cells(run))} |" in chapter


def test_five_thousand_orders_a_second_of_one_product_at_the_middle_assumption() -> None:
    """The row itself is computed above."""
    chapter = TEXT.partition(f"### {sweep_of('ms').title}\n")[2].partition("\n#")[0]
    (figure,) = re.findall(r"^\| 15 \| 99 \| ([\d,]+) \|", chapter, re.MULTILINE)
    assert int(figure.replace(",", "")) >= 5_000


@pytest.mark.parametrize("kind", backlog.POISON[1:])
def test_the_page_has_what_a_poisonous_message_does(kind: str) -> None:
    assert f"| {' | '.join(backlog.poison(kind, 99))} |" in TEXT


@pytest.mark.parametrize("batch", simulation.BATCHES)
def test_where_nobody_is_in_the_way_the_simulation_agrees_with_the_capacity(batch: int) -> None:
    chapter = TEXT.partition(f"### {sweep_of('consumers').title}\n")[2].partition("\n#")[0]
    for consumers in (2, 8):
        (figure,) = re.findall(rf"^\| {consumers} \| {batch} \| ([\d,]+) \|", chapter, re.MULTILINE)
        computed = consumers * batch / capacity.seconds_of(batch)
        assert float(figure.replace(",", "")) == pytest.approx(computed, rel=0.1)


def test_every_table_of_the_page_is_whole() -> None:
    """Each row that the commands would print has its line, whatever its figures."""
    for sweep in simulation.SWEEPS:
        chapter = TEXT.partition(f"### {sweep.title}\n")[2].partition("\n#")[0]
        for name, run in sweep.rows:
            assert f"| {name} | {run.batch} |" in chapter, sweep.title
    for title, _, _, rows in backlog.TABLES:
        chapter = TEXT.partition(f"### {title}\n")[2].partition("\n#")[0]
        for first, second in rows:
            assert f"| {first} | {second} |" in chapter, title


def test_each_figure_of_the_prose_is_in_a_table() -> None:
    """Figures in bold are results."""
    cells = {figure for line in TEXT.splitlines() if line.startswith("|") for figure in line.split()}
    prose = "\n".join(line for line in TEXT.splitlines() if not line.startswith("|"))
    figures = [
        figure for bold in re.findall(r"\*\*([^*]+)\*\*", prose) for figure in re.findall(r"\d[\d,.]*\d|\d", bold)
    ]
    assert len(figures) >= 5
    assert [figure for figure in figures if figure not in cells] == []


# --- the simulation ---


Answer = Committed | Refused | None


class Tables:
    """Three orders of one product, and what its tables answered to each commit, in order of the answers."""

    def __init__(self, stock: int = 10, times: Times = MIDDLE) -> None:
        self.simulation = Simulation()
        self.orders = SimulatedOrders(self.simulation, times, {"hot": stock})
        self.answers: list[tuple[float, int, Answer]] = []
        self.reserves: list[Change] = []
        for n in range(3):
            order = replace(ORDER, order_id=f"o{n}")
            self.orders.orders[order.order_id] = order
            self.reserves.append(reserve(order, NOW))

    def commit(self, n: int, at: float) -> None:
        def work() -> None:
            self.simulation.sleep(at)
            try:
                answer: Answer = self.orders.commit([self.reserves[n]])
            except Unavailable:
                answer = None
            self.answers.append((self.simulation.now, n, answer))

        self.simulation.begin(work)


def test_of_two_transactions_at_once_on_one_row_the_second_is_cancelled_at_once() -> None:
    tables = Tables()
    tables.commit(0, at=0)
    tables.commit(1, at=0.003)
    tables.commit(2, at=0.007)
    tables.simulation.run(1)
    (first, loser, cancelled), (second, winner, _), (_, last, done) = tables.answers
    assert (loser, winner, last) == (1, 0, 2)
    assert cancelled == Refused((Conflict(),), {})
    assert isinstance(done, Committed)
    assert [first, second] == pytest.approx([0.005, MIDDLE.holds(2) + 2 * MIDDLE.travel])
    assert (tables.orders.stock_left("hot"), tables.orders.attempts, tables.orders.cancelled) == (8, 3, 1)


def test_a_row_has_its_write_units_a_second_and_no_more() -> None:
    tables = Tables(times=Times(0.0, 0.0, 0.0, units_a_second=4))
    for n in range(3):
        tables.commit(n, at=0.01 * (n + 1))
    tables.simulation.run(1)
    assert [type(answer) for _, _, answer in tables.answers] == [Committed, Committed, Refused]


def test_what_is_away_answers_after_three_tries_and_writes_nothing() -> None:
    tables = Tables()
    tables.orders.away = True
    tables.commit(0, at=0)
    tables.simulation.run(10)
    assert tables.answers == [(AWAY_SECONDS, 0, None)]
    assert tables.orders.stock_left("hot") == 10


def test_a_row_that_no_conflict_protects_is_oversold_and_the_simulation_says_so() -> None:
    tables = Tables(stock=1)
    tables.commit(0, at=0)
    tables.commit(1, at=0.003)

    def let_go() -> None:
        tables.simulation.sleep(0.002)
        for row in tables.orders.table.values():
            row.held = False

    tables.simulation.begin(let_go)
    with pytest.raises(AssertionError, match="oversold"):
        tables.simulation.run(1)


def test_a_run_is_repeatable_and_another_seed_is_another_run() -> None:
    run = Run(10, consumers=8)
    assert simulation.simulate(run, 1) == simulation.simulate(run, 1)
    assert simulation.simulate(run, 1) != simulation.simulate(replace(run, consumers=9), 1)


@pytest.mark.parametrize("away", backlog.AWAY)
def test_after_an_outage_of_a_minute_nothing_is_lost(away: str) -> None:
    """`outage` itself asks that every order ends, and that no function outlives its time."""
    _, _, waiting, *_, letters, refused = backlog.outage(away, 99, seconds=60, after=200)
    assert (int(letters), int(refused) > 0) == (0, away == "DynamoDB")
    assert int(waiting) > 0 or away == "DynamoDB"


def test_a_flash_sale_sells_what_there_is() -> None:
    """`flash_sale` itself asks that nothing is oversold, and nothing is left."""
    assert backlog.flash_sale(99, 20, wanted=600, stock=300, seconds=15)[2:4] == ("300", "300")
