"""The cursor of a page: where the next one starts, as opaque text."""

import base64
import json

from chalicelib import times
from chalicelib.domain.idempotency import ORDER_ID
from chalicelib.entrypoints.problems import Problem


def write(start: tuple[str, str]) -> str:
    """The cursor of a createdAt and an order id."""
    return base64.urlsafe_b64encode(json.dumps(start).encode()).decode()


def read(cursor: str) -> tuple[str, str]:
    """The createdAt and the order id of a cursor. Raises Problem for any other text."""
    try:
        created_at, order_id = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
        if times.to_text(times.from_text(created_at)) != created_at or not ORDER_ID.fullmatch(order_id):
            raise ValueError(cursor)
    except (ValueError, TypeError, AttributeError, RecursionError):
        detail = "Send the `cursor` of the previous page unchanged, or omit it."
        raise Problem(400, "invalid-cursor", "The cursor is invalid", detail) from None
    return created_at, order_id
