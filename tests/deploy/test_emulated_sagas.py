"""A stage with ENGINE=step-functions on the emulator: its state machine runs the sagas by the deployed function.

The emulator runs Standard machines, without pauses between the tries of a step. What it does not do is enforce the role
of an execution: that is shown with moto's interpreter (tests/adapters/test_interpreted_sagas.py).
"""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from tests.deploy.support.deployed_shop import STOCK, DeployedShop, deployed, event
from tests.deploy.support.deployment import STAGE
from tests.deploy.support.emulator import ACCOUNT
from tests.ops.live_stage import operate
from tests.support.events import sqs_event, sqs_record
from tests.support.step_functions import step_functions
from tests.support.tables import stock_in

pytestmark = [pytest.mark.deploy, pytest.mark.slow]

NAME = f"orderonce-{STAGE}-saga"
SCHEDULED = {"version": "0", "account": ACCOUNT, "region": "us-east-1", "detail": {}, "resources": []} | {
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "time": "2026-01-15T12:00:00Z",
    "id": "1",
}
MACHINE = f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:{NAME}"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedShop]:
    to_run = 'REQUIRE_EMULATOR=1 make test ARGS="-n 0 -x tests/deploy/test_emulated_sagas.py"'
    with step_functions(STAGE, account=ACCOUNT), deployed(tmp_path_factory.mktemp("sagas"), to_run) as shop:
        yield shop


def executions() -> dict[str, Any]:
    """Every execution, by its name."""
    pages = boto3.client("stepfunctions").get_paginator("list_executions").paginate(stateMachineArn=MACHINE)
    return {each["name"]: each for page in pages for each in page["executions"]}


def ended() -> list[Any]:
    """All executions, once they have ended well; none before."""
    found = list(executions().values())
    return found if {each["status"] for each in found} == {"SUCCEEDED"} else []


def steps(execution: dict[str, Any]) -> list[str]:
    """The states that it has entered."""
    states = boto3.client("stepfunctions")
    events = states.get_execution_history(executionArn=execution["executionArn"], maxResults=1000)["events"]
    entered = (each.get("stateEnteredEventDetails") for each in events)
    return [each["name"] for each in entered if each]


def failed(shop: DeployedShop, order_id: str) -> str:
    """The reason, once the order has failed."""

    def reason() -> str:
        order = shop.order(order_id)
        return str(order["failureReason"]) if order.get("status") == "FAILED" else ""

    return shop.deployment.eventually(f"the end of {order_id}", reason)


def test_the_machine_runs_a_saga_to_each_of_its_ends(shop: DeployedShop) -> None:
    before = stock_in(shop.stage)
    shop.send(event("good", "PROD-100", 2), event("too-many", "PROD-009", STOCK["PROD-009"] + 1))
    shop.once_confirmed("good")
    assert failed(shop, "too-many") == "OUT_OF_STOCK"

    step = shop.deployment.named("saga_step")
    variables = shop.deployment.lambdas.get_function_configuration(FunctionName=step)["Environment"]["Variables"]
    declining = {"Variables": variables | {"FAIL_PAYMENT_PERCENT": "100"}}
    shop.deployment.lambdas.update_function_configuration(FunctionName=step, Environment=declining)
    shop.send(event("declined", "PROD-005"))
    assert failed(shop, "declined") == "PAYMENT_DECLINED"
    shop.deployment.lambdas.update_function_configuration(FunctionName=step, Environment={"Variables": variables})
    shop.once_worked_off()

    assert sorted(map(steps, shop.deployment.eventually("the end of the sagas", ended))) == [
        ["Reserve", "AfterReserve", "Charge", "AfterCharge", "Confirm", "Complete"],
        ["Reserve", "AfterReserve", "Charge", "AfterCharge", "Decline", "Complete"],
        ["Reserve", "AfterReserve", "Complete"],
    ]
    after = stock_in(shop.stage)
    taken = {name: before[name] - after[name] for name in ("PROD-100", "PROD-009", "PROD-005")}
    assert taken == {"PROD-100": 2, "PROD-009": 0, "PROD-005": 0}


def test_a_message_that_comes_again_starts_nothing_and_another_one_changes_nothing(shop: DeployedShop) -> None:
    names = set(executions())
    sent = event("twice", "PROD-001")
    (message_id,) = shop.send(sent)
    shop.once_confirmed("twice")
    shop.deployment.eventually("the end of the saga", ended)
    order = shop.order("twice")
    again = sqs_event(sqs_record(sent, message_id=message_id))
    # It cannot be deleted by its receipt, which is none; its order has been seen to by then.
    shop.deployment.lambdas.invoke(FunctionName=shop.deployment.named("order_consumer"), Payload=json.dumps(again))
    shop.deployment.eventually(
        "the message again", lambda: len(shop.deployment.logged("order_consumer", f'"messageId":"{message_id}"')) > 1
    )
    (name,) = set(executions()) - names
    assert name.endswith(f"_{message_id}")
    shop.send(sent)
    shop.once_worked_off()
    shop.deployment.eventually("the end of the sagas", ended)
    assert shop.order("twice") == order


def test_an_order_whose_message_was_lost_is_started_by_recovery(shop: DeployedShop) -> None:
    shop.deployment.invoke("recover", SCHEDULED)
    shop.once_confirmed("forgotten")
    shop.deployment.eventually("the end of the sagas", ended)
    shop.once_worked_off()
    shop.check_conserved()


def test_what_people_can_read_of_a_saga_is_ids_alone(shop: DeployedShop) -> None:
    for execution in executions().values():
        described = boto3.client("stepfunctions").describe_execution(executionArn=execution["executionArn"])
        assert json.loads(described["input"]).keys() == {"orderId", "paymentKey"}
        assert "CUST" not in str(described)


def test_the_checks_of_the_stage_find_the_machine_as_it_should_be(shop: DeployedShop) -> None:
    found = json.loads(operate("stage", "check", STAGE, "--json").stdout)
    (machine,) = (each for each in found if each["kind"] == "state machine")
    assert (machine["name"], machine["differences"], machine["unseen"]) == (NAME, [], [])
    texts = [text for each in found if each["kind"] == "function" for text in each["differences"]]
    assert [text for text in texts if text.startswith(("STATE_MACHINE", "ENGINE", "does not exist"))] == []
