"""The catalogue, page by page, for those who look at it. Read from the Inventory table, remembered for a minute."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from chalicelib import times
from chalicelib.adapters.aws_faults import faults
from chalicelib.adapters.catalogue import REMEMBERED_FOR, product_of
from chalicelib.adapters.dynamodb.items import from_item, to_item
from chalicelib.use_cases.ports import ProductPage

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_MAX_PAGES = 128
"""Remembered at once: everybody may ask, for any page."""


@dataclass(frozen=True)
class InventoryProducts:
    """The port `Products` on the Inventory table. In the order of the table's scan, which is none but does not change.

    Rows that are not products are left out, so a page may be shorter than its limit, though another follows.
    """

    client: "DynamoDBClient"
    table: str
    clock: times.Clock
    _pages: dict[tuple[int, str | None], tuple[datetime, ProductPage]] = field(default_factory=dict)

    def page(self, limit: int, start: str | None) -> ProductPage:
        """A page of at most `limit` products after `start`, at most a minute old. Raises Unavailable, Rejected."""
        now = self.clock()
        known = self._pages.get((limit, start))
        if known and now - known[0] < REMEMBERED_FOR:
            return known[1]
        page = self._read(limit, start)
        if len(self._pages) >= _MAX_PAGES:
            self._pages.clear()
        self._pages[limit, start] = now, page
        return page

    def _read(self, limit: int, start: str | None) -> ProductPage:
        after: dict[str, Any] = {"ExclusiveStartKey": to_item({"productId": start})} if start else {}
        with faults():
            answer = self.client.scan(
                TableName=self.table,
                Limit=limit,
                ProjectionExpression="productId, #name, price",
                ExpressionAttributeNames={"#name": "name"},
                **after,
            )
        products = filter(None, map(product_of, map(from_item, answer["Items"])))
        last = answer.get("LastEvaluatedKey")
        return ProductPage(tuple(products), last["productId"]["S"] if last else None)
