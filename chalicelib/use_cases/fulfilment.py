"""Fulfilling orders: a saga over batches that any delivery can resume. The orders are its only state.

reserve → charge → confirm → complete, each step for all the orders of the batch whose status it applies to, at once.
One that faults drops out with its fault.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from chalicelib import telemetry
from chalicelib.deadline import Deadline
from chalicelib.domain import changes
from chalicelib.domain.changes import Change, Create, Move
from chalicelib.domain.order import Order, Status
from chalicelib.domain.outcomes import Charged, Declined, InsufficientStock, NotFound, Unknown
from chalicelib.domain.pricing import IntakeRefusal, Priced
from chalicelib.faults import Rejected, Unavailable
from chalicelib.times import Clock
from chalicelib.use_cases.committing import Applied, BatchCommitter
from chalicelib.use_cases.completion import Completion
from chalicelib.use_cases.intake import Intake
from chalicelib.use_cases.paying import BatchPayments
from chalicelib.use_cases.reporting import ids_of, report_confirmed, report_failed
from chalicelib.use_cases.saga import Delivery, Done, Outcome, Retry, SagaItem, all_in_time, commit_step, in_status

T = TypeVar("T")

_ROUNDS = 4
"""Rounds of reserve: one, one more after a create, the rest for orders that others change meanwhile."""


@dataclass(frozen=True)
class Fulfilment:
    """The pipeline, and its steps. It acts first, and reads only what a refusal brings back."""

    committer: BatchCommitter
    intake: Intake
    payments: BatchPayments
    completion: Completion
    clock: Clock

    def fulfil(self, deliveries: Sequence[Delivery], deadline: Deadline) -> list[Outcome]:
        """Bring each order as far as it goes now: an outcome for each, in their order. An order is named once."""
        items = [SagaItem(delivery, delivery.order) for delivery in deliveries]
        self.create([item for item in items if item.delivery.payment_key is None], deadline)
        self.reserve(items, deadline)
        self.charge(items, deadline)
        self.confirm_or_decline(items, deadline)
        self.complete(items, deadline)
        return [item.outcome or Done() for item in items]

    def create(self, items: Sequence[SagaItem], deadline: Deadline) -> None:
        """Store producers' orders, and those that are gone, unless outdated; one that exists already is as good."""
        for item in items:
            if item.delivery.outdated:
                item.set_aside("its order has ended, and was deleted")
        items = [item for item in items if item.outcome is None]
        if not all_in_time(items, deadline):
            return
        try:
            creates = [self._creation(item) for item in items]
        except (Unavailable, Rejected) as fault:
            for item in items:
                item.outcome = Retry(str(fault))
            return
        for item, result in commit_step(self.committer, items, creates, deadline):
            if isinstance(result, Applied):
                if item.delivery.payment_key:
                    telemetry.warning("order created again", **ids_of(result.order))
                if result.order.status is Status.FAILED:
                    report_failed(result.order)
                else:
                    telemetry.count("OrdersPlaced")

    def _last(self, item: SagaItem, change: Create | Move) -> Create | Move:
        # On the last receive the events that follow the commit must not be owed by the message alone.
        return changes.with_entry(change, self.clock()) if item.delivery.last else change

    def _creation(self, item: SagaItem) -> Change:
        order, now = item.delivery.order, self.clock()
        match self.intake.price(item.delivery.request, is_new=item.delivery.payment_key is None):
            case Priced(lines):
                return changes.create(replace(order, items=lines), now)
            case IntakeRefusal(failure) as refused:
                return self._last(item, changes.create_failed(order, now, failure, refused.reason))

    def reserve(self, items: Sequence[SagaItem], deadline: Deadline) -> None:
        """Take the stock of those that are PENDING. One without stock fails, and one that is gone is created again."""
        for _ in range(_ROUNDS):
            self._reserve(in_status(items, Status.PENDING), deadline)

    def charge(self, items: Sequence[SagaItem], deadline: Deadline, *, again: bool = False) -> None:
        """Charge those that are known to be RESERVED; unknown is not no. `again`: the answers are counted already."""
        reserved = in_status(items, Status.RESERVED)
        if not all_in_time(reserved, deadline):
            return
        answers = self.payments.charge([item.order for item in reserved], deadline)
        for item, answer in zip(reserved, answers, strict=True):
            if not again:
                telemetry.count(f"Payments{type(answer).__name__}")
            if isinstance(answer, Unknown):
                item.outcome = Retry(answer.reason)
            else:
                item.payment = answer

    def confirm_or_decline(self, items: Sequence[SagaItem], deadline: Deadline) -> None:
        """Bring those that are RESERVED to CONFIRMED or FAILED, each as its payment was answered."""

        def confirm(item: SagaItem, payment: Charged) -> Move:
            return changes.confirm(item.order, self.clock(), payment.payment_id)

        def decline(item: SagaItem, payment: Declined) -> Move:
            return changes.decline(item.order, self.clock(), "PAYMENT_DECLINED", payment.reason)

        reserved = in_status(items, Status.RESERVED)
        charged = [(item, item.payment) for item in reserved if isinstance(item.payment, Charged)]
        declined = [(item, item.payment) for item in reserved if isinstance(item.payment, Declined)]
        self._end(charged, confirm, report_confirmed, deadline)
        self._end(declined, decline, report_failed, deadline)

    def complete(self, items: Sequence[SagaItem], deadline: Deadline) -> None:
        """Refunds, events and the outbox entry of those that have come so far; any other one is to be tried again."""
        for item in in_status(items, Status.PENDING, Status.RESERVED):
            item.outcome = Retry(f"still {item.order.status}")
        self.completion.complete([item for item in items if item.outcome is None], deadline)

    def _reserve(self, items: list[SagaItem], deadline: Deadline) -> None:
        if not all_in_time(items, deadline):
            return
        not_found: list[SagaItem] = []
        out_of_stock: list[tuple[SagaItem, InsufficientStock]] = []
        reservations = [changes.reserve(item.order, self.clock()) for item in items]
        for item, result in commit_step(self.committer, items, reservations, deadline):
            match result:
                case Applied():
                    telemetry.count("OrdersReserved")
                case NotFound():  # as after the restore of an older table: created under the payment key of its message
                    not_found.append(item)
                case InsufficientStock():
                    out_of_stock.append((item, result))
        self.create(not_found, deadline)
        self._reject(out_of_stock, deadline)

    def _reject(self, out_of_stock: list[tuple[SagaItem, InsufficientStock]], deadline: Deadline) -> None:
        def reject(item: SagaItem, lack: InsufficientStock) -> Move:
            failure = "UNKNOWN_PRODUCT" if lack.available is None else "OUT_OF_STOCK"
            reason = f"{lack.needed} of {lack.product_id} wanted, {lack.available or 0} available"
            return changes.reject(item.order, self.clock(), failure, reason)

        self._end(out_of_stock, reject, report_failed, deadline)

    def _end(
        self,
        found: list[tuple[SagaItem, T]],
        change: Callable[[SagaItem, T], Move],
        report: Callable[[Order], None],
        deadline: Deadline,
    ) -> None:
        """Bring the orders to CONFIRMED or FAILED, each by what was found out about it."""
        items = [item for item, _ in found]
        if not all_in_time(items, deadline):
            return
        moves = [self._last(item, change(item, finding)) for item, finding in found]
        for _, result in commit_step(self.committer, items, moves, deadline):
            if isinstance(result, Applied):
                report(result.order)
