"""Who makes the log group of each function: no role may create one, so a group that nobody makes is a function that
cannot log."""

from collections import Counter
from typing import Any

import pytest
from chalice.config import Config
from chalice.deploy.appgraph import ApplicationGraphBuilder
from chalice.deploy.models import LambdaFunction

import app as entry
from deploy.names import log_group_id
from deploy.policies import packaged_policy, static_policy
from deploy.stages import DEPLOYED, FUNCTIONS, ROOT, config, stage_config
from deploy.template import resources_template
from tests.deploy.packages import Package
from tests.deploy.test_package import stage_name
from tests.support.template import Template


def functions_of_chalice_deploy(stage: str) -> list[LambdaFunction]:
    """What `chalice deploy` makes of the app and of config.json, before it calls AWS."""
    given = {"chalice_app": entry.app, "project_dir": str(ROOT)}
    read = Config(stage, user_provided_params=given, config_from_disk=dict(config()))
    resources: list[Any] = ApplicationGraphBuilder().build(read, stage).resources
    return [getattr(resource, "lambda_function", resource) for resource in resources]


def groups_of_resources(stage: str) -> dict[str, int]:
    """The days of retention by log group of Lambda, in the stack of resources."""
    template = Template(resources_template(stage, watched=False), {"Stage": stage})
    groups = [
        {name: template.resolve(value) for name, value in resource["Properties"].items() if name != "KmsKeyId"}
        for resource in template.resources.values()
        if resource["Type"] == "AWS::Logs::LogGroup"
    ]
    named = {group["LogGroupName"]: group["RetentionInDays"] for group in groups}
    return {name: days for name, days in named.items() if name.startswith("/aws/lambda/")}


@pytest.mark.parametrize("stage", DEPLOYED)
def test_beside_chalice_deploy_each_function_has_one_log_group_made_once(stage: str) -> None:
    functions = functions_of_chalice_deploy(stage)
    own = {f.log_group.log_group_name: f.log_group.retention_in_days for f in functions if f.log_group}
    stacks = groups_of_resources(stage)
    wanted = [f"/aws/lambda/{function.function_name}" for function in functions]
    assert len(wanted) == len(FUNCTIONS)
    assert Counter([*own, *stacks]) == Counter(wanted)
    assert {*own.values(), *stacks.values()} == {stage_config(stage)["log_retention_in_days"]}


@pytest.mark.parametrize("stage", DEPLOYED)
def test_each_function_may_write_to_its_own_log_group_alone(stage: str) -> None:
    made = functions_of_chalice_deploy(stage)
    groups = {function.resource_name: f"/aws/lambda/{function.function_name}" for function in made}
    for function, group in groups.items():
        assert _logs(static_policy(function, stage)) == f"arn:*:logs:*:*:log-group:{group}:*"


def test_in_a_package_each_function_has_the_log_group_of_its_name(package: Package) -> None:
    groups, stage = package.of_type("AWS::Logs::LogGroup"), stage_name(package)
    names = [group["LogGroupName"]["Fn::Sub"] for group in groups.values()]
    for function, logical_id in FUNCTIONS.items():
        assert names.count(f"/aws/lambda/${{{logical_id}}}") == 1
        assert groups[log_group_id(function)]["LogGroupName"]["Fn::Sub"] == f"/aws/lambda/${{{logical_id}}}"
        assert f"-{logical_id}-*:*" in _logs(packaged_policy(function, stage))["Fn::Sub"]


def _logs(policy: dict[str, Any]) -> Any:
    (resource,) = (s["Resource"] for s in policy["Statement"] if "logs:PutLogEvents" in s["Action"])
    return resource
