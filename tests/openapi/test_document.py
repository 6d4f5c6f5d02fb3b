"""The API's description (OpenAPI 3.1): as the build makes it, as app.py routes, and as the service really answers."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import urljoin

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, validators
from openapi_spec_validator import validate

from app import app
from chalicelib.domain.idempotency import InvalidKey, parse_key
from chalicelib.entrypoints.acceptance import acceptance
from chalicelib.entrypoints.problems import KINDS
from deploy.gateway import OPEN_ROUTES, gateway_responses
from docs.openapi.document import BUILT, RELEASED, text
from docs.openapi.operations import camel, camel_path
from tests.entrypoints.test_acceptance import DOCUMENTS, NASTY, changed, has_float, places, put
from tests.support.customer import Reply
from tests.support.provoking import PATHS, PROBLEMS, SUCCESSES, Provoke, asking, broken
from tests.support.shop import Shop

DOCUMENT: dict[str, Any] = json.loads(BUILT.read_text("utf-8"), parse_float=Decimal)
OPERATIONS: dict[str, tuple[str, str, Any]] = {
    operation["operationId"]: (path, method, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
}

BODIES = {
    "order_request": "OrderRequest",
    "cancel_request": "CancelRequest",
    "ship_request": "ShipRequest",
    "deliver_request": "DeliverRequest",
}


@pytest.fixture
def shop(small_shop: Shop) -> Shop:
    return small_shop


# --- the file ---


def test_the_file_is_what_the_build_makes() -> None:
    assert BUILT.read_text("utf-8") == text(), "call `make openapi`"


def test_the_file_is_valid_openapi() -> None:
    validate(json.loads(BUILT.read_text("utf-8")))


def test_the_document_of_the_last_release_is_kept_beside_it() -> None:
    """It is compared with that, so it says which release that is: the newest that CHANGELOG.md names."""
    assert json.loads(RELEASED.read_text("utf-8"))["info"]["version"] == DOCUMENT["info"]["version"]


# --- app.py and the document ---


def test_the_routes_of_the_app_and_those_of_the_document_are_the_same() -> None:
    routed = {
        (camel_path(path), method.lower(), camel(entry.view_function.__name__))
        for path, methods in app.routes.items()
        for method, entry in methods.items()
    }
    assert {(path, method, name) for name, (path, method, _) in OPERATIONS.items()} == routed


def test_each_path_has_its_variables_as_parameters() -> None:
    for path, item in DOCUMENT["paths"].items():
        named = [resolved(parameter) for parameter in item["parameters"]]
        assert {f"{{{each['name']}}}" for each in named if each["in"] == "path"} == {
            part for part in path.split("/") if part.startswith("{")
        }


def test_what_is_open_is_open_in_both() -> None:
    assert {path for path, _, operation in OPERATIONS.values() if operation["security"] == []} == set(OPEN_ROUTES)
    closed = [operation for path, _, operation in OPERATIONS.values() if path not in OPEN_ROUTES]
    for operation in closed:
        assert {name for each in operation["security"] for name in each} == {"sigv4", "accessToken"}
        assert {"401", "403"} <= operation["responses"].keys()


def test_a_link_leads_to_an_operation_and_gives_it_what_it_needs() -> None:
    links = [link for _, link in documented_links()]
    assert {link["operationId"] for link in links} >= {"getOrder", "cancelOrder", "shipOrder", "deliverOrder"}
    for link in links:
        path, _, _ = OPERATIONS[link["operationId"]]
        assert {f"{{{name}}}" for name in link["parameters"]} == {p for p in path.split("/") if p.startswith("{")}


def documented_links() -> Iterator[tuple[str, Any]]:
    for name, (_, _, operation) in OPERATIONS.items():
        for response in operation["responses"].values():
            yield from ((name, link) for link in response.get("links", {}).values())


@pytest.mark.parametrize("base", ["http://127.0.0.1:8000", "https://x.execute-api.eu-west-1.amazonaws.com/dev"])
def test_the_server_is_where_the_document_is(base: str) -> None:
    assert [urljoin(f"{base}/openapi.json", server["url"]) for server in DOCUMENT["servers"]] == [f"{base}/"]


# --- examples ---


def test_every_example_is_as_its_schema_says() -> None:
    found = list(examples())
    assert len(found) > 30
    for schema, example in found:
        assert errors(schema, example) == []


def examples() -> Iterator[tuple[Any, Any]]:
    """Each example with its schema: of bodies, answers and parameters."""
    for parameter in DOCUMENT["components"]["parameters"].values():
        if "example" in parameter:
            yield parameter["schema"], parameter["example"]
    for _, _, operation in OPERATIONS.values():
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for body in [*bodies, *operation["responses"].values()]:
            for content in body.get("content", {}).values():
                if "example" in content:
                    yield content["schema"], content["example"]
                yield from (
                    (content["schema"], resolved(each)["value"]) for each in content.get("examples", {}).values()
                )
    for kind, example in DOCUMENT["components"]["examples"].items():
        yield {"$ref": f"#/components/schemas/{kind}"}, example["value"]


def test_a_kind_fits_its_own_schema_only() -> None:
    for kind, example in DOCUMENT["components"]["examples"].items():
        fitting = [each for each in KINDS if not errors({"$ref": f"#/components/schemas/{each}"}, example["value"])]
        assert fitting == [kind]


# --- what the service accepts ---


@pytest.mark.parametrize("name", BODIES)
def test_a_body_fits_the_description_exactly_if_the_service_accepts_its_form(name: str) -> None:
    """But for formats, which say more than a pattern can, and for the end of a line, which Python's `$` overlooks."""
    accepts, described = acceptance(name, is_new=False), {"$ref": f"#/components/schemas/{BODIES[name]}"}
    for document in filter(accepts, DOCUMENTS):
        assert errors(described, document) == []
        for way in places(document):
            for value in NASTY:
                body = changed(document, way, put(value))
                if not (has_float(body) or (isinstance(value, str) and ("\n" in value or "\ud800" in value))):
                    assert accepts(body) == (errors(described, body) == []), body


@given(st.text(st.sampled_from('ab"\\\\,~! é'), max_size=8) | st.integers(250, 260).map(lambda n: "k" * n))
@hypothesis.example('"' + '\\\\"' * 255 + '"')
def test_a_key_fits_the_description_exactly_if_it_is_one(text: str) -> None:
    try:
        parse_key(text)
    except InvalidKey:
        assert errors({"$ref": "#/components/schemas/IdempotencyKey"}, text)
    else:
        assert text.strip() != text or not errors({"$ref": "#/components/schemas/IdempotencyKey"}, text)


# --- what the service answers ---


def resolved(node: Any) -> Any:
    """A component that a reference names."""
    if "$ref" not in node:
        return node
    found: Any = DOCUMENT
    for part in node["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def _is_integer(_: object, value: object) -> bool:
    """JSON Schema: 2.0 is one. (jsonschema has that of floats.)"""
    return isinstance(value, int | Decimal) and not isinstance(value, bool) and value == int(value)


Validator = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
)


def errors(schema: Any, value: Any) -> list[str]:
    """Why a value is not as the schema says; it may have nothing that the schema does not name."""
    whole = {"$ref": "#/schema", "schema": schema, "components": DOCUMENT["components"], "unevaluatedProperties": False}
    return [error.message for error in Validator(whole).iter_errors(value)]


def differences(operation: str, reply: Reply) -> list[str]:
    """What the document does not say of an answer."""
    responses = OPERATIONS[operation][2]["responses"]
    if str(reply.status) not in responses:
        return [f"{reply.status} is not documented"]
    response = responses[str(reply.status)]
    found = []
    for name, header in response["headers"].items():
        described, sent = resolved(header), reply.headers.get(name.lower())
        if sent is None:
            found += [f"{name} is missing"] if described.get("required") else []
        else:
            found += errors(described["schema"], sent)
    if "content" not in response:
        return found + (["there is a body"] if reply.body else [])
    media_type = reply.headers["content-type"]
    if media_type not in response["content"]:
        return [*found, f"{media_type} is not documented"]
    schema = response["content"][media_type]["schema"]
    return found + ([] if operation == "getOpenapi" and reply.status == 200 else errors(schema, reply.json))


def documented_kinds() -> set[tuple[str, str]]:
    """Each operation with each problem that it may answer."""
    return {
        (name, kind)
        for name, (_, _, operation) in OPERATIONS.items()
        for response in operation["responses"].values()
        for content in response.get("content", {}).values()
        for kind in content.get("examples", {})
    }


def test_each_documented_problem_of_each_operation_is_provoked_here() -> None:
    of_gateway = {("placeOrder", "not-an-order")}
    assert documented_kinds() - of_gateway == PROBLEMS.keys()


@pytest.mark.parametrize(("operation", "kind"), sorted(PROBLEMS))
def test_a_problem_is_as_documented(shop: Shop, operation: str, kind: str) -> None:
    reply = PROBLEMS[operation, kind](shop)
    assert (reply.kind, differences(operation, reply)) == (kind, [])


def cases() -> list[tuple[str, str, Provoke]]:
    return [(operation, status, provoke) for operation, ways in SUCCESSES.items() for status, provoke in ways]


def test_each_documented_success_of_each_operation_comes_here() -> None:
    documented = {
        (name, status)
        for name, (*_, operation) in OPERATIONS.items()
        for status in operation["responses"]
        if status < "4"
    }
    assert {(operation, status) for operation, status, _ in cases()} == documented
    assert SUCCESSES.keys() == PATHS.keys() == OPERATIONS.keys()


@pytest.mark.parametrize(("operation", "status", "provoke"), cases())
def test_a_success_is_as_documented(shop: Shop, operation: str, status: str, provoke: Provoke) -> None:
    reply = provoke(shop)
    assert (str(reply.status), differences(operation, reply)) == (status, [])


@pytest.mark.parametrize("operation", sorted(OPERATIONS.keys() - {"getHealth", "getOpenapi"}))
def test_a_fault_that_nobody_expected_is_as_documented(shop: Shop, operation: str) -> None:
    reply = broken(shop, operation)
    assert (reply.status, differences(operation, reply)) == (500, [])


def test_the_gateways_own_answers_are_as_documented() -> None:
    for answer in gateway_responses("prod").values():
        template = answer["responseTemplates"]["application/json"].replace(
            "$context.error.messageString", '"Forbidden"'
        )
        document = json.loads(template)
        kind = document["type"].rpartition("/")[2].replace("about:blank", "about-blank")
        assert errors({"$ref": f"#/components/schemas/{kind}"}, document) == []


# --- how it is served ---


def test_it_is_served_as_the_file_is_without_a_call_or_a_setting(shop: Shop) -> None:
    reply = asking("getOpenapi")(shop)
    assert (reply.status, reply.body) == (200, BUILT.read_bytes())
    assert reply.headers["cache-control"] == "public, max-age=60"
    again = asking("getOpenapi", if_none_match=reply.headers["etag"])(shop)
    assert (again.status, again.body) == (304, b"")
    assert shop.calls.operations() == []
    assert broken(shop, "getOpenapi").status == 200
