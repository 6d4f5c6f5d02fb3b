"""One stage of OrderOnce, made for one test: names, resources, and clients of the test's own to see them."""

import json
import os
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from moto import mock_aws
from moto.core.models import botocore_stubber

from tests.support.template import ROOT, TEMPLATE, Template, create_tables

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_sqs import SQSClient

CONFIG = ROOT / ".chalice" / "config.json"
REGION = "us-east-1"
PATTERN_STAGE = "dev"
DUMMY_AWS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_SESSION_TOKEN": "testing",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_PARAMETER_VALIDATION": "true",  # switched off in Lambda: what is malformed is found here
}


# A loader remembers the service descriptions that it has read. moto has each test begin with a new session,
# and reading them again takes a tenth of a second for each client.
_one_loader = cache(botocore.session.create_loader)


def settings_for(stage: str, config: Path = CONFIG) -> dict[str, str]:
    """The environment variables of a deployed stage of this name: those of the `dev` stage in Chalice's
    configuration with the name of the stage put in, so that no name is written twice."""
    document = json.loads(config.read_text(encoding="utf-8"))
    own = document["stages"][PATTERN_STAGE].get("environment_variables", {})
    variables = {**document.get("environment_variables", {}), **own}
    variables["AUTH"] = "none"  # Chalice's test client and local server do not check signatures
    variables["CORS_ORIGIN"] = "https://shop.example"
    variables["FAIL_PAYMENT_PERCENT"] = "0"  # a test that wants payments declined says so
    return {name: re.sub(rf"\b{PATTERN_STAGE}\b", stage, value) for name, value in variables.items()}


AT_IMPORT = ("POWERTOOLS_", "AUTH", "CORS_ORIGIN")
"""How the settings begin that are read when the app is imported."""


def dummy_environment() -> None:
    """Take away every setting of the machine's own that AWS clients or OrderOnce would read. Those that are
    read once, when the app is imported, are the stage's."""
    local = json.loads(CONFIG.read_text(encoding="utf-8"))["stages"]["local"]["environment_variables"]
    for name in list(os.environ):
        if name.startswith(("AWS_", "POWERTOOLS_")) or name in local:
            del os.environ[name]
    os.environ.update(DUMMY_AWS)
    at_import = {name: v for name, v in settings_for("test").items() if name.startswith(AT_IMPORT)}
    os.environ.update(at_import)


class Stage:
    """What a test knows of its stage. `stage["ORDERS_TABLE"]` is the name behind that setting.

    Its clients are the test's own: calls made through them are not among the calls of the code under test.
    """

    def __init__(self, name: str, *, dynamodb_endpoint: str | None = None) -> None:
        self.name = name
        self.dynamodb_endpoint = dynamodb_endpoint
        self.settings = settings_for(name)

    def __getitem__(self, setting: str) -> str:
        return self.settings[setting]

    @cached_property
    def dynamodb(self) -> "DynamoDBClient":
        return boto3.client("dynamodb", endpoint_url=self.dynamodb_endpoint)

    @cached_property
    def sqs(self) -> "SQSClient":
        return boto3.client("sqs")

    @cached_property
    def events(self) -> "EventBridgeClient":
        return boto3.client("events")

    def items(self, setting: str) -> list[dict[str, Any]]:
        """Every item of a table, read consistently; numbers are Decimals."""
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=self[setting], ConsistentRead=True)
        return [_plain(item) for page in pages for item in page["Items"]]

    def item(self, setting: str, key: dict[str, Any]) -> dict[str, Any] | None:
        """One item of a table, read consistently, if it exists."""
        wanted = {name: TypeSerializer().serialize(value) for name, value in key.items()}
        found = self.dynamodb.get_item(TableName=self[setting], Key=wanted, ConsistentRead=True).get("Item")
        return _plain(found) if found else None

    def put_item(self, setting: str, item: dict[str, Any]) -> None:
        """Store an item as it is, past every rule of the code under test."""
        written = {name: TypeSerializer().serialize(value) for name, value in item.items()}
        self.dynamodb.put_item(TableName=self[setting], Item=written)

    def queue_url(self, setting: str) -> str:
        return self.sqs.get_queue_url(QueueName=self[setting])["QueueUrl"]

    def receive(self, setting: str, *, limit: int = 10) -> list[Any]:
        """Up to ten messages that are visible now, with all their attributes. They count as received."""
        answer = self.sqs.receive_message(
            QueueUrl=self.queue_url(setting),
            MaxNumberOfMessages=limit,
            WaitTimeSeconds=0,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return answer.get("Messages", [])

    def receive_all(self, setting: str) -> list[Any]:
        """Every message that is visible now. They count as received."""
        messages: list[Any] = []
        while batch := self.receive(setting):
            messages += batch
        return messages

    def delete(self, setting: str, message: Any) -> None:
        self.sqs.delete_message(QueueUrl=self.queue_url(setting), ReceiptHandle=message["ReceiptHandle"])


@contextmanager
def on_moto() -> Iterator[Stage]:
    """The stage `test`, all of it in this process."""
    with pytest.MonkeyPatch.context() as patch, _moto(patch):
        yield _create(Stage("test"), patch)


@contextmanager
def on_dynamodb_local(endpoint: str) -> Iterator[Stage]:
    """A stage with a name of its own, so that no two tests on one server meet: its tables are on DynamoDB
    Local, its queues and bus in this process. Whoever makes an ordinary client reaches the right place."""
    stage = Stage(f"t{uuid.uuid4().hex[:12]}", dynamodb_endpoint=endpoint)
    with pytest.MonkeyPatch.context() as patch, _moto(patch):
        patch.setenv("AWS_ENDPOINT_URL_DYNAMODB", endpoint)
        _create(stage, patch)
        with _tables(stage):
            yield stage


@contextmanager
def tables_on_dynamodb_local(endpoint: str) -> Iterator[Stage]:
    """The same without queues and bus, in a third of the time: for those who bring their own."""
    stage = Stage(f"t{uuid.uuid4().hex[:12]}", dynamodb_endpoint=endpoint)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stage.settings.items():
            patch.setenv(name, value)
        with _tables(stage):
            yield stage


@contextmanager
def _tables(stage: Stage) -> Iterator[None]:
    tables = create_tables(stage.dynamodb, Template.load({"Stage": stage.name}))
    try:
        yield
    finally:
        for table in tables:
            stage.dynamodb.delete_table(TableName=table)


def _create(stage: Stage, patch: pytest.MonkeyPatch) -> Stage:
    for name, value in stage.settings.items():
        patch.setenv(name, value)
    boto3.client("cloudformation").create_stack(
        StackName=f"orderonce-{stage.name}",
        TemplateBody=TEMPLATE.read_text(encoding="utf-8"),
        Parameters=[{"ParameterKey": "Stage", "ParameterValue": stage.name}],
    )
    return stage


@contextmanager
def _moto(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """moto in this process, one request at a time: its writes are not isolated from each other, and under
    threads stock would be oversold and messages lost by moto itself. (So never wait long for a message
    here.)"""
    one_at_a_time = threading.RLock()
    process = botocore_stubber.process_request

    def process_alone(request: Any) -> Any:
        with one_at_a_time:
            return process(request)

    patch.setattr(botocore.session, "create_loader", _one_loader)
    with mock_aws(config={"core": {"mock_credentials": False}}):  # dummy_environment has seen to them
        patch.setattr(botocore_stubber, "process_request", process_alone)
        yield


def _plain(item: Any) -> dict[str, Any]:
    return {name: TypeDeserializer().deserialize(value) for name, value in item.items()}
