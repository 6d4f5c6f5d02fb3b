"""The designs that are compared, behind one interface: OrderOnce, the usual design, and that after a second look.

All run on the same engine, queue, clock and payment provider (tests/support/world.py), and the same faults strike
them (tests/support/faults.py).
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, Protocol

import pytest
from aws_lambda_powertools.utilities.idempotency import base
from aws_lambda_powertools.utilities.idempotency.persistence import base as persistence
from aws_lambda_powertools.utilities.idempotency.persistence import datarecord, dynamodb

from benchmarks.usual import app
from benchmarks.usual.careful import work_once, write_same_order
from chalicelib import exact_json
from chalicelib.adapters.simulated_payments import SimulatedPayments
from chalicelib.deadline import NO_DEADLINE
from chalicelib.domain.outcomes import Charged
from chalicelib.entrypoints import messages
from chalicelib.entrypoints.api import place_order
from chalicelib.entrypoints.exchange import Request as HttpRequest
from tests.support.faults import Life, MortalFake, strike
from tests.support.orders import a_body
from tests.support.providers import Provider
from tests.support.world import Process, World

FUNCTION_TIMEOUT_MS = 10_000
"""Of both functions, as OrderOnce's. The queue's visibility timeout is six times as long, as AWS advises."""


@dataclass(frozen=True)
class Request:
    """POST /orders: one unit of a product."""

    customer: str
    key: str | None
    product: str

    @property
    def body(self) -> str:
        return exact_json.dumps(a_body({self.product: 1}, customerId=self.customer))

    @property
    def headers(self) -> dict[str, str]:
        return {"Content-Type": "application/json", **({"Idempotency-Key": self.key} if self.key else {})}


@dataclass(frozen=True)
class Answer:
    """What the client sees; 5xx where the function failed."""

    status: int
    body: str = ""


class Running(Protocol):
    """A process of a design. Its calls of AWS are those of its `life`."""

    life: Life
    provider: Provider

    def place(self, request: Request) -> Answer:
        """POST /orders. Whatever it raises ends the function."""

    def consume(self, records: Sequence[dict[str, Any]]) -> Collection[str]:
        """An SQS event; the ids of the messages that Lambda deletes then. If it raises, Lambda deletes none."""

    def run_schedules(self) -> None:
        """What the design does by itself from time to time."""


class OrderOnce:
    """A process of this service."""

    def __init__(self, world: World) -> None:
        self._process: Process = world.process()
        self.provider = self._process.provider

    @property
    def life(self) -> Life:
        return self._process.life

    @life.setter
    def life(self, life: Life) -> None:
        self._process.start(life)

    def place(self, request: Request) -> Answer:
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = place_order(self._process.service, HttpRequest(headers, {}, request.body.encode(), "test"))
        return Answer(answer.status, answer.body)

    def consume(self, records: Sequence[dict[str, Any]]) -> Collection[str]:
        service = self._process.service
        service.consumer.consume(messages.read_records(service, records), NO_DEADLINE)
        return {record["messageId"] for record in records}

    def run_schedules(self) -> None:
        self._process.service.recovery.recover(NO_DEADLINE)
        self._process.service.dead_letters.replay_due(NO_DEADLINE)


class Usual:
    """A process of the usual design: as documented, or after a second look (`careful`)."""

    def __init__(self, world: World, careful: bool = False) -> None:
        self.life = Life()
        client = world.client()
        strike(client, self)
        queue: Any = MortalFake(world.queue, self)
        self.provider: Provider = SimulatedPayments(client, world.stage["PAYMENTS_TABLE"])
        if careful:
            self._place = app.placing_handler(client, queue, write=write_same_order)
            self._consume = app.fulfilling_handler(client, self, work=work_once)
        else:
            self._place = app.placing_handler(client, queue)
            self._consume = app.fulfilling_handler(client, self)

    def charge(self, idempotency_key: str, amount: Decimal, currency: str) -> bool:
        """As the peer asks its payment provider."""
        return isinstance(self.provider.charge(idempotency_key, amount, currency), Charged)

    def place(self, request: Request) -> Answer:
        event = {"httpMethod": "POST", "headers": request.headers, "body": request.body}
        given = self._place(event, _CONTEXT)
        return Answer(given["statusCode"], given["body"])

    def consume(self, records: Sequence[dict[str, Any]]) -> Collection[str]:
        failed = self._consume({"Records": list(records)}, _CONTEXT)["batchItemFailures"]
        return {record["messageId"] for record in records} - {item["itemIdentifier"] for item in failed}

    def run_schedules(self) -> None:
        """Nothing."""


_CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: FUNCTION_TIMEOUT_MS)

DESIGNS: dict[str, Callable[[World], Running]] = {
    "OrderOnce": OrderOnce,
    "usual": Usual,
    "careful": lambda world: Usual(world, careful=True),
}


@contextmanager
def clock_of_powertools(clock: Callable[[], datetime]) -> Iterator[None]:
    """Its locks and records expire by this clock."""
    time = SimpleNamespace(datetime=SimpleNamespace(now=clock), timedelta=timedelta)
    with pytest.MonkeyPatch.context() as patch:
        for module in (base, persistence, datarecord, dynamodb):
            patch.setattr(module, "dt", time)
        yield
