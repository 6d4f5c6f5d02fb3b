"""What people do to an order: cancel, ship, deliver."""

from collections.abc import Callable
from dataclasses import dataclass

from chalicelib import telemetry
from chalicelib.domain import changes, shipments
from chalicelib.domain.caller import Caller
from chalicelib.domain.changes import Move
from chalicelib.domain.order import Order, Status, verbs_from
from chalicelib.domain.outcomes import NotFound, StatusChanged
from chalicelib.domain.shipments import ShipmentDetails
from chalicelib.faults import Unavailable
from chalicelib.times import Clock
from chalicelib.use_cases.committing import Applied, BatchCommitter
from chalicelib.use_cases.ports import Orders, Queue


@dataclass(frozen=True, slots=True)
class Reached:
    """The order has that status, or had it before: by this request or an earlier one."""

    order: Order


@dataclass(frozen=True, slots=True)
class NotPossible:
    """The order's status does not allow it."""

    order: Order


@dataclass(frozen=True, slots=True)
class ShipmentDiffers:
    """The order was shipped with other values of these attributes: to say yes would lose what was said now."""

    order: Order
    attributes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoSuchOrder:
    """There is no order of this id."""


OperationResult = Reached | NotPossible | ShipmentDiffers | NoSuchOrder


@dataclass(frozen=True)
class Operations:
    """The use cases. All of them raise Unavailable, and can be repeated at any time.

    An order that is not the caller's is NoSuchOrder, by the same calls as one that does not exist.
    """

    orders: Orders
    committer: BatchCommitter
    queue: Queue
    clock: Clock

    def cancel(self, order_id: str, reason: str | None, caller: Caller) -> OperationResult:
        """Give the order up. Its stock is back when this returns; a refund and the event are the consumer's."""
        return self._move(
            order_id,
            "cancel",
            Status.CANCELLED,
            lambda order: changes.cancel(order, self.clock(), reason, caller.name),
            caller,
        )

    def ship(self, order_id: str, carrier: str | None, tracking_number: str | None, caller: Caller) -> OperationResult:
        """The goods leave. A detail that was missing may be filled in later; one that is there may not be changed."""
        said = {"carrier": carrier, "tracking_number": tracking_number}
        while True:
            outcome = self._move(
                order_id,
                "ship",
                Status.SHIPPED,
                lambda order: changes.ship(order, self.clock(), carrier, tracking_number, caller.name),
                caller,
            )
            if not isinstance(outcome, Reached):
                return outcome
            if differing := shipments.differing(outcome.order, said):
                return ShipmentDiffers(outcome.order, tuple(differing))
            missing = shipments.missing(outcome.order, said)
            if not missing:
                return outcome
            (result,) = self.committer.commit_each([ShipmentDetails(outcome.order, missing)])
            match result:
                case Applied(order):
                    ids = {"orderId": order_id, "customerId": order.customer_id, "by": caller.name}
                    telemetry.info("shipment details added", **ids)
                    return Reached(order)
                case StatusChanged() | NotFound():
                    continue  # somebody was faster: what is there now decides
                case _:
                    raise Unavailable(f"the order could not be changed: {result}")

    def deliver(self, order_id: str, caller: Caller) -> OperationResult:
        """The goods have arrived."""
        return self._move(
            order_id,
            "deliver",
            Status.DELIVERED,
            lambda order: changes.deliver(order, self.clock(), caller.name),
            caller,
        )

    def _move(
        self, order_id: str, verb: str, target: Status, change: Callable[[Order], Move], caller: Caller
    ) -> OperationResult:
        """Read, then write on condition of what was read; refused, look again at the order that came back.

        Each refusal finds the order further along its path, so this ends.
        """
        order = self.orders.get(order_id)
        while order is not None and caller.may_act_for(order.customer_id):
            if order.entry_of(target):
                return Reached(order)
            if verb not in verbs_from(order.status):
                return NotPossible(order)
            (result,) = self.committer.commit_each([change(order)])
            match result:
                case Applied(moved):
                    telemetry.count(f"Orders{target.capitalize()}")
                    ids = {"orderId": order_id, "customerId": moved.customer_id, "by": caller.name}
                    telemetry.info(f"order {target.lower()}", **ids)
                    self.queue.try_enqueue(moved)
                    return Reached(moved)
                case StatusChanged(existing):
                    order = existing
                case NotFound():
                    order = None
                case _:
                    raise Unavailable(f"the order could not be changed: {result}")
        return NoSuchOrder()
