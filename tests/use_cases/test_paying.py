"""Payments of a batch are made side by side, within one patience, and only a clear answer is an answer."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from threading import Barrier, Event, Lock, get_ident

import pytest
from botocore.exceptions import ReadTimeoutError

from chalicelib.adapters.clients import POOL_SIZE
from chalicelib.domain.outcomes import Charged, Declined, NothingToRefund, Refunded, Unknown
from chalicelib.faults import PaymentUnknown
from chalicelib.service import service
from chalicelib.use_cases.paying import TIMEOUT, BatchPayments
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
    assert unknown(getattr(BatchPayments(provider, pool), operation)(ORDERS)) == []


def test_each_order_has_its_own_payment_and_answers_are_in_the_order_of_the_orders(pool: ThreadPoolExecutor) -> None:
    provider = Provider(lambda order_id: time.sleep(0.1 - int(order_id[1:]) / 100))  # the last answers first
    payments = BatchPayments(provider, pool)
    charges = [Declined("no") if n == 3 else Charged(f"pay-o{n}") for n in range(10)]
    refunds = [NothingToRefund() if n == 3 else Refunded(f"pay-o{n}") for n in range(10)]
    assert payments.charge(ORDERS) == charges
    assert sorted(provider.charged) == [
        (f"o{n}", o.total_amount, "USD", f"pm_{n}" if n else None, f"c{n}") for n, o in enumerate(ORDERS)
    ]
    assert payments.refund(ORDERS) == refunds
    assert payments.charge(ORDERS[::-1]) == charges[::-1]


def test_what_is_not_answered_in_time_is_unknown_and_the_others_are_not(pool: ThreadPoolExecutor) -> None:
    late = Event()
    provider = Provider(lambda order_id: order_id in ("o2", "o5") and late.wait(10))
    answers = BatchPayments(provider, pool, timeout=0.2).charge(ORDERS)
    late.set()
    assert unknown([*answers]) == [2, 5]
    assert answers[9] == Charged("pay-o9")


def test_the_patience_is_the_batchs_and_a_payment_that_has_not_begun_when_it_ends_does_not_begin() -> None:
    """A provider that hangs holds every thread; its queue must not grow by a batch with each delivery."""
    hanging = Event()
    provider = Provider(lambda _: hanging.wait(10))
    with ThreadPoolExecutor(2) as pool:
        began = time.monotonic()
        answers = BatchPayments(provider, pool, timeout=0.3).charge(ORDERS)
        assert time.monotonic() - began < 1.5  # far less than ten times the patience, on a slow machine too
        hanging.set()
    assert unknown([*answers]) == list(range(10))
    assert len(provider.charged) == 2


def test_of_a_hundred_payments_those_that_the_time_suffices_for_are_answered_and_the_others_are_unknown(
    pool: ThreadPoolExecutor,
) -> None:
    """The pool is bounded, whatever the batch: sixteen under way, and the rest wait their turn."""
    orders, provider, hanging = [an_order(f"o{n}") for n in range(100)], Provider(), Event()
    answered = iter(range(40))
    provider.does = lambda _: None if next(answered, None) is not None else hanging.wait(10)
    answers = BatchPayments(provider, pool, timeout=1).charge(orders)
    begun = len(provider.charged)
    hanging.set()
    assert (len(answers), len(unknown([*answers]))) == (100, 60)
    assert begun == 40 + 16


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

    assert unknown(getattr(BatchPayments(Provider(fails), pool), operation)(ORDERS)) == [4]


def test_a_process_that_dies_in_a_payment_is_dead(pool: ThreadPoolExecutor) -> None:
    def dies(_: str) -> None:
        raise Killed

    with pytest.raises(Killed):
        BatchPayments(Provider(dies), pool).charge(ORDERS)


def test_the_threads_are_kept_from_batch_to_batch(aws: Stage) -> None:
    """One pool a process, as wide as a batch, whose calls each have a connection of their own."""
    payments = service().consumer.fulfilment.payments
    assert payments.timeout == TIMEOUT == 3.0
    assert isinstance(payments.pool, ThreadPoolExecutor)
    assert 10 <= payments.pool._max_workers <= POOL_SIZE
    provider = Provider()
    kept = BatchPayments(provider, payments.pool)
    for _ in range(20):
        kept.charge(ORDERS)
    assert len(provider.threads) <= POOL_SIZE
