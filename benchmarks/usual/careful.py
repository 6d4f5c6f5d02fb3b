"""The usual design after a second look, with what its documentation does not ask for.

The order id is made of the key, so that a request that is run again writes the same order. Stock and status are
written in one transaction, on condition of the status before, so that a message that is worked on again takes nothing
twice. Both handlers stay what they are: `placing_handler(..., write=write_same_order)`,
`fulfilling_handler(..., work=work_once)`.
"""

import json
import os
import uuid
from typing import TYPE_CHECKING, Any

from benchmarks.usual.app import Order, Payments, charge, new_order, order_item, stock_update

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


def write_same_order(dynamodb: "DynamoDBClient", event: dict[str, Any]) -> Order:
    """Store the order that the key names, unless it is there: then that one, as it was at first."""
    names = json.dumps([event["headers"].get("Idempotency-Key"), json.loads(event["body"])], sort_keys=True)
    order = new_order(event, str(uuid.uuid5(uuid.NAMESPACE_URL, names)))
    try:
        dynamodb.put_item(
            TableName=os.environ["ORDERS_TABLE"],
            Item=order_item(order),
            ConditionExpression="attribute_not_exists(orderId)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except dynamodb.exceptions.ConditionalCheckFailedException as refused:
        stored: Any = refused.response
        return order | {"createdAt": stored["Item"]["createdAt"]["S"]}
    return order


def work_once(dynamodb: "DynamoDBClient", payments: Payments, order: Order) -> str:
    """Go on from the order's status: take the stock, charge, confirm; its status then."""
    status = _move(dynamodb, order, "PENDING", "RESERVED", -1)
    if status == "PENDING":  # so it was the stock that was refused
        status = _move(dynamodb, order, "PENDING", "FAILED")
    if status != "RESERVED":
        return status
    if charge(payments, order):
        return _move(dynamodb, order, "RESERVED", "CONFIRMED")
    return _move(dynamodb, order, "RESERVED", "FAILED", +1)


def _move(dynamodb: "DynamoDBClient", order: Order, source: str, target: str, sign: int = 0) -> str:
    """From one status to another, with the stock of each line taken (-1) or given back (+1); the status then."""
    change: Any = {
        "Update": {
            "TableName": os.environ["ORDERS_TABLE"],
            "Key": {"orderId": {"S": order["orderId"]}},
            "UpdateExpression": "SET #status = :target",
            "ConditionExpression": "#status = :source",
            "ExpressionAttributeNames": {"#status": "status"},
            "ExpressionAttributeValues": {":source": {"S": source}, ":target": {"S": target}},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }
    condition = "stock >= :least" if sign < 0 else "attribute_exists(productId)"
    stock = [stock_update(line, sign * line["quantity"], condition) for line in order["items"] if sign]
    try:
        dynamodb.transact_write_items(TransactItems=[change, *stock])
    except dynamodb.exceptions.TransactionCanceledException as refused:
        reasons: Any = refused.response["CancellationReasons"]
        own, *others = reasons
        if own.get("Code") == "ConditionalCheckFailed":
            reached: str = own["Item"]["status"]["S"]
            return reached
        if "ConditionalCheckFailed" in [reason.get("Code") for reason in others]:
            return source
        raise  # a conflict, or throttled: the message comes again
    return target
