"""The last notification about the dead letters. It is one row of the Idempotency table."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib import times
from chalicelib.adapters.aws_faults import faults
from chalicelib.adapters.dynamodb.items import from_item, to_item
from chalicelib.use_cases.ports import LastAlert

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_KEY: Any = {"id": {"S": "dead letters"}}
"""No claim has such an id: theirs are UUIDs."""


@dataclass(frozen=True)
class LastAlertRow:
    """The port `AlertMemory` on DynamoDB."""

    client: "DynamoDBClient"
    table: str

    def get(self) -> LastAlert | None:
        """The last alert, if there was one. Raises Unavailable, Rejected."""
        with faults():
            answer = self.client.get_item(TableName=self.table, Key=_KEY, ConsistentRead=True)
        values = from_item(answer.get("Item", {}))
        return LastAlert(int(values["count"]), times.from_text(values["at"])) if values else None

    def set(self, alert: LastAlert) -> None:
        """Remember an alert. Raises Unavailable, Rejected."""
        item = _KEY | to_item({"count": alert.count, "at": times.to_text(alert.at)})
        with faults():
            self.client.put_item(TableName=self.table, Item=item)
