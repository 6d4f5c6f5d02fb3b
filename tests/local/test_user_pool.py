"""The embedded user pool, and the tokens that `python -m local token` prints."""

import argparse
from functools import partial

import pytest

from local.authorizer import TokenVerifier
from local.aws import EmbeddedAws
from local.faults import StartError
from local.tokens import Tokens, print_token
from local.user_pool import create_user_pool, user_pool_client
from tests.support.tokens import claims_of

SCOPES = ["aws.cognito.signin.user.admin", "orderonce/service"]


@pytest.fixture
def pool(embedded_aws: EmbeddedAws) -> dict[str, str]:
    return create_user_pool()


def port_of(aws: EmbeddedAws) -> int:
    return int(aws.url.rpartition(":")[2])


@pytest.fixture
def tokens(embedded_aws: EmbeddedAws, pool: dict[str, str]) -> Tokens:
    return Tokens(port_of(embedded_aws))


def test_each_kind_of_token_is_as_cognitos_are_and_is_verified(tokens: Tokens, pool: dict[str, str]) -> None:
    verifier = TokenVerifier.for_pool(pool["USER_POOL_ARN"])
    people, services = pool["USER_POOL_CLIENTS"].split(",")
    customer, operator, service = (
        verifier.claims(f"Bearer {token}", SCOPES)
        for token in (
            tokens.of_user("alice", operator=False),
            tokens.of_user("olga", operator=True),
            tokens.of_service(),
        )
    )
    assert (customer["username"], customer["client_id"], customer["scope"]) == ("alice", people, SCOPES[0])
    assert "cognito:groups" not in customer
    assert (operator["username"], operator["cognito:groups"]) == ("olga", "operators")
    assert (service["sub"], service["client_id"], service["scope"]) == (services, services, SCOPES[1])
    assert "username" not in service
    assert set(service) <= set(customer) | {"version"}


def test_a_user_stays_the_same_and_is_an_operator_only_while_that_is_asked_for(tokens: Tokens) -> None:
    said = [claims_of(tokens.of_user("alice", operator=operator)) for operator in (False, True, False)]
    assert len({claims["sub"] for claims in said}) == 1
    assert [claims.get("cognito:groups") for claims in said] == [None, ["operators"], None]


def test_nobody_can_sign_up(pool: dict[str, str]) -> None:
    described = user_pool_client().describe_user_pool(UserPoolId=pool["USER_POOL_ARN"].rpartition("/")[2])
    assert described["UserPool"]["AdminCreateUserConfig"]["AllowAdminCreateUserOnly"]


def test_the_command_prints_the_token_and_nothing_else(
    embedded_aws: EmbeddedAws, pool: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = partial(argparse.Namespace, customer=None, operator=None, service=False)
    for one in (asked(customer="alice"), asked(operator="olga"), asked(service=True)):
        print_token(port_of(embedded_aws), one)
        printed = capsys.readouterr()
        assert printed.err == ""
        assert claims_of(printed.out.removesuffix("\n"))["iss"].endswith(pool["USER_POOL_ARN"].rpartition("/")[2])


def test_a_stack_that_asks_for_no_token_is_one_sentence(embedded_aws: EmbeddedAws) -> None:
    with pytest.raises(StartError, match=r"^This stack asks for no token.*make run AUTH=cognito\.$"):
        Tokens(port_of(embedded_aws))


def test_no_stack_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StartError, match=r"^No stack answers on AWS_PORT 1: start one with make run AUTH=cognito\.$"):
        Tokens(1)


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "..", "a/b", "x" * 129])
def test_a_name_that_cannot_be_a_customers_id_is_one_sentence(tokens: Tokens, name: str) -> None:
    with pytest.raises(StartError, match=r"^The name of a user must be what a customerId may be, not .*\.$"):
        tokens.of_user(name, operator=False)
