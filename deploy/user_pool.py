"""The pool whose access tokens a stage with AUTH=cognito accepts: an existing one (parameters UserPoolArn and
UserPoolClients), or, without UserPoolArn, one that the stack makes.

Who is in the pool is kept when the stack is deleted, and so is what names them: the group, the ids and secrets of the
clients. The next stack of the stage imports it (`deploy/leftovers.py`).
"""

from typing import Any

from chalicelib.entrypoints.identity import OPERATORS, SERVICE_SCOPE
from deploy.options import is_given, text

_MADE = "MakesUserPool"
_SERVER, _SCOPE = SERVICE_SCOPE.split("/")
_OF_POOL = {"UserPoolId": {"Ref": "UserPool"}}
_HOUR = {
    "AccessTokenValidity": 60,
    "IdTokenValidity": 60,
    "TokenValidityUnits": {"AccessToken": "minutes", "IdToken": "minutes", "RefreshToken": "days"},
    "EnableTokenRevocation": True,
}
"""A token is good until it expires, whatever happens to its owner: the gateway does not ask the pool."""


def overlay() -> dict[str, Any]:
    """The overlay on a package with AUTH=cognito."""
    return {
        "Parameters": {
            "UserPoolArn": text("ARN of an existing pool, whose tokens are accepted; empty: the stack makes one."),
            "UserPoolClients": text("Ids of its app clients that are accepted, with commas between them."),
            "UserPoolDomain": text("Prefix of the made pool's token endpoint, unique in the region; empty: none."),
            "AllowSelfSignUp": {
                "Type": "String",
                "AllowedValues": ["true", "false"],
                "Default": "false",
                "Description": "Whether anybody may become a customer in the made pool; false: people are invited.",
            },
        },
        "Rules": {
            "UserPoolHasClients": {
                "RuleCondition": is_given("UserPoolArn"),
                "Assertions": [
                    {"Assert": is_given("UserPoolClients"), "AssertDescription": "UserPoolArn needs UserPoolClients"}
                ],
            }
        },
        "Conditions": {
            _MADE: {"Fn::Equals": [{"Ref": "UserPoolArn"}, ""]},
            "HasTokenEndpoint": {"Fn::And": [{"Condition": _MADE}, is_given("UserPoolDomain")]},
            "AllowsSelfSignUp": {"Fn::Equals": [{"Ref": "AllowSelfSignUp"}, "true"]},
        },
        "Resources": made() | _domain(),
        "Outputs": {
            "UserPool": _output("The pool whose access tokens are accepted", arn()),
            "UserPoolClients": _output("The app clients whose tokens are accepted", clients()),
            "UserPoolPeople": _output("App client for people", {"Ref": "UserPoolPeople"}, _MADE),
            "UserPoolServices": _output("App client for services", {"Ref": "UserPoolServices"}, _MADE),
            "TokenEndpoint": _output(
                "Where a service gets its token",
                {"Fn::Sub": "https://${UserPoolDomain}.auth.${AWS::Region}.amazoncognito.com/oauth2/token"},
                "HasTokenEndpoint",
            ),
        },
    }


def arn() -> dict[str, Any]:
    """The ARN of the pool, whichever it is."""
    return {"Fn::If": [_MADE, {"Fn::GetAtt": ["UserPool", "Arn"]}, {"Ref": "UserPoolArn"}]}


def clients() -> dict[str, Any]:
    """The ids of the app clients, as the setting USER_POOL_CLIENTS has them."""
    return {"Fn::If": [_MADE, {"Fn::Sub": "${UserPoolPeople},${UserPoolServices}"}, {"Ref": "UserPoolClients"}]}


def made() -> dict[str, Any]:
    """What the stack makes and never deletes, by logical id."""
    return {
        "UserPool": _kept("UserPool", _pool()),
        "UserPoolOperators": _kept(
            "UserPoolGroup", {**_OF_POOL, "GroupName": OPERATORS, "Description": "Ship and deliver"}
        ),
        "UserPoolServer": _kept("UserPoolResourceServer", _server()),
        "UserPoolPeople": _kept("UserPoolClient", _people()),
        "UserPoolServices": {"DependsOn": "UserPoolServer", **_kept("UserPoolClient", _services())},
    }


def _pool() -> dict[str, Any]:
    return {
        "UserPoolName": {"Fn::Sub": "orderonce-${Stage}"},
        # `Alice` and `alice` would be two customers.
        "UsernameConfiguration": {"CaseSensitive": False},
        "AdminCreateUserConfig": {"AllowAdminCreateUserOnly": {"Fn::If": ["AllowsSelfSignUp", False, True]}},
        "AutoVerifiedAttributes": ["email"],
        "AccountRecoverySetting": {"RecoveryMechanisms": [{"Name": "verified_email", "Priority": 1}]},
        "MfaConfiguration": "OPTIONAL",
        "EnabledMfas": ["SOFTWARE_TOKEN_MFA"],
        "Policies": {
            "PasswordPolicy": {
                "MinimumLength": 12,
                "RequireLowercase": True,
                "RequireNumbers": True,
                "RequireSymbols": False,
                "RequireUppercase": True,
                "TemporaryPasswordValidityDays": 3,
            }
        },
        "DeletionProtection": {"Fn::If": ["IsProtected", "ACTIVE", "INACTIVE"]},
    }


def _server() -> dict[str, Any]:
    scope = {"ScopeName": _SCOPE, "ScopeDescription": "Call the API as a service, for any customer"}
    return {**_OF_POOL, "Identifier": _SERVER, "Name": _SERVER, "Scopes": [scope]}


def _people() -> dict[str, Any]:
    """Public, as in a browser or a phone: no secret, and no password is ever sent (SRP)."""
    return {
        **_OF_POOL,
        "ClientName": "people",
        "GenerateSecret": False,
        "ExplicitAuthFlows": ["ALLOW_USER_SRP_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
        "PreventUserExistenceErrors": "ENABLED",
        "RefreshTokenValidity": 30,
        **_HOUR,
    }


def _services() -> dict[str, Any]:
    return {
        **_OF_POOL,
        "ClientName": "services",
        "GenerateSecret": True,
        "AllowedOAuthFlowsUserPoolClient": True,
        "AllowedOAuthFlows": ["client_credentials"],
        "AllowedOAuthScopes": [SERVICE_SCOPE],
        # Without any, it would have the flows by which people sign in.
        "ExplicitAuthFlows": ["ALLOW_REFRESH_TOKEN_AUTH"],
        "PreventUserExistenceErrors": "ENABLED",
        **_HOUR,
    }


def _domain() -> dict[str, Any]:
    """The token endpoint. Nothing is lost with it: the next one may have the same name."""
    properties = {**_OF_POOL, "Domain": {"Ref": "UserPoolDomain"}}
    made = {"Type": "AWS::Cognito::UserPoolDomain", "Condition": "HasTokenEndpoint", "Properties": properties}
    return {"UserPoolEndpoint": made}


def _kept(kind: str, properties: dict[str, Any]) -> dict[str, Any]:
    kept = {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}
    return {"Type": f"AWS::Cognito::{kind}", "Condition": _MADE, **kept, "Properties": properties}


def _output(description: str, value: Any, condition: str = "") -> dict[str, Any]:
    return {"Description": description, "Value": value} | ({"Condition": condition} if condition else {})
