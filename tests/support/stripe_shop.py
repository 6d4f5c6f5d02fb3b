"""Customers who pay by Stripe: the adapter on a fake of Stripe, with a card for each payment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from chalicelib.adapters import clients
from chalicelib.adapters.dynamodb.payment_ledger import PaymentLedger
from chalicelib.adapters.stripe_api import StripeApi
from chalicelib.adapters.stripe_payments import StripePayments
from chalicelib.domain.outcomes import Charged, Declined, NothingToRefund, Refunded, RefundPending
from chalicelib.use_cases.ports import Payments
from tests.support.shop import Shop
from tests.support.stage import Stage
from tests.support.stripe_fake import SECRET_KEY, StripeFake
from tests.support.stripe_workers import Calls, DirectClient

PAID = Decimal("109.97")
PLACE_OF_KEY = "secretsmanager:orderonce/test/stripe"
DECLINING = "declined-68"
"""A payment key whose card is declined."""


def stripe_payments(stage: Stage, url: str) -> StripePayments:
    """The adapter on the stage's table and the fake at this address."""
    ledger = PaymentLedger(clients.dynamodb(), stage["PAYMENTS_TABLE"], "stripe")
    return StripePayments(StripeApi(SECRET_KEY, url), ledger)


def direct_api(fake: StripeFake) -> StripeApi:
    """Stripe without a network."""
    return StripeApi(SECRET_KEY, http_client=DirectClient(fake, Calls()))


def direct_payments(stage: Stage, fake: StripeFake) -> StripePayments:
    """The adapter on the stage's table, without a network."""
    return StripePayments(direct_api(fake), PaymentLedger(clients.dynamodb(), stage["PAYMENTS_TABLE"], "stripe"))


@dataclass
class StripeShop:
    """A provider as the port wants it: a payment key has the same card at each call, unless `cards` names another."""

    payments: Payments
    fake: StripeFake
    cards: dict[str, str | None] = field(default_factory=dict)

    def charge(
        self,
        payment_key: str,
        amount: Decimal = PAID,
        currency: str = "USD",
        *,
        method: str | None = None,
        customer_id: str | None = "CUST-1",
    ) -> Charged | Declined:
        if payment_key not in self.cards:
            self.cards[payment_key] = self.fake.add_method("declines" if payment_key == DECLINING else "succeeds")
        method = method or self.cards[payment_key]
        return self.payments.charge(payment_key, amount, currency, method=method, customer_id=customer_id)

    def refund(self, payment_key: str) -> Refunded | RefundPending | NothingToRefund:
        return self.payments.refund(payment_key)

    def pays_with(self, payment_key: str, does: str, saved_for: Mapping[str, str] | None = None) -> None:
        """The card of a payment; one that is saved for a Stripe Customer has that customer's metadata."""
        customer = None if saved_for is None else self.fake.add_customer(**saved_for)
        self.cards[payment_key] = self.fake.add_method(does, customer=customer)


def pay_by_stripe(shop: Shop, fake: StripeFake) -> None:
    """From now on Stripe takes the money of this shop, whose consumer may do what that needs."""
    shop.payments.provider = StripeShop(direct_payments(shop.stage, fake), fake)
    shop.stage.settings["STRIPE_KEY"] = PLACE_OF_KEY
