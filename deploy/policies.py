"""Least privilege: what each function may do, in one table.

It is the source of the static files that `chalice deploy` reads (`.chalice/policy-<stage>-<function>.json`, with ARNs
by name; `python -m deploy policies` writes them) and the package's roles, which refer to the resources themselves.
A file for each stage: with one for all, `dev` could write the tables of a `prod` in the same account.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deploy import state_machine
from deploy.stages import (
    CHALICE,
    DEPLOYED,
    EVER,
    RECONCILING,
    RESOURCES,
    SAGA_STEP,
    function_name,
    functions_of,
    read,
    stage_config,
)
from deploy.tables import RESTORABLE


@dataclass(frozen=True, slots=True)
class Grant:
    """These actions on one resource: its logical id in the template, `Table/index/Name`, or the secret STRIPE_KEY."""

    resource: str
    actions: tuple[str, ...]


_REPLAYING = ("sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage")

GRANTS = {
    "api_handler": (
        Grant("OrdersTable", ("dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem")),
        Grant("OrdersTable/index/CustomerIndex", ("dynamodb:Query",)),
        Grant("InventoryTable", ("dynamodb:BatchGetItem", "dynamodb:Scan", "dynamodb:UpdateItem")),
        Grant("IdempotencyTable", ("dynamodb:GetItem", "dynamodb:PutItem")),
        Grant("OrderQueue", ("sqs:GetQueueUrl", "sqs:SendMessage")),
    ),
    "order_consumer": (
        Grant("OrdersTable", ("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem")),
        Grant("InventoryTable", ("dynamodb:BatchGetItem", "dynamodb:UpdateItem")),
        Grant("PaymentsTable", ("dynamodb:PutItem", "dynamodb:UpdateItem")),
        Grant(
            "OrderQueue",
            (
                "sqs:ChangeMessageVisibility",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
                "sqs:GetQueueUrl",
                "sqs:ReceiveMessage",
            ),
        ),
        Grant("OrderDeadLetters", ("sqs:GetQueueUrl", "sqs:SendMessage")),
        Grant("EventBus", ("events:PutEvents",)),
    ),
    "recover": (
        Grant("OrdersTable", ("dynamodb:BatchGetItem", "dynamodb:UpdateItem")),
        Grant("OrdersTable/index/OutboxIndex", ("dynamodb:Query",)),
        Grant("OrderQueue", ("sqs:GetQueueUrl", "sqs:SendMessage")),
        Grant("OrderDeadLetters", _REPLAYING),
    ),
    "dead_letter_monitor": (
        Grant("IdempotencyTable", ("dynamodb:GetItem", "dynamodb:PutItem")),
        Grant("OrderQueue", ("sqs:GetQueueAttributes", "sqs:GetQueueUrl")),
        Grant(
            "OrderDeadLetters",
            ("sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ReceiveMessage"),
        ),
        Grant("AlertsTopic", ("sns:Publish",)),
    ),
    "replay_dead_letters": (
        Grant("OrderQueue", ("sqs:GetQueueUrl", "sqs:SendMessage")),
        Grant("OrderDeadLetters", _REPLAYING),
    ),
    RECONCILING: (
        Grant("OrdersTable", ("dynamodb:BatchGetItem", "dynamodb:GetItem")),
        Grant("PaymentsTable", ("dynamodb:BatchGetItem",)),
    ),
}
"""By function, of those that any stage may have. TransactWriteItems is not an action: each of its writes needs the
action of a single write."""

WITH_STEP_FUNCTIONS = {
    "order_consumer": (
        Grant(
            "OrdersTable",
            ("dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"),
        ),
        Grant("InventoryTable", ("dynamodb:BatchGetItem",)),
        *(grant for grant in GRANTS["order_consumer"] if grant.resource not in ("OrdersTable", "InventoryTable")),
        Grant(state_machine.MACHINE, ("states:StartExecution",)),
    ),
    SAGA_STEP: (
        Grant("OrdersTable", ("dynamodb:GetItem", "dynamodb:UpdateItem")),
        Grant("InventoryTable", ("dynamodb:UpdateItem",)),
        Grant("PaymentsTable", ("dynamodb:PutItem", "dynamodb:UpdateItem")),
        Grant("EventBus", ("events:PutEvents",)),
    ),
}
"""The same where a state machine runs the saga."""

_SECRETS = {
    "secretsmanager": ("secretsmanager:GetSecretValue", "secret:{}-??????"),
    "ssm": ("ssm:GetParameter", "parameter/{}"),
}
"""By the service that keeps a secret: what reads it, and the end of its ARN by name. Secrets Manager puts six more
characters behind the name (AWS Secrets Manager User Guide, "Permissions policy examples")."""

WITH_STRIPE: Mapping[str, tuple[Grant, ...]] = {
    "order_consumer": (Grant("PaymentsTable", ("dynamodb:GetItem",)),),
    SAGA_STEP: (Grant("PaymentsTable", ("dynamodb:GetItem",)),),
    RECONCILING: (),
}
"""Where the stage has a key of Stripe's: the functions that read it, and what else they may do then."""


def grants(function: str, settings: Mapping[str, str]) -> Sequence[Grant]:
    """What a function may do on a stage with these settings."""
    with_engine = WITH_STEP_FUNCTIONS if settings.get("ENGINE") == "step-functions" else {}
    own = with_engine[function] if function in with_engine else GRANTS[function]
    if function not in WITH_STRIPE or not (place := settings.get("STRIPE_KEY")):
        return own
    action, _ = _SECRETS[place.partition(":")[0]]
    return (*own, *WITH_STRIPE[function], Grant("STRIPE_KEY", (action,)))


def _secret(place: str) -> tuple[str, str]:
    """Of a secret at `service:name`: the service, and the end of its ARN."""
    service, _, name = place.partition(":")
    return service, _SECRETS[service][1].format(name.removeprefix("/") if service == "ssm" else name)


LAMBDAS_OWN = {
    "order_consumer": {("OrderQueue", f"sqs:{a}") for a in ("DeleteMessage", "GetQueueAttributes", "ReceiveMessage")}
}
"""What no code of the project calls: the event source mapping polls the queue with the function's role."""

_BY_NAME = {
    "AWS::DynamoDB::Table": ("TableName", "arn:*:dynamodb:*:*:table/{}"),
    "AWS::SQS::Queue": ("QueueName", "arn:*:sqs:*:*:{}"),
    "AWS::Events::EventBus": ("Name", "arn:*:events:*:*:event-bus/{}"),
    "AWS::SNS::Topic": ("TopicName", "arn:*:sns:*:*:{}"),
}
"""Partition, account and region are left open: a role acts in its own account; names are the stage's everywhere."""


def static_policy(function: str, stage: str, tables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The policy of a function that `chalice deploy` creates, with ARNs by name.

    `tables` has the names of those in use, by setting; None: as config.json says.
    """
    settings = {**stage_config(stage)["environment_variables"], **(tables or {})}
    logs = f"arn:*:logs:*:*:log-group:/aws/lambda/{function_name(function)}:*".replace("${Stage}", stage)
    allowed = grants(function, settings)
    statements = [_allow(grant.actions, _arn_by_name(grant.resource, stage, settings)) for grant in allowed]
    return _document([*statements, *_common_statements(logs)])


def packaged_policy(function: str, stage: str) -> dict[str, Any]:
    """The policy of a function in the package, with references. It has the queues' URLs, and asks for none."""
    settings = stage_config(stage)["environment_variables"]
    # The log group by pattern: a role that refers to its own function's log group would be a circular reference.
    logs = {
        "Fn::Sub": "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:"
        f"/aws/lambda/${{AWS::StackName}}-{EVER[function]}-*:*"
    }
    statements = []
    for grant in grants(function, settings):
        actions = tuple(action for action in grant.actions if action != "sqs:GetQueueUrl")
        statements.append(_allow(actions, _reference(grant.resource, settings)))
    return _document([*statements, *_common_statements(logs)])


def _arn_by_name(resource: str, stage: str, settings: Mapping[str, str]) -> str:
    """The ARN of a resource of a stage, with partition, account and region open."""
    if resource == "STRIPE_KEY":
        return "arn:*:{}:*:*:{}".format(*_secret(settings[resource]))
    logical_id, _, rest = resource.partition("/")
    if logical_id == state_machine.MACHINE:
        return f"arn:*:states:*:*:stateMachine:{state_machine.machine_name(stage)}"
    described = read(RESOURCES)["Resources"][logical_id]
    property_, arn = _BY_NAME[described["Type"]]
    own: str = described["Properties"][property_]["Fn::Sub"].replace("${Stage}", stage)
    name = settings[RESTORABLE[logical_id]] if logical_id in RESTORABLE else own
    return arn.format(name) + (f"/{rest}" if rest else "")


def files() -> Iterator[tuple[str, str]]:
    """The name and the text of every file that config.json names."""
    for stage in DEPLOYED:
        for function in functions_of(stage):
            yield f"policy-{stage}-{function}.json", json.dumps(static_policy(function, stage), indent=2) + "\n"


def write() -> None:
    """Write every file."""
    for name, text in files():
        (CHALICE / name).write_text(text, encoding="utf-8")


def _reference(resource: str, settings: Mapping[str, str]) -> dict[str, Any]:
    if resource == "STRIPE_KEY":
        own = "arn:${{AWS::Partition}}:{}:${{AWS::Region}}:${{AWS::AccountId}}:{}"
        return {"Fn::Sub": own.format(*_secret(settings[resource]))}
    logical_id, _, rest = resource.partition("/")
    if logical_id == "AlertsTopic":
        return {"Ref": logical_id}  # a topic's Ref is its ARN
    if logical_id == state_machine.MACHINE:
        return state_machine.arn()
    return {"Fn::Sub": f"${{{logical_id}.Arn}}/{rest}"} if rest else {"Fn::GetAtt": [logical_id, "Arn"]}


def _common_statements(logs: Any) -> list[dict[str, Any]]:
    return [
        _allow(("logs:CreateLogStream", "logs:PutLogEvents"), logs),
        # X-Ray's segments are not resources that can be named.
        _allow(("xray:PutTelemetryRecords", "xray:PutTraceSegments"), "*"),
    ]


def _allow(actions: tuple[str, ...], resource: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": resource}


def _document(statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}
