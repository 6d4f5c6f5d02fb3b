"""The example policies of docs/security.md let each service call what the page says, and nothing else."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import app
from deploy.gateway import OPEN_ROUTES
from tests.deploy.support.iam import ACCOUNT, REGION, allows
from tests.support.snippets import snippet
from tests.support.template import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
NAMES = ("Shop", "Places", "Reads", "Warehouse", "Everything")
BLOCKS = {
    "Shop": snippet("docs/security.md", '{"Version": "2012-10-17", "Statement": [{"Sid": "Shop"'),
    "Places": snippet("docs/security.md", '{"Version": "2012-10-17", "Statement": [{"Sid": "Places"'),
    "Reads": snippet("docs/security.md", '{"Version": "2012-10-17", "Statement": [{"Sid": "Reads"'),
    "Warehouse": snippet("docs/security.md", '{"Version": "2012-10-17", "Statement": [{"Sid": "Warehouse"'),
    "Everything": snippet("docs/security.md", '{"Version": "2012-10-17", "Statement": [{"Sid": "Everything"'),
}
ROUTES = {
    f"{verb} {path.replace('order_id', 'orderId').replace('customer_id', 'customerId')}"
    for path, verbs in app.routes.items()
    for verb in verbs
    if path not in OPEN_ROUTES
}
ids = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/*?"), min_size=1, max_size=8)
"""What a client may put in place of a part of the path: a slash in it is `%2F`."""


def policy(name: str) -> dict[str, Any]:
    """A policy of the page, for one stage of one API."""
    text = BLOCKS[name].text
    for placeholder, value in {"REGION": REGION, "ACCOUNT": ACCOUNT, "API-ID": "a1b2c3", "STAGE": "prod"}.items():
        text = text.replace(placeholder, value)
    made: dict[str, Any] = json.loads(text)
    return made


def said() -> dict[str, dict[str, bool]]:
    """The table of the page: by route, what each policy allows."""
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    at = next(number for number, line in enumerate(lines) if "`Shop`" in line)
    table = lines[at : at + 2 + len(ROUTES)]
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in table]
    columns = rows[0][1:]
    return {row[0]: dict(zip(columns, [cell == "yes" for cell in row[1:]], strict=True)) for row in rows[2:]}


def arn(route: str, id_: str, api: str = "a1b2c3", stage: str = "prod") -> str:
    """What a call of a route asks to be allowed (API Gateway Developer Guide, "Resource format of permissions")."""
    verb, path = route.split(" ")
    called = "/".join(id_ if part.startswith("{") else part for part in path.split("/"))
    return f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{api}/{stage}/{verb}{called}"


def test_the_table_has_each_route_that_is_not_open_and_each_policy() -> None:
    assert said().keys() == ROUTES
    assert {tuple(row) for row in said().values()} == {NAMES}


@pytest.mark.parametrize("name", NAMES)
@given(id_=ids)
def test_a_policy_lets_through_what_the_page_says_and_nothing_else(name: str, id_: str) -> None:
    for route, by_policy in said().items():
        allowed = allows([policy(name)], "execute-api:Invoke", arn(route, id_))
        assert allowed is by_policy[name], (route, id_)


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_is_for_one_stage_of_one_api(name: str) -> None:
    for route in ROUTES:
        assert not allows([policy(name)], "execute-api:Invoke", arn(route, "O1", api="other"))
        assert not allows([policy(name)], "execute-api:Invoke", arn(route, "O1", stage="dev"))
        assert not allows([policy(name)], "execute-api:ManageConnections", arn(route, "O1"))


def test_the_policies_have_no_errors(tmp_path: Path) -> None:
    resources = {n: {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"PolicyDocument": policy(n)}} for n in NAMES}
    (tmp_path / "policies.json").write_text(json.dumps({"Resources": resources}), "utf-8")
    lint = [str(Path(sys.executable).with_name("cfn-lint")), str(tmp_path / "policies.json")]
    linted = subprocess.run(lint, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout
