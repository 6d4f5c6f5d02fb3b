"""A batch of changes, each brought to its own outcome: together where it can be, apart where one is refused."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from chalicelib import telemetry
from chalicelib.changes import Change, stock_of, taken_by
from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.faults import Rejected, Unavailable
from chalicelib.order import Order
from chalicelib.refusals import Absent, Committed, Conflict, Faulty, Moved, Refused, Short
from chalicelib.repository import MOST_ACTIONS, Repository

_FIRST_PAUSE = 0.010
_LONGEST_PAUSE = 0.320
_TRIES = 12


@dataclass(frozen=True, slots=True)
class Applied:
    """The change is written; `order` is what stands now."""

    order: Order


@dataclass(frozen=True, slots=True)
class Unsettled:
    """It is not known to be written, for a reason that may pass: to be tried again later."""

    reason: str


Settled = Applied | Moved | Absent | Short | Unsettled


@dataclass(frozen=True)
class Settlement:
    """Commits batches. `sleep` takes seconds; both it and `random` are there for tests."""

    repository: Repository
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random

    def settle(self, changes: Sequence[Change], deadline: Deadline = NO_DEADLINE) -> list[Settled]:
        """An outcome for each change, in their order; each change names another order. Raises nothing of AWS's.

        All that fits into one transaction is committed together. A refusal is read change by change: moved, absent
        and short ones are settled by it; those that fit, in order of arrival, into the stock that came back are
        committed together at once; the rest, together, after them. A conflict is no refusal: where nothing but
        conflicts stands against a batch, the same batch is committed again after a pause with full jitter, and
        never split, since a batch touches a product once and its parts would only meet each other there.
        """
        settled: dict[str, Settled] = {}
        for number, batch in enumerate(_batches(changes)):
            # For the first commit the caller saw to it that there is time.
            if number == 0 or _in_time(batch, deadline, settled):
                self._settle(batch, deadline, settled)
        return [settled[change.order_id] for change in changes]

    def _settle(self, batch: list[Change], deadline: Deadline, settled: dict[str, Settled]) -> None:
        tries = 0
        while batch:
            outcome = self._commit(batch, deadline, settled)
            if outcome is None:
                return
            if any(isinstance(reason, Conflict) for reason in outcome.reasons):
                telemetry.count("TransactionConflicts")
            fitting, held_back = _sorted_out(batch, outcome, settled)
            if not _is_progress(batch, fitting, held_back):
                tries += 1
                if tries == _TRIES or deadline.has_come:
                    settled.update((change.order_id, Unsettled("conflict")) for change in batch)
                    return
                self.sleep(self.random() * min(_FIRST_PAUSE * 2 ** (tries - 1), _LONGEST_PAUSE))
                continue
            if not _in_time(fitting + held_back, deadline, settled):
                return
            if fitting and held_back:
                self._settle(fitting, deadline, settled)
                if not _in_time(held_back, deadline, settled):
                    return
            batch = held_back or fitting

    def _commit(self, batch: list[Change], deadline: Deadline, settled: dict[str, Settled]) -> Refused | None:
        """A refusal to sort out, or None where the whole batch is settled."""
        try:
            outcome = self.repository.commit(batch)
        except Unavailable as fault:
            settled.update((change.order_id, Unsettled(str(fault))) for change in batch)
            return None
        except Rejected as fault:
            # One of them is at fault, and nothing says which: the others must not pay for it.
            if len(batch) == 1:
                settled[batch[0].order_id] = Unsettled(str(fault))
            else:
                for change in batch:
                    if _in_time([change], deadline, settled):
                        self._settle([change], deadline, settled)
            return None
        if isinstance(outcome, Committed):
            settled.update((order.order_id, Applied(order)) for order in outcome.orders)
            return None
        return outcome


def _in_time(batch: list[Change], deadline: Deadline, settled: dict[str, Settled]) -> bool:
    """Whether another commit may be begun; if not, the changes are left for a later try."""
    if deadline.has_come:
        settled.update((change.order_id, Unsettled("no time left")) for change in batch)
        return False
    return True


def _sorted_out(
    batch: list[Change], refused: Refused, settled: dict[str, Settled]
) -> tuple[list[Change], list[Change]]:
    """Those to commit at once and those to commit after them; the others are settled."""
    stock = dict(refused.stock)
    fitting: list[Change] = []
    held_back: list[Change] = []
    for change, reason in zip(batch, refused.reasons, strict=True):
        match reason:
            case Moved() | Absent() | Short():
                settled[change.order_id] = reason
            case Faulty(code):
                settled[change.order_id] = Unsettled(code)
            case Conflict():
                held_back.append(change)
            case None if all(-n <= stock.get(p, -n) for p, n in taken_by(change).items()):
                fitting.append(change)
                for product_id, n in taken_by(change).items():
                    if product_id in stock:
                        stock[product_id] += n
            case None:
                held_back.append(change)
    if not refused.stock and len(fitting) + len(held_back) == len(batch):
        return batch, []
    return fitting, held_back


def _is_progress(batch: list[Change], fitting: list[Change], held_back: list[Change]) -> bool:
    """Whether what comes next is less than what was refused: else only time can help."""
    return max(len(fitting), len(held_back)) < len(batch)


def _batches(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """The changes in as few batches as fit into a transaction each, in their order."""
    batch: list[Change] = []
    for change in changes:
        if batch and len(batch) + 1 + len(stock_of([*batch, change])) > MOST_ACTIONS:
            yield batch
            batch = []
        batch.append(change)
    if batch:
        yield batch
