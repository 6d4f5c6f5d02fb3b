"""Step Functions in this process: a walker of .chalice/saga.asl.json without waits, and the machine that it is of.

It knows as much of the Amazon States Language as that definition uses, and raises on anything else.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from tests.support.aws_calls import Killed
from tests.support.template import ROOT

DEFINITION: dict[str, Any] = json.loads((ROOT / ".chalice" / "saga.asl.json").read_text("utf-8"))
ARN = "arn:aws:states:us-east-1:123456789012:stateMachine:orderonce-test-saga"

Function = Callable[[Any], Any]
"""The Lambda function behind every task: an event to an answer. What it raises, its death too, is a failed task."""

_FIELDS = {
    "Task": {"Type", "Resource", "Parameters", "ResultSelector", "ResultPath", "Retry", "Next", "End"},
    "Choice": {"Type", "Choices", "Default"},
    "Fail": {"Type", "Error", "Cause"},
}


@dataclass
class Execution:
    """One execution. `entered` are the states that it has entered, `shown` all that its history lets people read.

    `status` is RUNNING, SUCCEEDED, FAILED or ABORTED.
    """

    name: str
    input: str
    status: str = "RUNNING"
    error: str = ""
    entered: list[str] = field(default_factory=list)
    calls: int = 0
    shown: list[str] = field(default_factory=list)

    def run(self, function: Function, states: int | None = None) -> None:
        """Go on to its end, or through so many states, and then abort it."""
        self.shown.append(self.input)
        if states == 0:
            self.status = "ABORTED"
            return
        for _ in self._walk(function):
            if len(self.entered) == states and self.status == "RUNNING":
                self.status = "ABORTED"
                return

    def _walk(self, function: Function) -> Iterator[None]:
        data: dict[str, Any] = json.loads(self.input)
        name: str | None = DEFINITION["StartAt"]
        while name:
            state = DEFINITION["States"][name]
            assert state.keys() <= _FIELDS[state["Type"]], f"the walker does not know all of {state}"
            self.entered.append(name)
            if state["Type"] == "Fail":
                return self._fail(f"{state['Error']}: {state['Cause']}")
            if state["Type"] == "Choice":
                name = _chosen(state, data)
            else:
                answer = self._task(state, data, function)
                if answer is None:
                    return None
                if state["ResultPath"] is not None:
                    data[state["ResultPath"].removeprefix("$.")] = _filled(state["ResultSelector"], answer)
                name = None if state.get("End") else state["Next"]
            self.shown.append(json.dumps(data))
            if name is None:
                self.status = "SUCCEEDED"
            yield
        return None

    def _task(self, state: Mapping[str, Any], data: Any, function: Function) -> Any:
        """What `lambda:invoke` answers; None: it failed, and each of its retries did."""
        assert state["Resource"] == "arn:aws:states:::lambda:invoke"
        assert state["Parameters"]["FunctionName"] == "${SagaStep}"
        (retry,) = state["Retry"]
        assert retry["ErrorEquals"] == ["States.ALL"]
        event = json.dumps(_filled(state["Parameters"]["Payload"], data))
        for _ in range(1 + retry["MaxAttempts"]):
            self.calls += 1
            self.shown.append(event)
            try:
                answer = json.dumps(function(json.loads(event)))
            except (Exception, Killed) as raised:  # noqa: BLE001 - as Lambda does with whatever a function raises
                self.error = f"{type(raised).__name__}: {raised}"
                self.shown.append(self.error)
                continue
            self.shown.append(answer)
            return {"Payload": json.loads(answer)}
        return self._fail(self.error)

    def _fail(self, error: str) -> None:
        self.status, self.error = "FAILED", error


def _chosen(state: Mapping[str, Any], data: Any) -> str:
    for rule in state["Choices"]:
        assert rule.keys() == {"Variable", "StringEquals", "Next"}
        if _at(rule["Variable"], data) == rule["StringEquals"]:
            return str(rule["Next"])
    return str(state["Default"])


def _filled(template: Mapping[str, Any], data: Any) -> dict[str, Any]:
    """A template with what its paths lead to. As in Step Functions, one that leads nowhere is an error."""
    return {name.removesuffix(".$"): _at(v, data) if name.endswith(".$") else v for name, v in template.items()}


def _at(path: str, data: Any) -> Any:
    for name in path.removeprefix("$.").split("."):
        data = data[name]
    return data


class Machine:
    """As much of Step Functions as the service asks for: a name is taken for good once an execution has it.

    What is started waits for `run`. `throttled` refuses all starts. `aborts_after` says of an execution after how many
    states it is aborted, if at all.
    """

    def __init__(self) -> None:
        self.executions: dict[str, Execution] = {}
        self.throttled = False
        self.aborts_after: Callable[[], int | None] = lambda: None
        self._waiting: list[Execution] = []
        self._lock = threading.Lock()

    # What boto3 offers, as far as it is used.

    def start_execution(self, *, stateMachineArn: str, name: str, input: str) -> dict[str, Any]:  # noqa: A002, N803
        assert stateMachineArn == ARN
        assert len(name) <= 80
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
        with self._lock:
            if self.throttled:
                raise _refused("ThrottlingException")
            existing = self.executions.get(name)
            if existing is None:
                self.executions[name] = Execution(name, input)
                self._waiting.append(self.executions[name])
            elif existing.status != "RUNNING" or existing.input != input:
                raise _refused("ExecutionAlreadyExists")
        return {"executionArn": f"{ARN}:{name}"}

    # What Step Functions does.

    def run(self, function: Function) -> int:
        """Run what was started, one after another; how many there were."""
        number = 0
        while execution := self._next():
            execution.run(function, self.aborts_after())
            number += 1
        return number

    def shown(self) -> list[str]:
        """All that the histories of the executions let people read."""
        return [text for execution in self.executions.values() for text in execution.shown]

    def _next(self) -> Execution | None:
        with self._lock:
            return self._waiting.pop(0) if self._waiting else None


def _refused(code: str) -> ClientError:
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return ClientError(answer, "StartExecution")
