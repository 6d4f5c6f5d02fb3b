"""What each change writes of an order: its status, its history, its stock, and the life of its mark."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib import changes
from chalicelib.changes import FIRST_TAKE_UP, LONGEST_PUSH, Change, Create, Keep, Move, Remark, stock_of, taken_by
from chalicelib.order import TRANSITIONS, HistoryEntry, ImpossibleTransition, Mark, Order, Refund, Status, Transition
from tests.test_order import NOW, an_order, standing

LATER = NOW + timedelta(seconds=5)
UNITS = {"p1": 2, "p2": 1}
FRESH = Mark(LATER + FIRST_TAKE_UP)
OLD = Mark(NOW + FIRST_TAKE_UP, 2)

MOVES: dict[str, Callable[[Order], Move]] = {
    "reserve": lambda order: changes.reserve(order, LATER),
    "reject": lambda order: changes.reject(order, LATER, "OUT_OF_STOCK", "why"),
    "confirm": lambda order: changes.confirm(order, LATER, "pay-1"),
    "decline": lambda order: changes.decline(order, LATER, "PAYMENT_DECLINED", "why"),
    "cancel": lambda order: changes.cancel(order, LATER, "why"),
    "ship": lambda order: changes.ship(order, LATER, "UPS", "1Z"),
    "deliver": lambda order: changes.deliver(order, LATER),
}
AFTER: dict[str, Mark | None] = {
    "reserve": OLD,  # under way: the mark stays
    "reject": None,  # ended with nothing owed
    "confirm": None,
    "decline": None,
    "cancel": FRESH,  # a commit outside the consumer that leaves work
    "ship": FRESH,
    "deliver": FRESH,
}


def before(status: Status) -> Order:
    return standing(status, quantities=UNITS, mark=OLD)


@pytest.mark.parametrize("arrow", TRANSITIONS, ids=lambda t: f"{t.source}-{t.verb}")
def test_a_transition_is_one_more_entry_of_the_history(arrow: Transition) -> None:
    order = before(arrow.source)
    move = MOVES[arrow.verb](order)
    assert (move.order_id, move.before, move.to, move.at) == ("o1", order, arrow.target, LATER)
    assert move.after.status is arrow.target
    assert move.after.updated_at == LATER
    assert move.after.history == (*order.history, move.entry)
    assert move.entry == HistoryEntry(arrow.target, LATER, move.reason)


@pytest.mark.parametrize("arrow", TRANSITIONS, ids=lambda t: f"{t.source}-{t.verb}")
def test_the_mark_lives_as_the_table_has_it(arrow: Transition) -> None:
    assert MOVES[arrow.verb](before(arrow.source)).after.mark == AFTER[arrow.verb]


@pytest.mark.parametrize("verb", MOVES)
@pytest.mark.parametrize("status", Status)
def test_no_change_is_made_where_the_life_cycle_has_no_arrow(verb: str, status: Status) -> None:
    if (verb, status) not in {(t.verb, t.source) for t in TRANSITIONS}:
        with pytest.raises(ImpossibleTransition):
            MOVES[verb](before(status))


def test_every_verb_of_the_life_cycle_has_its_change() -> None:
    assert set(MOVES) == {t.verb for t in TRANSITIONS}


def test_a_transition_takes_nothing_from_the_order_but_what_it_names() -> None:
    named = {
        "reserve": {"reserved"},
        "reject": {"failure_reason"},
        "confirm": {"payment_id"},
        "decline": {"failure_reason"},
        "cancel": {"refund"},
        "ship": {"carrier", "tracking_number"},
        "deliver": set(),
    }
    for arrow in TRANSITIONS:
        order = before(arrow.source)
        after = MOVES[arrow.verb](order).after
        touched = {name for name in Order.__slots__ if getattr(order, name) != getattr(after, name)}
        assert touched <= named[arrow.verb] | {"status", "updated_at", "history", "mark"}


# --- stock ---


def test_reserve_takes_every_product_and_records_what_it_took() -> None:
    move = MOVES["reserve"](before(Status.PENDING))
    assert move.stock == {"p1": -2, "p2": -1}
    assert move.after.reserved == UNITS
    assert move.mark is Keep.KEEP


@pytest.mark.parametrize("verb", ["decline", "cancel"])
def test_who_gives_back_gives_what_the_order_recorded_and_keeps_the_record(verb: str) -> None:
    # The record, not the lines, is what was taken.
    order = replace(before(Status.RESERVED), reserved={"p1": 7})
    move = MOVES[verb](order)
    assert move.stock == {"p1": 7}
    assert move.after.reserved == {"p1": 7}


@pytest.mark.parametrize("verb", ["reject", "cancel"])
def test_an_order_that_took_nothing_gives_nothing_back(verb: str) -> None:
    assert MOVES[verb](before(Status.PENDING)).stock == {}


@pytest.mark.parametrize(("verb", "source"), [("confirm", "RESERVED"), ("ship", "CONFIRMED"), ("deliver", "SHIPPED")])
def test_going_on_moves_no_stock(verb: str, source: str) -> None:
    assert MOVES[verb](before(Status(source))).stock == {}


def test_only_an_order_past_pending_may_be_owed_a_refund() -> None:
    refunds = {
        status: MOVES["cancel"](before(status)).after.refund
        for status in (Status.PENDING, Status.RESERVED, Status.CONFIRMED)
    }
    assert refunds == {
        Status.PENDING: Refund.NONE,
        Status.RESERVED: Refund.PENDING,
        Status.CONFIRMED: Refund.PENDING,
    }


def test_a_batch_touches_a_product_once() -> None:
    batch: list[Change] = [
        changes.reserve(standing(Status.PENDING, "o1", {"p1": 2, "p2": 1}), LATER),
        changes.create(an_order("o2", {"p1": 100}), LATER),
        changes.reserve(standing(Status.PENDING, "o3", {"p3": 4, "p1": 3}), LATER),
        changes.cancel(standing(Status.RESERVED, "o4", {"p1": 1}), LATER, None),
        changes.pushed_on(an_order("o5", {"p1": 100}), OLD, LATER),
    ]
    assert list(stock_of(batch).items()) == [("p1", -4), ("p2", -1), ("p3", -4)]
    assert [dict(taken_by(change)) for change in batch] == [
        {"p1": -2, "p2": -1},
        {},
        {"p3": -4, "p1": -3},
        {"p1": 1},
        {},
    ]


# --- creation ---


def test_a_new_order_is_marked_so_that_recover_finds_it() -> None:
    order = standing(Status.PENDING)
    create = changes.create(order, LATER)
    assert create == Create(replace(order, mark=FRESH))
    assert create.after.mark == Mark(LATER + timedelta(seconds=60))
    assert [entry.status for entry in create.after.history] == [Status.PENDING]


def test_an_order_that_the_catalogue_refuses_is_kept_with_its_reason_and_owes_nothing() -> None:
    after = changes.create_failed(standing(Status.PENDING), LATER, "PRICE_MISMATCH", "29.99 it is").after
    assert (after.status, after.failure_reason, after.mark, after.reserved) == (
        Status.FAILED,
        "PRICE_MISMATCH",
        None,
        None,
    )
    assert after.history == (
        HistoryEntry(Status.PENDING, NOW),
        HistoryEntry(Status.FAILED, LATER, "29.99 it is"),
    )


# --- the mark alone ---


def test_recover_pushes_the_mark_on_doubling_up_to_six_hours_on_condition_of_the_one_it_saw() -> None:
    order = before(Status.PENDING)
    delays = []
    mark = Mark(NOW)
    for _ in range(14):
        push = changes.pushed_on(order, mark, LATER)
        assert (push.seen, push.after.status) == (mark.due_at, Status.PENDING)
        assert push.mark
        assert push.mark.tries == mark.tries + 1
        delays.append((push.mark.due_at - LATER) // timedelta(minutes=1))
        mark = push.mark
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360, 360, 360, 360]
    assert timedelta(hours=6) == LONGEST_PUSH


def test_a_mark_pushed_on_for_a_year_does_not_overflow() -> None:
    push = changes.pushed_on(an_order(), Mark(NOW, 1_000_000), LATER)
    assert push.mark == Mark(LATER + LONGEST_PUSH, 1_000_001)


def test_work_done_removes_the_mark_only_if_it_is_the_one_seen() -> None:
    order = before(Status.CANCELLED)
    assert changes.work_done(order, OLD, None) == Remark(order, OLD.due_at, None)
    assert changes.work_done(order, OLD, Refund.DONE).after == replace(order, mark=None, refund=Refund.DONE)


def test_work_left_sets_a_fresh_mark_whatever_was_there() -> None:
    order = replace(before(Status.CONFIRMED), mark=None)
    assert changes.work_left(order, LATER) == Remark(order, None, FRESH)
    assert changes.work_left(order, LATER).after == replace(order, mark=FRESH)
