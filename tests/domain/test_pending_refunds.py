"""When the payment provider is asked again about a pending refund, and until when that is normal."""

from dataclasses import replace
from datetime import timedelta

from chalicelib.domain import changes
from chalicelib.domain.changes import OutboxUpdate
from chalicelib.domain.order import OutboxEntry, Status
from chalicelib.domain.pending_refunds import refund_pending
from tests.support.changes import before


def test_a_pending_refund_is_asked_about_again_in_five_minutes_to_six_hours_and_for_thirty_days() -> None:
    ended = before(Status.CANCELLED)
    for seconds, minutes in ((-60, 5), (0, 5), (299, 5), (480, 8), (3_600, 60), (30_000, 360), (30 * 86_400, 360)):
        at = ended.updated_at + timedelta(seconds=seconds)
        entry = OutboxEntry(at + timedelta(minutes=minutes), refund_pending=True)
        for order in (ended, replace(ended, outbox=None), replace(ended, outbox=entry)):
            seen = order.outbox.due_at if order.outbox else None
            assert refund_pending(order, at) == OutboxUpdate(order, seen, entry)
    too_late = ended.updated_at + timedelta(days=30, milliseconds=1)
    assert ended.outbox
    assert refund_pending(ended, too_late) is None, "its entry is retried as any other"
    for order in (replace(ended, outbox=None), replace(ended, outbox=replace(ended.outbox, refund_pending=True))):
        assert refund_pending(order, too_late) == changes.work_left(order, too_late) is not None
