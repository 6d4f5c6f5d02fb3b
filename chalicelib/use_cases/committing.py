"""A batch of changes, each brought to its own result: together where it can be, apart where one is refused."""

import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from chalicelib import telemetry
from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.domain.changes import Change, stock_delta
from chalicelib.domain.order import Order
from chalicelib.domain.outcomes import (
    Committed,
    Conflict,
    InsufficientStock,
    ItemError,
    NotFound,
    Refused,
    StatusChanged,
)
from chalicelib.faults import Rejected, Unavailable
from chalicelib.use_cases.ports import Orders
from chalicelib.use_cases.transactions import transactions

_FIRST_PAUSE = 0.010
_MAX_PAUSE = 0.320
_MAX_TRIES = 12


@dataclass(frozen=True, slots=True)
class Applied:
    """The change is written; `order` is the order as it is now."""

    order: Order


@dataclass(frozen=True, slots=True)
class Retryable:
    """It is not known to be written, for a reason that may pass: to be tried again later."""

    reason: str


CommitResult = Applied | StatusChanged | NotFound | InsufficientStock | Retryable


@dataclass(frozen=True, slots=True)
class _Attempt:
    """Changes to commit together. `conflicts` counts how often nothing but conflicts was in their way.

    `in_time`: somebody has just looked whether there is time for it.
    """

    changes: Sequence[Change]
    conflicts: int = 0
    in_time: bool = False


@dataclass(slots=True)
class _Step:
    """What one attempt leads to: results, by order id, and the attempts that come next."""

    results: dict[str, CommitResult] = field(default_factory=dict)
    attempts: list[_Attempt] = field(default_factory=list)


@dataclass(frozen=True)
class BatchCommitter:
    """Commits batches. `sleep` takes seconds; `random` gives 0 to 1."""

    orders: Orders
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random

    def commit_each(self, changes: Sequence[Change], deadline: Deadline = NO_DEADLINE) -> list[CommitResult]:
        """A result for each change, in their order; each change names another order. Raises no fault of AWS.

        What fits into one transaction is committed together. `_sort_out` says what a refusal leads to. The caller
        makes sure that there is time for the first attempt.
        """
        results: dict[str, CommitResult] = {}
        attempts = deque(_Attempt(part, in_time=number == 0) for number, part in enumerate(transactions(changes)))
        while attempts:
            attempt = attempts.popleft()
            if attempt.in_time or not deadline.has_passed:
                step = self._try(attempt, deadline)
            else:
                step = _retry_later(attempt.changes, "no time left")
            results |= step.results
            attempts.extendleft(reversed(step.attempts))
        return [results[change.order_id] for change in changes]

    def _try(self, attempt: _Attempt, deadline: Deadline) -> _Step:
        try:
            outcome = self.orders.commit(attempt.changes)
        except Unavailable as fault:
            return _retry_later(attempt.changes, str(fault))
        except Rejected as fault:
            if len(attempt.changes) == 1:
                return _retry_later(attempt.changes, str(fault))
            # One of them is at fault, and nothing says which: the others must not pay for it.
            return _Step(attempts=[_Attempt([change]) for change in attempt.changes])
        if isinstance(outcome, Committed):
            return _Step({order.order_id: Applied(order) for order in outcome.orders})
        if any(isinstance(reason, Conflict) for reason in outcome.reasons):
            telemetry.count("TransactionConflicts")
        step = _sort_out(attempt, outcome)
        if any(len(following.changes) == len(attempt.changes) for following in step.attempts):
            # No change has a result, and none can go ahead: only time can help.
            return self._after_a_pause(attempt, deadline)
        return step

    def _after_a_pause(self, attempt: _Attempt, deadline: Deadline) -> _Step:
        """The same changes again, together: a batch writes a product once, and its parts would only meet there."""
        conflicts = attempt.conflicts + 1
        if conflicts == _MAX_TRIES or deadline.has_passed:
            return _retry_later(attempt.changes, "conflict")
        self.sleep(self.random() * min(_FIRST_PAUSE * 2 ** (conflicts - 1), _MAX_PAUSE))
        return _Step(attempts=[_Attempt(attempt.changes, conflicts, in_time=True)])


def _sort_out(attempt: _Attempt, refused: Refused) -> _Step:
    """The table of rules: what a refusal means for each change, read in this order.

    | the change's reason                      | what becomes of it                                          |
    | ---------------------------------------- | ----------------------------------------------------------- |
    | status changed, whatever its products say | its result                                                  |
    | not found                                | its result: the caller creates the order                    |
    | insufficient stock for it alone          | its result: out of stock, no second try                     |
    | any other of its own                     | its result: retryable                                       |
    | conflict                                 | held back                                                   |
    | none, and it fits                        | committed at once, with the others that fit                 |
    | none, and it does not fit                | held back                                                   |

    "Fits": in order of arrival, into the stock that came back. Those held back are committed together after those
    that fit; where there were only conflicts, all of them together.
    """
    step = _Step()
    fitting: list[Change] = []
    held_back: list[Change] = []
    stock = dict(refused.stock)
    for change, reason in zip(attempt.changes, refused.reasons, strict=True):
        match reason:
            case StatusChanged() | NotFound() | InsufficientStock():
                step.results[change.order_id] = reason
            case ItemError(code):
                step.results[change.order_id] = Retryable(code)
            case Conflict():
                held_back.append(change)
            case None:
                (fitting if _take(change, stock) else held_back).append(change)
    if not step.results and not refused.stock:
        fitting, held_back = [], list(attempt.changes)
    # What fits is a new attempt; what was held back has met its conflicts already.
    following = (_Attempt(fitting), _Attempt(held_back, attempt.conflicts))
    step.attempts = [one for one in following if one.changes]
    return step


def _take(change: Change, stock: dict[str, int]) -> bool:
    """Whether the change fits into the stock that is left; if so, it is taken."""
    wanted = {product_id: -n for product_id, n in stock_delta(change).items() if product_id in stock}
    if any(units > stock[product_id] for product_id, units in wanted.items()):
        return False
    for product_id, units in wanted.items():
        stock[product_id] -= units
    return True


def _retry_later(changes: Iterable[Change], reason: str) -> _Step:
    return _Step({change.order_id: Retryable(reason) for change in changes})
