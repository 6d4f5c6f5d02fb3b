"""A permissions boundary for every role that a stage makes: the most that it may do, whatever its own policies say."""

from collections.abc import Iterable
from typing import Any

PARAMETER = "PermissionsBoundary"


def overlay(roles: Iterable[str]) -> dict[str, Any]:
    """The overlay on a package, for roles by their logical ids."""
    boundary = {"Fn::If": ["HasBoundary", {"Ref": PARAMETER}, {"Ref": "AWS::NoValue"}]}
    return {
        "Parameters": {
            PARAMETER: {
                "Type": "String",
                "Default": "",
                "Description": "ARN of the policy that bounds every role of the stage; empty: none does.",
            }
        },
        "Conditions": {"HasBoundary": {"Fn::Not": [{"Fn::Equals": [{"Ref": PARAMETER}, ""]}]}},
        "Resources": {role: {"Properties": {"PermissionsBoundary": boundary}} for role in roles},
    }
