"""Tables that were restored: made beside those in use, used by the functions, and by whoever operates them."""

import json
import shlex
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from deploy.tables import table_names
from tests.ops.conftest import audit_of
from tests.ops.live_stage import Answers, live_stage, operate
from tests.ops.test_documented import alike, steps
from tests.support.snippets import snippet

PAGE = snippet("docs/operating.md", "$ ops tables restore")
NAME = "20261122T025900Z"


@pytest.fixture(scope="module")
def swapped() -> Iterator[Answers]:
    """`prod`, with restored tables in use."""
    with live_stage("prod", packaged=True, restored=f"-{NAME}") as answers:
        yield answers


@pytest.fixture
def answers(swapped: Answers) -> Iterator[Answers]:
    yield swapped
    swapped.restore()


def test_a_stage_on_restored_tables_is_green(answers: Answers) -> None:
    result = operate("stage", "check", "prod")
    assert result.exit_code == 0, result.output
    named = {line.split()[2] for line in result.stdout.splitlines() if line.split()[1] == "table"}
    assert named == {*table_names("prod", f"-{NAME}").values(), "orderonce-prod-payments", "orderonce-prod-operations"}


def with_orders_in(table: str) -> Any:
    """The function of the API has another table of orders."""

    def change(answer: dict[str, Any]) -> None:
        for each in answer["Functions"]:
            if each["Handler"] == "app.app":
                each["Environment"]["Variables"]["ORDERS_TABLE"] = table

    return change


def test_tables_that_do_not_go_together_are_red(answers: Answers) -> None:
    answers.change("ListFunctions", with_orders_in("orderonce-prod-orders"))
    result = operate("stage", "check", "prod", "--json")
    texts = {text for each in json.loads(result.stdout) for text in each["differences"]}
    assert f"INVENTORY_TABLE: 'orderonce-prod-inventory-{NAME}', should be 'orderonce-prod-inventory'" in texts


def test_the_command_line_works_on_the_tables_in_use(answers: Answers) -> None:
    """And never on the damaged ones of config.json."""
    item = {"productId": {"S": "P-1"}, "name": {"S": "One"}, "price": {"N": "1.00"}, "stock": {"N": "5"}}
    boto3.client("dynamodb").put_item(TableName=f"orderonce-prod-inventory-{NAME}", Item=item)
    assert "P-1" in operate("--stage", "prod", "catalogue", "list").stdout
    assert operate("--stage", "prod", "orders", "show", "no-order").exit_code == 1


def test_functions_that_do_not_agree_are_not_operated(answers: Answers) -> None:
    answers.change("ListFunctions", with_orders_in("orderonce-prod-orders"))
    result = operate("--stage", "prod", "catalogue", "list")
    assert result.exit_code == 1
    assert "The functions of prod do not use the same tables" in result.stderr


def test_all_three_tables_are_restored_to_one_second_and_completed(answers: Answers) -> None:
    """And it may be cut off and repeated. The tables in use are restored ones here; names do not add up."""
    dynamodb = boto3.client("dynamodb")
    again = ("--stage", "prod", "tables", "restore", "--to", "2026-11-23T00:00:00Z")
    dynamodb.tag_resource(
        ResourceArn=dynamodb.describe_table(TableName=f"orderonce-prod-orders-{NAME}")["Table"]["TableArn"],
        Tags=[{"Key": "application", "Value": "orderonce"}],
    )
    asked: list[Any] = []
    answers.change("RestoreTableToPointInTime", asked.append)
    for refused in ("UpdateTimeToLive", "UpdateContinuousBackups", "UpdateTable"):
        answers.refuse(refused, "AccessDeniedException")
        assert operate(*again).exit_code == 1
        answers.restore()
    done = operate(*again)
    assert done.exit_code == 0, done.output
    restored = table_names("prod", "-20261123T000000Z")
    assert done.stdout.splitlines() == [*restored.values()]
    for setting, table in restored.items():
        described: Any = dynamodb.describe_table(TableName=table)["Table"]
        assert described["DeletionProtectionEnabled"]
        backups = dynamodb.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
        assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
        expiry = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"].get("AttributeName")
        assert expiry == (None if setting == "INVENTORY_TABLE" else "expiresAt")
        tags = dynamodb.list_tags_of_resource(ResourceArn=described["TableArn"])["Tags"]
        assert bool(tags) == (setting == "ORDERS_TABLE")


def test_a_restore_is_audited_with_its_second(answers: Answers) -> None:
    (line,) = audit_of(operate("--stage", "prod", "tables", "restore", "--to", "2026-11-23T00:00:01Z"))
    assert (line["to"], line["count"]) == ("2026-11-23T00:00:01+00:00", 3)


@pytest.mark.parametrize("time", ["2026-11-22", "yesterday", "2026-11-22T02:59:00", "2026-11-22T02:59:00.5Z"])
def test_a_time_that_is_not_a_second_is_refused(answers: Answers, time: str) -> None:
    result = operate("--stage", "prod", "tables", "restore", "--to", time)
    assert (result.exit_code, "must be a second in UTC" in result.stderr) == (2, True)


def test_the_page_shows_what_a_restore_prints(answers: Answers) -> None:
    ((command, shown),) = steps(PAGE)
    result = operate("--stage", "prod", *shlex.split(command))
    assert sorted(alike(shown)) == sorted(alike(result.stdout) + alike(result.stderr))
