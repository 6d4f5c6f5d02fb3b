"""The state machine in .chalice/saga.asl.json: a validator of the Amazon States Language reads it, as it is and as it
is deployed. (cfn-lint finds no target that does not exist.)"""

import copy
import json
from typing import Any

from deploy.state_machine import definition
from tests.support.node import said_by
from tests.support.template import ROOT

NODE = ROOT / "tests" / "node"
FUNCTIONS = {
    "in the file": "${SagaStep}",
    "chalice deploy": "arn:aws:lambda:us-east-1:123456789012:function:orderonce-dev-saga_step",
    "make deploy": "arn:aws:lambda:us-east-1:123456789012:function:orderonce-prod-SagaStep-AbC123:live",
}


def said_by_the_validator(*definitions: object) -> list[list[Any]]:
    """The errors of each definition."""
    found: list[list[Any]] = json.loads(said_by(NODE / "validate_asl.cjs", json.dumps(definitions)))
    return found


def test_the_validator_finds_nothing_wrong_however_the_function_is_named() -> None:
    assert said_by_the_validator(*map(definition, FUNCTIONS.values())) == [[]] * len(FUNCTIONS)


def leads_nowhere(machine: dict[str, Any]) -> None:
    machine["States"]["Charge"]["Next"] = "AfterPayment"


def chooses_nothing(machine: dict[str, Any]) -> None:
    machine["States"]["AfterReserve"]["Choices"][0]["Next"] = "Pay"


def is_reached_by_nothing(machine: dict[str, Any]) -> None:
    machine["States"]["Refund"] = copy.deepcopy(machine["States"]["Complete"])


def misspells_a_path(machine: dict[str, Any]) -> None:
    machine["States"]["Charge"]["ResultPath"] = "charge"


SPOILT = (leads_nowhere, chooses_nothing, is_reached_by_nothing, misspells_a_path)


def test_the_validator_finds_each_mistake() -> None:
    spoilt = []
    for spoil in SPOILT:
        spoilt.append(definition(FUNCTIONS["make deploy"]))
        spoil(spoilt[-1])
    missed = [s.__name__ for s, errors in zip(SPOILT, said_by_the_validator(*spoilt), strict=True) if not errors]
    assert missed == []
