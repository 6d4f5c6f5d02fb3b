"""What the use cases need of the world, on one page. `adapters/` implements it; `service.py` puts both together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from chalicelib import times
from chalicelib.deadline import Deadline
from chalicelib.domain.changes import Change
from chalicelib.domain.order import Order
from chalicelib.domain.outcomes import Charged, Committed, Declined, NothingToRefund, Refunded, Refused
from chalicelib.domain.pricing import CatalogueRefusal, Priced, Product
from chalicelib.domain.request import OrderRequest

MAX_ACTIONS = 100
"""Orders and products in one commit (Amazon DynamoDB Developer Guide, "Quotas": actions in a transaction)."""

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

    def count_late(self, now: datetime) -> int:
        """How many orders have been overdue for more than an hour, readable or not."""
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

    def price(self, request: OrderRequest) -> Priced | CatalogueRefusal:
        """The request at the catalogue's prices, or where they disagree. Raises Unavailable, Rejected."""
        ...


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


@dataclass(frozen=True, slots=True)
class Depth:
    """About how many messages are waiting in a queue, and how many are being worked on."""

    waiting: int
    in_flight: int


STORED = "stored"
"""The attribute of this service's own messages: their order is stored already.

A hint only: it saves the consumer an attempt to create the order.
"""


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
        """Acknowledge at most ten messages. One that cannot be deleted will come again."""
        ...

    def change_visibility(self, seconds: Mapping[str, int]) -> None:
        """Hide at most ten messages, by receipt handle, for so many seconds from now."""
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
    """A payment provider. Both calls are idempotent by order id, which is the provider's idempotency key.

    A refund closes the payment: once it has returned, no charge for this order can take effect any more, not even one
    that is under way; that one gets Declined. tests/use_cases/test_payments.py is the contract of every provider.
    """

    def charge(self, order_id: str, amount: Decimal, currency: str) -> Charged | Declined:
        """Take the money of an order, once. Raises PaymentUnknown."""
        ...

    def refund(self, order_id: str) -> Refunded | NothingToRefund:
        """Give back all that was taken for an order, once, and close its payment. Raises PaymentUnknown."""
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
