"""The state machine that runs the saga of a stage, compared with `.chalice/saga.asl.json` and the template."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deploy import state_machine
from ops.findings import Aws, Finding, Remark, differs, look_at, unless_emulated
from ops.functions import Function, state_machine_arn
from ops.roles import role_of_machine


def machine(aws: Aws, stage: str, functions: Sequence[Function]) -> Iterator[Finding]:
    """The machine, and its role. `functions`: those that were found of the one that it invokes."""
    for function in functions:
        roles: list[str] = []
        yield _machine(aws, stage, function, roles)
        for name in roles:
            yield role_of_machine(aws, name, _invoked(function))


def _machine(aws: Aws, stage: str, function: Function, roles: list[str]) -> Finding:
    """Puts the name of its role into `roles`."""

    def look() -> Iterator[Remark]:
        arn = state_machine_arn(stage, function)
        actual = aws.client("stepfunctions").describe_state_machine(stateMachineArn=arn)
        roles.append(actual["roleArn"].rpartition("/")[2])
        yield from differs("type", "STANDARD", actual.get("type"))
        yield from differs("status", "ACTIVE", actual.get("status"))
        yield from _definition(json.loads(actual["definition"]), _invoked(function))
        yield from unless_emulated(aws, "tracing", True, actual.get("tracingConfiguration", {}).get("enabled"))
        yield from _logging(aws, stage, actual.get("loggingConfiguration", {}))

    return look_at("state machine", state_machine.machine_name(stage), look)


def _invoked(function: Function) -> str:
    """The function's ARN, or that of its alias: a package has one."""
    return next((f"{function.arn}:{alias}" for alias in function.aliases), function.arn)


def _definition(actual: Mapping[str, Any], function: str) -> Iterator[Remark]:
    if actual != state_machine.definition(function):
        others = _functions(actual) - {function}
        yield from ((f"invokes {other}, should be {function}", True) for other in sorted(others))
        if not others:
            yield "definition differs from .chalice/saga.asl.json", True


def _functions(definition: Mapping[str, Any]) -> set[str]:
    steps = (state.get("Parameters", {}) for state in definition["States"].values())
    return {step["FunctionName"] for step in steps if "FunctionName" in step}


def _logging(aws: Aws, stage: str, actual: Mapping[str, Any]) -> Iterator[Remark]:
    yield from unless_emulated(aws, "log level", state_machine.LOG_LEVEL, actual.get("level"))
    # Inputs and outputs would be kept in it.
    yield from differs("execution data in the log", False, actual.get("includeExecutionData", False))
    groups = [each["cloudWatchLogsLogGroup"]["logGroupArn"] for each in actual.get("destinations", ())]
    names = [group.split(":log-group:")[-1].removesuffix(":*") for group in groups]
    yield from unless_emulated(aws, "log group", [state_machine.log_group(stage)], names)
