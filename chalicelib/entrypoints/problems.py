"""Errors as RFC 9457 problem details: one place says which there are, and what each looks like.

docs/problems/ has a page for each of `KINDS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from chalicelib.settings import app_settings

CONTENT_TYPE = "application/problem+json"

INSTANCE = "urn:correlation-id:"
"""What a correlation id, percent-encoded, makes a URN of."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What all problems of a type have in common. `retryable`: the same request may succeed later, and may be sent."""

    status: int
    title: str
    retryable: bool = False


KINDS: Mapping[str, Kind] = {
    "body-too-large": Kind(413, "The body is too large"),
    "forbidden": Kind(403, "You may not do this"),
    "idempotency-key-invalid": Kind(400, "The Idempotency-Key is invalid"),
    "idempotency-key-missing": Kind(400, "The Idempotency-Key is missing"),
    "idempotency-key-reused": Kind(422, "The Idempotency-Key was used for another order"),
    "invalid-cursor": Kind(400, "The cursor is invalid"),
    "invalid-json": Kind(400, "The body is not valid JSON"),
    "invalid-limit": Kind(400, "The limit is invalid"),
    "invalid-order": Kind(400, "The order is invalid"),
    "invalid-request": Kind(400, "The request is invalid"),
    "not-an-order": Kind(400, "The body is not an order"),
    "order-not-found": Kind(404, "The order does not exist"),
    "shipment-differs": Kind(409, "The order was shipped with other details"),
    "transition-not-possible": Kind(409, "The order's status does not allow it"),
    "unauthenticated": Kind(401, "The gateway has not verified who is asking"),
    "unavailable": Kind(503, "Try again in a moment", retryable=True),
    "unsupported-content-encoding": Kind(415, "The content encoding is not identity"),
    "unsupported-media-type": Kind(415, "The content type is not application/json"),
}
"""Each by its name, which is the last part of its stable `type`."""

_RETRYABLE = {408, 429, 500, 502, 503, 504}
"""Of what HTTP itself names. A 500 too: nothing but an order is remembered, so the same key gets an answer later."""


@dataclass(eq=False)
class Problem(Exception):
    """An answer that is an error. `kind` is a name in KINDS, or the status of one that HTTP itself names."""

    kind: str | int
    detail: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def described(self) -> Kind:
        """What it has in common with others of its kind."""
        if isinstance(self.kind, str):
            return KINDS[self.kind]
        return Kind(self.kind, HTTPStatus(self.kind).phrase, self.kind in _RETRYABLE)

    @property
    def status(self) -> int:
        """The status of the answer."""
        return self.described.status

    @property
    def body(self) -> dict[str, Any]:
        """The members of the problem document, but for its instance."""
        return self.members(app_settings().problem_base_url)

    def members(self, base_url: str) -> dict[str, Any]:
        """The same where another base of the types is set."""
        kind = self.described
        return {
            "type": f"{base_url}{self.kind}" if isinstance(self.kind, str) else "about:blank",
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail,
            "retryable": kind.retryable,
            **self.extra,
        }

    def answered_as(self, correlation_id: str) -> dict[str, Any]:
        """The whole document of the answer with this correlation id."""
        return {**self.body, "instance": INSTANCE + quote(correlation_id, safe="")}
