"""The state machine of a stage with ENGINE=step-functions: `.chalice/saga.asl.json`, its role, its log.

Its ARN is made of its name everywhere: in a release by canary the alias that it invokes waits for the alarms of every
function, so a function that referred to it would wait for itself.
"""

import json
from typing import Any

from deploy.names import Names
from deploy.payments import payment_settings
from deploy.stages import CHALICE, EVER, SAGA_STEP, function_timeout, functions_of, stage_config

MACHINE, ROLE, LOG = "SagaStateMachine", "SagaStateMachineRole", "SagaLog"
"""The logical ids of what only such a stage has."""

NAME = "orderonce-${Stage}-saga"
"""Of the machine, with `${Stage}` in it."""

SETTING = "STATE_MACHINE"
"""The setting of the consumer, and of no other function, that names the machine."""

LOG_LEVEL = "ERROR"
"""Of the machine's log: what fails and what is tried again."""

_LOG_GROUP = f"/aws/vendedlogs/states/{NAME}"
_DEFINITION = CHALICE / "saga.asl.json"
_INVOKED = f"${{{EVER[SAGA_STEP]}}}"
"""What the definition's file has in place of the function that is invoked."""

_ARN = f"arn:${{AWS::Partition}}:states:${{AWS::Region}}:${{AWS::AccountId}}:stateMachine:{NAME}"
_LOG_DELIVERY = (
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
)
"""They have no resources (AWS Step Functions Developer Guide, "Using CloudWatch Logs to log execution history")."""

_TRACING = (
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
)


class RefusedEngine(Exception):
    """A stage whose configuration does not fit what runs its saga; the message says why."""


def has_state_machine(stage: str) -> bool:
    """Whether a state machine runs the saga, and not the consumer by itself. Raises NoSuchStage, BadSetting."""
    return SAGA_STEP in functions_of(stage)


def check_engine(stage: str) -> None:
    """Raises RefusedEngine, NoSuchStage, BadSetting."""
    if not has_state_machine(stage):
        return
    if SAGA_STEP not in stage_config(stage)["lambda_functions"]:
        raise RefusedEngine(
            f"{stage} has ENGINE=step-functions, but no {SAGA_STEP} among the lambda_functions of "
            ".chalice/config.json: docs/engines.md has what to put there."
        )
    provider = payment_settings(stage).provider
    if function_timeout(stage, SAGA_STEP) < provider.consumer_timeout:
        raise RefusedEngine(
            f"{SAGA_STEP} of {stage} has {function_timeout(stage, SAGA_STEP)} s, but payments by {provider.name} need "
            f"{provider.consumer_timeout} s: raise its lambda_timeout in .chalice/config.json."
        )


def check_named_engine(stage: str) -> None:
    """For `chalice deploy`, which can compute no ARN. Raises RefusedEngine, NoSuchStage, BadSetting."""
    own = stage_config(stage)["lambda_functions"]["order_consumer"].get("environment_variables", {})
    if has_state_machine(stage) and not own.get(SETTING):
        raise RefusedEngine(
            f"{stage} has ENGINE=step-functions, but its order_consumer has no {SETTING} among the "
            "environment_variables of its own in .chalice/config.json: "
            f"arn:aws:states:REGION:ACCOUNT:stateMachine:{machine_name(stage)}."
        )


def machine_name(stage: str) -> str:
    """The machine's name in a stage."""
    return NAME.replace("${Stage}", stage)


def log_group(stage: str) -> str:
    """The name of the machine's log group in a stage."""
    return _LOG_GROUP.replace("${Stage}", stage)


def definition(invoked: str = _INVOKED) -> dict[str, Any]:
    """The definition, as a machine has it that invokes this."""
    found: dict[str, Any] = json.loads(_DEFINITION.read_text(encoding="utf-8").replace(_INVOKED, invoked))
    return found


def arn() -> dict[str, Any]:
    """The machine's ARN, without a reference to it."""
    return {"Fn::Sub": _ARN}


def policy(invoked: Any) -> dict[str, Any]:
    """What the machine may do; `invoked` is the ARN of what it invokes."""
    statements = [
        {"Effect": "Allow", "Action": ["lambda:InvokeFunction"], "Resource": invoked},
        {"Effect": "Allow", "Action": list(_LOG_DELIVERY), "Resource": "*"},
        {"Effect": "Allow", "Action": list(_TRACING), "Resource": "*"},
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def overlay(names: Names, stage: str) -> dict[str, Any]:
    """The overlay on the resources of such a stage; in a package also on its consumer."""
    named = {"Properties": {"Environment": {"Variables": {SETTING: arn()}}}}
    return {
        "Resources": {
            **({EVER["order_consumer"]: named} if names.packaged else {}),
            LOG: {
                "Type": "AWS::Logs::LogGroup",
                "Properties": {
                    # So named, log groups do not fill the policy by which services may write logs, of 5,120 characters
                    # (AWS Step Functions Developer Guide, "Using CloudWatch Logs to log execution history").
                    "LogGroupName": {"Fn::Sub": _LOG_GROUP},
                    "RetentionInDays": stage_config(stage)["log_retention_in_days"],
                },
            },
            ROLE: _role(names),
            MACHINE: {"Type": "AWS::StepFunctions::StateMachine", "Properties": _machine(names)},
        },
    }


def _machine(names: Names) -> dict[str, Any]:
    return {
        "StateMachineName": {"Fn::Sub": NAME},
        "StateMachineType": "STANDARD",
        # As text: CloudFormation refuses a template with a null in it, and a ResultPath is null.
        "DefinitionString": json.dumps(definition(), separators=(",", ":")),
        "DefinitionSubstitutions": {EVER[SAGA_STEP]: _invoked(names)},
        "RoleArn": {"Fn::GetAtt": [ROLE, "Arn"]},
        "LoggingConfiguration": {
            "Level": LOG_LEVEL,
            "IncludeExecutionData": False,
            "Destinations": [{"CloudWatchLogsLogGroup": {"LogGroupArn": {"Fn::GetAtt": [LOG, "Arn"]}}}],
        },
        "TracingConfiguration": {"Enabled": True},
    }


def _invoked(names: Names) -> dict[str, Any]:
    """What the machine invokes: the function's alias in a package."""
    if names.packaged:
        return {"Ref": f"{EVER[SAGA_STEP]}.Alias"}
    function = "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:"
    return {"Fn::Sub": function + names.in_text(SAGA_STEP)}


def _role(names: Names) -> dict[str, Any]:
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": "states.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": {
            "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
            "ArnEquals": {"aws:SourceArn": arn()},
        },
    }
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
            "Policies": [{"PolicyName": "saga", "PolicyDocument": policy(_invoked(names))}],
        },
    }
