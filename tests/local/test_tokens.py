"""`make run AUTH=cognito`: only a really signed token of this stack's pool opens a route, and to whom it was given."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from functools import cached_property
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import boto3
import pytest

from local.settings import ROOT
from tests.docs.conftest import Reader, interpreter
from tests.support.checkout import checkout
from tests.support.laptop import Laptop, running_laptop
from tests.support.snippets import snippet
from tests.support.tokens import Forger, claims_of, refused_headers
from tests.support.waiting import until

ITEMS = {"totalAmount": 29.99, "items": [{"productId": "PROD-001", "quantity": 1}]}
ALICE, OPERATOR, SERVICE = ("--customer", "alice"), ("--operator",), ("--service",)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: Any


@dataclass(frozen=True)
class Api:
    """The API of a running stack, and those who have tokens for it."""

    laptop: Laptop

    def printed_by(self, *arguments: str) -> str:
        """What `python -m local token` prints."""
        command = [sys.executable, "-m", "local", "token", *arguments]
        environment = os.environ | {"AWS_PORT": self.laptop.aws.rpartition(":")[2]}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=True
        )
        assert done.stderr == ""
        return done.stdout

    @cached_property
    def alice(self) -> str:
        return self.printed_by(*ALICE).strip()

    @cached_property
    def operator(self) -> str:
        return self.printed_by(*OPERATOR).strip()

    @cached_property
    def service(self) -> str:
        return self.printed_by(*SERVICE).strip()

    @cached_property
    def forger(self) -> Forger:
        """Somebody who has Alice's token."""
        issuer = claims_of(self.alice)["iss"]
        with urlopen(f"{self.laptop.aws}/{issuer.rpartition('/')[2]}/.well-known/jwks.json") as answer:
            return Forger(self.alice, json.load(answer))

    def ask(self, method: str, path: str, authorization: str | list[str] | None = None, body: Any = None) -> Answer:
        """An answer. (A list: as many Authorization headers.)"""
        lines = [authorization] if isinstance(authorization, str) else authorization or []
        content = b"" if body is None else json.dumps(body).encode()
        connection = HTTPConnection(urlsplit(self.laptop.api).netloc, timeout=20)
        try:
            connection.putrequest(method, path)
            for line in lines:
                connection.putheader("Authorization", line)
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", str(len(content)))
            connection.endheaders(content)
            answer = connection.getresponse()
            text = answer.read()
            return Answer(answer.status, answer.headers, json.loads(text) if text else None)
        finally:
            connection.close()

    def place(self, token: str, **changes: Any) -> Answer:
        return self.ask("POST", "/orders", f"Bearer {token}", ITEMS | changes)

    def placed(self, token: str) -> str:
        """The id of an order that is confirmed."""
        order_id: str = self.place(token).body["orderId"]
        path = f"/orders/{order_id}"
        until(lambda: self.ask("GET", path, f"Bearer {token}").body["status"] == "CONFIRMED")
        return order_id

    def stored(self) -> set[str]:
        """The ids of all orders that the stack has."""
        dynamodb = boto3.client("dynamodb", endpoint_url=self.laptop.aws)
        rows = dynamodb.scan(TableName="orderonce-local-orders")["Items"]
        dynamodb.close()
        return {row["orderId"]["S"] for row in rows}


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with running_laptop(AUTH="cognito") as laptop:
        yield Api(laptop)


def is_a_problem(answer: Answer, status: int, kind: str) -> bool:
    return (
        (answer.status, answer.body["status"]) == (status, status)
        and answer.headers["Content-Type"] == "application/problem+json"
        and answer.body["type"].endswith(f"/{kind}")
        and answer.headers["WWW-Authenticate"] == ("Bearer" if status == 401 else None)
    )


def test_whatever_a_forger_sends_is_401_and_stores_nothing(api: Api) -> None:
    before = api.stored()
    headers: dict[str, Any] = refused_headers(api.forger)
    headers["of another app client"] = f"Bearer {api.forger.signed_by_the_pool(client_id='another')}"
    headers["no header"] = None
    headers["two headers"] = [f"Bearer {api.alice}", f"Bearer {api.alice}"]
    headers["two headers, one of junk"] = ["junk", f"Bearer {api.alice}"]
    answers = {what: api.ask("POST", "/orders", header, ITEMS) for what, header in headers.items()}
    assert [what for what, answer in answers.items() if not is_a_problem(answer, 401, "unauthenticated")] == []
    assert api.stored() == before


@pytest.mark.parametrize(
    "groups", [None, [], ["not-operators"], ["operators-not"], ["Operators"], ["a operators"], "not-operators"]
)
def test_a_token_of_no_group_or_of_a_group_with_a_similar_name_ships_nothing(api: Api, groups: Any) -> None:
    order_id = api.placed(api.alice)
    token = api.forger.signed_by_the_pool(**{"cognito:groups": groups})
    for verb in ("ship", "deliver"):
        assert is_a_problem(api.ask("POST", f"/orders/{order_id}/{verb}", f"Bearer {token}"), 403, "forbidden")
    assert api.ask("GET", f"/orders/{order_id}", f"Bearer {token}").body["status"] == "CONFIRMED"


def test_a_customer_orders_for_himself_and_the_operator_ships_it(api: Api) -> None:
    order = api.place(api.alice)
    assert (order.status, order.body["customerId"]) == (201, "alice")
    order_id = api.placed(api.alice)
    shipped = api.ask("POST", f"/orders/{order_id}/ship", f"Bearer {api.operator}")
    assert (shipped.status, shipped.body["status"]) == (200, "SHIPPED")


def test_a_customer_cannot_order_for_another_one_but_a_service_can(api: Api) -> None:
    before = api.stored()
    assert is_a_problem(api.place(api.alice, customerId="bob"), 403, "forbidden")
    assert is_a_problem(api.ask("GET", "/customers/bob/orders", f"Bearer {api.alice}"), 403, "forbidden")
    assert api.stored() == before
    order = api.place(api.service, customerId="bob")
    assert (order.status, order.body["customerId"]) == (201, "bob")


def test_an_app_client_without_the_services_scope_is_403(api: Api) -> None:
    claims = {"username": None, "scope": "aws.cognito.signin.user.admin"}
    answer = api.place(api.forger.signed_by_the_pool(**claims), customerId="bob")
    assert is_a_problem(answer, 403, "forbidden")


@pytest.mark.parametrize("path", ["/health", "/products"])
@pytest.mark.parametrize("authorization", [None, "junk", "Bearer a.b.c"])
def test_an_open_route_needs_no_token_and_takes_any(api: Api, path: str, authorization: str | None) -> None:
    assert api.ask("GET", path, authorization).status == 200


def test_a_browser_may_ask_what_it_may_do_without_a_token(api: Api) -> None:
    assert api.ask("OPTIONS", "/orders").status == 200


def test_a_refused_request_keeps_its_connection(api: Api) -> None:
    connection = HTTPConnection(urlsplit(api.laptop.api).netloc, timeout=20)
    for authorization, status in (("junk", 401), (f"Bearer {api.alice}", 200)):
        connection.request("GET", "/customers/alice/orders", headers={"Authorization": authorization})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.close()


def test_the_banner_says_who_may_call_and_its_commands_work(api: Api) -> None:
    banner = api.laptop.banner
    assert "asks for an access token" in banner
    assert "open to everybody: /health, /openapi.json, /products.\n" in banner
    indented = "\n".join(line for line in banner.splitlines() if line.startswith("  "))
    script = indented[indented.index("  token=") :]
    done = Reader(ROOT).runs(interpreter("sh"), "-e", "-c", script)
    assert "HTTP/1.1 201 Created" in done
    assert '"customerId": "alice"' in done
    assert '{"orders": [{"orderId": ' in done


def test_the_commands_of_the_page_work(api: Api, tmp_path: Path) -> None:
    reader = Reader(checkout(tmp_path / "orderonce"), api.laptop)
    script = reader.save("tokens.sh", snippet("docs/laptop.md", "token=$("))
    ports = {"PORT": api.laptop.api.rpartition(":")[2], "AWS_PORT": api.laptop.aws.rpartition(":")[2]}
    printed = reader.runs(interpreter("sh"), "-e", str(script), also=ports)
    assert printed.startswith('{"orders": [')
    assert "10 of 10 orders placed" in printed


def test_make_seed_without_a_services_token_says_how_to_get_one(api: Api) -> None:
    for token in ("", api.alice):
        settings = {"PORT": api.laptop.api.rpartition(":")[2], "N": "1", "TOKEN": token}
        command = [sys.executable, "-m", "local.seeding"]
        said = subprocess.run(
            command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, timeout=30, check=False
        )
        assert (said.returncode, said.stderr.count("\n")) == (1, 1)
        assert "TOKEN=$(.venv/bin/python -m local token --service)" in said.stderr


def test_orders_that_are_kept_stay_the_customers_own_in_the_pool_of_the_next_start(tmp_path: Path) -> None:
    kept = {"AUTH": "cognito", "DATA": str(tmp_path / "data")}
    with running_laptop(**kept) as laptop:
        before = Api(laptop)
        order_id = before.placed(before.alice)
    with running_laptop(**kept) as laptop:
        after = Api(laptop)
        assert is_a_problem(after.ask("GET", f"/orders/{order_id}", f"Bearer {before.alice}"), 401, "unauthenticated")
        assert after.ask("GET", f"/orders/{order_id}", f"Bearer {after.alice}").body["customerId"] == "alice"
