"""The orders of a batch on their way through the saga, and the outcome of each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from chalicelib import telemetry
from chalicelib.deadline import Deadline
from chalicelib.domain.changes import Change
from chalicelib.domain.idempotency import UnknownVersion, agrees
from chalicelib.domain.order import Order, Status
from chalicelib.domain.outcomes import Charged, Declined, StatusChanged
from chalicelib.domain.request import OrderRequest
from chalicelib.use_cases.committing import Applied, BatchCommitter, CommitResult, Retryable
from chalicelib.use_cases.ports import Message


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do for the order."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Something that may pass was in the way; `unexpected`: a mistake in the program, say: people must know."""

    reason: str
    unexpected: bool = False


@dataclass(frozen=True, slots=True)
class Never:
    """No further try would help."""

    reason: str


Outcome = Done | Retry | Never


@dataclass(frozen=True, slots=True)
class Delivery:
    """An order to work on, as a message has it.

    `payment_key` is the key that the message carries: the order was stored with it before the message was sent. `last`
    says that the message will not come again; `outdated`, that it was first sent so long ago that its order, if it is
    gone, has ended and was deleted. `message_id` is the message's; of several about the order, the last one's.
    """

    order: Order
    request: OrderRequest
    payment_key: str | None
    last: bool = False
    outdated: bool = False
    message_id: str = ""

    @classmethod
    def from_stored(
        cls, order: Order, *, last: bool, outdated: bool = False, message: Message | None = None
    ) -> "Delivery":
        """The order as it is stored, whatever a message says."""
        request, message_id = OrderRequest.from_order(order), message.message_id if message else ""
        return cls(order, request, order.payment_key, last, outdated, message_id)

    def of_last(self, messages: Sequence[Message]) -> "Delivery":
        """Under the id of the message that was sent last: whatever the others ask for was there before it."""
        if len(messages) == 1:
            return self
        return replace(self, message_id=max(messages, key=lambda message: message.sent_at).message_id)


class Engine(Protocol):
    """What works on orders: `Fulfilment` by itself, or `Starting`, which has a state machine do it."""

    def fulfil(self, deliveries: Sequence[Delivery], deadline: Deadline) -> list[Outcome]:
        """An outcome for each, in their order. An order is named once."""
        ...


@dataclass(frozen=True, slots=True)
class RefusedByOwnSchema:
    """A message of the service's own that its schema refuses all the same: its order is stored, and not lost."""

    order_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReadMessage:
    """A message, and what it says: an order to work on, or why it can never be handled."""

    message: Message
    content: Delivery | RefusedByOwnSchema | Never


@dataclass(slots=True)
class SagaItem:
    """A delivery on its way: `order` is the order as it is now. Once it has an `outcome` it goes no further."""

    delivery: Delivery
    order: Order
    payment: Charged | Declined | None = None
    outcome: Outcome | None = None

    def found(self, order: Order) -> None:
        """From now on only the order that exists counts, not the message; but it must be the same order."""
        try:
            same = agrees(order.fingerprint, self.delivery.order)
        except UnknownVersion as fault:
            self.outcome = Retry(str(fault))
            return
        if same:
            self.order = order
        elif self.delivery.payment_key in (None, order.payment_key):
            self.outcome = Never("an order with this id and different contents exists")
        else:
            self.set_aside("of an earlier order with this id")

    def set_aside(self, reason: str) -> None:
        """The message is about an order that was deleted: nothing is left to do for it."""
        self.outcome = Done()
        telemetry.count("MessagesOutdated")
        telemetry.warning("message outdated", orderId=self.delivery.order.order_id, reason=reason)


def in_status(items: Iterable[SagaItem], *statuses: Status) -> list[SagaItem]:
    """Those still on their way whose order has one of the statuses."""
    return [item for item in items if item.outcome is None and item.order.status in statuses]


def all_in_time(items: Sequence[SagaItem], deadline: Deadline) -> bool:
    """Whether a step may begin with these; if not, they are to be retried."""
    if items and deadline.has_passed:
        for item in items:
            item.outcome = Retry("no time left")
        return False
    return bool(items)


def commit_step(
    committer: BatchCommitter, items: Sequence[SagaItem], changes: Sequence[Change], deadline: Deadline
) -> list[tuple[SagaItem, CommitResult]]:
    """Commit a change for each item; applied or not, the order as it is now counts."""
    results = list(zip(items, committer.commit_each(changes, deadline), strict=True))
    for item, result in results:
        match result:
            case Applied(order):
                item.order = order
            case StatusChanged(order):
                item.found(order)
            case Retryable(reason):
                item.outcome = Retry(reason)
    return results
