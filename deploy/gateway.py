"""What Chalice cannot configure of the API: validation, throttling, the gateway's errors, access log, tracing."""

import json
from collections.abc import Mapping
from typing import Any

from chalicelib.entrypoints.problems import CONTENT_TYPE, Problem
from deploy import unrouted, user_pool
from deploy.callers import caller_settings, cross_origin_headers, has_tokens
from deploy.merging import merged
from deploy.model import order_model, required_types
from deploy.stages import stage_config

OPEN_ROUTES = ("/health", "/openapi.json", "/products")
"""Nobody has to sign a request to these: they have a throttle of their own, which leaves the orders' alone."""

_OWN_ANSWERS = {
    "BAD_REQUEST_PARAMETERS": 400,
    "UNAUTHORIZED": 401,
    "ACCESS_DENIED": 403,
    "EXPIRED_TOKEN": 403,
    "INVALID_SIGNATURE": 403,
    "MISSING_AUTHENTICATION_TOKEN": 403,
    "RESOURCE_NOT_FOUND": 404,
    "REQUEST_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "QUOTA_EXCEEDED": 429,
    "THROTTLED": 429,
    "WAF_FILTERED": 429,
    "AUTHORIZER_FAILURE": 500,
    "API_CONFIGURATION_ERROR": 500,
    "INTEGRATION_FAILURE": 504,
    "INTEGRATION_TIMEOUT": 504,
}
"""The gateway's own answers by their kind (Amazon API Gateway Developer Guide, "Gateway response types")."""

_HEADERS = {
    "QUOTA_EXCEEDED": {"Retry-After": "1"},
    "THROTTLED": {"Retry-After": "1"},
    "WAF_FILTERED": {"Retry-After": "60"},
}
"""What they have besides. The firewall counts the requests of five minutes, and its only rule is their number."""

_LOGGED = {
    "apiRequestId": "$context.requestId",
    "time": "$context.requestTime",
    "method": "$context.httpMethod",
    "resource": "$context.resourcePath",
    "path": "$context.path",
    "status": "$context.status",
    "latency": "$context.responseLatency",
    "integrationLatency": "$context.integrationLatency",
    "length": "$context.responseLength",
    "caller": "$context.identity.userArn",
    "sourceIp": "$context.identity.sourceIp",
    "trace": "$context.xrayTraceId",
    "error": "$context.error.responseType",
}
"""What the access log has of each request. `apiRequestId` is the correlation id of a request without one. Nothing
quotes the body, as `$context.error.validationErrorString` does: a body may have anything in it, a card number too.
Nor a header: the token is in one."""


def overlay(stage: str) -> dict[str, Any]:
    """The overlay on Chalice's API."""
    throttling = [
        _throttle("*", "/*", "Throttle"),
        # A slash of the path is written ~1 (AWS CloudFormation User Guide, "MethodSetting").
        *(_throttle("GET", "/" + path.replace("/", "~1"), "ThrottleOpen") for path in OPEN_ROUTES),
    ]
    log = {"DestinationArn": {"Fn::GetAtt": ["ApiAccessLog", "Arn"]}, "Format": json.dumps(_logged(stage))}
    return {
        "Parameters": {
            "ThrottleBurst": _number(200, "A burst of requests beyond which the API answers 429."),
            "ThrottleRate": _number(100, "Requests per second, sustained, beyond which the API answers 429."),
            "ThrottleOpenBurst": _number(40, "The same burst for each route that is open to everybody."),
            "ThrottleOpenRate": _number(20, "The same rate for each route that is open to everybody."),
        },
        "Resources": {
            "ApiAccessLog": {
                "Type": "AWS::Logs::LogGroup",
                "Properties": {
                    "LogGroupName": {"Fn::Sub": "/aws/apigateway/orderonce-${Stage}"},
                    "RetentionInDays": stage_config(stage)["log_retention_in_days"],
                },
            },
            "RestAPI": {
                "Properties": {
                    # Without it SAM adds a stage named `Stage`, which has neither throttle nor log.
                    "OpenApiVersion": "2.0",
                    "TracingEnabled": True,
                    "MethodSettings": throttling,
                    "AccessLogSetting": log,
                    "DefinitionBody": _definition(stage),
                }
            },
        },
    }


def _logged(stage: str) -> dict[str, str]:
    return {**_LOGGED, "caller": "$context.authorizer.claims.sub"} if has_tokens(stage) else _LOGGED


def _throttle(method: str, path: str, parameters: str) -> dict[str, Any]:
    return {
        "HttpMethod": method,
        "ResourcePath": path,
        "ThrottlingBurstLimit": {"Ref": f"{parameters}Burst"},
        "ThrottlingRateLimit": {"Ref": f"{parameters}Rate"},
    }


def _definition(stage: str) -> dict[str, Any]:
    body = {"in": "body", "name": "OrderRequest", "required": True, "schema": {"$ref": "#/definitions/OrderRequest"}}
    post = {
        # The content type that the model is for; others pass, and the function refuses them (415).
        "consumes": ["application/json"],
        "parameters": [body],
        "x-amazon-apigateway-request-validator": "body",
    }
    return {
        **_authorizer(stage),
        "definitions": {"OrderRequest": order_model(customer_named=not has_tokens(stage))},
        "x-amazon-apigateway-request-validators": {
            "body": {"validateRequestBody": True, "validateRequestParameters": False}
        },
        "paths": merged(unrouted.paths(unrouted.application_routes(), stage), {"/orders": {"post": post}}),
        "x-amazon-apigateway-gateway-responses": gateway_responses(stage),
    }


def _authorizer(stage: str) -> dict[str, Any]:
    """Chalice's own, with the stack's pool in place of the one that it was packaged with."""
    if not has_tokens(stage):
        return {}
    pools = {"x-amazon-apigateway-authorizer": {"providerARNs": [user_pool.arn()]}}
    return {"securityDefinitions": {"cognito": pools}}


def gateway_responses(stage: str) -> dict[str, Any]:
    """The gateway's own answers as problem documents, like all the others."""
    problems = {kind: Problem(status, "", headers=_HEADERS.get(kind, {})) for kind, status in _OWN_ANSWERS.items()}
    problems["BAD_REQUEST_BODY"] = _not_an_order(stage)
    if has_tokens(stage):
        problems["UNAUTHORIZED"] = Problem("unauthenticated", "", headers={"WWW-Authenticate": "Bearer"})
        problems["ACCESS_DENIED"] = Problem("forbidden", "")
    base_url, cross_origin = caller_settings(stage).problem_base_url, cross_origin_headers(stage)
    answers = {
        kind: {"statusCode": str(problem.status)}
        | _template(problem.members(base_url), {**cross_origin, **problem.headers})
        for kind, problem in problems.items()
    }
    for kind, title in (("DEFAULT_4XX", "The request was refused"), ("DEFAULT_5XX", "The request failed")):
        members = {"type": "about:blank", "title": title, "retryable": kind == "DEFAULT_5XX"}
        answers[kind] = _template(members, cross_origin)
    return answers


def _not_an_order(stage: str) -> Problem:
    """What the gateway's model refuses. It does not say whether the body is broken JSON or has another shape."""
    *names, last = [name for name in required_types() if not (name == "customerId" and has_tokens(stage))]
    detail = (
        f"The body is not JSON, or not an object with {', '.join(names)} and {last} of the right types. "
        "Nothing was stored, and the request did not use up its key."
    )
    return Problem("not-an-order", detail)


def _template(members: dict[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    """The gateway's own words, unless the problem has a detail."""
    text = json.dumps({name: value for name, value in (members | unrouted.OWN_INSTANCE).items() if value != ""})
    if not members.get("detail"):
        # The variable includes its quotation marks.
        text = text[:-1] + ', "detail": $context.error.messageString}'
    constant = {"Content-Type": CONTENT_TYPE, **headers}
    return {
        "responseParameters": {
            **{f"gatewayresponse.header.{name}": f"'{value}'" for name, value in constant.items()},
            "gatewayresponse.header.X-Correlation-Id": "context.requestId",
        },
        "responseTemplates": {"application/json": text},
    }


def _number(default: int, description: str) -> dict[str, Any]:
    return {"Type": "Number", "Default": default, "MinValue": 1, "Description": description}
