"""The routes of app.py as operations: what each takes and answers besides what its decorator says."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.gateway import OPEN_ROUTES
from docs.openapi import problems
from docs.openapi.examples import examples
from docs.openapi.schemas import name, ref

_TAKEN_BY_ALL = (429, 500, 504)
"""What the gateway, or a fault that nobody expected, may answer to anything."""

_AWAY = "unavailable"
_BAD_KEY = "idempotency-key-invalid"
_BODY = ("invalid-json", "body-too-large", "unsupported-content-encoding", "unsupported-media-type")
_ACTING = ("invalid-request", *_BODY, "order-not-found", "transition-not-possible", _AWAY)
_WHO = ("unauthenticated", "forbidden")
_PAGE = ("invalid-limit", "invalid-cursor", _AWAY)


@dataclass(frozen=True)
class Operation:
    """What app.py does not say of a route."""

    tag: str
    description: str
    schemas: Iterable[str]
    problems: Iterable[str] = ()
    parameters: Iterable[str] = ()
    body: str | None = None
    needs_body: bool = False
    status: int = 200
    headers: Iterable[str] = ()
    links: Mapping[str, Any] = field(default_factory=dict)


def _to(operation: str, **parameters: str) -> dict[str, Any]:
    return {"operationId": operation, "parameters": parameters}


_ORDER_LINKS = {
    verb: _to(f"{verb}Order", orderId="$response.body#/orderId") for verb in ("get", "cancel", "ship", "deliver")
}
_LIST = {"list": _to("listOrders", customerId="$response.body#/customerId")}

_OPERATIONS: Mapping[str, Operation] = {
    "place_order": Operation(
        "orders",
        "201 is a promise: the order is stored and will be decided. The same key and the same order: the same bytes "
        "again, `Idempotent-Replayed: true`. The same key and another order: 422.",
        ["Order"],
        [_BAD_KEY, "idempotency-key-missing", "invalid-order", "not-an-order", *_BODY, "idempotency-key-reused", _AWAY],
        ["Idempotency-Key"],
        body="order_request",
        needs_body=True,
        status=201,
        headers=["Location", "Idempotent-Replayed"],
        links=_ORDER_LINKS | _LIST,
    ),
    "get_order": Operation(
        "orders",
        "Poll it, or listen to the events, to see what becomes of an order.",
        ["Order"],
        ["order-not-found", _AWAY],
        links={verb: link for verb, link in _ORDER_LINKS.items() if verb != "get"} | _LIST,
    ),
    "cancel_order": Operation(
        "orders",
        "The stock is back when the answer arrives, the money follows. Again, it answers what it answered first.",
        ["Cancellation"],
        _ACTING,
        body="cancel_request",
        links={"get": _ORDER_LINKS["get"]},
    ),
    "ship_order": Operation(
        "fulfilment",
        "Shipping again answers the order as it is now. A carrier or tracking number that was not given may be added.",
        ["Order"],
        [*_ACTING, "shipment-differs"],
        body="ship_request",
        links={"deliver": _ORDER_LINKS["deliver"], "get": _ORDER_LINKS["get"]},
    ),
    "deliver_order": Operation(
        "fulfilment",
        "Delivering again answers the order as it is now.",
        ["Order"],
        _ACTING,
        body="deliver_request",
        links={"get": _ORDER_LINKS["get"]},
    ),
    "list_orders": Operation(
        "orders",
        "A page, or with `idempotencyKey` which order a key names.",
        ["Orders", "KeyUse"],
        [_BAD_KEY, *_PAGE],
        ["limit", "cursor", "idempotencyKey"],
    ),
    "list_products": Operation(
        "catalogue",
        "At most a minute old. The products have no certain order. Those without a price are left out.",
        ["Products"],
        _PAGE,
        ["limit", "cursor", "If-None-Match"],
        headers=["ETag", "Cache-Control"],
    ),
    "get_health": Operation("service", "It calls nothing else.", ["Health"]),
    "get_openapi": Operation(
        "service", "The same on every stage.", ["OpenApi"], (), ["If-None-Match"], headers=["ETag", "Cache-Control"]
    ),
}
"""By the name of the view in app.py."""


def paths() -> dict[str, Any]:
    """Each route of app.py, with its methods."""
    from app import app  # its import reads the environment

    return {
        camel_path(path): {
            "parameters": [_parameter(camel(variable)) for variable in re.findall(r"\{(\w+)\}", path)]
            + [_parameter("X-Correlation-Id")],
            **{method.lower(): _operation(path, entry.view_function) for method, entry in methods.items()},
        }
        for path, methods in app.routes.items()
    }


def camel(text: str) -> str:
    """A name of Python's as the API spells it: `order_id` is `orderId`."""
    return re.sub(r"_(\w)", lambda found: found[1].upper(), text)


def camel_path(path: str) -> str:
    """The same for the variables of a path."""
    return re.sub(r"\{(\w+)\}", lambda found: f"{{{camel(found[1])}}}", path)


def _operation(path: str, view: Any) -> dict[str, Any]:
    described = _OPERATIONS[view.__name__]
    is_open = path in OPEN_ROUTES
    made: dict[str, Any] = {
        "operationId": camel(view.__name__),
        "tags": [described.tag],
        "summary": view.__doc__.strip().removesuffix("."),
        "description": described.description,
        "security": [] if is_open else _SECURITY,
    }
    if described.parameters:
        made["parameters"] = [_parameter(each) for each in described.parameters]
    if described.body:
        made["requestBody"] = _body(described, view.__name__)
    kinds = [*described.problems, *(() if is_open else _WHO)]
    statuses = [*_TAKEN_BY_ALL, *(() if is_open else (401, 403))]
    made["responses"] = _success(described, view.__name__) | problems.answers(kinds, statuses)
    return made


_SECURITY = [
    {"sigv4": []},
    {"accessToken": ["aws.cognito.signin.user.admin"]},
    {"accessToken": ["orderonce/service"]},
]


def _body(described: Operation, view: str) -> dict[str, Any]:
    example = examples()[view]["request"]
    return {
        "required": described.needs_body,
        "content": {"application/json": {"schema": ref(name(str(described.body))), "example": example}},
    }


def _success(described: Operation, view: str) -> dict[str, Any]:
    schemas = [ref(each) for each in described.schemas]
    content: dict[str, Any] = {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}
    if example := examples().get(view, {}).get(str(described.status)):
        content["example"] = example
    headers = {each: {"$ref": f"#/components/headers/{each}"} for each in ("X-Correlation-Id", *described.headers)}
    answer: dict[str, Any] = {"description": "success", "headers": headers, "content": {"application/json": content}}
    if described.links:
        answer["links"] = dict(described.links)
    answers = {str(described.status): answer}
    if "If-None-Match" in described.parameters:
        answers["304"] = {"description": "the client has it already", "headers": headers}
    return answers


def _parameter(each: str) -> dict[str, str]:
    return {"$ref": f"#/components/parameters/{each}"}
