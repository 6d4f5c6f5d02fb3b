"""A payment provider for laptops and trials. It keeps its own ledger, as a real one does."""

import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from chalicelib import times
from chalicelib.adapters.aws_faults import faults
from chalicelib.adapters.dynamodb.items import from_item, to_item
from chalicelib.domain.order import two_decimals
from chalicelib.domain.outcomes import Charged, Declined, NothingToRefund, Refunded
from chalicelib.faults import PaymentUnknown, Rejected, Unavailable
from chalicelib.times import Clock, utc_now

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

T = TypeVar("T")


@dataclass
class SimulatedPayments:
    """The ledger has a row for each payment: CHARGED, DECLINED, REFUNDED, or CLOSED, which closes what was not charged.

    A row says when it was made.

    `decline_percent` of the orders are declined, by their ids, so that a retry gets the same answer.
    """

    client: "DynamoDBClient"
    table: str
    decline_percent: int = 0
    clock: Clock = utc_now

    def charge(
        self,
        payment_key: str,
        amount: Decimal,
        currency: str,
        *,
        method: str | None = None,
        customer_id: str | None = None,
    ) -> Charged | Declined:
        """As the port says, whatever the method is."""
        return _clear(lambda: self._charge(payment_key, amount, currency))

    def refund(self, payment_key: str) -> Refunded | NothingToRefund:
        """As the port says."""
        return _clear(lambda: self._refund(payment_key))

    def _charge(self, payment_key: str, amount: Decimal, currency: str) -> Charged | Declined:
        order_id = payment_key.partition(".")[0]
        declined = zlib.crc32(f"payment of {order_id}".encode()) % 100 < self.decline_percent
        entry: dict[str, Any] = {
            "paymentKey": payment_key,
            "state": "DECLINED" if declined else "CHARGED",
            "paymentId": f"pay-{uuid.uuid4()}",
            "amount": two_decimals(amount),
            "currency": currency,
        }
        row = self._enter(entry) or entry
        if row["state"] != "CHARGED":
            return Declined("the payment is declined" if row["state"] == "DECLINED" else "the payment is closed")
        if (row["amount"], row["currency"]) != (amount, currency):
            raise PaymentUnknown(f"the payment {payment_key} was over another amount")
        return Charged(row["paymentId"])

    def _refund(self, payment_key: str) -> Refunded | NothingToRefund:
        # The tombstone first: whichever of charge and refund writes the row decides, and there is no gap between
        # looking and closing into which a charge could fall.
        row = self._enter({"paymentKey": payment_key, "state": "CLOSED"})
        if row is None or row["state"] in ("CLOSED", "DECLINED"):
            return NothingToRefund()
        with faults():
            self.client.update_item(
                TableName=self.table,
                Key=to_item({"paymentKey": payment_key}),
                UpdateExpression="SET #state = :refunded",
                ConditionExpression="#state IN (:charged, :refunded)",
                ExpressionAttributeNames={"#state": "state"},
                ExpressionAttributeValues=to_item({":charged": "CHARGED", ":refunded": "REFUNDED"}),
            )
        return Refunded(row["paymentId"])

    def _enter(self, entry: dict[str, Any]) -> dict[str, Any] | None:
        """Write the row if there is none yet; the row that exists if there is one."""
        with faults():
            try:
                self.client.put_item(
                    TableName=self.table,
                    Item=to_item(entry | {"at": times.to_text(self.clock())}),
                    ConditionExpression="attribute_not_exists(paymentKey)",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except self.client.exceptions.ConditionalCheckFailedException as refused:
                response: Any = refused.response
                return from_item(response["Item"])
        return None


def _clear(call: Callable[[], T]) -> T:
    try:
        return call()
    except (Unavailable, Rejected) as fault:
        raise PaymentUnknown(str(fault)) from fault
