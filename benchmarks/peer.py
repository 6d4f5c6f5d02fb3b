"""The usual design, for timing: Powertools' `@idempotent` around write-then-send, as its documentation shows it."""

import json
import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function
from aws_lambda_powertools.utilities.idempotency import idempotent
from boto3.dynamodb.types import TypeSerializer

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


def placing_handler(
    dynamodb: Any, sqs: Any, *, logger: Any = None, metrics: Any = None, tracer: Any = None, use_local_cache: bool = False
) -> Handler:
    """A Lambda handler for POST /orders."""
    store = DynamoDBPersistenceLayer(table_name=os.environ["IDEMPOTENCY_TABLE"], boto3_client=dynamodb)
    config = IdempotencyConfig(
        event_key_jmespath='headers."Idempotency-Key"',
        raise_on_no_idempotency_key=True,
        expires_after_seconds=3600,
        use_local_cache=use_local_cache,
    )
    serialize = TypeSerializer().serialize
    table, queue = os.environ["ORDERS_TABLE"], os.environ["ORDER_QUEUE"]

    def place(event: dict[str, Any], context: Any) -> dict[str, Any]:
        body = json.loads(event["body"], parse_float=Decimal)
        order = {
            "orderId": str(uuid.uuid4()),
            "customerId": body["customerId"],
            "status": "PENDING",
            "items": body["items"],
            "totalAmount": body["totalAmount"],
            "currency": body.get("currency", "USD"),
            "createdAt": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        dynamodb.put_item(TableName=table, Item={name: serialize(value) for name, value in order.items()})
        text = json.dumps(order, default=float)
        sqs.send_message(QueueUrl=queue, MessageBody=text)
        if logger:
            logger.info("order placed", orderId=order["orderId"], customerId=order["customerId"])
        if metrics:
            metrics.add_metric(name="OrdersPlaced", unit="Count", value=1)
        return {"statusCode": 201, "headers": {"Content-Type": "application/json"}, "body": text}

    handler: Any = idempotent(config=config, persistence_store=store)(place)
    if metrics:
        handler = metrics.log_metrics(handler)
    if logger:
        handler = logger.inject_lambda_context(handler, correlation_id_path="requestContext.requestId")
    if tracer:
        handler = tracer.capture_lambda_handler(handler)
    made: Handler = handler
    return made
