"""`python -m local token`: an access token of the running stack's user pool."""

import argparse
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

import botocore.exceptions
from botocore.exceptions import BotoCoreError, ClientError
from joserfc import jwt
from joserfc.jwk import RSAKey
from moto.utilities.utils import load_resource

from chalicelib.domain.ids import is_customer_id
from chalicelib.entrypoints.identity import OPERATORS, SERVICE_SCOPE
from local.faults import StartError
from local.settings import ROOT, enter_stage, read_json, stage_variables
from local.user_pool import NAME, PEOPLE, SERVICES, issuer, user_pool_client

KEY_ID = "dummy"
"""Of the one key that moto signs every pool's tokens with, as its JWKS names it."""

_LIFE_SECONDS = 3600
_PASSWORD = "Laptop-0nly"
"""Of every user. Whoever reaches the embedded AWS can set another."""


class Tokens:
    """The tokens of the stack whose embedded AWS listens on a port.

    Every method raises StartError: no stack runs there, it has no user pool, or a name cannot be a customer's id.
    """

    def __init__(self, aws_port: int) -> None:
        self._aws_port = aws_port
        self._cognito = user_pool_client()
        with self._one_sentence():
            pools = self._cognito.list_user_pools(MaxResults=60)["UserPools"]
            self._pool_id = next((pool["Id"] for pool in pools if pool["Name"] == NAME), "")
            if not self._pool_id:
                raise StartError("This stack asks for no token. With AUTH=cognito it does: make run AUTH=cognito.")
            clients = self._cognito.list_user_pool_clients(UserPoolId=self._pool_id, MaxResults=60)["UserPoolClients"]
            self._clients = {client["ClientName"]: client["ClientId"] for client in clients}

    def of_user(self, name: str, *, operator: bool) -> str:
        """The pool's token of a user, who is created if need be and is an operator from now on, or is none."""
        if not is_customer_id(name):
            raise StartError(f"The name of a user must be what a customerId may be, not {name!r}.")
        pool, cognito = self._pool_id, self._cognito
        with self._one_sentence():
            with suppress(cognito.exceptions.UsernameExistsException):
                cognito.admin_create_user(UserPoolId=pool, Username=name, MessageAction="SUPPRESS")
            cognito.admin_set_user_password(UserPoolId=pool, Username=name, Password=_PASSWORD, Permanent=True)
            change = cognito.admin_add_user_to_group if operator else cognito.admin_remove_user_from_group
            change(UserPoolId=pool, Username=name, GroupName=OPERATORS)
            signed_in = cognito.admin_initiate_auth(
                UserPoolId=pool,
                ClientId=self._clients[PEOPLE],
                AuthFlow="ADMIN_USER_PASSWORD_AUTH",
                AuthParameters={"USERNAME": name, "PASSWORD": _PASSWORD},
            )
        return signed_in["AuthenticationResult"]["AccessToken"]

    def of_service(self) -> str:
        """A token as the client-credentials grant gives it. Moto has no such grant: this signs it with moto's key."""
        client, now = self._clients[SERVICES], int(time.time())
        return signed(
            {
                "iss": issuer(self._pool_id),
                "sub": client,
                "client_id": client,
                "token_use": "access",
                "scope": SERVICE_SCOPE,
                "version": 2,
                "auth_time": now,
                "iat": now,
                "exp": now + _LIFE_SECONDS,
                "jti": str(uuid.uuid4()),
            }
        )

    @contextmanager
    def _one_sentence(self) -> Iterator[None]:
        try:
            yield
        except (botocore.exceptions.ConnectionError, botocore.exceptions.HTTPClientError) as error:
            raise StartError(
                f"No stack answers on AWS_PORT {self._aws_port}: start one with make run AUTH=cognito."
            ) from error
        except (BotoCoreError, ClientError) as error:
            raise StartError(f"The user pool refuses this: {' '.join(str(error).split())}.") from error


def signed(claims: dict[str, object]) -> str:
    """Claims as moto signs them."""
    return jwt.encode({"kid": KEY_ID, "alg": "RS256"}, claims, signing_key())


@cache
def signing_key() -> RSAKey:
    """The key of moto's package. Everybody has it, so such a token proves nothing anywhere else."""
    return RSAKey.import_key(load_resource("cognitoidp/resources/jwks-private.json"))


def print_token(aws_port: int, asked: argparse.Namespace) -> None:
    """Print the token that was asked for, and nothing else. Raises StartError."""
    from_disk = read_json(ROOT / ".chalice" / "config.json")
    enter_stage(os.environ, stage_variables(from_disk), from_disk["app_name"], aws_port)
    tokens = Tokens(aws_port)
    if asked.service:
        print(tokens.of_service())
    elif asked.customer is not None:
        print(tokens.of_user(asked.customer, operator=False))
    else:
        print(tokens.of_user(asked.operator, operator=True))
