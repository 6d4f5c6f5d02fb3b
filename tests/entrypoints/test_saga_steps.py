"""The invocation of `saga_step`: what it asks for, and what is wrong with it."""

import json
import os
import subprocess
import sys
from typing import Any, cast

import pytest

from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.entrypoints.saga_steps import saga_step
from chalicelib.use_cases.stepping import Step, StepResult
from tests.support.stage import dummy_environment
from tests.support.template import ROOT

IDS = {"orderId": "o1", "paymentKey": "o1.k"}
PAID = {"paymentId": "pay-1"}


class Stepping:
    """In place of the service and of its use case: notes what is asked for."""

    asked: tuple[Any, ...] = ()

    @property
    def stepping(self) -> "Stepping":
        return self

    def step(self, *asked: Any) -> StepResult:
        self.asked = asked
        return StepResult("CHARGED", "pay-1") if asked[0] is Step.CHARGE else StepResult("RESERVED")


def invoke(event: Any, service: Stepping | None = None) -> dict[str, Any]:
    return saga_step(cast(Any, service or Stepping()), event, NO_DEADLINE)


@pytest.mark.parametrize("step", Step)
def test_a_step_is_asked_for_by_its_name_with_ids(step: Step) -> None:
    service, paid = Stepping(), PAID if step is Step.CONFIRM else {}
    answer = invoke({"step": step.value, **IDS, **paid}, service)
    assert service.asked == (step, "o1", "o1.k", paid.get("paymentId"), NO_DEADLINE)
    assert json.loads(json.dumps(answer)) == (
        {"outcome": "CHARGED", "paymentId": "pay-1"}
        if step is Step.CHARGE
        else {"outcome": "RESERVED", "paymentId": None}
    )


@pytest.mark.parametrize(
    ("event", "wrong"),
    [
        (None, "the event must be an object, not NoneType"),
        (["reserve"], "the event must be an object, not list"),
        ({}, "step must be one of reserve, charge, confirm, decline, complete"),
        ({"step": "ship", **IDS}, "step must be one of reserve, charge, confirm, decline, complete"),
        ({"step": ["reserve"], **IDS}, "step must be one of reserve, charge, confirm, decline, complete"),
        ({"step": "reserve", "orderId": "o1"}, "the event of reserve must have orderId, paymentKey, step and no more"),
        ({"step": "reserve", **IDS, **PAID}, "the event of reserve must have orderId, paymentKey, step and no more"),
        (
            {"step": "confirm", **IDS},
            "the event of confirm must have orderId, paymentId, paymentKey, step and no more",
        ),
        ({"step": "reserve", **IDS, "orderId": 7}, "orderId must be text"),
        ({"step": "reserve", **IDS, "paymentKey": ""}, "paymentKey must be text"),
        ({"step": "confirm", **IDS, "paymentId": None}, "paymentId must be text"),
        ({"step": "charge", **IDS, "orderId": "o 1"}, "orderId must be an order id"),
    ],
)
def test_a_malformed_event_is_refused_with_what_is_wrong(event: Any, wrong: str) -> None:
    service = Stepping()
    with pytest.raises(ValueError, match=f"^{wrong}$"):
        invoke(event, service)
    assert service.asked == ()


def test_the_function_exists_where_the_stage_asks_for_it_and_nowhere_else() -> None:
    shown = "import app; print(sorted(f.name for f in app.app.pure_lambda_functions))"
    dummy_environment()
    everywhere = ["replay_dead_letters"]
    for engine, names in (("queue", everywhere), ("step-functions", [*everywhere, "saga_step"])):
        environment = {**os.environ, "ENGINE": engine}
        ended = subprocess.run(
            [sys.executable, "-c", shown], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        assert ended.stdout.strip() == str(names)


def test_the_time_that_is_left_is_the_functions() -> None:
    service, deadline = Stepping(), Deadline(lambda: 1.0)
    saga_step(cast(Any, service), {"step": "reserve", **IDS}, deadline)
    assert service.asked[-1] is deadline
