"""The catalogue: what can be bought, and at what price. Read from the Inventory table, remembered for a minute."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from chalicelib import telemetry, times
from chalicelib.adapters.dynamodb.items import from_item
from chalicelib.adapters.dynamodb.reads import batch_get
from chalicelib.domain import ids
from chalicelib.domain.order import CENT, two_decimals
from chalicelib.domain.pricing import IntakeRefusal, Priced, Product, price
from chalicelib.domain.request import OrderRequest

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_NAME = re.compile("[^\\x00-\\x1f\\x7f\\ud800-\\udfff]{0,256}")
"""As order_request.json has it: the name goes into the order's own message."""

_PRICE_LIMIT = 10**12
REMEMBERED_FOR = timedelta(minutes=1)


@dataclass(frozen=True)
class InventoryCatalogue:
    """The port `Catalogue` on the Inventory table. Everything raises Unavailable, Rejected."""

    client: "DynamoDBClient"
    table: str
    currency: str
    clock: times.Clock
    _products: dict[str, tuple[datetime, Product]] = field(default_factory=dict)

    def price(self, request: OrderRequest) -> Priced | IntakeRefusal:
        """The request at the catalogue's prices, or where they disagree. No refusal relies on a remembered price."""
        wanted = request.quantities
        now = self.clock()
        remembered = {
            p: known[1] for p in wanted if (known := self._products.get(p)) and now - known[0] < REMEMBERED_FOR
        }
        if len(remembered) == len(wanted):
            outcome = price(request, remembered, self.currency)
            if isinstance(outcome, Priced):
                return outcome
        return price(request, self._read(wanted, now), self.currency)

    def _read(self, product_ids: Iterable[str], now: datetime) -> dict[str, Product]:
        wanted = {
            "Keys": [{"productId": {"S": product_id}} for product_id in product_ids],
            "ProjectionExpression": "productId, #name, price",
            "ExpressionAttributeNames": {"#name": "name"},
            # A refusal must not rely on a price of a moment ago either.
            "ConsistentRead": True,
        }
        found: dict[str, Product] = {}
        for item in map(from_item, batch_get(self.client, self.table, wanted)):
            if product := product_of(item):
                found[product.product_id] = product
        # What is not in the catalogue is never remembered: it may be there the next moment.
        self._products.update({product_id: (now, product) for product_id, product in found.items()})
        return found


def product_of(item: Mapping[str, Any]) -> Product | None:
    """The product of a row, if an order of it could be stored and sent.

    A row without a price is not a product: it holds stock that was given back to a product no longer sold.
    """
    product_id, price, name = item["productId"], item.get("price"), item.get("name", item["productId"])
    if price is None:
        return None
    named = ids.is_product_id(product_id) and isinstance(name, str) and _NAME.fullmatch(name) is not None
    priced = isinstance(price, Decimal) and 0 <= price < _PRICE_LIMIT and price == price.quantize(CENT)
    if not (named and priced):
        telemetry.warning("invalid catalogue row", productId=product_id)
        return None
    return Product(product_id, name, two_decimals(price))
