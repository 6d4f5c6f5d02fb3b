"""The two clients, as tests use them: the Python one in this process, the JavaScript one on Node.js.

Nobody waits: a wait between two tries is noted, and moves the clock of the client, which begins at NOW.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

from botocore.credentials import Credentials

from orderonce import Authorize, Failed, OrderOnce, Placed, bearer, sigv4, unsigned
from tests.support.node import node_modules, web_crypto
from tests.support.signed_gateway import REGION

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Outcome:
    """Of one call: what it returned, or what it raised, by its members; and the waits between its tries, in seconds.

    Members have Python's names, `class` is that of the exception. What an iterator gives is a list.
    """

    result: Any
    failed: Mapping[str, Any] | None
    waits: Sequence[float]


@dataclass(frozen=True)
class Caller:
    """Who calls: everybody, as on the laptop; or with tokens, one for each try; or with the credentials of an identity.

    `forgetful`: a client with a mistake, by which each try has a key of its own.
    """

    tokens: Sequence[str] = ()
    credentials: Credentials | None = None
    forgetful: bool = False


EVERYBODY = Caller()

Options = Mapping[str, Any]
"""Of a client: `tries`, `seconds`, `timeout`."""

DEFAULTS: Options = {}


class Client(Protocol):
    """A client, whatever its language."""

    def call(
        self,
        url: str,
        method: str,
        *arguments: Any,
        caller: Caller = EVERYBODY,
        options: Options = DEFAULTS,
    ) -> Outcome:
        """Call a method of a client that is made with these options."""


class InPython:
    """The Python client."""

    def call(
        self,
        url: str,
        method: str,
        *arguments: Any,
        caller: Caller = EVERYBODY,
        options: Options = DEFAULTS,
    ) -> Outcome:
        waits: list[float] = []

        def now(remove_tzinfo: bool = False) -> datetime:
            time = NOW + timedelta(seconds=sum(waits))
            return time.replace(tzinfo=None) if remove_tzinfo else time

        with patch("botocore.auth.get_current_datetime", now):
            client = OrderOnce(url, _authorize(caller), sleep=waits.append, clock=lambda: now().timestamp(), **options)
            try:
                result = getattr(client, method)(*arguments)
                result = list(result) if isinstance(result, Iterator) else result
            except Failed as failed:
                return Outcome(None, vars(failed) | {"class": type(failed).__name__, "text": str(failed)}, waits)
        return Outcome(asdict(result) if isinstance(result, Placed) else result, None, waits)


def _authorize(caller: Caller) -> Authorize:
    if caller.forgetful:
        keys = iter(range(1000))
        return lambda method, url, headers, body: {**headers, "Idempotency-Key": f"another-{next(keys)}"}
    if caller.tokens:
        return bearer(partial(next, iter(caller.tokens)))
    if caller.credentials:
        with patch("botocore.session.Session.get_credentials", return_value=caller.credentials):
            return sigv4(REGION)
    return unsigned


class InJavaScript:
    """The JavaScript client. Skips where Node.js is missing, or fails if it is required."""

    def call(
        self,
        url: str,
        method: str,
        *arguments: Any,
        caller: Caller = EVERYBODY,
        options: Options = DEFAULTS,
    ) -> Outcome:
        asked = {
            "url": url,
            "method": method,
            "given": arguments,
            "options": options,
            "now": NOW.timestamp(),
            "aws4fetch": str(node_modules(HERE) / "aws4fetch" / "dist" / "aws4fetch.esm.mjs"),
            "forgetful": caller.forgetful,
            "tokens": caller.tokens,
            "identity": _aws4fetchs(caller.credentials) if caller.credentials else None,
        }
        ran = subprocess.run(
            ["node", "driver.mjs"],
            cwd=HERE,
            env=os.environ | web_crypto(),
            input=json.dumps(asked, default=float),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        read = json.loads(ran.stdout, parse_float=Decimal)
        return Outcome(read["result"], read["failed"], [float(wait) for wait in read["waits"]])


def _aws4fetchs(credentials: Credentials) -> dict[str, str | None]:
    return {
        "accessKeyId": credentials.access_key,
        "secretAccessKey": credentials.secret_key,
        "sessionToken": credentials.token,
        "region": REGION,
        "service": "execute-api",
    }


CLIENTS: Mapping[str, Client] = {"python": InPython(), "javascript": InJavaScript()}
