"""The stack of resources on an emulator of CloudFormation: a creation that fails, its repetition, a deletion, and a
deployment over what was kept. Without functions, so it takes seconds.

What only watches is left out: the emulator has no alarm by metric maths (here that is what fails) and no saved query.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from click.testing import CliRunner, Result

from deploy import __main__ as command
from deploy.stacks import Stacks
from deploy.template import resources_template
from tests.deploy.support import emulator as engine
from tests.deploy.support.emulator import ACCOUNT
from tests.support.skipping import skip
from tests.support.stage import REGION

pytestmark = [pytest.mark.deploy, pytest.mark.slow]

STAGE = "prod"
NAME = f"orderonce-{STAGE}-resources"
TABLES = [f"orderonce-{STAGE}-{table}" for table in ("idempotency", "inventory", "operations", "orders", "payments")]
Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    if os.environ.get("REQUIRE_EMULATOR") != "1":
        skip(
            "deploys a stack to an emulator of AWS",
            to_run='REQUIRE_EMULATOR=1 make test ARGS="-n 0 -x tests/deploy/test_emulated_stacks.py"',
        )
    try:
        with engine.running() as emulator:
            for name in ("AWS_SESSION_TOKEN", "ALERTS_EMAIL"):
                monkeypatch.delenv(name, raising=False)
            for name, value in {**emulator.credentials, "AWS_DEFAULT_REGION": REGION}.items():
                monkeypatch.setenv(name, value)
            monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it may have the credentials of an earlier test
            monkeypatch.setattr(command, "_stacks", lambda: Stacks(boto3.client("cloudformation"), wait_seconds=1))
            monkeypatch.setattr(command, "resources_template", _unwatched)
            yield lambda *words: CliRunner().invoke(command.main, [*words, "--stage", STAGE], catch_exceptions=False)
    except engine.Unavailable as missing:
        pytest.fail(str(missing))


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
    assert (tables(), stack()) == (TABLES, (True, "UPDATE_COMPLETE"))
    assert all(protected(table) for table in TABLES)
    made = key()
    encrypt(made)
    boto3.client("dynamodb").put_item(TableName=TABLES[1], Item={"productId": {"S": "P-1"}})

    destroyed = run("destroy", "--yes", STAGE)
    assert destroyed.exit_code == 0, destroyed.output
    assert (tables(), len(queues())) == (TABLES, 3)

    again = run("resources")
    assert again.exit_code == 0, again.output
    assert again.output.count("importing what exists: ") == 10
    assert (tables(), key(), stack()) == (TABLES, made, (True, "UPDATE_COMPLETE"))
    assert boto3.client("dynamodb").scan(TableName=TABLES[1])["Items"] == [{"productId": {"S": "P-1"}}]

    repeated = run("resources")
    assert (repeated.exit_code, repeated.output.count("importing")) == (0, 0), repeated.output


def _unwatched(stage: str, *, watched: bool = False) -> dict[str, Any]:
    return resources_template(stage, watched=False)


def _not_for_the_emulator(stage: str, *, watched: bool = True) -> dict[str, Any]:
    """With the alarms, but after everything else."""
    template = resources_template(stage, watched=watched)
    resources = {n: r for n, r in template["Resources"].items() if r["Type"] != "AWS::Logs::QueryDefinition"}
    others = [n for n, r in resources.items() if r.get("DeletionPolicy") == "Retain" and n != "StageKey"]
    if watched:
        resources["LambdaThrottlesAlarm"]["DependsOn"] = others
    return template | {"Resources": resources}


def tables() -> list[str]:
    return sorted(boto3.client("dynamodb").list_tables()["TableNames"])


def protected(table: str) -> bool:
    return boto3.client("dynamodb").describe_table(TableName=table)["Table"]["DeletionProtectionEnabled"]


def encrypt(key: str) -> None:
    """What the emulator leaves out of the tables that CloudFormation makes."""
    for table in TABLES:
        encrypted: Any = {
            "Enabled": True,
            "SSEType": "KMS",
            "KMSMasterKeyId": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key}",
        }
        boto3.client("dynamodb").update_table(TableName=table, SSESpecification=encrypted)


def queues() -> list[str]:
    return boto3.client("sqs").list_queues().get("QueueUrls", [])


def key() -> str:
    """The id of the stack's key."""
    found = boto3.client("cloudformation").describe_stack_resource(StackName=NAME, LogicalResourceId="StageKey")
    return found["StackResourceDetail"]["PhysicalResourceId"]


def stack() -> tuple[bool, str]:
    (found,) = boto3.client("cloudformation").describe_stacks(StackName=NAME)["Stacks"]
    return found["EnableTerminationProtection"], found["StackStatus"]
