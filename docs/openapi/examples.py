"""Examples of requests and answers: an order of the samples, as the service's own code shows it."""

import json
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

from chalicelib import times
from chalicelib.domain.idempotency import fingerprint, order_id_from_key
from chalicelib.domain.order import HistoryEntry, LineItem, Order, Status
from chalicelib.entrypoints import cursors
from chalicelib.entrypoints.documents import cancellation, first_answer, order_document
from chalicelib.entrypoints.validation import order_request

_SAMPLES = Path(__file__).resolve().parents[2] / "tests" / "samples"

KEY = "5f0c1f2e-6a55-4c5e-9a77-0b7a1d3c2b10"
_TIME = "2026-04-20T14:30:00.123Z"
_PLACED_AT = times.from_text(_TIME)
_REQUEST: dict[str, Any] = json.loads((_SAMPLES / "api_order.json").read_text("utf-8"), parse_float=Decimal)
_CATALOGUE: list[dict[str, Any]] = json.loads((_SAMPLES / "products.json").read_text("utf-8"), parse_float=Decimal)


def examples() -> Mapping[str, Mapping[str, Any]]:
    """By the operation, and where it is: `request`, or the status of the answer."""
    placed = _placed()
    confirmed = _later(_later(placed, Status.RESERVED), Status.CONFIRMED, payment_id="pay_1")
    shipped = _later(confirmed, Status.SHIPPED, carrier="DHL", tracking_number="JD014600006228974701")
    cancelled = confirmed.moved(HistoryEntry(Status.CANCELLED, _PLACED_AT + timedelta(minutes=5), "ordered by mistake"))
    first_page = {
        "orders": [order_document(shipped)],
        **_onwards("/customers/CUST-42/orders", (_TIME, shipped.order_id)),
    }
    return {
        "place_order": {"request": _REQUEST, "201": first_answer(placed)},
        "get_order": {"200": order_document(confirmed)},
        "cancel_order": {
            "request": {"reason": "ordered by mistake"},
            "200": cancellation(cancelled),
        },
        "ship_order": {
            "request": {"carrier": "DHL", "trackingNumber": "JD014600006228974701"},
            "200": order_document(shipped),
        },
        "deliver_order": {"request": {}, "200": order_document(_later(shipped, Status.DELIVERED))},
        "list_orders": {"200": first_page},
        "list_products": {"200": _products()},
        "get_health": {"200": {"status": "ok"}},
    }


def _placed() -> Order:
    """The order of the sample, with the catalogue's names."""
    request = order_request(_REQUEST, "USD")
    named = {product["productId"]: product["name"] for product in _CATALOGUE}
    lines = tuple(LineItem(i.product_id, i.quantity, i.unit_price, named[i.product_id]) for i in request.items)
    order_id = order_id_from_key(request.customer_id, KEY)
    return request.to_order(
        order_id=order_id, items=lines, created_at=_PLACED_AT, fingerprint=fingerprint(request), payment_key=""
    )


def _later(order: Order, status: Status, **fields: Any) -> Order:
    return order.moved(HistoryEntry(status, order.updated_at + timedelta(seconds=1)), **fields)


def _products() -> dict[str, Any]:
    products = [{name: product[name] for name in ("productId", "name", "price")} for product in _CATALOGUE[:2]]
    return {"currency": "USD", "products": products, **_onwards("/products", _CATALOGUE[1]["productId"])}


def _onwards(path: str, start: tuple[str, str] | str) -> dict[str, str]:
    cursor = cursors.write(start)
    return {"cursor": cursor, "next": f"{path}?limit=20&cursor={quote(cursor)}"}
