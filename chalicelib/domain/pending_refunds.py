"""A refund that takes its time, as a bank's does: what its order's outbox entry says, and for how long."""

from datetime import datetime, timedelta

from chalicelib.domain.changes import MAX_BACKOFF, OutboxUpdate, work_left
from chalicelib.domain.order import Order, OutboxEntry

FIRST_ASKED_AFTER = timedelta(minutes=5)
"""How long the payment provider is left alone at least before it is asked again."""

MAX_REFUND_TIME = timedelta(days=30)
"""How long after the end of its order a refund may be pending. Banks take five to ten business days."""


def refund_pending(order: Order, at: datetime) -> OutboxUpdate | None:
    """The provider has just said that the refund is pending, and nothing else is left: so says the entry.

    It is due, and the provider asked again, once as much time has passed as since the end of the order, 5 minutes to 6
    hours. Only until then the order is not one that can be overdue: `back_off` makes an ordinary entry of it, and only
    the next such answer leads here again. After MAX_REFUND_TIME none does.
    """
    passed = at - order.updated_at
    if passed > MAX_REFUND_TIME:
        return work_left(order, at)
    delay = min(max(passed, FIRST_ASKED_AFTER), MAX_BACKOFF)
    # On condition of the entry seen: what somebody else has heard or done meanwhile counts.
    seen = order.outbox.due_at if order.outbox else None
    return OutboxUpdate(order, seen, OutboxEntry(at + delay, refund_pending=True))
