"""Placing an order: the promise "once" as the client meets it."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from chalicelib.catalogue import Catalogue
from chalicelib.changes import create
from chalicelib.faults import Unavailable
from chalicelib.idempotency import UnknownVersion, agrees, fingerprint, fresh_order_id, order_id_of_key, reservation_id
from chalicelib.order import Order, Status, new_order
from chalicelib.pricing import Refused
from chalicelib.queues import Queue
from chalicelib.refusals import Moved
from chalicelib.repository import Repository
from chalicelib.settlement import Applied, Settlement
from chalicelib.times import Clock
from chalicelib.validation import Invalid, OrderRequest

_GIVEN_UP = (Status.FAILED, Status.CANCELLED)


@dataclass(frozen=True, slots=True)
class Placed:
    """The order is new and stored: it will reach its end without the client doing anything more."""

    order: Order


@dataclass(frozen=True, slots=True)
class Replayed:
    """The same order was placed before; `order` is how it stands now."""

    order: Order


@dataclass(frozen=True, slots=True)
class KeyReused:
    """The key names an order that asks for something else."""

    order: Order


Outcome = Placed | Replayed | KeyReused


@dataclass(frozen=True)
class Placing:
    """The use case. `window` is how long an order without a key is the same as its like."""

    repository: Repository
    settlement: Settlement
    catalogue: Catalogue
    queue: Queue
    clock: Clock
    window: timedelta

    def place(self, request: OrderRequest, key: str | None, correlation_id: str | None = None) -> Outcome:
        """Place the order, however often it is asked for. Raises Invalid where the catalogue refuses it, Unavailable.

        Any number of these may run at once, and any may die at any point: the first conditional write decides.
        """
        mark = fingerprint(request.content)
        priced = self.catalogue.price(request)
        if isinstance(priced, Refused):
            return self._replayed_or_refused(request, key, mark, priced)

        def order(order_id: str) -> Order:
            return new_order(
                order_id=order_id,
                customer_id=request.customer_id,
                items=priced.items,
                total_amount=request.total_amount,
                currency=request.currency,
                shipping_address=request.shipping_address,
                created_at=self.clock(),
                fingerprint=mark,
                request_id=str(uuid.uuid4()),
                correlation_id=correlation_id,
            )

        if key is not None:
            return self._create(order(order_id_of_key(request.customer_id, key)), request)
        return self._create_by_body(order, request, reservation_id(request.customer_id, mark))

    def _create(self, order: Order, request: OrderRequest) -> Outcome:
        (settled,) = self.settlement.settle([create(order, self.clock())])
        match settled:
            case Applied(created):
                self.queue.wake(created)
                return Placed(created)
            case Moved(standing) if standing.request_id == order.request_id:
                # One's own echo: botocore repeated a write whose answer was lost, and met its own first try.
                self.queue.wake(standing)
                return Placed(standing)
            case Moved(standing):
                return Replayed(standing) if _same(standing, request) else KeyReused(standing)
            case _:
                raise Unavailable(f"the order could not be stored: {settled}")

    def _create_by_body(self, order: Callable[[str], Order], request: OrderRequest, reservation: str) -> Outcome:
        """Reserve a fresh order id, then create the order under it. Anyone may repeat either step at any time."""
        instead_of: str | None = None
        while True:
            order_id = self.repository.reserve_order_id(
                reservation, fresh_order_id(), self.clock(), self.window, instead_of
            )
            outcome = self._create(order(order_id), request)
            if not (isinstance(outcome, Replayed) and outcome.order.status in _GIVEN_UP):
                return outcome
            # That one was given up, so the client means a new one: replaced on condition of the old id,
            # of two at once one wins and the other finds the winner's id.
            instead_of = order_id

    def _replayed_or_refused(self, request: OrderRequest, key: str | None, mark: str, refused: Refused) -> Replayed:
        """The catalogue may have moved on since the order was placed: then this is its replay all the same."""
        if key is not None:
            order_id: str | None = order_id_of_key(request.customer_id, key)
        else:
            order_id = self.repository.reserved_order_id(reservation_id(request.customer_id, mark), self.clock())
        standing = self.repository.get(order_id) if order_id else None
        stands = standing is not None and (key is not None or standing.status not in _GIVEN_UP)
        if standing is None or not stands or not _same(standing, request):
            raise Invalid(refused.errors)
        return Replayed(standing)


def _same(standing: Order, request: OrderRequest) -> bool:
    try:
        return agrees(standing.fingerprint, request.content)
    except UnknownVersion as fault:
        # As while a newer release is rolled out: in a moment, that one will answer.
        raise Unavailable(str(fault)) from fault
