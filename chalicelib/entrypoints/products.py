"""GET /products: what can be bought, at what price."""

import hashlib
import re
from typing import Any
from urllib.parse import quote

from chalicelib import exact_json
from chalicelib.entrypoints import cursors
from chalicelib.entrypoints.exchange import Answer, Request
from chalicelib.service import Service

_CACHED = "public, max-age=60"
"""As long as the service itself remembers a page."""

_ENTITY_TAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')


def list_products(service: Service, request: Request) -> Answer:
    """GET /products: a page of the catalogue, or 304 if the client has it already. Raises Problem."""
    limit = cursors.page_limit(request.query)
    start = cursors.read_product(request.query["cursor"]) if "cursor" in request.query else None
    page = service.products.page(limit, start)
    document: dict[str, Any] = {
        "currency": service.settings.currency,
        "products": [{"productId": p.product_id, "name": p.name, "price": p.price} for p in page.products],
    }
    if page.next_start:
        document["cursor"] = cursors.write(page.next_start)
        document["next"] = f"{request.base}/products?limit={limit}&cursor={quote(document['cursor'])}"
    body = exact_json.dumps(document)
    # Weak: the gateway may compress the body, which then has the same meaning and other bytes.
    tag = f'"{hashlib.sha256(body.encode()).hexdigest()[:32]}"'
    headers = {"ETag": f"W/{tag}", "Cache-Control": _CACHED}
    if _has(request.headers.get("if-none-match", ""), tag):
        return Answer(304, "", headers)
    return Answer(200, body, headers)


def _has(if_none_match: str, tag: str) -> bool:
    """Whether the client has the page, by weak comparison (RFC 9110, section 13.1.2)."""
    return if_none_match.strip() == "*" or tag in _ENTITY_TAG.findall(if_none_match)
