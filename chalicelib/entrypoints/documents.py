"""Orders as the API shows them, and what is wrong with a request."""

from typing import Any

from chalicelib import times
from chalicelib.domain import fields
from chalicelib.domain.fields import In
from chalicelib.domain.order import Order, Refund, Status
from chalicelib.domain.request import Invalid


def order_document(order: Order, *, shows_names: bool = False) -> dict[str, Any]:
    """An order as it is now. `shows_names`: with who did it, in each entry of the history; never for a customer."""
    document = fields.write(order, In.ANSWER)
    if not shows_names:
        for entry in document["history"]:
            entry.pop("by", None)
    return document


def first_answer(order: Order) -> dict[str, Any]:
    """What was answered when the order was placed: made of what never changes, so that it stays the same bytes."""
    return fields.write(order, In.FIRST_ANSWER) | {"status": Status.PENDING.value}


def listed_errors(refused: Invalid) -> list[dict[str, Any]]:
    """The member `errors` of a problem: everything that is wrong with a request."""
    return [
        {"pointer": error.pointer, "detail": error.detail}
        | ({"expected": error.expected} if error.expected is not None else {})
        for error in refused.errors
    ]


def cancellation(order: Order) -> dict[str, Any]:
    """What is answered when an order is cancelled, however often: GET says what happened to the refund."""
    entry = order.entry_of(Status.CANCELLED)
    document = {
        "orderId": order.order_id,
        "customerId": order.customer_id,
        "status": "CANCELLED",
        "cancelledAt": times.to_text(entry.at) if entry else None,
        "reason": entry.reason if entry else None,
        "refund": Refund.PENDING,
    }
    return {name: value for name, value in document.items() if value is not None}
