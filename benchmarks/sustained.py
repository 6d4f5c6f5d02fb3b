"""Placing *and* fulfilling for minutes, on DynamoDB Local, queue and bus in this process; then nothing may be lost.

`make sustained MINUTES=10` prints orders a minute and this process's memory, minute by minute, and ends with status 1
if a check fails. One process places and consumes, by turns: as many orders as its one core, beside the engine's,
allows. A tenth of the requests come twice. Payments answer at once.
"""

import argparse
import os
import resource
import sys
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from benchmarks.scenario import ENVIRONMENT, PRODUCTS, Context, Document, batch_of_ten, request

STAGE = f"bench-{uuid.uuid4().hex[:8]}"
"""Its tables are its own, also on an engine that others use."""

STOCK = 100_000_000
UNITS = 2
BACKLOG = 200
"""Messages that may wait before placing waits too."""

PATIENCE = 30
"""Seconds that what waits at the end may take."""


@dataclass
class World:
    """The clients of SQS and EventBridge, and the payment provider, as far as the service uses them."""

    messages: deque[Document] = field(default_factory=deque)
    events: Counter[str] = field(default_factory=Counter)
    charged: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send_message(self, **message: Any) -> Document:
        self.messages.append(message)
        return {}

    def put_events(self, Entries: list[Document]) -> Document:  # noqa: N803 - as botocore has it
        self.events.update(entry["DetailType"] for entry in Entries)
        return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"} for _ in Entries]}

    def charge(self, payment_key: str, amount: Decimal, currency: str, **_: str | None) -> Any:
        from chalicelib.domain.outcomes import Charged

        with self.lock:
            self.charged += 1
        return Charged(f"pay-{payment_key}")

    def refund(self, payment_key: str) -> Any:
        raise AssertionError(f"nothing is refunded here: {payment_key}")


def app_in(world: Any) -> Any:
    """The application on its own client of DynamoDB, and on `world` for all else."""
    import app
    from chalicelib.adapters import clients
    from chalicelib.service import compose
    from chalicelib.settings import Settings

    service = compose(Settings.from_environment(), clients.dynamodb(), world, world, world, payments=world)
    vars(app)["service"] = lambda: service
    return app


@dataclass
class Minute:
    """What was done in a minute, and this process's memory at its end."""

    placed: int = 0
    replayed: int = 0
    fulfilled: int = 0
    waiting: int = 0
    megabytes: float = 0.0


class Run:
    """One run against a DynamoDB at an endpoint."""

    def __init__(self, endpoint: str) -> None:
        os.environ["AWS_ENDPOINT_URL_DYNAMODB"] = endpoint
        self.world = World()
        # Making tables and reading all orders may take longer than the service's own client waits.
        self.dynamodb = boto3.client("dynamodb", config=Config(read_timeout=60))
        fill(self.dynamodb)
        self.app = app_in(self.world)
        self.wrong: list[str] = []

    def minutes(self, minutes: float) -> Iterator[Minute]:
        """Each minute once it is over, and what was left to do once that is done."""
        began = time.monotonic()
        for number in range(max(1, round(minutes))):
            yield self._until(began + min(minutes, number + 1) * 60)
        last = Minute()
        while self.world.messages and time.monotonic() < began + minutes * 60 + PATIENCE:
            self._consume(last)
        yield self._ended(last)

    def _until(self, end: float) -> Minute:
        minute = Minute()
        while time.monotonic() < end:
            for _ in range(10):
                if len(self.world.messages) < BACKLOG:
                    self._place(minute)
            self._consume(minute)
        return self._ended(minute)

    def _ended(self, minute: Minute) -> Minute:
        minute.waiting = len(self.world.messages)
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        minute.megabytes = pages * resource.getpagesize() / 1e6
        return minute

    def _place(self, minute: Minute) -> None:
        event = request(str(uuid.uuid4()))
        first = self.app.app(event, Context())
        minute.placed += first["statusCode"] == 201
        if (minute.placed + minute.replayed) % 10 == 0:
            again = self.app.app(event, Context())
            minute.replayed += 1
            if again["body"] != first["body"]:
                self.wrong.append(f"{first['body']} was answered, then {again['body']}")

    def _consume(self, minute: Minute) -> None:
        messages = [self.world.messages.popleft() for _ in range(min(10, len(self.world.messages)))]
        self.app.order_consumer(batch_of_ten(messages), Context())
        minute.fulfilled += len(messages)

    def checks(self, placed: int) -> Iterator[tuple[str, bool]]:
        """Every promise, and whether it was kept."""
        statuses: Counter[str] = Counter()
        entries = 0
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=ENVIRONMENT["ORDERS_TABLE"], ConsistentRead=True)
        for item in (item for page in pages for item in page["Items"]):
            statuses[item["status"]["S"]] += 1
            entries += "outboxDueAt" in item
        found = self.dynamodb.scan(TableName=ENVIRONMENT["INVENTORY_TABLE"], ConsistentRead=True)["Items"]
        sold = {row["productId"]["S"]: STOCK - int(row["stock"]["N"]) for row in found}
        confirmed = statuses == Counter(CONFIRMED=placed)
        yield f"every order that was answered 201 is stored once, and CONFIRMED: {dict(statuses)}", confirmed
        yield "nothing is left to do", not entries and not self.world.messages
        yield f"stock is what there was less what was sold: {sold}", sold == dict.fromkeys(PRODUCTS, UNITS * placed)
        yield f"each order was charged once: {self.world.charged}", self.world.charged == placed
        yield f"each order has its event: {dict(self.world.events)}", self.world.events == Counter(OrderPlaced=placed)
        yield "equal requests got equal answers", not self.wrong


def main() -> int:
    parser = argparse.ArgumentParser(description="Orders a minute, placed and fulfilled, on DynamoDB Local.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--endpoint", help="of a DynamoDB Local that runs already; otherwise one is started")
    given = parser.parse_args()
    from tests.support.dynamodb_local import running

    ENVIRONMENT.update(tables())
    os.environ.update(ENVIRONMENT)
    table, out = [], os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is logged is written, to nobody
    with nullcontext(given.endpoint) if given.endpoint else running() as endpoint:
        run = Run(endpoint)
        out.write("| minute | placed | replayed | fulfilled | waiting | MB |\n" + "| ---: " * 6 + "|\n")
        for minute in run.minutes(given.minutes):
            table.append(minute)
            number = "after" if len(table) > max(1, round(given.minutes)) else len(table)
            cells = minute.placed, minute.replayed, minute.fulfilled, minute.waiting, f"{minute.megabytes:.0f}"
            out.write(f"| {number} | {' | '.join(map(str, cells))} |\n")
        placed = sum(minute.placed for minute in table)
        out.write(f"\n{placed / given.minutes:,.0f} orders a minute, placed and fulfilled.\n\n")
        results = list(run.checks(placed))
    for text, kept in results:
        out.write(f"- {'kept' if kept else 'BROKEN'}: {text}\n")
    return 0 if all(kept for _, kept in results) else 1


def fill(dynamodb: Any) -> None:
    """Make the tables, with all products in stock."""
    from tests.support.template import Template, create_tables

    create_tables(dynamodb, Template.load({"Stage": STAGE}))
    for product, price in PRODUCTS.items():
        row = {"productId": {"S": product}, "name": {"S": product}, "price": {"N": price}}
        dynamodb.put_item(TableName=ENVIRONMENT["INVENTORY_TABLE"], Item=row | {"stock": {"N": str(STOCK)}})


def tables() -> dict[str, str]:
    """The names of the stage's tables, which the template makes."""
    from deploy.stages import config

    names: Document = config()["stages"]["dev"]["environment_variables"]
    return {name: value.replace("-dev-", f"-{STAGE}-") for name, value in names.items() if name.endswith("_TABLE")}


if __name__ == "__main__":
    sys.exit(main())
