"""The invocation of `replay_dead_letters`: what it asks for, and what it answers."""

from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.service import Service
from chalicelib.use_cases.dead_letters import MAX_REPLAYED
from chalicelib.use_cases.letters import DeadLetter


def replay_dead_letters(service: Service, event: Any) -> dict[str, Any]:
    """What an invocation asks for: `{"limit": 1–100, "reason": "a part of it", "orderId": "…"}`, all optional.

    Answers how many were replayed, and their orders. Raises ValueError, Unavailable, Rejected.
    """
    limit, wanted = _requested(event)
    replayed = service.dead_letters.replay_all(limit, wanted)
    return {"replayed": len(replayed), "orderIds": [letter.order_id for letter in replayed if letter.order_id]}


def _requested(event: Any) -> tuple[int, Callable[[DeadLetter], bool]]:
    """How many dead letters an invocation wants replayed, and which. Raises ValueError, with what is wrong."""
    if not isinstance(event, Mapping):
        raise ValueError(f"the event must be an object, not {type(event).__name__}")
    unknown = set(event) - {"limit", "reason", "orderId"}
    if unknown:
        raise ValueError(f"unknown fields: {', '.join(sorted(map(str, unknown)))}; known are limit, reason, orderId")
    limit, reason, order_id = event.get("limit", MAX_REPLAYED), event.get("reason"), event.get("orderId")
    if type(limit) is not int or not 1 <= limit <= MAX_REPLAYED:
        raise ValueError(f"limit must be a whole number from 1 to {MAX_REPLAYED}, not {limit!r}")
    for name, value in (("reason", reason), ("orderId", order_id)):
        if not (value is None or (isinstance(value, str) and value)):
            raise ValueError(f"{name} must be text, not {value!r}")
    return limit, lambda letter: (reason is None or reason in letter.reason) and order_id in (None, letter.order_id)
