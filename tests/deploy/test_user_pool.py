"""The pool that `make deploy` makes for a stage with AUTH=cognito: who gets in, what is kept, and how it is found."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from chalicelib.entrypoints.identity import OPERATORS, SERVICE_SCOPE
from deploy import user_pool
from deploy.canary import why_all_at_once
from deploy.digests import SHARED_SETTINGS, stamped
from deploy.leftovers import Leftovers, TwoPools, import_template
from deploy.merging import merged
from deploy.stages import DEPLOYED, stage_parameters
from deploy.template import resources_template
from tests.deploy.packages import Package, packaged
from tests.deploy.support.conditions import Conditions
from tests.deploy.support.iam import filled

MADE = user_pool.made()
TEMPLATE: dict[str, Any] = merged(resources_template("prod", watched=False), user_pool.overlay())
ARN = "arn:aws:cognito-idp:eu-west-1:123456789012:userpool/eu-west-1_AbCdEf"


@pytest.fixture
def prod_with_tokens(packages_folder: Path) -> Package:
    return packaged("prod", packages_folder, AUTH="cognito")


def pool(package: Package, **parameters: str) -> dict[str, dict[str, Any]]:
    """The properties of what a package makes of Cognito, by logical id."""
    resources = Conditions(package.template, **parameters).resources
    return {name: r["Properties"] for name, r in resources.items() if r["Type"].startswith("AWS::Cognito::")}


# --- who gets in ---


def test_nobody_signs_himself_up_unless_it_is_asked_for(prod_with_tokens: Package) -> None:
    for asked, by_operators_only in {"false": True, "true": False}.items():
        made = pool(prod_with_tokens, AllowSelfSignUp=asked)["UserPool"]
        assert made["AdminCreateUserConfig"] == {"AllowAdminCreateUserOnly": by_operators_only}
    assert pool(prod_with_tokens)["UserPool"]["AdminCreateUserConfig"] == {"AllowAdminCreateUserOnly": True}


def test_people_sign_in_without_sending_a_password_and_services_not_as_people(prod_with_tokens: Package) -> None:
    people, services = (pool(prod_with_tokens)[name] for name in ("UserPoolPeople", "UserPoolServices"))
    assert (people["GenerateSecret"], services["GenerateSecret"]) == (False, True)
    assert people["ExplicitAuthFlows"] == ["ALLOW_USER_SRP_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"]
    assert services["ExplicitAuthFlows"] == ["ALLOW_REFRESH_TOKEN_AUTH"], "without any, people could sign in"
    assert not [name for name in people if "OAuth" in name]
    assert (services["AllowedOAuthFlows"], services["AllowedOAuthScopes"]) == (["client_credentials"], [SERVICE_SCOPE])
    for client in (people, services):
        assert client["PreventUserExistenceErrors"] == "ENABLED"
        assert (client["AccessTokenValidity"], client["TokenValidityUnits"]["AccessToken"]) == (60, "minutes")


def test_the_group_and_the_scope_are_those_that_the_code_knows(prod_with_tokens: Package) -> None:
    made = pool(prod_with_tokens)
    assert made["UserPoolOperators"]["GroupName"] == OPERATORS
    (scope,) = made["UserPoolServer"]["Scopes"]
    assert f"{made['UserPoolServer']['Identifier']}/{scope['ScopeName']}" == SERVICE_SCOPE


def test_names_that_differ_in_case_are_one_person(prod_with_tokens: Package) -> None:
    assert pool(prod_with_tokens)["UserPool"]["UsernameConfiguration"] == {"CaseSensitive": False}


def test_a_token_endpoint_exists_once_it_has_a_name(prod_with_tokens: Package) -> None:
    plain = Conditions(prod_with_tokens.template)
    assert "UserPoolEndpoint" not in plain.resources
    assert "TokenEndpoint" not in plain.outputs
    named = Conditions(prod_with_tokens.template, UserPoolDomain="shop-prod")
    assert named.resources["UserPoolEndpoint"]["Properties"]["Domain"] == "shop-prod"
    url = filled(named.outputs["TokenEndpoint"]["Value"], {"UserPoolDomain": "shop-prod"})
    assert url == "https://shop-prod.auth.eu-west-1.amazoncognito.com/oauth2/token"


def test_a_pool_that_exists_is_used_and_none_is_made(prod_with_tokens: Package) -> None:
    given = {"UserPoolArn": ARN, "UserPoolClients": "one,two", "UserPoolDomain": "shop-prod"}
    assert pool(prod_with_tokens, **given) == {}
    outputs = Conditions(prod_with_tokens.template, **given).outputs
    assert {name: outputs[name]["Value"] for name in outputs if name.startswith(("UserPool", "Token"))} == {
        "UserPool": ARN,
        "UserPoolClients": "one,two",
    }
    (assertion,) = prod_with_tokens.template["Rules"]["UserPoolHasClients"]["Assertions"]
    assert assertion["Assert"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "UserPoolClients"}, ""]}]}


def test_no_secret_is_an_output(with_tokens: Package) -> None:
    assert "Secret" not in str(with_tokens.template["Outputs"])


def test_versions_with_other_pools_or_clients_never_run_side_by_side(prod_with_tokens: Package) -> None:
    """One would let in whom the other refuses."""

    def shared(**parameters: str) -> str:
        made = stamped(prod_with_tokens.template, stage_parameters("prod") | parameters)
        digest: str = made["Outputs"][SHARED_SETTINGS]["Value"]
        return digest

    own = shared()
    assert shared(UserPoolArn=ARN, UserPoolClients="one") != own
    assert shared(UserPoolArn=ARN, UserPoolClients="one") != shared(UserPoolArn=ARN, UserPoolClients="one,two")
    assert shared(AllowSelfSignUp="true", UserPoolDomain="shop-prod") == own
    assert why_all_at_once({SHARED_SETTINGS: own}, shared(UserPoolArn=ARN, UserPoolClients="one"), asked=False)


# --- what is kept ---


def test_whoever_is_in_the_pool_is_kept_and_what_names_them(with_tokens: Package) -> None:
    for name in MADE:
        resource = with_tokens.resources[name]
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert "DeletionPolicy" not in with_tokens.resources["UserPoolEndpoint"], "it has a name alone"
    protection = {
        protected: pool(with_tokens, Protected=protected)["UserPool"]["DeletionProtection"]
        for protected in ("true", "false")
    }
    assert protection == {"true": "ACTIVE", "false": "INACTIVE"}


@pytest.fixture
def account() -> Iterator[Leftovers]:
    with mock_aws():
        yield Leftovers(
            boto3.client("dynamodb"), boto3.client("sqs"), boto3.client("logs"), boto3.client("cognito-idp")
        )


def make(cognito: Any, stage: str) -> dict[str, dict[str, str]]:
    """A pool with all that a stack makes, and how CloudFormation identifies each."""
    id_ = cognito.create_user_pool(PoolName=f"orderonce-{stage}")["UserPool"]["Id"]
    cognito.create_group(UserPoolId=id_, GroupName=OPERATORS)
    cognito.create_group(UserPoolId=id_, GroupName="others")
    cognito.create_resource_server(UserPoolId=id_, Identifier="orderonce", Name="orderonce")
    clients = {
        name: cognito.create_user_pool_client(UserPoolId=id_, ClientName=name)["UserPoolClient"]["ClientId"]
        for name in ("others", "people", "services")
    }
    return {
        "UserPool": {"UserPoolId": id_},
        "UserPoolOperators": {"UserPoolId": id_, "GroupName": OPERATORS},
        "UserPoolServer": {"UserPoolId": id_, "Identifier": "orderonce"},
        "UserPoolPeople": {"UserPoolId": id_, "ClientId": clients["people"]},
        "UserPoolServices": {"UserPoolId": id_, "ClientId": clients["services"]},
    }


def test_the_pool_of_the_stage_is_found_by_name_with_what_is_in_it(account: Leftovers) -> None:
    values = stage_parameters("prod")
    assert account.of(TEMPLATE, values) == {}
    make(account.cognito, "other")
    assert account.of(TEMPLATE, values) == {}
    made = make(account.cognito, "prod")
    assert made.keys() == MADE.keys()
    assert account.of(TEMPLATE, values) == made
    assert account.of(TEMPLATE, values | {"UserPoolArn": ARN}) == {}, "another one is in use"
    assert account.of(resources_template("prod", watched=False), values) == {}, "a stage that signs"
    account.cognito.delete_group(GroupName=OPERATORS, UserPoolId=made["UserPool"]["UserPoolId"])
    assert account.of(TEMPLATE, values).keys() == made.keys() - {"UserPoolOperators"}


def test_which_of_two_pools_is_meant_is_asked(account: Leftovers) -> None:
    for _ in range(2):
        make(account.cognito, "prod")
    with pytest.raises(TwoPools, match=r"2 user pools named orderonce-prod: say which one to use, by UserPoolArn"):
        account.of(TEMPLATE, stage_parameters("prod"))


def test_an_imported_pool_refers_to_nothing_that_is_not_imported() -> None:
    found = {name: {"UserPoolId": "p"} for name in MADE.keys() - {"UserPoolServer"}}
    template = import_template(TEMPLATE, found)
    assert template["Resources"].keys() == found.keys()
    assert "DependsOn" not in template["Resources"]["UserPoolServices"]


@pytest.mark.parametrize("stage", DEPLOYED)
def test_the_parameters_of_a_stage_exist_with_tokens_too(stage: str, packages_folder: Path) -> None:
    template = packaged(stage, packages_folder, AUTH="cognito").template
    assert stage_parameters(stage).keys() <= template["Parameters"].keys()
