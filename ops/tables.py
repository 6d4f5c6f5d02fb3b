"""`tables`: the tables of orders, stock and claims, restored together to one second, beside those in use."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from botocore.exceptions import WaiterError

from chalicelib.service import Service
from deploy.tables import table_names
from ops import output
from ops.audit import audited
from ops.interrupts import finishing
from ops.stages import on_stage

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_EVERY, _HOURS = 10, 12
"""Seconds between two looks at a table that is being restored, and how long it is waited for."""


@click.group()
def tables() -> None:
    """Restore the tables of orders, stock and claims. The payments are never restored."""


def second(_: click.Context, __: click.Parameter, text: str) -> datetime:
    """An option's value as an instant. Raises BadParameter."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text):
        raise click.BadParameter("must be a second in UTC, such as 2026-11-22T02:59:00Z")
    return datetime.fromisoformat(text).astimezone(UTC)


@tables.command()
@click.option("--to", metavar="TIME", required=True, callback=second, help="A second in UTC: 2026-11-22T02:59:00Z.")
@on_stage
def restore(service: Service, to: datetime) -> None:
    """Restore all three tables to the same second, under new names. Nothing uses them yet. Safe to repeat.

    What DynamoDB does not restore is set as the tables in use have it: time to live, point-in-time recovery,
    protection from deletion, tags.
    """
    name = to.strftime("%Y%m%dT%H%M%SZ")
    pairs = _pairs(service, f"-{name}")
    with audited(service, "tables restore") as record:
        record.details["to"] = to.isoformat()
        for source, target in pairs:
            with finishing():
                if _begin(service.dynamodb, source, target, to):
                    record.ids.append(target)
        for source, target in pairs:
            output.hint(f"Waiting for {target}. Ctrl-C does no harm: repeat this command.")
            _wait(service.dynamodb, target)
            with finishing():
                _complete(service.dynamodb, source, target)
    for _, target in pairs:
        output.say(target)
    stage = service.settings.stage
    output.hint(f"To use them: RESTORED={name} make deploy STAGE={stage} BUCKET=... (docs/deploying.md)")


def _pairs(service: Service, ending: str) -> list[tuple[str, str]]:
    """Each table in use, and the name under which it is restored."""
    settings = service.settings
    in_use = (settings.orders_table, settings.inventory_table, settings.idempotency_table)
    return list(zip(in_use, table_names(settings.stage, ending).values(), strict=True))


def _begin(client: "DynamoDBClient", source: str, target: str, to: datetime) -> bool:
    """Whether the restore begins now; it may have begun before."""
    try:
        client.describe_table(TableName=target)
    except client.exceptions.ResourceNotFoundException:
        client.restore_table_to_point_in_time(SourceTableName=source, TargetTableName=target, RestoreDateTime=to)
        return True
    return False


def _wait(client: "DynamoDBClient", target: str) -> None:
    try:
        client.get_waiter("table_exists").wait(
            TableName=target, WaiterConfig={"Delay": _EVERY, "MaxAttempts": _HOURS * 3600 // _EVERY}
        )
    except WaiterError as fault:
        raise click.ClickException(f"{target} is not restored after {_HOURS} hours: repeat this command.") from fault


def _complete(client: "DynamoDBClient", source: str, target: str) -> None:
    """What is not restored with a table (Amazon DynamoDB API Reference, "RestoreTableToPointInTime")."""
    arns = [client.describe_table(TableName=table)["Table"]["TableArn"] for table in (source, target)]
    if tags := list(_tags(client, arns[0])):
        client.tag_resource(ResourceArn=arns[1], Tags=tags)
    expiring = [client.describe_time_to_live(TableName=table)["TimeToLiveDescription"] for table in (source, target)]
    attribute = expiring[0].get("AttributeName")
    if attribute and expiring[1].get("AttributeName") != attribute:
        enabled: Any = {"Enabled": True, "AttributeName": attribute}
        client.update_time_to_live(TableName=target, TimeToLiveSpecification=enabled)
    client.update_continuous_backups(
        TableName=target, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    client.update_table(TableName=target, DeletionProtectionEnabled=True)


def _tags(client: "DynamoDBClient", arn: str) -> Iterator[Any]:
    """Those of CloudFormation are its own."""
    for page in client.get_paginator("list_tags_of_resource").paginate(ResourceArn=arn):
        yield from (tag for tag in page["Tags"] if not tag["Key"].startswith("aws:"))
