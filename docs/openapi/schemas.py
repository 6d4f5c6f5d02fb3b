"""The schemas of bodies and answers: those of chalicelib/entrypoints/schemas/, and the few that only the API has."""

import json
from typing import Any

from chalicelib.entrypoints.schema_files import SCHEMAS

_FILES = ("order_request", "cancel_request", "ship_request", "deliver_request", "order", "products")

_BARE_KEY = r"[\u0021\u0023-\u002b\u002d-\u007e][\u0021-\u002b\u002d-\u007e]{0,254}"
_QUOTED_KEY = r'"(?:[\u0021\u0023-\u005b\u005d-\u007e]|\\["\\]){1,255}"'

OWN_CUSTOMER = (
    "On a stage whose callers have access tokens (`AUTH=cognito`) a customer may leave out `customerId`: the order is "
    "then the customer's own. Every other request needs it. `userId` and `qty` are accepted spellings of `customerId` "
    "and `quantity`."
)


def schemas() -> dict[str, Any]:
    """By their names among the components."""
    made = {name(file): _component(file) for file in _FILES}
    made[name("order_request")]["description"] = OWN_CUSTOMER
    of_order = made["Order"]["properties"]
    return made | {
        "Orders": {
            "title": "A page of a customer's orders, newest first",
            "description": "A page may be shorter than its limit; the last one has neither cursor nor next.",
            "type": "object",
            "required": ["orders"],
            "properties": {
                "orders": {"type": "array", "maxItems": 100, "items": ref("Order")},
                "cursor": {"description": "where the next page starts", "type": "string"},
                "next": {"description": "the next page's path", "type": "string"},
            },
        },
        "KeyUse": {
            "title": "Which order a key of the customer names",
            "type": "object",
            "required": ["idempotencyKey", "used"],
            "properties": {
                "idempotencyKey": {"description": "the bare key", "type": "string"},
                "used": {"type": "boolean"},
                "orderId": of_order["orderId"],
                "status": ref("Order/$defs/status"),
            },
        },
        "Cancellation": {
            "title": "What cancelling answers, however often",
            "description": "`GET /orders/{orderId}` says what became of the refund.",
            "type": "object",
            "required": ["orderId", "customerId", "status", "cancelledAt", "refund"],
            "properties": {
                "orderId": of_order["orderId"],
                "customerId": of_order["customerId"],
                "status": {"const": "CANCELLED"},
                "cancelledAt": ref("Order/$defs/time"),
                "reason": {"description": "as it was given when the order was cancelled", "type": "string"},
                "refund": {"const": "PENDING"},
            },
        },
        "Health": {
            "title": "The function runs",
            "type": "object",
            "required": ["status"],
            "properties": {"status": {"const": "ok"}},
        },
        "IdempotencyKey": {
            "title": "A key, bare or as a quoted string (RFC 8941); both name the same key",
            "description": "1 to 255 visible ASCII characters; only a quoted one may have a comma",
            "type": "string",
            "pattern": f"^(?:{_BARE_KEY}|{_QUOTED_KEY})$",
        },
        "OpenApi": {
            "title": "This document",
            "type": "object",
            "required": ["openapi", "info", "paths"],
        },
    }


def name(file: str) -> str:
    """The component of a schema file."""
    return "".join(part.title() for part in file.split("_"))


def ref(component: str) -> dict[str, str]:
    """A reference to a component, or to a part of it."""
    return {"$ref": f"#/components/schemas/{component}"}


def _component(file: str) -> Any:
    """The schema of a file; it has no id, so that what it refers to is found from the whole document."""
    schema = json.loads((SCHEMAS / f"{file}.json").read_text("utf-8"))
    return _moved({key: value for key, value in schema.items() if key not in ("$schema", "$id")}, name(file))


def _moved(value: Any, component: str) -> Any:
    if isinstance(value, str):
        # No UTF-8 text has a lone surrogate, and not every reader of patterns knows what one is.
        return value.replace("\\ud800-\\udfff", "")
    if isinstance(value, list):
        return [_moved(item, component) for item in value]
    if not isinstance(value, dict):
        return value
    moved = {key: _moved(item, component) for key, item in value.items()}
    if "$ref" in moved:
        moved |= ref(component + moved["$ref"].removeprefix("#"))
    return moved
