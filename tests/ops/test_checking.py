"""`stage check` of what the template describes; `test_live_stage.py` has a whole stage."""

import json
from typing import Any

import boto3
import pytest

from ops.template import UNRESOLVED, Template
from tests.ops.conftest import Operator
from tests.support.shop import Shop


@pytest.fixture(autouse=True)
def as_it_should_be(shop: Shop) -> None:
    """moto ignores the template's time to live and point-in-time recovery."""
    for table in ("ORDERS_TABLE", "INVENTORY_TABLE", "IDEMPOTENCY_TABLE", "PAYMENTS_TABLE"):
        shop.stage.dynamodb.update_continuous_backups(
            TableName=shop.stage[table], PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )
    for table in ("ORDERS_TABLE", "IDEMPOTENCY_TABLE"):
        expire(shop, table, True)


def expire(shop: Shop, table: str, enabled: bool) -> None:
    specification: Any = {"Enabled": enabled, "AttributeName": "expiresAt"}
    shop.stage.dynamodb.update_time_to_live(TableName=shop.stage[table], TimeToLiveSpecification=specification)


def differences(operator: Operator, status: int = 1) -> dict[str, list[str]]:
    """What differs, by the names of the resources."""
    result = operator("stage", "check", "test", "--json")
    assert result.exit_code == status, result.output
    return {found["name"]: found["differences"] for found in json.loads(result.stdout) if found["differences"]}


def test_a_stage_that_is_as_it_should_be(operator: Operator) -> None:
    assert differences(operator, 0) == {}
    answer = operator.does("stage", "check", "test")
    assert answer.count("\nok") == 7
    assert "nobody has subscribed to it" in answer


def test_a_table_queues_a_topic_and_a_bus_that_do_not_exist(operator: Operator, shop: Shop) -> None:
    shop.stage.dynamodb.delete_table(TableName=shop.stage["PAYMENTS_TABLE"])
    for setting in ("ORDER_QUEUE", "ORDER_DEAD_LETTERS"):
        shop.stage.sqs.delete_queue(QueueUrl=shop.stage.queue_url(setting))
    topic = f"arn:aws:sns:us-east-1:123456789012:{shop.stage['ALERTS_TOPIC']}"
    boto3.client("sns").delete_topic(TopicArn=topic)
    bus = shop.stage["EVENT_BUS"]
    shop.stage.events.remove_targets(Rule=f"{bus}-order-events", EventBusName=bus, Ids=["order-events-log"])
    shop.stage.events.delete_rule(Name=f"{bus}-order-events", EventBusName=bus)
    shop.stage.events.delete_event_bus(Name=bus)
    gone = ("PAYMENTS_TABLE", "ORDER_QUEUE", "ORDER_DEAD_LETTERS", "ALERTS_TOPIC", "EVENT_BUS")
    assert differences(operator) == {shop.stage[setting]: ["does not exist"] for setting in gone}
    assert operator.refused("stage", "check", "test") == "5 of 8 differ."


def test_a_queue_whose_times_were_changed(operator: Operator, shop: Shop) -> None:
    changed: Any = {"VisibilityTimeout": "5", "RedrivePolicy": ""}
    shop.stage.sqs.set_queue_attributes(QueueUrl=shop.stage.queue_url("ORDER_QUEUE"), Attributes=changed)
    assert differences(operator)[shop.stage["ORDER_QUEUE"]] == [
        "VisibilityTimeout: 5, should be 60",
        f"dead-letter queue: none, should be {shop.stage['ORDER_DEAD_LETTERS']}",
        "maximum receives: null, should be 14",
    ]


def test_the_receives_are_those_of_the_stages_setting(
    operator: Operator, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_RECEIVES", "3")
    assert differences(operator)[shop.stage["ORDER_QUEUE"]] == ["maximum receives: 14, should be 3"]


def test_a_table_whose_items_do_not_expire(operator: Operator, shop: Shop) -> None:
    expire(shop, "ORDERS_TABLE", False)
    assert differences(operator) == {shop.stage["ORDERS_TABLE"]: ["time to live: off, should be expiresAt"]}


def test_a_table_of_another_shape(operator: Operator, shop: Shop) -> None:
    name, keys = shop.stage["ORDERS_TABLE"], ("orderId", "createdAt")
    kinds: Any = ("HASH", "RANGE")
    shop.stage.dynamodb.delete_table(TableName=name)
    shop.stage.dynamodb.create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in keys],
        KeySchema=[{"AttributeName": n, "KeyType": kind} for n, kind in zip(keys, kinds, strict=True)],
        ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
    )
    found = " / ".join(differences(operator)[name])
    for part in ("key schema", "index CustomerIndex", "index OutboxIndex", "billing mode: PROVISIONED", "time to live"):
        assert part in found


def test_an_emulator_is_not_blamed_for_what_it_cannot_do(
    operator: Operator, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    expire(shop, "ORDERS_TABLE", False)
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:1")
    assert differences(operator, 0) == {}
    assert "time to live: off" in operator.does("stage", "check", "test")


def test_what_may_not_be_seen_is_neither_right_nor_wrong(operator: Operator) -> None:
    operator.calls.refuse("AccessDeniedException", "DescribeTable", times=None)
    result = operator("stage", "check", "test")
    assert (result.exit_code, result.stderr) == (
        2,
        "Looking at account 123456789012, region us-east-1.\n4 of 8 could not be seen.\n",
    )
    assert result.stdout.count("cannot be seen (DescribeTable: AccessDeniedException)") == 4


def test_a_stage_that_cannot_be_reached_is_not_one_that_differs(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ORDERS_TABLE")
    said = operator.refused("stage", "check", "test", status=2)
    assert said == "This stage cannot be reached: the setting ORDERS_TABLE is missing."


# --- the template ---


def test_what_depends_on_other_parameters_is_not_compared() -> None:
    document = {
        "Parameters": {"Stage": {}, "Days": {"Default": 3}, "Key": {}},
        "Resources": {
            "Q": {
                "Type": "AWS::SQS::Queue",
                "Properties": {
                    "QueueName": {"Fn::Sub": "q-${Stage}"},
                    "KmsMasterKeyId": {"Fn::If": ["HasKey", {"Ref": "Key"}, {"Ref": "AWS::NoValue"}]},
                    "RedrivePolicy": {"deadLetterTargetArn": {"Fn::GetAtt": ["Q", "Arn"]}, "maxReceiveCount": 6},
                    "MessageRetentionPeriod": {"Ref": "Days"},
                    "FifoQueue": {"Ref": "Q"},
                    "DelaySeconds": {"Ref": "Key"},
                    "Tags": [{"Fn::Sub": "${AWS::Region}"}],
                },
            }
        },
    }
    assert Template(document, {"Stage": "dev"}).of_type("AWS::SQS::Queue") == [
        {
            "QueueName": "q-dev",
            "KmsMasterKeyId": UNRESOLVED,
            "RedrivePolicy": {"deadLetterTargetArn": "q-dev", "maxReceiveCount": 6},
            "MessageRetentionPeriod": 3,
            "FifoQueue": "q-dev",
            "DelaySeconds": UNRESOLVED,
            "Tags": UNRESOLVED,
        }
    ]
