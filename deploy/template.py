"""The template of a stage, merged from its parts: for a stack of resources alone, and for a package.

Tables, queues, bus and topic are described once, in `.chalice/resources.json`. What depends on the stage, and what a
laptop does not need (alarms, dashboard, queries, the key), is merged into it here.
"""

from collections.abc import Iterator
from typing import Any

from deploy import (
    boundary,
    canary,
    capacity,
    dead_letters,
    domain,
    encryption,
    firewall,
    gateway,
    state_machine,
    user_pool,
)
from deploy.alarms import TABLES, alarms
from deploy.callers import has_tokens
from deploy.dashboard import dashboard
from deploy.merging import merged
from deploy.names import OPERATIONS_TABLE, Names, log_group_id, role_id
from deploy.options import is_given
from deploy.policies import packaged_policy
from deploy.queries import queries
from deploy.stages import EVER, RESOURCES, functions_of, read, stage_config, stage_parameters
from deploy.state_machine import has_state_machine
from deploy.tables import RESTORABLE, with_tables_in_use
from deploy.unrouted import application_routes

_ENVIRONMENT = {
    "ORDERS_TABLE": "OrdersTable",
    "INVENTORY_TABLE": "InventoryTable",
    "IDEMPOTENCY_TABLE": "IdempotencyTable",
    "PAYMENTS_TABLE": "PaymentsTable",
    "ORDER_QUEUE": "OrderQueue",
    "ORDER_DEAD_LETTERS": "OrderDeadLetters",
    "EVENT_BUS": "EventBus",
    "ALERTS_TOPIC": "AlertsTopic",
    "MAX_RECEIVES": "MaxReceives",
}
"""Settings of a packaged function that are references: names of tables and bus, URLs of queues, the topic's ARN, and
the parameter that the queue counts by."""


def resources_template(stage: str, *, watched: bool = True) -> dict[str, Any]:
    """Beside `chalice deploy`: the resources as a stack of their own. Raises NoSuchStage.

    Not `watched`: without alarms, dashboard and queries, for emulators without them.
    """
    names = Names(packaged=False, functions=functions_of(stage))
    machine = state_machine.overlay(names, stage) if has_state_machine(stage) else {}
    log_groups = ["OrderEventsLog", log_group_id("api_handler"), *([state_machine.LOG] if machine else [])]
    monitoring = _monitoring(names, stage) if watched else {}
    own = (_operations(), _api_log_group(names, stage), encryption.overlay(log_groups), dead_letters.overlay())
    bounded = boundary.overlay([state_machine.ROLE]) if machine else {}
    parts = (read(RESOURCES), *own, _protection(), capacity.overlay(TABLES), monitoring, machine, bounded)
    return _with_defaults(with_tables_in_use(merged(*parts)), stage)


def merge_template(stage: str) -> dict[str, Any]:
    """For `chalice package --merge-template`: the resources, and what Chalice cannot configure. Raises NoSuchStage."""
    names = Names(packaged=True, functions=functions_of(stage))
    machine = state_machine.overlay(names, stage) if has_state_machine(stage) else {}
    log_groups = ["OrderEventsLog", "ApiAccessLog", *(log_group_id(function) for function in names.functions)]
    parts = (
        read(RESOURCES),
        gateway.overlay(stage),
        domain.overlay(),
        firewall.overlay(),
        _user_pool(names) if has_tokens(stage) else {},
        {"Resources": _functions(names, stage), "Outputs": _function_names(names)},
        machine,
        _operations(),
        canary.aliases(_routes(), names.functions),
        _api_log_group(names, stage),
        encryption.overlay([*log_groups, *([state_machine.LOG] if machine else [])]),
        dead_letters.overlay(),
        _protection(),
        capacity.overlay(TABLES),
        _monitoring(names, stage),
        canary.overlay(names.functions) if "Canary" in stage_parameters(stage) else {},
    )
    whole = with_tables_in_use(merged(*parts))
    own = {role_id(function) for function in names.functions}
    roles = [name for name, made in whole["Resources"].items() if name in own or made.get("Type") == "AWS::IAM::Role"]
    return _with_defaults(merged(whole, boundary.overlay(roles)), stage)


def _routes() -> Iterator[tuple[str, str]]:
    return ((path, method) for path, methods in application_routes().items() for method in methods)


def _functions(names: Names, stage: str) -> dict[str, Any]:
    """References in place of names, so that nothing in the stack is created before what it needs."""
    environment = {"Environment": {"Variables": {name: {"Ref": of_stack} for name, of_stack in _ENVIRONMENT.items()}}}
    resources: dict[str, Any] = {}
    for function in names.functions:
        logical_id = EVER[function]
        policy = {"PolicyName": function, "PolicyDocument": packaged_policy(function, stage)}
        # Their names are in the environment, and not references.
        resources[logical_id] = {"DependsOn": sorted(RESTORABLE), "Properties": environment}
        resources[role_id(function)] = {"Properties": {"Policies": [policy]}}
    mapping = {"OrderConsumerSqsEventSource": {"Properties": {"Queue": {"Fn::Sub": "${OrderQueue.Arn}"}}}}
    return merged(resources, {"OrderConsumer": {"Properties": {"Events": mapping}}})


def _user_pool(names: Names) -> dict[str, Any]:
    """The pool, and its references in the settings of the functions."""
    variables = {"USER_POOL_ARN": user_pool.arn(), "USER_POOL_CLIENTS": user_pool.clients()}
    settings = {"Properties": {"Environment": {"Variables": variables}}}
    return merged(user_pool.overlay(), {"Resources": {EVER[function]: settings for function in names.functions}})


def _function_names(names: Names) -> dict[str, Any]:
    """CloudFormation invents the names. Chalice has that of the API's function among its own outputs."""
    return {
        f"{EVER[function]}Name": {"Description": f"Name of the function {function}", "Value": names.function(function)}
        for function in names.functions
        if function != "api_handler"
    }


def _operations() -> dict[str, Any]:
    """The table of `python -m ops`: what was there before a pause. A restore swaps other tables, never this one."""
    key = "id"
    table = {
        "Type": "AWS::DynamoDB::Table",
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "TableName": {"Fn::Sub": OPERATIONS_TABLE},
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        },
    }
    return {"Resources": {"OperationsTable": table}}


def _api_log_group(names: Names, stage: str) -> dict[str, Any]:
    """The log group of the API's function, which may not create one itself.

    Chalice makes those of the other functions. It gives this one a wrong name, so config.json (0 days) stops it.
    """
    name = {"Fn::Sub": f"/aws/lambda/{names.in_text('api_handler')}"}
    properties = {"LogGroupName": name, "RetentionInDays": stage_config(stage)["log_retention_in_days"]}
    return {"Resources": {log_group_id("api_handler"): {"Type": "AWS::Logs::LogGroup", "Properties": properties}}}


def _monitoring(names: Names, stage: str) -> dict[str, Any]:
    return {
        "Parameters": {
            "AlertsEmail": {
                "Type": "String",
                "Default": "",
                "Description": "Who is notified of alarms and dead letters; empty: nobody, until somebody subscribes.",
            },
            "Alarm4xxPercent": {
                "Type": "Number",
                "Default": 50,
                "MinValue": 0,
                "MaxValue": 100,
                "Description": "Of the API's answers, 429 included, beyond which 4xx are an alarm; 100: never.",
            },
        },
        "Conditions": {"HasAlertsEmail": is_given("AlertsEmail")},
        "Resources": {
            "AlertsByEmail": {
                "Type": "AWS::SNS::Subscription",
                "Condition": "HasAlertsEmail",
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


def _protection() -> dict[str, Any]:
    """The tables' protection against deletion. A stack gets it once all of it exists (`deploy/stacks.py`)."""
    protected = {"DeletionProtectionEnabled": {"Fn::If": ["IsProtected", True, False]}}
    return {
        "Parameters": {
            "Protected": {
                "Type": "String",
                "AllowedValues": ["true", "false"],
                "Default": "false",
                "Description": "Protect the tables against deletion: not before the stack has been created.",
            }
        },
        "Conditions": {"IsProtected": {"Fn::Equals": [{"Ref": "Protected"}, "true"]}},
        "Resources": {table: {"Properties": protected} for table in (*TABLES, "OperationsTable")},
    }


def _with_defaults(template: dict[str, Any], stage: str) -> dict[str, Any]:
    """The stage's values become the defaults, and its name the only one allowed: the functions are packaged for it."""
    values = stage_parameters(stage)
    declared = template["Parameters"]
    for name, declaration in declared.items():
        if name in values:
            declaration["Default"] = int(values[name]) if declaration["Type"] == "Number" else values[name]
    declared["Stage"]["AllowedValues"] = [stage]
    return template
