"""The stack of resources on an emulator of CloudFormation: a creation that fails, its repetition, a deletion, and a
deployment over what was kept. Without functions, so it takes seconds.

What only watches is left out: the emulator has no alarm by metric maths (here that is what fails) and no saved query.
"""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from deploy import __main__ as command
from deploy.template import resources_template
from tests.deploy.support.commands import Run, deploying, encrypt, queues, stack, stage_key, tables, without

pytestmark = [pytest.mark.deploy, pytest.mark.slow]

STAGE = "prod"
NAME = f"orderonce-{STAGE}-resources"
TABLES = [f"orderonce-{STAGE}-{table}" for table in ("idempotency", "inventory", "operations", "orders", "payments")]


@pytest.fixture
def run() -> Iterator[Run]:
    with deploying(STAGE, "tests/deploy/test_emulated_stacks.py") as (run, _):
        yield run


def test_deploying_can_be_repeated_after_a_failure_and_after_a_deletion(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(command, "resources_template", _not_for_the_emulator)
        failed = run("resources")
    assert (failed.exit_code, "ROLLBACK_COMPLETE" in failed.output) == (1, True), failed.output
    assert (tables(), queues()) == ([], [])

    first = run("resources")
    assert first.exit_code == 0, first.output
    assert (tables(), stack(NAME)) == (TABLES, (True, "UPDATE_COMPLETE"))
    assert all(protected(table) for table in TABLES)
    made = stage_key(NAME)
    encrypt(made)
    boto3.client("dynamodb").put_item(TableName=TABLES[1], Item={"productId": {"S": "P-1"}})

    destroyed = run("destroy", "--yes", STAGE)
    assert destroyed.exit_code == 0, destroyed.output
    assert (tables(), len(queues())) == (TABLES, 3)

    again = run("resources")
    assert again.exit_code == 0, again.output
    assert again.output.count("importing what exists: ") == 10
    assert (tables(), stage_key(NAME), stack(NAME)) == (TABLES, made, (True, "UPDATE_COMPLETE"))
    assert boto3.client("dynamodb").scan(TableName=TABLES[1])["Items"] == [{"productId": {"S": "P-1"}}]

    repeated = run("resources")
    assert (repeated.exit_code, repeated.output.count("importing")) == (0, 0), repeated.output


def _not_for_the_emulator(stage: str, *, watched: bool = True) -> dict[str, Any]:
    """With the alarms, but after everything else."""
    template = resources_template(stage, watched=watched)
    resources = without(template["Resources"], "AWS::Logs::QueryDefinition")
    others = [n for n, r in resources.items() if r.get("DeletionPolicy") == "Retain" and n != "StageKey"]
    if watched:
        resources["LambdaThrottlesAlarm"]["DependsOn"] = others
    return template | {"Resources": resources}


def protected(table: str) -> bool:
    return boto3.client("dynamodb").describe_table(TableName=table)["Table"]["DeletionProtectionEnabled"]
