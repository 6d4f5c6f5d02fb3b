"""The ledger of payments: a row for each payment key. Whichever call writes the row first decides what it becomes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib import times
from chalicelib.adapters.aws_faults import faults
from chalicelib.adapters.dynamodb.items import from_item, to_item
from chalicelib.domain.books import RowState
from chalicelib.faults import OtherProvider, PaymentUnknown, Rejected, Unavailable
from chalicelib.providers import SIMULATED
from chalicelib.times import Clock, utc_now

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Row = dict[str, Any]

CLOSED, DECLINED = RowState.CLOSED, RowState.DECLINED
"""States in which no money was taken and none can be taken any more, whoever the provider is."""


@dataclass(frozen=True)
class PaymentLedger:
    """Rows of one provider; each names it, and has a `state`. Whatever is not a clear answer is PaymentUnknown.

    A row of another provider is OtherProvider, unless it is closed: its money is not here.
    """

    client: "DynamoDBClient"
    table: str
    provider: str
    clock: Clock = utc_now

    def get(self, payment_key: str) -> Row | None:
        """The row as it is now."""
        with _clear():
            answer = self.client.get_item(
                TableName=self.table, Key=to_item({"paymentKey": payment_key}), ConsistentRead=True
            )
        return self._own(answer["Item"]) if "Item" in answer else None

    def enter(self, payment_key: str, state: str, **values: Any) -> Row | None:
        """Write a row if there is none yet; the row that exists if there is one."""
        row = {"paymentKey": payment_key, "state": state, "provider": self.provider} | values
        with _clear():
            try:
                self.client.put_item(
                    TableName=self.table,
                    Item=to_item(row | {"at": times.to_text(self.clock())}),
                    ConditionExpression="attribute_not_exists(paymentKey)",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except self.client.exceptions.ConditionalCheckFailedException as refused:
                response: Any = refused.response
                return self._own(response["Item"])
        return None

    def change(self, payment_key: str, state: str, new_state: str, reason: str | None = None) -> Row:
        """Give a row that is in `state` another one, with a reason if there is one; the row as it is then."""
        values = {":state": state, ":new": new_state} | ({":reason": reason} if reason else {})
        with _clear():
            try:
                answer: Any = self.client.update_item(
                    TableName=self.table,
                    Key=to_item({"paymentKey": payment_key}),
                    UpdateExpression="SET #state = :new" + (", reason = :reason" if reason else ""),
                    ConditionExpression="#state = :state",
                    ExpressionAttributeNames={"#state": "state"},
                    ExpressionAttributeValues=to_item(values),
                    ReturnValues="ALL_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
                return from_item(answer["Attributes"])
            except self.client.exceptions.ConditionalCheckFailedException as refused:
                response: Any = refused.response
                return from_item(response["Item"])

    def _own(self, item: Any) -> Row:
        row = from_item(item)
        # Rows of the releases before this name no provider.
        provider = row.get("provider", SIMULATED)
        if provider != self.provider and row["state"] not in (CLOSED, DECLINED):
            raise OtherProvider(row["paymentKey"], provider)
        return row


@contextmanager
def _clear() -> Iterator[None]:
    try:
        with faults():
            yield
    except (Unavailable, Rejected) as fault:
        raise PaymentUnknown(str(fault)) from fault
