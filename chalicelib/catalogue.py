"""The catalogue: what there is to buy, and at what price. Read from the Inventory table, remembered for a minute."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from chalicelib import telemetry, times
from chalicelib.items import plain
from chalicelib.order import CENT, two_decimals
from chalicelib.pricing import Priced, Product, Refused, price
from chalicelib.repository import batch_get
from chalicelib.validation import OrderRequest

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_NAME = re.compile("[^\\x00-\\x1f\\x7f\\ud800-\\udfff]{0,256}")
"""As order_request.json has it: the name goes into the order's own message."""

_TOO_MUCH = 10**12
_REMEMBERED = timedelta(minutes=1)


@dataclass(frozen=True)
class Catalogue:
    """Products by id. Everything raises Unavailable."""

    client: "DynamoDBClient"
    table: str
    currency: str
    clock: times.Clock
    _products: dict[str, tuple[datetime, Product]] = field(default_factory=dict)

    def price(self, request: OrderRequest) -> Priced | Refused:
        """The request at the catalogue's prices, or where they disagree. No refusal rests on a remembered price."""
        wanted = request.quantities
        now = self.clock()
        remembered = {p: known[1] for p in wanted if (known := self._products.get(p)) and now - known[0] < _REMEMBERED}
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
        }
        found: dict[str, Product] = {}
        for item in map(plain, batch_get(self.client, self.table, wanted)):
            if product := _product(item):
                found[product.product_id] = product
        # What is not in the catalogue is never remembered: it may be there the next moment.
        self._products.update({product_id: (now, product) for product_id, product in found.items()})
        return found


def _product(item: Mapping[str, Any]) -> Product | None:
    """The product of a row, if an order of it could be stored and sent.

    A row without a price is no product: it holds stock that a product given up has got back.
    """
    product_id, price, name = item["productId"], item.get("price"), item.get("name", item["productId"])
    if price is None:
        return None
    named = isinstance(name, str) and _NAME.fullmatch(name) is not None
    priced = isinstance(price, Decimal) and 0 <= price < _TOO_MUCH and price == price.quantize(CENT)
    if not (named and priced):
        telemetry.warning("row of the catalogue makes no sense", productId=product_id)
        return None
    return Product(product_id, name, two_decimals(price))
