"""What CloudFormation makes of a package: the SAM transform adds resources that the package does not name."""

import os
from typing import Any

import pytest

from deploy.stages import FUNCTIONS
from tests.deploy.packages import Package
from tests.deploy.support.sam import transformed
from tests.support.environments import NotInstalled
from tests.support.skipping import skip

pytestmark = pytest.mark.slow


@pytest.fixture
def resources(package: Package) -> dict[str, Any]:
    """The package of each deployed stage in turn, transformed."""
    try:
        return transformed(package.path)
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


def test_the_transform_makes_every_function_and_no_role_of_its_own(resources: dict[str, Any]) -> None:
    for kind in ("AWS::Lambda::Function", "AWS::IAM::Role"):
        assert len(of_type(resources, kind)) == len(FUNCTIONS)
    assert not [kind for kind in {r["Type"] for r in resources.values()} if kind.startswith("AWS::Serverless::")]
