"""Orders in DynamoDB. Nothing writes an order but `Repository.commit`, and all that it writes is conditional."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chalicelib import telemetry, times
from chalicelib.changes import Change, stock_of
from chalicelib.faults import Unavailable, faults
from chalicelib.idempotency import ORDER_ID
from chalicelib.items import LATE, SHARDS, Item, Unreadable, marshalled, order_of, plain
from chalicelib.order import Order
from chalicelib.refusals import CONFLICTS, Committed, Conflict, Refused, own_reason, refusal
from chalicelib.writes import Writes

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MOST_ACTIONS = 100
"""Actions in one transaction (Amazon DynamoDB Developer Guide, "Quotas")."""


_LONGEST_CUSTOMER_ID = 128
"""As the schema has it; DynamoDB would refuse a key much longer."""

_BATCH_TRIES = 6

_NOTICE: Any = {"id": {"S": "dead letters"}}
"""No reservation has such an id: theirs are UUIDs."""


@dataclass(frozen=True, slots=True)
class Page:
    """Orders, newest first, and where the next page starts: createdAt and order id (None: there is none)."""

    orders: tuple[Order, ...]
    following: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Notice:
    """What was told of the dead letters last: how many there were, and when."""

    count: int
    at: datetime


@dataclass(frozen=True)
class Repository:
    """Orders, the stock that they take, and the reservations of order ids."""

    client: "DynamoDBClient"
    orders_table: str
    idempotency_table: str
    writes: Writes

    def commit(self, changes: Sequence[Change]) -> Committed | Refused:
        """Write all of the changes or none: an order without stock alone, anything else as one transaction.

        An order is named once; at most 100 orders and products. Raises Unavailable, Rejected.
        """
        with faults():
            if len(changes) == 1 and not stock_of(changes):
                return self._alone(changes[0])
            return self._together(changes)

    def _alone(self, change: Change) -> Committed | Refused:
        ((kind, parameters),) = self.writes.action(change).items()
        try:
            if kind == "Put":
                self.client.put_item(**parameters)
                return Committed((change.after,))
            answer = self.client.update_item(**parameters, ReturnValues="ALL_NEW")
            return Committed((order_of(answer["Attributes"]),))
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "ConditionalCheckFailedException":
                # The same shape as a transaction's reason, but for the code's ending.
                return Refused((own_reason({**error.response, "Code": "ConditionalCheckFailed"}),))
            if code in CONFLICTS:
                return Refused((Conflict(),))
            raise

    def _together(self, changes: Sequence[Change]) -> Committed | Refused:
        units = stock_of(changes)
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
                return refusal(changes, units, reasons["CancellationReasons"])
            if code in CONFLICTS:
                return Refused(tuple(Conflict() for _ in changes))
            raise
        return Committed(tuple(change.after for change in changes))

    def reserve_order_id(
        self, reservation_id: str, order_id: str, now: datetime, window: timedelta, instead_of: str | None = None
    ) -> str:
        """The order id that this reservation stands for until its window is over: `order_id` if it was free.

        It is free when absent or expired, or when it stands for `instead_of`. Expiry is compared here; TTL only
        sweeps up. Raises Unavailable, Rejected.
        """
        values = {":now": int(now.timestamp()), ":old": instead_of}
        condition = "attribute_not_exists(id) OR expiresAt <= :now" + (" OR orderId = :old" if instead_of else "")
        expires_at = int((now + window).timestamp())
        with faults():
            try:
                self.client.put_item(
                    TableName=self.idempotency_table,
                    Item=marshalled({"id": reservation_id, "orderId": order_id, "expiresAt": expires_at}),
                    ConditionExpression=condition,
                    ExpressionAttributeValues=marshalled(values),
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except self.client.exceptions.ConditionalCheckFailedException as refused:
                # The own first try, its answer lost, looks like this too: it stands for the own order id.
                response: Any = refused.response
                return str(plain(response["Item"])["orderId"])
        return order_id

    def reserved_order_id(self, reservation_id: str, now: datetime) -> str | None:
        """The order id that a reservation stands for, if its window is not over. Raises Unavailable."""
        key: Any = {"id": {"S": reservation_id}}
        with faults():
            answer = self.client.get_item(TableName=self.idempotency_table, Key=key, ConsistentRead=True)
        values = plain(answer.get("Item", {}))
        return str(values["orderId"]) if values and values["expiresAt"] > int(now.timestamp()) else None

    def notice(self) -> Notice | None:
        """What was told of the dead letters last. Raises Unavailable."""
        with faults():
            answer = self.client.get_item(TableName=self.idempotency_table, Key=_NOTICE, ConsistentRead=True)
        values = plain(answer.get("Item", {}))
        return Notice(int(values["count"]), times.from_text(values["at"])) if values else None

    def set_notice(self, notice: Notice) -> None:
        """Remember what was told. Raises Unavailable."""
        item = _NOTICE | marshalled({"count": notice.count, "at": times.to_text(notice.at)})
        with faults():
            self.client.put_item(TableName=self.idempotency_table, Item=item)

    def get(self, order_id: str) -> Order | None:
        """The order as it stands (consistent read); None also for what is no order id at all. Raises Unavailable."""
        if not ORDER_ID.fullmatch(order_id):
            return None
        key: Any = {"orderId": {"S": order_id}}
        with faults():
            answer = self.client.get_item(TableName=self.orders_table, Key=key, ConsistentRead=True)
            return order_of(answer["Item"]) if "Item" in answer else None

    def get_all(self, order_ids: Sequence[str]) -> list[Order]:
        """Those of at most 100 orders that there are and can be read, in the order of the ids. Raises Unavailable."""
        wanted = {"Keys": [{"orderId": {"S": order_id}} for order_id in order_ids]}
        orders = map(_readable, batch_get(self.client, self.orders_table, wanted))
        found = {order.order_id: order for order in orders if order}
        return [found[order_id] for order_id in order_ids if order_id in found]

    def of_customer(self, customer_id: str, limit: int, start: tuple[str, str] | None = None) -> Page:
        """A page of a customer's orders, newest first, from `start` on. Raises Unavailable."""
        if not 1 <= len(customer_id) <= _LONGEST_CUSTOMER_ID:
            return Page((), None)
        query: dict[str, Any] = {"ExpressionAttributeValues": marshalled({":customer": customer_id}), "Limit": limit}
        if start:
            key = {"customerId": customer_id, "createdAt": start[0], "orderId": start[1]}
            query["ExclusiveStartKey"] = marshalled(key)
        with faults():
            answer = self.client.query(
                TableName=self.orders_table,
                IndexName="CustomerIndex",
                KeyConditionExpression="customerId = :customer",
                ScanIndexForward=False,
                **query,
            )
        last = answer.get("LastEvaluatedKey")
        following = (last["createdAt"]["S"], last["orderId"]["S"]) if last else None
        return Page(tuple(self.get_all([item["orderId"]["S"] for item in answer["Items"]])), following)

    def overdue(self, now: datetime) -> Iterator[list[str]]:
        """The ids of the orders whose mark is due, at most 100 at a time; eventually consistent. Raises Unavailable."""
        for shard in (*range(SHARDS), *range(LATE, LATE + SHARDS)):
            for page in self._outbox(shard, " AND outboxDueAt <= :now", {":now": times.to_text(now)}):
                yield [item["orderId"]["S"] for item in page["Items"]]

    def count_late(self) -> int:
        """How many orders have been waiting for more than an hour. Raises Unavailable."""
        return sum(page["Count"] for shard in range(LATE, LATE + SHARDS) for page in self._outbox(shard, "", {}))

    def _outbox(self, shard: int, condition: str, values: dict[str, Any]) -> Iterator[Any]:
        query: dict[str, Any] = {}
        while True:
            with faults():
                page = self.client.query(
                    TableName=self.orders_table,
                    IndexName="OutboxIndex",
                    KeyConditionExpression="outbox = :shard" + condition,
                    ExpressionAttributeValues=marshalled({":shard": shard, **values}),
                    Limit=100,
                    **query,
                )
            yield page
            if "LastEvaluatedKey" not in page:
                return
            query = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def _readable(item: Item) -> Order | None:
    try:
        return order_of(item)
    except Unreadable:
        # A newer release may have written it; it must not stand in the way of the others.
        telemetry.warning("order cannot be read by this release", orderId=item["orderId"]["S"])
        return None


def batch_get(
    client: "DynamoDBClient", table: str, wanted: dict[str, Any], sleep: Callable[[float], None] = time.sleep
) -> list[Item]:
    """The items of at most 100 keys of a table that there are: `wanted` is what BatchGetItem takes for it.

    DynamoDB may leave some keys unprocessed; they are asked for again after a pause with full jitter. Raises
    Unavailable, Rejected.
    """
    found: list[Item] = []
    requests: Any = {table: wanted} if wanted["Keys"] else {}
    for tries in range(_BATCH_TRIES):
        if not requests:
            return found
        sleep(random.random() * 0.05 * 2**tries if tries else 0)
        with faults():
            answer = client.batch_get_item(RequestItems=requests)
        found += answer["Responses"].get(table, ())
        requests = answer.get("UnprocessedKeys")
    if requests:
        raise Unavailable("BatchGetItem: keys are left unprocessed")
    return found
