"""What is deployed, compared with what should be: one finding for each table, queue, topic, bus and function."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ops.template import UNRESOLVED

_NOT_FOUND = frozenset(
    {"ResourceNotFoundException", "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", "NotFound"}
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One resource. `differences` is empty if all is as it should be; `remarks` are anything else worth knowing."""

    kind: str
    name: str
    differences: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Aws:
    """The clients. `emulated`: they lead to an emulator, which may lack some features."""

    dynamodb: Any
    sqs: Any
    sns: Any
    events: Any
    functions: Any
    emulated: bool


def look_at(kind: str, name: str, look: Callable[[], Iterator[tuple[str, bool]]]) -> Finding:
    """What `look` finds: differences (True) and remarks (False)."""
    try:
        found = list(look())
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _NOT_FOUND:
            return Finding(kind, name, ("does not exist",))
        return Finding(kind, name, (), (f"cannot be seen ({error.operation_name}: {code})",))
    except BotoCoreError as error:
        return Finding(kind, name, (), (f"cannot be seen ({error})",))
    return Finding(
        kind,
        name,
        tuple(text for text, differs in found if differs),
        tuple(text for text, differs in found if not differs),
    )


def table(aws: Aws, wanted: Mapping[str, Any]) -> Finding:
    """Key schema, indexes, billing, and, where the engine reports them, TTL and point-in-time recovery."""
    name = wanted["TableName"]

    def look() -> Iterator[tuple[str, bool]]:
        actual = aws.dynamodb.describe_table(TableName=name)["Table"]
        yield from _differs("key schema", wanted["KeySchema"], actual["KeySchema"])
        indexes = {i["IndexName"]: i for i in actual.get("GlobalSecondaryIndexes", ())}
        for index in _list(wanted.get("GlobalSecondaryIndexes")):
            own = indexes.get(index["IndexName"], {})
            for part in ("KeySchema", "Projection"):
                yield from _differs(f"index {index['IndexName']}: {part}", index[part], own.get(part))
        billing = actual.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
        yield from _differs("billing mode", wanted.get("BillingMode", "PROVISIONED"), billing)
        yield from _ttl(aws, name, wanted)
        yield from _backups(aws, name, wanted)

    return look_at("table", name, look)


def queue(aws: Aws, wanted: Mapping[str, Any]) -> Finding:
    """Its times and its redrive policy."""
    name = wanted["QueueName"]

    def look() -> Iterator[tuple[str, bool]]:
        url = aws.sqs.get_queue_url(QueueName=name)["QueueUrl"]
        actual = aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        for attribute in ("VisibilityTimeout", "MessageRetentionPeriod", "ReceiveMessageWaitTimeSeconds"):
            if attribute in wanted:
                yield from _differs(attribute, _text(wanted[attribute]), actual.get(attribute))
        redrive = json.loads(actual.get("RedrivePolicy", "{}"))
        wanted_redrive = wanted.get("RedrivePolicy", {})
        if wanted_redrive is not UNRESOLVED:
            target = str(redrive.get("deadLetterTargetArn", "none")).rpartition(":")[2]
            yield from _differs("dead-letter queue", wanted_redrive.get("deadLetterTargetArn", "none"), target)
            receives = _text(wanted_redrive.get("maxReceiveCount"))
            yield from _differs("maximum receives", receives, _text(redrive.get("maxReceiveCount")))

    return look_at("queue", name, look)


def topic(aws: Aws, wanted: Mapping[str, Any]) -> Finding:
    """Whether it exists, and whether anybody has subscribed."""
    name = wanted["TopicName"]

    def look() -> Iterator[tuple[str, bool]]:
        pages = aws.sns.get_paginator("list_topics").paginate()
        arns = (t["TopicArn"] for page in pages for t in page["Topics"])
        arn = next((arn for arn in arns if arn.rpartition(":")[2] == name), None)
        if arn is None:
            yield "does not exist", True
        elif not aws.sns.list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"]:
            yield "nobody has subscribed to it", False

    return look_at("topic", name, look)


def bus(aws: Aws, wanted: Mapping[str, Any]) -> Finding:
    """Whether it exists."""
    name = wanted["Name"]

    def look() -> Iterator[tuple[str, bool]]:
        aws.events.describe_event_bus(Name=name)
        yield from ()

    return look_at("event bus", name, look)


def _ttl(aws: Aws, name: str, wanted: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    expected = wanted.get("TimeToLiveSpecification", {})
    if expected is not UNRESOLVED:
        actual = aws.dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        enabled = actual.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
        attribute = expected.get("AttributeName") if expected.get("Enabled") else "off"
        yield from _unless_emulated(aws, "time to live", attribute, actual.get("AttributeName") if enabled else "off")


def _backups(aws: Aws, name: str, wanted: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    expected = wanted.get("PointInTimeRecoverySpecification", {})
    if expected is not UNRESOLVED:
        actual = aws.dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
        state = actual.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus")
        on = _on(expected.get("PointInTimeRecoveryEnabled", False))
        yield from _unless_emulated(aws, "point-in-time recovery", on, _on(state == "ENABLED"))


def _unless_emulated(aws: Aws, what: str, expected: Any, actual: Any) -> Iterator[tuple[str, bool]]:
    """A difference, or a remark on an emulator: emulators do not keep backups or let items expire."""
    yield from ((text, not aws.emulated) for text, _ in _differs(what, expected, actual))


def _differs(what: str, expected: Any, actual: Any) -> Iterator[tuple[str, bool]]:
    if expected is not UNRESOLVED and expected != actual:
        yield f"{what}: {_shown(actual)}, should be {_shown(expected)}", True


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _text(value: Any) -> Any:
    return value if value is UNRESOLVED or value is None else str(value)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _on(value: bool) -> str:
    return "on" if value else "off"
