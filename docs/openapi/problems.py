"""The problems: a schema and an example for each kind, made from the service's own table, and answers by status."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from chalicelib.entrypoints.problems import CONTENT_TYPE, INSTANCE, KINDS, Problem
from docs.openapi.schemas import ref

BLANK = "about-blank"
"""The schema of what HTTP itself names: the gateway's own refusals, and what nobody expected."""

_ORDER_ID = ref("Order/properties/orderId")
_STATUS = ref("Order/$defs/status")
_ERRORS = {
    "description": "all that is wrong",
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["pointer", "detail"],
        "properties": {
            "pointer": {"description": "a JSON pointer into the body, as a URI fragment", "type": "string"},
            "detail": {"type": "string"},
            "expected": {"description": "the right figure, where there is one"},
        },
    },
}
_MEMBERS: Mapping[str, Mapping[str, Any]] = {
    "idempotency-key-reused": {"orderId": _ORDER_ID},
    "invalid-order": {"errors": _ERRORS},
    "invalid-request": {"errors": _ERRORS},
    "transition-not-possible": {
        "orderStatus": _STATUS,
        "possible": {"description": "the actions that it allows", "type": "array", "items": {"type": "string"}},
    },
    "shipment-differs": {
        "orderStatus": _STATUS,
        "carrier": ref("Order/properties/carrier"),
        "trackingNumber": ref("Order/properties/trackingNumber"),
    },
}
"""What a kind has besides the members of all problems."""

_OPTIONAL = {"carrier", "trackingNumber"}

_ORDER = "0f8fad5b-d9cb-569f-a165-70867728950e"
_EXAMPLES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "body-too-large": ("It must have at most 65536 bytes.", {}),
    "forbidden": ("A customer may name no other customer.", {}),
    "idempotency-key-invalid": ("Send it once: 1 to 255 visible ASCII characters, bare or quoted.", {}),
    "idempotency-key-missing": ("Send an Idempotency-Key header, with a new value for each order.", {}),
    "idempotency-key-reused": (
        f"This key was already used for order {_ORDER}, with different contents.",
        {"orderId": _ORDER},
    ),
    "invalid-cursor": ("Send the `cursor` of the previous page unchanged, or omit it.", {}),
    "invalid-json": ("The body ends too early.", {}),
    "invalid-limit": ("`limit` must be a number from 1 to 100.", {}),
    "invalid-order": (
        "Nothing was stored, and the request did not use up its key. See `errors`.",
        {"errors": [{"pointer": "#/items/0/quantity", "detail": "must be at least 1"}]},
    ),
    "invalid-request": ("See `errors`.", {"errors": [{"pointer": "#/carrier", "detail": "must be text"}]}),
    "not-an-order": ("The body is not JSON, or not an object with the members of an order.", {}),
    "order-not-found": (f"Order '{_ORDER}' does not exist.", {}),
    "shipment-differs": (
        "carrier: what is there cannot be changed.",
        {"orderStatus": "SHIPPED", "carrier": "DHL", "trackingNumber": "JD014600006228974701"},
    ),
    "transition-not-possible": (
        "The order is SHIPPED; allowed actions: deliver.",
        {"orderStatus": "SHIPPED", "possible": ["deliver"]},
    ),
    "unauthenticated": ("Send an access token of this stage's user pool.", {}),
    "unavailable": ("It may have taken effect. Retry with the same Idempotency-Key.", {}),
    "unsupported-content-encoding": ("Send the body as it is, without compression.", {}),
    "unsupported-media-type": ("Send the body as application/json.", {}),
}


def schemas() -> dict[str, Any]:
    """One for all problems, and one for each kind."""
    return {"Problem": _problem(), BLANK: _blank(), **{kind: _of(kind) for kind in KINDS}}


def examples() -> dict[str, Any]:
    """One for each kind."""
    made = {kind: Problem(kind, detail, extra) for kind, (detail, extra) in _EXAMPLES.items()}
    return {kind: {"summary": KINDS[kind].title, "value": made[kind].answered_as(_ORDER)} for kind in KINDS}


def answers(kinds: Iterable[str], statuses: Iterable[int]) -> dict[str, Any]:
    """Answers by status: for these kinds, and for what HTTP itself names with these statuses."""
    by_status: dict[int, list[str]] = {status: [] for status in statuses}
    blank = set(by_status)
    for kind in kinds:
        by_status.setdefault(KINDS[kind].status, []).append(kind)
    return {str(status): _answer(status, by_status[status], status in blank) for status in sorted(by_status)}


def _answer(status: int, kinds: list[str], blank: bool) -> dict[str, Any]:
    # A list even of one: that a kind is added is then seen as what it is, and breaks nobody.
    content: dict[str, Any] = {"schema": {"anyOf": [ref(each) for each in (*kinds, *([BLANK] if blank else []))]}}
    if kinds:
        content["examples"] = {kind: {"$ref": f"#/components/examples/{kind}"} for kind in kinds}
    headers = {"X-Correlation-Id", *_HEADERS.get(status, ())}
    return {
        "description": "; ".join(f"`{kind}`: {KINDS[kind].title}" for kind in kinds) or HTTPStatus(status).phrase,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in sorted(headers)},
        "content": {CONTENT_TYPE: content},
    }


_HEADERS = {401: ["WWW-Authenticate"], 429: ["Retry-After"], 503: ["Retry-After"]}


def _problem() -> dict[str, Any]:
    return {
        "title": "A problem document (RFC 9457)",
        "type": "object",
        "required": ["type", "title", "detail", "retryable", "instance"],
        "properties": {
            "type": {"description": "the page that explains it, or `about:blank`", "type": "string", "format": "uri"},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"description": "for people", "type": "string"},
            "retryable": {
                "description": "whether the same request, with the same key, may succeed later",
                "type": "boolean",
            },
            "instance": {
                "description": "the correlation id of the answer as a URN",
                "type": "string",
                "pattern": f"^{INSTANCE}",
            },
        },
    }


def _blank() -> dict[str, Any]:
    title = "What HTTP itself names; `status` says what"
    return {"title": title, "allOf": [ref("Problem")], "properties": {"type": {"const": "about:blank"}}}


def _of(kind: str) -> dict[str, Any]:
    described, members = KINDS[kind], _MEMBERS.get(kind, {})
    return {
        "title": described.title,
        "allOf": [ref("Problem")],
        "required": ["status", *(member for member in members if member not in _OPTIONAL)],
        "properties": {
            "type": {"description": "its base is a setting of the stage", "pattern": f"/{kind}$"},
            "status": {"const": described.status},
            "retryable": {"const": described.retryable},
            **members,
        },
    }
