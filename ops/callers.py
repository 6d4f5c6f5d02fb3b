"""Who may call a stage: what its API requires of each request, from which web pages, and the pool of access tokens."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chalicelib.entrypoints.identity import OPERATORS
from deploy.callers import caller_settings
from deploy.gateway import OPEN_ROUTES
from ops.findings import Aws, Finding, Remark, differs, look_at

Route = tuple[str, str]
"""A method and a path."""

Methods = Mapping[Route, Mapping[str, Any]]
"""Those of an API, as API Gateway describes them."""

_TYPES = {"iam": "AWS_IAM", "cognito": "COGNITO_USER_POOLS", "none": "NONE"}


def authorization(stage: str, wanted: Sequence[Route], actual: Mapping[Route, str]) -> Iterator[Remark]:
    """What each route requires, by the type of its authorization."""
    auth = caller_settings(stage).auth
    if auth == "none":
        yield "AUTH is none: everybody may call every route", True
    for verb, path in wanted:
        if (verb, path) not in actual:
            yield f"{verb} {path} does not exist", True
        else:
            expected = "NONE" if path in OPEN_ROUTES else _TYPES[auth]
            yield from differs(f"authorization of {verb} {path}", expected, actual[verb, path])


def access_tokens(
    stage: str, pool: str, wanted: Sequence[Route], methods: Methods, authorizers: Mapping[str, Sequence[str]]
) -> Iterator[Remark]:
    """Whether each protected route takes access tokens (it does by its scopes) of the pool whose tokens the function
    takes. `authorizers`: the pools of each, by id."""
    scopes = sorted(caller_settings(stage).user_pool_scopes)
    for verb, path in wanted:
        if path not in OPEN_ROUTES:
            method = methods.get((verb, path), {})
            yield from differs(f"scopes of {verb} {path}", scopes, sorted(method.get("authorizationScopes", ())))
            pools = authorizers.get(method.get("authorizerId", ""), [])
            yield from differs(f"user pool of {verb} {path}", [pool], list(pools))


def origins(stage: str, wanted: Sequence[Route], methods: Methods) -> Iterator[Remark]:
    """Whether the pages of the stage's one origin may call each route, and of no other: what OPTIONS answers a
    browser."""
    expected = caller_settings(stage).cors_origin or "none"
    for path in sorted({path for _, path in wanted}):
        integration = methods.get(("OPTIONS", path), {}).get("methodIntegration", {})
        answers = integration.get("integrationResponses", {}).values()
        name = "method.response.header.Access-Control-Allow-Origin"
        allowed = {str(answer.get("responseParameters", {}).get(name, "")).strip("'") for answer in answers} - {""}
        yield from differs(f"origin that may call {path}", expected, ", ".join(sorted(allowed)) or "none")


def user_pool(aws: Aws, environment: Mapping[str, str]) -> Finding:
    """The pool that the function takes tokens of: its operators, its clients, and that nobody chooses whom to be.

    `environment` is that of the API's function.
    """
    arn, clients = environment.get("USER_POOL_ARN", ""), environment.get("USER_POOL_CLIENTS", "").split(",")

    def look() -> Iterator[Remark]:
        if len(parts := arn.split(":")) != 6:
            yield f"the function's USER_POOL_ARN is of no pool: {arn!r}", True
            return
        cognito, pool = aws.client("cognito-idp", parts[3]), {"UserPoolId": arn.rpartition("/")[2]}
        described = cognito.describe_user_pool(**pool)["UserPool"]
        invited = described.get("AdminCreateUserConfig", {}).get("AllowAdminCreateUserOnly", False)
        if environment.get("CUSTOMER_CLAIM") == "username" and not invited:
            yield "whoever signs up chooses which customer to be: CUSTOMER_CLAIM is username", True
        groups = [each["GroupName"] for each in _listed(cognito, "list_groups", "Groups", pool)]
        if OPERATORS not in groups:
            yield f"the group {OPERATORS} does not exist", True
        known = [each["ClientId"] for each in _listed(cognito, "list_user_pool_clients", "UserPoolClients", pool)]
        for client in clients:
            if client not in known:
                yield f"the app client {client or '(none is named)'} does not exist", True

    return look_at("user pool", arn.rpartition("/")[2] or "none", look)


def _listed(cognito: Any, operation: str, member: str, pool: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
    for page in cognito.get_paginator(operation).paginate(**pool):
        yield from page[member]
