"""Orders for tests: as a client sends them, and as the domain has them."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from chalicelib import exact_json
from chalicelib.domain.caller import Caller, Role
from chalicelib.domain.idempotency import fingerprint
from chalicelib.domain.order import HistoryEntry, LineItem, Order, Status, new_order
from chalicelib.domain.payment_key import payment_key_of_message
from tests.support.template import ROOT

ANYBODY = Caller(Role.SERVICE)
"""Who may do everything, and has no name: the caller of a stage with AUTH=none."""

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
PRICE = Decimal("10.00")
SAMPLES = ROOT / "tests" / "samples"


def sample(name: str) -> Any:
    """A sample document; its amounts are Decimals."""
    return exact_json.loads((SAMPLES / f"{name}.json").read_bytes())


PRICES: Mapping[str, Decimal] = {product["productId"]: product["price"] for product in sample("products")}
"""Of the sample products. Any other product of a test costs PRICE."""


def a_body(quantities: Mapping[str, int] | None = None, **fields: Any) -> dict[str, Any]:
    """What a client sends to order so many units of each product; `fields` replace or add, None removes."""
    units = {"p1": 1} if quantities is None else quantities
    body = {
        "customerId": "CUST-1",
        "items": [{"productId": product_id, "quantity": n} for product_id, n in units.items()],
        "totalAmount": sum((PRICES.get(product_id, PRICE) * n for product_id, n in units.items()), Decimal()),
        **fields,
    }
    return {name: value for name, value in body.items() if value is not None}


def an_event(order_id: str, quantities: Mapping[str, int] | None = None, **fields: Any) -> dict[str, Any]:
    """An OrderCreated event, as a producer sends it."""
    return a_body(quantities, **({"orderId": order_id, "createdAt": "2026-01-15T11:59:00Z"} | fields))


def an_order(order_id: str = "o1", quantities: Mapping[str, int] | None = None, **fields: Any) -> Order:
    """A PENDING order of so many units of each product, created at NOW; `fields` are set as they are."""
    units = quantities or {"p1": 1}
    order = new_order(
        order_id=order_id,
        customer_id="c1",
        items=tuple(LineItem(product_id, n, PRICE, f"name of {product_id}") for product_id, n in units.items()),
        total_amount=PRICE * sum(units.values()),
        currency="USD",
        shipping_address=None,
        created_at=NOW,
        fingerprint="",
        payment_key=payment_key_of_message(order_id, "its message"),
    )
    return replace(order, **{"fingerprint": fingerprint(order), **fields})


_SHORTEST: dict[Status, tuple[Status, ...]] = {
    Status.PENDING: (),
    Status.RESERVED: (Status.RESERVED,),
    Status.CONFIRMED: (Status.RESERVED, Status.CONFIRMED),
    Status.SHIPPED: (Status.RESERVED, Status.CONFIRMED, Status.SHIPPED),
    Status.DELIVERED: (Status.RESERVED, Status.CONFIRMED, Status.SHIPPED, Status.DELIVERED),
    Status.FAILED: (Status.FAILED,),
    Status.CANCELLED: (Status.CANCELLED,),
}


def standing(status: Status, order_id: str = "o1", quantities: Mapping[str, int] | None = None, **fields: Any) -> Order:
    """An order that has come to this status the shortest way."""
    order = an_order(order_id, quantities)
    for step in _SHORTEST[status]:
        order = order.moved(HistoryEntry(step, NOW))
        if step is Status.RESERVED:
            order = replace(order, reserved=order.quantities)
    return replace(order, **fields)
