"""What is deployed, compared with what should be: one finding for each table, queue, topic, bus and function."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ops.template import UNSAID

_ABSENT = frozenset(
    {"ResourceNotFoundException", "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", "NotFound"}
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One resource. `differences` is empty where all is as it should be; `remarks` is what else is to be said."""

    kind: str
    name: str
    differences: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Aws:
    """The clients. `emulated`: not AWS's own, so that some of it may be missing."""

    dynamodb: Any
    sqs: Any
    sns: Any
    events: Any
    functions: Any
    emulated: bool


def found(kind: str, name: str, look: Callable[[], Iterator[tuple[str, bool]]]) -> Finding:
    """What a look at a resource brings: differences (True), and remarks (False)."""
    try:
        told = list(look())
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _ABSENT:
            return Finding(kind, name, ("is not there",))
        return Finding(kind, name, (), (f"cannot be seen ({error.operation_name}: {code})",))
    except BotoCoreError as error:
        return Finding(kind, name, (), (f"cannot be seen ({error})",))
    return Finding(kind, name, tuple(t for t, is_one in told if is_one), tuple(t for t, is_one in told if not is_one))


def table(aws: Aws, wanted: Mapping[str, Any]) -> Finding:
    """Key schema, indexes, billing, and, where the engine tells them, TTL and point-in-time recovery."""
    name = wanted["TableName"]

    def look() -> Iterator[tuple[str, bool]]:
        there = aws.dynamodb.describe_table(TableName=name)["Table"]
        yield from _differs("key schema", wanted["KeySchema"], there["KeySchema"])
        indexes = {i["IndexName"]: i for i in there.get("GlobalSecondaryIndexes", ())}
        for index in _list(wanted.get("GlobalSecondaryIndexes")):
            own = indexes.get(index["IndexName"], {})
            for part in ("KeySchema", "Projection"):
                yield from _differs(f"index {index['IndexName']}: {part}", index[part], own.get(part))
        billing = there.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
        yield from _differs("billing mode", wanted.get("BillingMode", "PROVISIONED"), billing)
        yield from _ttl(aws, name, wanted)
        yield from _backups(aws, name, wanted)

    return found("table", name, look)


def queue(aws: Aws, wanted: Mapping[str, Any]) -> Finding:
    """Its times, and where it hands on what cannot be handled."""
    name = wanted["QueueName"]

    def look() -> Iterator[tuple[str, bool]]:
        url = aws.sqs.get_queue_url(QueueName=name)["QueueUrl"]
        there = aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        for attribute in ("VisibilityTimeout", "MessageRetentionPeriod", "ReceiveMessageWaitTimeSeconds"):
            if attribute in wanted:
                yield from _differs(attribute, _text(wanted[attribute]), there.get(attribute))
        redrive = json.loads(there.get("RedrivePolicy", "{}"))
        wanted_redrive = wanted.get("RedrivePolicy", {})
        if wanted_redrive is not UNSAID:
            target = str(redrive.get("deadLetterTargetArn", "nowhere")).rpartition(":")[2]
            yield from _differs("dead letters go", wanted_redrive.get("deadLetterTargetArn", "nowhere"), target)
            receives = _text(wanted_redrive.get("maxReceiveCount"))
            yield from _differs("receives before that", receives, _text(redrive.get("maxReceiveCount")))

    return found("queue", name, look)


def topic(aws: Aws, wanted: Mapping[str, Any]) -> Finding:
    """Whether it is there, and anybody listens."""
    name = wanted["TopicName"]

    def look() -> Iterator[tuple[str, bool]]:
        pages = aws.sns.get_paginator("list_topics").paginate()
        arns = (t["TopicArn"] for page in pages for t in page["Topics"])
        arn = next((arn for arn in arns if arn.rpartition(":")[2] == name), None)
        if arn is None:
            yield "is not there", True
        elif not aws.sns.list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"]:
            yield "nobody has subscribed to it", False

    return found("topic", name, look)


def bus(aws: Aws, wanted: Mapping[str, Any]) -> Finding:
    """Whether it is there."""
    name = wanted["Name"]

    def look() -> Iterator[tuple[str, bool]]:
        aws.events.describe_event_bus(Name=name)
        yield from ()

    return found("event bus", name, look)


def _ttl(aws: Aws, name: str, wanted: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    should = wanted.get("TimeToLiveSpecification", {})
    if should is not UNSAID:
        there = aws.dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        enabled = there.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
        attribute = should.get("AttributeName") if should.get("Enabled") else "off"
        yield from _seen(aws, "time to live", attribute, there.get("AttributeName") if enabled else "off")


def _backups(aws: Aws, name: str, wanted: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    should = wanted.get("PointInTimeRecoverySpecification", {})
    if should is not UNSAID:
        there = aws.dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
        state = there.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus")
        on = _on(should.get("PointInTimeRecoveryEnabled", False))
        yield from _seen(aws, "point-in-time recovery", on, _on(state == "ENABLED"))


def _seen(aws: Aws, what: str, should: Any, there: Any) -> Iterator[tuple[str, bool]]:
    """A difference, unless an emulator is asked: those keep no backups and let nothing expire."""
    yield from ((text, not aws.emulated) for text, _ in _differs(what, should, there))


def _differs(what: str, should: Any, there: Any) -> Iterator[tuple[str, bool]]:
    if should is not UNSAID and should != there:
        yield f"{what}: {_shown(there)}, should be {_shown(should)}", True


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _text(value: Any) -> Any:
    return value if value is UNSAID or value is None else str(value)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _on(value: bool) -> str:
    return "on" if value else "off"
