"""How DynamoDB's reasons for refusing a write are read: what each means for the change. Pure."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from chalicelib.adapters.aws_faults import CONFLICTS
from chalicelib.adapters.dynamodb.items import order_from_item
from chalicelib.domain.changes import Change, stock_delta
from chalicelib.domain.outcomes import (
    Conflict,
    InsufficientStock,
    ItemError,
    NotFound,
    Reason,
    Refused,
    StatusChanged,
)
from chalicelib.faults import Unreadable


def read_cancellation(
    changes: Sequence[Change], units: Mapping[str, int], codes: Sequence[Mapping[str, Any]]
) -> Refused:
    """What the reasons of a cancelled transaction mean for each change.

    `codes` are in the order of the transaction: an action for each change, then one for each product of `units`.
    """
    own, rows = codes[: len(changes)], dict(zip(units, codes[len(changes) :], strict=True))
    stock = {product_id: _stock_in(row) for product_id, row in rows.items() if row["Code"] == "ConditionalCheckFailed"}
    reasons = tuple(
        own_reason(code) or _stock_reason(change, stock, rows) for change, code in zip(changes, own, strict=True)
    )
    return Refused(reasons, {product_id: available or 0 for product_id, available in stock.items()})


def own_reason(code: Mapping[str, Any]) -> Reason | None:
    """Why the order's own action failed: one entry of CancellationReasons."""
    match code["Code"]:
        case "None":
            return None
        case "ConditionalCheckFailed":
            return _order_as_it_is(code["Item"]) if code.get("Item") else NotFound()
        case conflict if conflict in CONFLICTS:
            return Conflict()
        case other:
            return ItemError(other)


def _order_as_it_is(item: Mapping[str, Any]) -> StatusChanged | ItemError:
    try:
        return StatusChanged(order_from_item(item))
    except Unreadable as fault:
        # A newer release may have written it. Its message waits for that release, and the others do not.
        return ItemError(str(fault))


def _stock_reason(
    change: Change, stock: Mapping[str, int | None], rows: Mapping[str, Mapping[str, Any]]
) -> Reason | None:
    for product_id, n in stock_delta(change).items():
        if product_id in stock and -n > (stock[product_id] or 0):
            return InsufficientStock(product_id, -n, stock[product_id])
    codes = [rows[product_id]["Code"] for product_id in stock_delta(change)]
    if any(code in CONFLICTS for code in codes):
        return Conflict()
    return next((ItemError(code) for code in codes if code not in ("None", "ConditionalCheckFailed")), None)


def _stock_in(row: Mapping[str, Any]) -> int | None:
    item = row.get("Item")
    units = item.get("stock", {}).get("N") if item else None
    # Somebody may have edited the row by hand: less than a whole unit counts as none, no number as no product.
    return int(Decimal(units)) if units is not None else None
