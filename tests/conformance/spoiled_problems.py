"""Problem documents, and all that can be wrong with them."""

import time
from http import HTTPStatus
from typing import Any

from tests.conformance.serving import Reply

WITHOUT_TYPES = ("does not link to documentation", "links by the header Link", "links in a detail")


def problem(fault: str, status: int, kind: str | None, title: str, **headers: str) -> Reply:
    """An error; `kind` is the end of its type, None for one that HTTP itself names."""
    kind = None if fault in WITHOUT_TYPES else kind
    members: dict[str, Any] = {
        "type": f"https://orders.example/problems/{kind}" if kind else "about:blank",
        "title": title if kind else HTTPStatus(status).phrase,
        "status": status,
        "detail": "See the documentation.",
        "retryable": status >= 500,
    }
    media_type = "application/json" if fault == "has errors that are not problems" else "application/problem+json"
    if fault == "links by the header Link":
        headers["Link"] = '</documentation>; rel="describedby"'
    if kind:
        _spoil_type(fault, members, kind)
    _spoil(fault, members)
    document = [members] if fault == "has a list as its problems" else members
    return Reply(status, document, {"Content-Type": media_type} | headers)


def _spoil_type(fault: str, members: dict[str, Any], kind: str) -> None:
    match fault:
        case "has relative types of problems":
            members["type"] = f"/problems/{kind}"
        case "has types of problems that are not URIs":
            members["type"] += " of this service"
        case "changes the titles of its problems":
            members["title"] += f" ({time.monotonic_ns()})"


def _spoil(fault: str, members: dict[str, Any]) -> None:
    match fault:
        case "says another status in its problems":
            members["status"] = 418
        case "has a text as the status of its problems":
            members["status"] = str(members["status"])
        case "has a number as the detail of its problems":
            members["detail"] = 7
        case "links in a detail":
            members["detail"] = "See https://orders.example/documentation."
        case "has titles of its own for about:blank" if members["type"] == "about:blank":
            members["title"] = "Oh no"
        case "does not say whether to try again":
            del members["retryable"]
