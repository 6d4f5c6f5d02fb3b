"""Pages: how long one is, and its cursor, which says as opaque text where the next one starts."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from chalicelib import times
from chalicelib.domain.idempotency import ORDER_ID
from chalicelib.entrypoints.problems import Problem

_MAX_KEY_BYTES = 2048
"""Of a partition key (Amazon DynamoDB Developer Guide, "Quotas")."""


def page_limit(query: Mapping[str, str]) -> int:
    """How many entries a page has at most: 20 unless the query says otherwise. Raises Problem."""
    limit = query.get("limit", "20")
    if not re.fullmatch(r"[1-9][0-9]?|100", limit, re.ASCII):
        raise Problem("invalid-limit", "`limit` must be a number from 1 to 100.")
    return int(limit)


def write(start: tuple[str, str] | str) -> str:
    """The cursor of the createdAt and the id of an order, or of a product id."""
    return base64.urlsafe_b64encode(json.dumps(start).encode()).decode()


def read(cursor: str) -> tuple[str, str]:
    """The createdAt and the order id of a cursor. Raises Problem for any other text."""
    try:
        created_at, order_id = _decoded(cursor)
        if times.to_text(times.from_text(created_at)) != created_at or not ORDER_ID.fullmatch(order_id):
            raise ValueError(cursor)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise _invalid() from None
    return created_at, order_id


def read_product(cursor: str) -> str:
    """The product id of a cursor. Raises Problem for any other text."""
    try:
        product_id = _decoded(cursor)
        if not isinstance(product_id, str) or not 1 <= len(product_id.encode()) <= _MAX_KEY_BYTES:
            raise ValueError(cursor)
    except (ValueError, RecursionError):
        raise _invalid() from None
    return product_id


def _decoded(cursor: str) -> Any:
    return json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))


def _invalid() -> Problem:
    return Problem("invalid-cursor", "Send the `cursor` of the previous page unchanged, or omit it.")
