"""What goes wrong with the calls of a process, and when it dies.

Where it happens. DynamoDB: on botocore's events, below its retries, its parsing and its error classes. `before-call`
comes once a call and says which fault strikes it; `before-send` comes once an attempt: what its handler returns is the
answer, and what it raises is what the network did. The queue and the bus of `tests/support/world.py` are fakes in this
process: there a proxy raises what botocore would have raised in the end.
"""

import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol, cast

import pytest
from botocore import xform_name
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from botocore.model import OperationModel
from botocore.retries.quota import RetryQuota
from botocore.retries.standard import ExponentialBackoff

from tests.support.aws_calls import Killed

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

FAULTS = {
    "dropped": "no connection: no effect",
    "lost": "it takes effect, and no answer of it comes, however often botocore repeats it",
    "lost once": "it takes effect, its first answer is lost, and botocore repeats it",
    "late": "a time-out; it takes effect after the caller has given up, and somebody else has done the same",
    "throttled": "ThrottlingException: no effect",
    "failed": "a 500: no effect",
    "conflict": "a write meets another transaction: no effect",
    "killed before": "the process dies before the call",
    "killed after": "the process dies after the call took effect",
}
"""Each fault, and what it means. What botocore repeats is struck at each attempt, but for "lost once"."""

REFUSED = ("dropped", "throttled", "failed")
"""Without effect, and an error in the end: three faults, and one to the code above the adapters."""

_CONFLICTS = {
    "transact_write_items": "TransactionCanceledException",
    "put_item": "TransactionConflictException",
    "update_item": "TransactionConflictException",
    "stripe confirm": "lock_timeout",
    "stripe cancel": "lock_timeout",
    "stripe refund": "lock_timeout",
}
"""Where a conflict can strike, and how DynamoDB or Stripe answers then."""

_REFUSALS = {"throttled": ("ThrottlingException", 400), "failed": ("InternalServerError", 500)}


@dataclass
class Call:
    """A call of a process: its number in the process's life, its name (`put_item`), whether botocore repeats it, and
    the fault that strikes it."""

    number: int
    name: str
    repeated: bool
    fault: str | None = None
    attempts: int = 0

    def can_be(self, fault: str) -> bool:
        """Whether the fault can strike it: a conflict is of writes, and what is not repeated is lost for good."""
        return self.name in _CONFLICTS if fault == "conflict" else fault != "lost once" or self.repeated

    def refusal(self, transaction: Callable[[], int]) -> tuple[int, dict[str, Any]] | None:
        """The status and the error with which AWS refuses it, if it does; `transaction` counts its actions."""
        if self.fault == "conflict":
            error: dict[str, Any] = {"code": _CONFLICTS[self.name]}
            if self.name == "transact_write_items":
                error["CancellationReasons"] = [{"Code": "TransactionConflict"}] * transaction()
            return 400, error
        if self.fault in _REFUSALS:
            code, status = _REFUSALS[self.fault]
            return status, {"code": code}
        return None


@dataclass
class Life:
    """A process's life: it dies at its call number `dies_at`, before it or after it took effect, and makes no more.

    `spoils` says of each call by its name which of FAULTS strikes it otherwise, or None. `at` has what else happens
    just before a call, and `before` just before each call of a name. `calls` are the calls made, `struck` the faults
    that did strike.
    """

    dies_at: int | None = None
    after: bool = False
    spoils: Callable[[str], str | None] = lambda _: None
    at: Mapping[int, Callable[[], object]] = field(default_factory=dict)
    before: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    die: Callable[[], object] = lambda: None
    calls: list[Call] = field(default_factory=list)
    struck: int = 0
    dead: bool = False
    _late: list[Callable[[], object]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def made(self) -> int:
        """How many calls it has made."""
        return len(self.calls)

    def land(self) -> None:
        """What timed out takes effect after all."""
        while self._late:
            self._late.pop(0)()

    def begin(self, name: str, repeated: bool) -> Call:
        """A call begins. Raises Killed where the process dies before it, or has died."""
        with self._lock:
            self._check_alive()
            call = Call(self.made, name, repeated)
            call.fault = self._fault(call)
            self.calls.append(call)
            self.struck += call.fault is not None
            if call.fault == "killed before":
                self._killed()
        for meanwhile in (self.at.get(call.number), self.before.get(name)):
            if meanwhile:
                meanwhile()
        return call

    def attempt(self, call: Call, send: Callable[[], Any], wait: Callable[[], Exception]) -> Any:
        """One attempt of a call that is not refused. `wait` gives the exception of a time-out."""
        self._check_alive()
        call.attempts += 1
        match call.fault:
            case "dropped":
                raise EndpointConnectionError(endpoint_url=call.name)
            case "late":
                self._late.append(send)
                raise wait()
        answer = send()
        if call.fault == "killed after":
            self._killed()
        self._check_alive()
        if call.fault == "lost" or (call.fault == "lost once" and call.attempts == 1):
            raise wait()
        return answer

    def _fault(self, call: Call) -> str | None:
        if call.number == self.dies_at:
            return "killed after" if self.after else "killed before"
        fault = self.spoils(call.name)
        return fault if fault and call.can_be(fault) else None

    def _check_alive(self) -> None:
        if self.dead:
            raise Killed

    def _killed(self) -> None:
        self.dead = True
        self.die()
        raise Killed


def life(fault: str, number: int) -> Life:
    """A life in which the fault strikes at call `number`."""
    return life_with({number: fault})


def life_with(strikes: Mapping[int, str]) -> Life:
    """A life in which a fault strikes at each of these calls."""
    numbers = count()
    return Life(spoils=lambda _: strikes.get(next(numbers)))


class Mortal(Protocol):
    """Who makes calls."""

    life: Life


def strike(client: "DynamoDBClient", process: Mortal) -> None:
    """From now on the calls of this client are the process's."""
    here = threading.local()
    endpoint: Any = client._endpoint  # type: ignore[attr-defined]

    def begin(model: OperationModel, **_: object) -> None:
        here.call = process.life.begin(xform_name(model.name), repeated=True)
        here.life = process.life

    def attempt(request: AWSPreparedRequest, **_: object) -> Any:
        call, body = here.call, cast(bytes, request.body)
        refusal = call.refusal(lambda: len(json.loads(body)["TransactItems"]))
        if refusal:
            return _answer(request, *refusal)
        return here.life.attempt(
            call, lambda: endpoint._send(request), lambda: ReadTimeoutError(endpoint_url=call.name)
        )

    client.meta.events.register_first("before-call", begin)
    client.meta.events.register_first("before-send", attempt)


class _Raw(io.BytesIO):
    """The body of an answer, as urllib3 has it."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()


def _answer(request: AWSPreparedRequest, status: int, error: Mapping[str, Any]) -> AWSResponse:
    """An error as DynamoDB sends it (Amazon DynamoDB Low-Level API, "Response format")."""
    fields = {name: value for name, value in error.items() if name != "code"}
    body = {"__type": f"com.amazonaws.dynamodb.v20120810#{error['code']}", "message": "as the test wants it", **fields}
    return AWSResponse(request.url, status, HTTPHeaders(), _Raw(json.dumps(body).encode()))


class MortalFake:
    """A fake in place of a client, whose calls are those of a process. It repeats none."""

    def __init__(self, fake: Any, process: Mortal) -> None:
        self._fake, self._process = fake, process

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._fake, name)

        def called(**params: Any) -> Any:
            life = self._process.life
            call = life.begin(name, repeated=False)
            if refusal := call.refusal(lambda: 0):
                status, error = refusal
                answer: Any = {"Error": {"Code": error["code"]}, "ResponseMetadata": {"HTTPStatusCode": status}}
                raise ClientError(answer, name)
            return life.attempt(call, lambda: member(**params), lambda: ReadTimeoutError(endpoint_url=name))

        return called


@contextmanager
def retrying_at_once() -> Iterator[None]:
    """botocore retries as it does, but without sleeping in between, and as a new client would: its quota is full."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExponentialBackoff, "delay_amount", lambda self, context: 0)
        patch.setattr(RetryQuota, "acquire", lambda self, amount: True)
        yield
