"""The template of a stage, put together from its parts: for a stack of resources alone, and for a package.

Tables, queues, bus and topic are described in `.chalice/resources.json`, once. What depends on the stage, and what
is of no use to a laptop (alarms, dashboard, queries, the key), is laid over it here.
"""

from typing import Any

from deploy import encryption, gateway
from deploy.alarms import alarms
from deploy.dashboard import dashboard
from deploy.merging import merged
from deploy.names import Names, log_group_id, role_id
from deploy.policies import packaged_policy
from deploy.queries import queries
from deploy.stages import FUNCTIONS, RESOURCES, parameters_of, read, stage_of

_ENVIRONMENT = {
    "ORDERS_TABLE": "OrdersTable",
    "INVENTORY_TABLE": "InventoryTable",
    "IDEMPOTENCY_TABLE": "IdempotencyTable",
    "PAYMENTS_TABLE": "PaymentsTable",
    "ORDER_QUEUE": "OrderQueue",
    "ORDER_DEAD_LETTERS": "OrderDeadLetters",
    "EVENT_BUS": "EventBus",
    "ALERTS_TOPIC": "AlertsTopic",
}
"""Settings of a packaged function that are references: names of tables and bus, URLs of queues, the topic's ARN."""


def resources_template(stage: str, *, watched: bool = True) -> dict[str, Any]:
    """Beside `chalice deploy`: the resources as a stack of their own. Raises NoSuchStage.

    Not `watched`: without alarms, dashboard and queries, for emulators that know too little of them.
    """
    encrypted = encryption.overlay(["OrderEventsLog"])
    watching = _watching(Names(packaged=False), stage) if watched else {}
    return _with_defaults(merged(read(RESOURCES), encrypted, watching), stage)


def merge_template(stage: str) -> dict[str, Any]:
    """For `chalice package --merge-template`: the resources, and what Chalice cannot say. Raises NoSuchStage."""
    names = Names(packaged=True)
    retention: int = stage_of(stage)["log_retention_in_days"]
    log_groups = ["OrderEventsLog", "ApiAccessLog", *(log_group_id(function) for function in FUNCTIONS)]
    parts = (
        read(RESOURCES),
        gateway.overlay(retention),
        {"Resources": _functions()},
        encryption.overlay(log_groups),
        _watching(names, stage),
    )
    return _with_defaults(merged(*parts), stage)


def _functions() -> dict[str, Any]:
    """References in place of names, so that nothing of the stack is made before what it needs."""
    environment = {"Environment": {"Variables": {name: {"Ref": made} for name, made in _ENVIRONMENT.items()}}}
    resources: dict[str, Any] = {}
    for function, logical_id in FUNCTIONS.items():
        policy = {"PolicyName": function, "PolicyDocument": packaged_policy(function)}
        resources[logical_id] = {"Properties": environment}
        resources[role_id(function)] = {"Properties": {"Policies": [policy]}}
        # Chalice spells the API handler's function `ApiHandler` here, which there is not.
        resources[log_group_id(function)] = {
            "Properties": {"LogGroupName": {"Fn::Sub": f"/aws/lambda/${{{logical_id}}}"}}
        }
    mapping = {"OrderConsumerSqsEventSource": {"Properties": {"Queue": {"Fn::Sub": "${OrderQueue.Arn}"}}}}
    return merged(resources, {"OrderConsumer": {"Properties": {"Events": mapping}}})


def _watching(names: Names, stage: str) -> dict[str, Any]:
    return {
        "Parameters": {
            "AlertsEmail": {
                "Type": "String",
                "Default": "",
                "Description": "Who is told of alarms and dead letters; empty: nobody, until somebody subscribes.",
            }
        },
        "Conditions": {"TellSomebody": {"Fn::Not": [{"Fn::Equals": [{"Ref": "AlertsEmail"}, ""]}]}},
        "Resources": {
            "AlertsByEmail": {
                "Type": "AWS::SNS::Subscription",
                "Condition": "TellSomebody",
                "Properties": {
                    "TopicArn": {"Ref": "AlertsTopic"},
                    "Protocol": "email",
                    "Endpoint": {"Ref": "AlertsEmail"},
                },
            },
            "Dashboard": dashboard(names),
            **alarms(names, stage),
            **queries(names),
        },
    }


def _with_defaults(template: dict[str, Any], stage: str) -> dict[str, Any]:
    """The stage's values are the defaults, and its name the only one there is: the functions are packaged for it."""
    values = parameters_of(stage)
    declared = template["Parameters"]
    for name, declaration in declared.items():
        if name in values:
            declaration["Default"] = int(values[name]) if declaration["Type"] == "Number" else values[name]
    declared["Stage"]["AllowedValues"] = [stage]
    return template
