"""The invocation of `saga_step`: which step of which order, and what the state machine is answered."""

from collections.abc import Mapping
from typing import Any

from chalicelib.deadline import Deadline
from chalicelib.domain.idempotency import ORDER_ID
from chalicelib.service import Service
from chalicelib.use_cases.stepping import Step

_IDS = ("orderId", "paymentKey", "paymentId")


def saga_step(service: Service, event: Any, deadline: Deadline) -> dict[str, Any]:
    """Take the step: `{"step": "reserve", "orderId": "…", "paymentKey": "…"}`; `confirm` has a `paymentId` too.

    Answers `{"outcome": "…", "paymentId": "…" or null}`. Raises TryAgain, and ValueError with what is wrong.
    """
    step, ids = _requested(event)
    result = service.stepping.step(step, ids["orderId"], ids["paymentKey"], ids.get("paymentId"), deadline)
    return {"outcome": result.outcome, "paymentId": result.payment_id}


def _requested(event: Any) -> tuple[Step, dict[str, str]]:
    if not isinstance(event, Mapping):
        raise ValueError(f"the event must be an object, not {type(event).__name__}")
    if event.get("step") not in [step.value for step in Step]:
        raise ValueError(f"step must be one of {', '.join(Step)}")
    step = Step(event["step"])
    wanted = {"step", *(_IDS if step is Step.CONFIRM else _IDS[:2])}
    if event.keys() != wanted:
        raise ValueError(f"the event of {step} must have {', '.join(sorted(wanted))} and no more")
    ids = {name: event[name] for name in _IDS if name in wanted}
    for name, value in ids.items():
        if not (isinstance(value, str) and value):
            raise ValueError(f"{name} must be text")
    if not ORDER_ID.fullmatch(ids["orderId"]):
        raise ValueError("orderId must be an order id")
    return step, ids
