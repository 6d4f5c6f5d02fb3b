"""The few calls of Stripe that a payment is made of, and its errors in three kinds: refused, unknown, and bugs."""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from chalicelib import telemetry
from chalicelib.domain.payment_key import order_id_of
from chalicelib.faults import PaymentUnknown

if TYPE_CHECKING:
    import stripe

T = TypeVar("T")

ADDRESS = "https://api.stripe.com"

API_VERSION = "2026-10-28.endive"
"""The version that requests are made for and answers are read by; an account's own version changes nothing."""

CONNECT_TIMEOUT, READ_TIMEOUT = 2.0, 10.0
"""Seconds. Stripe's own default would wait for 80."""

POOL_SIZE = 16
"""Connections that are kept, as many as threads may pay at once."""

GIVEN_BACK = ("succeeded", "pending", "requires_action")
"""States of a refund that has not failed."""

LOST = "lost"
"""The state of a dispute that has given the money back."""

UNDER_WAY = ("needs_response", "under_review", "appeal_needs_response", "appeal_under_review")
"""States of a dispute that is not decided, and keeps the money."""

_NOT_THIS_METHOD = "the payment method cannot be used"
_NOT_THIS_AMOUNT = "this amount cannot be paid by card"

_METHOD = re.compile(r"[A-Za-z0-9_]{1,255}", re.ASCII)


class Refused(Exception):
    """Stripe says no: the same request would be refused again. `reason` is fit for the customer.

    `unexpected_state`: the intent has been paid, cancelled … by somebody else.
    """

    def __init__(self, reason: str, unexpected_state: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unexpected_state = unexpected_state


@dataclass(frozen=True, slots=True)
class Saver:
    """The Stripe Customer that a payment method is saved for; `customer_id` is whom its metadata names."""

    stripe_customer: str
    customer_id: str | None


def cents(made: "Sequence[stripe.Refund | stripe.Dispute]", *states: str) -> int:
    """How much of a payment the refunds, or the disputes, in these states are about."""
    return sum(each.amount for each in made if each.status in states)


class StripeApi:
    """Every method raises PaymentUnknown where Stripe gives no clear answer, and Refused as it says itself.

    No request is repeated, and Stripe's library gives each POST an idempotency key of its own: Stripe repeats what it
    has answered to a key, a 500 too, for a day. What was done is asked for instead.

    `key_refused` is called when Stripe does not know the secret key (any more).
    """

    def __init__(
        self,
        secret_key: str,
        address: str = ADDRESS,
        http_client: "stripe.HTTPClient | None" = None,
        key_refused: Callable[[], object] = lambda: None,
    ) -> None:
        import stripe  # not before it is used: a tenth of a second of a cold start

        # It writes the path of each request, which may name a payment method, and Stripe's messages.
        logging.getLogger("stripe").setLevel(logging.WARNING)
        self._key_refused = key_refused
        self._error = stripe.StripeError
        self._client = stripe.StripeClient(
            secret_key,
            stripe_version=API_VERSION,
            base_addresses={"api": address},
            max_network_retries=0,
            http_client=http_client or _kept_connections(),
        )

    def saver(self, method: str) -> Saver | None:
        """Whom the payment method is saved for. Refused: there is no such method."""
        if not _METHOD.fullmatch(method):
            raise Refused(_NOT_THIS_METHOD)
        customer = self._ask(
            lambda: self._client.v1.payment_methods.retrieve(method, {"expand": ["customer"]})
        ).customer
        if customer is None or isinstance(customer, str):
            return Saver(customer, None) if customer else None
        metadata = getattr(customer, "metadata", None)  # a deleted customer has none
        return Saver(customer.id, metadata.to_dict().get("customerId") if metadata else None)

    def create(self, payment_key: str, amount: Decimal, currency: str, stripe_customer: str | None) -> str:
        """The id of a new intent, which costs nothing until it is confirmed. Refused: it cannot be paid like this."""
        params: stripe.params.PaymentIntentCreateParams = {
            "amount": int(amount * 100),
            "currency": currency.lower(),
            "allowed_payment_method_types": ["card"],
            "metadata": {"orderId": order_id_of(payment_key), "paymentKey": payment_key},
        }
        if stripe_customer:
            params["customer"] = stripe_customer
        return self._ask(lambda: self._client.v1.payment_intents.create(params), _NOT_THIS_AMOUNT).id

    def confirm(self, intent: str, method: str) -> str:
        """Take the money; the intent's status. Refused: declined, or the method or the intent does not allow it."""
        return self._ask(
            lambda: self._client.v1.payment_intents.confirm(intent, {"payment_method": method, "off_session": True})
        ).status

    def status(self, intent: str) -> str:
        """How far it is. An intent that does not exist is unknown: it is of another account."""
        try:
            return self._ask(lambda: self._client.v1.payment_intents.retrieve(intent)).status
        except Refused as refused:
            raise PaymentUnknown(f"the payment intent {intent} is not in this Stripe account") from refused

    def end(self, intent: str) -> str:
        """Cancel it, unless it is too late for that; its status after that."""
        try:
            return self._ask(lambda: self._client.v1.payment_intents.cancel(intent)).status
        except Refused:
            return self.status(intent)

    def refunds(self, intent: str) -> "list[stripe.Refund]":
        """Its refunds, whoever made them."""
        return self._ask(lambda: self._client.v1.refunds.list({"payment_intent": intent, "limit": 100})).data

    def refund(self, intent: str) -> "stripe.Refund":
        """Begin to give back what is left of it. Refused: there is nothing left."""
        return self._ask(lambda: self._client.v1.refunds.create({"payment_intent": intent}))

    # --- for its books ---

    def intent(self, intent: str) -> "stripe.PaymentIntent | None":
        """All of an intent; None: it is not in this account."""
        try:
            return self._ask(lambda: self._client.v1.payment_intents.retrieve(intent))
        except Refused:
            return None

    def disputes(self, intent: str) -> "list[stripe.Dispute]":
        """Its disputes."""
        return self._ask(lambda: self._client.v1.disputes.list({"payment_intent": intent, "limit": 100})).data

    def search(self, payment_key: str) -> "list[stripe.PaymentIntent]":
        """What Stripe's search finds of a payment key: not what was made a moment ago, and nothing to rely on."""
        query = f"metadata['paymentKey']:'{payment_key}'"
        return self._ask(lambda: self._client.v1.payment_intents.search({"query": query, "limit": 100})).data

    def intents_since(self, since: datetime) -> "Iterator[list[stripe.PaymentIntent]]":
        """All intents that were made since then, the newest first, page by page. Lists are never behind."""
        return self._pages(self._client.v1.payment_intents.list, since)

    def refunds_since(self, since: datetime) -> "Iterator[list[stripe.Refund]]":
        """The same of refunds, with their intents."""
        return self._pages(self._client.v1.refunds.list, since, "data.payment_intent")

    def disputes_since(self, since: datetime) -> "Iterator[list[stripe.Dispute]]":
        """The same of disputes, with their intents."""
        return self._pages(self._client.v1.disputes.list, since, "data.payment_intent")

    def _pages(self, listed: Callable[[Any], Any], since: datetime, *expand: str) -> Iterator[Any]:
        params: dict[str, Any] = {"created": {"gte": int(since.timestamp())}, "limit": 100, "expand": list(expand)}
        while True:
            page = self._ask(lambda: listed(params))
            yield page.data
            if not page.has_more:
                return
            params["starting_after"] = page.data[-1].id

    def _ask(self, call: Callable[[], T], refusal: str = _NOT_THIS_METHOD) -> T:
        try:
            return call()
        except self._error as error:
            name = error.code or type(error).__name__
            # No message of Stripe's in logs and faults: it may name the payment method.
            if error.http_status == 401:
                self._key_refused()
            if error.http_status not in (400, 402, 404):
                raise PaymentUnknown(f"Stripe: {name} ({error.http_status}, {error.request_id})") from error
            if error.http_status == 402:
                # What it says of a card is for whoever holds it.
                raise Refused(error.user_message or refusal) from error
            unexpected_state = error.code == "payment_intent_unexpected_state"
            if not unexpected_state:
                telemetry.warning("Stripe refused a request", code=name, requestId=error.request_id)
            # A mistake of this service, or of its account: no payment method is to blame, so people must know.
            if refusal == _NOT_THIS_AMOUNT or name.startswith("parameter_"):
                telemetry.count("PaymentRequestsRefused")
            raise Refused(refusal, unexpected_state) from error


def _kept_connections() -> "stripe.HTTPClient":
    import requests
    import stripe

    session = requests.Session()
    session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=POOL_SIZE))
    return stripe.RequestsClient(timeout=(CONNECT_TIMEOUT, READ_TIMEOUT), session=session)
