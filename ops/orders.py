"""`orders`: show orders, find those that are stuck, cancel one."""

from datetime import timedelta
from typing import Any

import click

from chalicelib import times
from chalicelib.domain.order import Order, verbs_from
from chalicelib.domain.request import Invalid
from chalicelib.entrypoints.documents import order_document
from chalicelib.entrypoints.validation import details
from chalicelib.service import Service
from chalicelib.use_cases.operations import NoSuchOrder, NotPossible
from deploy.confirming import confirm_in_production
from ops import output
from ops.audit import audited
from ops.durations import Duration
from ops.interrupts import finishing
from ops.stages import on_stage
from ops.stuck import stuck_orders, waits_for


@click.group()
def orders() -> None:
    """Orders and their state."""


@orders.command()
@click.argument("order_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_stage
def show(service: Service, order_id: str, as_json: bool) -> None:
    """Show an order with its history, what it has reserved, and what it waits for."""
    order = service.orders.get(order_id)
    if order is None:
        raise click.ClickException(_not_found(order_id))
    if as_json:
        output.as_json(_document(order))
        return
    output.entry(order.order_id, _fields(order))
    output.say()
    output.table(
        ("product", "quantity", "unit price", "reserved"),
        [
            (
                line.product_id,
                str(line.quantity),
                "" if line.unit_price is None else str(line.unit_price),
                str((order.reserved or {}).get(line.product_id, 0)),
            )
            for line in order.items
        ],
    )
    output.say()
    rows = [
        (output.moment(entry.at), entry.status.value, entry.reason or "", entry.by or "") for entry in order.history
    ]
    output.table(("at", "status", "reason", "by"), rows)


@orders.command("list")
@click.argument("customer")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Show at most this many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_stage
def list_(service: Service, customer: str, limit: int, as_json: bool) -> None:
    """Show a customer's orders, newest first."""
    found: list[Order] = []
    start: tuple[str, str] | None = None
    while len(found) < limit:
        page = service.orders.list_by_customer(customer, min(100, limit - len(found)), start)
        found += page.orders
        start = page.next_start
        if start is None:
            break
    if as_json:
        output.as_json([order_document(order, shows_names=True) for order in found])
        return
    rows = [
        (o.order_id, o.status.value, output.money(o.total_amount, o.currency), output.moment(o.created_at)[:16])
        for o in found
    ]
    output.table(("order", "status", "total", "created (UTC)"), rows)
    output.hint(f"{output.counted(len(found), 'order')}{', and there are more.' if start else '.'}")


@orders.command()
@click.argument("order_id", metavar="ID")
@click.option("--reason", help="Why; kept in the order's history.")
@click.option("--yes", metavar="STAGE", help="Do not ask in prod: this is the name of the stage.")
@on_stage
def cancel(service: Service, order_id: str, reason: str | None, yes: str | None) -> None:
    """Cancel an order that is not shipped yet. Its stock is back at once, its money once the refund is made.

    Cancelling it again changes nothing. In prod it asks first.
    """
    try:
        details("cancel_request", {} if reason is None else {"reason": reason})
    except Invalid as fault:
        raise click.ClickException(f"The reason is invalid: {fault.errors[0].detail}.") from fault
    confirm_in_production(f"cancel order {order_id[:64]}", service.settings.stage, yes)
    with audited(service, "orders cancel") as record, finishing():
        outcome = service.operations.cancel(order_id, reason, record.caller)
        match outcome:
            case NoSuchOrder():
                raise click.ClickException(_not_found(order_id))
            case NotPossible(order):
                allowed = ", ".join(verbs_from(order.status)) or "none"
                raise click.ClickException(f"The order is {order.status}; allowed actions: {allowed}.")
        record.ids.append(order_id)
        if reason:
            record.details["reason"] = reason
    output.say(f"Order {order_id} is cancelled; refund: {outcome.order.refund}.")


@orders.command()
@click.option("--older-than", type=Duration(), default="1h", show_default=True, help="For how long: 30m, 2h, 3d.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_stage
def stuck(service: Service, older_than: timedelta, as_json: bool) -> None:
    """Show the orders with work left to which nothing has happened for a while, oldest first, and what they wait for.

    Each is retried automatically, after 1, 2, 4 … minutes, then every six hours; a pending refund is first asked about
    after 5 minutes.
    """
    now = times.utc_now()
    found = stuck_orders(service.orders, now, older_than)
    if as_json:
        unreadable = [{"orderId": order_id, "readable": False} for order_id in found.unreadable]
        output.as_json([*(_document(order) for order in found.orders), *unreadable])
        return
    for order in found.orders:
        since = order.updated_at
        retries = f"{order.outbox.retries}, the next at {output.moment(order.outbox.due_at)}" if order.outbox else ""
        output.entry(
            order.order_id,
            {
                "status": f"{order.status}, since {output.moment(since)}, {output.ago(now - since)} ago",
                "waits for": waits_for(order) or "",
                "retries": retries,
                **({"fault": order.outbox.fault} if order.outbox and order.outbox.fault else {}),
            },
        )
    for order_id in found.unreadable:
        output.entry(order_id, {"status": "cannot be read by this release: a newer one may have written it"})
    count = len(found.orders) + len(found.unreadable)
    output.hint(f"{output.counted(count, 'order')} stuck for more than {output.ago(older_than)}.")


def _not_found(order_id: str) -> str:
    return f"Order {order_id[:64]!r} does not exist."


def _fields(order: Order) -> dict[str, str]:
    fields = {
        "customer": order.customer_id,
        "status": order.status.value,
        "total": output.money(order.total_amount, order.currency),
        "failure": order.failure_reason,
        "payment key": order.payment_key,
        "payment": order.payment_id,
        "refund": order.refund,
        "correlation": order.correlation_id,
        "fingerprint": order.fingerprint,
        "waits for": waits_for(order),
        "fault": order.outbox.fault if order.outbox else None,
    }
    return {name: value for name, value in fields.items() if value}


def _document(order: Order) -> dict[str, Any]:
    extra = {
        "fingerprint": order.fingerprint,
        "paymentKey": order.payment_key,
        "correlationId": order.correlation_id,
        "reserved": order.reserved,
        "waitsFor": waits_for(order),
        "retries": order.outbox.retries if order.outbox else None,
        "fault": order.outbox.fault if order.outbox else None,
        "nextRetryAt": times.to_text(order.outbox.due_at) if order.outbox else None,
    }
    return order_document(order, shows_names=True) | {name: value for name, value in extra.items() if value is not None}
