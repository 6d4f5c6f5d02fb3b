"""Typed values pass botocore as they are: what is sent and what is read is what botocore alone would send and read."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.adapters import clients
from chalicelib.adapters.dynamodb.hooks import take_typed_values
from tests.support.stage import Stage

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
else:
    DynamoDBClient = Any

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


@pytest.fixture
def here(aws: Stage) -> Iterator[DynamoDBClient]:
    """The client as it is deployed, but for the network."""
    yield clients.dynamodb()
    clients.forget()


@pytest.fixture
def plain(here: DynamoDBClient) -> DynamoDBClient:
    """botocore's own, with the same settings."""
    return boto3.client("dynamodb", config=here.meta.config)


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
def test_a_refusal_is_read_as_botocore_reads_it(
    document: dict[str, Any], here: DynamoDBClient, plain: DynamoDBClient
) -> None:
    assert refusal(here, document) == refusal(plain, document)


@pytest.mark.parametrize("status", [400, 413])
@pytest.mark.parametrize("content", [b'<html>"Item"</html>', json.dumps({"Item": ITEM}).encode(), b'{"Item": null}'])
def test_what_is_not_dynamodbs_refusal_is_left_to_botocore(
    content: bytes, status: int, here: DynamoDBClient, plain: DynamoDBClient
) -> None:
    found = refusal(here, {}, content, status)
    assert found["Error"] == refusal(plain, {}, content, status)["Error"]


texts = st.text(max_size=5)
attributes = st.recursive(
    st.fixed_dictionaries({"S": texts})
    | st.fixed_dictionaries({"N": st.integers().map(str)})
    | st.fixed_dictionaries({"B": st.binary(max_size=3)})
    | st.sampled_from([{"BOOL": True}, {"NULL": True}, {"SS": ["a"]}, {"BS": [b"a"]}]),
    lambda inner: (
        st.fixed_dictionaries({"L": st.lists(inner, max_size=3)})
        | st.fixed_dictionaries({"M": st.dictionaries(texts, inner, max_size=3)})
    ),
    max_leaves=6,
)
items = st.dictionaries(texts, attributes, max_size=4)
values = st.builds(lambda items: {"ConditionExpression": "a = :a", "ExpressionAttributeValues": items}, items)
conditions: st.SearchStrategy[dict[str, Any]] = st.just({}) | values
puts = st.builds(lambda item, condition: {"TableName": "orders", "Item": item} | condition, items, conditions)
gets = st.builds(lambda key: {"TableName": "orders", "Key": key, "ConsistentRead": True}, items)
updates = st.builds(lambda key: {"TableName": "orders", "Key": key, "UpdateExpression": "REMOVE a"}, items)
actions = st.lists(st.builds(lambda put: {"Put": put}, puts) | st.builds(lambda one: {"Update": one}, updates))
calls = (
    st.tuples(st.just("put_item"), puts)
    | st.tuples(st.just("get_item"), gets)
    | st.tuples(st.just("transact_write_items"), st.builds(lambda some: {"TransactItems": some}, actions))
)


def test_a_call_sends_what_botocore_alone_would_send() -> None:
    config = Config(parameter_validation=False)
    here, plain = boto3.client("dynamodb", config=config), boto3.client("dynamodb", config=config)
    take_typed_values(here, validates=False)
    sent: list[tuple[bytes, dict[str, Any]]] = []

    def answer(request: Any, **_: object) -> AWSResponse:
        assert int(request.headers["Content-Length"]) == len(request.body)
        sent.append((request.headers["X-Amz-Target"], json.loads(request.body)))
        return AWSResponse(request.url, 200, {}, Body(b"{}"))  # type: ignore[arg-type]

    for client in (here, plain):
        client.meta.events.register("before-send.dynamodb", answer)  # type: ignore[arg-type]

    @given(calls)
    def same(call: tuple[str, dict[str, Any]]) -> None:
        name, parameters = call
        before = repr(parameters)
        sent.clear()
        for client in (here, plain):
            getattr(client, name)(**parameters)
        ours, theirs = sent
        if name == "transact_write_items":
            assert ours[1].pop("ClientRequestToken") != theirs[1].pop("ClientRequestToken")
        assert ours == theirs
        assert repr(parameters) == before

    same()


@pytest.mark.parametrize("item", [{"orderId": "o1"}, {"orderId": {"S": 1}}, {1: {"S": "x"}}, [], None])
def test_a_wrong_item_is_found_before_it_is_sent_where_parameters_are_validated(
    item: Any, here: DynamoDBClient, aws: Stage
) -> None:
    for call in (
        lambda: here.put_item(TableName="orders", Item=item),
        lambda: here.transact_write_items(TransactItems=[{"Put": {"TableName": "orders", "Item": item}}]),
    ):
        with pytest.raises(ParamValidationError, match="Invalid type for parameter"):
            call()
    with pytest.raises(ParamValidationError, match="Missing required parameter"):
        here.put_item(Item={"orderId": {"S": "o1"}})  # type: ignore[call-arg]


NEW = {"a": {"NEW": "a type that botocore does not know"}}


def answered(status: int, document: dict[str, Any], taken: bool) -> tuple[DynamoDBClient, list[Any]]:
    """A client whose calls are answered so, and what it sends; with typed values `taken` as they are, or not."""
    client: Any = boto3.client("dynamodb", config=Config(parameter_validation=False))
    sent: list[Any] = []
    if taken:
        take_typed_values(client, validates=False)

    def answer(request: Any, **_: object) -> AWSResponse:
        sent.append(json.loads(request.body))
        return AWSResponse(request.url, status, {}, Body(json.dumps(document).encode()))  # type: ignore[arg-type]

    client.meta.events.register("before-send.dynamodb", answer)
    return client, sent


def test_what_is_written_is_not_read_by_botocore() -> None:
    item: Any = NEW
    client, sent = answered(200, {}, taken=True)
    client.put_item(TableName="orders", Item=item)
    assert sent == [{"TableName": "orders", "Item": NEW}]
    alone, _ = answered(200, {}, taken=False)
    with pytest.raises(KeyError, match="NEW"):
        alone.put_item(TableName="orders", Item=item)


def test_what_comes_back_with_a_refusal_is_not_read_by_botocore() -> None:
    client, _ = answered(400, {"__type": REFUSED, "Item": NEW}, taken=True)
    with pytest.raises(ClientError) as refused:
        client.put_item(TableName="orders", Item={})
    assert dict(refused.value.response)["Item"] == NEW
    reasons = [{"Code": "ConditionalCheckFailed", "Item": NEW}]
    client, _ = answered(400, {"__type": CANCELLED, "CancellationReasons": reasons}, taken=True)
    with pytest.raises(ClientError) as refused:
        client.transact_write_items(TransactItems=[])
    assert dict(refused.value.response)["CancellationReasons"] == reasons


def test_what_is_read_otherwise_is_left_to_botocore() -> None:
    found = [answered(200, {"Item": NEW}, taken)[0].get_item(TableName="orders", Key={}) for taken in (True, False)]
    assert found[0]["Item"] == found[1]["Item"] != NEW
