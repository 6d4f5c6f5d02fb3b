"""The template's tables, queues and bus are created, and the catalogue is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest

from chalicelib.settings import DEFAULT_MAX_RECEIVES
from local.faults import StartError
from local.resources import create_resources, load_catalogue, read_catalogue
from local.settings import stage_variables
from tests.local.conftest import Clients


def test_the_stage_names_what_the_template_makes(outputs: dict[str, str], config_json: dict[str, Any]) -> None:
    variables = stage_variables(config_json)
    named = {
        "OrdersTableName": "ORDERS_TABLE",
        "InventoryTableName": "INVENTORY_TABLE",
        "IdempotencyTableName": "IDEMPOTENCY_TABLE",
        "PaymentsTableName": "PAYMENTS_TABLE",
        "OrderQueueName": "ORDER_QUEUE",
        "OrderDeadLettersName": "ORDER_DEAD_LETTERS",
        "EventBusName": "EVENT_BUS",
    }
    assert {output: variables[setting] for output, setting in named.items()} == {
        output: outputs[output] for output in named
    }


def test_the_order_queue_is_made_as_described(outputs: dict[str, str], clients: Clients) -> None:
    sqs = clients("sqs")
    url = sqs.get_queue_url(QueueName=outputs["OrderQueueName"])["QueueUrl"]
    made = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (made["VisibilityTimeout"], made["ReceiveMessageWaitTimeSeconds"]) == ("60", "10")
    assert json.loads(made["RedrivePolicy"]) == {
        "deadLetterTargetArn": outputs["OrderDeadLettersArn"],
        "maxReceiveCount": DEFAULT_MAX_RECEIVES,
    }


def test_an_order_event_on_the_bus_reaches_the_log_group(outputs: dict[str, str], clients: Clients) -> None:
    entry = {"Source": "orderonce", "DetailType": "OrderPlaced", "Detail": '{"orderId": "one"}'}
    clients("events").put_events(Entries=[entry | {"EventBusName": outputs["EventBusName"]}])
    logged = clients("logs").filter_log_events(logGroupName=outputs["OrderEventsLogName"])["events"]
    assert [json.loads(line["message"])["detail"] for line in logged] == [{"orderId": "one"}]


def test_prices_are_stored_exactly(outputs: dict[str, str], clients: Clients) -> None:
    load_catalogue(outputs["InventoryTableName"], read_catalogue())
    items = clients("dynamodb").scan(TableName=outputs["InventoryTableName"])["Items"]
    by_id = {item["productId"]["S"]: item for item in items}
    assert len(by_id) == len(read_catalogue())
    assert by_id["PROD-001"] == {
        "productId": {"S": "PROD-001"},
        "name": {"S": "Wireless Mouse"},
        "price": {"N": "29.99"},
        "stock": {"N": "500"},
        "category": {"S": "Electronics"},
    }


@pytest.mark.usefixtures("embedded_aws")
@pytest.mark.parametrize(
    "template",
    [
        '{"Resources": {"Table": {"Type": "AWS::DynamoDB::Table"',
        "[]",
        "{}",
        '{"Resources": {"Bus": {"Type": "AWS::Events::EventBus", "Properties": {"Name": {"Ref": "No"}}}}}',
    ],
)
def test_a_broken_template_is_refused_by_name(tmp_path: Path, template: str) -> None:
    path = tmp_path / "resources.json"
    path.write_text(template, encoding="utf-8")
    with pytest.raises(StartError, match=r"resources\.json") as refused:
        create_resources(path)
    assert "\n" not in str(refused.value)
