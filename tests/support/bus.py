"""What the service has published: it comes through the event bus and a rule to a queue of the test's own."""

import json
from decimal import Decimal
from typing import Any

from tests.support.stage import Stage

PUBLISHED = "published"


def listen(stage: Stage) -> None:
    """From now on, every order event that goes through the bus and a rule arrives on a queue."""
    url = stage.sqs.create_queue(QueueName=PUBLISHED)["QueueUrl"]
    arn = stage.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = json.dumps({"source": ["orderonce"]})
    stage.events.put_rule(Name=PUBLISHED, EventBusName=stage["EVENT_BUS"], EventPattern=pattern)
    targets: Any = [{"Id": PUBLISHED, "Arn": arn}]
    stage.events.put_targets(Rule=PUBLISHED, EventBusName=stage["EVENT_BUS"], Targets=targets)


def published(stage: Stage) -> list[dict[str, Any]]:
    """The events that have arrived since the last time, in the order in which they did."""
    return [json.loads(body, parse_float=Decimal) for body in take(stage, PUBLISHED)]


def take(stage: Stage, queue: str) -> list[str]:
    """The bodies of all messages of a queue of the test's own; they are removed."""
    url = stage.sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    bodies: list[str] = []
    while batch := stage.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0).get("Messages"):
        for message in batch:
            bodies.append(message["Body"])
            stage.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return bodies
