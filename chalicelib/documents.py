"""Orders as the API shows them."""

from typing import Any

from chalicelib import times
from chalicelib.items import address_values, entry_values, line_values
from chalicelib.order import Order, Refund, Status


def order_document(order: Order) -> dict[str, Any]:
    """An order as it stands, under the API's names."""
    document = {
        **first_answer(order),
        "status": order.status.value,
        "shippingAddress": address_values(order.shipping_address),
        "updatedAt": times.to_text(order.updated_at or order.created_at),
        "failureReason": order.failure_reason,
        "paymentId": order.payment_id,
        "refund": order.refund,
        "carrier": order.carrier,
        "trackingNumber": order.tracking_number,
        "history": [entry_values(entry) for entry in order.history],
    }
    return {name: value for name, value in document.items() if value is not None}


def first_answer(order: Order) -> dict[str, Any]:
    """What was answered when the order was placed: made of what never changes, so that it stays the same bytes."""
    return {
        "orderId": order.order_id,
        "customerId": order.customer_id,
        "status": "PENDING",
        "items": [line_values(line) for line in order.items],
        "totalAmount": order.total_amount,
        "currency": order.currency,
        "createdAt": times.to_text(order.created_at),
    }


def cancellation(order: Order) -> dict[str, Any]:
    """What is answered when an order is cancelled, however often: what its refund comes to is for GET to tell."""
    entry = order.entry_of(Status.CANCELLED)
    document = {
        "orderId": order.order_id,
        "customerId": order.customer_id,
        "status": "CANCELLED",
        "cancelledAt": times.to_text(entry.at) if entry else None,
        "reason": entry.reason if entry else None,
        "refund": Refund.PENDING if order.reserved else Refund.NONE,
    }
    return {name: value for name, value in document.items() if value is not None}
