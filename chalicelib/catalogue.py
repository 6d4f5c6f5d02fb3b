"""The catalogue: what there is to buy, and at what price. Read from the Inventory table, remembered for a minute."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from chalicelib import times
from chalicelib.items import plain
from chalicelib.order import two_decimals
from chalicelib.pricing import Priced, Product, Refused, price
from chalicelib.repository import batch_get
from chalicelib.validation import OrderRequest

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

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
            # A row without a price is no product: it holds stock that a product given up has got back.
            if "price" in item:
                product_id = item["productId"]
                found[product_id] = Product(product_id, item.get("name", product_id), two_decimals(item["price"]))
        # What is not in the catalogue is never remembered: it may be there the next moment.
        self._products.update({product_id: (now, product) for product_id, product in found.items()})
        return found
