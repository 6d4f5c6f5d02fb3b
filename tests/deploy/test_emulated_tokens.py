"""A stage with access tokens on an emulator that verifies them: the pool that `make deploy` makes, and whom it lets in.

Its API Gateway verifies signature, issuer, expiry and scopes; its pool signs tokens as Cognito does.
"""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
import pytest

from deploy import __main__ as command
from deploy import stages
from deploy.packaging import TEMPLATE_NAME, ZIP_NAME
from deploy.stages import read, stage_config
from ops.smoke import HttpApi
from tests.deploy.packages import Package, packaged
from tests.deploy.support.commands import Run, call_of_aws, deploying
from tests.deploy.support.emulator import Emulator
from tests.deploy.test_emulated_package import fit, missed
from tests.ops.live_stage import operate
from tests.support.snippets import commands, snippet

pytestmark = [pytest.mark.deploy, pytest.mark.slow]

STAGE, BUCKET = "dev", "orderonce-artifacts"
SETTINGS = {"AUTH": "cognito", "FAIL_PAYMENT_PERCENT": "0"}
ORDER = {"items": [{"productId": "PROD-001", "quantity": 1}], "totalAmount": 29.99}
PASSWORD = "correct horse battery Staple 9"
SERVICE_TOKEN = snippet("docs/deploying.md", "curl -sS -u")
FIRST_OPERATOR = snippet("docs/deploying.md", "aws cognito-idp admin-create-user")


@dataclass(frozen=True)
class Pool:
    """The pool as its administrator, its people and its services use it."""

    endpoint: str
    id_: str
    people: str
    services: str

    @classmethod
    def of(cls, emulator: Emulator) -> "Pool":
        """The only one."""
        cognito = boto3.client("cognito-idp")
        (pool,) = cognito.list_user_pools(MaxResults=10)["UserPools"]
        listed = cognito.list_user_pool_clients(UserPoolId=pool["Id"])["UserPoolClients"]
        clients = {client["ClientName"]: client["ClientId"] for client in listed}
        return cls(emulator.endpoint, pool["Id"], clients["people"], clients["services"])

    def tokens(self, name: str, client: str = "") -> dict[str, str]:
        """A person's, who signs in by a password: the flow that only tests open."""
        cognito: Any = boto3.client("cognito-idp")
        if name != "ann":  # the page has made her
            cognito.admin_create_user(UserPoolId=self.id_, Username=name, MessageAction="SUPPRESS")
        cognito.admin_set_user_password(UserPoolId=self.id_, Username=name, Password=PASSWORD, Permanent=True)
        by_password = ["ALLOW_ADMIN_USER_PASSWORD_AUTH"]
        used = {"UserPoolId": self.id_, "ClientId": client or self.people}
        cognito.update_user_pool_client(**used, ExplicitAuthFlows=by_password)
        who = {"USERNAME": name, "PASSWORD": PASSWORD}
        answer = cognito.admin_initiate_auth(**used, AuthFlow="ADMIN_USER_PASSWORD_AUTH", AuthParameters=who)
        found: dict[str, str] = answer["AuthenticationResult"]
        return found

    def make_the_first_operator(self) -> None:
        """By the commands of the page, as boto3 makes their calls."""
        for command_line in commands(FIRST_OPERATOR):
            call_of_aws(command_line.replace("$POOL", self.id_))

    def service_token(self) -> str:
        """By the words of the page."""
        cognito = boto3.client("cognito-idp")
        client = cognito.describe_user_pool_client(UserPoolId=self.id_, ClientId=self.services)["UserPoolClient"]
        given = {
            "CLIENT_ID": self.services,
            "CLIENT_SECRET": client["ClientSecret"],
            "TOKEN_ENDPOINT": f"{self.endpoint}/oauth2/token",
        }
        run = ["sh", "-c", SERVICE_TOKEN.text]
        done = subprocess.run(run, env=os.environ | given, capture_output=True, text=True, check=True)
        return str(json.loads(done.stdout)["access_token"])


class Api:
    """The deployed API, asked with a token."""

    def __init__(self, emulator: Emulator) -> None:
        (api,) = boto3.client("apigateway").get_rest_apis()["items"]
        self.url = f"{emulator.endpoint}/restapis/{api['id']}/{STAGE}/_user_request_"

    def ask(self, method: str, path: str, token: str = "", body: Any = None, key: str = "") -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        headers |= {"Idempotency-Key": key} if key else {}
        sent = b"" if body is None else json.dumps(body).encode()
        answer = HttpApi(self.url, False, token)(method, path, sent, headers)
        return answer.status, json.loads(answer.body)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[Run, Emulator]]:
    """`dev` with access tokens and a token endpoint. The dependencies are not in its zip: the emulator's Python has
    them."""
    values = read(stages.PARAMETERS)
    values[STAGE]["UserPoolDomain"] = "shop-dev"
    (tmp_path / "parameters.json").write_text(json.dumps(values), "utf-8")
    monkeypatch.setattr(stages, "PARAMETERS", tmp_path / "parameters.json")
    package = packaged(STAGE, tmp_path, **SETTINGS)
    monkeypatch.setattr(command, "_package", lambda _, out, __: _write(package, out))
    with (
        patch.dict(stage_config(STAGE)["environment_variables"], SETTINGS),
        patch("ops.stages.config", stages.config),
        deploying(STAGE, "tests/deploy/test_emulated_tokens.py", guarded=False) as (run, emulator),
    ):
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield run, emulator


def _write(package: Package, out: Path) -> None:
    template = fit(package.template, fails=False)
    (out / TEMPLATE_NAME).write_text(json.dumps(template), "utf-8")
    shutil.copy(package.path.with_name(ZIP_NAME), out)


def tampered(token: str) -> str:
    """The same token of somebody in the group of the operators."""
    head, claims, signature = token.split(".")
    changed = json.loads(base64.urlsafe_b64decode(claims + "==")) | {"cognito:groups": ["operators"]}
    return ".".join([head, base64.urlsafe_b64encode(json.dumps(changed).encode()).decode().rstrip("="), signature])


def test_a_stage_makes_its_pool_and_lets_in_whoever_has_a_token_of_it(stage: tuple[Run, Emulator]) -> None:
    run, emulator = stage
    first = run("stack", "--bucket", BUCKET)
    assert first.exit_code == 0, first.output
    product = {"productId": {"S": "PROD-001"}, "name": {"S": "Mouse"}, "price": {"N": "29.99"}, "stock": {"N": "9"}}
    boto3.client("dynamodb").put_item(TableName=f"orderonce-{STAGE}-inventory", Item=product)
    api, pool = Api(emulator), Pool.of(emulator)

    alice, service = pool.tokens("alice"), pool.service_token()
    for token in ("", "garbage", tampered(alice["AccessToken"]), alice["IdToken"]):
        assert api.ask("POST", "/orders", token, ORDER, "k-0")[0] == 401, token
    assert api.ask("GET", "/health")[0] == api.ask("GET", "/products")[0] == 200

    status, order = api.ask("POST", "/orders", alice["AccessToken"], ORDER, "k-1")
    assert (status, order["status"]) == (201, "PENDING"), order
    mine = f"/customers/{order['customerId']}/orders"
    assert api.ask("GET", mine, alice["AccessToken"])[0] == 200
    assert api.ask("GET", "/customers/C1/orders", alice["AccessToken"])[0] == 403
    assert api.ask("POST", f"/orders/{order['orderId']}/ship", alice["AccessToken"], {})[0] == 403
    assert api.ask("POST", "/orders", service, ORDER | {"customerId": "C1"}, "k-1")[0] == 201
    assert api.ask("GET", mine, service)[0] == 200
    pool.make_the_first_operator()
    operator = pool.tokens("ann")["AccessToken"]
    assert api.ask("GET", mine, operator)[0] == 200
    assert api.ask("POST", f"/orders/{order['orderId']}/ship", operator, {})[0] in (200, 409)

    made: Any = boto3.client("cognito-idp").create_user_pool_client(UserPoolId=pool.id_, ClientName="another")
    another = made["UserPoolClient"]["ClientId"]
    assert api.ask("GET", mine, pool.tokens("carol", another)["AccessToken"])[0] == 401

    tried = operate("stage", "smoke", STAGE, "--api", api.url, "--token", service)
    assert (tried.exit_code, tried.stdout.count("ok  ")) == (0, 6), tried.output
    assert {kind for kind, _ in missed(STAGE)} == {"alarm", "function", "role"}

    assert run("destroy", "--yes", STAGE).exit_code == 0
    again = run("stack", "--bucket", BUCKET)
    assert again.exit_code == 0, again.output
    assert f"importing what exists: {pool.id_}\n" in again.output
    assert Pool.of(emulator) == pool
    assert Api(emulator).ask("POST", "/orders", alice["AccessToken"], ORDER, "k-1") == (201, order)
