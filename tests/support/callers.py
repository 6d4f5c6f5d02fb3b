"""Callers, as API Gateway describes them to the function: claims of access tokens, and an IAM identity."""

from typing import Any

Claims = dict[str, Any]

POOL = {
    "AUTH": "cognito",
    "USER_POOL_ARN": "arn:aws:cognito-idp:us-east-1:123456789012:userpool/us-east-1_Test",
    "USER_POOL_CLIENTS": "people,services",
}
"""The settings of a stage of customers."""

ARN = "arn:aws:sts::123456789012:assumed-role/shop/web"

CLAIMS: Claims = {
    "token_use": "access",
    "client_id": "people",
    "scope": "aws.cognito.signin.user.admin",
    "iss": "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Test",
    "exp": "Thu Jan 15 13:00:00 UTC 2026",
    "sub": "sub-alice",
    "username": "alice",
}
ALICE = CLAIMS
BOB = CLAIMS | {"sub": "sub-bob", "username": "bob"}
OPERATOR = CLAIMS | {"sub": "sub-olga", "username": "olga", "cognito:groups": "staff,operators"}
SERVICE: Claims = {
    **{name: value for name, value in CLAIMS.items() if name != "username"},
    "client_id": "services",
    "sub": "services",
    "scope": "orderonce/service",
}


def context_of(caller: Claims | str | None) -> dict[str, Any]:
    """What the gateway says of a caller: claims, the ARN of an IAM identity, or nothing."""
    if isinstance(caller, str):
        return {"identity": {"userArn": caller}}
    return {"authorizer": {"claims": dict(caller)}} if caller else {}
