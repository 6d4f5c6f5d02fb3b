"""The clients: what they read of a refusal is what botocore reads, and they are made when they are needed."""

import json
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError

from chalicelib.adapters import clients
from tests.support.stage import Stage

ITEM = {
    "orderId": {"S": "o1"},
    "items": {"L": [{"M": {"quantity": {"N": "2"}, "given": {"BOOL": True}, "none": {"NULL": True}}}]},
    "reserved": {"M": {}},
}
REFUSED = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"
CANCELLED = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException"


class Body:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def stream(self) -> list[bytes]:
        return [self.content]


def refusal(client: Any, document: dict[str, Any], content: bytes | None = None, status: int = 400) -> dict[str, Any]:
    """What a call raises that is answered with this document."""
    content = content or json.dumps(document).encode()

    def answer(request: Any, **_: object) -> AWSResponse:
        return AWSResponse(request.url, status, {}, Body(content))  # type: ignore[arg-type]

    client.meta.events.register("before-send.dynamodb", answer)
    action: Any = {"Put": {"TableName": "orders", "Item": {}}}

    def call() -> None:
        if document.get("__type") == CANCELLED:
            client.transact_write_items(TransactItems=[action])
        else:
            client.put_item(TableName="orders", Item={})

    with pytest.raises(ClientError) as raised:
        call()
    found: dict[str, Any] = dict(raised.value.response)
    found["ResponseMetadata"] = {"HTTPStatusCode": found["ResponseMetadata"]["HTTPStatusCode"]}
    return found


@pytest.mark.parametrize(
    "document",
    [
        {"__type": REFUSED, "message": "The conditional request failed", "Item": ITEM},
        {"__type": REFUSED, "message": "The conditional request failed"},
        {"__type": REFUSED, "Item": ITEM | {"signature": {"B": "AAEC"}}},
        {"__type": REFUSED, "Item": ITEM | {"signatures": {"BS": ["AAEC"]}}},
        {"__type": CANCELLED, "Message": "cancelled", "CancellationReasons": [{"Code": "None"}]},
        {
            "__type": CANCELLED,
            "Message": "cancelled",
            "CancellationReasons": [
                {"Code": "ConditionalCheckFailed", "Item": ITEM, "Message": "failed"},
                {"Code": "TransactionConflict", "Message": "conflict"},
            ],
        },
        {"__type": "com.amazon.coral.validate#ValidationException", "message": '"Item" is wrong'},
    ],
)
def test_a_refusal_is_read_as_botocore_reads_it(document: dict[str, Any], aws: Stage) -> None:
    plain = boto3.client("dynamodb", config=clients.dynamodb().meta.config)
    try:
        assert refusal(clients.dynamodb(), document) == refusal(plain, document)
    finally:
        clients.forget()


@pytest.mark.parametrize("status", [400, 413])
@pytest.mark.parametrize("content", [b'<html>"Item"</html>', json.dumps({"Item": ITEM}).encode(), b'{"Item": null}'])
def test_what_is_not_dynamodbs_refusal_is_left_to_botocore(content: bytes, status: int, aws: Stage) -> None:
    plain = boto3.client("dynamodb", config=clients.dynamodb().meta.config)
    try:
        found = refusal(clients.dynamodb(), {}, content, status)
        assert found["Error"] == refusal(plain, {}, content, status)["Error"]
    finally:
        clients.forget()


def test_a_client_is_made_when_it_is_used_and_once(aws: Stage) -> None:
    made: list[str] = []

    def make() -> Any:
        made.append("once")
        return clients.events()

    late = clients.AtFirstUse(make)
    assert not made
    assert late.meta.service_model.service_name == "events"
    assert made
    assert clients.events() is clients.events()
    clients.forget()


def test_each_service_that_is_called_can_be(aws: Stage) -> None:
    made = (clients.dynamodb(), clients.sqs(), clients.events(), clients.sns())
    assert [client.meta.service_model.service_name for client in made] == ["dynamodb", "sqs", "events", "sns"]
    clients.forget()
    assert clients.dynamodb() is not made[0]
