"""What API Gateway's Cognito authorizer does before the app sees a request. `chalice local` verifies no signature."""

import json
import os
import urllib.request
from collections.abc import Collection
from typing import Any, Self

from chalice.app import Chalice, CognitoUserPoolAuthorizer
from chalice.local import LocalGatewayAuthorizer, LocalGatewayException
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import GuestProtocol, Key, KeySet

from chalicelib.entrypoints.identity import SEND_A_TOKEN, unauthenticated
from local.user_pool import issuer


class TokenRefused(LocalGatewayException):
    """The request has no token that opens its route."""

    CODE = 401

    def __init__(self, detail: str) -> None:
        super().__init__({})
        self.problem = unauthenticated(detail)


class TokenVerifier:
    """Verifies the access tokens of one user pool, by the public keys that the pool had at the start."""

    def __init__(self, issuer: str, keys: KeySet) -> None:
        self._keys = keys
        self._registry = jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": issuer},
            token_use={"essential": True, "value": "access"},
            exp={"essential": True},
        )

    @classmethod
    def for_pool(cls, arn: str) -> Self:
        """For the pool of this ARN, which exists in the embedded AWS."""
        pool_id = arn.rpartition("/")[2]
        with urllib.request.urlopen(f"{os.environ['AWS_ENDPOINT_URL']}/{pool_id}/.well-known/jwks.json") as answer:
            return cls(issuer(pool_id), KeySet.import_key_set(json.load(answer)))

    def claims(self, authorization: str, scopes: Collection[str]) -> dict[str, str]:
        """The claims of the token in an Authorization header, as API Gateway hands them to a function.

        Raises TokenRefused for any that is not an access token of the pool, valid now, with one of the scopes.
        (Which app client it was given to is for the app to judge, here as on AWS.)
        """
        scheme, _, token = authorization.strip().rpartition(" ")
        if scheme.strip().lower() not in ("", "bearer"):
            raise TokenRefused(SEND_A_TOKEN)
        try:
            # The algorithm is fixed, and the key is one of the pool's: what the token says of them decides nothing.
            claims = jwt.decode(token, self._key, algorithms=["RS256"]).claims
            self._registry.validate(claims)
        except ExpiredTokenError as fault:
            raise TokenRefused("The access token has expired.") from fault
        except (JoseError, TypeError, ValueError) as fault:  # the latter two from what is not even a JWT
            raise TokenRefused(SEND_A_TOKEN) from fault
        if set(scopes).isdisjoint(str(claims.get("scope", "")).split()):
            raise TokenRefused(f"The access token has none of the scopes {', '.join(scopes)}.")
        return {name: _text(value) for name, value in claims.items()}

    def _key(self, signature: GuestProtocol) -> Key:
        # Without a kid joserfc would take the only key.
        return self._keys.get_by_kid(signature.headers().get("kid", ""))


def _text(value: Any) -> str:
    """A claim is text for a function: a list of groups is `a,b`."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


class UserPoolAuthorizer(LocalGatewayAuthorizer):
    """Chalice's own, but a route with a Cognito authorizer is really closed."""

    def __init__(self, app: Chalice, verifier: TokenVerifier) -> None:
        super().__init__(app)
        self._verifier = verifier

    def authorize(self, raw_path: str, lambda_event: dict[str, Any], lambda_context: Any) -> tuple[dict[str, Any], Any]:
        """The event with the claims of the request's token, if its route asks for one. Raises TokenRefused."""
        entry = self._route_for_event(lambda_event)
        if entry is None or not isinstance(entry.authorizer, CognitoUserPoolAuthorizer):
            return super().authorize(raw_path, lambda_event, lambda_context)
        claims = self._verifier.claims(lambda_event["headers"].get("authorization", ""), entry.authorizer.scopes)
        lambda_event["requestContext"]["authorizer"] = {"claims": claims}
        return lambda_event, lambda_context


def open_routes(app: Chalice) -> list[str]:
    """The paths that nobody needs a token for."""
    routes = app.routes.items()
    return sorted(path for path, methods in routes if not any(entry.authorizer for entry in methods.values()))
