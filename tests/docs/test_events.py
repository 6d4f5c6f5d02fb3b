"""docs/events.md: the example is as the schema says, and the consumer to copy works on the laptop stack's events."""

import importlib.util
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.docs.conftest import Reader
from tests.support.laptop import Laptop
from tests.support.snippets import snippet
from tests.support.template import ROOT
from tests.support.waiting import until

EXAMPLE = json.loads(snippet("docs/events.md", '"version": "0"').text)
TEMPLATE = snippet("docs/events.md", "Parameters:")
CONSUMER = snippet("docs/events.md", "import json")
DONE = {"ship": "Shipped", "deliver": "Delivered", "cancel": "Cancelled"}
SCHEMA = json.loads((ROOT / "chalicelib" / "entrypoints" / "schemas" / "order_event.json").read_text("utf-8"))


def published(laptop: Laptop, queue: str) -> list[Any]:
    """The events of two orders of CUST-8, as a queue receives them: one is delivered, the other cancelled."""
    body = {"customerId": "CUST-8", "items": [{"productId": "PROD-001", "quantity": 2}], "totalAmount": 59.98}
    events: list[Any] = []

    def arrived(order: Any, name: str) -> bool:
        received = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
        events.extend(json.loads(message["Body"]) for message in received)
        return (order["orderId"], name) in [(event["detail"]["orderId"], event["detail-type"]) for event in events]

    sqs = boto3.client("sqs")
    for key, ways in {"ev-1": ["ship", "deliver"], "ev-2": ["cancel"]}.items():
        order = post(laptop, "/orders", body, key)
        until(partial(arrived, order, "OrderPlaced"))
        for way in ways:
            post(laptop, f"/orders/{order['orderId']}/{way}")
            until(partial(arrived, order, f"Order{DONE[way]}"))
    return events


def loaded(path: Path) -> Any:
    """The file as a module, as Lambda imports it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(table: str) -> list[Any]:
    return boto3.resource("dynamodb").Table(table).scan(ConsistentRead=True)["Items"]


def post(laptop: Laptop, path: str, body: object = None, key: str = "") -> Any:
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
    data = json.dumps(body).encode() if body else b""
    with urlopen(Request(f"{laptop.api}{path}", data, headers if body else {}, method="POST"), timeout=10) as answer:
        return json.load(answer)


@pytest.fixture
def outputs(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Of the stack of the template, on the laptop stack's AWS; every client of the test leads there."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", laptop.aws)
    formation = boto3.client("cloudformation")
    formation.create_stack(
        StackName="my-consumer",
        TemplateBody=TEMPLATE.text,
        Parameters=[{"ParameterKey": "EventBus", "ParameterValue": "orderonce-local"}],
    )
    formation.get_waiter("stack_create_complete").wait(StackName="my-consumer")
    (stack,) = formation.describe_stacks(StackName="my-consumer")["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def test_the_example_is_as_the_schema_says() -> None:
    Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(EXAMPLE["detail"])


def test_the_template_has_no_errors(tmp_path: Path) -> None:
    (tmp_path / "consumer.yaml").write_text(TEMPLATE.text, "utf-8")
    lint = [str(Path(sys.executable).with_name("cfn-lint")), str(tmp_path / "consumer.yaml")]
    linted = subprocess.run(lint, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout


def test_the_consumer_does_everything_once_whatever_arrives_how_often(
    reader: Reader, laptop: Laptop, outputs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    events = published(laptop, outputs["Queue"])
    placed = [event for event in events if event["detail-type"] == "OrderPlaced"]
    assert placed[0].keys() | {"account"} == EXAMPLE.keys()  # which moto leaves out
    assert placed[0]["detail"].keys() == EXAMPLE["detail"].keys()
    assert len(placed) > len({event["detail"]["eventId"] for event in placed}), "delivering publishes it again"

    monkeypatch.setenv("TABLE", outputs["Table"])
    consumer = loaded(reader.save("consumer.py", CONSUMER))

    @settings(max_examples=15)
    @given(st.lists(st.sampled_from(events)), st.randoms(use_true_random=False))
    def consume(duplicates: list[Any], random: Random) -> None:
        for row in rows(outputs["Table"]):
            consumer.table.delete_item(Key={"id": row["id"]})
        batch = [{"body": json.dumps(event)} for event in events + duplicates]
        random.shuffle(batch)
        for start in range(0, len(batch), 10):
            consumer.handler({"Records": batch[start : start + 10]}, None)
        found = {row["id"]: row for row in rows(outputs["Table"])}
        statuses = sorted(row["status"] for name, row in found.items() if name.startswith("order/"))
        assert statuses == ["CANCELLED", "DELIVERED"]
        assert found["customer/CUST-8"]["points"] == 2 * 59  # of 59.98 each

    consume()
