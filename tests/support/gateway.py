"""Requests as API Gateway hands them to the function: a REST API's event, with every line of a repeated header."""

import uuid
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs, unquote

import app as entry
from tests.support.callers import Claims, context_of
from tests.support.customer import Reply
from tests.support.events import FakeLambdaContext


def event(
    method: str,
    path: str,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes | None = None,
    *,
    resource: str = "/orders",
    base: str = "",
    caller: Claims | str | None = None,
) -> dict[str, Any]:
    """The event of a request. `base` is the stage, or the base path of a custom domain: `/dev`.

    `caller` is whom the gateway has verified: the claims of a token, the ARN of an IAM identity, or nobody.
    """
    lines = list(headers)
    many: dict[str, list[str]] = {}
    for name, value in lines:
        many.setdefault(name, []).append(value)
    path, _, query = path.partition("?")
    asked = parse_qs(query, keep_blank_values=True)
    pattern, given = resource.split("/"), path.split("/")
    captured = {p[1:-1]: unquote(g) for p, g in zip(pattern, given, strict=True) if p.startswith("{")}
    return {
        "resource": resource,
        "path": path,
        "httpMethod": method,
        # Of a repeated header API Gateway keeps the last line here.
        "headers": dict(lines),
        "multiValueHeaders": many,
        "queryStringParameters": {name: values[-1] for name, values in asked.items()} or None,
        "multiValueQueryStringParameters": asked or None,
        "pathParameters": captured or None,
        "stageVariables": None,
        "requestContext": {
            "resourcePath": resource,
            "httpMethod": method,
            "path": base + path,
            "stage": "dev",
            "requestId": str(uuid.uuid4()),
            **context_of(caller),
        },
        "body": body.decode() if body is not None else None,
        "isBase64Encoded": False,
    }


def invoke(given: dict[str, Any]) -> Reply:
    """What the function answers."""
    answer = entry.app(given, FakeLambdaContext("orderonce-test"))
    return Reply(answer["statusCode"], {n.lower(): v for n, v in answer["headers"].items()}, answer["body"].encode())
