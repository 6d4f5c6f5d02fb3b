"""What a commit answers, and how DynamoDB's reasons for refusing one are read. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from chalicelib.changes import Change, taken_by
from chalicelib.items import Unreadable, order_of
from chalicelib.order import Order

CONFLICTS = frozenset(
    {
        "TransactionConflict",
        "ThrottlingError",
        "ProvisionedThroughputExceeded",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
"""Codes, of a cancelled transaction's reasons and of single writes, that mean: the same write again.

botocore retries only TransactionInProgressException by itself.
"""


@dataclass(frozen=True, slots=True)
class Moved:
    """The change's own condition failed; `order` is what stands."""

    order: Order


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no such order."""


@dataclass(frozen=True, slots=True)
class Short:
    """This change alone needs more of a product than there is; `left` None: there is no such product."""

    product_id: str
    needed: int
    left: int | None


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another transaction was at the same items. No refusal: the same write may be asked for again."""


@dataclass(frozen=True, slots=True)
class Faulty:
    """Any other reason, and this change's own; `code` is DynamoDB's."""

    code: str


Reason = Moved | Absent | Short | Conflict | Faulty


@dataclass(frozen=True, slots=True)
class Committed:
    """All of it is written; `orders` are the orders as they stand, one for each change."""

    orders: tuple[Order, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing is written. `reasons` has one for each change (None: nothing against it but the others).

    `stock` is what there is of the products that did not suffice for all.
    """

    reasons: tuple[Reason | None, ...]
    stock: Mapping[str, int] = field(default_factory=dict)


def refusal(changes: Sequence[Change], units: Mapping[str, int], codes: Sequence[Mapping[str, Any]]) -> Refused:
    """What the reasons of a cancelled transaction mean for each change.

    `codes` are in the order of the transaction: an action for each change, then one for each product of `units`.
    """
    own, rows = codes[: len(changes)], dict(zip(units, codes[len(changes) :], strict=True))
    stock = {product_id: _stock_in(row) for product_id, row in rows.items() if row["Code"] == "ConditionalCheckFailed"}
    reasons = tuple(
        own_reason(code) or _reason_of_stock(change, stock, rows) for change, code in zip(changes, own, strict=True)
    )
    return Refused(reasons, {product_id: left or 0 for product_id, left in stock.items()})


def own_reason(code: Mapping[str, Any]) -> Reason | None:
    """Why the order's own action failed: one entry of CancellationReasons."""
    match code["Code"]:
        case "None":
            return None
        case "ConditionalCheckFailed":
            return _what_stands(code["Item"]) if code.get("Item") else Absent()
        case conflict if conflict in CONFLICTS:
            return Conflict()
        case other:
            return Faulty(other)


def _what_stands(item: Mapping[str, Any]) -> Moved | Faulty:
    try:
        return Moved(order_of(item))
    except Unreadable as fault:
        # A newer release may have written it. Its message waits for that release, and the others do not.
        return Faulty(str(fault))


def _reason_of_stock(
    change: Change, stock: Mapping[str, int | None], rows: Mapping[str, Mapping[str, Any]]
) -> Reason | None:
    for product_id, n in taken_by(change).items():
        if product_id in stock and -n > (stock[product_id] or 0):
            return Short(product_id, -n, stock[product_id])
    codes = [rows[product_id]["Code"] for product_id in taken_by(change)]
    if any(code in CONFLICTS for code in codes):
        return Conflict()
    return next((Faulty(code) for code in codes if code not in ("None", "ConditionalCheckFailed")), None)


def _stock_in(row: Mapping[str, Any]) -> int | None:
    item = row.get("Item")
    units = item.get("stock", {}).get("N") if item else None
    # Somebody may have edited the row by hand: less than a whole unit is none, and no number is no product.
    return int(Decimal(units)) if units is not None else None
