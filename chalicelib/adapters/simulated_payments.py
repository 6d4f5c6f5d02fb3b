"""A payment provider for laptops and trials. It keeps its own ledger, as a real one does."""

import uuid
import zlib
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from chalicelib.adapters.dynamodb.payment_ledger import CLOSED, DECLINED, PaymentLedger
from chalicelib.domain.order import two_decimals
from chalicelib.domain.outcomes import Charged, Declined, NothingToRefund, Refunded
from chalicelib.domain.payment_key import order_id_of
from chalicelib.faults import PaymentUnknown
from chalicelib.providers import SIMULATED
from chalicelib.times import Clock, utc_now

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CHARGED, REFUNDED = "CHARGED", "REFUNDED"


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
        declined = zlib.crc32(f"payment of {order_id_of(payment_key)}".encode()) % 100 < self.decline_percent
        state, payment = DECLINED if declined else CHARGED, f"pay-{uuid.uuid4()}"
        values = {"paymentId": payment, "amount": two_decimals(amount), "currency": currency}
        row = self._ledger.enter(payment_key, state, **values) or {"state": state} | values
        if row["state"] != CHARGED:
            return Declined("the payment is declined" if row["state"] == DECLINED else "the payment is closed")
        if (row["amount"], row["currency"]) != (amount, currency):
            raise PaymentUnknown(f"the payment {payment_key} was over another amount")
        return Charged(row["paymentId"])

    def refund(self, payment_key: str) -> Refunded | NothingToRefund:
        """As the port says."""
        # The tombstone first: whichever of charge and refund writes the row decides, and there is no gap between
        # looking and closing into which a charge could fall.
        row = self._ledger.enter(payment_key, CLOSED)
        if row is None or row["state"] in (CLOSED, DECLINED):
            return NothingToRefund()
        self._ledger.change(payment_key, CHARGED, REFUNDED)
        return Refunded(row["paymentId"])

    @property
    def _ledger(self) -> PaymentLedger:
        return PaymentLedger(self.client, self.table, SIMULATED, self.clock)
