"""Claims of order ids, for orders without a key: the Idempotency table lends an id for a while, nothing else."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.aws_faults import faults
from chalicelib.adapters.dynamodb.items import from_item, to_item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True)
class ClaimTable:
    """The port `Claims` on DynamoDB."""

    client: "DynamoDBClient"
    table: str

    def claim_order_id(
        self, claim_id: str, order_id: str, now: datetime, window: timedelta, instead_of: str | None = None
    ) -> str:
        """The order id of this claim until its window is over: `order_id` if the claim was free.

        It is free when absent or expired, or when its order id is `instead_of`. Expiry is compared here; TTL only
        sweeps up. Raises Unavailable, Rejected.
        """
        values = {":now": int(now.timestamp()), ":old": instead_of}
        condition = "attribute_not_exists(id) OR expiresAt <= :now" + (" OR orderId = :old" if instead_of else "")
        expires_at = int((now + window).timestamp())
        with faults():
            try:
                self.client.put_item(
                    TableName=self.table,
                    Item=to_item({"id": claim_id, "orderId": order_id, "expiresAt": expires_at}),
                    ConditionExpression=condition,
                    ExpressionAttributeValues=to_item(values),
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except self.client.exceptions.ConditionalCheckFailedException as refused:
                # One's own first try, its answer lost, looks like this too: it has one's own order id.
                response: Any = refused.response
                return str(from_item(response["Item"])["orderId"])
        return order_id

    def claimed_order_id(self, claim_id: str, now: datetime) -> str | None:
        """The order id of a claim, if its window is not over. Raises Unavailable, Rejected."""
        key: Any = {"id": {"S": claim_id}}
        with faults():
            answer = self.client.get_item(TableName=self.table, Key=key, ConsistentRead=True)
        values = from_item(answer.get("Item", {}))
        return str(values["orderId"]) if values and values["expiresAt"] > int(now.timestamp()) else None
