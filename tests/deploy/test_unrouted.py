"""What the gateway answers itself where the application has no route: a problem document, and no invocation."""

import json
from typing import Any

import pytest

from app import app
from deploy import unrouted
from tests.deploy.packages import Package

ANY = "x-amazon-apigateway-any-method"


def own_methods(package: Package) -> dict[str, dict[str, Any]]:
    """What answers the methods that a path does not have, by path."""
    paths = package.definition["paths"]
    return {path: methods[ANY] for path, methods in paths.items() if ANY in methods}


def answer(method: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The body and the headers that a mock gives, whatever the request has."""
    integration = method["x-amazon-apigateway-integration"]
    assert (integration["type"], integration["passthroughBehavior"]) == ("mock", "never")
    response = integration["responses"]["default"]
    body: dict[str, Any] = json.loads(response["responseTemplates"]["application/json"])
    # A mock answers with the status of its request template; without a template of its content type, with 500.
    sent = {json.loads(text)["statusCode"] for text in integration["requestTemplates"].values()}
    assert sent == {int(response["statusCode"])} == {body["status"]}
    headers = {
        name.removeprefix("method.response.header."): value for name, value in response["responseParameters"].items()
    }
    # A header that the method does not declare cannot be mapped: the import of the API fails.
    assert headers.keys() == method["responses"][response["statusCode"]]["headers"].keys()
    return body, headers


def test_an_unknown_route_is_a_404_problem_and_another_method_of_a_known_one_a_405(package: Package) -> None:
    own = own_methods(package)
    assert own.keys() == app.routes.keys() | {"/", "/{proxy+}"}
    statuses = {path: answer(method)[0]["status"] for path, method in own.items()}
    assert {path for path, status in statuses.items() if status == 404} == {"/", "/{proxy+}"}
    assert {path for path, status in statuses.items() if status == 405} == set(app.routes)


def test_a_405_lists_the_methods_that_the_gateway_serves_there(package: Package) -> None:
    for methods in package.definition["paths"].values():
        body, headers = answer(methods[ANY])
        if body["status"] == 405:
            assert headers["Allow"] == f"'{', '.join(sorted(name.upper() for name in methods.keys() - {ANY}))}'"


def test_each_of_these_answers_is_a_problem_with_a_correlation_id(package: Package) -> None:
    for method in own_methods(package).values():
        body, headers = answer(method)
        assert body.keys() == {"type", "title", "status", "detail", "retryable", "instance"}
        assert (body["retryable"], body["instance"]) == (False, "urn:correlation-id:$context.requestId")
        assert headers["Content-Type"] == "'application/problem+json'"
        assert headers["X-Correlation-Id"] == "context.requestId"
        assert headers["Cache-Control"] == "'no-store'"


def test_whoever_may_not_call_anything_does_not_learn_which_routes_exist(
    package: Package, with_tokens: Package
) -> None:
    """A request without signature or token is refused before its route is: known or not, the methods want the same."""
    for packaged in (package, with_tokens):
        protected = packaged.definition["paths"]["/orders"]["post"]["security"]
        assert [path for path, method in own_methods(packaged).items() if method["security"] != protected] == []


@pytest.mark.parametrize("methods", [["GET"], ["POST", "GET"]])
def test_a_new_route_needs_no_entry_of_its_own(methods: list[str]) -> None:
    made = unrouted.paths({"/returns/{return_id}": methods}, "dev")["/returns/{return_id}"][ANY]
    assert answer(made)[1]["Allow"] == f"'{', '.join(sorted(methods))}'"
