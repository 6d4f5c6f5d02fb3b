"""A release by canary: each function runs as an alias, which gives a tenth of its runs to the new version first.

CodeDeploy shifts the rest ten minutes later, unless one of the alarms here rings: then each alias goes back to the
version before, and CloudFormation rolls back the stack. With the parameter `Canary` false all go at once, as they do in
a stage that does not have it in `parameters.json`.

The queue's mapping and the schedules go to the alias by the SAM transform. Chalice's API calls the function itself,
that is `$LATEST`, so each of its routes is told otherwise here. Lambda chooses a version for each run of the consumer
too (AWS Lambda Developer Guide, "Implement Lambda canary deployments using a weighted alias"): for these minutes an old
and a new consumer work on one queue.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from chalicelib.telemetry import VERSION_FAULTS
from deploy.alarms import NAMESPACE, above, expression, query, resource, stat
from deploy.digests import SHARED_SETTINGS
from deploy.stages import EVER, SAGA_STEP

ALIAS = "live"

RELEASED = ("api_handler", "order_consumer", "recover", "dead_letter_monitor")
"""The functions of every stage that something else than a person invokes. `replay_dead_letters` is invoked by name, as
`$LATEST`."""

_MORE = (SAGA_STEP,)
"""Those of stages that have them."""

MINUTES = 10
"""How long the new version has a tenth of the runs. An alarm needs three: two minutes with faults, and the metrics'
way to CloudWatch."""

_API = EVER["api_handler"]
_PERCENT = {"api_handler": 5}
_PERCENT_OF_OTHERS = 25
"""Of a version's runs in a minute. Beside the API's, single ones that fail are retries."""


def released(functions: Collection[str]) -> list[str]:
    """Those of a stage's functions that are released as an alias."""
    return [function for function in (*RELEASED, *_MORE) if function in functions]


def aliases(routes: Iterable[tuple[str, str]], functions: Collection[str]) -> dict[str, Any]:
    """The overlay on a package of these functions; `routes` are the paths and methods that the API's one answers."""
    return {
        "Resources": {
            **{EVER[function]: {"Properties": {"AutoPublishAlias": ALIAS}} for function in released(functions)},
            "RestAPI": {"Properties": {"DefinitionBody": {"paths": _paths(routes)}}},
            "APIHandlerInvokePermission": {"Properties": {"FunctionName": {"Ref": f"{_API}.Alias"}}},
        }
    }


def overlay(functions: Collection[str]) -> dict[str, Any]:
    """The overlay on a package of these functions whose releases go by canary."""
    names = released(functions)
    preference = {
        "Enabled": {"Ref": "Canary"},
        "Type": f"Canary10Percent{MINUTES}Minutes",
        "Role": {"Fn::GetAtt": ["CanaryRole", "Arn"]},
        # All of them for each function: a release goes back as a whole.
        "Alarms": [{"Ref": _alarm_id(function)} for function in names],
    }
    return {
        "Parameters": {
            "Canary": {
                "Type": "String",
                "AllowedValues": ["true", "false"],
                "Description": "Give a tenth of the traffic to a new version first; false: all of it at once.",
            }
        },
        "Resources": {
            **{EVER[function]: {"Properties": {"DeploymentPreference": preference}} for function in names},
            **{_alarm_id(function): _alarm(function) for function in names},
            "CanaryRole": _role(names),
        },
    }


def why_all_at_once(outputs: Mapping[str, str], shared_settings: str, *, asked: bool) -> str:
    """Why a release must not go by canary, empty if it may: `outputs` are those of the stack that it replaces."""
    if asked:
        return "as asked"
    if outputs.get(SHARED_SETTINGS, shared_settings) != shared_settings:
        return "old and new versions would disagree on tables, identity, provider or another setting that they share"
    return ""


def _paths(routes: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """A reference, not a name: the API is changed once its alias exists, and has come to the new version."""
    function = "arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/${Alias}/invocations"
    uri = {"Fn::Sub": [function, {"Alias": {"Ref": f"{_API}.Alias"}}]}
    paths: dict[str, Any] = {}
    for path, method in routes:
        paths.setdefault(path, {})[method.lower()] = {"x-amazon-apigateway-integration": {"uri": uri}}
    return paths


def _role(released: Iterable[str]) -> dict[str, Any]:
    """CodeDeploy's. The managed policy that SAM would attach allows the same on every function of the account (AWS
    Managed Policy Reference, "AWSCodeDeployRoleForLambda")."""
    functions = [
        arn
        for function in released
        for arn in (
            {"Fn::GetAtt": [EVER[function], "Arn"]},
            {"Fn::Sub": f"${{{EVER[function]}.Arn}}:{ALIAS}"},
        )
    ]
    aliases = ["lambda:GetAlias", "lambda:GetProvisionedConcurrencyConfig", "lambda:UpdateAlias"]
    statements = [
        {"Effect": "Allow", "Action": aliases, "Resource": functions},
        {"Effect": "Allow", "Action": ["cloudwatch:DescribeAlarms"], "Resource": "*"},
    ]
    trust = {"Effect": "Allow", "Principal": {"Service": "codedeploy.amazonaws.com"}, "Action": "sts:AssumeRole"}
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
            "Policies": [
                {"PolicyName": "canary", "PolicyDocument": {"Version": "2012-10-17", "Statement": statements}}
            ],
        },
    }


def _alarm(function: str) -> dict[str, Any]:
    """Of the new version alone: a fault of the old one is no reason to go back to it.

    Two of five minutes: a single fault is not enough, however few runs there are.
    """
    logical_id = EVER[function]
    version = {"Fn::GetAtt": [f"{logical_id}.Version", "Version"]}
    own = {"service": {"Fn::Sub": "orderonce-${Stage}"}, "function": {"Ref": logical_id}, "version": version}
    # By function, alias and version (AWS Lambda Developer Guide, "Types of metrics for Lambda functions").
    lambdas = {
        "FunctionName": {"Ref": logical_id},
        "Resource": {"Fn::Sub": f"${{{logical_id}}}:{ALIAS}"},
        "ExecutedVersion": version,
    }
    percent = _PERCENT.get(function, _PERCENT_OF_OTHERS)
    return resource(
        _alarm_name(function),
        {
            "AlarmDescription": f"More than {percent} % of the runs of a new version fail: the release goes back.",
            "Metrics": [
                query("faults", stat(NAMESPACE, VERSION_FAULTS, "Sum", own, period=60)),
                query("errors", stat("AWS/Lambda", "Errors", "Sum", lambdas, period=60)),
                query("runs", stat("AWS/Lambda", "Invocations", "Sum", lambdas, period=60)),
                # A minute with runs and without faults is one of the five.
                expression("none", "0 * runs"),
                expression("rate", "100 * SUM([faults, errors, none]) / runs", "failed runs, %"),
            ],
            **above(percent, periods=5),
            "DatapointsToAlarm": 2,
            # No run, or none of this version any more.
            "TreatMissingData": "notBreaching",
        },
    )


def _alarm_name(function: str) -> str:
    return f"release-{function.replace('_', '-')}"


def _alarm_id(function: str) -> str:
    return f"Release{EVER[function]}Alarm"
