"""What a Lambda function calls, as the permissions that IAM requires; and what its role grants."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from deploy.policies import grants
from tests.support.aws_calls import Call
from tests.support.stage import Stage

Permission = tuple[str, str]
"""The setting that names the resource, with `/index/Name` for an index, and the action."""

SETTINGS = {
    "OrdersTable": "ORDERS_TABLE",
    "InventoryTable": "INVENTORY_TABLE",
    "IdempotencyTable": "IDEMPOTENCY_TABLE",
    "PaymentsTable": "PAYMENTS_TABLE",
    "OrderQueue": "ORDER_QUEUE",
    "OrderDeadLetters": "ORDER_DEAD_LETTERS",
    "EventBus": "EVENT_BUS",
    "AlertsTopic": "ALERTS_TOPIC",
    "STRIPE_KEY": "STRIPE_KEY",
    "SagaStateMachine": "STATE_MACHINE",
}

_WRITES = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}


def granted(function: str, stage: Stage, engine: str = "queue") -> frozenset[Permission]:
    """What the role of a function allows on a stage, where this runs the saga."""
    return _granted(function, stage.settings.get("STRIPE_KEY", ""), engine)


@cache
def _granted(function: str, stripe_key: str, engine: str) -> frozenset[Permission]:
    return frozenset(
        (SETTINGS[logical_id] + (f"/{rest}" if rest else ""), action)
        for grant in grants(function, {"STRIPE_KEY": stripe_key, "ENGINE": engine})
        for logical_id, _, rest in [grant.resource.partition("/")]
        for action in grant.actions
    )


def permissions(call: Call, stage: Stage) -> Iterator[Permission]:
    """The permissions that IAM requires for this call (Service Authorization Reference)."""
    params, operation = call.params, call.operation
    match call.service:
        case "dynamodb":
            yield from _tables(operation, params, stage)
        case "sqs":
            # A batch needs the permission of the single call.
            name = str(params.get("QueueName") or params["QueueUrl"]).rpartition("/")[2]
            yield _setting(stage, name, "ORDER_QUEUE", "ORDER_DEAD_LETTERS"), f"sqs:{operation.removesuffix('Batch')}"
        case "events":
            for bus in {entry["EventBusName"] for entry in params["Entries"]}:
                yield _setting(stage, bus, "EVENT_BUS"), f"events:{operation}"
        case "sns":
            topic = str(params["TopicArn"]).rpartition(":")[2]
            yield _setting(stage, topic, "ALERTS_TOPIC"), f"sns:{operation}"
        case "secretsmanager" | "ssm" as service:
            assert stage["STRIPE_KEY"] == f"{service}:{params.get('SecretId') or params['Name']}"
            yield "STRIPE_KEY", f"{service}:{operation}"
        case "stepfunctions":
            assert params["stateMachineArn"].endswith(":stateMachine:orderonce-test-saga")
            yield "STATE_MACHINE", f"states:{operation}"
        case service:
            raise NotImplementedError(f"which permission {service}'s {operation} asks for")


def _tables(operation: str, params: Mapping[str, Any], stage: Stage) -> Iterator[Permission]:
    tables = ("ORDERS_TABLE", "INVENTORY_TABLE", "IDEMPOTENCY_TABLE", "PAYMENTS_TABLE")
    if operation == "TransactWriteItems":
        # Not an action of IAM: each of its writes needs the action of a single write.
        for action in params["TransactItems"]:
            ((kind, write),) = action.items()
            yield _setting(stage, write["TableName"], *tables), f"dynamodb:{_WRITES[kind]}"
    elif operation == "BatchGetItem":
        for table in params["RequestItems"]:
            yield _setting(stage, table, *tables), f"dynamodb:{operation}"
    else:
        index = f"/index/{params['IndexName']}" if "IndexName" in params else ""
        yield _setting(stage, params["TableName"], *tables) + index, f"dynamodb:{operation}"


def _setting(stage: Stage, name: str, *settings: str) -> str:
    (found,) = (setting for setting in settings if stage[setting] == name)
    return found
