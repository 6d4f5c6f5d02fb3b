"""`payments`: the provider's books, compared with the orders. After a restore they know more than the tables."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from chalicelib import times
from chalicelib.adapters.dynamodb.items import from_item, order_from_item
from chalicelib.domain.order import Order
from chalicelib.domain.outcomes import RefundPending
from chalicelib.faults import PaymentUnknown, Unreadable
from chalicelib.service import Service
from chalicelib.use_cases.operations import Reached
from deploy.confirming import confirm_in_production
from ops import output
from ops.audit import Record, audited
from ops.interrupts import finishing
from ops.reconciling import Difference, Orders, Payment, Remedy, differences, is_owed
from ops.stages import on_stage
from ops.tables import second

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_REASON = "it was cancelled before the tables were restored"


@click.group()
def payments() -> None:
    """Compare the payment provider's books with the orders."""


@payments.command()
@click.option("--since", metavar="TIME", required=True, callback=second, help="The second that was restored.")
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
    """Show where payments and orders differ after a restore, and what will be done about it. Safe to repeat.

    While the API is paused, and once the consumer has emptied the queue. A lost order that TABLE has is sent to the
    consumer, which creates it again on the same payment. Any other payment that has no order is refunded.
    """
    # The books first: whatever they say then is in the orders, which are written before.
    books = list(_books(service))
    orders = _orders_in(service.dynamodb, service.settings.orders_table)
    found = differences(since, books, orders, _orders_in(service.dynamodb, older) if older else Orders({}))
    if as_json:
        output.as_json([_document(difference) for difference in found])
    else:
        output.table(("order", "what differs", "remedy"), [(e.order_id, e.what, e.remedy.value) for e in found])
    if not repair:
        output.hint(f"{output.counted(len(found), 'difference')}. Without --repair nothing is done.")
        return
    _refuse_while_messages_are_left(service)
    confirm_in_production("repair its payments and orders", service.settings.stage, yes)
    with audited(service, "payments reconcile") as record:
        for difference in found:
            with finishing():
                _repair(service, difference, record)
    output.hint(f"{output.counted(len(record.ids), 'difference')} of {len(found)} repaired.")


def _books(service: Service) -> Iterator[Payment]:
    """Every payment of the simulated provider. A real one is asked for its list."""
    for row in _items(service.dynamodb, service.settings.payments_table):
        values = from_item(row)
        at = times.from_text(values["at"]) if "at" in values else None
        yield Payment(values["paymentKey"], values["state"], values.get("amount"), at)


def _orders_in(client: "DynamoDBClient", table: str) -> Orders:
    readable: dict[str, Order] = {}
    unreadable: list[str] = []
    for item in _items(client, table):
        try:
            order = order_from_item(item)
            readable[order.order_id] = order
        except Unreadable as fault:
            unreadable.append(item["orderId"]["S"])
            output.hint(f"{table}: {fault}, and is left out.")
    return Orders(readable, unreadable)


def _items(client: "DynamoDBClient", table: str) -> Iterator[Mapping[str, Any]]:
    for page in client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        yield from page["Items"]


def _refuse_while_messages_are_left(service: Service) -> None:
    depth = service.queue.depth()
    if left := depth.waiting + depth.in_flight:
        raise click.ClickException(
            f"{output.counted(left, 'message')} of the order queue may still bring orders back: nothing was done. "
            "Wait until the consumer has worked them off."
        )


def _repair(service: Service, difference: Difference, record: Record) -> None:
    match difference.remedy:
        case Remedy.SEND if difference.order is not None:
            if not service.queue.enqueue([difference.order]):
                raise click.ClickException(f"Order {difference.order_id} could not be sent: repeat this.")
        case Remedy.REFUND:
            if not is_owed(difference.payment_key, service.orders.get(difference.order_id)):
                return  # it came back meanwhile
            try:
                pending = isinstance(service.payments.refund(difference.payment_key), RefundPending)
            except PaymentUnknown as fault:
                raise click.ClickException(f"{difference.payment_key}: {fault}. Repeat this.") from fault
            if pending:
                output.hint(f"The refund of {difference.payment_key} is pending.")
        case Remedy.CANCEL:
            if not isinstance(service.operations.cancel(difference.order_id, _REASON, record.caller), Reached):
                raise click.ClickException(f"Order {difference.order_id} could not be cancelled.")
        case _:
            return
    record.ids.append(difference.payment_key)


def _document(difference: Difference) -> dict[str, Any]:
    return {
        "orderId": difference.order_id,
        "paymentKey": difference.payment_key,
        "difference": difference.what,
        "remedy": difference.remedy.name,
    }
