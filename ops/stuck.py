"""Orders with work left to which nothing has happened for a while."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.domain.changes import MAX_BACKOFF
from chalicelib.domain.order import Order, Refund, Status
from chalicelib.faults import Unreadable
from chalicelib.use_cases.ports import Orders


@dataclass(frozen=True, slots=True)
class Stuck:
    """Orders with work left, longest first; and the ids of those that this release cannot read."""

    orders: list[Order]
    unreadable: list[str]


def stuck_orders(orders: Orders, now: datetime, older_than: timedelta) -> Stuck:
    """Those with an outbox entry that have had their status for longer than this. Raises Unavailable, Rejected.

    When an entry is due says little: `recover` postpones it with each retry. So all entries are read, due or not. Of
    what cannot be read no age is known: all of it is listed.
    """
    waiting: list[Order] = []
    unreadable: list[str] = []
    for order_ids in orders.overdue(now + MAX_BACKOFF + timedelta(hours=1)):
        found = {order.order_id: order for order in orders.get_all(order_ids)}
        waiting += [o for o in found.values() if o.outbox is not None and now - _since(o) > older_than]
        unreadable += [order_id for order_id in order_ids if order_id not in found and _is_unreadable(orders, order_id)]
    return Stuck(sorted(waiting, key=_since), unreadable)


def waits_for(order: Order) -> str | None:
    """What is left to be done for an order; None: nothing."""
    if order.outbox is None:
        return None
    if order.outbox.refund_pending:
        return "its refund, which is pending at the payment provider"
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


def _is_unreadable(orders: Orders, order_id: str) -> bool:
    """Not read together with the others: it may also be gone, since the index is a little behind."""
    try:
        orders.get(order_id)
    except Unreadable:
        return True
    return False


def _since(order: Order) -> datetime:
    return order.updated_at
