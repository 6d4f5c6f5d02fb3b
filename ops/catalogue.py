"""`catalogue`: list and load products, and add to their stock."""

import re
from pathlib import Path
from typing import Any

import click

from chalicelib.adapters import clients
from chalicelib.faults import Unavailable
from chalicelib.service import Service
from ops import output
from ops.audit import audited
from ops.interrupts import finishing
from ops.products import BadCatalogue, all_products, put, read_products
from ops.products import restock as add_stock
from ops.stages import on_stage

_MAX_ERRORS_SHOWN = 20


class Units(click.ParamType[int]):
    """`+25`: the units to add. The sign is required, so that nobody mistakes the number for the new stock."""

    name = "+N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of units."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"\+([1-9][0-9]{0,8})", str(value))
        if not match:
            self.fail(f"{value!r} is not a number of units to add; write +25 for 25 units more.", param, ctx)
        return int(match[1])


@click.group()
def catalogue() -> None:
    """Products and their stock."""


@catalogue.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_stage
def list_products(service: Service, as_json: bool) -> None:
    """The products with their stock, by id."""
    products = all_products(clients.dynamodb(), service.settings.inventory_table)
    if as_json:
        output.as_json(products)
        return
    currency = service.settings.currency
    rows = [
        [
            product["productId"],
            str(product.get("name", "")),
            output.money(product["price"], currency),
            str(product.get("stock", 0)),
            str(product.get("category", "")),
        ]
        for product in products
    ]
    if rows:
        output.table(("product", "name", "price", "stock", "category"), rows)
    output.say(f"{output.counted(len(rows), 'product')}.")


@catalogue.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@on_stage
def load(service: Service, file: Path) -> None:
    """Put the products of FILE in the catalogue.

    It is a JSON list of objects with productId, name, price, stock and, optionally, category.

    Nothing is written unless all of it is valid. The stock of a known product stays as it is. Loading the same file
    again changes nothing. A new price is used within a minute.
    """
    try:
        products = read_products(file.read_bytes())
    except BadCatalogue as invalid:
        for error in invalid.errors[:_MAX_ERRORS_SHOWN]:
            output.hint(error)
        raise click.ClickException(
            f"{file} is invalid, {output.counted(len(invalid.errors), 'error')}: nothing was loaded."
        ) from invalid
    table = service.settings.inventory_table
    new = 0
    with (
        audited(service, "catalogue load") as record,
        output.progress("Loading", len(products)) as step,
    ):
        for product in products:
            with finishing():
                new += put(clients.dynamodb(), table, product)
                record.ids.append(product.product_id)
            step()
    known = len(products) - new
    output.say(
        f"{output.counted(len(products), 'product')} loaded: {new} new, {known} known (their stock is unchanged)."
    )


@catalogue.command()
@click.argument("product", metavar="PRODUCT")
@click.argument("units", type=Units())
@on_stage
def restock(service: Service, product: str, units: int) -> None:
    """Add units to a product's stock, while orders keep taking from it: restock PROD-001 +25."""
    with audited(service, "catalogue restock") as record, finishing():
        try:
            known = add_stock(clients.dynamodb(), service.settings.inventory_table, product, units)
        except Unavailable as fault:
            raise click.ClickException(
                f"It may have taken effect. Check the stock before you repeat it: {fault}."
            ) from fault
        if not known:
            raise click.ClickException(f"Product {product[:64]!r} is not in the catalogue: nothing was added.")
        record.details["units"] = f"+{units}"
        record.ids.append(product)
    output.say(f"{output.counted(units, 'unit')} added to the stock of {product}.")
