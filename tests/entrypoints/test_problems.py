"""Problems: each kind is in one table, has a page, and is raised; each document says what its client can do."""

import ast
import json
import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.entrypoints.problems import KINDS, Problem
from chalicelib.settings import app_settings
from deploy.callers import caller_settings
from deploy.gateway import gateway_responses
from tests.support import gateway
from tests.support.customer import Reply
from tests.support.provoking import PROBLEMS, Provoke
from tests.support.shop import Shop
from tests.support.template import ROOT

PAGES = {path.stem: path for path in (ROOT / "docs" / "problems").iterdir()}


@pytest.fixture
def shop(small_shop: Shop) -> Shop:
    return small_shop


# --- the table, the pages, the code ---


def test_each_kind_has_a_page_and_each_page_a_kind() -> None:
    assert PAGES.keys() == KINDS.keys()


@pytest.mark.parametrize("name", KINDS)
def test_a_page_says_the_status_whether_a_retry_helps_and_whether_it_is_safe(name: str) -> None:
    kind, page = KINDS[name], PAGES[name].read_text("utf-8")
    assert page.startswith(
        f"# {name}\n\n{kind.status}: {kind.title}. `retryable` is {str(kind.retryable).lower()}.\n\n"
    )
    assert re.findall("^## (.*)$", page, re.MULTILINE) == ["What happened", "What to do", "Is a retry safe?"]
    assert kind.retryable == ("## Is a retry safe?\n\nYes." in page)


def test_the_table_of_the_api_has_each_kind_with_its_status_and_leads_to_its_page() -> None:
    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d{3}) \| \[`([a-z-]+)`\]\(problems/([a-z-]+)\.md\) \| \S", text, re.MULTILINE)
    assert {name: (int(status), page) for status, name, page in rows} == {
        name: (kind.status, name) for name, kind in KINDS.items()
    }


def raised_kinds() -> list[str]:
    """The kinds of all the problems that the code makes, wherever it does."""
    files = [path for room in ("chalicelib", "deploy", "local") for path in (ROOT / room).rglob("*.py")]
    calls = [node for path in files for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    made = [node.args[0] for node in calls if isinstance(node, ast.Call) and ast.unparse(node.func) == "Problem"]
    return [node.value for node in made if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_each_kind_is_raised_somewhere_and_what_is_raised_is_a_kind() -> None:
    assert set(raised_kinds()) == KINDS.keys()


# --- each is seen in an answer ---

PROVOKED: Mapping[str, Provoke] = {kind: provoke for (_, kind), provoke in PROBLEMS.items()}
"""How the service is made to answer each. `not-an-order` is the gateway's own."""


def test_no_kind_is_left_out_here() -> None:
    assert PROVOKED.keys() | {"not-an-order"} == KINDS.keys()


@pytest.mark.parametrize("name", PROVOKED)
def test_the_answer_says_its_page_whether_it_is_retryable_and_what_to_quote(shop: Shop, name: str) -> None:
    kind, reply = KINDS[name], PROVOKED[name](shop)
    assert (reply.status, reply.headers["content-type"]) == (kind.status, "application/problem+json")
    assert reply.json["type"] == f"https://orderonce.example/problems/{name}"
    assert (reply.json["title"], reply.json["status"]) == (kind.title, kind.status)
    assert reply.json["retryable"] is kind.retryable
    assert ("retry-after" in reply.headers) == kind.retryable
    assert reply.json["instance"] == f"urn:correlation-id:{reply.headers['x-correlation-id']}"


def test_the_gateways_own_refusal_of_a_body_is_a_kind_too(monkeypatch: pytest.MonkeyPatch) -> None:
    of_stage = replace(caller_settings("prod"), problem_base_url="https://shop.example/")
    monkeypatch.setattr("deploy.gateway.caller_settings", lambda _: of_stage)
    answer = gateway_responses("prod")["BAD_REQUEST_BODY"]
    document = json.loads(answer["responseTemplates"]["application/json"])
    kind = KINDS["not-an-order"]
    assert document["type"] == "https://shop.example/not-an-order"
    assert (int(answer["statusCode"]), document["status"], document["title"]) == (kind.status, kind.status, kind.title)
    assert (document["retryable"], document["instance"]) == (False, "urn:correlation-id:$context.requestId")


# --- what HTTP itself names ---


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_retryable(status: int) -> None:
    assert Problem(status, "").body["retryable"] is True


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 411, 413, 415, 501])
def test_what_stays_as_it_is_is_not(status: int) -> None:
    assert Problem(status, "").body["retryable"] is False


# --- the instance ---


def instance_and_header(reply: Reply) -> tuple[str, str]:
    return unquote(reply.json["instance"].removeprefix("urn:correlation-id:")), reply.headers["x-correlation-id"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/orders/x"), ("PATCH", "/orders"), ("GET", "/nowhere")])
def test_the_instance_is_the_correlation_id_as_a_urn_whoever_answers(
    shop: Shop, port: int, method: str, path: str
) -> None:
    """The service, Chalice, or the server before it."""

    @settings(max_examples=25)
    @given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128) | st.none())
    def answered(mine: str | None) -> None:
        headers = {} if mine is None else {"X-Correlation-Id": mine}
        replies = [asked(port, method, path, headers)]
        if path != "/nowhere":
            resource = path.replace("/x", "/{order_id}")
            replies.append(gateway.invoke(gateway.event(method, path, headers.items(), resource=resource)))
        for reply in replies:
            quoted, sent = instance_and_header(reply)
            assert quoted == sent
            assert mine in (None, sent)
            assert re.fullmatch(r"urn:correlation-id:([A-Za-z0-9._~-]|%[0-9A-F]{2})+", reply.json["instance"])

    answered()


def asked(port: int, method: str, path: str, headers: Mapping[str, str]) -> Reply:
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, headers=dict(headers))
        answer = connection.getresponse()
        return Reply(answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read())


def test_the_base_of_the_types_is_a_setting(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBLEM_BASE_URL", "https://shop.example/help/")
    app_settings.cache_clear()
    try:
        assert shop.get("/orders/x").json["type"] == "https://shop.example/help/order-not-found"
        assert shop.ask("PATCH", "/orders").json["type"] == "about:blank"
    finally:
        app_settings.cache_clear()
