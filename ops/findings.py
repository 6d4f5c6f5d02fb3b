"""What is deployed, compared with what should be: one finding for each thing that a stage is made of.

Here: what a finding is, and those of the tables, queues, topic, bus, rule and log groups that the template describes.
"""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.settings import PRODUCTION, app_settings
from deploy.account import NOT_FOUND
from ops.template import UNRESOLVED

_LIMITS = Config(connect_timeout=2, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 5})

Remark = tuple[str, bool]
"""A sentence, and whether it is a difference (True) or only worth knowing (False)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing. `differences` is empty if all that was seen is as it should be; `unseen` is what could not be seen."""

    kind: str
    name: str
    differences: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Aws:
    """The clients, by service (and region). `emulated`: they lead to an emulator, which may lack some features."""

    emulated: bool = False
    client: Callable[..., Any] = field(default_factory=lambda: functools.cache(_client))


def _client(service: str, region: str | None = None) -> Any:
    made: Any = boto3.client  # of any service
    return made(service, region_name=region, endpoint_url=app_settings().laptop_url, config=_LIMITS)


def look_at(kind: str, name: str, look: Callable[[], Iterator[Remark]]) -> Finding:
    """What `look` finds. A call that AWS refuses ends it: what it would have found is `unseen`."""
    found: list[Remark] = []
    unseen: tuple[str, ...] = ()
    try:
        for remark in look():
            found.append(remark)  # noqa: PERF402 - what came before an exception is kept
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in NOT_FOUND:
            found.append(("does not exist", True))
        else:
            unseen = (f"cannot be seen ({error.operation_name}: {code})",)
    except BotoCoreError as error:
        unseen = (f"cannot be seen ({error})",)
    return Finding(
        kind,
        name,
        tuple(text for text, differs in found if differs),
        tuple(text for text, differs in found if not differs),
        unseen,
    )


def table(aws: Aws, wanted: Mapping[str, Any], deployed: bool) -> Finding:
    """Key schema, indexes, billing, TTL, point-in-time recovery, and protection from deletion."""
    name = wanted["TableName"]

    def look() -> Iterator[Remark]:
        actual = aws.client("dynamodb").describe_table(TableName=name)["Table"]
        yield from differs("key schema", wanted["KeySchema"], actual["KeySchema"])
        indexes = {i["IndexName"]: i for i in actual.get("GlobalSecondaryIndexes", ())}
        for index in _list(wanted.get("GlobalSecondaryIndexes")):
            own = indexes.get(index["IndexName"], {})
            for part in ("KeySchema", "Projection"):
                yield from differs(f"index {index['IndexName']}: {part}", index[part], own.get(part))
        billing = actual.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
        yield from differs("billing mode", wanted.get("BillingMode", "PROVISIONED"), billing)
        if deployed:
            protected = _on(actual.get("DeletionProtectionEnabled", False))
            yield from unless_emulated(aws, "deletion protection", "on", protected)
        yield from _ttl(aws, name, wanted)
        yield from _backups(aws, name, wanted)

    return look_at("table", name, look)


def queue(aws: Aws, wanted: Mapping[str, Any], deployed: bool) -> Finding:
    """Its times, its redrive policy, and that it refuses what is not sent by TLS."""
    name = wanted["QueueName"]

    def look() -> Iterator[Remark]:
        url = aws.client("sqs").get_queue_url(QueueName=name)["QueueUrl"]
        actual = aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        for attribute in ("VisibilityTimeout", "MessageRetentionPeriod", "ReceiveMessageWaitTimeSeconds"):
            if attribute in wanted:
                yield from differs(attribute, _text(wanted[attribute]), actual.get(attribute))
        redrive = json.loads(actual.get("RedrivePolicy", "{}"))
        wanted_redrive = wanted.get("RedrivePolicy", {})
        if wanted_redrive is not UNRESOLVED:
            target = str(redrive.get("deadLetterTargetArn", "none")).rpartition(":")[2]
            yield from differs("dead-letter queue", wanted_redrive.get("deadLetterTargetArn", "none"), target)
            receives = _text(wanted_redrive.get("maxReceiveCount"))
            yield from differs("maximum receives", receives, _text(redrive.get("maxReceiveCount")))
        if deployed:
            yield from unless_emulated(aws, "policy", "TLS only", _transport(json.loads(actual.get("Policy", "{}"))))

    return look_at("queue", name, look)


def topic(aws: Aws, wanted: Mapping[str, Any], deployed: bool) -> Finding:
    """Whether it exists, and whether anybody has confirmed a subscription: in production somebody must."""
    name = wanted["TopicName"]

    def look() -> Iterator[Remark]:
        sns = aws.client("sns")
        arns = (t["TopicArn"] for page in sns.get_paginator("list_topics").paginate() for t in page["Topics"])
        arn = next((arn for arn in arns if arn.rpartition(":")[2] == name), None)
        if arn is None:
            yield "does not exist", True
            return
        pages = sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=arn)
        subscriptions = [each["SubscriptionArn"] for page in pages for each in page["Subscriptions"]]
        # Until it is confirmed, a subscription has a word in place of its ARN.
        if not any(subscription.startswith("arn:") for subscription in subscriptions):
            waiting = ": the subscription is not confirmed" if subscriptions else ""
            yield f"nobody has subscribed to it{waiting}", deployed and name == f"orderonce-{PRODUCTION}-alerts"

    return look_at("topic", name, look)


def bus(aws: Aws, wanted: Mapping[str, Any], _: bool) -> Finding:
    """Whether it exists."""
    name = wanted["Name"]

    def look() -> Iterator[Remark]:
        aws.client("events").describe_event_bus(Name=name)
        yield from ()

    return look_at("event bus", name, look)


def rule(aws: Aws, wanted: Mapping[str, Any], _: bool) -> Finding:
    """Whether the rule on the bus is enabled, and has its targets."""
    name, on_bus = wanted["Name"], wanted["EventBusName"]

    def look() -> Iterator[Remark]:
        events = aws.client("events")
        actual = events.describe_rule(Name=name, EventBusName=on_bus)
        yield from differs("state", wanted["State"], actual.get("State"))
        targets = events.list_targets_by_rule(Rule=name, EventBusName=on_bus)["Targets"]
        ids = sorted(target["Id"] for target in _list(wanted["Targets"]))
        if ids:
            yield from differs("targets", ids, sorted(target["Id"] for target in targets))
        elif not targets:
            yield "it has no target", True

    return look_at("rule", name, look)


def log_group(aws: Aws, name: str, days: int) -> Finding:
    """Whether it exists, and how long it is kept. Nothing creates it later: no role may."""

    def look() -> Iterator[Remark]:
        pages = aws.client("logs").get_paginator("describe_log_groups").paginate(logGroupNamePrefix=name)
        groups = {group["logGroupName"]: group for page in pages for group in page["logGroups"]}
        if name not in groups:
            yield "does not exist", True
        else:
            yield from differs("retention in days", days, groups[name].get("retentionInDays", "for ever"))

    return look_at("log group", name, look)


def differs(what: str, expected: Any, actual: Any) -> Iterator[Remark]:
    """A difference, if there is one; what depends on more than the stage is not compared."""
    if expected is not UNRESOLVED and expected != actual:
        yield f"{what}: {_shown(actual)}, should be {_shown(expected)}", True


def _ttl(aws: Aws, name: str, wanted: Mapping[str, Any]) -> Iterator[Remark]:
    expected = wanted.get("TimeToLiveSpecification", {})
    if expected is not UNRESOLVED:
        actual = aws.client("dynamodb").describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        enabled = actual.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
        attribute = expected.get("AttributeName") if expected.get("Enabled") else "off"
        yield from unless_emulated(aws, "time to live", attribute, actual.get("AttributeName") if enabled else "off")


def _backups(aws: Aws, name: str, wanted: Mapping[str, Any]) -> Iterator[Remark]:
    expected = wanted.get("PointInTimeRecoverySpecification", {})
    if expected is not UNRESOLVED:
        described = aws.client("dynamodb").describe_continuous_backups(TableName=name)
        actual = described["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
        on = _on(expected.get("PointInTimeRecoveryEnabled", False))
        is_on = _on(actual.get("PointInTimeRecoveryStatus") == "ENABLED")
        yield from unless_emulated(aws, "point-in-time recovery", on, is_on)


def _transport(policy: Mapping[str, Any]) -> str:
    denied = (s.get("Condition", {}) for s in policy.get("Statement", ()) if s.get("Effect") == "Deny")
    tls_only = any(condition.get("Bool", {}).get("aws:SecureTransport") == "false" for condition in denied)
    return "TLS only" if tls_only else "any transport"


def unless_emulated(aws: Aws, what: str, expected: Any, actual: Any) -> Iterator[Remark]:
    """A difference, or a remark on an emulator: emulators do not keep backups or let items expire."""
    yield from ((text, not aws.emulated) for text, _ in differs(what, expected, actual))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _text(value: Any) -> Any:
    return value if value is UNRESOLVED or value is None else str(value)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _on(value: bool) -> str:
    return "on" if value else "off"
