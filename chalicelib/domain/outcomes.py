"""What the world answered: to a commit, and to a payment. Values, not exceptions."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from chalicelib.domain.order import Order

# --- of a commit ---


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """The change's own condition failed; `order` is the order as it is now."""

    order: Order


@dataclass(frozen=True, slots=True)
class NotFound:
    """There is no such order."""


@dataclass(frozen=True, slots=True)
class InsufficientStock:
    """This change alone needs more of a product than there is; `available` None: there is no such product."""

    product_id: str
    needed: int
    available: int | None


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another transaction is writing the same items. Not a refusal: the same write may be tried again."""


@dataclass(frozen=True, slots=True)
class ItemError:
    """Any other reason, and this change's own; `code` is DynamoDB's."""

    code: str


Reason = StatusChanged | NotFound | InsufficientStock | Conflict | ItemError


@dataclass(frozen=True, slots=True)
class Committed:
    """All of it is written; `orders` are the orders as they are now, one for each change."""

    orders: tuple[Order, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing is written. `reasons` has one for each change (None: nothing against it but the others).

    `stock` is what there is of the products that did not suffice for all.
    """

    reasons: tuple[Reason | None, ...]
    stock: Mapping[str, int] = field(default_factory=dict)


# --- of a payment ---


@dataclass(frozen=True, slots=True)
class Charged:
    """The money is taken, now or at an earlier call."""

    payment_id: str


@dataclass(frozen=True, slots=True)
class Declined:
    """The money is not taken; `reason` is fit for the customer. It counts for good once the payment is closed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refunded:
    """The money is given back, now or at an earlier call, and the payment closed."""

    payment_id: str


@dataclass(frozen=True, slots=True)
class RefundPending:
    """The payment is closed, and the money not yet given back: to be asked again."""


@dataclass(frozen=True, slots=True)
class NothingToRefund:
    """No money was taken, and the payment is closed: none can be taken any more."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """No clear answer, so neither yes nor no: to be asked again, with the same payment key."""

    reason: str
