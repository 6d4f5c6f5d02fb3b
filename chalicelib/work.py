"""The orders of a batch on their way through the saga, and what becomes of each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chalicelib.changes import Change
from chalicelib.deadline import Deadline
from chalicelib.idempotency import UnknownVersion, agrees
from chalicelib.order import Order, Status
from chalicelib.payments import Charged, Declined
from chalicelib.refusals import Moved
from chalicelib.settlement import Applied, Settled, Settlement, Unsettled
from chalicelib.validation import OrderRequest


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do for the order."""


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Something that may pass stood in the way."""

    reason: str


@dataclass(frozen=True, slots=True)
class Never:
    """No further try would help."""

    reason: str


Outcome = Done | TryAgain | Never


@dataclass(frozen=True, slots=True)
class Assignment:
    """An order to work on, as a message has it.

    `stored` says that it was stored before the message was sent; `last`, that the message comes no more if this fails.
    """

    order: Order
    request: OrderRequest
    stored: bool
    last: bool = False


@dataclass(slots=True)
class Work:
    """An assignment on its way: `order` is the order as it stands. Once `outcome` is there it goes no further."""

    assignment: Assignment
    order: Order
    payment: Charged | Declined | None = None
    outcome: Outcome | None = None

    def stands(self, order: Order) -> None:
        """From now on only the order that stands counts, not the message; but it must be the same order."""
        try:
            same = agrees(order.fingerprint, self.assignment.order.content)
        except UnknownVersion as fault:
            self.outcome = TryAgain(str(fault))
            return
        if same:
            self.order = order
        else:
            self.outcome = Never("another order of this id stands")


def standing_at(works: Iterable[Work], *statuses: Status) -> list[Work]:
    """Those still on their way whose order has one of the statuses."""
    return [work for work in works if work.outcome is None and work.order.status in statuses]


def all_in_time(works: Sequence[Work], deadline: Deadline) -> bool:
    """Whether a step may be begun with these; if not, they are to be tried again."""
    if works and deadline.has_come:
        for work in works:
            work.outcome = TryAgain("no time left")
        return False
    return bool(works)


def commit_each(
    settlement: Settlement, works: Sequence[Work], batch: Sequence[Change], deadline: Deadline
) -> list[tuple[Work, Settled]]:
    """Commit a change for each work; applied or not, what stands now counts."""
    settled = list(zip(works, settlement.settle(batch, deadline), strict=True))
    for work, outcome in settled:
        match outcome:
            case Applied(order):
                work.order = order
            case Moved(order):
                work.stands(order)
            case Unsettled(reason):
                work.outcome = TryAgain(reason)
    return settled
