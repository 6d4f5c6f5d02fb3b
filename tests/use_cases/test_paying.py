"""Payments of a batch are made side by side, within one patience, and only a clear answer is an answer."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from math import inf
from threading import Barrier, Lock, get_ident
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib import telemetry
from chalicelib.adapters.clients import POOL_SIZE
from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.domain.outcomes import Charged, Declined, NothingToRefund, Refunded, Unknown
from chalicelib.faults import PaymentUnknown
from chalicelib.providers import PROVIDERS
from chalicelib.service import service
from chalicelib.use_cases.paying import BatchPayments
from tests.support.aws_calls import Killed
from tests.support.orders import an_order
from tests.support.stage import Stage

ORDERS = [
    an_order(f"o{n}", {"p1": n + 1}, customer_id=f"c{n}", payment_method=f"pm_{n}" if n else None) for n in range(10)
]


@dataclass
class Provider:
    """A provider that does as it is told: `does` is called with the order id ahead of each answer."""

    does: Callable[[str], object] = lambda _: None
    charged: list[tuple[str, Decimal, str, str | None, str | None]] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    lock: Lock = field(default_factory=Lock)

    def charge(
        self,
        payment_key: str,
        amount: Decimal,
        currency: str,
        *,
        method: str | None = None,
        customer_id: str | None = None,
    ) -> Charged | Declined:
        order_id = payment_key.partition(".")[0]
        with self.lock:
            self.charged.append((order_id, amount, currency, method, customer_id))
            self.threads.add(get_ident())
        self.does(order_id)
        return Declined("no") if order_id == "o3" else Charged(f"pay-{order_id}")

    def refund(self, payment_key: str) -> Refunded | NothingToRefund:
        order_id = payment_key.partition(".")[0]
        self.does(order_id)
        return NothingToRefund() if order_id == "o3" else Refunded(f"pay-{order_id}")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as kept:
        yield kept


def unknown(answers: list[object]) -> list[int]:
    """Which of the answers are not clear; each says why."""
    return [n for n, answer in enumerate(answers) if isinstance(answer, Unknown) and answer.reason]


@pytest.mark.parametrize("operation", ["charge", "refund"])
def test_the_payments_of_a_batch_are_made_side_by_side(pool: ThreadPoolExecutor, operation: str) -> None:
    """Each call waits for all the others to have begun: one after the other, none would ever end."""
    everyone = Barrier(len(ORDERS))
    provider = Provider(lambda _: everyone.wait(10))
    assert unknown(getattr(BatchPayments(provider, pool, 30), operation)(ORDERS, NO_DEADLINE)) == []


def test_each_order_has_its_own_payment_and_answers_are_in_the_order_of_the_orders(pool: ThreadPoolExecutor) -> None:
    provider = Provider(lambda order_id: time.sleep(0.1 - int(order_id[1:]) / 100))  # the last answers first
    payments = BatchPayments(provider, pool, 30)
    charges = [Declined("no") if n == 3 else Charged(f"pay-o{n}") for n in range(10)]
    refunds = [NothingToRefund() if n == 3 else Refunded(f"pay-o{n}") for n in range(10)]
    assert payments.charge(ORDERS, NO_DEADLINE) == charges
    assert sorted(provider.charged) == [
        (f"o{n}", o.total_amount, "USD", f"pm_{n}" if n else None, f"c{n}") for n, o in enumerate(ORDERS)
    ]
    assert payments.refund(ORDERS, NO_DEADLINE) == refunds
    assert payments.charge(ORDERS[::-1], NO_DEADLINE) == charges[::-1]


# --- the time that a batch has ---


@dataclass
class Task:
    """A call on its way: it begins once a thread is free, and ends after its time."""

    run: Callable[[], object]
    order_id: str
    began: float | None = None
    ends: float = inf
    answer: object = None


class Future:
    """What the pool hands out: waiting for it is what lets time pass."""

    def __init__(self, pool: "SimulatedPool", task: Task) -> None:
        self.pool, self.task = pool, task

    def result(self, timeout: float) -> object:
        until = self.pool.now + timeout
        while self.task.ends > self.pool.now:
            if self.pool.next_end() > until:
                self.pool.now = max(self.pool.now, until)
                raise TimeoutError
            self.pool.advance()
        if isinstance(self.task.answer, Exception):
            raise self.task.answer
        return self.task.answer


@dataclass
class Instant(Provider):
    """A provider that notes whom it was asked about; how long that takes is the pool's."""

    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.does = self.asked.append


@dataclass
class SimulatedPool:
    """So many threads, on a clock of its own; `takes` has the seconds of each order's call."""

    threads: int
    takes: dict[str, float]
    now: float = 0.0
    tasks: list[Task] = field(default_factory=list)
    provider: Instant = field(default_factory=Instant)

    @property
    def asked(self) -> list[str]:
        return self.provider.asked

    def submit(self, run: Callable[..., object], *of: Any) -> Future:
        self.tasks.append(Task(lambda: run(*of), of[-1].order_id))
        self._begin()
        return Future(self, self.tasks[-1])

    def next_end(self) -> float:
        return min((task.ends for task in self.tasks if task.ends > self.now), default=inf)

    def advance(self) -> None:
        self.now = self.next_end()
        self._begin()

    def _begin(self) -> None:
        for task in self.tasks:
            running = sum(t.began is not None and t.ends > self.now for t in self.tasks)
            if task.began is None and running < self.threads:
                asked = len(self.asked)
                task.began = self.now
                try:
                    task.answer = task.run()
                except PaymentUnknown as fault:
                    task.answer = fault
                task.ends = self.now + (self.takes[task.order_id] if len(self.asked) > asked else 0)


@given(
    takes=st.lists(st.sampled_from([0.01, 0.5, 1.0, 4.0, 19.0, 50.0, 1e9]), min_size=1, max_size=40),
    threads=st.sampled_from([1, 2, 4, 16]),
    patience=st.sampled_from([3.0, 20.0]),
    left=st.floats(0, 60) | st.floats(0, 8),
    margin=st.sampled_from([1.2, 4.0]),
    operation=st.sampled_from(["charge", "refund"]),
)
@example(takes=[2.5, 0.01], threads=1, patience=3.0, left=60.0, margin=4.0, operation="charge")
def test_a_batch_waits_no_longer_than_its_patience_and_leaves_the_time_to_write_what_came_of_it(
    takes: list[float], threads: int, patience: float, left: float, margin: float, operation: str
) -> None:
    """A provider that hangs holds every thread: nothing begins, now or later, whose end nobody would see."""
    orders = [an_order(f"o{n}") for n in range(len(takes))]
    pool = SimulatedPool(threads, {f"o{n}": seconds for n, seconds in enumerate(takes)})
    deadline = Deadline(lambda: left - pool.now, margin)
    executor: Any = pool
    payments = BatchPayments(pool.provider, executor, patience, lambda: pool.now)
    in_time = not deadline.has_passed
    answers = getattr(payments, operation)(orders, deadline)

    waited = pool.now
    assert waited <= patience
    assert not (in_time and deadline.has_passed), "what was paid cannot be written"
    wait = min(patience, left - 1.25 * margin)
    assert bool(pool.asked) is (wait >= 1)
    clear = {f"o{n}" for n in range(len(orders)) if n not in unknown(answers)}
    begun = {task.order_id: task.began for task in pool.tasks if task.order_id in pool.asked}
    for order_id, began in begun.items():
        assert began is not None
        assert began <= 0.75 * wait
        assert (order_id in clear) is (began + pool.takes[order_id] <= wait)
    assert clear <= set(begun)
    while pool.next_end() < inf:
        pool.advance()
    assert set(pool.asked) == set(begun), "one began when nobody waited any more"


def test_what_is_not_answered_in_time_is_unknown_and_the_others_are_not() -> None:
    pool = SimulatedPool(16, {f"o{n}": 99.0 if n in (2, 5) else 1.0 for n in range(10)})
    executor: Any = pool
    answers = BatchPayments(pool.provider, executor, 3, lambda: pool.now).charge(ORDERS, NO_DEADLINE)
    assert unknown([*answers]) == [2, 5]
    assert answers[9] == Charged("pay-o9")


def test_what_a_payment_counts_and_logs_is_its_invocations(
    pool: ThreadPoolExecutor, capsys: pytest.CaptureFixture[str]
) -> None:
    provider = Provider(lambda _: telemetry.count("PaymentRequestsRefused"))
    with telemetry.invocation():
        BatchPayments(provider, pool, 3).charge(ORDERS, NO_DEADLINE)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["PaymentRequestsRefused"] == [1.0] * 10


FAULTS = [
    PaymentUnknown("timed out"),
    ReadTimeoutError(endpoint_url="provider"),
    TimeoutError("the socket's own"),
    ValueError("another amount"),
]


@pytest.mark.parametrize("operation", ["charge", "refund"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_whatever_a_provider_raises_is_unknown_for_that_order_alone(
    pool: ThreadPoolExecutor, fault: Exception, operation: str
) -> None:
    def fails(order_id: str) -> None:
        if order_id == "o4":
            raise fault

    assert unknown(getattr(BatchPayments(Provider(fails), pool, 30), operation)(ORDERS, NO_DEADLINE)) == [4]


def test_a_process_that_dies_in_a_payment_is_dead(pool: ThreadPoolExecutor) -> None:
    def dies(_: str) -> None:
        raise Killed

    with pytest.raises(Killed):
        BatchPayments(Provider(dies), pool, 30).charge(ORDERS, NO_DEADLINE)


def test_the_threads_are_kept_from_batch_to_batch(aws: Stage) -> None:
    """One pool a process, as wide as a batch, whose calls each have a connection of their own."""
    payments = service().fulfilment.payments
    assert payments.patience == PROVIDERS["simulated"].patience
    assert isinstance(payments.pool, ThreadPoolExecutor)
    assert 10 <= payments.pool._max_workers <= POOL_SIZE
    provider = Provider()
    kept = BatchPayments(provider, payments.pool, 30)
    for _ in range(20):
        kept.charge(ORDERS, NO_DEADLINE)
    assert len(provider.threads) <= POOL_SIZE
