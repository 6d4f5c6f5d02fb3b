"""A cold process and its first order: `python -m benchmarks.cold this|full`, as `benchmarks/speed.py` runs it.

The last line on stderr is the CPU in ms that the process has taken by then, from its very start.
"""

import sys
import time

from benchmarks.network import without_network
from benchmarks.scenario import Context, Document, everything_succeeds, request


def this(event: Document) -> Document:
    """Of this service: app.py is imported as Lambda imports it."""
    import app

    answer: Document = app.app(event, Context())
    return answer


def full(event: Document) -> Document:
    """Of the usual design, with Logger, Metrics and Tracer as they come."""
    import boto3
    from aws_lambda_powertools import Logger, Metrics, Tracer

    from benchmarks.usual.app import placing_handler

    made = Logger(service="peer"), Metrics(namespace="peer", service="peer"), Tracer(service="peer")
    handler = placing_handler(
        boto3.client("dynamodb"), boto3.client("sqs"), logger=made[0], metrics=made[1], tracer=made[2]
    )
    answer: Document = handler(event, Context())
    return answer


def main() -> None:
    network = everything_succeeds()
    with without_network(lambda: network):
        answer = {"this": this, "full": full}[sys.argv[1]](request("first"))
    taken = time.process_time() * 1000
    assert answer["statusCode"] == 201, answer
    sys.stderr.write(f"\n{taken:.1f}\n")


if __name__ == "__main__":
    main()
