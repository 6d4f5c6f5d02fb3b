"""A payment provider for laptops and trials. It keeps books of its own, as a real one does, so they can be audited."""

import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from chalicelib.faults import Rejected, Unavailable, faults
from chalicelib.items import marshalled, plain
from chalicelib.order import two_decimals
from chalicelib.payments import Charged, Declined, NothingToRefund, PaymentUnknown, Refunded

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


T = TypeVar("T")


class TimesOut(Enum):
    """When a simulated call times out: before it took effect, after, or before it takes effect later."""

    BEFORE = "before"
    AFTER = "after"
    LATER = "later"


Trouble = Callable[[str, str], TimesOut | None]
"""Called with "charge" or "refund" and the order id: how this call goes wrong, if it does."""


@dataclass
class SimulatedPayments:
    """The ledger has one row an order: CHARGED, DECLINED, REFUNDED, or CLOSED, the tombstone of what was never charged.

    `decline_percent` of the orders are declined, by their ids, so that a retry meets the same fate.
    """

    client: "DynamoDBClient"
    table: str
    decline_percent: int = 0
    trouble: Trouble = lambda _operation, _order_id: None
    _later: list[Callable[[], Any]] = field(default_factory=list)

    def charge(self, order_id: str, amount: Decimal, currency: str) -> Charged | Declined:
        """As the port has it."""
        return self._in_trouble("charge", order_id, lambda: self._charge(order_id, amount, currency))

    def refund(self, order_id: str) -> Refunded | NothingToRefund:
        """As the port has it."""
        return self._in_trouble("refund", order_id, lambda: self._refund(order_id))

    def land(self) -> None:
        """Let the calls that timed out "before they take effect later" take effect now."""
        while self._later:
            self._later.pop()()

    def _charge(self, order_id: str, amount: Decimal, currency: str) -> Charged | Declined:
        declined = zlib.crc32(f"payment of {order_id}".encode()) % 100 < self.decline_percent
        entry: dict[str, Any] = {
            "orderId": order_id,
            "state": "DECLINED" if declined else "CHARGED",
            "paymentId": f"pay-{uuid.uuid4()}",
            "amount": two_decimals(amount),
            "currency": currency,
        }
        standing = self._enter(entry) or entry
        if standing["state"] != "CHARGED":
            return Declined("the payment is declined" if standing["state"] == "DECLINED" else "the payment is closed")
        if (standing["amount"], standing["currency"]) != (amount, currency):
            raise ValueError(f"the payment of {order_id} was over another amount")
        return Charged(standing["paymentId"])

    def _refund(self, order_id: str) -> Refunded | NothingToRefund:
        # The tombstone first: whichever of charge and refund writes the row decides, and there is no gap between
        # looking and closing into which a charge could fall.
        standing = self._enter({"orderId": order_id, "state": "CLOSED"})
        if standing is None or standing["state"] in ("CLOSED", "DECLINED"):
            return NothingToRefund()
        with faults():
            self.client.update_item(
                TableName=self.table,
                Key=marshalled({"orderId": order_id}),
                UpdateExpression="SET #state = :refunded",
                ConditionExpression="#state IN (:charged, :refunded)",
                ExpressionAttributeNames={"#state": "state"},
                ExpressionAttributeValues=marshalled({":charged": "CHARGED", ":refunded": "REFUNDED"}),
            )
        return Refunded(standing["paymentId"])

    def _enter(self, entry: dict[str, Any]) -> dict[str, Any] | None:
        """Write the row if there is none yet; the row that stands if there is one."""
        with faults():
            try:
                self.client.put_item(
                    TableName=self.table,
                    Item=marshalled(entry),
                    ConditionExpression="attribute_not_exists(orderId)",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except self.client.exceptions.ConditionalCheckFailedException as refused:
                response: Any = refused.response
                return plain(response["Item"])
        return None

    def _in_trouble(self, operation: str, order_id: str, call: Callable[[], T]) -> T:
        when = self.trouble(operation, order_id)
        if when is TimesOut.LATER:
            self._later.append(call)
        if when in (TimesOut.BEFORE, TimesOut.LATER):
            raise PaymentUnknown(f"{operation} of {order_id} timed out")
        try:
            answer = call()
        except (Unavailable, Rejected) as fault:
            raise PaymentUnknown(str(fault)) from fault
        if when is TimesOut.AFTER:
            raise PaymentUnknown(f"{operation} of {order_id} timed out")
        return answer
