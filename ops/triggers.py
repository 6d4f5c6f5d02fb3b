"""What makes the functions run: the queue's event source mapping and the schedules."""

from collections.abc import Iterator, Mapping, Sequence

from chalicelib.settings import Settings
from deploy.stages import stage_config
from ops.findings import Aws, Finding, Remark, differs, look_at
from ops.functions import Function

Functions = Mapping[str, Sequence[Function]]


def mapping(aws: Aws, stage: str, settings: Settings, functions: Functions) -> Finding:
    """The event source mapping of the order queue: that it leads to the consumer, its state, and its limits."""

    def look() -> Iterator[Remark]:
        sqs, name = aws.client("sqs"), settings.order_queue
        url = name if name.startswith("http") else sqs.get_queue_url(QueueName=name)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        pages = aws.client("lambda").get_paginator("list_event_source_mappings").paginate(EventSourceArn=arn)
        found = [mapping for page in pages for mapping in page["EventSourceMappings"]]
        arns = {arn for function in functions["order_consumer"] for arn in function.arns}
        own = [mapping for mapping in found if mapping["FunctionArn"] in arns]
        if len(own) != 1:
            yield f"{len(own)} mappings lead from the queue to the consumer, should be 1", True
        for stranger in (mapping for mapping in found if mapping not in own):
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


def schedules(aws: Aws, wanted: Mapping[str, str], functions: Functions) -> Iterator[Finding]:
    """The schedule of each function that has one, by the function's name and its expression."""
    for name, expression in wanted.items():
        yield _schedule(aws, name, expression, functions[name])


def _schedule(aws: Aws, name: str, expression: str, found: Sequence[Function]) -> Finding:
    def look() -> Iterator[Remark]:
        events = aws.client("events")
        rules = [
            rule
            for function in found
            for arn in sorted(function.arns)
            for page in events.get_paginator("list_rule_names_by_target").paginate(TargetArn=arn)
            for rule in page["RuleNames"]
        ]
        if len(rules) != 1:
            yield f"{len(rules)} rules invoke the function, should be 1", True
        for rule in rules:
            actual = events.describe_rule(Name=rule)
            yield from differs("state", "ENABLED", actual.get("State"))
            yield from differs("schedule", expression, actual.get("ScheduleExpression"))

    return look_at("schedule", name, look)
