"""What makes the functions run: the queue's event source mapping and the schedules."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chalicelib.settings import Settings
from deploy.stages import stage_config
from ops.findings import Aws, Finding, Remark, differs, look_at
from ops.functions import Function

Functions = Mapping[str, Sequence[Function]]
Mappings = Sequence[Mapping[str, Any]]


def mapping(aws: Aws, stage: str, settings: Settings, functions: Functions) -> Finding:
    """The event source mapping of the order queue: that it leads to the consumer, its state, and its limits."""

    def look() -> Iterator[Remark]:
        own, others = queue_mappings(aws, settings, functions["order_consumer"])
        if len(own) != 1:
            yield f"{len(own)} mappings lead from the queue to the consumer, should be 1", True
        for stranger in others:
            yield f"{stranger['FunctionArn']} reads the queue too", True
        wanted = stage_config(stage)["environment_variables"]
        for actual in own:
            yield from differs("state", "Enabled", actual.get("State"))
            yield from differs("batch size", int(wanted["CONSUMER_BATCH_SIZE"]), actual.get("BatchSize"))
            window = int(wanted["CONSUMER_BATCHING_WINDOW_SECONDS"])
            yield from differs("batching window", window, actual.get("MaximumBatchingWindowInSeconds", 0))
            concurrency = actual.get("ScalingConfig", {}).get("MaximumConcurrency")
            yield from differs("maximum concurrency", int(wanted["CONSUMER_MAX_CONCURRENCY"]), concurrency)

    return look_at("mapping", "order_consumer", look)


def queue_mappings(aws: Aws, settings: Settings, consumers: Sequence[Function]) -> tuple[Mappings, Mappings]:
    """The mappings of the order queue: those that lead to the consumer, and others. Raises ClientError."""
    sqs, name = aws.client("sqs"), settings.order_queue
    url = name if name.startswith("http") else sqs.get_queue_url(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pages = aws.client("lambda").get_paginator("list_event_source_mappings").paginate(EventSourceArn=arn)
    found = [mapping for page in pages for mapping in page["EventSourceMappings"]]
    own = {arn for function in consumers for arn in function.arns}
    return [m for m in found if m["FunctionArn"] in own], [m for m in found if m["FunctionArn"] not in own]


def rules_of(aws: Aws, functions: Sequence[Function]) -> list[str]:
    """The names of the rules that invoke a function or an alias of it. Raises ClientError."""
    pages = aws.client("events").get_paginator("list_rule_names_by_target")
    arns = [arn for function in functions for arn in sorted(function.arns)]
    return [rule for arn in arns for page in pages.paginate(TargetArn=arn) for rule in page["RuleNames"]]


def schedules(aws: Aws, wanted: Mapping[str, str], functions: Functions) -> Iterator[Finding]:
    """The schedule of each function that has one, by the function's name and its expression."""
    for name, expression in wanted.items():
        yield _schedule(aws, name, expression, functions[name])


def _schedule(aws: Aws, name: str, expression: str, found: Sequence[Function]) -> Finding:
    def look() -> Iterator[Remark]:
        events = aws.client("events")
        rules = rules_of(aws, found)
        if len(rules) != 1:
            yield f"{len(rules)} rules invoke the function, should be 1", True
        for rule in rules:
            actual = events.describe_rule(Name=rule)
            yield from differs("state", "ENABLED", actual.get("State"))
            yield from differs("schedule", expression, actual.get("ScheduleExpression"))

    return look_at("schedule", name, look)
