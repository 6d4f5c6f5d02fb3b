"""A soak of the laptop stack: clients, duplicates, cancels, a producer and poison; then every promise is asked.

`make soak MINUTES=5` starts a stack of its own, prints a table, minute by minute, and ends with status 1 if a check
fails. docs/soak.md has the table of one run.
"""

import argparse
import http.client
import json
import random
import statistics
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import boto3

from local.settings import ROOT, read_json, stage_variables
from tests.support.laptop import Laptop, running_laptop

STOCK = 10_000_000
PRODUCT, PRICE = "PROD-001", "29.99"
ENDS = {"CONFIRMED", "FAILED", "CANCELLED"}
KINDS = ("placed", "duplicates", "cancelled", "read")
COLUMNS = ("minute", "requests/s", "p50, ms", "p99, ms", *KINDS, "events", "5xx", "waiting")


@dataclass
class Minute:
    """What happened in one minute; times in seconds."""

    times: list[float] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    waiting: int = 0


@dataclass
class Seen:
    """What clients and producer know, to be compared with what is stored."""

    answers: dict[str, bytes] = field(default_factory=dict)
    """By key: the first answer."""

    order_ids: set[str] = field(default_factory=set)
    poison: int = 0
    wrong: list[str] = field(default_factory=list)


class Soak:
    """One run. `clients` requests are always under way."""

    def __init__(self, laptop: Laptop, minutes: float, clients: int) -> None:
        self.laptop, self.minutes, self.clients = laptop, minutes, clients
        self.names = stage_variables(read_json(ROOT / ".chalice" / "config.json"))
        keys: Any = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": "us-east-1"}
        self.dynamodb = boto3.client("dynamodb", endpoint_url=laptop.aws, **keys)
        self.sqs = boto3.client("sqs", endpoint_url=laptop.aws, **keys)
        self.seen, self.lock = Seen(), threading.Lock()
        self.table = [Minute() for _ in range(max(1, round(minutes)))]

    def run(self) -> None:
        self.dynamodb.update_item(
            TableName=self.names["INVENTORY_TABLE"],
            Key={"productId": {"S": PRODUCT}},
            UpdateExpression="SET stock = :stock",
            ExpressionAttributeValues={":stock": {"N": str(STOCK)}},
        )
        self.began = time.monotonic()
        threads = [threading.Thread(target=self._client, args=(n,)) for n in range(self.clients)]
        threads.append(threading.Thread(target=self._producer))
        for thread in threads:
            thread.start()
        while self._now() is not None:
            time.sleep(1)
            if (minute := self._now()) is not None:
                minute.waiting = self._depth("ORDER_QUEUE")
        for thread in threads:
            thread.join()

    def _now(self) -> Minute | None:
        """The minute that it is; None: the run is over."""
        passed = (time.monotonic() - self.began) / 60
        return self.table[min(int(passed), len(self.table) - 1)] if passed < self.minutes else None

    def _client(self, number: int) -> None:
        with closing(http.client.HTTPConnection(urlsplit(self.laptop.api).netloc, timeout=30)) as connection:
            self._requests(connection, random.Random(number))

    def _requests(self, connection: http.client.HTTPConnection, chance: random.Random) -> None:
        keys, orders = list[str](), list[str]()
        while (minute := self._now()) is not None:
            what = chance.choices(KINDS, (70, 15, 5, 10))[0] if orders else "placed"
            began = time.monotonic()
            if what == "placed":
                status = self._place(connection, f"soak-{uuid.uuid4()}", keys, orders)
            elif what == "duplicates":
                status = self._place(connection, chance.choice(keys[-50:]), keys, orders)
            elif what == "cancelled":
                status, _ = _ask(connection, "POST", f"/orders/{chance.choice(orders)}/cancel", b"{}")
            else:
                status, _ = _ask(connection, "GET", f"/orders/{chance.choice(orders)}")
            with self.lock:
                minute.times.append(time.monotonic() - began)
                minute.done[what] += 1
                minute.done["5xx"] += status >= 500

    def _place(self, connection: http.client.HTTPConnection, key: str, keys: list[str], orders: list[str]) -> int:
        order = {"customerId": "SOAK", "items": [{"productId": PRODUCT, "quantity": 1}], "totalAmount": float(PRICE)}
        status, body = _ask(connection, "POST", "/orders", json.dumps(order).encode(), {"Idempotency-Key": key})
        if status == 201:
            with self.lock:
                if self.seen.answers.setdefault(key, body) != body:
                    self.seen.wrong.append(f"key {key} got two answers")
            if key not in keys[-50:]:
                keys.append(key)
                orders.append(json.loads(body)["orderId"])
                self.seen.order_ids.add(orders[-1])
        return status

    def _producer(self) -> None:
        """Two events a second, one of them twice every fifth time; every five seconds something that is no event."""
        url = self.sqs.get_queue_url(QueueName=self.names["ORDER_QUEUE"])["QueueUrl"]
        number = 0
        while (minute := self._now()) is not None:
            number += 1
            order_id = f"SOAK-{uuid.uuid4()}"
            event = {"orderId": order_id, "customerId": "SOAK", "totalAmount": float(PRICE)}
            body = json.dumps(event | {"items": [{"productId": PRODUCT, "quantity": 1}]})
            for _ in range(2 if number % 5 == 0 else 1):
                self.sqs.send_message(QueueUrl=url, MessageBody=body)
            self.seen.order_ids.add(order_id)
            minute.done["events"] += 1
            if number % 10 == 0:
                self.sqs.send_message(QueueUrl=url, MessageBody=f"poison {number}")
                self.seen.poison += 1
            time.sleep(0.5)

    def settle(self, patience: float = 600) -> float:
        """Wait until every order has ended and nothing is left to do; the seconds that it took."""
        began = time.monotonic()
        while time.monotonic() - began < patience:
            if not self._depth("ORDER_QUEUE") and all(
                order["status"]["S"] in ENDS and "outboxDueAt" not in order for order in self._scan("ORDERS_TABLE")
            ):
                return time.monotonic() - began
            time.sleep(2)
        raise TimeoutError(f"after {patience:.0f} s work is left")

    def checks(self) -> Iterator[tuple[str, bool]]:
        """Each promise, and whether it was kept."""
        orders = {order["orderId"]["S"]: order for order in self._scan("ORDERS_TABLE")}
        ours = {order_id: order for order_id, order in orders.items() if order["customerId"]["S"] == "SOAK"}
        sold = sum(order["status"]["S"] == "CONFIRMED" for order in ours.values())
        stock = next(p["stock"]["N"] for p in self._scan("INVENTORY_TABLE") if p["productId"]["S"] == PRODUCT)
        letters = self._letters()
        yield (
            f"every order that was answered 201 or sent as an event is stored once: {len(ours)}",
            (set(ours) == self.seen.order_ids),
        )
        yield (
            "every order has ended, with nothing left to do",
            all(order["status"]["S"] in ENDS and "outboxDueAt" not in order for order in ours.values()),
        )
        yield "equal requests got equal answers", not self.seen.wrong
        yield f"stock is what there was less what was sold: {sold}", int(stock) == STOCK - sold
        yield (
            f"each poison message, and nothing else, is a dead letter of kind never: {self.seen.poison}",
            (letters == Counter(never=self.seen.poison)),
        )
        yield "no request was answered 5xx", not any(minute.done["5xx"] for minute in self.table)

    def rows(self) -> Iterator[str]:
        """The table, in Markdown."""
        yield f"| {' | '.join(COLUMNS)} |"
        yield "| ---: " * len(COLUMNS) + "|"
        for number, minute in enumerate(self.table, start=1):
            cuts = statistics.quantiles(minute.times or [0, 0], n=100)
            seconds = 60 * self.minutes / len(self.table)
            done = [minute.done[what] for what in (*KINDS, "events", "5xx")]
            row = [number, f"{len(minute.times) / seconds:.1f}", f"{1000 * cuts[49]:.0f}", f"{1000 * cuts[98]:.0f}"]
            yield "| " + " | ".join(map(str, [*row, *done, minute.waiting])) + " |"

    def _scan(self, table: str) -> Iterator[dict[str, Any]]:
        for page in self.dynamodb.get_paginator("scan").paginate(TableName=self.names[table], ConsistentRead=True):
            yield from page["Items"]

    def _depth(self, queue: str) -> int:
        url = self.sqs.get_queue_url(QueueName=self.names[queue])["QueueUrl"]
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        return sum(map(int, self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values()))

    def _letters(self) -> Counter[str]:
        url = self.sqs.get_queue_url(QueueName=self.names["ORDER_DEAD_LETTERS"])["QueueUrl"]
        kinds: dict[str, str] = {}
        while messages := self.sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=60, MessageAttributeNames=["All"]
        ).get("Messages"):
            for message in messages:
                attributes: Any = message.get("MessageAttributes", {})
                kinds[message["MessageId"]] = attributes["kind"]["StringValue"] if "kind" in attributes else "unknown"
        return Counter(kinds.values())


def _ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes = b"", headers: Any = None
) -> tuple[int, bytes]:
    connection.request(method, path, body or None, {"Content-Type": "application/json", **(headers or {})})
    answer = connection.getresponse()
    return answer.status, answer.read()


def main() -> int:
    """Run it; 0 if every promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--clients", type=int, default=4, help="requests that are always under way")
    given = parser.parse_args()
    with running_laptop(LOG_LEVEL="ERROR") as laptop:
        soak = Soak(laptop, given.minutes, given.clients)
        soak.run()
        print("\n".join(soak.rows()), flush=True)
        print(f"\nAll work was done {soak.settle():.0f} s after the last request.\n", flush=True)
        kept = [(text, holds) for text, holds in soak.checks()]
    print("\n".join(f"- {'kept' if holds else 'BROKEN'}: {text}" for text, holds in kept))
    return 0 if all(holds for _, holds in kept) else 1


if __name__ == "__main__":
    sys.exit(main())
