"""Who is asking, from what the gateway says: tokens of every kind, and nothing at all."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.caller import Caller, Role
from chalicelib.entrypoints import identity
from chalicelib.entrypoints.exchange import Request
from chalicelib.entrypoints.problems import Problem
from chalicelib.settings import Settings
from tests.support.callers import ALICE, ARN, CLAIMS, OPERATOR, POOL, SERVICE, context_of
from tests.support.stage import settings_for

NOT_A_NAME = st.text(alphabet="operats-,[] ", max_size=20)


def settings(**changed: str) -> Settings:
    return Settings.from_environment(settings_for("test") | POOL | changed)


def ask(claims: object, **changed: str) -> Caller:
    return identity.caller(Request({}, {}, b"", "c", context={"authorizer": {"claims": claims}}), settings(**changed))


def refused(context: Mapping[str, Any], **changed: str) -> Problem:
    with pytest.raises(Problem) as raised:
        identity.caller(Request({"authorization": "Bearer x"}, {}, b"", "c", context=context), settings(**changed))
    return raised.value


def test_each_kind_of_token_is_the_caller_that_it_says() -> None:
    assert ask(ALICE) == Caller(Role.CUSTOMER, "sub-alice", "sub-alice")
    assert ask(ALICE, CUSTOMER_CLAIM="username") == Caller(Role.CUSTOMER, "sub-alice", "alice")
    assert ask(OPERATOR) == Caller(Role.OPERATOR, "sub-olga")
    assert ask(SERVICE) == Caller(Role.SERVICE, "services")


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        (CLAIMS | {"token_use": "id"}, 401),
        ({name: value for name, value in ALICE.items() if name != "token_use"}, 401),
        (ALICE | {"client_id": "of-another-app"}, 401),
        (ALICE | {"client_id": ""}, 401),
        (ALICE | {"client_id": ["people"]}, 401),
        ({name: value for name, value in ALICE.items() if name != "client_id"}, 401),
        (ALICE | {"sub": ""}, 401),
        (ALICE | {"sub": None}, 401),
        (SERVICE | {"scope": "orderonce/services"}, 403),
        (SERVICE | {"scope": "aws.cognito.signin.user.admin"}, 403),
        (SERVICE | {"scope": ""}, 403),
        ({}, 401),
        (None, 401),
        ("sub=alice", 401),
        ([ALICE], 401),
    ],
    ids=str,
)
def test_every_other_token_is_refused(claims: object, status: int) -> None:
    problem = refused({"authorizer": {"claims": claims}})
    assert (problem.status, problem.kind) == (status, {401: "unauthenticated", 403: "forbidden"}[status])
    assert problem.headers == ({"WWW-Authenticate": "Bearer"} if status == 401 else {})


@pytest.mark.parametrize("auth", ["iam", "cognito"])
@pytest.mark.parametrize(
    "context",
    [{}, {"authorizer": None, "identity": None}, {"authorizer": {}, "identity": {}}, {"identity": {"userArn": ""}}],
    ids=str,
)
def test_a_request_about_which_the_gateway_says_nothing_is_refused(auth: str, context: Mapping[str, Any]) -> None:
    assert refused(context, AUTH=auth).status == (403 if auth == "iam" else 401)


def test_what_one_kind_of_stage_verifies_is_nothing_to_the_other() -> None:
    assert refused(context_of(ARN)).status == 401
    assert refused(context_of(ALICE), AUTH="iam").status == 403
    by_iam = Request({}, {}, b"", "c", context=context_of(ARN))
    assert identity.caller(by_iam, settings(AUTH="iam")) == Caller(Role.SERVICE, ARN)


@pytest.mark.parametrize("username", ["a b", "a/b", "a%b", ".", "..", "e\u0301", "a\u200b", "x" * 129], ids=ascii)
def test_a_user_whose_name_can_be_no_customer_id_is_refused(username: str) -> None:
    problem = refused(context_of(ALICE | {"username": username}), CUSTOMER_CLAIM="username")
    assert (problem.status, problem.kind) == (403, "forbidden")


def test_a_scope_of_services_makes_no_user_a_service() -> None:
    assert ask(ALICE | {"scope": "aws.cognito.signin.user.admin orderonce/service"}).role is Role.CUSTOMER


def test_no_user_is_a_service_whatever_is_missing_in_the_token() -> None:
    nameless = {name: value for name, value in ALICE.items() if name != "username"}
    assert ask(nameless | {"scope": "orderonce/service"}) == Caller(Role.CUSTOMER, "sub-alice", "sub-alice")


# --- groups ---


@pytest.mark.parametrize(
    "claim", ["operators", "a,operators", "[operators]", "[a, operators]", "[a operators]", ["a", "operators"]]
)
def test_a_member_of_the_group_is_an_operator_however_the_claim_arrives(claim: object) -> None:
    assert ask(ALICE | {"cognito:groups": claim}).role is Role.OPERATOR


@pytest.mark.parametrize(
    "claim",
    [
        *(
            "not-operators",
            "operators2",
            "Operators",
            "operators x",
            "a operators",
            "[not-operators]",
            "a,not-operators",
            "oper,ators",
        ),
        *("", "[]", None, [], ["not-operators"], [["operators"]], {"operators": True}, 1),
    ],
    ids=str,
)
def test_nobody_else_is(claim: object) -> None:
    assert ask(ALICE | {"cognito:groups": claim}).role is Role.CUSTOMER


@given(st.lists(st.text(alphabet="abc-_.:", min_size=1)))
def test_every_way_in_which_groups_arrive_has_the_same_names(names: list[str]) -> None:
    joined = ",".join(names)
    ways: list[object] = [names, joined, f"[{joined}]", f"[{', '.join(names)}]", f"[{' '.join(names)}]"]
    assert {identity.groups(claim) for claim in ways} == {frozenset(names)}


@given(st.one_of(NOT_A_NAME, st.lists(NOT_A_NAME)))
def test_a_name_counts_only_as_a_whole(claim: str | list[str]) -> None:
    if isinstance(claim, list):
        whole = claim
    elif re.fullmatch(r"\[.*\]", claim):
        whole = re.split(r"[, ]+", claim[1:-1])
    else:
        whole = [name.strip() for name in claim.split(",")]
    assert ("operators" in identity.groups(claim)) == ("operators" in whole)
