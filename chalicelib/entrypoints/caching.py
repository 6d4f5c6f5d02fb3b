"""Answers that caches may keep: with an entity tag, and 304 for who has it already."""

import hashlib
import re

from chalicelib.entrypoints.exchange import Answer, Request

_CACHED = "public, max-age=60"
"""As long as the service itself remembers a page of the catalogue."""

_ENTITY_TAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')


def cacheable(request: Request, body: str) -> Answer:
    """200 with the body, or 304 if the client has it already."""
    # Weak: the gateway may compress the body, which then has the same meaning and other bytes.
    tag = f'"{hashlib.sha256(body.encode()).hexdigest()[:32]}"'
    headers = {"ETag": f"W/{tag}", "Cache-Control": _CACHED}
    if _has(request.headers.get("if-none-match", ""), tag):
        return Answer(304, "", headers)
    return Answer(200, body, headers)


def _has(if_none_match: str, tag: str) -> bool:
    """Whether the client has it, by weak comparison (RFC 9110, section 13.1.2)."""
    return if_none_match.strip() == "*" or tag in _ENTITY_TAG.findall(if_none_match)
