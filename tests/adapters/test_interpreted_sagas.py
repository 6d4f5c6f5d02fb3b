"""A few sagas run by moto's interpreter of the Amazon States Language: the definition, its names and its role, used.

Every other test of the sagas walks the definition by itself (`support/walker.py`), without waits.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import boto3
import pytest
from moto.core.config import default_user_config
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils

import app as entry
from chalicelib.adapters import clients
from chalicelib.service import Service, compose
from chalicelib.settings import Settings
from chalicelib.use_cases.stepping import Step
from deploy import state_machine
from tests.deploy.support.iam import allows
from tests.support.aws_calls import AwsCalls
from tests.support.conservation import check_conserved
from tests.support.events import Clock
from tests.support.payments import TimesOut
from tests.support.shop import Shop, opened
from tests.support.stage import Stage
from tests.support.tables import stock_in
from tests.support.waiting import until

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:orderonce-test-SagaStep-X:live"


class Interpreted:
    """A shop whose sagas moto interprets. `invoked`: the functions that were, by what was asked of them."""

    def __init__(self, shop: Shop, patch: pytest.MonkeyPatch) -> None:
        self.shop = shop
        self.invoked: list[tuple[str, str]] = []
        self.raises: list[str] = []
        self.states: Any = boto3.client("stepfunctions")
        self.machine: str = self.states.create_state_machine(
            name="orderonce-test-saga",
            definition=json.dumps(state_machine.definition(FUNCTION)),
            roleArn="arn:aws:iam::123456789012:role/saga",
        )["stateMachineArn"]
        shop.service = self._service(shop)
        patch.setattr(entry, "service", lambda: shop.service)
        patch.setattr(lambda_eval_utils, "_invoke_lambda_function", self._invoke)

    def _service(self, shop: Shop) -> Service:
        settings = shop.stage.settings | {"ENGINE": "step-functions", "STATE_MACHINE": self.machine}
        aws = clients.dynamodb(), clients.sqs(), clients.events(), clients.sns()
        made_of = Settings.from_environment(settings)
        return compose(made_of, *aws, payments=shop.payments, clock=shop.clock, payment_timeout=60)

    def _invoke(self, parameters: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        """As the Lambda function: what it raises is an error of the task."""
        event = json.loads(parameters["Payload"])
        self.invoked.append((parameters["FunctionName"], event["step"]))
        try:
            return {"StatusCode": 200, "Payload": self.shop.step(event)}
        except Exception as raised:  # noqa: BLE001 - as Lambda does with whatever a function raises
            self.raises.append(event["step"])
            failed = {"errorType": type(raised).__name__, "errorMessage": str(raised)}
            return {"StatusCode": 200, "FunctionError": "Unhandled", "Payload": failed}

    def executions(self) -> list[Any]:
        found: list[Any] = self.states.list_executions(stateMachineArn=self.machine)["executions"]
        return found

    def run_queue(self) -> None:
        """Until the queue is empty, and each saga has ended."""
        self.shop.run_queue()
        until(lambda: all(each["status"] != "RUNNING" for each in self.executions()))


@pytest.fixture
def interpreted(aws: Stage, clock: Clock) -> Iterator[Interpreted]:
    calls = AwsCalls()
    with opened(aws, calls, clock) as shop, pytest.MonkeyPatch.context() as patch:
        patch.setitem(default_user_config, "stepfunctions", {"execute_state_machine": True})
        yield Interpreted(shop, patch)
    calls.unwatch()


def test_orders_end_as_they_should_by_the_role_that_the_template_gives(interpreted: Interpreted) -> None:
    shop = interpreted.shop
    stock = stock_in(shop.stage) | {"PROD-002": 0}
    orders = [shop.place(key="confirmed"), shop.place(key="cancelled")]
    shop.ask("POST", f"/orders/{orders[1].order_id}/cancel")
    shop.set_product("PROD-002", stock=0)
    orders.append(shop.place(shop.order("PROD-002"), key="out-of-stock"))
    interpreted.run_queue()
    shop.provider.decline_percent = 100
    orders.append(shop.place(key="declined"))
    interpreted.run_queue()
    ended = [shop.status(order.order_id) for order in orders]
    assert ended == ["CONFIRMED", "CANCELLED", "FAILED", "FAILED"]
    check_conserved(shop.stage, stock)
    assert [each["status"] for each in interpreted.executions()] == ["SUCCEEDED"] * 4
    assert {step for _, step in interpreted.invoked} == set(Step)
    role = state_machine.policy(FUNCTION)
    assert {function for function, _ in interpreted.invoked} == {FUNCTION}
    assert allows([role], "lambda:InvokeFunction", FUNCTION)
    assert not allows([role], "lambda:InvokeFunction", FUNCTION.removesuffix(":live"))


def test_a_message_that_comes_again_starts_nothing(interpreted: Interpreted) -> None:
    """While its saga runs, and once that has ended: Step Functions answers differently, and both are as good."""
    shop = interpreted.shop
    order = shop.place(key="k1")
    (message,) = shop.receive()
    shop.consume([message])
    shop.consume([message])
    interpreted.run_queue()
    shop.consume([message])
    assert shop.status(order.order_id) == "CONFIRMED"
    assert len(interpreted.executions()) == 1
    assert [step for _, step in interpreted.invoked] == ["reserve", "charge", "confirm", "complete"]


def test_a_step_that_fails_is_tried_again_after_two_seconds(interpreted: Interpreted) -> None:
    shop = interpreted.shop
    shop.payments.on("charge", TimesOut.AFTER)
    order = shop.place(key="k1")
    interpreted.run_queue()
    assert shop.status(order.order_id) == "CONFIRMED"
    assert [step for _, step in interpreted.invoked] == ["reserve", "charge", "charge", "confirm", "complete"]
    assert interpreted.raises == ["charge"]
