"""GET /products: what can be bought, at what price."""

from typing import Any
from urllib.parse import quote

from chalicelib import exact_json
from chalicelib.entrypoints import cursors
from chalicelib.entrypoints.caching import cacheable
from chalicelib.entrypoints.exchange import Answer, Request
from chalicelib.service import Service


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
    return cacheable(request, exact_json.dumps(document))
