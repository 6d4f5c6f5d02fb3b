"""`stage smoke`: whether a stage does what it is for, tried with an order and a bad message of a test's own."""

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from ssl import create_default_context
from typing import Any, Protocol, TypeVar
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import boto3
import click
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import NoCredentialsError

from chalicelib import exact_json
from chalicelib.service import Service
from chalicelib.settings import app_settings
from deploy.stages import DEPLOYED
from ops import output
from ops.audit import Record, audited
from ops.stages import entered

T = TypeVar("T")

CUSTOMER = "SMOKE-TEST"
"""Whose orders these are; `orders list SMOKE-TEST` has them."""

_ORDERS = 5
"""Placed at most: the simulated payment provider of `dev` declines one of five."""

_LOOK_VISIBILITY_TIMEOUT = 30
_SECONDS = 120
"""For which each result is waited for: the consumer may have to start first."""


class Broken(click.ClickException):
    """The stage does not do what it is for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the API; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Api(Protocol):
    """A way to the API of the stage. Raises Broken if it does not answer."""

    def __call__(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer: ...


@dataclass(frozen=True)
class HttpApi:
    """The API over HTTP, with what the stage requires: the signature of the present credentials (Signature Version 4),
    or an access token."""

    url: str
    signed: bool
    token: str = ""

    def __call__(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        request = AWSRequest(method, self.url + path, dict(headers), body)
        if self.token:
            request.headers["Authorization"] = f"Bearer {self.token}"
        if self.signed:
            session = boto3.Session()
            if (credentials := session.get_credentials()) is None:
                raise NoCredentialsError
            SigV4Auth(credentials, "execute-api", session.region_name).add_auth(request)
        sent = Request(self.url + path, body or None, dict(request.headers.items()), method=method)
        try:
            trusted = create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
            with urlopen(sent, timeout=30, context=trusted) as answer:
                return _answer(answer)
        except HTTPError as refusal:
            with refusal:
                return _answer(refusal)
        except (OSError, HTTPException) as fault:
            raise Broken(f"{method} {path}: {self.url} does not answer: {fault}.") from fault


@click.command()
@click.argument("name", metavar="STAGE")
@click.option("--api", "url", envvar="API", help="The URL of the API; otherwise the one that `make deploy` printed.")
@click.option("--token", envvar="TOKEN", default="", help="A service's access token; better in the variable TOKEN.")
def smoke(name: str, url: str | None, token: str) -> None:
    """Place an order, repeat it, read it, cancel it; send a message that cannot be handled, and clean it up.

    The orders are of customer SMOKE-TEST. They take stock and are charged, and give back both.
    """
    with entered(name) as service, audited(service, "stage smoke") as record:
        auth = app_settings().auth
        if auth == "cognito" and not token:
            raise click.ClickException(
                f"{name} takes access tokens: put one of a service into TOKEN (docs/deploying.md, Who may call)."
            )
        api = HttpApi((url or _url(name)).rstrip("/"), auth == "iam", token if auth == "cognito" else "")
        for done in steps(service, api, record, lambda: time.sleep(1), _SECONDS):
            output.say(f"ok  {done}")


def steps(service: Service, api: Api, record: Record, pause: Callable[[], object], looks: int) -> Iterator[str]:
    """What was shown, step by step. Each result is looked for so many times, with a pause in between. Raises Broken."""
    trial = _Trial(service, api, record, pause, looks)
    try:
        yield from trial.orders()
        yield from trial.bad_message()
    except KeyError as missing:
        raise Broken(f"An answer lacks {missing}.") from missing


@dataclass(frozen=True)
class _Trial:
    service: Service
    api: Api
    record: Record
    pause: Callable[[], object]
    looks: int

    def orders(self) -> Iterator[str]:
        if (health := _json(self._ask("GET", "/health", 200))["status"]) != "ok":
            raise Broken(f"The API says that it is {health}.")
        yield "the API answers"
        for _ in range(_ORDERS):
            key = f"smoke-{uuid.uuid4()}"
            body = exact_json.dumps(self._order()).encode()
            first = self._ask("POST", "/orders", 201, body, key)
            order_id = str(_json(first)["orderId"])
            self.record.ids.append(order_id)
            yield f"order {order_id} is placed"
            again = self._ask("POST", "/orders", 201, body, key)
            if again.body != first.body or again.headers.get("idempotent-replayed") != "true":
                raise Broken(f"The same request with the key {key} was not answered as the first time.")
            yield "the same request is answered with the same order"
            order = self._until(f"Order {order_id} is not decided", partial(self._decided, order_id))
            yield f"it is {order['status']}"
            if order["status"] == "CONFIRMED":
                yield from self._cancelling(order_id)
                return
            if order.get("failureReason") != "PAYMENT_DECLINED":
                raise Broken(f"Order {order_id} is {order['status']}: {order.get('failureReason')}.")
        raise Broken(f"The payments of {_ORDERS} orders were declined.")

    def _order(self) -> dict[str, Any]:
        """Of one unit of the cheapest product."""
        products = _json(self._ask("GET", "/products", 200))["products"]
        if not products:
            raise Broken("The catalogue is empty: load one, and try again.")
        product = min(products, key=lambda each: each["price"])
        items = [{"productId": product["productId"], "quantity": 1}]
        return {"customerId": CUSTOMER, "items": items, "totalAmount": product["price"]}

    def _decided(self, order_id: str) -> dict[str, Any] | None:
        order = self._order_now(order_id)
        return order if order["status"] not in ("PENDING", "RESERVED") else None

    def _cancelling(self, order_id: str) -> Iterator[str]:
        path = f"/orders/{quote(order_id)}/cancel"
        first, again = (self._ask("POST", path, 200, b'{"reason": "smoke test"}') for _ in range(2))
        if again.body != first.body:
            raise Broken(f"Order {order_id} was cancelled twice, with two answers.")
        self._until(f"Order {order_id} is not refunded", lambda: self._order_now(order_id).get("refund") == "DONE")
        if (status := self._order_now(order_id)["status"]) != "CANCELLED":
            raise Broken(f"Order {order_id} was cancelled, and is {status}.")
        yield "it is cancelled and refunded, once"

    def _order_now(self, order_id: str) -> dict[str, Any]:
        order = _json(self._ask("GET", f"/orders/{quote(order_id)}", 200))
        if order["orderId"] != order_id or order["customerId"] != CUSTOMER:
            raise Broken(f"Instead of order {order_id}, order {order['orderId']} was read.")
        return order

    def bad_message(self) -> Iterator[str]:
        """It must be kept with a reason; then it is deleted, and only it."""
        body = f"not JSON: smoke-{uuid.uuid4()}"
        self.service.dead_letters.order_queue.send(body, {})
        reason = self._until(f"The message {body!r} is not among the dead letters", lambda: self._removed(body))
        if "line 1, column 1" not in reason:
            raise Broken(f"The message {body!r} was kept, but not with its reason: {reason}.")
        yield "a message that is not JSON is kept with its reason, and was deleted"

    def _removed(self, body: str) -> str | None:
        letters = self.service.dead_letters
        with letters.receiving(_LOOK_VISIBILITY_TIMEOUT) as in_flight:
            for letter in in_flight.letters(1000):
                if letter.body == body:
                    letters.purge(in_flight, [letter])
                    return letter.reason
        return None

    def _ask(self, method: str, path: str, status: int, body: bytes = b"", key: str = "") -> Answer:
        headers = {"Content-Type": "application/json"} if body else {}
        answer = self.api(method, path, body, headers | ({"Idempotency-Key": key} if key else {}))
        if answer.status != status:
            said = answer.body[:500].decode("utf-8", "replace")
            raise Broken(f"{method} {path} was answered {answer.status} instead of {status}: {said}")
        return answer

    def _until(self, otherwise: str, look: Callable[[], T | None]) -> T:
        """What is found in time."""
        for _ in range(self.looks):
            if found := look():
                return found
            self.pause()
        raise Broken(f"{otherwise} after {self.looks} looks, one a second.")


def _json(answer: Answer) -> dict[str, Any]:
    try:
        document = exact_json.loads(answer.body)
    except exact_json.InvalidJson as fault:
        raise Broken(f"An answer is not JSON: {fault}.") from fault
    if not isinstance(document, dict):
        raise Broken(f"An answer is not a JSON object: {answer.body[:100]!r}.")
    return document


def _answer(response: Any) -> Answer:
    return Answer(response.status, {n.lower(): v for n, v in response.headers.items()}, response.read())


def _url(stage: str) -> str:
    """Of the API of a stage: an output of its stack. Raises ClickException."""
    if stage not in DEPLOYED:
        return f"http://127.0.0.1:{os.environ.get('PORT', '8000')}"
    stacks = boto3.client("cloudformation").describe_stacks(StackName=f"orderonce-{stage}")["Stacks"]
    found = [o["OutputValue"] for s in stacks for o in s.get("Outputs", ()) if o["OutputKey"] == "EndpointURL"]
    if not found:
        raise click.ClickException(f"The stack orderonce-{stage} has no output EndpointURL: name the API with --api.")
    return found[0]
