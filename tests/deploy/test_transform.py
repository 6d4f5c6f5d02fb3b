"""What CloudFormation makes of a package: the SAM transform adds resources that the package does not name."""

import json
import os
from collections.abc import Mapping
from typing import Any

import pytest

from deploy.canary import ALIAS, MINUTES, RELEASED
from deploy.digests import references, stamped
from deploy.stages import FUNCTIONS, stage_parameters
from deploy.state_machine import MACHINE, ROLE
from deploy.unrouted import application_routes
from tests.deploy.packages import Package
from tests.deploy.support.sam import transformed
from tests.support.environments import NotInstalled
from tests.support.skipping import skip

pytestmark = pytest.mark.slow


@pytest.fixture
def resources(package: Package) -> dict[str, Any]:
    """The package of each deployed stage in turn, transformed."""
    return run_transform(package.template)


def run_transform(template: Mapping[str, Any], **parameters: str) -> dict[str, Any]:
    """The resources after the transform."""
    try:
        return transformed(template, **parameters)
    except NotInstalled as missing:
        if os.environ.get("REQUIRE_PACKAGE_INDEX") == "1":
            pytest.fail(str(missing))
        skip(
            "the SAM transform is not installed, and the package index cannot be reached",
            to_run="make test ARGS=tests/deploy/test_transform.py, with a network",
        )


def of_type(resources: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [resource["Properties"] for resource in resources.values() if resource["Type"] == kind]


def test_the_api_has_one_stage_and_it_is_throttled_and_logged(resources: dict[str, Any]) -> None:
    """A deployment with a stage's name would make that stage too, without all this."""
    deployments = of_type(resources, "AWS::ApiGateway::Deployment")
    assert deployments
    assert [deployment for deployment in deployments if "StageName" in deployment] == []
    (stage,) = of_type(resources, "AWS::ApiGateway::Stage")
    assert stage["AccessLogSetting"]["DestinationArn"]
    assert ("*", "/*") in {(each["HttpMethod"], each["ResourcePath"]) for each in stage["MethodSettings"]}


def test_the_transform_makes_every_function_and_no_role_of_its_own(resources: dict[str, Any], package: Package) -> None:
    for kind, packaged in (
        ("AWS::Lambda::Function", "AWS::Serverless::Function"),
        ("AWS::IAM::Role", "AWS::IAM::Role"),
    ):
        assert len(of_type(resources, kind)) == len(package.of_type(packaged))
    assert not [kind for kind in {r["Type"] for r in resources.values()} if kind.startswith("AWS::Serverless::")]


# --- versions and aliases ---


def versions(resources: Mapping[str, Any]) -> dict[str, str]:
    """The logical id of each function's version, by that of its function: another id is another version."""
    return {
        resource["Properties"]["FunctionName"]["Ref"]: name
        for name, resource in resources.items()
        if resource["Type"] == "AWS::Lambda::Version"
    }


def test_everything_that_invokes_a_function_invokes_its_alias(resources: dict[str, Any]) -> None:
    aliases = {function: f"{FUNCTIONS[function]}Alias{ALIAS}" for function in RELEASED}
    assert {resources[alias]["Properties"]["FunctionName"]["Ref"] for alias in aliases.values()} == set(
        versions(resources)
    )
    (mapping,) = of_type(resources, "AWS::Lambda::EventSourceMapping")
    assert mapping["FunctionName"] == {"Ref": aliases["order_consumer"]}
    schedules = [rule for rule in of_type(resources, "AWS::Events::Rule") if "ScheduleExpression" in rule]
    targets = [target["Arn"]["Ref"] for rule in schedules for target in rule["Targets"]]
    assert set(targets) == {aliases["recover"], aliases["dead_letter_monitor"]}
    allowed = {permission["FunctionName"]["Ref"] for permission in of_type(resources, "AWS::Lambda::Permission")}
    assert allowed == set(aliases.values()) - {aliases["order_consumer"]}
    (api,) = of_type(resources, "AWS::ApiGateway::RestApi")
    integrations = [
        method["x-amazon-apigateway-integration"]
        for methods in api["Body"]["paths"].values()
        for method in methods.values()
    ]
    called = [integration["uri"] for integration in integrations if integration["type"] == "aws_proxy"]
    assert len(called) == sum(len(list(methods)) for methods in application_routes().values())
    for uri in called:
        text, names = uri["Fn::Sub"]
        assert text.endswith(":lambda:path/2015-03-31/functions/${Alias}/invocations")
        assert names == {"Alias": {"Ref": aliases["api_handler"]}}


def test_a_changed_parameter_publishes_a_version(prod: Package) -> None:
    template = prod.template

    def published(*, digest: bool, **parameters: str) -> dict[str, str]:
        values = stage_parameters("prod") | parameters
        return versions(run_transform(stamped(template, values) if digest else template, **values))

    assert published(digest=False) == published(digest=False, RestoredTables="-monday"), "the digest has no use"
    before, after = published(digest=True), published(digest=True, RestoredTables="-monday")
    assert before.keys() == after.keys() == {FUNCTIONS[function] for function in RELEASED}
    assert not set(before.values()) & set(after.values())
    assert published(digest=True) == before


# --- the canary ---


def test_in_prod_codedeploy_shifts_each_alias_and_watches_the_alarms_of_the_new_versions(prod: Package) -> None:
    resources = run_transform(prod.template)
    versioned = versions(resources)
    for function in RELEASED:
        logical_id = FUNCTIONS[function]
        policy = resources[f"{logical_id}Alias{ALIAS}"]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
        group = resources[policy["DeploymentGroupName"]["Ref"]]["Properties"]
        assert group["DeploymentConfigName"]["Fn::Sub"][1] == {"ConfigName": f"Canary10Percent{MINUTES}Minutes"}
        assert group["AutoRollbackConfiguration"]["Enabled"] is True
        assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
        assert group["ServiceRoleArn"] == {"Fn::GetAtt": ["CanaryRole", "Arn"]}
        watched = [alarm["Name"]["Ref"] for alarm in group["AlarmConfiguration"]["Alarms"]]
        assert watched == [f"Release{FUNCTIONS[each]}Alarm" for each in RELEASED]
        text = json.dumps(resources[f"Release{logical_id}Alarm"])
        assert json.dumps({"Fn::GetAtt": [versioned[logical_id], "Version"]}) in text, (
            "not the version that is released"
        )


def test_all_at_once_leaves_codedeploy_out(prod: Package) -> None:
    resources = run_transform(prod.template, Canary="false")
    assert not [name for name, resource in resources.items() if resource["Type"].startswith("AWS::CodeDeploy::")]
    assert all("UpdatePolicy" not in resource for resource in resources.values())
    assert set(versions(resources)) == {FUNCTIONS[function] for function in RELEASED}


def test_the_api_is_changed_after_its_alias_and_nothing_waits_in_a_circle(resources: dict[str, Any]) -> None:
    """A new route is open once the new version has all of the traffic."""
    waits = {name: waits_for(resource) & resources.keys() for name, resource in resources.items()}
    reached = {name: reachable(name, waits) for name in waits}
    assert [name for name, after in reached.items() if name in after] == []
    assert f"APIHandlerAlias{ALIAS}" in reached["RestAPI"]


def test_the_state_machine_invokes_an_alias_and_no_function_waits_for_it(with_state_machine: Package) -> None:
    """The alias waits for the alarms of a release, which wait for the version of every function."""
    resources = run_transform(with_state_machine.template)
    alias = f"SagaStepAlias{ALIAS}"
    machine, role = (resources[name]["Properties"] for name in (MACHINE, ROLE))
    assert machine["DefinitionSubstitutions"] == {"SagaStep": {"Ref": alias}}
    (policy,) = role["Policies"]
    (invoking,) = (s for s in policy["PolicyDocument"]["Statement"] if "lambda:InvokeFunction" in s["Action"])
    assert invoking["Resource"] == {"Ref": alias}
    waits = {name: waits_for(resource) & resources.keys() for name, resource in resources.items()}
    assert [name for name in waits if name in reachable(name, waits)] == []
    assert [name for name, resource in resources.items() if MACHINE in waits_for(resource)] == []


def waits_for(resource: Mapping[str, Any]) -> set[str]:
    after = resource.get("DependsOn", [])
    return {*references(resource), *([after] if isinstance(after, str) else after)}


def reachable(name: str, waits: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(waits[name])
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += waits[each]
    return found
