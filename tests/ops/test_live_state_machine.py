"""`stage check` of a stage with a state machine: green if it is as it should be, red for each difference."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.ops.live_stage import WITH_STATE_MACHINE, Answers, live_stage, operate


@pytest.fixture(scope="module", params=WITH_STATE_MACHINE)
def way(request: pytest.FixtureRequest) -> Iterator[tuple[str, Answers]]:
    with live_stage(**WITH_STATE_MACHINE[request.param]) as answers:
        yield WITH_STATE_MACHINE[request.param]["stage"], answers


only_packaged = pytest.mark.parametrize("way", ["make deploy, by alias"], indirect=True, scope="module")


def checked(stage: str, part: str = "differences") -> set[tuple[str, str]]:
    """What the command says of this part, with the kind of thing that it is about."""
    found = json.loads(operate("stage", "check", stage, "--json").stdout)
    return {(each["kind"], text) for each in found for text in each[part]}


def test_a_stage_that_is_as_it_should_be_is_green(stage: str, answers: Answers) -> None:
    result = operate("stage", "check", stage)
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()[1:]]
    assert {row[0] for row in rows} == {"ok"}
    assert ["state", "machine", f"orderonce-{stage}-saga"] in [row[1:4] for row in rows]
    assert ["function", "saga_step"] in [row[1:3] for row in rows]
    assert ["log", "group", f"/aws/vendedlogs/states/orderonce-{stage}-saga"] in [row[1:4] for row in rows]
    assert [name for name in answers.operations if not name.startswith(("Describe", "Get", "List"))] == []


def definition(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], None]:
    """A change of the machine's definition."""

    def changed(answer: dict[str, Any]) -> None:
        document = json.loads(answer["definition"])
        change(document)
        answer["definition"] = json.dumps(document)

    return changed


def invokes_another(document: dict[str, Any]) -> None:
    parameters = document["States"]["Charge"]["Parameters"]
    parameters["FunctionName"] = parameters["FunctionName"].removesuffix(":live")


def without_machine(answer: dict[str, Any]) -> None:
    answer.get("Environment", {}).get("Variables", {}).pop("STATE_MACHINE", None)


def may_anything(answer: dict[str, Any]) -> None:
    for statement in answer["PolicyDocument"]["Statement"]:
        if statement["Action"] in (["lambda:InvokeFunction"], ["states:StartExecution"]):
            statement["Resource"] = "*"


HERE = "arn:aws:states:us-east-1:123456789012:stateMachine:orderonce-prod-saga"
MACHINE = "arn:*:states:*:*:stateMachine:orderonce-prod-saga"
STEPS = "arn:*:lambda:*:*:function:orderonce-prod-SagaStep-AbC123:live"
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:orderonce-prod-SagaStep-AbC123"

SPOILT: dict[str, tuple[str, Callable[[dict[str, Any]], object], set[tuple[str, str]]]] = {
    "another kind of machine": (
        "DescribeStateMachine",
        lambda answer: answer.update(type="EXPRESS", status="DELETING"),
        {
            ("state machine", "type: EXPRESS, should be STANDARD"),
            ("state machine", "status: DELETING, should be ACTIVE"),
        },
    ),
    "another definition": (
        "DescribeStateMachine",
        definition(lambda document: document.update(TimeoutSeconds=9)),
        {("state machine", "definition differs from .chalice/saga.asl.json")},
    ),
    "past the alias": (
        "DescribeStateMachine",
        definition(invokes_another),
        {("state machine", f"invokes {FUNCTION}, should be {FUNCTION}:live")},
    ),
    "no traces and no log": (
        "DescribeStateMachine",
        lambda answer: answer.update(tracingConfiguration={"enabled": False}, loggingConfiguration={"level": "OFF"}),
        {
            ("state machine", "tracing: false, should be true"),
            ("state machine", "log level: OFF, should be ERROR"),
            ("state machine", 'log group: [], should be ["/aws/vendedlogs/states/orderonce-prod-saga"]'),
        },
    ),
    "inputs in the log": (
        "DescribeStateMachine",
        lambda answer: answer["loggingConfiguration"].update(includeExecutionData=True),
        {("state machine", "execution data in the log: true, should be false")},
    ),
    "a consumer without the machine": (
        "GetFunctionConfiguration",
        without_machine,
        {("function", f"STATE_MACHINE: None, should be '{HERE}'")},
    ),
    "roles that may too much, and not what they should": (
        "GetRolePolicy",
        may_anything,
        {
            ("role", "may lambda:InvokeFunction on *"),
            ("role", f"may not lambda:InvokeFunction on {STEPS}"),
            ("role", "may states:StartExecution on *"),
            ("role", f"may not states:StartExecution on {MACHINE}"),
        },
    ),
}


@only_packaged
@pytest.mark.parametrize("what", SPOILT)
def test_each_difference_is_seen(what: str, stage: str, answers: Answers) -> None:
    operation, change, texts = SPOILT[what]
    answers.change(operation, change)
    assert checked(stage) == texts
    assert operate("stage", "check", stage).exit_code == 1


def without(*names: str) -> Callable[[dict[str, Any]], None]:
    """The functions that are listed, without those whose handler is one of these."""

    def changed(answer: dict[str, Any]) -> None:
        answer["Functions"] = [each for each in answer["Functions"] if each["Handler"] not in names]

    return changed


def test_a_stage_without_its_machine_or_its_function_is_red(stage: str, answers: Answers) -> None:
    answers.refuse("DescribeStateMachine", "StateMachineDoesNotExist")
    assert checked(stage) == {("state machine", "does not exist")}
    answers.restore()
    answers.change("ListFunctions", without("app.saga_step"))
    assert ("function", "does not exist") in checked(stage)


def test_what_cannot_be_seen_is_never_green(stage: str, answers: Answers) -> None:
    answers.refuse("DescribeStateMachine", "AccessDeniedException")
    assert checked(stage, "unseen") == {
        ("state machine", "cannot be seen (DescribeStateMachine: AccessDeniedException)")
    }
    assert operate("stage", "check", stage).exit_code == 2
