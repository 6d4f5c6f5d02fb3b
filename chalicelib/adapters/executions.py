"""Executions of the state machine that runs the saga."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib import exact_json
from chalicelib.adapters.aws_faults import faults
from chalicelib.adapters.side_by_side import one_by_one
from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.faults import Rejected, Unavailable
from chalicelib.use_cases.ports import Execution

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient


@dataclass(frozen=True)
class StateMachine:
    """The port `Executions` on Step Functions. `pool` makes calls side by side where there are several."""

    client: "SFNClient"
    arn: str
    pool: Executor

    def start(self, executions: Sequence[Execution], deadline: Deadline = NO_DEADLINE) -> dict[str, str]:
        """Start those whose name is new; one started before is as good. The order ids that failed, and why."""

        def start(execution: Execution) -> None:
            if deadline.has_passed:
                raise Unavailable("no time left")
            self._start(execution)

        answers = one_by_one(self.pool, start, executions)
        return {execution.order_id: str(fault) for execution, fault in answers if fault is not None}

    def _start(self, execution: Execution) -> None:
        ids = exact_json.dumps({"orderId": execution.order_id, "paymentKey": execution.payment_key})
        try:
            with faults():
                self.client.start_execution(stateMachineArn=self.arn, name=execution.name, input=ids)
        except Rejected as fault:
            # While the first one runs, AWS answers with it; once it has ended, with this, for 90 days.
            if fault.code != "ExecutionAlreadyExists":
                raise
