"""The order and its life cycle: pure data, no AWS, no clock of its own."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

CENT = Decimal("0.01")


class Status(StrEnum):
    """Where an order is in its life."""

    PENDING = "PENDING"
    RESERVED = "RESERVED"
    CONFIRMED = "CONFIRMED"
    SHIPPED = "SHIPPED"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class Transition:
    """One step of the life cycle."""

    verb: str
    source: Status
    target: Status


TRANSITIONS: tuple[Transition, ...] = (
    Transition("reserve", Status.PENDING, Status.RESERVED),
    Transition("confirm", Status.RESERVED, Status.CONFIRMED),
    Transition("ship", Status.CONFIRMED, Status.SHIPPED),
    Transition("deliver", Status.SHIPPED, Status.DELIVERED),
    Transition("reject", Status.PENDING, Status.FAILED),
    Transition("decline", Status.RESERVED, Status.FAILED),
    Transition("cancel", Status.PENDING, Status.CANCELLED),
    Transition("cancel", Status.RESERVED, Status.CANCELLED),
    Transition("cancel", Status.CONFIRMED, Status.CANCELLED),
)
"""The whole life cycle. A pair of statuses that is not here is never written."""

_TARGETS = {(t.verb, t.source): t.target for t in TRANSITIONS}


class ImpossibleTransition(Exception):
    """The life cycle has no such transition: asking for one is a mistake in the program."""


def target_of(verb: str, source: Status) -> Status:
    """Where `verb` leads from `source`. Raises ImpossibleTransition where the table has no such transition."""
    try:
        return _TARGETS[verb, source]
    except KeyError:
        raise ImpossibleTransition(f"cannot {verb} an order that is {source}") from None


def verbs_from(source: Status) -> tuple[str, ...]:
    """The actions that a status allows, in the order of the table."""
    return tuple(t.verb for t in TRANSITIONS if t.source is source)


def two_decimals(amount: Decimal) -> Decimal:
    """The same amount written with two decimals. Exact: amounts inside never have more."""
    return amount.quantize(CENT)


class Refund(StrEnum):
    """What happened to the money of a cancelled order; the payment provider's ledger has the last word."""

    PENDING = "PENDING"
    DONE = "DONE"
    NONE = "NONE"


@dataclass(frozen=True, slots=True)
class LineItem:
    """One product of an order. The price is the catalogue's at the time the order was created.

    `unit_price` is None only in a producer's order that the catalogue refused.
    """

    product_id: str
    quantity: int
    unit_price: Decimal | None = None
    product_name: str | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where the goods go."""

    street: str
    city: str
    country: str
    state: str | None = None
    zip: str | None = None


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One status that the order has had. Its index in the history is its sequence number.

    `by` is who asked for it (`Caller.name`); None: the service itself, or somebody whom nobody has verified.
    """

    status: Status
    at: datetime
    reason: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """Work may be left on this order: `recover` sends it a message at `due_at`. `retries` counts those already sent.

    `fault` is an unexpected fault that ended its message. `refund_pending`: when the provider was asked last, nothing
    was left but a refund that takes its time.
    """

    due_at: datetime
    retries: int = 0
    fault: str | None = None
    refund_pending: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """An order as it is stored, or as a message says that it was when the message was sent.

    `payment_key` names its payment (`domain/payment_key.py`); `reserved` is what it took of each product. Neither ever
    changes once it is set. `payment_method` is the payment provider's token: it is there until the charge is decided.
    """

    order_id: str
    customer_id: str
    items: tuple[LineItem, ...]
    total_amount: Decimal
    currency: str
    created_at: datetime
    fingerprint: str
    payment_key: str
    status: Status
    updated_at: datetime
    history: tuple[HistoryEntry, ...]
    shipping_address: Address | None = None
    payment_method: str | None = None
    request_id: str | None = None
    correlation_id: str | None = None
    failure_reason: str | None = None
    reserved: Mapping[str, int] | None = None
    payment_id: str | None = None
    refund: Refund | None = None
    carrier: str | None = None
    tracking_number: str | None = None
    outbox: OutboxEntry | None = None

    @property
    def quantities(self) -> dict[str, int]:
        """Units of each product, in the order of the lines."""
        return summed((item.product_id, item.quantity) for item in self.items)

    def entry_of(self, status: Status) -> HistoryEntry | None:
        """When and why it reached a status, if it ever did."""
        return next((entry for entry in self.history if entry.status is status), None)

    def moved(self, entry: HistoryEntry, **fields: Any) -> "Order":
        """The same order one history entry later, and with further fields of the order."""
        return replace(self, status=entry.status, updated_at=entry.at, history=(*self.history, entry), **fields)


def new_order(*, by: str | None = None, **fields: Any) -> Order:
    """An order as it is before anything happened to it: PENDING since its creation, which `by` asked for."""
    created_at = fields["created_at"]
    history = (HistoryEntry(Status.PENDING, created_at, by=by),)
    return Order(**fields, status=Status.PENDING, updated_at=created_at, history=history)


def summed(lines: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Units by product; two lines of one product count as one."""
    units: dict[str, int] = {}
    for product_id, quantity in lines:
        units[product_id] = units.get(product_id, 0) + quantity
    return units
