"""A permissions boundary for every role that a stage makes: the most that it may do, whatever its own policies say."""

from collections.abc import Iterable
from typing import Any

from deploy.options import is_given, only_if

PARAMETER = "PermissionsBoundary"


def overlay(roles: Iterable[str]) -> dict[str, Any]:
    """The overlay on a package, for roles by their logical ids."""
    boundary = only_if("HasBoundary", {"Ref": PARAMETER})
    return {
        "Parameters": {
            PARAMETER: {
                "Type": "String",
                "Default": "",
                "Description": "ARN of the policy that bounds every role of the stage; empty: none does.",
            }
        },
        "Conditions": {"HasBoundary": is_given(PARAMETER)},
        "Resources": {role: {"Properties": {"PermissionsBoundary": boundary}} for role in roles},
    }
