"""What the use cases need of the world, on one page. `adapters/` implements it; `service.py` puts both together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from chalicelib import times
from chalicelib.deadline import Deadline
from chalicelib.domain.books import Intent, Payment
from chalicelib.domain.changes import Change
from chalicelib.domain.order import Order
from chalicelib.domain.outcomes import Charged, Committed, Declined, NothingToRefund, Refunded, RefundPending, Refused
from chalicelib.domain.pricing import IntakeRefusal, Priced, Product
from chalicelib.domain.request import OrderRequest

MAX_ACTIONS = 100
"""Orders and products in one commit (Amazon DynamoDB Developer Guide, "Quotas": actions in a transaction)."""

MAX_BYTES = 4_000_000
"""Of the items of one commit (the same: size of the items in a transaction)."""

BATCH_SIZE = 10
"""Messages, or events, in one call of SQS and EventBridge (their developer guides, "Quotas")."""


@dataclass(frozen=True, slots=True)
class Page:
    """Orders, newest first, and where the next page starts: createdAt and order id (None: this is the last)."""

    orders: tuple[Order, ...]
    next_start: tuple[str, str] | None

    def first_half(self) -> "Page":
        """A shorter page of at least one order; the next one starts after it."""
        orders = self.orders[: (len(self.orders) + 1) // 2]
        return Page(orders, (times.to_text(orders[-1].created_at), orders[-1].order_id))


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many orders have had work left for long, readable or not. No order is in both numbers.

    `overdue`: for more than an hour. `refunds_pending`: nothing is left but a refund, and the payment provider said at
    the last time that it takes its time.
    """

    overdue: int
    refunds_pending: int


class Orders(Protocol):
    """Orders, and the stock that they take. Every method raises Unavailable, Rejected."""

    def commit(self, changes: Sequence[Change]) -> Committed | Refused:
        """Write all of the changes or none. An order appears once; at most MAX_ACTIONS orders and products."""
        ...

    def get(self, order_id: str) -> Order | None:
        """The order as it is now."""
        ...

    def get_all(self, order_ids: Sequence[str]) -> list[Order]:
        """Those of at most 100 orders that exist and can be read."""
        ...

    def list_by_customer(self, customer_id: str, limit: int, start: tuple[str, str] | None = None) -> Page:
        """A page of a customer's orders, newest first."""
        ...

    def overdue(self, now: datetime) -> Iterator[list[str]]:
        """The ids of the orders whose outbox entry is due, at most 100 at a time."""
        ...

    def count_waiting(self, now: datetime) -> Waiting:
        """How many orders have had work left for long."""
        ...


class Claims(Protocol):
    """Order ids lent to requests without a key. Both methods raise Unavailable, Rejected."""

    def claim_order_id(
        self, claim_id: str, order_id: str, now: datetime, window: timedelta, instead_of: str | None = None
    ) -> str:
        """The order id of this claim: `order_id` if it was free, expired, or its order id is `instead_of`."""
        ...

    def claimed_order_id(self, claim_id: str, now: datetime) -> str | None:
        """The order id of a claim, if its window is not over."""
        ...


class Catalogue(Protocol):
    """What can be bought, at what price."""

    def price(self, request: OrderRequest) -> Priced | IntakeRefusal:
        """The request at the catalogue's prices, or where they disagree. Raises Unavailable, Rejected."""
        ...


PAYMENT_KEY = "paymentKey"
"""The attribute of this service's own messages: their order is stored, or was, with this payment key."""

_FIRST_SENT_AT, _ORIGINAL_ID = "firstSentAt", "originalMessageId"


@dataclass(frozen=True, slots=True)
class ProductPage:
    """Products, and the product id after which the next page starts (None: this is the last)."""

    products: tuple[Product, ...]
    next_start: str | None


class Products(Protocol):
    """The catalogue, for those who look at it."""

    def page(self, limit: int, start: str | None) -> ProductPage:
        """At most `limit` products, in an order that does not change. Raises Unavailable, Rejected."""
        ...


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was received from a queue. `sent_at` is epoch milliseconds, 0 if it is not known."""

    message_id: str
    receipt_handle: str
    body: str
    receive_count: int
    sent_at: int
    attributes: Mapping[str, str]

    @property
    def payment_key(self) -> str | None:
        """The payment key that it carries. Whoever sends may write there what they like."""
        return self.attributes.get(PAYMENT_KEY)

    @property
    def first_sent_at(self) -> int:
        """When it was sent first, however often it was replayed since: epoch milliseconds, 0 if it is not known."""
        first = self.attributes.get(_FIRST_SENT_AT, "")
        return int(first) if first.isascii() and first.isdigit() and len(first) <= 14 else self.sent_at

    @property
    def original_id(self) -> str:
        """The id under which it was sent first."""
        return self.attributes.get(_ORIGINAL_ID) or self.message_id

    @property
    def origin(self) -> dict[str, str]:
        """The attributes that it keeps through quarantine and replay."""
        origin = {
            PAYMENT_KEY: self.payment_key or "",
            _FIRST_SENT_AT: str(self.first_sent_at or ""),
            _ORIGINAL_ID: self.original_id,
        }
        return {name: value for name, value in origin.items() if value}


@dataclass(frozen=True, slots=True)
class Depth:
    """About how many messages are waiting in a queue, and how many are being worked on."""

    waiting: int
    in_flight: int


class Queue(Protocol):
    """A queue. Every method but `try_enqueue` raises Unavailable, Rejected."""

    @property
    def url(self) -> str:
        """Where it is."""
        ...

    def try_enqueue(self, order: Order) -> None:
        """Have the order worked on, now or when its outbox entry is due. Raises nothing: it is stored with an entry."""
        ...

    def enqueue(self, orders: Sequence[Order]) -> list[Order]:
        """Have the orders worked on; those of them that were sent."""
        ...

    def send(self, body: str, attributes: Mapping[str, str]) -> None:
        """One message with attributes."""
        ...

    def receive(self, visibility_timeout: int) -> list[Message]:
        """Up to ten messages, hidden from everybody else for so many seconds; none: there are hardly any left."""
        ...

    def delete(self, receipt_handles: Sequence[str]) -> None:
        """Acknowledge messages. One that cannot be deleted will come again; the others are deleted all the same."""
        ...

    def change_visibility(self, seconds: Mapping[str, int]) -> None:
        """Hide messages, by receipt handle, for so many seconds from now; where one cannot be, the others are."""
        ...

    def depth(self) -> Depth:
        """About how many messages it holds."""
        ...


class EventBus(Protocol):
    """Where events are published."""

    def publish(self, orders: Sequence[Order], deadline: Deadline) -> dict[str, str]:
        """Publish all events of the orders until now, at least once; the order ids that failed, and why."""
        ...


class Payments(Protocol):
    """A payment provider. tests/use_cases/test_payments.py is the contract of every one.

    Both calls are idempotent by payment key (at most 101 letters, digits, `_`, `-` and `.`), *without limit of time*:
    asked again a month later, they answer the same. Most providers forget their own idempotency keys after a day, so
    their payments are looked up by the payment key, as a reference.

    A refund closes the payment: once it has returned, no charge under this key can take effect any more, not even one
    that is under way or that the customer confirms late; that one gets Declined. The service asks for the refund of
    every order that fails, also after Declined: a decline counts once the payment is closed.

    Whatever is not a clear answer is PaymentUnknown: no answer in time, and a conflict (the same call is under way
    elsewhere, or the key was used for another amount).
    """

    def charge(
        self,
        payment_key: str,
        amount: Decimal,
        currency: str,
        *,
        method: str | None = None,
        customer_id: str | None = None,
    ) -> Charged | Declined:
        """Take the money, once, from the customer's `method`: a token, which counts until the charge is decided.

        Raises PaymentUnknown.
        """
        ...

    def refund(self, payment_key: str) -> Refunded | RefundPending | NothingToRefund:
        """Give back all that was taken, once, and close the payment. Raises PaymentUnknown."""
        ...


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of the saga for one order: ids and nothing else, for its input can be read for 90 days."""

    name: str
    order_id: str
    payment_key: str


class Executions(Protocol):
    """A state machine that runs the saga."""

    def start(self, executions: Sequence[Execution], deadline: Deadline) -> dict[str, str]:
        """Start those whose name is new; one started before is as good. The order ids that failed, and why."""
        ...


class OutOfTime(Exception):
    """Not all could be seen in the time that there was."""


class Books(Protocol):
    """A payment provider's own books. Every method raises PaymentUnknown."""

    def payments(self, since: datetime, deadline: Deadline) -> Iterator[Intent]:
        """What was made since then, and what was refunded or disputed. Raises OutOfTime, after those that were seen."""
        ...

    def of(self, payment_id: str) -> Intent | None:
        """One of them as it is now; None: it is not there, or not this service's."""
        ...

    def search(self, payment_key: str) -> list[str]:
        """The ids that the provider finds by the payment key: perhaps not all, and nothing may rely on them."""
        ...

    def end(self, payment_id: str) -> None:
        """Have it never be paid any more, unless it is already."""
        ...

    def give_back(self, payment_id: str) -> None:
        """Give back what is left of it, once."""
        ...


class PaymentRows(Protocol):
    """The ledger of payments, read as a whole. Every method raises Unavailable, Rejected.

    Rows of the simulation are its books too: they come with their intent.
    """

    def all(self) -> Iterator[Payment]:
        """All that there is."""
        ...

    def get_all(self, payment_keys: Sequence[str]) -> list[Payment]:
        """Those of at most 100 payment keys that have a row."""
        ...

    def rebuild(self, intent: Intent, provider: str) -> bool:
        """Write the row of a payment as when it was charged. False: it has one. Raises PaymentUnknown too."""
        ...


class Alerts(Protocol):
    """What wakes people."""

    def send(self, subject: str, text: str, account: str) -> None:
        """One notification. Raises Unavailable, Rejected."""
        ...


@dataclass(frozen=True, slots=True)
class LastAlert:
    """The last notification about the dead letters: how many there were, and when."""

    count: int
    at: datetime


class AlertMemory(Protocol):
    """Remembers the last alert. Both methods raise Unavailable, Rejected."""

    def get(self) -> LastAlert | None:
        """The last alert, if there was one."""
        ...

    def set(self, alert: LastAlert) -> None:
        """Remember an alert."""
        ...
