"""Payments by Stripe. The ledger decides, not Stripe's memory: only the intent of a payment's row is ever confirmed."""

from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal

from chalicelib.adapters.dynamodb.payment_ledger import CLOSED, DECLINED, PaymentLedger, Row
from chalicelib.adapters.stripe_api import GIVEN_BACK, LOST, UNDER_WAY, Refused, StripeApi, cents
from chalicelib.domain.books import RowState
from chalicelib.domain.order import two_decimals
from chalicelib.domain.outcomes import Charged, Declined, NothingToRefund, Refunded, RefundPending
from chalicelib.faults import PaymentUnknown

_OPEN, _REFUNDING = RowState.OPEN, RowState.REFUNDING

_IS_CLOSED = "the payment is closed"
_CANCELLED = "the payment was cancelled"
_NO_METHOD = "the order has no payment method"
_NOT_THEIRS = "the payment method is another customer's"
_NEEDS_CUSTOMER = "the bank asks the customer to confirm the payment, which is not possible here"


@dataclass(frozen=True)
class StripePayments:
    """A row of the ledger is OPEN while its intent decides; DECLINED or CLOSED once that is cancelled, or if none was
    made; REFUNDING once a payment that was taken is closed: how far its refund is, Stripe knows.

    Nothing is lost but intents that are in no row. They are never confirmed, and cost nothing.
    """

    api: StripeApi
    ledger: PaymentLedger

    def charge(
        self,
        payment_key: str,
        amount: Decimal,
        currency: str,
        *,
        method: str | None = None,
        customer_id: str | None = None,
    ) -> Charged | Declined:
        """As the port says. An amount or a currency that Stripe does not take is declined."""
        row = self.ledger.get(payment_key)
        if row and (closed := _closed(row, amount, currency)):
            return closed
        try:
            stripe_customer = self._stripe_customer(method, customer_id)
            row = row or self._begin(payment_key, amount, currency, stripe_customer)
        except Refused as refused:
            return self._decline(payment_key, row, refused.reason)
        return _closed(row, amount, currency) or self._confirm(row, method or "")

    def refund(self, payment_key: str) -> Refunded | RefundPending | NothingToRefund:
        """As the port says."""
        row = self.ledger.enter(payment_key, CLOSED, reason=_IS_CLOSED)
        if row is None or row["state"] in (CLOSED, DECLINED):
            return NothingToRefund()
        if row["state"] == _OPEN:
            # First the end of the intent, then the row, then the refund: what the row says is true at any time, and
            # once money is on its way back, no charge says any more that it is taken.
            taken = self._ended(row, self.api.end(row["paymentId"])) == "succeeded"
            self.ledger.change(payment_key, _OPEN, _REFUNDING if taken else CLOSED, _IS_CLOSED)
            if not taken:
                return NothingToRefund()
        return self._give_back(row)

    def _stripe_customer(self, method: str | None, customer_id: str | None) -> str | None:
        """The Stripe Customer that the method is saved for, if any. Refused: this customer cannot pay with it."""
        if method is None:
            raise Refused(_NO_METHOD)
        saver = self.api.saver(method)
        if saver and (customer_id is None or saver.customer_id != customer_id):
            raise Refused(_NOT_THEIRS)
        return saver.stripe_customer if saver else None

    def _begin(self, payment_key: str, amount: Decimal, currency: str, stripe_customer: str | None) -> Row:
        """The row of the payment: with an intent of this call, or what another call wrote first."""
        intent = self.api.create(payment_key, amount, currency, stripe_customer)
        values = {"paymentId": intent, "amount": two_decimals(amount), "currency": currency}
        row = self.ledger.enter(payment_key, _OPEN, **values)
        if row is None:
            return {"paymentKey": payment_key, "state": _OPEN} | values
        # Or it is this call's own: botocore repeats a write whose answer was lost.
        if row.get("paymentId") != intent:
            with suppress(PaymentUnknown):
                self.api.end(intent)
        return row

    def _confirm(self, row: Row, method: str) -> Charged | Declined:
        """Pay the intent of the row, whoever made it."""
        intent = row["paymentId"]
        try:
            return self._outcome(row, self.api.confirm(intent, method), _NEEDS_CUSTOMER)
        except Refused as refused:
            if refused.unexpected_state:
                return self._outcome(row, self.api.status(intent), _CANCELLED)
            return self._decline(row["paymentKey"], row, refused.reason)

    def _decline(self, payment_key: str, row: Row | None, reason: str) -> Charged | Declined:
        """Close the payment. Only then it is declined: until then a slower call could still pay the open intent."""
        row = row or self.ledger.enter(payment_key, DECLINED, reason=reason)
        if row is None:
            return Declined(reason)
        if row["state"] != _OPEN:
            return Declined(row.get("reason", _IS_CLOSED))
        return self._outcome(row, self.api.end(row["paymentId"]), reason)

    def _outcome(self, row: Row, status: str, reason: str) -> Charged | Declined:
        """What the intent's status means. One that waits for something is cancelled: nobody will come."""
        if status not in ("succeeded", "canceled", "processing"):
            status = self.api.end(row["paymentId"])
        if self._ended(row, status) == "succeeded":
            return Charged(row["paymentId"])
        closed = self.ledger.change(row["paymentKey"], _OPEN, DECLINED, reason)
        return Declined(closed.get("reason", _IS_CLOSED))

    def _ended(self, row: Row, status: str) -> str:
        if status not in ("succeeded", "canceled"):
            raise PaymentUnknown(f"the payment intent {row['paymentId']} is {status}")
        return status

    def _give_back(self, row: Row) -> Refunded | RefundPending:
        """A refund that exists, else a new one. One that has failed does not count; a part that was refunded does."""
        intent, owed = row["paymentId"], int(row["amount"] * 100)
        refunds = self.api.refunds(intent)
        if cents(refunds, *GIVEN_BACK) < owed:
            try:
                refunds.append(self.api.refund(intent))
            except Refused as refused:
                refunds = self.api.refunds(intent)  # another call may have been faster
                if cents(refunds, *GIVEN_BACK) < owed:
                    return self._after_dispute(intent, owed - cents(refunds, *GIVEN_BACK), refused)
        return Refunded(intent) if cents(refunds, "succeeded") >= owed else RefundPending()

    def _after_dispute(self, intent: str, left: int, refused: Refused) -> Refunded | RefundPending:
        """Stripe refunds nothing while a payment is disputed. A dispute that is lost has given the money back."""
        disputes = self.api.disputes(intent)
        if cents(disputes, LOST) >= left:
            return Refunded(intent)
        if cents(disputes, *UNDER_WAY):
            return RefundPending()
        raise PaymentUnknown(f"Stripe does not refund the payment intent {intent}") from refused


def _closed(row: Row, amount: Decimal, currency: str) -> Declined | None:
    """What a closed row answers to a charge; None: its intent decides. Raises PaymentUnknown for another amount."""
    if row["state"] != _OPEN:
        return Declined(row.get("reason", _IS_CLOSED))
    if (row["amount"], row["currency"]) != (amount, currency):
        raise PaymentUnknown(f"the payment {row['paymentKey']} is over another amount")
    return None
