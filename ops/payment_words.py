"""A payment in words and as a document: what the order, the ledger and its provider say of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chalicelib.domain.books import Intent, Payment, Taken
from chalicelib.domain.order import Order
from chalicelib.domain.reconciling import Difference
from ops import output


def said_of_order(order: Order | None) -> str:
    """A line about the order."""
    if order is None:
        return "does not exist"
    work = ", and work is left" if order.outbox else ""
    return f"{order.status}, {output.money(order.total_amount, order.currency)}{work}"


_WORDS = {
    Taken.YES: "paid",
    Taken.NOT_YET: "not paid, and can still be",
    Taken.UNDER_WAY: "being paid",
    Taken.NEVER: "never to be paid",
}


def said(payment: Payment) -> Iterator[tuple[str, str]]:
    """A line about its row, and one about each of its intents; the first word says whose."""
    row = payment.row
    yield "ledger", f"{row.state}, by {row.provider}, {row.payment_id or 'no intent'}" if row else "no row"
    if not payment.is_seen:
        yield "provider", "cannot be asked"
    elif not payment.intents:
        yield "provider", "nothing"
    for intent in payment.intents:
        parts = [f"{intent.payment_id}: {_WORDS[intent.taken]}, {output.money(intent.amount, intent.currency)}"]
        for what, amount in (("refunded", intent.refunded), ("disputed", intent.disputed), ("lost", intent.withdrawn)):
            parts += [f"{what} {output.money(amount, intent.currency)}"] if amount else []
        yield "provider", ", ".join(parts)


def document(order: Order | None, payments: Sequence[Payment], found: Sequence[Difference]) -> Mapping[str, Any]:
    """All of it."""
    differences = [difference(each) for each in found]
    return {"order": _order(order), "payments": [_payment(each) for each in payments], "differences": differences}


def _order(order: Order | None) -> Mapping[str, Any] | None:
    if order is None:
        return None
    status = {"orderId": order.order_id, "status": order.status, "paymentKey": order.payment_key}
    return status | {
        "totalAmount": order.total_amount,
        "currency": order.currency,
        "workLeft": order.outbox is not None,
    }


def _payment(payment: Payment) -> Mapping[str, Any]:
    row = payment.row
    state = {"state": row.state, "provider": row.provider, "paymentId": row.payment_id} if row else None
    intents = [_intent(intent) for intent in payment.intents]
    return {"paymentKey": payment.payment_key, "row": state, "seen": payment.is_seen, "intents": intents}


def _intent(intent: Intent) -> Mapping[str, Any]:
    amounts = {"amount": intent.amount, "refunded": intent.refunded, "disputed": intent.disputed}
    named = {"paymentId": intent.payment_id, "paid": intent.taken.name, "currency": intent.currency}
    return named | amounts | {"lost": intent.withdrawn}


def difference(difference: Difference) -> Mapping[str, Any]:
    """What differs."""
    return {
        "orderId": difference.order_id,
        "paymentKey": difference.payment_key,
        "paymentIds": list(difference.payment_ids),
        "difference": difference.what,
        "remedy": difference.remedy.name,
    }
