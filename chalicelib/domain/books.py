"""A payment as three parties have it: its row in the ledger, and what the provider's own books say of its money."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import Enum, StrEnum, auto

from chalicelib.domain.payment_key import order_id_of

ZERO = Decimal(0)


class RowState(StrEnum):
    """OPEN: the provider decides. DECLINED, CLOSED: nothing was taken, and nothing will be. REFUNDING: it was taken,
    and is given back or on its way."""

    OPEN = "OPEN"
    DECLINED = "DECLINED"
    CLOSED = "CLOSED"
    REFUNDING = "REFUNDING"


@dataclass(frozen=True, slots=True)
class Row:
    """The row of a payment key. `payment_id` is the one intent that it allows to be paid."""

    state: RowState
    provider: str
    payment_id: str | None = None


class Taken(Enum):
    """Whether the money of an intent is taken: it is; it can still be; the provider is about it; it never will be."""

    YES = auto()
    NOT_YET = auto()
    UNDER_WAY = auto()
    NEVER = auto()


@dataclass(frozen=True, slots=True)
class Intent:
    """A payment in the provider's books.

    `refunded` is given back or on its way, `withdrawn` taken back by the bank after a dispute, `disputed` what is
    disputed now. `at`: when it was made; None: by a release that did not say when. `is_explained`: people have looked
    at it, and what differs is as they want it.
    """

    payment_id: str
    payment_key: str
    taken: Taken
    amount: Decimal
    currency: str
    at: datetime | None
    refunded: Decimal = ZERO
    withdrawn: Decimal = ZERO
    disputed: Decimal = ZERO
    is_explained: bool = False

    @property
    def kept(self) -> Decimal:
        """What was taken and is not given back; below zero: more was given back than taken."""
        return self.amount - self.refunded - self.withdrawn if self.taken is Taken.YES else ZERO


@dataclass(frozen=True, slots=True)
class Payment:
    """All that is known under a payment key. Not `is_seen`: its provider's books cannot be read here."""

    payment_key: str
    row: Row | None = None
    intents: tuple[Intent, ...] = ()
    is_seen: bool = True

    @property
    def order_id(self) -> str:
        """Of the order that it pays."""
        return order_id_of(self.payment_key)

    @property
    def of_row(self) -> Intent | None:
        """The intent that the row names."""
        named = self.row.payment_id if self.row else None
        return next((each for each in self.intents if each.payment_id == named), None)

    @property
    def keeping(self) -> list[Intent]:
        """The intents whose money is here."""
        return [each for each in self.intents if each.kept > 0]

    @property
    def is_explained(self) -> bool:
        """Whether people have said of one of its intents that it is as they want it."""
        return any(each.is_explained for each in self.intents)


def joined(payments: Iterable[Payment], intents: Iterable[Intent]) -> list[Payment]:
    """The payments of the ledger with the intents of the provider; an intent without a row is a payment of its own."""
    found = {payment.payment_key: payment for payment in payments}
    for intent in intents:
        payment = found.get(intent.payment_key, Payment(intent.payment_key))
        others = tuple(each for each in payment.intents if each.payment_id != intent.payment_id)
        found[intent.payment_key] = replace(payment, intents=(*others, intent))
    return list(found.values())
