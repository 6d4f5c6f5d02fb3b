"""Headers and parameters, by their names."""

from collections.abc import Mapping
from typing import Any

from docs.openapi.examples import KEY
from docs.openapi.schemas import ref

HEADERS: Mapping[str, Any] = {
    "X-Correlation-Id": {
        "description": "the request's own, or a new one; log lines and events have it too",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": 128},
    },
    "Location": {
        "description": "the path of the order, with the stage or base path of the request",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Idempotent-Replayed": {
        "description": "this is the first answer again; absent if the order is new",
        "schema": {"type": "string", "const": "true"},
    },
    "Retry-After": {
        "description": "the seconds to wait before the same request is sent again",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "WWW-Authenticate": {"description": "what is expected instead", "schema": {"type": "string"}},
    "ETag": {"description": "for `If-None-Match`", "required": True, "schema": {"type": "string"}},
    "Cache-Control": {"description": "how long caches may keep it", "required": True, "schema": {"type": "string"}},
}

PARAMETERS: Mapping[str, Any] = {
    "orderId": {
        "name": "orderId",
        "in": "path",
        "required": True,
        "description": "of an answer or an event",
        "schema": ref("Order/properties/orderId"),
    },
    "customerId": {
        "name": "customerId",
        "in": "path",
        "required": True,
        "description": "percent-encoded; one without orders has an empty list",
        "schema": {"type": "string", "minLength": 1},
        "example": "CUST-42",
    },
    "Idempotency-Key": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "A new one for each order, the same one for each retry. It belongs to its customer and lives as "
        "long as its order. Without one, the same body of the same customer is the same order for an hour. Some stages "
        "require it.",
        "schema": ref("IdempotencyKey"),
        "example": KEY,
    },
    "X-Correlation-Id": {
        "name": "X-Correlation-Id",
        "in": "header",
        "description": "comes back with the answer; one of another form is replaced",
        "schema": {"type": "string"},
    },
    "limit": {
        "name": "limit",
        "in": "query",
        "description": "how many entries a page has at most",
        "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    },
    "cursor": {
        "name": "cursor",
        "in": "query",
        "description": "that of the page before, unchanged; without one, the first page",
        "schema": {"type": "string", "minLength": 1},
    },
    "idempotencyKey": {
        "name": "idempotencyKey",
        "in": "query",
        "description": "instead of a page: which order this key of the customer names",
        "schema": ref("IdempotencyKey"),
    },
    "If-None-Match": {
        "name": "If-None-Match",
        "in": "header",
        "description": "the `ETag` of an earlier answer: 304 if nothing has changed",
        "schema": {"type": "string"},
    },
}
