"""Who may call a packaged stage, by signatures or by access tokens, and from which web pages."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chalicelib.entrypoints import identity
from chalicelib.entrypoints.exchange import Request
from chalicelib.entrypoints.problems import Problem
from chalicelib.settings import Settings
from deploy import __main__ as command
from deploy import stages
from deploy.callers import check_callers, check_existing_pool
from deploy.gateway import OPEN_ROUTES
from deploy.stages import DEPLOYED, FUNCTIONS, ROOT
from deploy.unrouted import application_routes
from tests.deploy.packages import Package, packaged
from tests.deploy.support.conditions import Conditions
from tests.deploy.test_package import lint, routes

POOL = "arn:aws:cognito-idp:eu-west-1:123456789012:userpool/eu-west-1_AbCdEf"
SCOPES = ["aws.cognito.signin.user.admin", "orderonce/service"]
RESPONSES = "x-amazon-apigateway-gateway-responses"


def answers(package: Package) -> dict[str, Any]:
    """The gateway's own answers, by kind."""
    found: dict[str, Any] = package.definition[RESPONSES]
    return found


# --- access tokens ---


def test_every_protected_method_names_the_scopes_of_access_tokens(with_tokens: Package) -> None:
    """Without scopes the gateway would take ID tokens, and no access token."""
    security = {(path, method): route.get("security", []) for path, method, route in routes(with_tokens)}
    open_routes = {(path, "get") for path in OPEN_ROUTES}
    assert {route for route, required in security.items() if not required} == open_routes
    assert {json.dumps(required) for route, required in security.items() if route not in open_routes} == {
        json.dumps([{"cognito": SCOPES}])
    }
    application = {(path, method.lower()) for path, methods in application_routes().items() for method in methods}
    assert open_routes < application < security.keys()


def test_a_stages_own_scopes_are_those_of_every_protected_method(packages_folder: Path) -> None:
    own = packaged("dev", packages_folder, AUTH="cognito", USER_POOL_SCOPES="shop/buy,orderonce/service")
    named = {json.dumps(route.get("security")) for _, _, route in routes(own)}
    assert named == {"null", json.dumps([{"cognito": ["shop/buy", "orderonce/service"]}])}


@pytest.mark.parametrize("given", [{}, {"UserPoolArn": POOL, "UserPoolClients": "one,two"}])
def test_the_gateway_and_the_functions_are_told_the_same_pool(given: dict[str, str], with_tokens: Package) -> None:
    """The stack's own unless there is another."""
    assert with_tokens.definition["securityDefinitions"]["cognito"]["x-amazon-apigateway-authtype"] == (
        "cognito_user_pools"
    )
    chosen = Conditions(with_tokens.template, **given).resources
    body = chosen["RestAPI"]["Properties"]["DefinitionBody"]
    (pool,) = body["securityDefinitions"]["cognito"]["x-amazon-apigateway-authorizer"]["providerARNs"]
    own = {"Fn::GetAtt": ["UserPool", "Arn"]}, {"Fn::Sub": "${UserPoolPeople},${UserPoolServices}"}
    for function in FUNCTIONS.values():
        variables = chosen[function]["Properties"]["Environment"]["Variables"]
        assert variables["AUTH"] == "cognito"
        assert (variables["USER_POOL_ARN"], variables["USER_POOL_CLIENTS"]) == ((POOL, "one,two") if given else own)
        assert variables["USER_POOL_ARN"] == pool


def test_a_pool_that_config_json_names_for_chalice_deploy_is_the_one_of_make_deploy_too(packages_folder: Path) -> None:
    named = {"AUTH": "cognito", "USER_POOL_ARN": POOL, "USER_POOL_CLIENTS": "one,two"}
    package = packaged("dev", packages_folder, **named)
    declared = package.template["Parameters"]
    assert (declared["UserPoolArn"]["Default"], declared["UserPoolClients"]["Default"]) == (POOL, "one,two")
    assert "UserPool" not in Conditions(package.template).resources


def test_chalice_deploy_names_the_pool_that_exists_and_the_scopes() -> None:
    """It makes the same description of the API, and nobody merges anything into it."""
    program = (
        "import json; from app import app; from chalice.deploy.swagger import TemplatedSwaggerGenerator as Swagger; "
        "print(json.dumps(Swagger().generate_swagger(app), default=str))"
    )
    given = {**os.environ, "AUTH": "cognito", "USER_POOL_ARN": POOL, "USER_POOL_CLIENTS": "one", "CORS_ORIGIN": ""}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=given, capture_output=True, text=True, check=True
    )
    swagger = json.loads(done.stdout)
    assert swagger["securityDefinitions"]["cognito"]["x-amazon-apigateway-authorizer"]["providerARNs"] == [POOL]
    named = {
        path: json.dumps(method.get("security"))
        for path, methods in swagger["paths"].items()
        for method in methods.values()
    }
    assert {path for path, security in named.items() if security == "null"} == set(OPEN_ROUTES)
    assert set(named.values()) == {"null", json.dumps([{"cognito": SCOPES}])}


def test_without_tokens_a_stage_has_nothing_of_cognito(package: Package) -> None:
    assert "ognito" not in json.dumps(package.template)
    assert "UserPool" not in json.dumps(package.template)


def test_cfn_lint_finds_no_error_in_a_package_with_tokens(packages_folder: Path) -> None:
    assert lint(packaged("prod", packages_folder, AUTH="cognito").path) == ""


def test_who_has_no_token_is_told_so_in_the_words_of_the_function(with_tokens: Package) -> None:
    refusal = answers(with_tokens)["UNAUTHORIZED"]
    assert refusal["statusCode"] == "401"
    assert refusal["responseParameters"]["gatewayresponse.header.WWW-Authenticate"] == "'Bearer'"
    settings = Settings.from_environment({"AUTH": "cognito"}, complete=False)
    with pytest.raises(Problem) as refused:
        identity.caller(Request({}, {}, b"", "c", "", {}), settings)
    assert (kind_of(refusal), 401) == (kind(refused.value), refused.value.status)
    denial = answers(with_tokens)["ACCESS_DENIED"]
    assert (kind_of(denial), denial["statusCode"]) == (kind(identity.forbidden(None, "")), "403")


def kind(problem: Problem) -> tuple[str, str]:
    return problem.body["type"], problem.body["title"]


def kind_of(answer: dict[str, Any]) -> tuple[str, str]:
    text = answer["responseTemplates"]["application/json"].replace("$context.error.messageString", '"Unauthorized"')
    document = json.loads(text)
    assert document["detail"] == "Unauthorized"
    return document["type"], document["title"]


def test_without_tokens_a_refusal_asks_for_no_token(package: Package) -> None:
    assert "Bearer" not in json.dumps(answers(package))


def test_a_customer_may_leave_out_who_he_is_and_a_service_that_signs_may_not(
    package: Package, with_tokens: Package
) -> None:
    signed, named = (each.definition["definitions"]["OrderRequest"] for each in (package, with_tokens))
    assert signed["allOf"] == [{"anyOf": [{"required": ["customerId"]}, {"required": ["userId"]}]}]
    assert "allOf" not in named
    assert named == {member: value for member, value in signed.items() if member != "allOf"}
    assert "customerId, items and" in json.dumps(answers(package)["BAD_REQUEST_BODY"])
    assert "an object with items and totalAmount" in json.dumps(answers(with_tokens)["BAD_REQUEST_BODY"])


def test_the_access_log_says_who_called_and_never_by_which_token(package: Package, with_tokens: Package) -> None:
    formats = [each.properties("RestAPI")["AccessLogSetting"]["Format"] for each in (package, with_tokens)]
    assert [json.loads(text)["caller"] for text in formats] == [
        "$context.identity.userArn",
        "$context.authorizer.claims.sub",
    ]
    assert "header" not in json.dumps(formats)


# --- web pages of another origin ---


def allowed_origins(package: Package) -> set[str]:
    """What any answer of the gateway's own says of origins, preflights included."""
    found = set()
    for _, _, route in routes(package):
        for response in route["x-amazon-apigateway-integration"].get("responses", {}).values():
            for name, value in response.get("responseParameters", {}).items():
                if name.endswith("Access-Control-Allow-Origin"):
                    found.add(value)
    for answer in answers(package).values():
        found.add(answer["responseParameters"].get("gatewayresponse.header.Access-Control-Allow-Origin", "none"))
    return found


@pytest.mark.parametrize("stage", DEPLOYED)
def test_a_deployed_stage_lets_no_page_of_another_origin_call_it(stage: str, packages_folder: Path) -> None:
    package = packaged(stage, packages_folder)
    assert "Access-Control-" not in json.dumps(package.template)
    assert [path for path, method, _ in routes(package) if method == "options"] == []
    assert "OPTIONS" not in json.dumps(package.definition)


@pytest.mark.parametrize(("stage", "auth"), [("dev", "iam"), ("prod", "cognito")])
def test_pages_of_the_one_origin_are_let_in_by_every_answer(stage: str, auth: str, packages_folder: Path) -> None:
    """A browser asks before with OPTIONS, which it sends without a signature or a token."""
    package = packaged(stage, packages_folder, AUTH=auth, CORS_ORIGIN="https://shop.example")
    assert allowed_origins(package) == {"'https://shop.example'"}
    for path, methods in package.definition["paths"].items():
        if path in application_routes():
            assert "security" not in methods["options"]
            assert "OPTIONS" in json.dumps(methods["x-amazon-apigateway-any-method"])
    throttled = answers(package)["THROTTLED"]["responseParameters"]
    assert "Retry-After" in throttled["gatewayresponse.header.Access-Control-Expose-Headers"]
    for function in FUNCTIONS:
        assert package.function(function)["Environment"]["Variables"]["CORS_ORIGIN"] == "https://shop.example"


# --- what is not packaged ---


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The settings of `dev`, to be changed."""
    settings = dict(stages.config()["stages"]["dev"]["environment_variables"])
    monkeypatch.setitem(stages.config()["stages"]["dev"], "environment_variables", settings)
    return settings


def refused(*words: str) -> str:
    result: Result = CliRunner().invoke(command.main, [*words, "--stage", "dev"])
    assert result.exit_code == 1, result.output
    assert result.output.count("\n") == 1, result.output
    return result.output.removeprefix("Error: ").rstrip()


WAYS = {"package": ("package", "--out", "out"), "deploy": ("stack", "--bucket", "b"), "resources": ("resources",)}


@pytest.mark.parametrize("way", WAYS)
def test_a_stage_that_everybody_could_call_is_refused(way: str, configured: dict[str, str]) -> None:
    configured["AUTH"] = "none"
    assert refused(*WAYS[way]) == "dev has AUTH=none, which is for a laptop only: everybody could call it."


def test_customers_who_choose_their_names_are_refused(
    configured: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever signs up as somebody else's name would be that customer."""
    configured |= {"AUTH": "cognito", "CUSTOMER_CLAIM": "username"}
    values = stages.read(stages.PARAMETERS)
    values["dev"]["AllowSelfSignUp"] = "true"
    parameters = tmp_path / "parameters.json"
    parameters.write_text(json.dumps(values), "utf-8")
    monkeypatch.setattr(stages, "PARAMETERS", parameters)
    said = refused(*WAYS["package"])
    assert said == (
        "dev has CUSTOMER_CLAIM=username and AllowSelfSignUp: whoever signs up chooses which customer to be."
    )
    configured["CUSTOMER_CLAIM"] = "sub"
    check_callers("dev")


def test_beside_chalice_deploy_a_pool_must_exist(configured: dict[str, str]) -> None:
    configured |= {"AUTH": "cognito", "USER_POOL_ARN": POOL}
    assert refused(*WAYS["resources"]) == (
        "dev has AUTH=cognito, but no USER_POOL_CLIENTS in .chalice/config.json: `chalice deploy` needs a pool that "
        "exists. `make deploy` can make one."
    )
    configured["USER_POOL_CLIENTS"] = "one"
    check_existing_pool("dev")
