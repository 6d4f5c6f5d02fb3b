"""An order service as Powertools' documentation teaches it: the two handlers, as a good engineer would write them.

Placing: `@idempotent` around *write the order, then send its message*. Fulfilling: `BatchProcessor` over the messages,
and `@idempotent_function` around *take the stock, charge, confirm*, by order id.

What the documentation advises is done: the key is one field of the request (`event_key_jmespath`), a key that comes
with another body is refused (`payload_validation_jmespath`), JSON is compared as JSON (`powertools_json`), the Lambda
context is registered so that a dead run's lock ends with its time limit, an `IdempotencyAlreadyInProgressError` is
answered as "try again", a batch reports its failures, and a record is known by what its producer made unique, not by
its message id. Beyond it: stock is taken on condition that there is enough, for all lines in one transaction, and the
payment provider gets the order id as its own idempotency key.

Handlers are made from the clients they are given, so that they can be timed with any. Tables are named by the
environment variables of OrderOnce; `ORDER_QUEUE` is a URL here. Nothing of OrderOnce is imported.
"""

import json
import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyAlreadyInProgressError,
    IdempotencyKeyError,
    IdempotencyPersistenceLayerError,
    IdempotencyValidationError,
)

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger, Metrics, Tracer
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

Handler = Callable[[dict[str, Any], Any], Any]
"""Of an event and a Lambda context."""

Order = dict[str, Any]
"""As it is answered, and sent to the consumer."""


class Payments(Protocol):
    """A payment provider."""

    def charge(self, idempotency_key: str, amount: Decimal, currency: str) -> bool:
        """Whether it was paid; False: declined. However often it is asked with one key, it charges once."""


class Invalid(Exception):
    """The request is refused; the text says why."""


_ANSWERS: dict[type[Exception], tuple[int, str]] = {
    IdempotencyKeyError: (400, "An order has neither a key nor contents"),
    IdempotencyValidationError: (422, "This key was already used, with different contents"),
    IdempotencyAlreadyInProgressError: (409, "This request is in progress. Try again"),
    IdempotencyPersistenceLayerError: (503, "Try again"),
}
_REFUSALS: tuple[type[Exception], ...] = (Invalid, *_ANSWERS)


# --- POST /orders ---


def placing_handler(
    dynamodb: "DynamoDBClient",
    sqs: "SQSClient",
    *,
    logger: "Logger | None" = None,
    metrics: "Metrics | None" = None,
    tracer: "Tracer | None" = None,
    use_local_cache: bool = False,
    write: "Callable[[DynamoDBClient, dict[str, Any]], Order] | None" = None,
) -> Handler:
    """POST /orders, as API Gateway's proxy integration calls it. A key is remembered for an hour.

    *Bare* without the last arguments; *full* with `logger` and `metrics`; *cached* with `use_local_cache`.
    `write` stores the order of an event in place of `write_order`.
    """
    store = DynamoDBPersistenceLayer(table_name=os.environ["IDEMPOTENCY_TABLE"], boto3_client=dynamodb)
    config = IdempotencyConfig(
        event_key_jmespath='headers."Idempotency-Key" || powertools_json(body)',
        payload_validation_jmespath="powertools_json(body)",
        raise_on_no_idempotency_key=True,
        expires_after_seconds=3600,
        use_local_cache=use_local_cache,
    )

    @idempotent(config=config, persistence_store=store)
    def place(event: dict[str, Any], context: Any) -> dict[str, Any]:
        # A request that is refused raises, and so its key is not used up.
        order = (write or write_order)(dynamodb, event)
        send_order(sqs, order)
        return answer(201, order)

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        # What is handled out here leaves the idempotency record as it is.
        try:
            given: dict[str, Any] = place(event, context)
        except _REFUSALS as refused:
            status, message = _ANSWERS.get(type(refused), (400, str(refused)))
            given = answer(status, {"message": message})
        if logger:
            logger.info("order request answered", status=given["statusCode"])
        if metrics:
            metrics.add_metric(name=f"Answered{given['statusCode']}", unit="Count", value=1)
        return given

    return _observed(handler, logger, metrics, tracer)


def new_order(event: dict[str, Any], order_id: str) -> Order:
    """The order that this request asks for. Raises Invalid."""
    request = json.loads(event["body"])
    lines = request.get("items")
    if not isinstance(request.get("customerId"), str) or not isinstance(lines, list) or not 1 <= len(lines) <= 50:
        raise Invalid("An order has a customerId and 1 to 50 items")
    for line in lines:
        if not isinstance(line.get("productId"), str) or not isinstance(line.get("quantity"), int):
            raise Invalid("An item has a productId and a quantity")
        if line["quantity"] < 1:
            raise Invalid("A quantity is at least 1")
    return {
        "orderId": order_id,
        "customerId": request["customerId"],
        "status": "PENDING",
        "items": lines,
        "totalAmount": request["totalAmount"],
        "currency": request.get("currency", "USD"),
        "createdAt": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }


def write_order(dynamodb: "DynamoDBClient", event: dict[str, Any]) -> Order:
    """Store a new order."""
    order = new_order(event, str(uuid.uuid4()))
    # No condition: the id is fresh, and a put that botocore repeats must not meet itself.
    dynamodb.put_item(TableName=os.environ["ORDERS_TABLE"], Item=order_item(order))
    return order


def order_item(order: Order) -> dict[str, Any]:
    """As it is stored."""
    return {
        "orderId": {"S": order["orderId"]},
        "customerId": {"S": order["customerId"]},
        "status": {"S": order["status"]},
        "items": {"L": [{"M": _line(line)} for line in order["items"]]},
        "totalAmount": {"N": str(order["totalAmount"])},
        "currency": {"S": order["currency"]},
        "createdAt": {"S": order["createdAt"]},
    }


def _line(line: dict[str, Any]) -> dict[str, Any]:
    return {"productId": {"S": line["productId"]}, "quantity": {"N": str(line["quantity"])}}


def send_order(sqs: "SQSClient", order: Order) -> None:
    """Tell the consumer of an order."""
    sqs.send_message(QueueUrl=os.environ["ORDER_QUEUE"], MessageBody=json.dumps(order))


def answer(status: int, document: dict[str, Any]) -> dict[str, Any]:
    """As the proxy integration wants it."""
    headers = {"Content-Type": "application/json"}
    return {"statusCode": status, "headers": headers, "body": json.dumps(document)}


def _observed(handler: Handler, logger: "Logger | None", metrics: "Metrics | None", tracer: "Tracer | None") -> Handler:
    if tracer:
        handler = tracer.capture_lambda_handler(handler)
    if metrics:
        handler = metrics.log_metrics(handler)
    if logger:
        handler = logger.inject_lambda_context(handler)
    return handler


# --- the queue's consumer ---


def fulfilling_handler(
    dynamodb: "DynamoDBClient",
    payments: Payments,
    work: "Callable[[DynamoDBClient, Payments, Order], str] | None" = None,
) -> Handler:
    """The order queue's consumer; its event source mapping has ReportBatchItemFailures.

    `work` is done for an order in place of `take_charge_confirm`.
    """
    from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
    from aws_lambda_powertools.utilities.idempotency import idempotent_function

    processor = BatchProcessor(event_type=EventType.SQS)
    store = DynamoDBPersistenceLayer(table_name=os.environ["IDEMPOTENCY_TABLE"], boto3_client=dynamodb)
    config = IdempotencyConfig(event_key_jmespath="orderId")

    @idempotent_function(data_keyword_argument="order", config=config, persistence_store=store)  # type: ignore[untyped-decorator]
    def fulfil(order: Order) -> dict[str, str]:
        return {"status": (work or take_charge_confirm)(dynamodb, payments, order)}

    def record_handler(record: "SQSRecord") -> dict[str, str]:
        fulfilled: dict[str, str] = fulfil(order=json.loads(record.body))
        return fulfilled

    def handler(event: dict[str, Any], context: Any) -> Any:
        config.register_lambda_context(context)
        return process_partial_response(
            event=event, record_handler=record_handler, processor=processor, context=context
        )

    return handler


def take_charge_confirm(dynamodb: "DynamoDBClient", payments: Payments, order: Order) -> str:
    """Take the stock of an order, charge, and confirm it; its status then."""
    if not take_stock(dynamodb, order["items"]):
        return set_status(dynamodb, order, "FAILED")
    if not charge(payments, order):
        give_back_stock(dynamodb, order["items"])
        return set_status(dynamodb, order, "FAILED")
    return set_status(dynamodb, order, "CONFIRMED")


def charge(payments: Payments, order: Order) -> bool:
    """Whether it was paid. The order id is the payment's own idempotency key."""
    return payments.charge(order["orderId"], Decimal(str(order["totalAmount"])), order["currency"])


def take_stock(dynamodb: "DynamoDBClient", lines: list[dict[str, Any]]) -> bool:
    """Take the stock of all lines, or of none if one product has not enough; whether it was taken."""
    try:
        dynamodb.transact_write_items(
            TransactItems=[stock_update(line, -line["quantity"], "stock >= :least") for line in lines]
        )
    except dynamodb.exceptions.TransactionCanceledException as refused:
        reasons = [reason.get("Code") for reason in refused.response["CancellationReasons"]]
        if "ConditionalCheckFailed" not in reasons:
            raise  # a conflict, or throttled: the message comes again
        return False
    return True


def give_back_stock(dynamodb: "DynamoDBClient", lines: list[dict[str, Any]]) -> None:
    """Undo `take_stock`."""
    dynamodb.transact_write_items(
        TransactItems=[stock_update(line, line["quantity"], "attribute_exists(productId)") for line in lines]
    )


def stock_update(line: dict[str, Any], units: int, condition: str) -> Any:
    """A part of a transaction: so many units more (or fewer) of a line's product."""
    values = {":units": {"N": str(units)}} | ({":least": {"N": str(-units)}} if units < 0 else {})
    return {
        "Update": {
            "TableName": os.environ["INVENTORY_TABLE"],
            "Key": {"productId": {"S": line["productId"]}},
            "UpdateExpression": "SET stock = stock + :units",
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values,
        }
    }


def set_status(dynamodb: "DynamoDBClient", order: Order, status: str) -> str:
    """What became of an order."""
    dynamodb.update_item(
        TableName=os.environ["ORDERS_TABLE"],
        Key={"orderId": {"S": order["orderId"]}},
        UpdateExpression="SET #status = :status",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":status": {"S": status}},
    )
    return status
