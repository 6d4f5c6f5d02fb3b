"""Deploying again: after a failure, after an interruption, and over what a deletion kept."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import boto3
import pytest
import yaml  # type: ignore[import-untyped]
from click.testing import CliRunner, Result
from moto import mock_aws

from deploy import __main__ as command
from deploy.leftovers import Leftovers, import_template
from deploy.stacks import PATIENCE_MINUTES, Stacks
from deploy.stages import DEPLOYED, ROOT, stage_parameters
from deploy.template import resources_template
from tests.deploy.support.cloudformation import FakeCloudFormation, Stack

Run = Callable[..., Result]
NAME = "orderonce-prod-resources"
PROD: dict[str, Any] = resources_template("prod", watched=False)
RETAINED = {name for name, resource in PROD["Resources"].items() if resource.get("DeletionPolicy") == "Retain"}
TABLES = {name for name, resource in PROD["Resources"].items() if resource["Type"] == "AWS::DynamoDB::Table"}


@pytest.fixture
def aws() -> FakeCloudFormation:
    return FakeCloudFormation()


@pytest.fixture
def run(aws: FakeCloudFormation, monkeypatch: pytest.MonkeyPatch, simulated_prod: None) -> Run:
    monkeypatch.delenv("ALERTS_EMAIL", raising=False)
    monkeypatch.setattr(command, "_stacks", lambda: Stacks(aws, wait_seconds=1))  # type: ignore[arg-type]
    monkeypatch.setattr(command, "Leftovers", lambda *_: aws)
    return lambda name, *more: CliRunner().invoke(command.main, [name, "--stage", "prod", *more])


def deployed(result: Result) -> bool:
    return result.exit_code == 0 or pytest.fail(result.output)


@pytest.mark.parametrize("failing", list(PROD["Resources"]))
def test_a_first_deployment_that_failed_can_be_repeated_whatever_failed(
    failing: str, run: Run, aws: FakeCloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERTS_EMAIL", "ann@example.com")
    aws.failing = failing
    result = run("resources")
    assert result.exit_code == 1
    assert f"{failing}: no" in result.output
    assert (aws.stacks[NAME].status, aws.left) == ("ROLLBACK_COMPLETE", set())
    monkeypatch.delenv("ALERTS_EMAIL")
    aws.failing = ""
    assert deployed(run("resources"))
    assert aws.stacks[NAME].parameters["AlertsEmail"] == "ann@example.com"


def test_a_stage_that_an_older_release_left_wedged_is_deployed(run: Run, aws: FakeCloudFormation) -> None:
    """Its creation failed, and its tables were kept."""
    aws.stacks[NAME] = Stack("ROLLBACK_COMPLETE")
    aws.left = set(TABLES)
    assert deployed(run("resources"))
    assert (aws.stacks[NAME].status, aws.left) == ("UPDATE_COMPLETE", set())


def test_a_change_set_that_was_left_over_blocks_nobody(
    run: Run, aws: FakeCloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(aws, "execute_change_set", Mock(side_effect=KeyboardInterrupt))
        assert run("resources").exit_code == 1
    assert len(aws.change_sets) == 1
    assert deployed(run("resources"))


def test_a_stage_is_protected_once_all_of_it_exists(run: Run, aws: FakeCloudFormation) -> None:
    aws.failing = "AlertsTopic"
    run("resources")
    assert not aws.stacks[NAME].protected
    aws.failing = ""
    deployed(run("resources"))
    stack = aws.stacks[NAME]
    assert (stack.protected, stack.parameters["Protected"]) == (True, "true")
    for table in TABLES:
        protection = stack.template["Resources"][table]["Properties"]["DeletionProtectionEnabled"]
        assert protection == {"Fn::If": ["IsProtected", True, False]}
    assert aws.kinds[-2:] == ["CREATE", "UPDATE"]


def test_a_later_deployment_is_one_change_and_stays_protected(run: Run, aws: FakeCloudFormation) -> None:
    deployed(run("resources"))
    aws.kinds.clear()
    deployed(run("resources"))
    assert aws.kinds == ["UPDATE"]
    assert (aws.stacks[NAME].protected, aws.stacks[NAME].parameters["Protected"]) == (True, "true")


def test_a_stage_that_was_destroyed_is_deployed_again_over_what_was_kept(run: Run, aws: FakeCloudFormation) -> None:
    deployed(run("resources"))
    with mock_aws():  # of the functions' logs
        deployed(run("destroy", "--yes", "prod"))
    assert (aws.stacks, aws.left) == ({}, RETAINED)
    result = run("resources")
    assert deployed(result)
    assert result.output.count("importing what exists: ") == len(RETAINED)
    assert (aws.stacks[NAME].status, aws.left, aws.stacks[NAME].protected) == ("UPDATE_COMPLETE", set(), True)


@pytest.mark.parametrize("lost", [{name} for name in sorted(RETAINED)] + [RETAINED - {"OrderQueue"}])
def test_what_is_left_is_imported_also_when_some_of_it_was_deleted(
    lost: set[str], run: Run, aws: FakeCloudFormation
) -> None:
    aws.left = RETAINED - lost
    assert deployed(run("resources"))
    assert aws.stacks[NAME].template["Resources"].keys() >= RETAINED


@pytest.mark.parametrize("absent", sorted(RETAINED))
def test_an_import_refers_to_nothing_that_is_not_imported(absent: str) -> None:
    found = {name: {"Name": name} for name in RETAINED - {absent}}
    template = import_template(PROD, found)
    text = json.dumps(template["Resources"])
    assert template["Resources"].keys() == found.keys()
    for other in PROD["Resources"].keys() - found.keys():
        assert f'"{other}"' not in text
        assert f"${{{other}" not in text
    assert "Outputs" not in template
    assert all(resource["DeletionPolicy"] == "Retain" for resource in template["Resources"].values())


def test_what_takes_too_long_is_said_and_not_waited_for(
    run: Run, aws: FakeCloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Stacks(aws, wait_seconds=1, until=time.monotonic())  # type: ignore[arg-type]
    monkeypatch.setattr(command, "_stacks", lambda: late)
    aws.stuck = True
    result = run("resources")
    assert result.exit_code == 1
    assert f"not ready after {PATIENCE_MINUTES} minutes: it is UPDATE_IN_PROGRESS" in result.output


def test_a_failure_is_told_when_its_rollback_has_ended(
    run: Run, aws: FakeCloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before, when the next command would meet it."""
    aws.failing = "AlertsTopic"
    monkeypatch.setattr("deploy.stacks.time.sleep", lambda _: setattr(aws.stacks[NAME], "status", "ROLLBACK_COMPLETE"))
    aws.rolls_back_slowly = True
    result = run("resources")
    assert f"{NAME} ROLLBACK_COMPLETE\nAlertsTopic: no" in result.output


def test_the_wait_ends_before_the_job_that_waits() -> None:
    """With five minutes for all that a job does before."""
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "deploy.yml").read_text(encoding="utf-8"))["jobs"]
    assert {jobs[stage]["timeout-minutes"] >= PATIENCE_MINUTES + 5 for stage in DEPLOYED} == {True}


# --- what is found ---


@pytest.fixture
def account() -> Iterator[Leftovers]:
    with mock_aws():
        yield Leftovers(
            boto3.client("dynamodb"), boto3.client("sqs"), boto3.client("logs"), boto3.client("cognito-idp")
        )


def test_nothing_is_found_in_an_empty_account(account: Leftovers) -> None:
    assert account.of(PROD, stage_parameters("prod")) == {}


def test_tables_queues_log_and_key_of_the_stage_are_found_by_name(account: Leftovers) -> None:
    names = ("orders", "inventory", "idempotency", "payments", "operations")
    for table in names:
        for stage in ("prod", "other"):
            account.dynamodb.create_table(
                TableName=f"orderonce-{stage}-{table}",
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                BillingMode="PAY_PER_REQUEST",
                SSESpecification={"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": f"arn:aws:kms:r:a:key/{stage}"},
            )
    dead = account.sqs.create_queue(QueueName="orderonce-prod-orders-dead-letters")["QueueUrl"]
    account.logs.create_log_group(logGroupName="/aws/events/orderonce-prod-other")
    found = account.of(PROD, stage_parameters("prod"))
    assert found == {
        **{f"{name.capitalize()}Table": {"TableName": f"orderonce-prod-{name}"} for name in names},
        "OrderDeadLetters": {"QueueUrl": dead},
        "StageKey": {"KeyId": "prod"},
    }
    account.logs.create_log_group(logGroupName="/aws/events/orderonce-prod")
    queue = account.sqs.create_queue(QueueName="orderonce-prod-orders")["QueueUrl"]
    account.sqs.create_queue(QueueName="orderonce-prod-order-events-dead-letters")
    more = account.of(PROD, stage_parameters("prod"))
    assert more.keys() == RETAINED
    assert (more["OrderQueue"], more["OrderEventsLog"]["LogGroupName"]) == (
        {"QueueUrl": queue},
        "/aws/events/orderonce-prod",
    )
    assert "StageKey" not in account.of(PROD, stage_parameters("prod") | {"Encryption": "AWS_OWNED"})


def test_patience_is_for_the_command_as_a_whole() -> None:
    late = Stacks(Any, wait_seconds=5, until=time.monotonic() + 11)  # type: ignore[arg-type]
    assert late._patience["MaxAttempts"] == 2
    assert Stacks(Any).until <= time.monotonic() + 60 * PATIENCE_MINUTES  # type: ignore[arg-type]
