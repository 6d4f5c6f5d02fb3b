"""Details of a shipment: said with it or later, and never changed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chalicelib.domain.order import Order

Details = Mapping[str, str | None]
"""What was said of a shipment, by attribute of the order; None: nothing was said."""


@dataclass(frozen=True, slots=True)
class ShipmentDetails:
    """Details that are missing, on condition that they still are, and that status and fingerprint are as believed.

    Not a transition: no history entry, so no event, and the outbox entry stays as it is. `details` are by attribute.
    """

    order: Order
    details: Mapping[str, str]

    @property
    def order_id(self) -> str:
        """The order that this is about."""
        return self.order.order_id

    @property
    def after(self) -> Order:
        """The order once this is done."""
        fields: dict[str, Any] = dict(self.details)
        return replace(self.order, **fields)


def missing(order: Order, said: Details) -> dict[str, str]:
    """What was said and the order does not have."""
    return {name: value for name, value in said.items() if value is not None and getattr(order, name) is None}


def differing(order: Order, said: Details) -> list[str]:
    """The attributes that the order has, with another value than was said."""
    return [name for name, value in said.items() if value is not None and getattr(order, name) not in (None, value)]
