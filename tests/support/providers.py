"""What a world of tests/support/world.py pays by: the simulation, or Stripe's adapter on a fake that remembers."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import cycle
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import stripe
from botocore.exceptions import EndpointConnectionError

from chalicelib.adapters.dynamodb.payment_ledger import PaymentLedger
from chalicelib.adapters.simulated_payments import SimulatedPayments
from chalicelib.adapters.stripe_api import StripeApi
from chalicelib.adapters.stripe_payments import StripePayments
from chalicelib.use_cases.ports import Payments
from tests.support.conservation import Books, Payment, simulated_books
from tests.support.faults import Mortal
from tests.support.stage import Stage
from tests.support.stripe_fake import SECRET_KEY, Refused, Step, StripeFake, Trouble, operation_of
from tests.support.stripe_server import serving
from tests.support.stripe_workers import answered, no_answer

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PROVIDERS = ("simulated", "stripe")

NO_NETWORK = "https://stripe.example"

Response = tuple[Any, int, Mapping[str, str]]

_STEPS: Mapping[str | None, Step] = {
    "throttled": Refused(429, "rate_limit", "Too many requests hit the API too quickly."),
    "failed": Trouble.FAILED,
    "conflict": Refused(409, "lock_timeout", "This object cannot be accessed right now."),
}
"""What a request to Stripe meets that a fault refuses."""


class Provider(Payments, Protocol):
    """Of a process. `decline_percent` of all payments are declined."""

    decline_percent: int


class WorldsProvider(Protocol):
    """What all processes of a world pay by."""

    charge_call: str
    """The call that takes the money."""

    def payments(self, client: "DynamoDBClient", process: Mortal) -> Provider:
        """For a process with this client, whose calls of the provider are those of its life too."""
        ...

    def method(self, customer_id: str) -> str | None:
        """The payment method that a customer's next request brings: a new one each time, as a shop makes them."""
        ...

    def books(self) -> Books:
        """What has been taken and given back. Raises AssertionError where more was taken than the ledger knows of."""
        ...

    def forget(self, payment_key: str) -> None:
        """Nothing may ever be heard of this payment again."""
        ...


@dataclass
class Simulated:
    """The simulation, whose ledger is the provider itself."""

    stage: Stage
    charge_call: str = "put_item"

    def payments(self, client: "DynamoDBClient", _: Mortal) -> Provider:
        return SimulatedPayments(client, self.stage["PAYMENTS_TABLE"])

    def method(self, _: str) -> None:
        return None

    def books(self) -> Books:
        return simulated_books(self.stage)

    def forget(self, payment_key: str) -> None:
        _delete_row(self.stage, payment_key)


@dataclass
class Stripe:
    """Stripe, on the clock of the world. It looks at the clock once an hour: then idempotency keys of yesterday are
    forgotten, pending refunds have succeeded or failed, and what was in processing is paid.

    Of three refunds one succeeds at once, one is pending first, and one fails after that. `decline_percent` of the
    payments fail, each time that one is tried: a card that is declined may succeed a moment later. `strange_percent` of
    the requests bring a card that is saved, another customer's, or unknown; so many payments are in processing first.
    """

    stage: Stage
    clock: Callable[[], datetime]
    chance: random.Random
    charge_call: str = "stripe confirm"
    decline_percent: int = 0
    strange_percent: int = 0
    fake: StripeFake = field(default_factory=StripeFake)
    url: str = NO_NETWORK
    """Where processes that are made from now on find the fake."""

    def __post_init__(self) -> None:
        self.fake.now = self.clock()
        self.fake.refunds_become = cycle([("succeeded",), ("pending", "succeeded"), ("pending", "failed")])
        self.fake.cards_do = iter(self._card_does, "")

    def payments(self, client: "DynamoDBClient", process: Mortal) -> "StripeProvider":
        ledger = PaymentLedger(client, self.stage["PAYMENTS_TABLE"], "stripe", self.clock)
        api = StripeApi(SECRET_KEY, self.url, StruckClient(self, process))
        return StripeProvider(self, StripePayments(api, ledger))

    def method(self, customer_id: str) -> str:
        if not self._happens(self.strange_percent):
            return self.fake.add_method()
        owner = self.chance.choice([customer_id, "another", None])
        return self.fake.add_method(customer=self.fake.add_customer(customerId=owner)) if owner else "pm_unknown"

    def save(self, method: str, customer_id: str) -> None:
        """A good card that the customer's orders may be paid with, however often."""
        self.fake.add_method(method=method, customer=self.fake.add_customer(customerId=customer_id))

    def send(self, step: Step, client: stripe.HTTPClient, method: str, url: str, headers: Any, data: Any) -> Response:
        """What is answered to a request that meets this step."""
        now = self.clock()
        if now - self.fake.now >= timedelta(hours=1):
            self.fake.advance(now - self.fake.now)
        if url.startswith(NO_NETWORK):
            return answered(self.fake, method, url, headers, data, step)
        assert step is None, "over HTTP a request meets what the server decides"
        return client.request(method, url, headers, data)

    @contextmanager
    def over_http(self) -> Iterator[None]:
        """Processes that are made meanwhile ask a server."""
        with serving(self.fake) as self.url:
            yield
        self.url = NO_NETWORK

    def books(self) -> Books:
        rows = {row["paymentKey"]: row for row in self.stage.items("PAYMENTS_TABLE")}
        for intent in self.fake.intents.values():
            own = rows.get(intent["metadata"]["paymentKey"], {}).get("paymentId")
            assert intent["status"] != "succeeded" or intent["id"] == own, f"paid, and not the row's: {intent}, {rows}"
        return {key: self._payment(row) for key, row in rows.items()}

    def forget(self, payment_key: str) -> None:
        _delete_row(self.stage, payment_key)
        for intent in self.fake.of_key(payment_key):
            del self.fake.intents[intent["id"]]

    def _payment(self, row: Mapping[str, Any]) -> Payment:
        intent = self.fake.intents.get(row.get("paymentId", ""), {"status": "canceled"})
        taken = intent["amount"] if intent["status"] == "succeeded" else 0
        back = sum(r["amount"] for r in self.fake.refunds_of(intent.get("id", "")) if r["status"] == "succeeded")
        closed = row["state"] in ("CLOSED", "DECLINED", "REFUNDING") and intent["status"] in ("succeeded", "canceled")
        return Payment(Decimal(taken) / 100, Decimal(back) / 100, closed, intent["id"] if taken else None)

    def _card_does(self) -> str | None:
        if self._happens(self.decline_percent):
            return self.chance.choice(["declines", "requires_action", "needs authentication"])
        return "processing" if self._happens(self.strange_percent) else None

    def _happens(self, percent: int) -> bool:
        return self.chance.random() * 100 < percent


@dataclass
class StripeProvider:
    """Of a process. Whether a card is declined is Stripe's to say, to all processes alike."""

    account: Stripe
    payments: Payments

    def __post_init__(self) -> None:
        self.charge, self.refund = self.payments.charge, self.payments.refund

    @property
    def decline_percent(self) -> int:
        return self.account.decline_percent

    @decline_percent.setter
    def decline_percent(self, percent: int) -> None:
        self.account.decline_percent = percent


class StruckClient(stripe.HTTPClient):
    """Requests of a process to Stripe: calls of its life, as those of AWS are. Stripe's library repeats none.

    At every second call "lost" is a 500 in place of no answer: either way it took effect.
    """

    name = "struck"

    def __init__(self, account: Stripe, process: Mortal) -> None:
        super().__init__()
        self._account, self._process = account, process
        self._client = stripe.RequestsClient(timeout=10)

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> Response:
        life = self._process.life
        call = life.begin(f"stripe {operation_of(method.upper(), urlsplit(url).path)[0]}", repeated=False)

        def send(step: Step = None) -> Response:
            return self._account.send(step, self._client, method, url, headers, post_data)

        if call.fault == "lost" and call.number % 2:
            return send(Trouble.FAILED_AFTER)
        if step := _STEPS.get(call.fault):
            return send(step)
        try:
            answer: Response = life.attempt(call, send, no_answer)
        except EndpointConnectionError as dropped:
            raise no_answer() from dropped
        return answer


def _delete_row(stage: Stage, payment_key: str) -> None:
    stage.dynamodb.delete_item(TableName=stage["PAYMENTS_TABLE"], Key={"paymentKey": {"S": payment_key}})
