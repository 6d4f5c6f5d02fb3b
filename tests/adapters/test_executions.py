"""Starting executions: on moto's Step Functions, which runs none of them."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib import service
from chalicelib.adapters import clients
from chalicelib.adapters.executions import StateMachine
from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.settings import BadSetting
from chalicelib.use_cases.ports import Execution
from chalicelib.use_cases.starting import Starting
from tests.support.aws_calls import AwsCalls
from tests.support.stage import Stage
from tests.support.walker import DEFINITION

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient

EXECUTION = Execution("n-1", "o1", "o1.k")


@pytest.fixture
def stepfunctions(aws: Stage) -> "SFNClient":
    client: SFNClient = boto3.client("stepfunctions")
    return client


@pytest.fixture
def arn(stepfunctions: "SFNClient") -> str:
    role = "arn:aws:iam::123456789012:role/saga"
    made = stepfunctions.create_state_machine(name="saga", definition=json.dumps(DEFINITION), roleArn=role)
    return made["stateMachineArn"]


@pytest.fixture
def machine(arn: str, aws_calls: AwsCalls) -> Iterator[StateMachine]:
    client = clients.stepfunctions()
    aws_calls.watch(client)
    with ThreadPoolExecutor(10) as pool:
        yield StateMachine(client, arn, pool)


def started(client: "SFNClient", arn: str) -> dict[str, Any]:
    """The input of each execution, by its name."""
    found = client.list_executions(stateMachineArn=arn)["executions"]
    return {e["name"]: json.loads(client.describe_execution(executionArn=e["executionArn"])["input"]) for e in found}


def test_an_execution_has_the_ids_of_its_order_for_its_input(
    machine: StateMachine, stepfunctions: "SFNClient", arn: str
) -> None:
    assert machine.start([EXECUTION]) == {}
    assert started(stepfunctions, arn) == {"n-1": {"orderId": "o1", "paymentKey": "o1.k"}}


def test_many_are_started_each_by_a_call_of_its_own(
    machine: StateMachine, stepfunctions: "SFNClient", arn: str
) -> None:
    many = [Execution(f"n-{n}", f"o{n}", "k") for n in range(25)]
    assert machine.start(many) == {}
    assert started(stepfunctions, arn).keys() == {execution.name for execution in many}


def test_one_that_was_started_before_is_as_good(machine: StateMachine, aws_calls: AwsCalls) -> None:
    aws_calls.refuse("ExecutionAlreadyExists", "StartExecution")
    assert machine.start([EXECUTION]) == {}


@pytest.mark.parametrize(
    ("code", "status"),
    [("ThrottlingException", 400), ("InternalServerError", 500), ("StateMachineDoesNotExist", 400)],
)
def test_one_that_is_not_started_is_named_with_the_reason_and_holds_up_no_other(
    machine: StateMachine, aws_calls: AwsCalls, stepfunctions: "SFNClient", arn: str, code: str, status: int
) -> None:
    aws_calls.refuse(code, "StartExecution", status=status, when=lambda call: call.params["name"] == "n-1")
    assert machine.start([EXECUTION, Execution("n-2", "o2", "k")]) == {"o1": f"StartExecution: {code}"}
    assert started(stepfunctions, arn).keys() == {"n-2"}


def test_none_is_started_once_the_time_is_over(machine: StateMachine, aws_calls: AwsCalls) -> None:
    assert machine.start([EXECUTION], Deadline(lambda: 1.0)) == {"o1": "no time left"}
    assert aws_calls.made == []


def test_the_names_that_step_functions_takes_are_those_of_the_test_double(stepfunctions: "SFNClient", arn: str) -> None:
    with pytest.raises(ClientError, match="length less than or equal to 80"):
        stepfunctions.start_execution(stateMachineArn=arn, name="n" * 81, input="{}")


# --- which machine ---


def test_the_consumer_starts_the_machine_of_the_settings(
    aws: Stage, arn: str, stepfunctions: "SFNClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE", "step-functions")
    monkeypatch.setenv("STATE_MACHINE", arn)
    engine = service.service().consumer.engine
    assert isinstance(engine, Starting)
    assert engine.executions.start([EXECUTION], NO_DEADLINE) == {}
    assert started(stepfunctions, arn).keys() == {"n-1"}


def test_a_missing_machine_is_named_by_the_consumers_first_use(aws: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE", "step-functions")
    _ = service.service().stepping
    with pytest.raises(BadSetting, match=r"^the setting STATE_MACHINE is missing$"):
        _ = service.service().consumer
