"""Who asks, as API Gateway says after it has verified it: the claims of an access token, or an IAM identity.

It fails closed: a request about which the gateway says nothing is refused, whatever its headers say.
"""

from collections.abc import Mapping
from typing import Any

from chalicelib import telemetry
from chalicelib.domain.caller import Caller, Role
from chalicelib.domain.ids import is_customer_id
from chalicelib.entrypoints.exchange import Request
from chalicelib.entrypoints.problems import Problem
from chalicelib.entrypoints.validation import customers_named
from chalicelib.settings import Settings

SERVICE_SCOPE = "orderonce/service"
"""Of access tokens that an app client gets for itself, by client credentials."""

OPERATORS = "operators"
"""The group of the user pool whose members are operators."""

SEND_A_TOKEN = "Send an access token of this stage's user pool: Authorization: Bearer TOKEN."


def caller(request: Request, settings: Settings) -> Caller:
    """The caller of a request. Raises Problem, 401 or 403, for one that nobody has verified."""
    match settings.auth:
        case "none":
            return Caller(Role.SERVICE)
        case "iam":
            arn = _text(_mapping(request.context.get("identity")), "userArn")
            if arn is None:
                raise forbidden(None, "The gateway says of no IAM identity that it has signed this request.")
            return Caller(Role.SERVICE, arn)
        case _:
            return _of_token(_mapping(_mapping(request.context.get("authorizer")).get("claims")), settings)


def staff(request: Request, settings: Settings) -> Caller:
    """The same for what no customer may do. Raises Problem."""
    found = caller(request, settings)
    if found.is_customer:
        raise forbidden(found, "Only operators and services may ship and deliver orders.")
    return found


def with_own_id(document: Any, caller: Caller) -> Any:
    """The body of a new order. A customer may leave out whose it is, but not name anybody else. Raises Problem."""
    if not (caller.is_customer and isinstance(document, dict)):
        return document
    named = customers_named(document)
    if any(customer_id != caller.customer_id for customer_id in named):
        raise forbidden(caller, "You may order for yourself only: leave customerId out.")
    return document if named else document | {"customerId": caller.customer_id}


def forbidden(caller: Caller | None, detail: str) -> Problem:
    """The answer to a caller who may not do this. It is logged, with the caller's name."""
    telemetry.count("RequestsForbidden")
    telemetry.warning("request forbidden", by=caller.name if caller else None, reason=detail)
    return Problem("forbidden", detail)


def unauthenticated(detail: str) -> Problem:
    """The answer to a caller whom nobody has verified."""
    return Problem("unauthenticated", detail, headers={"WWW-Authenticate": "Bearer"})


def groups(claim: object) -> frozenset[str]:
    """The names of a `cognito:groups` claim, which arrives as `a,b`, `[a b]`, `[a, b]` or a list; never a part of one.

    A name has no white space in it (Amazon Cognito API Reference, "CreateGroup", GroupName), which parts those in `[]`.
    """
    if isinstance(claim, str):
        in_brackets = claim.startswith("[") and claim.endswith("]")
        claim = claim[1:-1].replace(",", " ").split() if in_brackets else [name.strip() for name in claim.split(",")]
    names = claim if isinstance(claim, list) else []
    return frozenset(name for name in names if isinstance(name, str) and name)


def _of_token(claims: Mapping[str, Any], settings: Settings) -> Caller:
    sub = _text(claims, "sub")
    if sub is None or claims.get("token_use") != "access":
        raise _unauthenticated(SEND_A_TOKEN)
    if _text(claims, "client_id") not in settings.user_pool_clients:
        raise _unauthenticated("This access token is of an app client that this stage does not accept.")
    if sub == _text(claims, "client_id"):  # no user: the app client itself
        if SERVICE_SCOPE not in str(claims.get("scope", "")).split():
            raise forbidden(Caller(Role.SERVICE, sub), f"A service needs the scope {SERVICE_SCOPE}.")
        return Caller(Role.SERVICE, sub)
    if OPERATORS in groups(claims.get("cognito:groups")):
        return Caller(Role.OPERATOR, sub)
    customer_id = _text(claims, settings.customer_claim)
    if customer_id is None or not is_customer_id(customer_id):
        reason = f"The claim {settings.customer_claim} of your token is not a valid customerId."
        raise forbidden(Caller(Role.CUSTOMER, sub), reason)
    return Caller(Role.CUSTOMER, sub, customer_id)


def _unauthenticated(detail: str) -> Problem:
    telemetry.count("RequestsUnauthenticated")
    telemetry.warning("request unauthenticated", reason=detail)
    return unauthenticated(detail)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    return value if isinstance(value, str) and value else None
