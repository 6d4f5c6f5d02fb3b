"""Orders in DynamoDB. Nothing writes an order but `Repository.commit`, and everything that it writes is conditional."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chalicelib import telemetry, times
from chalicelib.adapters.aws_faults import CONFLICTS, faults
from chalicelib.adapters.dynamodb.items import LATE_SHARD, REFUND_SHARD, SHARDS, Item, order_from_item, to_item
from chalicelib.adapters.dynamodb.reads import batch_get
from chalicelib.adapters.dynamodb.reasons import own_reason, read_cancellation
from chalicelib.adapters.dynamodb.writes import Writes
from chalicelib.domain.changes import Change, total_stock_delta
from chalicelib.domain.idempotency import ORDER_ID
from chalicelib.domain.order import Order
from chalicelib.domain.outcomes import Committed, Conflict, Refused
from chalicelib.faults import Unreadable
from chalicelib.use_cases.ports import Page, Waiting

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_MAX_CUSTOMER_ID_LENGTH = 128
"""As the schema has it; DynamoDB would refuse a key much longer."""


@dataclass(frozen=True)
class Repository:
    """The port `Orders` on DynamoDB: orders and the stock that they take."""

    client: "DynamoDBClient"
    table: str
    writes: Writes

    def commit(self, changes: Sequence[Change]) -> Committed | Refused:
        """Write all of the changes or none: an order without stock alone, anything else as one transaction.

        An order is named once; at most 100 orders and products. Raises Unavailable, Rejected.
        """
        with faults():
            if len(changes) == 1 and not total_stock_delta(changes):
                return self._alone(changes[0])
            return self._together(changes)

    def _alone(self, change: Change) -> Committed | Refused:
        ((kind, parameters),) = self.writes.action(change).items()
        try:
            if kind == "Put":
                self.client.put_item(**parameters)
                return Committed((change.after,))
            answer = self.client.update_item(**parameters, ReturnValues="ALL_NEW")
            return Committed((order_from_item(answer["Attributes"]),))
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "ConditionalCheckFailedException":
                # The same shape as a transaction's reason, but for the code's ending.
                return Refused((own_reason({**error.response, "Code": "ConditionalCheckFailed"}),))
            if code in CONFLICTS:
                return Refused((Conflict(),))
            raise

    def _together(self, changes: Sequence[Change]) -> Committed | Refused:
        units = total_stock_delta(changes)
        actions: Any = [self.writes.action(change) for change in changes]
        actions += [self.writes.stock_action(product_id, n) for product_id, n in units.items()]
        try:
            # botocore fills in a fresh ClientRequestToken and keeps it over its own retries:
            # a lost answer is never a second decrement.
            self.client.transact_write_items(TransactItems=actions)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "TransactionCanceledException":
                reasons: Any = error.response
                return read_cancellation(changes, units, reasons["CancellationReasons"])
            if code in CONFLICTS:
                return Refused(tuple(Conflict() for _ in changes))
            raise
        return Committed(tuple(change.after for change in changes))

    def get(self, order_id: str) -> Order | None:
        """The order as it is now (consistent read); None also for what cannot be an order id.

        Raises Unavailable, Rejected.
        """
        if not ORDER_ID.fullmatch(order_id):
            return None
        key: Any = {"orderId": {"S": order_id}}
        with faults():
            answer = self.client.get_item(TableName=self.table, Key=key, ConsistentRead=True)
            return order_from_item(answer["Item"]) if "Item" in answer else None

    def get_all(self, order_ids: Sequence[str]) -> list[Order]:
        """Those of at most 100 orders that exist and can be read, in their order. Raises Unavailable, Rejected."""
        wanted = {"Keys": [{"orderId": {"S": order_id}} for order_id in order_ids]}
        orders = map(_readable, batch_get(self.client, self.table, wanted))
        found = {order.order_id: order for order in orders if order}
        return [found[order_id] for order_id in order_ids if order_id in found]

    def list_by_customer(self, customer_id: str, limit: int, start: tuple[str, str] | None = None) -> Page:
        """A page of a customer's orders, newest first, from `start` on. Raises Unavailable, Rejected."""
        if not 1 <= len(customer_id) <= _MAX_CUSTOMER_ID_LENGTH:
            return Page((), None)
        query: dict[str, Any] = {"ExpressionAttributeValues": to_item({":customer": customer_id}), "Limit": limit}
        if start:
            key = {"customerId": customer_id, "createdAt": start[0], "orderId": start[1]}
            query["ExclusiveStartKey"] = to_item(key)
        with faults():
            answer = self.client.query(
                TableName=self.table,
                IndexName="CustomerIndex",
                KeyConditionExpression="customerId = :customer",
                ScanIndexForward=False,
                **query,
            )
        last = answer.get("LastEvaluatedKey")
        next_start = (last["createdAt"]["S"], last["orderId"]["S"]) if last else None
        orders = self.get_all([item["orderId"]["S"] for item in answer["Items"]])
        # The index lags behind: an id that was deleted and used again may be another customer's by now.
        return Page(tuple(order for order in orders if order.customer_id == customer_id), next_start)

    def overdue(self, now: datetime) -> Iterator[list[str]]:
        """The ids of the orders whose entry is due, up to 100 at a time; eventually consistent.

        Raises Unavailable, Rejected.
        """
        for first in (0, LATE_SHARD, REFUND_SHARD):
            for page in self._outbox(first, " AND outboxDueAt <= :now", now=times.to_text(now)):
                yield [item["orderId"]["S"] for item in page]

    def count_waiting(self, now: datetime) -> Waiting:
        """How many orders have had work left for long. Raises Unavailable, Rejected.

        Those that were retried for more than an hour have shards of their own, and so have pending refunds. Whatever
        has been due for an hour cannot be retried: so it is overdue, wherever it is.
        """
        hour_ago = times.to_text(now - timedelta(hours=1))
        late = sum(map(len, self._outbox(LATE_SHARD)))
        late += sum(map(len, self._outbox(0, " AND outboxDueAt < :hour_ago", hour_ago=hour_ago)))
        refunds = [item["outboxDueAt"]["S"] < hour_ago for page in self._outbox(REFUND_SHARD) for item in page]
        return Waiting(late + sum(refunds), len(refunds) - sum(refunds))

    def _outbox(self, first: int, condition: str = "", **values: str) -> Iterator[list[Item]]:
        """The entries of the shards from `first` on, a page at a time."""
        for shard in range(first, first + SHARDS):
            named = {f":{name}": value for name, value in values.items()}
            query: dict[str, Any] = {}
            while True:
                with faults():
                    page = self.client.query(
                        TableName=self.table,
                        IndexName="OutboxIndex",
                        KeyConditionExpression="outbox = :shard" + condition,
                        ExpressionAttributeValues=to_item({":shard": shard, **named}),
                        Limit=100,
                        **query,
                    )
                yield page["Items"]
                if "LastEvaluatedKey" not in page:
                    break
                query = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def _readable(item: Item) -> Order | None:
    try:
        return order_from_item(item)
    except Unreadable:
        # A newer release may have written it; it must not be in the way of the others.
        telemetry.warning("order cannot be read by this release", orderId=item["orderId"]["S"])
        return None
