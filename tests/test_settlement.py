"""A batch is written together; what is refused is settled by its reason, and costs the others a round trip at most."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import changes
from chalicelib.changes import Change, Create, Move, stock_of, taken_by
from chalicelib.deadline import Deadline, deadline_of
from chalicelib.faults import Rejected, Unavailable
from chalicelib.items import item_of
from chalicelib.order import Order, Status
from chalicelib.refusals import Absent, Committed, Conflict, Faulty, Moved, Reason, Refused, Short, refusal
from chalicelib.repository import MOST_ACTIONS, Repository
from chalicelib.settlement import Applied, Settled, Settlement, Unsettled
from tests.support.aws_calls import AwsCalls
from tests.support.events import FakeLambdaContext
from tests.support.stage import Stage
from tests.test_order import NOW, an_order, standing
from tests.test_repository import repository_on, stock_in, stock_up, store, stored

LATER = NOW + timedelta(seconds=5)
Answer = Committed | Refused | Exception | None


@dataclass
class Scripted:
    """Answers each commit with the next of its script; None, and whatever comes after the end: committed."""

    answers: list[Answer] = field(default_factory=list)
    batches: list[list[str]] = field(default_factory=list)

    def commit(self, batch: Sequence[Change]) -> Committed | Refused:
        self.batches.append([change.order_id for change in batch])
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Refused):
            assert len(answer.reasons) == len(batch), "the script answers another batch"
        return answer or Committed(tuple(change.after for change in batch))


@dataclass
class Settling:
    """A settlement over a fake, whose pauses are noted and not slept."""

    repository: Scripted
    jitter: Callable[[], float] = lambda: 1.0
    pauses: list[float] = field(default_factory=list)

    def settle(self, batch: Sequence[Change], deadline: Deadline | None = None) -> dict[str, Settled]:
        settlement = Settlement(cast("Repository", self.repository), self.pauses.append, self.jitter)
        outcomes = settlement.settle(batch, deadline) if deadline else settlement.settle(batch)
        return {change.order_id: outcome for change, outcome in zip(batch, outcomes, strict=True)}


def reserve(order_id: str, **units: int) -> Move:
    return changes.reserve(standing(Status.PENDING, order_id, units or {"p1": 1}), LATER)


def reserves(count: int) -> list[Change]:
    return [reserve(f"o{n}") for n in range(count)]


def ids(*numbers: int) -> list[str]:
    return [f"o{n}" for n in numbers]


def applied(*batch: Change) -> dict[str, Settled]:
    return {change.order_id: Applied(change.after) for change in batch}


def scripted(*answers: Answer) -> Settling:
    return Settling(Scripted(list(answers)))


CONFLICT = Conflict()
STANDS = Moved(standing(Status.CANCELLED, "o1"))


# --- together ---


def test_ten_changes_that_fit_are_one_commit() -> None:
    settling, batch = scripted(), reserves(10)
    assert settling.settle(batch) == applied(*batch)
    assert settling.repository.batches == [ids(*range(10))]


def test_nothing_to_settle_is_no_commit() -> None:
    settling = scripted()
    assert settling.settle([]) == {}
    assert settling.repository.batches == []


def test_outcomes_come_in_the_order_of_the_changes() -> None:
    batch = reserves(4)
    settlement = Settlement(cast("Repository", Scripted([Refused((None, STANDS, None, Absent()))])))
    outcomes = settlement.settle(batch)
    assert outcomes == [Applied(batch[0].after), STANDS, Applied(batch[2].after), Absent()]


def test_what_stands_is_what_the_commit_says() -> None:
    change = reserve("o0")
    stands = replace(change.after, request_id="as it was stored")
    assert scripted(Committed((stands,))).settle([change]) == {"o0": Applied(stands)}


# --- settled by reason ---


@pytest.mark.parametrize("reason", [STANDS, Absent(), Short("p1", 1, 0), Faulty("ValidationError")], ids=repr)
def test_one_that_is_refused_costs_the_others_exactly_one_round_trip(reason: Reason) -> None:
    batch = reserves(10)
    stock = {"p1": 0} if isinstance(reason, Short) else {}
    reasons: list[Reason | None] = [None] * 10
    reasons[1] = reason
    # (Short of a product of its own, or the others would not fit either.)
    if isinstance(reason, Short):
        reason = Short("p2", 1, 0)
        batch[1], reasons[1], stock = reserve("o1", p2=1), reason, {"p2": 0}
    settling = scripted(Refused(tuple(reasons), stock))

    outcomes = settling.settle(batch)

    assert settling.repository.batches == [ids(*range(10)), ids(0, 2, 3, 4, 5, 6, 7, 8, 9)]
    own = outcomes.pop("o1")
    assert own == (Unsettled("ValidationError") if isinstance(reason, Faulty) else reason)
    assert outcomes == applied(batch[0], *batch[2:])
    assert settling.pauses == []


def test_when_all_are_refused_nothing_more_is_tried() -> None:
    settling = scripted(Refused((STANDS, Absent(), Short("p1", 1, 0)), {"p1": 0}))
    assert list(settling.settle(reserves(3)).values()) == [STANDS, Absent(), Short("p1", 1, 0)]
    assert len(settling.repository.batches) == 1


def test_those_that_fit_into_what_came_back_go_first_in_order_of_arrival() -> None:
    batch = [reserve("o0", p1=3), reserve("o1", p1=3), reserve("o2", p1=3)]
    settling = scripted(
        Refused((None, None, None), {"p1": 5}),
        None,
        Refused((Short("p1", 3, 2), Short("p1", 3, 2)), {"p1": 2}),
    )
    assert settling.settle(batch) == applied(batch[0]) | {"o1": Short("p1", 3, 2), "o2": Short("p1", 3, 2)}
    assert settling.repository.batches == [ids(0, 1, 2), ids(0), ids(1, 2)]
    assert settling.pauses == []


def test_a_small_one_behind_a_large_one_that_does_not_fit_still_fits() -> None:
    batch = [reserve("o0", p1=3), reserve("o1", p1=3), reserve("o2", p1=2), reserve("o3", p2=1)]
    settling = scripted(Refused((None,) * 4, {"p1": 5}), None, Refused((Short("p1", 3, 0),), {"p1": 0}))
    assert settling.settle(batch)["o1"] == Short("p1", 3, 0)
    assert settling.repository.batches == [ids(0, 1, 2, 3), ids(0, 2, 3), ids(1)]


def test_one_that_does_not_fit_takes_nothing_of_its_other_products() -> None:
    batch = [reserve("o0", p1=3), reserve("o1", p1=3, p2=4), reserve("o2", p2=4)]
    settling = scripted(Refused((None,) * 3, {"p1": 5, "p2": 4}), None, Refused((Short("p1", 3, 2),), {"p1": 2}))
    settling.settle(batch)
    assert settling.repository.batches == [ids(0, 1, 2), ids(0, 2), ids(1)]


def test_stock_that_somebody_brought_meanwhile_is_taken() -> None:
    batch = [reserve("o0", p1=3), reserve("o1", p1=3)]
    settling = scripted(Refused((None, None), {"p1": 5}))
    assert settling.settle(batch) == applied(*batch)
    assert settling.repository.batches == [ids(0, 1), ids(0), ids(1)]


# --- conflicts ---


def test_a_conflict_alone_never_splits_the_batch() -> None:
    batch = reserves(10)
    one: tuple[Reason | None, ...] = (CONFLICT, *[None] * 9)
    all_: tuple[Reason | None, ...] = (CONFLICT,) * 10
    settling = scripted(Refused(one), Refused(all_), Refused(one))
    assert settling.settle(batch) == applied(*batch)
    assert settling.repository.batches == [ids(*range(10))] * 4
    assert len(settling.pauses) == 3


def test_the_pause_doubles_from_10_to_320_ms_and_the_twelfth_try_is_the_last() -> None:
    settling = scripted(*[Refused((CONFLICT, CONFLICT))] * 20)
    assert settling.settle(reserves(2)) == {"o0": Unsettled("conflict"), "o1": Unsettled("conflict")}
    assert len(settling.repository.batches) == 12
    assert settling.pauses == pytest.approx([0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.32, 0.32, 0.32, 0.32, 0.32])


def test_the_jitter_is_full() -> None:
    draws = iter([0.0, 0.25, 0.5, 0.999])
    settling = Settling(Scripted([Refused((CONFLICT,))] * 4), lambda: next(draws))
    settling.settle(reserves(1))
    assert settling.pauses == pytest.approx([0.0, 0.005, 0.02, 0.07992])


def test_a_conflict_gives_up_when_the_deadline_has_come() -> None:
    left = iter([5.0, 4.5, 3.9, 0.0])
    settling = scripted(*[Refused((CONFLICT,))] * 20)
    assert settling.settle(reserves(1), Deadline(lambda: next(left))) == {"o0": Unsettled("conflict")}
    assert len(settling.repository.batches) == 3
    assert len(settling.pauses) == 2


def test_nothing_more_is_begun_once_the_deadline_has_come() -> None:
    settling = scripted(Rejected("one of them is at fault"))
    settling.settle(reserves(10), Deadline(lambda: 1.0))
    assert len(settling.repository.batches) == 1


def test_with_a_conflict_and_a_reason_the_reason_is_settled_and_the_held_back_come_together_after() -> None:
    batch = reserves(5)
    settling = scripted(Refused((CONFLICT, STANDS, None, CONFLICT, None)))
    assert settling.settle(batch) == applied(batch[0], *batch[2:]) | {"o1": STANDS}
    assert settling.repository.batches == [ids(0, 1, 2, 3, 4), ids(2, 4), ids(0, 3)]
    assert settling.pauses == []


def test_what_is_held_back_waits_only_when_nothing_but_conflicts_is_left() -> None:
    batch = reserves(4)
    settling = scripted(
        Refused((CONFLICT, STANDS, None, CONFLICT)),
        None,
        Refused((CONFLICT, None)),
        Refused((CONFLICT, CONFLICT)),
    )
    assert settling.settle(batch) == applied(batch[0], *batch[2:]) | {"o1": STANDS}
    assert settling.repository.batches == [ids(0, 1, 2, 3), ids(2), ids(0, 3), ids(0, 3), ids(0, 3)]
    assert settling.pauses == pytest.approx([0.01, 0.02])


def test_conflicts_with_nothing_that_fits_are_tried_again_together_at_once() -> None:
    settling, batch = scripted(Refused((CONFLICT, STANDS, CONFLICT))), reserves(3)
    assert settling.settle(batch) == applied(batch[0], batch[2]) | {"o1": STANDS}
    assert settling.repository.batches == [ids(0, 1, 2), ids(0, 2)]
    assert settling.pauses == []


def test_a_conflict_at_one_product_while_another_is_short() -> None:
    batch = [reserve("o0", p1=3), reserve("o1", p1=3), reserve("o2", p2=1)]
    settling = scripted(Refused((None, None, CONFLICT), {"p1": 5}), None, Refused((Short("p1", 3, 2), None), {"p1": 2}))
    assert settling.settle(batch) == applied(batch[0], batch[2]) | {"o1": Short("p1", 3, 2)}
    assert settling.repository.batches == [ids(0, 1, 2), ids(0), ids(1, 2), ids(2)]


# --- faults ---


def test_a_batch_whose_fate_is_unknown_is_unsettled_as_a_whole() -> None:
    settling = scripted(Unavailable("DynamoDB is down"))
    assert settling.settle(reserves(2)) == {n: Unsettled("DynamoDB is down") for n in ids(0, 1)}
    assert len(settling.repository.batches) == 1


def test_what_was_settled_before_a_fault_stays_settled() -> None:
    settling = scripted(Refused((STANDS, None, None)), Unavailable("gone"))
    assert settling.settle(reserves(3)) == {"o0": STANDS, "o1": Unsettled("gone"), "o2": Unsettled("gone")}


def test_of_a_batch_that_is_rejected_only_the_faulty_one_suffers() -> None:
    batch = reserves(4)
    settling = scripted(Rejected("too large"), None, Rejected("too large"))
    assert settling.settle(batch) == applied(batch[0], *batch[2:]) | {"o1": Unsettled("too large")}
    assert settling.repository.batches == [ids(0, 1, 2, 3), ids(0), ids(1), ids(2), ids(3)]


def test_one_alone_that_is_rejected_is_not_tried_again() -> None:
    settling = scripted(Rejected("too large"))
    assert settling.settle(reserves(1)) == {"o0": Unsettled("too large")}
    assert len(settling.repository.batches) == 1


# --- what fits into a transaction ---


def test_more_than_100_actions_are_split() -> None:
    settling = scripted()
    batch: list[Change] = [Create(an_order(f"o{n}")) for n in range(205)]
    assert settling.settle(batch) == applied(*batch)
    assert [len(ids) for ids in settling.repository.batches] == [100, 100, 5]


def test_a_product_counts_once_however_many_want_it() -> None:
    settling = scripted()
    settling.settle([reserve(f"o{n}", p1=1) for n in range(99)])
    settling.settle([reserve(f"o{n}", p1=1) for n in range(100)])
    assert [len(ids) for ids in settling.repository.batches] == [99, 99, 1]


def test_the_largest_orders_still_fit() -> None:
    settling = scripted()
    batch = [reserve(f"o{n}", **{f"p{n}x{i}": 1 for i in range(50)}) for n in range(4)]
    settling.settle(batch)
    assert settling.repository.batches == [["o0"], ["o1"], ["o2"], ["o3"]]
    shared = [reserve(f"o{n}", **{f"p{i}": 1 for i in range(50)}) for n in range(10)]
    settling.settle(shared)
    assert settling.repository.batches[-1] == ids(*range(10))


def test_a_batch_that_fails_does_not_keep_the_next_from_being_tried() -> None:
    settling = scripted(Unavailable("gone"))
    batch: list[Change] = [Create(an_order(f"o{n}")) for n in range(101)]
    outcomes = settling.settle(batch)
    assert outcomes["o99"] == Unsettled("gone")
    assert outcomes["o100"] == Applied(batch[100].after)


# --- the deadline ---


def test_four_seconds_of_a_lambdas_time_are_kept() -> None:
    context = FakeLambdaContext(remaining_ms=10_000)
    deadline = deadline_of(context)
    context.remaining_ms = 4_001
    assert not deadline.has_come
    context.remaining_ms = 3_999
    assert deadline.has_come


def test_where_there_is_little_time_in_all_work_is_begun_nevertheless() -> None:
    context = FakeLambdaContext(remaining_ms=3_000)
    deadline = deadline_of(context)
    assert not deadline.has_come
    context.remaining_ms = 1_100
    assert deadline.has_come


# --- on a real engine ---


@pytest.fixture
def settlement(real_aws: Stage, aws_calls: AwsCalls) -> Settlement:
    return Settlement(repository_on(real_aws, aws_calls), sleep=lambda _: None)


def test_ten_orders_are_reserved_in_one_call(settlement: Settlement, real_aws: Stage, aws_calls: AwsCalls) -> None:
    stock_up(real_aws, p1=10, p2=20)
    batch = [reserve(f"o{n}", p1=1, p2=2) for n in range(10)]
    store(real_aws, *(change.before for change in batch))
    assert settlement.settle(batch) == [Applied(change.after) for change in batch]
    assert aws_calls.operations() == ["TransactWriteItems"]
    assert stock_in(real_aws) == {"p1": 0, "p2": 0}


def test_one_moved_one_absent_and_one_short_cost_one_more_call(
    settlement: Settlement, real_aws: Stage, aws_calls: AwsCalls
) -> None:
    stock_up(real_aws, p1=100, p2=4)
    batch = [reserve(f"o{n}") for n in range(10)]
    batch[7] = reserve("o7", p2=5)
    stands = standing(Status.CANCELLED, "o3")
    store(real_aws, *(change.before for change in batch if change.order_id not in ("o3", "o5")), stands)

    outcomes = settlement.settle(batch)

    assert (outcomes[3], outcomes[5], outcomes[7]) == (Moved(stands), Absent(), Short("p2", 5, 4))
    assert sum(isinstance(outcome, Applied) for outcome in outcomes) == 7
    assert aws_calls.operations() == ["TransactWriteItems"] * 2
    assert stock_in(real_aws) == {"p1": 93, "p2": 4}
    assert list(stored(real_aws).values()).count("RESERVED") == 7


def test_stock_of_five_for_three_who_want_three_goes_to_the_first(
    settlement: Settlement, real_aws: Stage, aws_calls: AwsCalls
) -> None:
    stock_up(real_aws, p1=5)
    batch = [reserve(f"o{n}", p1=3) for n in range(3)]
    store(real_aws, *(change.before for change in batch))
    assert settlement.settle(batch) == [Applied(batch[0].after), Short("p1", 3, 2), Short("p1", 3, 2)]
    assert aws_calls.operations() == ["TransactWriteItems"] * 3
    assert stock_in(real_aws) == {"p1": 2}
    assert stored(real_aws) == {"o0": "RESERVED", "o1": "PENDING", "o2": "PENDING"}


def test_a_conflict_is_committed_again_as_it_was(settlement: Settlement, real_aws: Stage, aws_calls: AwsCalls) -> None:
    stock_up(real_aws, p1=2)
    batch = [reserve("o0"), reserve("o1")]
    store(real_aws, *(change.before for change in batch))
    reasons = [{"Code": "None"}, {"Code": "None"}, {"Code": "TransactionConflict"}]
    aws_calls.refuse("TransactionCanceledException", "TransactWriteItems", CancellationReasons=reasons)
    aws_calls.refuse("TransactionInProgressException", "TransactWriteItems", nth=2)
    assert settlement.settle(batch) == [Applied(change.after) for change in batch]
    first, second, third = aws_calls.made
    assert first.params["TransactItems"] == second.params["TransactItems"] == third.params["TransactItems"]
    assert stock_in(real_aws) == {"p1": 0}


@pytest.mark.parametrize("operation", ["PutItem", "UpdateItem"])
def test_a_single_write_that_meets_a_transaction_is_made_again(
    settlement: Settlement, real_aws: Stage, aws_calls: AwsCalls, operation: str
) -> None:
    store(real_aws, standing(Status.RESERVED, "o1"))
    change: Change = changes.confirm(standing(Status.RESERVED, "o1"), LATER, "pay-1")
    if operation == "PutItem":
        change = Create(standing(Status.PENDING, "o2"))
    aws_calls.refuse("TransactionConflictException", operation, times=3)
    (outcome,) = settlement.settle([change])
    assert isinstance(outcome, Applied)
    assert aws_calls.operations() == [operation] * 4


def test_one_too_large_for_its_table_does_not_hold_up_the_others(
    settlement: Settlement, real_aws: Stage, aws_calls: AwsCalls
) -> None:
    batch: list[Change] = [Create(standing(Status.PENDING, f"o{n}")) for n in range(3)]
    batch[1] = Create(standing(Status.PENDING, "o1", failure_reason="x" * 500_000))
    outcomes = settlement.settle(batch)
    assert [type(outcome) for outcome in outcomes] == [Applied, Unsettled, Applied]
    assert stored(real_aws) == {"o0": "PENDING", "o2": "PENDING"}


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
        units = stock_of(batch)
        codes = [self._order_code(change) for change in batch] + [self._stock_code(p, n) for p, n in units.items()]
        assert len(codes) <= MOST_ACTIONS
        if self.conflicts:
            struck = self.conflicts.pop()
            if struck >= 0:
                codes[struck % len(codes)] = {"Code": "TransactionConflict"}
        if any(code["Code"] != "None" for code in codes):
            return refusal(batch, units, codes)
        for change in batch:
            self.orders[change.order_id] = change.after
        for product_id, n in units.items():
            self.stock[product_id] = self.stock.get(product_id, 0) + n
            assert self.stock[product_id] >= 0
        return Committed(tuple(change.after for change in batch))

    def _order_code(self, change: Change) -> dict[str, Any]:
        stands = self.orders.get(change.order_id)
        assert isinstance(change, Move)
        if stands and (stands.status, stands.fingerprint) == (change.before.status, change.before.fingerprint):
            return {"Code": "None"}
        failed: dict[str, Any] = {"Code": "ConditionalCheckFailed"}
        return failed | ({"Item": item_of(stands)} if stands else {})

    def _stock_code(self, product_id: str, units: int) -> dict[str, Any]:
        left = self.stock.get(product_id)
        if units >= 0 or (left is not None and left >= -units):
            return {"Code": "None"}
        failed: dict[str, Any] = {"Code": "ConditionalCheckFailed"}
        row = {"productId": {"S": product_id}, "stock": {"N": str(left)}}
        return failed | ({"Item": row} if left is not None else {})


PRODUCTS = ["p1", "p2", "p3"]
wants = st.dictionaries(st.sampled_from(PRODUCTS), st.integers(1, 6), min_size=1)
stands = st.sampled_from([Status.PENDING] * 6 + [Status.RESERVED, Status.CANCELLED, None])
batches = st.lists(st.tuples(wants, stands), min_size=1, max_size=12)
shelves = st.dictionaries(st.sampled_from(PRODUCTS), st.integers(0, 20))


def in_memory(
    wanted: list[tuple[dict[str, int], Status | None]], shelf: dict[str, int], conflicts: list[int]
) -> tuple[InMemory, list[Move]]:
    orders = {
        f"o{n}": standing(status, f"o{n}", units) for n, (units, status) in enumerate(wanted) if status is not None
    }
    return InMemory(orders, dict(shelf), conflicts), [reserve(f"o{n}", **units) for n, (units, _) in enumerate(wanted)]


def settle_in(memory: InMemory, batch: Sequence[Change]) -> list[Settled]:
    return Settlement(cast("Repository", memory), lambda _: None, lambda: 0.5).settle(batch)


@given(batches, shelves)
def test_without_conflicts_stock_goes_by_arrival_to_all_whom_it_suffices(
    wanted: list[tuple[dict[str, int], Status | None]], shelf: dict[str, int]
) -> None:
    memory, batch = in_memory(wanted, shelf, [])
    left = dict(shelf)
    expected: list[type[Settled]] = []
    for units, status in wanted:
        if status is not Status.PENDING:
            expected.append(Moved if status else Absent)
        elif all(left.get(p, 0) >= n for p, n in units.items()):
            left |= {p: left[p] - n for p, n in units.items()}
            expected.append(Applied)
        else:
            expected.append(Short)

    outcomes = settle_in(memory, batch)

    assert [type(outcome) for outcome in outcomes] == expected
    assert memory.stock == left
    assert memory.commits <= 3


@given(batches, shelves, st.lists(st.integers(-1, 30), max_size=20))
def test_with_conflicts_each_change_still_has_the_one_outcome_that_the_tables_show(
    wanted: list[tuple[dict[str, int], Status | None]], shelf: dict[str, int], conflicts: list[int]
) -> None:
    memory, batch = in_memory(wanted, shelf, conflicts)
    before = dict(memory.orders)

    outcomes = settle_in(memory, batch)

    assert len(outcomes) == len(batch)
    left = dict(shelf)
    for change, outcome in zip(batch, outcomes, strict=True):
        now = memory.orders.get(change.order_id)
        if isinstance(outcome, Applied):
            assert now == outcome.order == change.after
            left |= {p: left[p] + n for p, n in taken_by(change).items()}
        else:
            assert now == before.get(change.order_id)
        if isinstance(outcome, Short):
            # Others only ever take, so who was short then is short now.
            assert -taken_by(change)[outcome.product_id] > memory.stock.get(outcome.product_id, 0)
    assert memory.stock == left
    assert min(left.values(), default=0) >= 0
