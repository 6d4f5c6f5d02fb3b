"""What one order costs in CPU: this service, the usual design and bare boto3, side by side in one run.

`make bench` prints the table of docs/performance.md. All get the same requests, three lines an order, the same
answers of AWS (`benchmarks/network.py`), and turns: one call each, round after round, so that a busy machine is as slow
to all. A figure is the median of CPU time (`time.process_time`), in milliseconds.
"""

import argparse
import gc
import json
import os
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config

from benchmarks.network import Network, refused_with, without_network

Document = dict[str, Any]
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "STAGE": "bench",
    "AUTH": "iam",
    "CURRENCY": "USD",
    "ORDERS_TABLE": "bench-orders",
    "INVENTORY_TABLE": "bench-inventory",
    "IDEMPOTENCY_TABLE": "bench-idempotency",
    "PAYMENTS_TABLE": "bench-payments",
    "ORDER_QUEUE": "https://sqs.us-east-1.amazonaws.com/123456789012/bench-orders",
    "ORDER_DEAD_LETTERS": "https://sqs.us-east-1.amazonaws.com/123456789012/bench-dead-letters",
    "EVENT_BUS": "bench",
    "ALERTS_TOPIC": "arn:aws:sns:us-east-1:123456789012:bench",
    "POWERTOOLS_SERVICE_NAME": "bench",
    "POWERTOOLS_METRICS_NAMESPACE": "OrderOnce",
}
"""A deployed stage: queues by URL, logs as JSON, requests that the gateway has authorised."""

PRODUCTS = {"PROD-001": "29.99", "PROD-003": "49.99", "PROD-007": "5.00"}
LINES = [{"productId": product, "quantity": 2, "unitPrice": float(price)} for product, price in PRODUCTS.items()]
ORDER = {"customerId": "CUST-42", "items": LINES, "totalAmount": 169.96, "currency": "USD"}


PEERS = ("bare", "full", "tuned", "cached")


class Context:
    """Lambda's context object."""

    function_name = "bench"
    function_version = "$LATEST"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:bench"
    aws_request_id = "5f1a7b9e-3c5d-4e6f-8a0b-1c2d3e4f5a6b"

    def get_remaining_time_in_millis(self) -> int:
        return 10_000


def request(key: str) -> Document:
    """POST /orders as API Gateway hands it to a function."""
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "Host": "abcdef1234.execute-api.us-east-1.amazonaws.com",
        "Idempotency-Key": key,
        "User-Agent": "shop/1.0",
        "X-Amzn-Trace-Id": "Root=1-5e6f8a0b-1c2d3e4f5a6b7c8d9e0f1a2b",
        "X-Forwarded-For": "192.0.2.1",
        "X-Forwarded-Port": "443",
        "X-Forwarded-Proto": "https",
    }
    return {
        "resource": "/orders",
        "path": "/orders",
        "httpMethod": "POST",
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "resourcePath": "/orders",
            "httpMethod": "POST",
            "path": "/bench/orders",
            "stage": "bench",
            "requestId": "5f1a7b9e-3c5d-4e6f-8a0b-1c2d3e4f5a6b",
        },
        "body": json.dumps(ORDER),
        "isBase64Encoded": False,
    }


def everything_succeeds() -> Network:
    """A world in which every write succeeds."""
    network = Network()
    network.always("PutItem", {})
    network.always("UpdateItem", {})
    network.always("TransactWriteItems", {})
    network.always("SendMessage", {"MessageId": str(uuid.uuid4()), "MD5OfMessageBody": "0" * 32})
    rows = [{"productId": {"S": p}, "name": {"S": f"Product {p}"}, "price": {"N": n}} for p, n in PRODUCTS.items()]
    found = {ENVIRONMENT["INVENTORY_TABLE"]: rows}
    network.always("BatchGetItem", {"Responses": found, "UnprocessedKeys": {}})
    network.always("PutEvents", {"FailedEntryCount": 0, "Entries": [{"EventId": str(uuid.uuid4())}] * 10})
    return network


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

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self.candidates = candidates
        self.current = candidates[0]

    def run(self, rounds: int, warm_up: int = 30) -> dict[str, float]:
        """The median of each, in ms of CPU: one call each, round after round."""
        with without_network(lambda: self.current.network):
            for number in range(rounds + warm_up):
                for candidate in self.candidates:
                    self.current = candidate
                    argument = candidate.argument()
                    candidate.network.calls.clear()
                    began = time.process_time()
                    candidate.call(argument)
                    took = time.process_time() - began
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


def fresh() -> Document:
    return request(str(uuid.uuid4()))


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
        def charge(self, *_: object) -> Charged:
            return Charged("pay-1")

        def refund(self, *_: object) -> NothingToRefund:
            return NothingToRefund()

    return Instant()


def batch_of_ten(sent: list[Document]) -> Document:
    """The event of ten fresh messages: what the service itself sent."""
    attributes = {"ApproximateReceiveCount": "1", "SentTimestamp": str(int(time.time() * 1000))}
    records = [
        {
            "messageId": str(uuid.uuid4()),
            "receiptHandle": "receipt",
            "body": message["MessageBody"],
            "attributes": attributes,
            "messageAttributes": {
                name: {"stringValue": value["StringValue"], "dataType": "String"}
                for name, value in message["MessageAttributes"].items()
            },
        }
        for message in sent
    ]
    return {"Records": records}


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


def warm(rounds: int) -> dict[str, dict[str, float]]:
    """New orders, duplicates, and ten messages: the medians of each."""
    with silent():
        made = handlers()
        new = Race([Candidate(name, call, fresh) for name, call in made.items() if name != "cached"]).run(rounds)
        race = Race([Candidate(name, call, fresh) for name, call in made.items()])
        with without_network(lambda: race.current.network):
            for candidate in race.candidates:
                race.current = candidate
                duplicates(candidate)
        duplicate = race.run(rounds)
        ten = Race([consumer()])
        batch = ten.run(max(10, rounds // 10), warm_up=5)
    calls = [name for name, _ in ten.candidates[0].network.calls]
    print("calls of a batch:", calls)
    return {"new order": new, "duplicate": duplicate, "ten messages, an order": {"this": batch["ten messages"] / 10}}


def main() -> None:
    parser = argparse.ArgumentParser(description="What one order costs in CPU, compared.")
    parser.add_argument("--rounds", type=int, default=500)
    given = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    gc.collect()
    for row, medians in warm(given.rounds).items():
        print(f"{row:24}", *(f"{name} {value:.3f}" for name, value in medians.items()), sep="  ")


if __name__ == "__main__":
    main()
