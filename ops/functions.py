"""The Lambda functions of a stage, compared with Chalice's configuration."""

from collections.abc import Iterator, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ops.findings import Aws, Finding


def functions(aws: Aws, stage: str, config: Mapping[str, Any]) -> Iterator[Finding]:
    """One finding for each function that the stage configures, whichever way it was deployed.

    Functions are recognized by their handler and their setting STAGE: their names depend on the way of deployment.
    """
    own: Mapping[str, Any] = config.get("stages", {}).get(stage, {})
    wanted: Mapping[str, Any] = own.get("lambda_functions", {})
    if not wanted:
        return
    try:
        actual = _deployed(aws, stage)
    except (ClientError, BotoCoreError) as fault:
        yield Finding("function", "all of them", (), (f"cannot be seen ({fault})",))
        return
    for name in wanted:
        handler = "app.app" if name == "api_handler" else f"app.{name}"
        if handler not in actual:
            yield Finding("function", name, ("does not exist",))
            continue
        scopes = (wanted[name], own, config)
        yield Finding("function", name, tuple(_differences(actual[handler], scopes)))


def _deployed(aws: Aws, stage: str) -> dict[str, Mapping[str, Any]]:
    pages = aws.functions.get_paginator("list_functions").paginate()
    return {
        function["Handler"]: function
        for page in pages
        for function in page["Functions"]
        if function.get("Environment", {}).get("Variables", {}).get("STAGE") == stage
    }


def _differences(actual: Mapping[str, Any], scopes: tuple[Mapping[str, Any], ...]) -> Iterator[str]:
    for setting, attribute in (("lambda_timeout", "Timeout"), ("lambda_memory_size", "MemorySize")):
        expected = next((scope[setting] for scope in scopes if setting in scope), None)
        if expected is not None and expected != actual.get(attribute):
            yield f"{attribute}: {actual.get(attribute)}, should be {expected}"
    given: Mapping[str, str] = actual["Environment"]["Variables"]
    for scope in reversed(scopes):
        for name, value in scope.get("environment_variables", {}).items():
            if given.get(name) != value:
                yield f"{name}: {given.get(name)!r}, should be {value!r}"
