"""The deployed service as its producers, its customers, its operator and its auditor see it."""

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import boto3
import pytest

from chalicelib.adapters.dynamodb.items import order_to_item
from chalicelib.domain.order import OutboxEntry
from local.resources import load_catalogue, read_catalogue
from tests.deploy.support import emulator as engine
from tests.deploy.support.deployment import Deployment
from tests.deploy.support.emulator import ACCOUNT
from tests.support import bus
from tests.support.conservation import check_conserved
from tests.support.orders import PRICE, an_event, an_order
from tests.support.skipping import skip
from tests.support.stage import Stage

CATALOGUE = [*read_catalogue(), {"productId": "P-STREAM", "name": "Stickers", "price": PRICE, "stock": 9999}]
STOCK = {product["productId"]: int(product["stock"]) for product in CATALOGUE}
DEPTH: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]


def event(order_id: str, product_id: str, quantity: int = 1, **fields: Any) -> dict[str, Any]:
    """A producer's OrderCreated event, fit for `json`; `fields` are set as they are."""
    made = an_event(order_id, {product_id: quantity}, correlationId=f"corr-{order_id}")
    return made | {"totalAmount": float(made["totalAmount"])} | fields


@dataclass(frozen=True)
class Answer:
    """What the API answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class DeployedShop:
    """One deployment in use. It waits for what it is asked for, but not forever."""

    deployment: Deployment
    arrived: list[dict[str, Any]] = field(default_factory=list)

    @property
    def stage(self) -> Stage:
        return self.deployment.stage

    def open(self) -> None:
        """Load the catalogue, store an order whose message was never sent, and listen to the bus."""
        load_catalogue(self.stage["INVENTORY_TABLE"], CATALOGUE)
        forgotten = an_order("forgotten", {"PROD-004": 1}, outbox=OutboxEntry(datetime.now(UTC) - timedelta(minutes=5)))
        self.stage.dynamodb.put_item(TableName=self.stage["ORDERS_TABLE"], Item=order_to_item(forgotten))
        bus.listen(self.stage)
        self._listen_to_alerts()

    def _listen_to_alerts(self) -> None:
        """From now on, what is sent to the operator arrives on a queue named `alerts`."""
        sns = boto3.client("sns")
        region = sns.meta.region_name
        topic = f"arn:aws:sns:{region}:{ACCOUNT}:{self.stage['ALERTS_TOPIC']}"
        queue = f"arn:aws:sqs:{region}:{ACCOUNT}:alerts"
        allowed = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": queue,
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        self.stage.sqs.create_queue(QueueName="alerts", Attributes={"Policy": policy})
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)

    # --- what people do ---

    def send(self, *bodies: object) -> list[str]:
        """Put messages on the order queue, at most ten; their ids."""
        texts = [body if isinstance(body, str) else json.dumps(body) for body in bodies]
        answer = self.stage.sqs.send_message_batch(
            QueueUrl=self.stage.queue_url("ORDER_QUEUE"),
            Entries=[{"Id": str(index), "MessageBody": text} for index, text in enumerate(texts)],
        )
        return [entry["MessageId"] for entry in answer["Successful"]]

    @contextmanager
    def sending(self) -> Iterator[list[str]]:
        """A producer at work meanwhile: new orders, some of them twice. Gives their ids."""
        sent: list[str] = []
        enough = threading.Event()

        def work() -> None:
            while not enough.wait(0.3):
                order_ids = [f"stream-{len(sent) + n}" for n in range(5)]
                self.send(*(event(order_id, "P-STREAM") for order_id in [*order_ids, order_ids[0]]))
                sent.extend(order_ids)

        producer = threading.Thread(target=work, name="producer")
        producer.start()
        try:
            yield sent
        finally:
            enough.set()
            producer.join()

    @contextmanager
    def intake_paused(self) -> Iterator[None]:
        """What is sent meanwhile waits, and is then delivered together."""
        [mapping] = self.deployment.lambdas.list_event_source_mappings()["EventSourceMappings"]
        update = self.deployment.lambdas.update_event_source_mapping
        update(UUID=mapping["UUID"], Enabled=False)
        try:
            yield
        finally:
            update(UUID=mapping["UUID"], Enabled=True)

    def post(self, port: int, path: str, body: Any, headers: Mapping[str, str]) -> Answer:
        """Ask the API that listens on this port."""
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    # --- the results ---

    def order(self, order_id: str) -> dict[str, Any]:
        """The order as it is stored; empty if it is not."""
        return next((item for item in self.stage.items("ORDERS_TABLE") if item["orderId"] == order_id), {})

    def once_confirmed(self, *order_ids: str, seconds: float = 45) -> list[dict[str, Any]]:
        """The orders, when all of them are CONFIRMED."""

        def confirmed() -> list[dict[str, Any]]:
            orders = {item["orderId"]: item for item in self.stage.items("ORDERS_TABLE")}
            found = [orders.get(order_id, {}) for order_id in order_ids]
            return found if all(order.get("status") == "CONFIRMED" for order in found) else []

        return self.deployment.eventually(f"the confirmation of {', '.join(order_ids[:10])}", confirmed, seconds)

    def once_worked_off(self) -> None:
        """Wait until every message of the order queue is acknowledged."""
        url = self.stage.queue_url("ORDER_QUEUE")

        def empty() -> bool:
            found: Any = self.stage.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=DEPTH)["Attributes"]
            return not any(int(found[name]) for name in DEPTH)

        self.deployment.eventually("the end of the order queue", empty, 120)

    def dead_letter(self, original: str) -> dict[str, Any]:
        """The dead letter of a message, by its id: the body, and the attributes that say why it is there."""

        def found() -> dict[str, Any] | None:
            answer = self.stage.sqs.receive_message(
                QueueUrl=self.stage.queue_url("ORDER_DEAD_LETTERS"),
                MaxNumberOfMessages=10,
                VisibilityTimeout=0,  # looked at, and left there for whoever comes next
                MessageAttributeNames=["All"],
            )
            letters = [_letter(message) for message in answer.get("Messages", [])]
            return next((letter for letter in letters if letter.get("originalMessageId") == original), None)

        letter = self.deployment.eventually(f"the dead letter of message {original}", found)
        assert letter
        return letter

    def published_of(self, order_id: str) -> list[dict[str, Any]]:
        """The events of an order that came through the bus, when there is one."""

        def events() -> list[dict[str, Any]]:
            self.arrived += bus.published(self.stage)
            return [event for event in self.arrived if event["detail"]["orderId"] == order_id]

        return self.deployment.eventually(f"an event of {order_id}", events)

    def alerts(self) -> list[str]:
        """What the operator has received since the last time."""
        return bus.take(self.stage, "alerts")

    def check_conserved(self) -> None:
        """Every order stored has ended, or is confirmed; all stock and all money is where their statuses say."""
        check_conserved(self.stage, STOCK)


@contextmanager
def deployed(folder: Path, to_run: str) -> Iterator[DeployedShop]:
    """The stage as it is configured at present, deployed to an emulator of its own by `chalice deploy`; skips the test
    unless REQUIRE_EMULATOR=1."""
    if os.environ.get("REQUIRE_EMULATOR") != "1":
        skip("deploys to an emulator of AWS, which takes minutes", to_run=to_run)
    try:
        with engine.running() as emulator, pytest.MonkeyPatch.context() as patch:
            patch.delenv("AWS_SESSION_TOKEN", raising=False)
            for name, value in emulator.credentials.items():
                patch.setenv(name, value)
            deployment = Deployment(emulator, folder)
            deployment.create_resources()
            shop = DeployedShop(deployment)
            shop.open()
            deployment.chalice("deploy")
            yield shop
    except engine.Unavailable as missing:
        pytest.fail(str(missing))


def _letter(message: Any) -> dict[str, Any]:
    attributes = {name: value.get("StringValue") for name, value in message.get("MessageAttributes", {}).items()}
    return {"body": message["Body"], **attributes}
