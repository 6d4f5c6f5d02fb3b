"""A batch is written together; a refused change gets its result by its reason, and costs the others one round trip."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.adapters.dynamodb.items import order_to_item
from chalicelib.adapters.dynamodb.reasons import read_cancellation
from chalicelib.adapters.dynamodb.repository import Repository
from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.domain import changes
from chalicelib.domain.changes import Change, Create, Move, stock_delta, total_stock_delta
from chalicelib.domain.order import Order, Status
from chalicelib.domain.outcomes import (
    Committed,
    Conflict,
    InsufficientStock,
    ItemError,
    NotFound,
    Reason,
    Refused,
    StatusChanged,
)
from chalicelib.faults import Rejected, Unavailable
from chalicelib.use_cases.committing import Applied, BatchCommitter, CommitResult, Retryable
from chalicelib.use_cases.ports import MAX_ACTIONS
from tests.support.aws_calls import AwsCalls
from tests.support.events import FakeLambdaContext
from tests.support.orders import NOW, an_order, standing
from tests.support.stage import Stage
from tests.support.tables import repository_on, statuses_in, stock_in, stock_up, store

LATER = NOW + timedelta(seconds=5)
Answer = Committed | Refused | Exception | None


@dataclass
class Scripted:
    """Answers each commit with the next of its script; None, and whatever comes after the end: committed."""

    answers: list[Answer] = field(default_factory=list)
    batches: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def commit(self, batch: Sequence[Change]) -> Committed | Refused:
        self.batches.append(" ".join(change.order_id for change in batch))
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Refused):
            assert len(answer.reasons) == len(batch), "the script answers another batch"
        return answer or Committed(tuple(change.after for change in batch))

    def commit_each(
        self, batch: Sequence[Change], deadline: Deadline = NO_DEADLINE, jitter: Callable[[], float] = lambda: 1.0
    ) -> dict[str, CommitResult]:
        committer = BatchCommitter(cast("Repository", self), self.pauses.append, jitter)
        outcomes = committer.commit_each(batch, deadline)
        return {change.order_id: outcome for change, outcome in zip(batch, outcomes, strict=True)}


def reserve(order_id: str, **units: int) -> Move:
    return changes.reserve(standing(Status.PENDING, order_id, units or {"p1": 1}), LATER)


def reserves(count: int) -> list[Change]:
    return [reserve(str(n)) for n in range(count)]


def refused(*reasons: Reason | None, **stock: int) -> Refused:
    return Refused(reasons, stock)


@dataclass
class Case:
    """What each change wants, what the commits answer, what is committed and when, and what is not applied."""

    wants: Sequence[dict[str, int]]
    script: list[Answer]
    batches: list[str]
    otherwise: dict[str, CommitResult] = field(default_factory=dict)
    pauses: list[float] = field(default_factory=list)


CONFLICT = Conflict()
MOVED = StatusChanged(standing(Status.CANCELLED, "1"))
NO = None
ONE = {"p1": 1}
THREE = {"p1": 3}
SHORT = InsufficientStock("p1", 3, 2)

CASES = {
    "those that fit are one commit": Case([ONE] * 10, [], ["0 1 2 3 4 5 6 7 8 9"]),
    "nothing to commit is not a commit": Case([], [], []),
    "moved and absent ones cost the others one round trip": Case(
        [ONE] * 4, [refused(NO, MOVED, NO, NotFound())], ["0 1 2 3", "0 2"], {"1": MOVED, "3": NotFound()}
    ),
    "a short one costs the others one round trip": Case(
        [ONE, {"p2": 1}, ONE],
        [refused(NO, InsufficientStock("p2", 1, 0), NO, p2=0)],
        ["0 1 2", "0 2"],
        {"1": InsufficientStock("p2", 1, 0)},
    ),
    "one at fault costs the others one round trip": Case(
        [ONE] * 3,
        [refused(NO, ItemError("ValidationError"), NO)],
        ["0 1 2", "0 2"],
        {"1": Retryable("ValidationError")},
    ),
    "when all are refused nothing more is tried": Case(
        [ONE] * 2,
        [refused(InsufficientStock("p1", 1, 0), MOVED, p1=0)],
        ["0 1"],
        {"0": InsufficientStock("p1", 1, 0), "1": MOVED},
    ),
    "those that fit into what came back go first, in order of arrival": Case(
        [THREE] * 3,
        [refused(NO, NO, NO, p1=5), NO, refused(SHORT, SHORT, p1=2)],
        ["0 1 2", "0", "1 2"],
        {"1": SHORT, "2": SHORT},
    ),
    "a small one behind a large one that does not fit still fits": Case(
        [THREE, THREE, {"p1": 2}, {"p2": 1}],
        [refused(NO, NO, NO, NO, p1=5), NO, refused(SHORT, p1=0)],
        ["0 1 2 3", "0 2 3", "1"],
        {"1": SHORT},
    ),
    "one that does not fit takes nothing of its other products": Case(
        [THREE, {"p1": 3, "p2": 4}, {"p2": 4}],
        [refused(NO, NO, NO, p1=5, p2=4), NO, refused(SHORT, p1=2)],
        ["0 1 2", "0 2", "1"],
        {"1": SHORT},
    ),
    "stock that somebody brought meanwhile is taken": Case([THREE] * 2, [refused(NO, NO, p1=5)], ["0 1", "0", "1"]),
    "a conflict alone never splits the batch": Case(
        [ONE] * 3, [refused(NO, CONFLICT, NO), refused(*[CONFLICT] * 3)], ["0 1 2"] * 3, pauses=[0.01, 0.02]
    ),
    "with a conflict and a reason, those held back come together after the others, without a pause": Case(
        [ONE] * 5,
        [refused(CONFLICT, MOVED, NO, CONFLICT, NO)],
        ["0 1 2 3 4", "2 4", "0 3"],
        {"1": MOVED},
    ),
    "those held back wait only when nothing but conflicts is left": Case(
        [ONE] * 4,
        [refused(CONFLICT, MOVED, NO, CONFLICT), NO, refused(CONFLICT, NO), refused(CONFLICT, CONFLICT)],
        ["0 1 2 3", "2", "0 3", "0 3", "0 3"],
        {"1": MOVED},
        [0.01, 0.02],
    ),
    "a pause goes on doubling though another one is refused in between": Case(
        [ONE] * 3,
        [refused(*[CONFLICT] * 3), refused(CONFLICT, MOVED, CONFLICT), refused(CONFLICT, CONFLICT)],
        ["0 1 2", "0 1 2", "0 2", "0 2"],
        {"1": MOVED},
        [0.01, 0.02],
    ),
    "conflicts with nothing that fits are tried again together at once": Case(
        [ONE] * 3, [refused(CONFLICT, MOVED, CONFLICT)], ["0 1 2", "0 2"], {"1": MOVED}
    ),
    "a conflict at one product while another is short": Case(
        [THREE, THREE, {"p2": 1}],
        [refused(NO, NO, CONFLICT, p1=5), NO, refused(SHORT, NO, p1=2)],
        ["0 1 2", "0", "1 2", "2"],
        {"1": SHORT},
    ),
    "the twelfth conflict is the last, and the pause doubles from 10 to 320 ms": Case(
        [ONE] * 2,
        [refused(CONFLICT, CONFLICT)] * 20,
        ["0 1"] * 12,
        {"0": Retryable("conflict"), "1": Retryable("conflict")},
        [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.32, 0.32, 0.32, 0.32, 0.32],
    ),
    "a batch whose fate is unknown is retryable as a whole": Case(
        [ONE] * 2, [Unavailable("down")], ["0 1"], {"0": Retryable("down"), "1": Retryable("down")}
    ),
    "a result from before a fault stays": Case(
        [ONE] * 3,
        [refused(NO, MOVED, NO), Unavailable("gone")],
        ["0 1 2", "0 2"],
        {"0": Retryable("gone"), "1": MOVED, "2": Retryable("gone")},
    ),
    "of a batch that is rejected only the faulty one suffers": Case(
        [ONE] * 3, [Rejected("large"), NO, Rejected("large")], ["0 1 2", "0", "1", "2"], {"1": Retryable("large")}
    ),
    "one alone that is rejected is not tried again": Case([ONE], [Rejected("large")], ["0"], {"0": Retryable("large")}),
}


@pytest.mark.parametrize("name", CASES)
def test_each_change_gets_its_result(name: str) -> None:
    case = CASES[name]
    batch = [reserve(str(n), **units) for n, units in enumerate(case.wants)]
    scripted = Scripted(list(case.script))
    applied = {change.order_id: Applied(change.after) for change in batch}
    assert scripted.commit_each(batch) == applied | case.otherwise
    assert scripted.batches == case.batches
    assert scripted.pauses == pytest.approx(case.pauses)


def test_what_stands_is_what_the_commit_says() -> None:
    change = reserve("0")
    existing = replace(change.after, request_id="as it was stored")
    assert Scripted([Committed((existing,))]).commit_each([change]) == {"0": Applied(existing)}


def test_the_jitter_is_full() -> None:
    draws = iter([0.0, 0.25, 0.5, 0.999])
    scripted = Scripted([refused(CONFLICT)] * 4)
    scripted.commit_each(reserves(1), jitter=lambda: next(draws))
    assert scripted.pauses == pytest.approx([0.0, 0.005, 0.02, 0.07992])


# --- what fits into a transaction ---


@pytest.mark.parametrize(
    ("batch", "sizes"),
    [
        ([Create(an_order(str(n))) for n in range(205)], [100, 100, 5]),
        ([reserve(str(n), p1=1) for n in range(99)], [99]),
        ([reserve(str(n), p1=1) for n in range(100)], [99, 1]),
        ([reserve(str(n), **{f"p{n}x{i}": 1 for i in range(50)}) for n in range(4)], [1, 1, 1, 1]),
        ([reserve(str(n), **{f"p{i}": 1 for i in range(50)}) for n in range(10)], [10]),
    ],
    ids=["creations", "a product counts once", "and is one action", "large orders", "large orders of equal products"],
)
def test_a_transaction_has_100_actions_at_most(batch: list[Change], sizes: list[int]) -> None:
    scripted = Scripted()
    assert scripted.commit_each(batch) == {change.order_id: Applied(change.after) for change in batch}
    assert [len(committed.split()) for committed in scripted.batches] == sizes


def test_a_batch_that_fails_does_not_keep_the_next_from_being_tried() -> None:
    batch: list[Change] = [Create(an_order(str(n))) for n in range(101)]
    outcomes = Scripted([Unavailable("gone")]).commit_each(batch)
    assert (outcomes["99"], outcomes["100"]) == (Retryable("gone"), Applied(batch[100].after))


# --- the deadline ---


def test_a_conflict_gives_up_when_the_deadline_has_come() -> None:
    left = iter([5.0, 4.5, 3.9, 0.0])
    scripted = Scripted([refused(CONFLICT)] * 20)
    assert scripted.commit_each(reserves(1), Deadline(lambda: next(left))) == {"0": Retryable("conflict")}
    assert (len(scripted.batches), len(scripted.pauses)) == (3, 2)


@pytest.mark.parametrize(
    ("batch", "answer"),
    [
        (reserves(10), Rejected("one is at fault")),
        (reserves(10), refused(MOVED, *[NO] * 9)),
        (reserves(10), refused(*[NO] * 10, p1=5)),
        ([Create(an_order(str(n))) for n in range(101)], None),
    ],
    ids=["apart", "without the moved one", "those that fit", "the next transaction"],
)
def test_nothing_more_is_begun_once_the_deadline_has_come(batch: list[Change], answer: Answer) -> None:
    scripted = Scripted([answer])
    outcomes = scripted.commit_each(batch, Deadline(lambda: 1.0))
    assert len(scripted.batches) == 1
    assert outcomes[batch[-1].order_id] == Retryable("no time left")


def test_those_held_back_are_left_where_the_deadline_comes_after_those_that_fit() -> None:
    left = iter([9.0, 1.0])
    scripted = Scripted([refused(NO, NO, p1=5)])
    batch = [reserve("0", **THREE), reserve("1", **THREE)]
    outcomes = scripted.commit_each(batch, Deadline(lambda: next(left)))
    assert outcomes == {"0": Applied(batch[0].after), "1": Retryable("no time left")}


@pytest.mark.parametrize(
    ("in_all", "left", "has_come"),
    [(10_000, 4_001, False), (10_000, 3_999, True), (3_000, 3_000, False), (3_000, 1_201, False), (3_000, 1_199, True)],
)
def test_four_seconds_of_a_lambdas_time_are_kept_or_40_percent_where_there_is_little(
    in_all: int, left: int, has_come: bool
) -> None:
    context = FakeLambdaContext(remaining_ms=in_all)
    deadline = Deadline.from_context(context)
    context.remaining_ms = left
    assert deadline.has_passed == has_come


# --- on a real engine ---


@pytest.fixture
def committer(real_aws: Stage, aws_calls: AwsCalls) -> BatchCommitter:
    return BatchCommitter(repository_on(real_aws, aws_calls), sleep=lambda _: None)


def test_one_moved_one_absent_and_one_short_cost_one_more_call(
    committer: BatchCommitter, real_aws: Stage, aws_calls: AwsCalls
) -> None:
    stock_up(real_aws, p1=100, p2=4)
    batch = [reserve(f"o{n}") for n in range(10)]
    batch[7] = reserve("o7", p2=5)
    existing = standing(Status.CANCELLED, "o3")
    store(real_aws, *(change.before for change in batch if change.order_id not in ("o3", "o5")), existing)

    outcomes = committer.commit_each(batch)

    assert (outcomes[3], outcomes[5], outcomes[7]) == (
        StatusChanged(existing),
        NotFound(),
        InsufficientStock("p2", 5, 4),
    )
    assert sum(isinstance(outcome, Applied) for outcome in outcomes) == 7
    assert aws_calls.operations() == ["TransactWriteItems"] * 2
    assert stock_in(real_aws) == {"p1": 93, "p2": 4}
    assert list(statuses_in(real_aws).values()).count("RESERVED") == 7


def test_stock_of_five_for_three_who_want_three_goes_to_the_first(
    committer: BatchCommitter, real_aws: Stage, aws_calls: AwsCalls
) -> None:
    stock_up(real_aws, p1=5)
    batch = [reserve(f"o{n}", p1=3) for n in range(3)]
    store(real_aws, *(change.before for change in batch))
    assert committer.commit_each(batch) == [
        Applied(batch[0].after),
        InsufficientStock("p1", 3, 2),
        InsufficientStock("p1", 3, 2),
    ]
    assert aws_calls.operations() == ["TransactWriteItems"] * 3
    assert stock_in(real_aws) == {"p1": 2}
    assert statuses_in(real_aws) == {"o0": "RESERVED", "o1": "PENDING", "o2": "PENDING"}


def test_a_conflict_is_committed_again_as_it_was(
    committer: BatchCommitter, real_aws: Stage, aws_calls: AwsCalls
) -> None:
    stock_up(real_aws, p1=2)
    batch = [reserve("o0"), reserve("o1")]
    store(real_aws, *(change.before for change in batch))
    reasons = [{"Code": "None"}, {"Code": "None"}, {"Code": "TransactionConflict"}]
    aws_calls.refuse("TransactionCanceledException", "TransactWriteItems", CancellationReasons=reasons)
    aws_calls.refuse("TransactionInProgressException", "TransactWriteItems", nth=2)
    assert committer.commit_each(batch) == [Applied(change.after) for change in batch]
    first, second, third = aws_calls.made
    assert first.params["TransactItems"] == second.params["TransactItems"] == third.params["TransactItems"]
    assert stock_in(real_aws) == {"p1": 0}


@pytest.mark.parametrize("operation", ["PutItem", "UpdateItem"])
def test_a_single_write_that_meets_a_transaction_is_made_again(
    committer: BatchCommitter, real_aws: Stage, aws_calls: AwsCalls, operation: str
) -> None:
    store(real_aws, standing(Status.RESERVED, "o1"))
    change: Change = changes.confirm(standing(Status.RESERVED, "o1"), LATER, "pay-1")
    if operation == "PutItem":
        change = Create(standing(Status.PENDING, "o2"))
    aws_calls.refuse("TransactionConflictException", operation, times=3)
    (outcome,) = committer.commit_each([change])
    assert isinstance(outcome, Applied)
    assert aws_calls.operations() == [operation] * 4


def test_one_too_large_for_its_table_does_not_hold_up_the_others(
    committer: BatchCommitter, real_aws: Stage, aws_calls: AwsCalls
) -> None:
    batch: list[Change] = [Create(standing(Status.PENDING, f"o{n}")) for n in range(3)]
    batch[1] = Create(standing(Status.PENDING, "o1", failure_reason="x" * 500_000))
    outcomes = committer.commit_each(batch)
    assert [type(outcome) for outcome in outcomes] == [Applied, Retryable, Applied]
    assert statuses_in(real_aws) == {"o0": "PENDING", "o2": "PENDING"}


# --- whatever comes, in memory ---


@dataclass
class InMemory:
    """Tables in memory that refuse as DynamoDB does, with a conflict wherever `conflicts` wants one."""

    orders: dict[str, Order]
    stock: dict[str, int]
    conflicts: list[int] = field(default_factory=list)
    commits: int = 0

    def commit(self, batch: Sequence[Change]) -> Committed | Refused:
        self.commits += 1
        units = total_stock_delta(batch)
        codes = [self._order_code(change) for change in batch] + [self._stock_code(p, n) for p, n in units.items()]
        assert len(codes) <= MAX_ACTIONS
        if self.conflicts:
            struck = self.conflicts.pop()
            if struck >= 0:
                codes[struck % len(codes)] = {"Code": "TransactionConflict"}
        if any(code["Code"] != "None" for code in codes):
            return read_cancellation(batch, units, codes)
        for change in batch:
            self.orders[change.order_id] = change.after
        for product_id, n in units.items():
            self.stock[product_id] = self.stock.get(product_id, 0) + n
            assert self.stock[product_id] >= 0
        return Committed(tuple(change.after for change in batch))

    def _order_code(self, change: Change) -> dict[str, Any]:
        existing = self.orders.get(change.order_id)
        assert isinstance(change, Move)
        if existing and (existing.status, existing.fingerprint) == (change.before.status, change.before.fingerprint):
            return {"Code": "None"}
        failed: dict[str, Any] = {"Code": "ConditionalCheckFailed"}
        return failed | ({"Item": order_to_item(existing)} if existing else {})

    def _stock_code(self, product_id: str, units: int) -> dict[str, Any]:
        left = self.stock.get(product_id)
        if units >= 0 or (left is not None and left >= -units):
            return {"Code": "None"}
        failed: dict[str, Any] = {"Code": "ConditionalCheckFailed"}
        row = {"productId": {"S": product_id}, "stock": {"N": str(left)}}
        return failed | ({"Item": row} if left is not None else {})


PRODUCTS = ["p1", "p2", "p3"]
wants = st.dictionaries(st.sampled_from(PRODUCTS), st.integers(1, 6), min_size=1)
found = st.sampled_from([Status.PENDING] * 6 + [Status.RESERVED, Status.CANCELLED, None])
batches = st.lists(st.tuples(wants, found), min_size=1, max_size=12)
shelves = st.dictionaries(st.sampled_from(PRODUCTS), st.integers(0, 20))


def in_memory(
    wanted: list[tuple[dict[str, int], Status | None]], shelf: dict[str, int], conflicts: list[int]
) -> tuple[InMemory, list[Move]]:
    orders = {
        f"o{n}": standing(status, f"o{n}", units) for n, (units, status) in enumerate(wanted) if status is not None
    }
    return InMemory(orders, dict(shelf), conflicts), [reserve(f"o{n}", **units) for n, (units, _) in enumerate(wanted)]


def commit_in(memory: InMemory, batch: Sequence[Change]) -> list[CommitResult]:
    return BatchCommitter(cast("Repository", memory), lambda _: None, lambda: 0.5).commit_each(batch)


@given(batches, shelves)
def test_without_conflicts_stock_goes_by_arrival_to_all_whom_it_suffices(
    wanted: list[tuple[dict[str, int], Status | None]], shelf: dict[str, int]
) -> None:
    memory, batch = in_memory(wanted, shelf, [])
    left = dict(shelf)
    expected: list[type[CommitResult]] = []
    for units, status in wanted:
        if status is not Status.PENDING:
            expected.append(StatusChanged if status else NotFound)
        elif all(left.get(p, 0) >= n for p, n in units.items()):
            left |= {p: left[p] - n for p, n in units.items()}
            expected.append(Applied)
        else:
            expected.append(InsufficientStock)

    outcomes = commit_in(memory, batch)

    assert [type(outcome) for outcome in outcomes] == expected
    assert memory.stock == left
    assert memory.commits <= 3


@given(batches, shelves, st.lists(st.integers(-1, 30), max_size=20))
def test_with_conflicts_each_change_still_has_the_one_outcome_that_the_tables_show(
    wanted: list[tuple[dict[str, int], Status | None]], shelf: dict[str, int], conflicts: list[int]
) -> None:
    memory, batch = in_memory(wanted, shelf, conflicts)
    before = dict(memory.orders)

    outcomes = commit_in(memory, batch)

    assert len(outcomes) == len(batch)
    left = dict(shelf)
    for change, outcome in zip(batch, outcomes, strict=True):
        now = memory.orders.get(change.order_id)
        if isinstance(outcome, Applied):
            assert now == outcome.order == change.after
            left |= {p: left[p] + n for p, n in stock_delta(change).items()}
        else:
            assert now == before.get(change.order_id)
        if isinstance(outcome, InsufficientStock):
            # Others only ever take, so who was short then is short now.
            assert -stock_delta(change)[outcome.product_id] > memory.stock.get(outcome.product_id, 0)
    assert memory.stock == left
    assert min(left.values(), default=0) >= 0
