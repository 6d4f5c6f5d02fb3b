"""What the gateway answers itself, without an invocation: 404 for an unknown path, 405 for a known one's other methods.

Only to those who may call: whoever may not call anything gets the same 401 or 403 for every path, known or not.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from chalicelib.entrypoints.problems import CONTENT_TYPE, INSTANCE, Problem
from deploy.callers import cross_origin_headers, security

Routes = Mapping[str, Iterable[str]]
"""Each path of the application, and its methods."""

OWN_INSTANCE = {"instance": f"{INSTANCE}$context.requestId"}
"""Of the gateway's own answers: the request id is their correlation id, and a UUID, which needs no encoding."""

_ANY = "x-amazon-apigateway-any-method"
_CONTENT_TYPES = (
    "application/json",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
    "application/xml",
    "multipart/form-data",
    "text/plain",
)
"""Of requests that are answered so; others get 415. There is no template for all of them (Amazon API Gateway Developer
Guide, "Method request behavior for payloads without mapping templates"), and a mock without one answers 500."""


def application_routes() -> Routes:
    """The routes of app.py."""
    from app import app  # its import reads the environment

    return {path: list(methods) for path, methods in app.routes.items()}


def paths(routes: Routes, stage: str) -> dict[str, Any]:
    """The gateway's own methods, by path, in Swagger. It prefers a path's own to `ANY`, and both to `{proxy+}`."""
    unknown = _answer(Problem(404, "This route does not exist."), stage)
    greedy = {**unknown, "parameters": [{"name": "proxy", "in": "path", "required": True, "type": "string"}]}
    return {
        **{path: {_ANY: _other_method(methods, stage)} for path, methods in routes.items()},
        "/": {_ANY: unknown},
        "/{proxy+}": {_ANY: greedy},
    }


def _other_method(methods: Iterable[str], stage: str) -> dict[str, Any]:
    preflight = {"OPTIONS"} if cross_origin_headers(stage) else set()  # Chalice adds it
    allowed = ", ".join(sorted({*methods, *preflight}))
    return _answer(Problem(405, f"This route answers {allowed}.", headers={"Allow": allowed}), stage)


def _answer(problem: Problem, stage: str) -> dict[str, Any]:
    constant = {
        **problem.headers,
        **cross_origin_headers(stage),
        "Cache-Control": "no-store",
        "Content-Type": CONTENT_TYPE,
    }
    headers = {name: f"'{value}'" for name, value in constant.items()} | {"X-Correlation-Id": "context.requestId"}
    status = str(problem.status)
    return {
        "produces": [CONTENT_TYPE],
        "security": security(stage),
        "responses": {
            status: {"description": problem.described.title, "headers": {name: {"type": "string"} for name in headers}}
        },
        "x-amazon-apigateway-integration": {
            "type": "mock",
            "passthroughBehavior": "never",
            "requestTemplates": dict.fromkeys(_CONTENT_TYPES, json.dumps({"statusCode": problem.status})),
            "responses": {
                "default": {
                    "statusCode": status,
                    "responseParameters": {f"method.response.header.{n}": value for n, value in headers.items()},
                    "responseTemplates": {"application/json": json.dumps(problem.body | OWN_INSTANCE)},
                }
            },
        },
    }
