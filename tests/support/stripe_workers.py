"""Workers that pay by Stripe: their calls of Stripe and of the ledger are made one by one, and go wrong by number."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import SimpleNamespace
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import stripe
from botocore.exceptions import ReadTimeoutError

from chalicelib.adapters.dynamodb.payment_ledger import PaymentLedger
from chalicelib.adapters.stripe_api import StripeApi
from chalicelib.adapters.stripe_payments import StripePayments
from tests.support.aws_calls import Killed
from tests.support.stripe_fake import SECRET_KEY, Step, StripeFake, operation_of

T = TypeVar("T")


class Strike(Enum):
    """What happens to a call: it is not made, or its answer is lost; and the process knows it, or dies of it."""

    DROPPED = auto()
    LOST = auto()
    KILLED_BEFORE = auto()
    KILLED_AFTER = auto()


@dataclass
class Calls:
    """A worker's calls: `before` is called before each with its name; the one with the number `at` meets the strike."""

    before: Callable[[str], object] = lambda _: None
    at: int | None = None
    strike: Strike = Strike.DROPPED
    made: int = 0

    def make(self, name: str, call: Callable[[], T], no_answer: Exception) -> T:
        self.before(name)
        number, self.made = self.made, self.made + 1
        if number != self.at:
            return call()
        if self.strike in (Strike.LOST, Strike.KILLED_AFTER):
            call()
        raise no_answer if self.strike in (Strike.DROPPED, Strike.LOST) else Killed


def answered(
    fake: StripeFake, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any, step: Step = None
) -> tuple[str, int, Mapping[str, str]]:
    """What Stripe's library gets from the fake, without a network."""
    target = urlsplit(url)
    params = dict(parse_qsl(post_data or target.query))
    answer = fake.respond(method.upper(), target.path, params, dict(headers or {}), step)
    if answer is None:
        raise no_answer()
    return json.dumps(answer.body), answer.status, {}


def no_answer() -> stripe.APIConnectionError:
    return stripe.APIConnectionError("no answer")  # type: ignore[no-untyped-call]


class DirectClient(stripe.HTTPClient):
    """Stripe's library calls the fake without a network."""

    name = "direct"

    def __init__(self, fake: StripeFake, calls: Calls) -> None:
        super().__init__()
        self._fake, self._calls = fake, calls

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> tuple[str, int, Mapping[str, str]]:
        return self._calls.make(
            operation_of(method.upper(), urlsplit(url).path)[0],
            lambda: answered(self._fake, method, url, headers, post_data),
            no_answer(),
        )


class ConditionFailed(Exception):
    """The row is not as the write wants it; `response` has the row."""

    def __init__(self, row: Any) -> None:
        super().__init__("ConditionalCheckFailedException")
        self.response = {"Item": row}


class Table:
    """DynamoDB as the ledger uses it. Conditions are the ledger's two; DynamoDB Local shows that they are right."""

    exceptions = SimpleNamespace(ConditionalCheckFailedException=ConditionFailed)

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def get_item(self, **asked: Any) -> dict[str, Any]:
        row = self.rows.get(asked["Key"]["paymentKey"]["S"])
        return {"Item": dict(row)} if row else {}

    def put_item(self, **asked: Any) -> None:
        assert asked["ConditionExpression"] == "attribute_not_exists(paymentKey)"
        key = asked["Item"]["paymentKey"]["S"]
        if key in self.rows:
            raise ConditionFailed(self.rows[key])
        self.rows[key] = asked["Item"]

    def update_item(self, **asked: Any) -> dict[str, Any]:
        assert asked["ConditionExpression"] == "#state = :state"
        key, values = asked["Key"]["paymentKey"]["S"], asked["ExpressionAttributeValues"]
        if self.rows[key]["state"] != values[":state"]:
            raise ConditionFailed(self.rows[key])
        changed = {"state": values[":new"]} | ({"reason": values[":reason"]} if ":reason" in values else {})
        self.rows[key] = self.rows[key] | changed
        return {"Attributes": dict(self.rows[key])}


class WatchedTable:
    """A worker's connection to the table."""

    exceptions = Table.exceptions

    def __init__(self, table: Table, calls: Calls) -> None:
        self._table, self._calls = table, calls

    def __getattr__(self, operation: str) -> Any:
        write = getattr(self._table, operation)
        lost = ReadTimeoutError(endpoint_url="dynamodb")
        return lambda **params: self._calls.make(operation, lambda: write(**params), lost)


def worker(fake: StripeFake, table: Table, calls: Calls | None = None) -> StripePayments:
    """A process of its own, on the same Stripe and the same table."""
    calls = calls or Calls()
    client: Any = WatchedTable(table, calls)
    api = StripeApi(SECRET_KEY, http_client=DirectClient(fake, calls))
    return StripePayments(api, PaymentLedger(client, "payments", "stripe"))
