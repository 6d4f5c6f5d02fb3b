"""The consumer by itself, and the consumer with the state machine: whatever orders there are, both come to the same."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.aws_calls import AwsCalls
from tests.support.conservation import check_conserved
from tests.support.events import Clock
from tests.support.payments import TimesOut
from tests.support.shop import STOCK, Shop, opened
from tests.support.stage import on_moto

BEFORE = {"p1": STOCK, "p2": STOCK, "p3": STOCK}
ENGINES = ("queue", "step-functions")
COUNTED = (
    *("OrdersPlaced", "OrdersReserved", "OrdersConfirmed", "OrdersFailed", "OrdersCancelled"),
    *("PaymentsCharged", "PaymentsDeclined", "PaymentsUnknown", "PaymentsRefunded"),
)
"""Metrics that say what became of the orders, not how often it was tried."""


def come_to(engine: str) -> dict[str, Any]:
    """What becomes of orders of every kind with this engine: each order, its events, its payment, stock and counts."""
    calls = AwsCalls()
    with on_moto() as stage, opened(stage, calls, Clock(), settings={"ENGINE": engine}) as shop:
        shop.provider.decline_percent = 40
        orders = _orders(shop)
        shop.drain()
        for order_id in list(orders)[::4]:
            shop.cancel(order_id)
        for order_id in list(orders)[1::4]:
            shop.ship(order_id)
        shop.drain()
        shop.recover_later(hours=1)
        shop.drain()
        check_conserved(stage, BEFORE, set(orders))
        events: dict[str, list[str]] = {order_id: [] for order_id in orders}
        for event in shop.published():
            events[event["detail"]["orderId"]] += [event["detail-type"]]
        calls.unwatch()
        return {
            "orders": {order_id: _as_it_ended(shop.stored(order_id)) for order_id in orders},
            "events": {order_id: sorted(set(names)) for order_id, names in events.items()},
            "payments": shop.ledger(),
            "stock": {product: shop.stock(product) for product in BEFORE},
            "counted": {name: shop.metrics[name] for name in COUNTED},
        }


def _orders(shop: Shop) -> dict[str, None]:
    """Orders of the API and of producers; some the provider answers late, and some that have no stock."""
    placed: dict[str, None] = {}
    for number in range(7):
        product, units = ("p3", STOCK + 1) if number == 5 else (f"p{1 + number % 2}", 1 + number % 3)
        placed[shop.place(shop.order(product, units), f"k{number}").order_id] = None
    for number in range(3):
        shop.produce(shop.event(f"ORD-{number}", "no-such-product" if number == 2 else {"p1": 1, "p2": 2}))
        placed[f"ORD-{number}"] = None
    shop.payments.on("charge", TimesOut.AFTER, times=2)
    return placed


def _as_it_ended(stored: Mapping[str, Any]) -> dict[str, Any]:
    """All of an order but what is of one run: ids that are made up, and times."""
    history = [(entry["status"], entry.get("reason")) for entry in stored["history"]]
    own = ("paymentId", "paymentKey", "correlationId", "requestId", "createdAt", "updatedAt", "history", "expiresAt")
    return {name: value for name, value in stored.items() if name not in own} | {"history": history}


@pytest.mark.usefixtures("quiet")
def test_both_engines_bring_every_order_to_the_same_end_with_the_same_events_payments_and_counts() -> None:
    by_queue, by_step_functions = map(come_to, ENGINES)
    assert by_step_functions == by_queue
    statuses = {order["status"] for order in by_queue["orders"].values()}
    assert statuses == {"CONFIRMED", "FAILED", "CANCELLED", "SHIPPED"}
