"""What a client or a producer asks for: the request, and the part of it that decides whether two are the same."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from chalicelib.domain.order import Address, LineItem, Order, new_order, summed


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong. `pointer` is a JSON pointer as a URI fragment (RFC 6901): `#/items/0/quantity`.

    `expected` is the right figure, if there is one.
    """

    pointer: str
    detail: str
    expected: Decimal | str | None = None


class Invalid(Exception):
    """The request is refused; `errors` holds everything that is wrong with it, at least one thing."""

    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        super().__init__("; ".join(f"{error.pointer}: {error.detail}" for error in errors))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A well-formed order, not yet compared with the catalogue. Its fields are those that `Order` has too."""

    customer_id: str
    items: tuple[LineItem, ...]
    total_amount: Decimal
    currency: str
    shipping_address: Address | None = None
    payment_method: str | None = None

    @property
    def quantities(self) -> dict[str, int]:
        """Units of each product, in the order of their first lines."""
        return summed((line.product_id, line.quantity) for line in self.items)

    @classmethod
    def from_order(cls, order: Order) -> "OrderRequest":
        """What an order asked for, as it is stored."""
        return cls(**{name: getattr(order, name) for name in _ASKED_FOR})

    def to_order(
        self,
        *,
        order_id: str,
        items: tuple[LineItem, ...],
        created_at: datetime,
        fingerprint: str,
        payment_key: str,
        request_id: str | None = None,
        correlation_id: str | None = None,
        by: str | None = None,
    ) -> Order:
        """The order as it is before anything happened to it: PENDING since its creation, with the lines to store."""
        asked_for = {name: getattr(self, name) for name in _ASKED_FOR}
        return new_order(
            **asked_for | {"items": items},
            order_id=order_id,
            created_at=created_at,
            fingerprint=fingerprint,
            payment_key=payment_key,
            request_id=request_id,
            correlation_id=correlation_id,
            by=by,
        )

    def summed_items(self) -> tuple[LineItem, ...]:
        """One line for each product, with the name and price of its last line."""
        lines = {line.product_id: line for line in self.items}
        return tuple(
            LineItem(product_id, units, lines[product_id].unit_price, lines[product_id].product_name)
            for product_id, units in self.quantities.items()
        )


_ASKED_FOR = tuple(field.name for field in fields(OrderRequest))


class HasContent(Protocol):
    """An order or a request: both say what was asked for."""

    @property
    def customer_id(self) -> str: ...
    @property
    def quantities(self) -> Mapping[str, int]: ...
    @property
    def total_amount(self) -> Decimal: ...
    @property
    def currency(self) -> str: ...
    @property
    def shipping_address(self) -> Address | None: ...


@dataclass(frozen=True, slots=True)
class Content:
    """What the fingerprint covers, and nothing else: not names, unit prices, payment methods or times."""

    customer_id: str
    quantities: Mapping[str, int]
    total_amount: Decimal
    currency: str
    shipping_address: Address | None

    @classmethod
    def from_order(cls, order: HasContent) -> "Content":
        """What an order or a request asks for, with the lines of one product summed."""
        return cls(order.customer_id, order.quantities, order.total_amount, order.currency, order.shipping_address)
