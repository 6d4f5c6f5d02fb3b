"""One step of the saga for one order, as a task of the state machine: what it comes to is a value."""

from dataclasses import dataclass
from enum import StrEnum

from chalicelib import telemetry
from chalicelib.deadline import Deadline
from chalicelib.domain.outcomes import Charged, Declined
from chalicelib.faults import Rejected, Unavailable
from chalicelib.use_cases.fulfilment import Fulfilment
from chalicelib.use_cases.ports import Orders
from chalicelib.use_cases.saga import Delivery, Done, Never, Retry, SagaItem


class Step(StrEnum):
    """The tasks of the state machine."""

    RESERVE = "reserve"
    CHARGE = "charge"
    CONFIRM = "confirm"
    DECLINE = "decline"
    COMPLETE = "complete"


class TryAgain(Exception):
    """The step is to be tried again; the text is fit for the history of an execution, which can be read for 90 days."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step came to: the order's status; or CHARGED, with the payment's id, DECLINED, NEVER.

    DONE: nothing is left to do, for the order is gone meanwhile, or is a later one with its id.
    """

    outcome: str
    payment_id: str | None = None


@dataclass(frozen=True)
class Stepping:
    """The use case behind the state machine's Lambda function. Each step reads the order, and is idempotent."""

    orders: Orders
    fulfilment: Fulfilment

    def step(
        self, step: Step, order_id: str, payment_key: str, payment_id: str | None, deadline: Deadline
    ) -> StepResult:
        """Take the step, if the order's status asks for it. `payment_id` is for `confirm`. Raises TryAgain."""
        try:
            return self._step(step, order_id, payment_key, payment_id, deadline)
        except (TryAgain, Unavailable, Rejected) as fault:
            telemetry.warning("step will be tried again", orderId=order_id, step=step.value, reason=str(fault))
            raise TryAgain(str(fault)) from None
        except Exception as fault:  # noqa: BLE001 - whatever it is, its text must not go into the history
            telemetry.exception("step failed", orderId=order_id, step=step.value)
            telemetry.count("UnexpectedFaults")
            telemetry.version_fault()
            raise TryAgain(f"an unexpected fault: {type(fault).__name__}") from None

    def _step(
        self, step: Step, order_id: str, payment_key: str, payment_id: str | None, deadline: Deadline
    ) -> StepResult:
        order = self.orders.get(order_id)
        if order is None:
            if step is Step.COMPLETE:
                raise TryAgain("there is no such order")  # in vain; nothing in the state machine follows this step
            return _never(order_id, "there is no such order")
        # The message is deleted. So, as on its last receive, the order keeps an outbox entry until the last step is
        # done; and gone meanwhile, it is not created again.
        item = SagaItem(Delivery.from_stored(order, last=True, outdated=True), order)
        if order.payment_key != payment_key:
            item.set_aside("of an earlier order with this id")
        else:
            self._take(step, item, payment_id, deadline)
        match item.outcome:
            case Retry(reason):
                raise TryAgain(reason)
            case Never(reason):
                return _never(order_id, reason)
            case Done():
                return StepResult("DONE")
        match item.payment:
            case Charged(paid) if step is Step.CHARGE:
                return StepResult("CHARGED", paid)
            case Declined() if step is Step.CHARGE:
                return StepResult("DECLINED")
        return StepResult(item.order.status.value)

    def _take(self, step: Step, item: SagaItem, payment_id: str | None, deadline: Deadline) -> None:
        match step:
            case Step.RESERVE:
                self.fulfilment.reserve([item], deadline)
            case Step.CHARGE:
                self.fulfilment.charge([item], deadline)
            case Step.CONFIRM:
                assert payment_id
                item.payment = Charged(payment_id)
                self.fulfilment.confirm_or_decline([item], deadline)
            case Step.DECLINE:
                # Asked again, for the reason: the history of an execution is not the place for it.
                self.fulfilment.charge([item], deadline, again=True)
                self.fulfilment.confirm_or_decline([item], deadline)
            case Step.COMPLETE:
                self.fulfilment.complete([item], deadline)


def _never(order_id: str, reason: str) -> StepResult:
    telemetry.error("execution given up", orderId=order_id, reason=reason)
    return StepResult("NEVER")
