"""The walker goes the way that the definition says, and no other."""

import pytest

from tests.support.walker import ARN, DEFINITION, Execution, Machine

INPUT = '{"orderId": "o1", "paymentKey": "k1"}'
CHARGED = {"reserve": "RESERVED", "charge": "CHARGED", "confirm": "CONFIRMED", "complete": "CONFIRMED"}


def walked(outcomes: dict[str, str], failing: int = 0, states: int | None = None) -> Execution:
    """An execution whose tasks come to these outcomes; its first calls fail."""
    left = [None] * failing

    def step(event: dict[str, str]) -> dict[str, str | None]:
        if left:
            left.pop()
            raise RuntimeError("as the test wants it")
        assert event.items() >= {"orderId": "o1", "paymentKey": "k1"}.items()
        assert event.get("paymentId") == ("p1" if event["step"] == "confirm" else None)
        return {"outcome": outcomes[event["step"]], "paymentId": "p1"}

    execution = Execution("n", INPUT)
    execution.run(step, states)
    return execution


WAYS: dict[str, tuple[dict[str, str], str]] = {
    "charged": (CHARGED, "Reserve AfterReserve Charge AfterCharge Confirm Complete"),
    "declined": (
        {"reserve": "RESERVED", "charge": "DECLINED", "decline": "FAILED", "complete": "FAILED"},
        "Reserve AfterReserve Charge AfterCharge Decline Complete",
    ),
    "out of stock": ({"reserve": "FAILED", "complete": "FAILED"}, "Reserve AfterReserve Complete"),
    "cancelled meanwhile": (
        {"reserve": "RESERVED", "charge": "CANCELLED", "complete": "CANCELLED"},
        "Reserve AfterReserve Charge AfterCharge Complete",
    ),
    "never": ({"reserve": "NEVER"}, "Reserve AfterReserve Never"),
    "gone before the charge": (
        {"reserve": "RESERVED", "charge": "NEVER"},
        "Reserve AfterReserve Charge AfterCharge Never",
    ),
}


@pytest.mark.parametrize(("outcomes", "way"), WAYS.values(), ids=WAYS)
def test_a_choice_goes_by_the_outcome_and_never_fails_the_execution(outcomes: dict[str, str], way: str) -> None:
    execution = walked(outcomes)
    status = "FAILED" if way.endswith("Never") else "SUCCEEDED"
    assert (" ".join(execution.entered), execution.status) == (way, status)


def test_each_state_is_on_one_of_these_ways() -> None:
    assert set(DEFINITION["States"]) == {state for _, way in WAYS.values() for state in way.split()}


@pytest.mark.parametrize(("failing", "status", "calls"), [(3, "SUCCEEDED", 7), (4, "FAILED", 4)])
def test_a_task_that_fails_is_tried_four_times_in_all(failing: int, status: str, calls: int) -> None:
    execution = walked(CHARGED, failing)
    assert (execution.status, execution.calls) == (status, calls)


@pytest.mark.parametrize("states", range(6))
def test_an_execution_is_aborted_after_so_many_states(states: int) -> None:
    execution = walked(CHARGED, states=states)
    assert (execution.status, len(execution.entered)) == ("ABORTED", states)


def test_a_name_is_taken_for_good() -> None:
    machine = Machine()
    start = {"stateMachineArn": ARN, "name": "n", "input": INPUT}
    assert machine.start_execution(**start) == machine.start_execution(**start), (
        "while it runs, the same start is as good"
    )
    assert machine.run(lambda event: {"outcome": "DONE", "paymentId": None}) == 1
    with pytest.raises(Exception, match="ExecutionAlreadyExists"):
        machine.start_execution(**start)
    assert machine.run(lambda event: None) == 0
