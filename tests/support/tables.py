"""What is in a stage's tables, read and written past the code under test; and a repository on them."""

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from chalicelib.adapters.dynamodb.claims import ClaimTable
from chalicelib.adapters.dynamodb.items import OUTBOX_ATTRIBUTES, from_item, order_to_item
from chalicelib.adapters.dynamodb.repository import Repository
from chalicelib.adapters.dynamodb.writes import Writes
from chalicelib.domain.order import Order
from tests.support.aws_calls import AwsCalls
from tests.support.orders import PRICE
from tests.support.stage import Stage

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


def repository_on(stage: Stage, calls: AwsCalls) -> Repository:
    """A repository whose calls are watched. Its client retries as the service's does, but waits for a slow machine."""
    config = Config(retries={"mode": "standard", "total_max_attempts": 3}, read_timeout=30, max_pool_connections=16)
    client: DynamoDBClient = boto3.client("dynamodb", config=config)
    calls.watch(client)
    writes = Writes(stage["ORDERS_TABLE"], stage["INVENTORY_TABLE"], timedelta(days=90))
    return Repository(client, stage["ORDERS_TABLE"], writes)


def claims_beside(repository: Repository) -> ClaimTable:
    """The claims of the stage in the environment, on the repository's client."""
    return ClaimTable(repository.client, os.environ["IDEMPOTENCY_TABLE"])


def stock_up(stage: Stage, **units: int) -> None:
    """A row of the catalogue for each product."""
    for product_id, stock in units.items():
        stage.put_item("INVENTORY_TABLE", {"productId": product_id, "name": product_id, "price": PRICE, "stock": stock})


def stock_in(stage: Stage) -> dict[str, int]:
    """The units of each product."""
    return {item["productId"]: int(item["stock"]) for item in stage.items("INVENTORY_TABLE")}


def store(stage: Stage, *orders: Order) -> None:
    for order in orders:
        stage.put_item("ORDERS_TABLE", from_item(order_to_item(order)))


def statuses_in(stage: Stage) -> dict[str, str]:
    """The status of each order."""
    return {item["orderId"]: item["status"] for item in stage.items("ORDERS_TABLE")}


def books_in(stage: Stage) -> dict[str, dict[str, Any]]:
    """The simulated payment provider's ledger, by payment key."""
    return {row["paymentKey"]: row for row in stage.items("PAYMENTS_TABLE")}


Snapshot = dict[str, list[dict[str, Any]]]
"""The items of the tables that are restored together, by setting."""


def snapshot_of(stage: Stage) -> Snapshot:
    """What a restore to this second would bring back. The payments are the provider's, and never restored."""
    return {table: stage.items(table) for table in ("ORDERS_TABLE", "INVENTORY_TABLE", "IDEMPOTENCY_TABLE")}


def restore(stage: Stage, snapshot: Snapshot) -> None:
    """The tables are as they were then."""
    keys = {"ORDERS_TABLE": "orderId", "INVENTORY_TABLE": "productId", "IDEMPOTENCY_TABLE": "id"}
    for table, items in snapshot.items():
        for item in stage.items(table):
            stage.dynamodb.delete_item(TableName=stage[table], Key={keys[table]: {"S": item[keys[table]]}})
        for item in items:
            stage.put_item(table, item)


def create_like(client: Any, source: str, target: str) -> None:
    """An empty table with the keys and indexes of another, as a restore makes it."""
    described = client.describe_table(TableName=source)["Table"]
    parts = ("IndexName", "KeySchema", "Projection")
    indexes = [{part: each[part] for part in parts} for each in described.get("GlobalSecondaryIndexes", ())]
    client.create_table(
        TableName=target,
        BillingMode="PAY_PER_REQUEST",
        **{name: described[name] for name in ("AttributeDefinitions", "KeySchema")},
        **({"GlobalSecondaryIndexes": indexes} if indexes else {}),
    )


def forget_order(stage: Stage, order_id: str) -> None:
    """The order is gone, as its time to live or a restore of an older table would have it."""
    stage.dynamodb.delete_item(TableName=stage["ORDERS_TABLE"], Key={"orderId": {"S": order_id}})


def lose_entry(stage: Stage, order_id: str) -> None:
    """The order has no outbox entry, whatever work is left."""
    key: Any = {"orderId": {"S": order_id}}
    removal = f"REMOVE {', '.join(OUTBOX_ATTRIBUTES)}"
    stage.dynamodb.update_item(TableName=stage["ORDERS_TABLE"], Key=key, UpdateExpression=removal)
