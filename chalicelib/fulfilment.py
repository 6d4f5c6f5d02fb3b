"""Fulfilling orders: a saga over batches that any delivery can resume. The orders are its only state.

reserve → charge → confirm → what is owed, each step for all the orders of the batch at once. A step acts on those
whose status it applies to and passes every other one on as it stands; an order that faults drops out with its fault,
and the others go on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from chalicelib import changes, telemetry
from chalicelib.aftermath import Aftermath
from chalicelib.cashier import Cashier, Unknown
from chalicelib.catalogue import Catalogue
from chalicelib.changes import Change, Move
from chalicelib.deadline import Deadline
from chalicelib.faults import Rejected, Unavailable
from chalicelib.order import Order, Status
from chalicelib.payments import Charged, Declined
from chalicelib.pricing import Priced, Refused
from chalicelib.refusals import Absent, Short
from chalicelib.settlement import Applied, Settlement
from chalicelib.times import Clock
from chalicelib.work import Assignment, Done, Outcome, TryAgain, Work, all_in_time, commit_each, standing_at

_ROUNDS = 4
"""Tries to get an order out of PENDING: one, one after it was created, and others at work on it meanwhile."""


@dataclass(frozen=True)
class Fulfilment:
    """The pipeline. It acts first, and reads only what a refusal brings back."""

    settlement: Settlement
    catalogue: Catalogue
    cashier: Cashier
    aftermath: Aftermath
    clock: Clock

    def fulfil(self, assignments: Sequence[Assignment], deadline: Deadline) -> list[Outcome]:
        """Bring each order as far as it goes now: an outcome for each, in their order. An order is named once."""
        works = [Work(assignment, assignment.order) for assignment in assignments]
        self._create([work for work in works if not work.assignment.stored], deadline)
        for _ in range(_ROUNDS):
            self._reserve(standing_at(works, Status.PENDING), deadline)
        self._charge(standing_at(works, Status.RESERVED), deadline)
        self._confirm([work for work in works if isinstance(work.payment, Charged)], deadline)
        self._decline([work for work in works if isinstance(work.payment, Declined)], deadline)
        for work in standing_at(works, Status.PENDING, Status.RESERVED):
            work.outcome = TryAgain(f"still {work.order.status}")
        self.aftermath.see_to([work for work in works if work.outcome is None], deadline)
        return [work.outcome or Done() for work in works]

    def _create(self, works: list[Work], deadline: Deadline) -> None:
        """The orders of producers come to be. That a create succeeded says nothing of what comes after it."""
        if not all_in_time(works, deadline):
            return
        try:
            creates = [self._creation(work) for work in works]
        except (Unavailable, Rejected) as fault:
            for work in works:
                work.outcome = TryAgain(str(fault))
            return
        for _, settled in commit_each(self.settlement, works, creates, deadline):
            if isinstance(settled, Applied):
                if settled.order.status is Status.FAILED:
                    _failed(settled.order)
                else:
                    telemetry.count("OrdersPlaced")

    def _creation(self, work: Work) -> Change:
        order, now = work.assignment.order, self.clock()
        match self.catalogue.price(work.assignment.request):
            case Priced(items):
                return changes.create(replace(order, items=items), now)
            case Refused(failure) as refused:
                return changes.create_failed(order, now, failure, refused.reason)

    def _reserve(self, works: list[Work], deadline: Deadline) -> None:
        if not all_in_time(works, deadline):
            return
        absent: list[Work] = []
        short: list[tuple[Work, Short]] = []
        reservations = [changes.reserve(work.order, self.clock()) for work in works]
        for work, settled in commit_each(self.settlement, works, reservations, deadline):
            match settled:
                case Applied():
                    telemetry.count("OrdersReserved")
                case Absent():
                    absent.append(work)
                case Short():
                    short.append((work, settled))
        self._create(absent, deadline)
        self._reject(short, deadline)

    def _reject(self, short: list[tuple[Work, Short]], deadline: Deadline) -> None:
        works = [work for work, _ in short]
        if not all_in_time(works, deadline):
            return
        rejections: list[Change] = []
        for work, lack in short:
            failure = "UNKNOWN_PRODUCT" if lack.left is None else "OUT_OF_STOCK"
            reason = f"{lack.needed} of {lack.product_id} wanted, {lack.left or 0} there"
            rejections.append(_owing(work, changes.reject(work.order, self.clock(), failure, reason)))
        for _, settled in commit_each(self.settlement, works, rejections, deadline):
            if isinstance(settled, Applied):
                _failed(settled.order)

    def _charge(self, works: list[Work], deadline: Deadline) -> None:
        """Ask for the money of orders known to be RESERVED. Unknown is not no: then the order stays as it is."""
        if not all_in_time(works, deadline):
            return
        for work, answer in zip(works, self.cashier.charge([work.order for work in works]), strict=True):
            telemetry.count(f"Payments{type(answer).__name__}")
            if isinstance(answer, Unknown):
                work.outcome = TryAgain(answer.reason)
            else:
                work.payment = answer

    def _confirm(self, works: list[Work], deadline: Deadline) -> None:
        if not all_in_time(works, deadline):
            return
        confirmations = [
            _owing(work, changes.confirm(work.order, self.clock(), work.payment.payment_id))
            for work in works
            if isinstance(work.payment, Charged)
        ]
        for _, settled in commit_each(self.settlement, works, confirmations, deadline):
            if isinstance(settled, Applied):
                telemetry.count("OrdersConfirmed")
                telemetry.info("order confirmed", **_ids(settled.order))

    def _decline(self, works: list[Work], deadline: Deadline) -> None:
        if not all_in_time(works, deadline):
            return
        declines = [
            _owing(work, changes.decline(work.order, self.clock(), "PAYMENT_DECLINED", work.payment.reason))
            for work in works
            if isinstance(work.payment, Declined)
        ]
        for _, settled in commit_each(self.settlement, works, declines, deadline):
            if isinstance(settled, Applied):
                _failed(settled.order)


def _owing(work: Work, move: Move) -> Move:
    # Else the events that follow the commit are owed by the message alone, and it would be among the dead letters.
    return changes.still_owing(move) if work.assignment.last else move


def _failed(order: Order) -> None:
    telemetry.count("OrdersFailed", reason=order.failure_reason)
    telemetry.info("order failed", **_ids(order), reason=order.failure_reason)


def _ids(order: Order) -> dict[str, str | None]:
    return {"orderId": order.order_id, "customerId": order.customer_id, "correlationId": order.correlation_id}
