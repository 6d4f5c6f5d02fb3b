"""`keys`: what an idempotency key names."""

import click

from chalicelib.domain.idempotency import InvalidKey, order_id_from_key, parse_key
from chalicelib.service import Service
from ops import output
from ops.stages import on_stage


@click.group()
def keys() -> None:
    """Idempotency keys."""


@keys.command()
@click.argument("customer")
@click.argument("key")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_stage
def explain(service: Service, customer: str, key: str, as_json: bool) -> None:
    """Show which order a customer's key names, whether that order exists, and what it contains."""
    try:
        parsed = parse_key(key)
    except InvalidKey:
        raise click.ClickException(
            "A key is 1 to 255 visible ASCII characters, bare or quoted; one that has a comma is quoted."
        ) from None
    order_id = order_id_from_key(customer, parsed)
    order = service.orders.get(order_id)
    if as_json:
        details = {"status": order.status.value, "fingerprint": order.fingerprint} if order else {}
        output.as_json(
            {"customerId": customer, "key": parsed, "orderId": order_id, "exists": order is not None, **details}
        )
        return
    if order is None:
        fields = {"order": order_id, "exists": "no: the key is free"}
    else:
        fields = {
            "order": order_id,
            "exists": f"yes: {order.status}, placed {output.moment(order.created_at)}",
            "items": ", ".join(f"{units} x {product_id}" for product_id, units in order.quantities.items()),
            "total": output.money(order.total_amount, order.currency),
            "fingerprint": order.fingerprint,
        }
    output.entry(f"{parsed} of {customer}", fields)
