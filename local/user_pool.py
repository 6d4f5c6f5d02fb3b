"""AUTH=cognito: the user pool of the laptop stack. It is in the embedded AWS, and new at each start."""

import os
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from chalicelib.entrypoints.identity import OPERATORS, SERVICE_SCOPE

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

NAME = "orderonce-local"
PEOPLE, SERVICES = "people", "services"
"""The names of the two app clients."""


def user_pool_client() -> "CognitoIdentityProviderClient":
    """A client of the embedded AWS. It tries once: what runs on this machine answers, or does not run."""
    return boto3.client("cognito-idp", config=Config(retries={"total_max_attempts": 1}))


def create_user_pool() -> dict[str, str]:
    """Create the pool, its app clients, resource server and group; the settings that make the app trust it.

    A user's name is the customer's id, so that orders kept by DATA are still theirs in the pool of the next start.
    Nobody can sign up: nobody chooses a name.
    """
    cognito = user_pool_client()
    pool = cognito.create_user_pool(PoolName=NAME, AdminCreateUserConfig={"AllowAdminCreateUserOnly": True})["UserPool"]
    server, _, scope = SERVICE_SCOPE.partition("/")
    cognito.create_resource_server(
        UserPoolId=pool["Id"],
        Identifier=server,
        Name=server,
        Scopes=[{"ScopeName": scope, "ScopeDescription": "name any customer"}],
    )
    people = cognito.create_user_pool_client(
        UserPoolId=pool["Id"], ClientName=PEOPLE, ExplicitAuthFlows=["ALLOW_ADMIN_USER_PASSWORD_AUTH"]
    )
    services = cognito.create_user_pool_client(
        UserPoolId=pool["Id"],
        ClientName=SERVICES,
        GenerateSecret=True,
        AllowedOAuthFlows=["client_credentials"],
        AllowedOAuthFlowsUserPoolClient=True,
        AllowedOAuthScopes=[SERVICE_SCOPE],
    )
    cognito.create_group(UserPoolId=pool["Id"], GroupName=OPERATORS)
    clients = [made["UserPoolClient"]["ClientId"] for made in (people, services)]
    return {"USER_POOL_ARN": pool["Arn"], "USER_POOL_CLIENTS": ",".join(clients), "CUSTOMER_CLAIM": "username"}


def issuer(pool_id: str) -> str:
    """The `iss` of a pool's tokens (Cognito Developer Guide, "Verifying JSON web tokens"), also on the laptop."""
    return f"https://cognito-idp.{os.environ['AWS_DEFAULT_REGION']}.amazonaws.com/{pool_id}"
