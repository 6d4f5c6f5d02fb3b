"""What each change writes of an order: its status, its history, its stock, and the life of its outbox entry."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain import changes
from chalicelib.domain.changes import (
    MAX_BACKOFF,
    Change,
    Create,
    OutboxUpdate,
    Unchanged,
    stock_delta,
    total_stock_delta,
)
from chalicelib.domain.order import TRANSITIONS, HistoryEntry, ImpossibleTransition, OutboxEntry, Refund, Status
from tests.support.changes import LATER, MOVES, OLD, UNITS, before
from tests.support.orders import NOW, an_order, standing

FRESH = OutboxEntry(LATER + timedelta(seconds=60))
RECORDED = {"p1": 7}

AFTER: dict[tuple[str, str], tuple[str, str | None, Mapping[str, int], dict[str, Any]]] = {
    # Under way: the entry stays.
    ("reserve", "PENDING"): ("RESERVED", None, {"p1": -2, "p2": -1}, {"reserved": UNITS}),
    # Ended with nothing owed but what the message in hand brings: the entry goes.
    ("reject", "PENDING"): ("FAILED", "why", {}, {"failure_reason": "OUT_OF_STOCK", "outbox": None}),
    ("confirm", "RESERVED"): ("CONFIRMED", None, {}, {"payment_id": "pay-1", "outbox": None}),
    ("decline", "RESERVED"): ("FAILED", "why", RECORDED, {"failure_reason": "PAYMENT_DECLINED", "outbox": None}),
    # A commit outside the consumer that leaves work: the entry is set again, and a refund is to be asked for.
    ("cancel", "PENDING"): ("CANCELLED", "why", {}, {"refund": Refund.PENDING, "outbox": FRESH}),
    ("cancel", "RESERVED"): ("CANCELLED", "why", RECORDED, {"refund": Refund.PENDING, "outbox": FRESH}),
    ("cancel", "CONFIRMED"): ("CANCELLED", "why", RECORDED, {"refund": Refund.PENDING, "outbox": FRESH}),
    ("ship", "CONFIRMED"): ("SHIPPED", None, {}, {"carrier": "UPS", "tracking_number": "1Z", "outbox": FRESH}),
    ("deliver", "SHIPPED"): ("DELIVERED", None, {}, {"outbox": FRESH}),
}
"""By verb and status: the next status and its reason, the stock that moves, and all else that changes."""


def test_every_verb_of_the_life_cycle_has_its_change() -> None:
    assert set(AFTER) == {(arrow.verb, arrow.source) for arrow in TRANSITIONS}
    assert set(MOVES) == {verb for verb, _ in AFTER}


@pytest.mark.parametrize("verb", MOVES)
@pytest.mark.parametrize("status", Status)
def test_a_transition_changes_what_it_names_and_nothing_else(verb: str, status: Status) -> None:
    order = before(status)
    if (verb, status) not in AFTER:
        with pytest.raises(ImpossibleTransition):
            MOVES[verb](order)
        return
    target, reason, stock, fields = AFTER[verb, status]
    if verb != "reserve":
        fields = fields | {"payment_method": None}
    move = MOVES[verb](order)
    assert move.after == replace(order.moved(HistoryEntry(Status(target), LATER, reason)), **fields)
    assert move.after.history == (*order.history, move.entry)
    assert move.stock == stock
    assert (move.order_id, move.before) == ("o1", order)
    assert (move.outbox is Unchanged.UNCHANGED) is (verb == "reserve")


def test_every_move_but_reserving_drops_the_payment_method_also_one_that_it_does_not_know_of() -> None:
    for arrow in TRANSITIONS:
        move = MOVES[arrow.verb](standing(arrow.source))
        assert ("payment_method" in move.extra_fields) is (arrow.verb != "reserve")
    order = standing(Status.PENDING, payment_method="pm_1")
    assert changes.create(order, LATER).after.payment_method == "pm_1"
    assert changes.create_failed(order, LATER, "PRICE_MISMATCH", "why").after.payment_method is None


def test_a_batch_touches_a_product_once() -> None:
    batch: list[Change] = [
        changes.reserve(standing(Status.PENDING, "o1", {"p1": 2, "p2": 1}), LATER),
        changes.create(an_order("o2", {"p1": 100}), LATER),
        changes.reserve(standing(Status.PENDING, "o3", {"p3": 4, "p1": 3}), LATER),
        changes.cancel(standing(Status.RESERVED, "o4", {"p1": 1}), LATER, None),
        changes.back_off(an_order("o5", {"p1": 100}), OLD, LATER),
    ]
    assert list(total_stock_delta(batch).items()) == [("p1", -4), ("p2", -1), ("p3", -4)]
    assert list(map(stock_delta, batch)) == [{"p1": -2, "p2": -1}, {}, {"p3": -4, "p1": -3}, {"p1": 1}, {}]


def test_a_new_order_is_marked_so_that_recover_finds_it() -> None:
    order = standing(Status.PENDING)
    assert changes.create(order, LATER) == Create(replace(order, outbox=FRESH))


def test_an_order_that_the_catalogue_refuses_is_kept_with_its_reason_and_owes_nothing() -> None:
    order = standing(Status.PENDING)
    failed = replace(order.moved(HistoryEntry(Status.FAILED, LATER, "29.99 it is")), failure_reason="PRICE_MISMATCH")
    assert changes.create_failed(order, LATER, "PRICE_MISMATCH", "29.99 it is") == Create(failed)
    assert failed.history[1:] == (HistoryEntry(Status.FAILED, LATER, "29.99 it is"),)


def test_a_long_reason_is_cut_to_what_an_event_may_have() -> None:
    reasons = [
        changes.create_failed(standing(Status.PENDING), LATER, "PRICE_MISMATCH", "x" * 600).after.history[-1].reason,
        changes.decline(standing(Status.RESERVED), LATER, "PAYMENT_DECLINED", "x" * 600).reason,
    ]
    assert reasons == ["x" * 500] * 2


# --- the entry alone ---


def test_recover_backs_off_doubling_up_to_six_hours_on_condition_of_the_one_it_saw() -> None:
    order = before(Status.PENDING)
    entry = OutboxEntry(NOW)
    for tries, minutes in enumerate([1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360, 360], 1):
        update = changes.back_off(order, entry, LATER)
        assert update == OutboxUpdate(order, entry.due_at, OutboxEntry(LATER + timedelta(minutes=minutes), tries))
        assert update.after == replace(order, outbox=update.outbox)
        entry = update.outbox or entry


def test_backing_off_for_a_year_does_not_overflow() -> None:
    update = changes.back_off(an_order(), OutboxEntry(NOW, 1_000_000), LATER)
    assert update.outbox == OutboxEntry(LATER + MAX_BACKOFF, 1_000_001)


def test_work_done_removes_the_mark_only_if_it_is_the_one_seen() -> None:
    order = before(Status.CANCELLED)
    assert changes.work_done(order, OLD, None) == OutboxUpdate(order, OLD.due_at, None)
    assert changes.work_done(order, OLD, Refund.DONE).after == replace(order, outbox=None, refund=Refund.DONE)


def test_work_left_sets_a_new_entry_unless_there_is_one_that_says_so() -> None:
    order = replace(before(Status.CONFIRMED), outbox=None)
    assert changes.work_left(order, LATER) == OutboxUpdate(order, None, FRESH)
    assert changes.work_left(replace(order, outbox=OLD), LATER) is None
    confirmed = changes.confirm(standing(Status.RESERVED), LATER, "pay-1")
    assert changes.with_entry(confirmed, LATER).after == replace(confirmed.after, outbox=FRESH)


def test_an_entry_of_a_pending_refund_lasts_until_something_else_is_left_or_recover_retries_it() -> None:
    entry = OutboxEntry(NOW, refund_pending=True)
    order = replace(before(Status.CANCELLED), outbox=entry)
    assert changes.work_left(order, LATER) == OutboxUpdate(order, NOW, FRESH)
    assert changes.back_off(order, entry, LATER).outbox == replace(FRESH, retries=1)


def test_on_the_last_receive_an_order_is_stored_with_an_entry_whatever_it_was() -> None:
    failed = changes.create_failed(standing(Status.PENDING), LATER, "PRICE_MISMATCH", "why")
    assert failed.after.outbox is None
    assert changes.with_entry(failed, LATER) == Create(replace(failed.order, outbox=FRESH))


def test_an_entry_is_ensured_with_its_fault_and_none_is_reset() -> None:
    order = standing(Status.PENDING)
    assert changes.ensure_entry(order, LATER) == OutboxUpdate(order, None, FRESH, if_absent=True)
    update = changes.ensure_entry(order, LATER, "why")
    assert update == OutboxUpdate(order, None, replace(FRESH, fault="why"), if_absent=True)
    assert (update.seen, update.if_absent) == (None, True)


def test_backing_off_keeps_the_fault() -> None:
    update = changes.back_off(an_order(), OutboxEntry(NOW, 1, "why"), LATER)
    assert update.outbox == OutboxEntry(LATER + timedelta(minutes=2), 2, "why")
