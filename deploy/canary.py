"""A release by canary: each function runs as an alias, which gets a tenth of its traffic from the new version first.

Only what is packaged has aliases. The queue's mapping and the schedules go to the alias by the SAM transform. Chalice's
API calls the function itself, that is `$LATEST`, so each of its routes is told otherwise here.
"""

from collections.abc import Iterable
from typing import Any

from deploy.stages import FUNCTIONS

ALIAS = "live"

RELEASED = ("api_handler", "order_consumer", "recover", "dead_letter_monitor")
"""The functions that something else than a person invokes. `replay_dead_letters` is invoked by name, as `$LATEST`."""

_API = FUNCTIONS["api_handler"]


def overlay(routes: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The overlay on a package; `routes` are the paths and methods that the API's function answers."""
    return {
        "Resources": {
            **{FUNCTIONS[function]: {"Properties": {"AutoPublishAlias": ALIAS}} for function in RELEASED},
            "RestAPI": {"Properties": {"DefinitionBody": {"paths": _paths(routes)}}},
            "APIHandlerInvokePermission": {"Properties": {"FunctionName": {"Ref": f"{_API}.Alias"}}},
        }
    }


def _paths(routes: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """A reference, not a name: the API is changed once its alias exists, and has come to the new version."""
    function = "arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/${Alias}/invocations"
    uri = {"Fn::Sub": [function, {"Alias": {"Ref": f"{_API}.Alias"}}]}
    paths: dict[str, Any] = {}
    for path, method in routes:
        paths.setdefault(path, {})[method.lower()] = {"x-amazon-apigateway-integration": {"uri": uri}}
    return paths
