"""`stage check` of who may call: green if those are let in who should be, red if anybody else is or they are not."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import boto3
import pytest

from app import app
from deploy.stages import stage_config
from ops.callers import user_pool
from ops.findings import Aws
from ops.functions import deployed_functions
from ops.gateway import apis
from tests.ops.live_stage import WITH_TOKENS, Answers, live_stage, operate


@pytest.fixture(scope="module", params=WITH_TOKENS)
def way(request: pytest.FixtureRequest) -> Iterator[tuple[str, Answers]]:
    with live_stage(**WITH_TOKENS[request.param]) as answers:
        yield WITH_TOKENS[request.param]["stage"], answers


def checked(stage: str) -> set[tuple[str, str]]:
    """What the whole command says that differs, with the kind of thing that it is about; then it does not succeed."""
    result = operate("stage", "check", stage, "--json")
    found = {(each["kind"], text) for each in json.loads(result.stdout) for text in each["differences"]}
    assert result.exit_code == (1 if found else 0), result.output
    return found


def differences(stage: str) -> set[tuple[str, str]]:
    """The same of the API and the pool alone, which is faster."""
    aws = Aws()
    functions = deployed_functions(aws, stage)["api_handler"]
    routes = [(verb, path) for path, verbs in app.routes.items() for verb in verbs]
    findings = [*apis(aws, stage, routes, functions), *(user_pool(aws, each.environment) for each in functions)]
    return {(finding.kind, text) for finding in findings for text in finding.differences}


only_packaged = pytest.mark.parametrize("way", ["make deploy"], indirect=True, scope="module")


def test_a_stage_that_lets_in_whom_it_should_is_green(stage: str, answers: Answers) -> None:
    result = operate("stage", "check", stage)
    assert result.exit_code == 0, result.output
    assert {line.split()[0] for line in result.stdout.splitlines()[1:]} == {"ok"}
    assert "user pool" in result.stdout
    assert [name for name in answers.operations if not name.startswith(("Describe", "Get", "List"))] == []


def test_no_secret_of_a_client_is_read(stage: str, answers: Answers) -> None:
    operate("stage", "check", stage)
    assert "DescribeUserPoolClient" not in answers.operations


def methods(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], None]:
    """A change of each protected method of the API."""

    def changed(answer: dict[str, Any]) -> None:
        for resource in answer["items"]:
            for method in resource.get("resourceMethods", {}).values():
                if method["authorizationType"] != "NONE":
                    change(method)

    return changed


def preflights(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], None]:
    """A change of what OPTIONS answers."""

    def changed(answer: dict[str, Any]) -> None:
        for resource in answer["items"]:
            change(resource.get("resourceMethods", {}))

    return changed


def other_origin(methods: dict[str, Any]) -> None:
    for answer in methods.get("OPTIONS", {}).get("methodIntegration", {}).get("integrationResponses", {}).values():
        answer["responseParameters"] = {"method.response.header.Access-Control-Allow-Origin": "'*'"}


SPOILT: dict[str, tuple[str, Callable[[dict[str, Any]], object], str]] = {
    "open to everybody": (
        "GetResources",
        methods(lambda method: method.update(authorizationType="NONE")),
        "authorization of POST /orders: NONE, should be COGNITO_USER_POOLS",
    ),
    "by signatures": (
        "GetResources",
        methods(lambda method: method.update(authorizationType="AWS_IAM")),
        "authorization of GET /orders/{order_id}: AWS_IAM, should be COGNITO_USER_POOLS",
    ),
    "without scopes, for ID tokens": (
        "GetResources",
        methods(lambda method: method.pop("authorizationScopes")),
        'scopes of POST /orders: [], should be ["aws.cognito.signin.user.admin", "orderonce/service"]',
    ),
    "with another scope": (
        "GetResources",
        methods(lambda method: method["authorizationScopes"].append("shop/read")),
        '"orderonce/service", "shop/read"], should be ["aws.cognito.signin.user.admin", "orderonce/service"]',
    ),
    "by no authorizer": (
        "GetAuthorizers",
        lambda answer: answer["items"].clear(),
        "user pool of POST /orders: [], should be",
    ),
    "of two pools": (
        "GetAuthorizers",
        lambda answer: answer["items"][0]["providerARNs"].append("arn:another"),
        '"arn:another"], should be ["arn:aws:cognito-idp:us-east-1:',
    ),
    "from every page": (
        "GetResources",
        preflights(other_origin),
        "origin that may call /orders: *, should be https://shop.example",
    ),
    "from no page": (
        "GetResources",
        preflights(lambda methods: methods.pop("OPTIONS", None)),
        "origin that may call /orders: none, should be https://shop.example",
    ),
    "without operators": (
        "ListGroups",
        lambda answer: answer["Groups"][0].update(GroupName="not-operators"),
        "the group operators does not exist",
    ),
    "without a client": (
        "ListUserPoolClients",
        lambda answer: answer["UserPoolClients"].clear(),
        "does not exist",
    ),
}


@only_packaged
@pytest.mark.parametrize("what", SPOILT)
def test_whoever_is_let_in_or_kept_out_wrongly_is_seen(what: str, stage: str, answers: Answers) -> None:
    operation, change, sentence = SPOILT[what]
    answers.change(operation, change)
    seen = differences(stage)
    assert [text for _, text in seen if sentence in text], seen


@only_packaged
def test_a_pool_that_is_gone_is_seen(stage: str, answers: Answers) -> None:
    answers.change("ListFunctions", in_another_pool)
    assert ("user pool", "does not exist") in differences(stage)


def in_another_pool(answer: dict[str, Any]) -> None:
    for function in answer["Functions"]:
        variables = function["Environment"]["Variables"]
        variables["USER_POOL_ARN"] = "arn:aws:cognito-idp:us-east-1:123456789012:userpool/us-east-1_Gone"


def test_functions_without_a_pool_are_seen(stage: str, answers: Answers) -> None:
    def forget(answer: dict[str, Any]) -> None:
        del answer["Environment"]["Variables"]["USER_POOL_ARN"]

    def forget_all(answer: dict[str, Any]) -> None:
        for function in answer["Functions"]:
            forget(function)

    answers.change("GetFunctionConfiguration", forget)
    answers.change("ListFunctions", forget_all)
    seen = checked(stage)
    assert ("user pool", "the function's USER_POOL_ARN is of no pool: ''") in seen
    assert [text for kind, text in seen if kind == "function" and text.startswith("USER_POOL_ARN: None, should be")]


def test_customers_who_choose_whom_to_be_are_seen(stage: str, answers: Answers) -> None:
    """By the pool as it is, however it was made: both together, and neither alone."""
    sentence = ("user pool", "whoever signs up chooses which customer to be: CUSTOMER_CLAIM is username")

    def anybody(answer: dict[str, Any]) -> None:
        answer["UserPool"]["AdminCreateUserConfig"] = {"AllowAdminCreateUserOnly": False}

    def by_name(answer: dict[str, Any]) -> None:
        for function in answer["Functions"]:
            function["Environment"]["Variables"]["CUSTOMER_CLAIM"] = "username"

    answers.change("ListFunctions", by_name)
    assert sentence not in differences(stage)
    answers.change("DescribeUserPool", anybody)
    assert sentence in differences(stage)
    answers.restore()
    answers.change("DescribeUserPool", anybody)
    assert differences(stage) == set()


@only_packaged
@pytest.mark.parametrize("operation", ["GetAuthorizers", "DescribeUserPool"])
def test_what_cannot_be_seen_is_never_green(operation: str, stage: str, answers: Answers) -> None:
    answers.refuse(operation, "AccessDeniedException")
    result = operate("stage", "check", stage)
    assert (result.exit_code, "\ndiffers" in result.stdout) == (2, False), result.output


def test_a_stage_whose_functions_are_gone_is_red(stage: str, answers: Answers) -> None:
    answers.change("ListFunctions", lambda answer: answer["Functions"].clear())
    assert ("function", "does not exist") in checked(stage)


@only_packaged
def test_a_stage_that_everybody_may_call_is_red(stage: str, answers: Answers) -> None:
    with patch.dict(stage_config(stage)["environment_variables"], AUTH="none"):
        assert ("API", "AUTH is none: everybody may call every route") in checked(stage)


@only_packaged
def test_a_pool_in_another_region_is_looked_at_there(stage: str, answers: Answers) -> None:
    asked: list[str] = []
    make = boto3.client

    def noted(service: str, **options: Any) -> Any:
        asked.append(f"{service} {options.get('region_name')}")
        return make(service, **options)  # type: ignore[call-overload]

    def elsewhere(answer: dict[str, Any]) -> None:
        for function in answer["Functions"]:
            variables = function["Environment"]["Variables"]
            variables["USER_POOL_ARN"] = variables["USER_POOL_ARN"].replace(":us-east-1:", ":eu-west-1:")

    answers.change("ListFunctions", elsewhere)
    with patch("ops.findings.boto3.client", noted):
        differences(stage)
    assert "cognito-idp eu-west-1" in asked
