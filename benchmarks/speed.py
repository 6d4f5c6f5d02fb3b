"""What one order costs: this service, the usual design and bare boto3, side by side in one run.

`make bench` prints the tables of docs/performance.md. All get the same requests, three lines an order, the same answers
of AWS (`benchmarks/network.py`), and turns, round after round, so that a busy machine is as slow to all. A turn is two
calls, of which the second is timed: a function's process does nothing else in between, and nobody has to warm the
caches after another, or has them warmed by a neighbour that is alike. A figure is a median; CPU is
`time.process_time`, all threads of the process.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.client import BaseClient
from botocore.config import Config

from benchmarks.network import Network, refused_with, without_network
from benchmarks.scenario import (
    ENVIRONMENT,
    ORDER,
    PRODUCTS,
    Context,
    Document,
    batch_of_ten,
    everything_succeeds,
    fresh,
    request,
)

ROOT = Path(__file__).parents[1]


@dataclass
class Candidate:
    """One of those compared: `call` is timed, with what `argument` makes before each call."""

    name: str
    call: Callable[[Any], Any]
    argument: Callable[[], Any]
    network: Network = field(default_factory=everything_succeeds)
    times: list[float] = field(default_factory=list)


class Race:
    """Who is compared, in turns."""

    def __init__(self, candidates: Sequence[Candidate], clock: Callable[[], float] = time.process_time) -> None:
        self.candidates, self.clock = candidates, clock
        self.current = candidates[0]

    def run(self, rounds: int, warm_up: int = 30) -> dict[str, float]:
        """The median of each, in ms: one turn each, round after round."""
        with without_network(lambda: self.current.network):
            for number in range(rounds + warm_up):
                for candidate in self.candidates:
                    self.current = candidate
                    candidate.call(candidate.argument())
                    argument = candidate.argument()
                    candidate.network.calls.clear()
                    began = self.clock()
                    candidate.call(argument)
                    took = self.clock() - began
                    if number >= warm_up:
                        candidate.times.append(took * 1000)
        return {candidate.name: statistics.median(candidate.times) for candidate in self.candidates}


@contextmanager
def silent() -> Iterator[None]:
    """What is logged is formatted and written, to nobody."""
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    sys.stdout.flush()
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


# --- those compared ---


PEERS = ("bare", "full", "tuned", "cached")


def aws(tuned: bool) -> tuple[Any, Any]:
    """A peer's clients of DynamoDB and SQS; `tuned`: with the two options of this service's own."""
    options = {"user_agent": "orderonce", "parameter_validation": False} if tuned else {}
    config = Config(**options)  # type: ignore[arg-type]
    return boto3.client("dynamodb", config=config), boto3.client("sqs", config=config)


def peer(name: str) -> Callable[[Document], Any]:
    from benchmarks.usual.app import placing_handler

    telemetry: Document = {}
    if name == "full":
        from aws_lambda_powertools import Logger, Metrics

        telemetry = {"logger": Logger(service="peer"), "metrics": Metrics(namespace="peer", service="peer")}
    handler = placing_handler(*aws(name == "tuned"), use_local_cache=name == "cached", **telemetry)
    return lambda event: handler(event, Context())


def boto3_alone(tuned: bool = False) -> Callable[[Document], Any]:
    dynamodb, sqs = aws(tuned)
    lines = [{"M": {"productId": {"S": product}, "quantity": {"N": "2"}}} for product in PRODUCTS]
    item: Document = {
        "customerId": {"S": "CUST-42"},
        "status": {"S": "PENDING"},
        "items": {"L": lines},
        "totalAmount": {"N": "169.96"},
        "currency": {"S": "USD"},
        "createdAt": {"S": "2026-01-15T12:00:00.000Z"},
    }
    table, queue, body = ENVIRONMENT["ORDERS_TABLE"], ENVIRONMENT["ORDER_QUEUE"], json.dumps(ORDER)

    def call(event: Document) -> None:
        own = item | {"orderId": {"S": event["headers"]["Idempotency-Key"]}}
        try:
            dynamodb.put_item(
                TableName=table,
                Item=own,
                ConditionExpression="attribute_not_exists(orderId)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except dynamodb.exceptions.ConditionalCheckFailedException:
            return
        sqs.send_message(QueueUrl=queue, MessageBody=body)

    return call


def ours() -> Callable[[Document], Any]:
    import app

    return lambda event: app.app(event, Context())


def without_botocore(place: Callable[[Document], Any]) -> Callable[[Document], Any]:
    """The same, its writes answered before botocore begins: what is left is its own code, and Chalice."""
    base: Any = BaseClient
    through_botocore = base._make_api_call
    answers: dict[str, Document] = {"PutItem": {}, "SendMessage": {"MessageId": "1"}}

    def answered(client: Any, operation: str, parameters: Any) -> Any:
        return answers[operation] if operation in answers else through_botocore(client, operation, parameters)

    def call(event: Document) -> Any:
        base._make_api_call = answered
        try:
            return place(event)
        finally:
            base._make_api_call = through_botocore

    return call


def handlers() -> dict[str, Callable[[Document], Any]]:
    peers = {name: peer(name) for name in PEERS}
    return {"this": ours()} | peers | {"boto3 alone": boto3_alone(), "boto3 tuned": boto3_alone(tuned=True)}


def duplicates(candidate: Candidate) -> None:
    """From now on each of the candidate's requests is one that it has answered already."""
    again = request("again")
    candidate.call(again)
    stored = candidate.network.first("PutItem")["Item"]
    if candidate.name in PEERS:
        done = candidate.network.last("UpdateItem")
        names, values = done["ExpressionAttributeNames"], done["ExpressionAttributeValues"]
        stored = stored | {name: values[":" + key[1:]] for key, name in names.items() if ":" + key[1:] in values}
    candidate.network.always("PutItem", refused_with(stored), status=400)
    candidate.argument = lambda: again


def instant() -> Any:
    """Payments that cost nothing."""
    from chalicelib.domain.outcomes import Charged, NothingToRefund

    class Instant:
        def charge(self, *_: object, **__: object) -> Charged:
            return Charged("pay-1")

        def refund(self, *_: object) -> NothingToRefund:
            return NothingToRefund()

    return Instant()


def consumer() -> Candidate:
    import app
    from chalicelib.adapters import clients
    from chalicelib.service import compose
    from chalicelib.settings import Settings

    made = clients.dynamodb(), clients.sqs(), clients.events(), clients.sns()
    service = compose(Settings.from_environment(), *made, payments=instant())
    vars(app)["service"] = lambda: service
    network, place = everything_succeeds(), ours()

    def ten() -> Document:
        network.calls.clear()
        for _ in range(10):
            place(fresh())
        return batch_of_ten([json.loads(body) for name, body in network.calls if name == "SendMessage"])

    return Candidate("ten messages", lambda event: app.order_consumer(event, Context()), ten, network)


# --- the rows ---

COLUMNS = ("this", "own code", "bare", "full", "tuned", "cached", "boto3 alone", "boto3 tuned")
GOALS = {
    "new order, ms": {"bare": 0.48, "full": 0.38, "tuned": 0.75},
    "duplicate, ms": {"bare": 1.2, "full": 0.97, "tuned": 1.75},
    "first order of a cold process, ms": {"full": 0.85},
    "latency at 5 ms a call, ms": {"bare": 0.5, "full": 0.5, "tuned": 0.5},
}
"""What this service may cost, as a part of what a peer costs."""

Row = Mapping[str, float]


def raced(made: Mapping[str, Callable[[Document], Any]]) -> list[Candidate]:
    return [Candidate(name, call, fresh) for name, call in made.items()]


def new_orders(made: Mapping[str, Callable[[Document], Any]], rounds: int) -> Row:
    # A new order is in no cache: *cached* would be *bare*.
    compared = [candidate for candidate in raced(made) if candidate.name != "cached"]
    return Race([*compared, Candidate("own code", without_botocore(made["this"]), fresh)]).run(rounds)


def duplicate_orders(made: Mapping[str, Callable[[Document], Any]], rounds: int) -> Row:
    race = Race(raced(made))
    with without_network(lambda: race.current.network):
        for candidate in race.candidates:
            race.current = candidate
            duplicates(candidate)
    return race.run(rounds)


def latency(made: Mapping[str, Callable[[Document], Any]], rounds: int) -> Row:
    """Elapsed ms of a new order where each call of AWS takes 5 ms."""
    race = Race([candidate for candidate in raced(made) if candidate.name != "cached"], clock=time.perf_counter)
    for candidate in race.candidates:
        candidate.network.delay = 0.005
    return race.run(rounds, warm_up=3)


def cold(rounds: int) -> Row:
    """CPU of a process that starts, is traced by X-Ray, and answers one order: everything is in it, the start too."""
    times: dict[str, list[float]] = {"this": [], "full": []}
    environment = os.environ | ENVIRONMENT | {"LAMBDA_TASK_ROOT": "/var/task"}
    for _ in range(rounds):
        for name, taken in times.items():
            run = [sys.executable, "-m", "benchmarks.cold", name]
            ended = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
            taken.append(float(ended.stderr.splitlines()[-1]))
    return {name: statistics.median(taken) for name, taken in times.items()}


def zip_bytes() -> int:
    """The size of the zip that Lambda gets; it is built, from the package index or pip's cache."""
    from deploy.packaging import ZIP_NAME, package
    from deploy.vendoring import install

    with tempfile.TemporaryDirectory() as folder:
        vendored, out = Path(folder) / "vendored", Path(folder) / "out"
        install(vendored)
        package("prod", out, vendored=vendored)
        return (out / ZIP_NAME).stat().st_size


def printed(rows: Mapping[str, Row]) -> Iterator[str]:
    """The figures, and below them each as a part of the peers', with the goal."""
    yield f"| | {' | '.join(COLUMNS)} |"
    yield "| --- |" + " --- |" * len(COLUMNS)
    for name, row in rows.items():
        yield f"| {name} | {' | '.join(f'{row[column]:.2f}' if column in row else '' for column in COLUMNS)} |"
    yield ""
    yield "| this, as a part of | peer | is | goal |"
    yield "| --- | --- | --- | --- |"
    for name, goals in GOALS.items():
        for peer_name, goal in goals.items():
            yield f"| {name} | {peer_name} | {rows[name]['this'] / rows[name][peer_name]:.2f} | {goal} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="What one order costs, compared.")
    parser.add_argument("--rounds", type=int, default=500, help="calls of each that are measured")
    parser.add_argument("--zip", action="store_true", help="build the package too, and print its size")
    given = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    with silent():
        made = handlers()
        rows = {
            "new order, ms": new_orders(made, given.rounds),
            "duplicate, ms": duplicate_orders(made, given.rounds),
            "first order of a cold process, ms": cold(max(1, given.rounds // 25)),
            "latency at 5 ms a call, ms": latency(made, max(3, given.rounds // 5)),
        }
        batch = consumer()
        ten = Race([batch]).run(max(3, given.rounds // 10), warm_up=2)["ten messages"] / 10
        rows["ten fresh messages, ms an order"] = {"this": ten}
    for line in printed(rows):
        print(line)
    calls = ", ".join(name for name, _ in batch.network.calls)
    print(f"\nTen fresh messages, payments instant: {calls}, one after another.")
    if given.zip:
        print(f"The zip: {zip_bytes():,} bytes.")


if __name__ == "__main__":
    main()
