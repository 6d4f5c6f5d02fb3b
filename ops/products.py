"""Products: read from a file, with all of its errors, and put in the Inventory table.

Two writes, both safe beside other writers: loading a product leaves existing stock alone, and stock is added to, never
set.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chalicelib.adapters.aws_faults import faults
from chalicelib.adapters.dynamodb.items import from_item, to_item
from chalicelib.domain.order import two_decimals
from chalicelib.entrypoints.schema import validator
from chalicelib.entrypoints.validation import pointer
from chalicelib.exact_json import InvalidJson, loads

if TYPE_CHECKING:
    from jsonschema.protocols import Validator
    from mypy_boto3_dynamodb import DynamoDBClient

MAX_UNITS = 1_000_000_000


class BadCatalogue(Exception):
    """The file is invalid; `errors` has everything that is wrong with it."""

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
        raise BadCatalogue([f"it is not valid JSON: {fault}"]) from fault
    if not isinstance(rows, list) or not rows:
        raise BadCatalogue(["it must be a JSON list of products, and not empty"])
    errors = [error for number, row in enumerate(rows, 1) for error in _errors(number, row)]
    errors = list(dict.fromkeys(errors)) or list(_duplicates(rows))
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


def all_products(client: "DynamoDBClient", table: str) -> list[dict[str, Any]]:
    """The catalogue's rows that have a price, by id; amounts are Decimals. Raises Unavailable, Rejected.

    A row without one is not a product: it has what cancelled orders of a removed product gave back.
    """
    with faults():
        pages = client.get_paginator("scan").paginate(TableName=table)
        rows = [from_item(item) for page in pages for item in page["Items"]]
    return sorted((row for row in rows if "price" in row), key=lambda row: str(row["productId"]))


def put(client: "DynamoDBClient", table: str, product: Product) -> bool:
    """Put a product in the catalogue; whether it is new to it. Raises Unavailable, Rejected.

    Existing stock stays as it is: orders take from it all the time.
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

    A transaction, though it is a single write: botocore gives it a token and keeps that for its retries, so a lost
    answer never adds twice. Raises Unavailable (then nobody knows whether the units were added), Rejected.
    """
    action: Any = {
        "Update": {
            "TableName": table,
            "Key": {"productId": {"S": product_id}},
            "UpdateExpression": "ADD stock :units",
            # A row without a price is not a product.
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


def _duplicates(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    first: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        before = first.setdefault(row["productId"], number)
        if before != number:
            yield f"row {number} ({row['productId']}): the product is already in row {before}"


@cache
def _validator() -> "Validator":
    """The catalogue may contain what an order may name and pay: the definitions are those of the order's lines."""
    order_validator = validator("order_request")
    schema: Any = order_validator.schema
    line = schema["properties"]["items"]["items"]["properties"]
    product = {
        "type": "object",
        "required": ["productId", "name", "price", "stock"],
        "additionalProperties": False,
        "properties": {
            "productId": line["productId"],
            "name": {**line["productName"], "minLength": 1},
            "price": line["unitPrice"],
            "stock": {"type": "integer", "minimum": 0, "maximum": MAX_UNITS},
            "category": line["productName"],
        },
    }
    return order_validator.evolve(schema=product)
