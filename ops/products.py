"""Products: read from a file with everything that is wrong with it, and put in the Inventory table.

Two writes, each right whoever else writes at the time: a product is loaded without touching stock that is there, and
stock is added to, never set.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chalicelib.adapters.aws_faults import faults
from chalicelib.adapters.dynamodb.items import to_item
from chalicelib.domain.order import two_decimals
from chalicelib.entrypoints.schema import validator
from chalicelib.entrypoints.validation import pointer
from chalicelib.exact_json import InvalidJson, loads

if TYPE_CHECKING:
    from jsonschema.protocols import Validator
    from mypy_boto3_dynamodb import DynamoDBClient

MOST_UNITS = 1_000_000_000


class BadCatalogue(Exception):
    """The file is refused; `errors` has everything that is wrong with it."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = tuple(errors)


@dataclass(frozen=True, slots=True)
class Product:
    """A row of the catalogue. `stock` counts only for a product that is new."""

    product_id: str
    name: str
    price: Decimal
    stock: int
    category: str | None


def read_products(text: str | bytes) -> list[Product]:
    """The products of a JSON list; prices are exact decimals. Raises BadCatalogue."""
    try:
        rows = loads(text)
    except InvalidJson as fault:
        raise BadCatalogue([f"it is not JSON as it is taken here: {fault}"]) from fault
    if not isinstance(rows, list) or not rows:
        raise BadCatalogue(["it must be a JSON list of products, and not an empty one"])
    errors = [error for number, row in enumerate(rows, 1) for error in _errors(number, row)]
    errors = errors or list(_twice(rows))
    if errors:
        raise BadCatalogue(errors)
    return [
        Product(
            row["productId"],
            row["name"],
            two_decimals(Decimal(row["price"])),
            int(row["stock"]),
            row.get("category"),
        )
        for row in rows
    ]


def put(client: "DynamoDBClient", table: str, product: Product) -> bool:
    """Put a product in the catalogue; whether it is new to it. Raises Unavailable, Rejected.

    Stock that is there stays: it is what is left, and orders take of it all the time.
    """
    values = {
        ":name": product.name,
        ":price": product.price,
        ":category": product.category,
        ":stock": product.stock,
    }
    category = "category = :category" if product.category is not None else ""
    sets = ["#name = :name", "price = :price", "stock = if_not_exists(stock, :stock)", category]
    with faults():
        answer = client.update_item(
            TableName=table,
            Key={"productId": {"S": product.product_id}},
            UpdateExpression="SET " + ", ".join(filter(None, sets)) + ("" if category else " REMOVE category"),
            ExpressionAttributeNames={"#name": "name"},
            ExpressionAttributeValues=to_item(values),
            ReturnValues="ALL_OLD",
        )
    return not answer.get("Attributes")


def restock(client: "DynamoDBClient", table: str, product_id: str, units: int) -> bool:
    """Add units to a product's stock; False: there is no such product, and nothing is written.

    As a transaction, though it is one write alone: botocore gives it a token and keeps that over its retries, so a lost
    answer never adds twice. Raises Unavailable (then nobody knows whether the units were added), Rejected.
    """
    action: Any = {
        "Update": {
            "TableName": table,
            "Key": {"productId": {"S": product_id}},
            "UpdateExpression": "ADD stock :units",
            # A row without a price is no product: it holds stock that a product given up has got back.
            "ConditionExpression": "attribute_exists(price)",
            "ExpressionAttributeValues": to_item({":units": units}),
        }
    }
    with faults():
        try:
            client.transact_write_items(TransactItems=[action])
        except ClientError as error:
            response: Any = error.response
            if [reason.get("Code") for reason in response.get("CancellationReasons", ())] == ["ConditionalCheckFailed"]:
                return False
            raise
    return True


def _errors(number: int, row: Any) -> Iterator[str]:
    name = f" ({row['productId']})" if isinstance(row, dict) and isinstance(row.get("productId"), str) else ""
    for error in _validator().iter_errors(row):
        where = pointer(error.absolute_path, row).removeprefix("#/").removeprefix("#")
        yield f"row {number}{name}: {f'{where} ' if where else ''}{error.message}"


def _twice(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    first: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        before = first.setdefault(row["productId"], number)
        if before != number:
            yield f"row {number} ({row['productId']}): the product stands in row {before} already"


@cache
def _validator() -> "Validator":
    """What an order may name and pay is what the catalogue may hold: the definitions are those of the order's lines."""
    of_order = validator("order_request")
    schema: Any = of_order.schema
    line = schema["properties"]["items"]["items"]["properties"]
    product = {
        "type": "object",
        "required": ["productId", "name", "price", "stock"],
        "additionalProperties": False,
        "properties": {
            "productId": line["productId"],
            "name": {**line["productName"], "minLength": 1},
            "price": line["unitPrice"],
            "stock": {"type": "integer", "minimum": 0, "maximum": MOST_UNITS},
            "category": line["productName"],
        },
    }
    return of_order.evolve(schema=product)
