"""A test's stage is the deployed one in small: the template's resources under the configured names."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from tests.support.stage import Stage
from tests.support.template import Template

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import UpdateTypeDef

TABLES = ["ORDERS_TABLE", "INVENTORY_TABLE", "IDEMPOTENCY_TABLE", "PAYMENTS_TABLE"]


def test_tables_have_the_keys_and_indexes_of_the_template(each_aws: Stage) -> None:
    wanted = Template.load({"Stage": each_aws.name}).properties("AWS::DynamoDB::Table")
    for properties in wanted.values():
        table = each_aws.dynamodb.describe_table(TableName=properties["TableName"])["Table"]
        assert table["KeySchema"] == properties["KeySchema"]
        made = {index["IndexName"]: index["Projection"] for index in table.get("GlobalSecondaryIndexes", [])}
        assert made == {
            index["IndexName"]: index["Projection"] for index in properties.get("GlobalSecondaryIndexes", [])
        }


def test_each_test_begins_with_empty_tables_again(each_aws: Stage) -> None:
    assert [each_aws.items(name) for name in TABLES] == [[], [], [], []]
    each_aws.put_item("INVENTORY_TABLE", {"productId": "p1", "stock": 3})
    assert each_aws.items("INVENTORY_TABLE") == [{"productId": "p1", "stock": 3}]


test_and_again = test_each_test_begins_with_empty_tables_again


def test_threads_do_not_oversell(each_aws: Stage) -> None:
    """The engine itself keeps its promise, or no race that is tested on it means anything."""
    each_aws.put_item("INVENTORY_TABLE", {"productId": "p1", "stock": 10})
    together = threading.Barrier(8)

    def reserve(_: int) -> bool:
        together.wait()
        decrement: UpdateTypeDef = {
            "TableName": each_aws["INVENTORY_TABLE"],
            "Key": {"productId": {"S": "p1"}},
            "UpdateExpression": "SET stock = stock - :one",
            "ConditionExpression": "stock >= :one",
            "ExpressionAttributeValues": {":one": {"N": "1"}},
        }
        try:
            each_aws.dynamodb.transact_write_items(TransactItems=[{"Update": decrement}])
        except ClientError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        reserved = list(pool.map(reserve, range(32)))

    assert reserved.count(True) == 10
    assert each_aws.items("INVENTORY_TABLE") == [{"productId": "p1", "stock": 0}]


def test_threads_lose_no_message(aws: Stage) -> None:
    url = aws.queue_url("ORDER_QUEUE")

    def send(number: int) -> None:
        aws.sqs.send_message(QueueUrl=url, MessageBody=str(number))
        for message in aws.receive("ORDER_QUEUE", limit=1):
            seen.append(message["Body"])
            aws.delete("ORDER_QUEUE", message)

    seen: list[str] = []
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(64)))

    seen += [message["Body"] for message in aws.receive_all("ORDER_QUEUE")]
    assert sorted(seen, key=int) == [str(number) for number in range(64)]


def test_what_the_template_reader_does_not_know_it_refuses() -> None:
    document = {
        "Parameters": {"Stage": {"Type": "String"}},
        "Resources": {"R": {"Type": "X", "Properties": {}}},
    }
    with pytest.raises(KeyError, match="Satge"):
        Template(document, {"Satge": "test"})
    with pytest.raises(NotImplementedError, match="Fn::Split"):
        Template(document, {"Stage": "test"}).resolve({"a": [{"Fn::Split": [",", "a,b"]}]})


def test_the_template_reader_fills_in_references() -> None:
    template = Template.load({"Stage": "test"})
    assert template.resolve({"Ref": "OrdersTable"}) == "orderonce-test-orders"
    assert template.resolve({"Fn::Sub": ["${Stage}/${x}/${!kept}", {"x": {"Ref": "Stage"}}]}) == "test/test/${kept}"
    arn = "arn:aws:sqs:us-east-1:123456789012:orderonce-test-orders-dead-letters"
    assert template.resolve({"Fn::GetAtt": ["OrderDeadLetters", "Arn"]}) == arn
    assert template.resolve({"Fn::Sub": "${OrderDeadLetters.Arn}"}) == arn
