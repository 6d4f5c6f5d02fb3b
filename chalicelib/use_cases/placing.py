"""Placing an order: where the promise "once" is kept."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from chalicelib.domain import idempotency
from chalicelib.domain.changes import create
from chalicelib.domain.order import Order, Status
from chalicelib.domain.outcomes import StatusChanged
from chalicelib.domain.payment_key import fresh_payment_key
from chalicelib.domain.pricing import IntakeRefusal
from chalicelib.domain.request import Invalid, OrderRequest
from chalicelib.faults import Unavailable
from chalicelib.times import Clock
from chalicelib.use_cases.committing import Applied, BatchCommitter
from chalicelib.use_cases.intake import Intake
from chalicelib.use_cases.ports import Claims, Orders, Queue

_GIVEN_UP = (Status.FAILED, Status.CANCELLED)


@dataclass(frozen=True, slots=True)
class Placed:
    """The order is new and stored: it will reach its end without the client doing anything more."""

    order: Order


@dataclass(frozen=True, slots=True)
class Replayed:
    """The same order was placed before; `order` is the order as it is now."""

    order: Order


@dataclass(frozen=True, slots=True)
class KeyReused:
    """The key was used for an order with different contents."""

    order: Order


PlacingResult = Placed | Replayed | KeyReused


@dataclass(frozen=True)
class Placing:
    """The use case. `window` is how long equal orders without a key are one order."""

    orders: Orders
    claims: Claims
    committer: BatchCommitter
    intake: Intake
    queue: Queue
    clock: Clock
    window: timedelta

    def place(
        self, request: OrderRequest, key: str | None, correlation_id: str | None = None, by: str | None = None
    ) -> PlacingResult:
        """Place the order, however often it is asked for. Raises Invalid if it cannot be taken in, Unavailable.

        Any number of these may run at once, and any may die at any point: the first conditional write decides.
        """
        request_fingerprint = idempotency.fingerprint(request)
        priced = self.intake.price(request)
        if isinstance(priced, IntakeRefusal):
            return self._replayed_or_refused(request, key, request_fingerprint, priced)

        def order(order_id: str) -> Order:
            return request.to_order(
                order_id=order_id,
                items=priced.items,
                created_at=self.clock(),
                fingerprint=request_fingerprint,
                payment_key=fresh_payment_key(order_id),
                request_id=str(uuid.uuid4()),
                correlation_id=correlation_id,
                by=by,
            )

        if key is not None:
            return self._create(order(idempotency.order_id_from_key(request.customer_id, key)), request)
        return self._create_by_body(order, request, idempotency.claim_id(request.customer_id, request_fingerprint))

    def _create(self, order: Order, request: OrderRequest) -> PlacingResult:
        (result,) = self.committer.commit_each([create(order, self.clock())])
        match result:
            case Applied(created):
                self.queue.try_enqueue(created)
                return Placed(created)
            case StatusChanged(existing) if existing.request_id == order.request_id:
                # Our own first try: botocore repeated a write whose answer was lost, and met it.
                self.queue.try_enqueue(existing)
                return Placed(existing)
            case StatusChanged(existing):
                return Replayed(existing) if _same(existing, request) else KeyReused(existing)
            case _:
                raise Unavailable(f"the order could not be stored: {result}")

    def _create_by_body(self, order: Callable[[str], Order], request: OrderRequest, claim: str) -> PlacingResult:
        """Claim a fresh order id, then create the order under it. Anyone may repeat either step at any time."""
        instead_of: str | None = None
        while True:
            order_id = self.claims.claim_order_id(
                claim, idempotency.fresh_order_id(), self.clock(), self.window, instead_of
            )
            outcome = self._create(order(order_id), request)
            if not (isinstance(outcome, Replayed) and outcome.order.status in _GIVEN_UP):
                return outcome
            # That one was given up, so the client means a new one: replaced on condition of the old id.
            # Of two at once one wins, and the other finds the winner's id.
            instead_of = order_id

    def _replayed_or_refused(
        self, request: OrderRequest, key: str | None, request_fingerprint: str, refused: IntakeRefusal
    ) -> Replayed | KeyReused:
        """The catalogue, or the provider, may have changed since the order was placed: the request is still a replay.

        And a key that was used is not free, whatever is against the new order.
        """
        if key is not None:
            order_id: str | None = idempotency.order_id_from_key(request.customer_id, key)
        else:
            order_id = self.claims.claimed_order_id(
                idempotency.claim_id(request.customer_id, request_fingerprint), self.clock()
            )
        existing = self.orders.get(order_id) if order_id else None
        if existing is None or (key is None and existing.status in _GIVEN_UP):
            raise Invalid(refused.errors)
        return Replayed(existing) if _same(existing, request) else KeyReused(existing)


def _same(existing: Order, request: OrderRequest) -> bool:
    try:
        return idempotency.agrees(existing.fingerprint, request)
    except idempotency.UnknownVersion as fault:
        # As while a newer release is rolled out: in a moment, that one will answer.
        raise Unavailable(str(fault)) from fault
