"""What mends one difference between orders, ledger and provider."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from chalicelib.domain.caller import Caller
from chalicelib.domain.outcomes import RefundPending
from chalicelib.domain.reconciling import Difference, KnownOrders, Period, Remedy
from chalicelib.faults import PaymentUnknown
from chalicelib.service import Service
from chalicelib.use_cases.operations import Reached
from ops import output

_REASON = "it was cancelled before the tables were restored"


@contextmanager
def asking() -> Iterator[None]:
    """Raises ClickException for a payment provider that gives no clear answer."""
    try:
        yield
    except PaymentUnknown as fault:
        raise click.ClickException(f"There is no clear answer: {fault}. Repeat this.") from fault


def repaired(service: Service, period: Period, found: Difference, older: KnownOrders, caller: Caller) -> bool:
    """Mend it, unless it is left to people, or is not as it was any more: whether that was done."""
    if found.remedy is Remedy.PEOPLE:
        return False
    if found not in service.reconciling.again(period, found.payment_key, found.payment_ids, older):
        return False  # an order came back, or a refund went on
    match found.remedy:
        case Remedy.SEND:
            _send(service, found)
        case Remedy.REBUILD:
            _rebuild(service, found)
            _send(service, found)
        case Remedy.REFUND:
            _refund(service, found)
        case Remedy.CANCEL:
            if not isinstance(service.operations.cancel(found.order_id, _REASON, caller), Reached):
                raise click.ClickException(f"Order {found.order_id} could not be cancelled.")
        case Remedy.END:
            _end(service, found)
    return True


def _send(service: Service, found: Difference) -> None:
    if found.order is not None and not service.queue.enqueue([found.order]):
        raise click.ClickException(f"Order {found.order_id} could not be sent: repeat this.")


def _rebuild(service: Service, found: Difference) -> None:
    for provider, books in service.reconciling.books.items():
        for intent in filter(None, map(books.of, found.payment_ids)):
            service.reconciling.rows.rebuild(intent, provider)


def _end(service: Service, found: Difference) -> None:
    for books in service.reconciling.books.values():
        for payment_id in found.payment_ids:
            books.end(payment_id)


def _refund(service: Service, found: Difference) -> None:
    # First the payment is closed, so that nobody charges it again. What its row does not lead to is given back then.
    pending = isinstance(service.payments.refund(found.payment_key), RefundPending)
    for books in service.reconciling.books.values():
        for payment_id in found.payment_ids:
            books.give_back(payment_id)
    if pending:
        output.hint(f"The refund of {found.payment_key} is pending.")
