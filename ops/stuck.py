"""Orders with work left to which nothing has happened for a while."""

from datetime import datetime, timedelta

from chalicelib.domain.changes import MAX_BACKOFF
from chalicelib.domain.order import Order, Refund, Status
from chalicelib.use_cases.ports import Orders


def stuck_orders(orders: Orders, now: datetime, older_than: timedelta) -> list[Order]:
    """Those with an outbox entry that have had their status for longer than this; longest first. Raises Unavailable.

    When an entry is due says little: `recover` postpones it with each retry. So all entries are read, due or not.
    """
    with_work = (
        order
        for order_ids in orders.overdue(now + MAX_BACKOFF + timedelta(hours=1))
        for order in orders.get_all(order_ids)
        if order.outbox is not None
    )
    waiting = [order for order in with_work if now - _since(order) > older_than]
    return sorted(waiting, key=_since)


def waits_for(order: Order) -> str | None:
    """What is left to be done for an order; None: nothing."""
    if order.outbox is None:
        return None
    match order.status:
        case Status.PENDING:
            return "its stock to be reserved"
        case Status.RESERVED:
            return "the payment provider, then to be confirmed"
        case Status.CANCELLED if order.refund is Refund.PENDING:
            return "its refund, and its event to be published"
        case Status.FAILED:
            return "its payment to be closed, and its event to be published"
        case _:
            return "its events to be published"


def _since(order: Order) -> datetime:
    return order.updated_at
