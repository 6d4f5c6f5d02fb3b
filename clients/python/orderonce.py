"""A client of OrderOnce, in one file to copy. Python 3.11 or newer and nothing else; botocore only for `sigv4`.

An order is placed once, however often the network fails: its key is made before the first try, every try sends it,
and whatever ends the call hands it back. All requests may be repeated, so all are tried again.

Amounts are exact: Decimals come back, and Decimals may be sent. Orders are the documents of the API, as dicts.
"""

import http.client
import itertools
import json
import random
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlencode, urljoin

Json = dict[str, Any]

Authorize = Callable[[str, str, Mapping[str, str], bytes | None], Mapping[str, str]]
"""Asked for each try, with its method, URL, headers and body: the headers to send."""

_NONE: Mapping[str, str] = {}
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 0.2, 10.0


class Failed(Exception):
    """A call failed. `key` is the key of the order to be placed: with it the call can be made again later, safely.

    `retryable`: the same call may succeed later, not before `retry_after` seconds.
    """

    def __init__(self, why: str, *, retryable: bool, retry_after: float = 0.0) -> None:
        super().__init__(why)
        self.retryable = retryable
        self.retry_after = retry_after
        self.key: str | None = None


class NoAnswer(Failed):
    """No answer came, or none that is whole: the request may have taken effect. Or it could not be authorized."""


class Problem(Failed):
    """The answer is an error (RFC 9457); `document` has all of it.

    `kind` is the last part of its `type`, such as "invalid-order". Quote `instance` to the service's operator.
    """

    def __init__(self, status: int, document: Json, retry_after: float) -> None:
        self.status = status
        self.document = document
        self.type = str(document.get("type", "about:blank"))
        self.kind = self.type.rpartition("/")[2]
        self.detail = str(document.get("detail") or document.get("message") or document.get("title") or "")
        self.instance: str | None = document.get("instance")
        self.errors: list[Json] = document.get("errors", [])
        retryable = document.get("retryable", status == 429 or status >= 500)
        super().__init__(f"{status} {self.kind}: {self.detail}", retryable=retryable, retry_after=retry_after)


@dataclass(frozen=True)
class Placed:
    """An order that is placed, as it was first answered. `replayed`: an earlier try had placed it."""

    key: str
    order: Json
    replayed: bool


def unsigned(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Mapping[str, str]:
    """For the laptop stack, where everybody may call."""
    return headers


def bearer(token: Callable[[], str]) -> Authorize:
    """For a stage with AUTH=cognito. `token` gives an access token that is valid now; it is asked for each try."""

    def authorize(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Mapping[str, str]:
        return {**headers, "Authorization": f"Bearer {token()}"}

    return authorize


def sigv4(region: str) -> Authorize:
    """For a stage with AUTH=iam: each try is signed, with the credentials that botocore finds (environment, role …)."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.session import Session

    credentials = Session().get_credentials()
    if credentials is None:
        raise ValueError("there are no AWS credentials")

    def authorize(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Mapping[str, str]:
        request = AWSRequest(method, url, dict(headers), body)
        SigV4Auth(credentials.get_frozen_credentials(), "execute-api", region).add_auth(request)
        return dict(request.headers.items())

    return authorize


@dataclass(frozen=True)
class OrderOnce:
    """The service at a URL, the stage included. Every method raises Failed: a Problem or NoAnswer.

    A call makes at most `tries` tries, and none later than `seconds` after its beginning. A try fails when nothing
    arrives for `timeout` seconds. May be shared by threads.
    """

    url: str
    authorize: Authorize = unsigned
    tries: int = 8
    seconds: float = 60.0
    timeout: float = 15.0
    sleep: Callable[[float], object] = time.sleep
    clock: Callable[[], float] = time.time

    def place(self, order: Mapping[str, Any], key: str | None = None) -> Placed:
        """Place an order. To place it once even if this process ends, store a key of your own first, and give it here.

        A key is 1 to 255 visible ASCII characters, new for each purchase; without one, a UUID is made.
        """
        if key is None:
            key = str(uuid.uuid4())
        try:
            headers, document = self._call("POST", self._url("orders"), order, {"Idempotency-Key": _quoted(key)})
        except Failed as failed:
            failed.key = key
            raise
        return Placed(key, document, headers.get("Idempotent-Replayed") == "true")

    def get(self, order_id: str) -> Json:
        """The order as it is now, with its history."""
        return self._call("GET", self._url("orders", order_id))[1]

    def cancel(self, order_id: str, reason: str | None = None) -> Json:
        """Cancel an order that is not shipped."""
        return self._act(order_id, "cancel", reason=reason)

    def ship(self, order_id: str, carrier: str | None = None, tracking_number: str | None = None) -> Json:
        """The goods leave."""
        return self._act(order_id, "ship", carrier=carrier, trackingNumber=tracking_number)

    def deliver(self, order_id: str) -> Json:
        """The goods have arrived."""
        return self._act(order_id, "deliver")

    def find(self, customer_id: str, key: str) -> Json:
        """Which order a key of this customer names: `used`, and then `orderId` and `status`."""
        query = urlencode({"idempotencyKey": _quoted(key)}, quote_via=quote)
        return self._call("GET", f"{self._url('customers', customer_id, 'orders')}?{query}")[1]

    def orders(self, customer_id: str, limit: int = 20) -> Iterator[Json]:
        """The customer's orders, newest first. `limit` is that of a page; the pages are read as they are needed."""
        url = f"{self._url('customers', customer_id, 'orders')}?limit={limit}"
        while url:
            page = self._call("GET", url)[1]
            yield from page["orders"]
            # `next` is a path from the root, the stage included.
            url = urljoin(url, page["next"]) if "next" in page else ""

    def _act(self, order_id: str, verb: str, **details: str | None) -> Json:
        given = {name: value for name, value in details.items() if value is not None}
        return self._call("POST", self._url("orders", order_id, verb), given)[1]

    def _url(self, *segments: str) -> str:
        return "/".join([self.url.rstrip("/"), *(quote(segment, safe="") for segment in segments)])

    def _call(
        self, method: str, url: str, document: Mapping[str, Any] | None = None, headers: Mapping[str, str] = _NONE
    ) -> tuple[Mapping[str, str], Json]:
        """Headers and document of the answer, after as many tries as it takes. All of them send the same bytes."""
        body = None if document is None else json.dumps(dict(document), default=_number).encode()
        sent = {**headers, **({"Content-Type": "application/json"} if body else {})}
        end = self.clock() + self.seconds
        for tried in itertools.count(1):
            try:
                return self._try(method, url, sent, body)
            except Failed as failed:
                backoff = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (tried - 1))
                wait = failed.retry_after + random.uniform(0, backoff)
                if not failed.retryable or tried >= self.tries or self.clock() + wait > end:
                    raise
            self.sleep(wait)
        raise AssertionError("unreachable")

    def _try(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[Mapping[str, str], Json]:
        try:
            authorized = dict(self.authorize(method, url, headers, body))
        except Exception as error:  # whatever it is: an earlier try may have taken effect
            raise NoAnswer(f"the request could not be authorized: {error!r}", retryable=False) from error
        request = urllib.request.Request(url, body, authorized, method=method)
        try:
            with _opener.open(request, timeout=self.timeout) as answer:
                status, received, content = answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(f"no answer: {error!r}", retryable=True) from error
        try:
            document = json.loads(content, parse_float=Decimal)
        except ValueError:
            document = None
        read = document if isinstance(document, dict) else {}
        if not 200 <= status < 300:
            raise Problem(status, read, self._retry_after(received))
        if not read:
            raise NoAnswer("the answer is not a JSON document", retryable=True)
        return received, read

    def _retry_after(self, headers: Mapping[str, str]) -> float:
        """The seconds of Retry-After, which has a number of them or a date; 0 without one."""
        text = headers.get("Retry-After", "")
        if text.isdecimal():
            return float(text)
        try:
            date = parsedate_to_datetime(text)
        except ValueError:
            return 0.0
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - self.clock())


class _AsItIs(urllib.request.HTTPErrorProcessor):
    """Every answer is handed on: no redirection is followed, no error raised."""

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        return response

    https_response = http_response


_opener = urllib.request.build_opener(_AsItIs)


def _quoted(key: str) -> str:
    """The key as a quoted string (RFC 8941), in which it may have any visible character."""
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _number(value: object) -> float:
    """A Decimal as the float that is written with the same digits, as every amount of the API can be."""
    if isinstance(value, Decimal) and Decimal(repr(number := float(value))) == value:
        return number
    raise TypeError(f"{value!r} cannot be written as JSON without loss")
