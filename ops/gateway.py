"""The REST API: which one leads to the function, what it lets in, and where else it can be reached."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deploy.callers import has_tokens
from deploy.stages import stage_config
from ops.callers import Route, access_tokens, authorization, origins
from ops.findings import Aws, Finding, Remark, look_at
from ops.functions import Function, resource_policy


def apis(aws: Aws, stage: str, routes: Sequence[Route], functions: Sequence[Function]) -> Iterator[Finding]:
    """Each API that the function lets invoke it. (An API without that permission reaches nothing.)"""
    found: list[tuple[str, Function]] = []

    def look() -> Iterator[Remark]:
        for function in functions:
            found.extend((api, function) for api in sorted(_invoking(resource_policy(aws, function))))
        if len(found) != 1:
            yield f"{len(found)} APIs lead to the function, should be 1", True

    finding = look_at("API", "orderonce", look)
    if finding.differences or finding.unseen:
        yield finding
    for api, function in found:
        yield _api(aws, stage, routes, api, function)


def _invoking(statements: Sequence[Mapping[str, Any]]) -> set[str]:
    """The ids of the APIs in the sources `arn:aws:execute-api:region:account:id/*` of a function's policy."""
    sources = (
        str(value)
        for statement in statements
        for condition in statement.get("Condition", {}).values()
        for value in condition.values()
    )
    return {source.split(":")[5].partition("/")[0] for source in sources if ":execute-api:" in source}


def _api(aws: Aws, stage: str, wanted: Sequence[Route], api: str, function: Function) -> Finding:
    def look() -> Iterator[Remark]:
        gateway = aws.client("apigateway")
        stages = {each["stageName"]: each for each in gateway.get_stages(restApiId=api)["item"]}
        name = stage_config(stage)["api_gateway_stage"]
        for other in sorted(stages.keys() - {name}):
            yield f"the stage {other!r} serves it too", True
        if name not in stages:
            yield f"the stage {name!r} does not exist", True
            return
        methods = _methods(gateway, api)
        deployment = gateway.get_deployment(
            restApiId=api, deploymentId=stages[name]["deploymentId"], embed=["apisummary"]
        )
        # What is deployed may be older than what is defined. Emulators do not say it.
        deployed = {
            (verb, path): method["authorizationType"]
            for path, verbs in deployment.get("apiSummary", {}).items()
            for verb, method in verbs.items()
            if "authorizationType" in method
        }
        defined = {route: method.get("authorizationType", "NONE") for route, method in methods.items()}
        yield from authorization(stage, wanted, deployed or defined)
        if has_tokens(stage):
            pools = {each["id"]: each["providerARNs"] for each in gateway.get_authorizers(restApiId=api)["items"]}
            yield from access_tokens(stage, function.environment.get("USER_POOL_ARN", ""), wanted, methods, pools)
        yield from origins(stage, wanted, methods)
        for (verb, path), method in methods.items():
            uri = method.get("methodIntegration", {}).get("uri", "")
            if (verb, path) in wanted and not any(f"/{arn}/invocations" in uri for arn in function.arns):
                yield f"{verb} {path} does not lead to {function.name}", True
            elif (verb, path) not in wanted and method.get("methodIntegration", {}).get("type") != "MOCK":
                yield f"{verb} {path} is not a route of the application", True

    return look_at("API", api, look)


def _methods(gateway: Any, api: str) -> dict[Route, Mapping[str, Any]]:
    pages = gateway.get_paginator("get_resources").paginate(restApiId=api, embed=["methods"])
    return {
        (verb, resource["path"]): method
        for page in pages
        for resource in page["items"]
        for verb, method in resource.get("resourceMethods", {}).items()
    }
