"""What is measured: one order of three lines, as API Gateway hands it to a function, in a world where all succeeds."""

import json
import os
import time
import uuid
from typing import Any

from benchmarks.network import Network

Document = dict[str, Any]
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "STAGE": "bench",
    "LOG_FORMAT": "json",
    "LOG_LEVEL": "INFO",
    "AUTH": "iam",
    "CURRENCY": "USD",
    "ORDERS_TABLE": "bench-orders",
    "INVENTORY_TABLE": "bench-inventory",
    "IDEMPOTENCY_TABLE": "bench-idempotency",
    "PAYMENTS_TABLE": "bench-payments",
    "ORDER_QUEUE": "https://sqs.us-east-1.amazonaws.com/123456789012/bench-orders",
    "ORDER_DEAD_LETTERS": "https://sqs.us-east-1.amazonaws.com/123456789012/bench-dead-letters",
    "EVENT_BUS": "bench",
    "ALERTS_TOPIC": "arn:aws:sns:us-east-1:123456789012:bench",
    "POWERTOOLS_SERVICE_NAME": "bench",
    "POWERTOOLS_METRICS_NAMESPACE": "OrderOnce",
}
"""A deployed stage: queues by URL, logs as JSON, requests that the gateway has authorised."""

PRODUCTS = {"PROD-001": "29.99", "PROD-003": "49.99", "PROD-007": "5.00"}
LINES = [{"productId": product, "quantity": 2, "unitPrice": float(price)} for product, price in PRODUCTS.items()]
ORDER = {"customerId": "CUST-42", "items": LINES, "totalAmount": 169.96, "currency": "USD"}


class Context:
    """Lambda's context object."""

    function_name = "bench"
    function_version = "$LATEST"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:bench"
    aws_request_id = "5f1a7b9e-3c5d-4e6f-8a0b-1c2d3e4f5a6b"

    def get_remaining_time_in_millis(self) -> int:
        return 10_000


def request(key: str) -> Document:
    """POST /orders as API Gateway hands it to a function."""
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "Host": "abcdef1234.execute-api.us-east-1.amazonaws.com",
        "Idempotency-Key": key,
        "User-Agent": "shop/1.0",
        "X-Amzn-Trace-Id": "Root=1-5e6f8a0b-1c2d3e4f5a6b7c8d9e0f1a2b",
        "X-Forwarded-For": "192.0.2.1",
        "X-Forwarded-Port": "443",
        "X-Forwarded-Proto": "https",
    }
    return {
        "resource": "/orders",
        "path": "/orders",
        "httpMethod": "POST",
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "resourcePath": "/orders",
            "httpMethod": "POST",
            "path": "/bench/orders",
            "stage": "bench",
            "requestId": "5f1a7b9e-3c5d-4e6f-8a0b-1c2d3e4f5a6b",
            "identity": {"userArn": "arn:aws:sts::123456789012:assumed-role/shop/web"},
        },
        "body": json.dumps(ORDER),
        "isBase64Encoded": False,
    }


def everything_succeeds() -> Network:
    """A world in which every write succeeds."""
    network = Network()
    network.always("PutItem", {})
    network.always("UpdateItem", {})
    network.always("TransactWriteItems", {})
    network.always("SendMessage", {"MessageId": str(uuid.uuid4()), "MD5OfMessageBody": "0" * 32})
    rows = [{"productId": {"S": p}, "name": {"S": f"Product {p}"}, "price": {"N": n}} for p, n in PRODUCTS.items()]
    found = {ENVIRONMENT["INVENTORY_TABLE"]: rows}
    network.always("BatchGetItem", {"Responses": found, "UnprocessedKeys": {}})
    network.always("GetItem", {})
    network.always("Query", {"Count": 0, "Items": []})
    network.always("ReceiveMessage", {})
    depth = dict.fromkeys(("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"), "0")
    network.always("GetQueueAttributes", {"Attributes": depth})
    network.always("PutEvents", {"FailedEntryCount": 0, "Entries": [{"EventId": str(uuid.uuid4())}] * 10})
    return network


def fresh() -> Document:
    """A request with a key of its own."""
    return request(str(uuid.uuid4()))


def batch_of_ten(sent: list[Document]) -> Document:
    """The event of ten fresh messages: what the service itself sent."""
    attributes = {"ApproximateReceiveCount": "1", "SentTimestamp": str(int(time.time() * 1000))}
    records = [
        {
            "messageId": str(uuid.uuid4()),
            "receiptHandle": "receipt",
            "body": message["MessageBody"],
            "attributes": attributes,
            "messageAttributes": {
                name: {"stringValue": value["StringValue"], "dataType": "String"}
                for name, value in message["MessageAttributes"].items()
            },
        }
        for message in sent
    ]
    return {"Records": records}
