"""`payments`: the providers' books, compared with ledger and orders. After a restore they know more than the tables."""

from datetime import datetime
from typing import TYPE_CHECKING

import click

from chalicelib import times
from chalicelib.adapters.dynamodb.items import order_from_item
from chalicelib.domain.books import Payment
from chalicelib.domain.order import Order
from chalicelib.domain.reconciling import Difference, KnownOrders, Period, Remedy
from chalicelib.faults import PaymentUnknown, Unreadable
from chalicelib.service import Service
from deploy.confirming import confirm_in_production
from ops import output
from ops import payment_words as shown
from ops.audit import audited
from ops.checking import NotSeen
from ops.interrupts import finishing
from ops.repairing import asking, repaired
from ops.stages import on_stage
from ops.tables import second

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@click.group()
def payments() -> None:
    """Compare the payment providers' books with the ledger and the orders."""


@payments.command()
@click.option(
    "--since", metavar="TIME", required=True, callback=second, help="What happened since then; a restore: its second."
)
@click.option(
    "--from", "older", metavar="TABLE", help="The table of orders before the restore: what only it has is lost."
)
@click.option("--repair", is_flag=True, help="Do what is shown; without it nothing is done.")
@click.option("--yes", metavar="STAGE", help="Do not ask in prod: this is the name of the stage.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_stage
def reconcile(
    service: Service, since: datetime, older: str | None, repair: bool, yes: str | None, as_json: bool
) -> None:
    """Show where payments, ledger and orders differ, and what will be done about it. Safe to repeat.

    After a restore: while the API is paused, and once the consumer has emptied the queue. A lost order that TABLE has
    is sent to the consumer, which creates it again on the same payment. Any other payment that has no order is
    refunded, unless that may have expired. No money is taken, and that of a sold order is left to people.
    """
    period = Period(since, times.utc_now())
    with asking():
        # The books first: whatever they say then is in the orders, which are written before.
        known = service.reconciling.payments(period)
        orders = _orders_in(service.dynamodb, service.settings.orders_table)
        lost = _orders_in(service.dynamodb, older) if older else KnownOrders()
        found = service.reconciling.compare(period, known, orders, lost)
    if unseen := sum(not payment.is_seen for payment in known):
        output.hint(f"{output.counted(unseen, 'payment')} of a provider that this stage cannot ask: not compared.")
    if as_json:
        output.as_json([shown.difference(difference) for difference in found])
    else:
        output.table(("order", "what differs", "remedy"), [(e.order_id, e.what, e.remedy.value) for e in found])
    if not repair:
        output.hint(f"{output.counted(len(found), 'difference')}. Without --repair nothing is done.")
        return
    if any(each.order_id not in orders.readable for each in found if each.remedy is not Remedy.PEOPLE):
        _refuse_while_messages_are_left(service)
    confirm_in_production("repair its payments and orders", service.settings.stage, yes)
    with audited(service, "payments reconcile") as record:
        for difference in found:
            with finishing(), asking():
                if repaired(service, period, difference, lost, record.caller):
                    record.ids.append(difference.payment_key)
    output.hint(f"{output.counted(len(record.ids), 'difference')} of {len(found)} repaired.")


@payments.command()
@click.argument("order_id", metavar="ORDER")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_stage
def check(service: Service, order_id: str, as_json: bool) -> None:
    """Show what the order, the ledger and the provider say of one order's payment.

    Exit status 0: they agree; 1: they differ; 2: the provider cannot be asked.
    """
    order = service.orders.get(order_id)
    try:
        known, found = _looked_at(service, order_id, order)
    except PaymentUnknown as fault:
        raise NotSeen(f"There is no clear answer: {fault}. Repeat this.") from fault
    if not known:
        raise click.ClickException(f"Order {order_id[:64]!r} does not exist, and no payment has its id.")
    if as_json:
        output.as_json(shown.document(order, known, found))
    else:
        rows = [row for payment in known for row in shown.said(payment)]
        output.table(("who", "what it says"), [("order", shown.said_of_order(order)), *rows])
    if unseen := [payment for payment in known if not payment.is_seen]:
        raise NotSeen(f"The provider of {output.counted(len(unseen), 'payment')} cannot be asked by this stage.")
    if found:
        raise click.ClickException(f"{'; '.join(f'{each.what}: {each.remedy.value}' for each in found)}.")
    output.hint("They agree.")


def _looked_at(service: Service, order_id: str, order: Order | None) -> tuple[list[Payment], list[Difference]]:
    """The payment of an order, or those that an order which does not exist has left; and what differs."""
    reconciling, period = service.reconciling, Period.of_living_orders(times.utc_now())
    left = [] if order else [each.payment_key for each in reconciling.rows.all() if each.order_id == order_id]
    named = {key: reconciling.search(key) for key in ([order.payment_key] if order else left)}
    known = [reconciling.look(key, names, order) for key, names in named.items()]
    return known, [each for key, names in named.items() for each in reconciling.again(period, key, names)]


def _orders_in(client: "DynamoDBClient", table: str) -> KnownOrders:
    readable: dict[str, Order] = {}
    unreadable: list[str] = []
    for page in client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        for item in page["Items"]:
            try:
                order = order_from_item(item)
                readable[order.order_id] = order
            except Unreadable as fault:
                unreadable.append(item["orderId"]["S"])
                output.hint(f"{table}: {fault}, and is left out.")
    return KnownOrders(readable, unreadable)


def _refuse_while_messages_are_left(service: Service) -> None:
    depth = service.queue.depth()
    if left := depth.waiting + depth.in_flight:
        raise click.ClickException(
            f"{output.counted(left, 'message')} of the order queue may still bring orders back: nothing was done. "
            "Wait until the consumer has worked them off."
        )
