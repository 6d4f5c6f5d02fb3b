"""The embedded AWS keeps DynamoDB's and SQS's promises under threads."""

import http.client
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from moto.dynamodb.models.dynamo_type import Item
from moto.dynamodb.models.table import Table
from moto.sqs.models import Message

from local.aws import EmbeddedAws
from tests.local.conftest import Clients

TABLE = "rows"


@pytest.fixture
def dynamodb(clients: Clients) -> Any:
    client = clients("dynamodb")
    client.create_table(
        TableName=TABLE,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return client


def pause_in(patch: pytest.MonkeyPatch, owner: type, method: str) -> None:
    """Pause in a method of moto's for other threads, so that a race does not need luck."""
    original = getattr(owner, method)

    def paused(*given: Any, **more: Any) -> Any:
        time.sleep(0.001)
        result = original(*given, **more)
        time.sleep(0.001)
        return result

    patch.setattr(owner, method, paused)


def put(dynamodb: Any, row: str, stock: int) -> None:
    dynamodb.put_item(TableName=TABLE, Item={"id": {"S": row}, "stock": {"N": str(stock)}})


def take(row: str, units: int) -> dict[str, Any]:
    return {
        "Update": {
            "TableName": TABLE,
            "Key": {"id": {"S": row}},
            "UpdateExpression": "SET stock = stock - :units",
            "ConditionExpression": "stock >= :units",
            "ExpressionAttributeValues": {":units": {"N": str(units)}},
        }
    }


def create(row: str) -> dict[str, Any]:
    item = {"id": {"S": row}, "stock": {"N": "1"}}
    return {"Put": {"TableName": TABLE, "Item": item, "ConditionExpression": "attribute_not_exists(id)"}}


def stored(dynamodb: Any) -> dict[str, str]:
    return {item["id"]["S"]: item["stock"]["N"] for item in dynamodb.scan(TableName=TABLE)["Items"]}


@pytest.fixture
def sqs(clients: Clients) -> Any:
    return clients("sqs")


@pytest.fixture
def queue(sqs: Any) -> str:
    """The address of an empty queue."""
    return str(sqs.create_queue(QueueName="queue")["QueueUrl"])


def test_a_refused_transaction_leaves_everything_as_it_was(dynamodb: Any) -> None:
    for row in ("first", "gone", "short"):
        put(dynamodb, row, 5)
    delete = {"Delete": {"TableName": TABLE, "Key": {"id": {"S": "gone"}}}}
    before = stored(dynamodb)

    with pytest.raises(dynamodb.exceptions.TransactionCanceledException) as refused:
        dynamodb.transact_write_items(TransactItems=[take("first", 1), create("new"), delete, take("short", 6)])

    reasons = [reason["Code"] for reason in refused.value.response["CancellationReasons"]]
    assert reasons == ["None", "None", "None", "ConditionalCheckFailed"]
    assert stored(dynamodb) == before


def test_a_row_named_twice_leaves_everything_as_it_was(dynamodb: Any) -> None:
    put(dynamodb, "first", 5)
    with pytest.raises(dynamodb.exceptions.ClientError):
        dynamodb.transact_write_items(TransactItems=[take("first", 1), take("first", 1)])
    assert stored(dynamodb) == {"first": "5"}


def test_an_accepted_transaction_does_all_that_it_says(dynamodb: Any) -> None:
    put(dynamodb, "first", 5)
    dynamodb.transact_write_items(TransactItems=[take("first", 2), create("new")])
    assert stored(dynamodb) == {"first": "3", "new": "1"}


@pytest.mark.parametrize("rows", [3, 300])
def test_a_transaction_costs_the_same_however_large_the_table(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    for number in range(rows):
        put(dynamodb, f"row-{number}", 5)
    copied: list[Item] = []
    copy_item = Item.__deepcopy__

    def counted(item: Item, memo: dict[int, Any]) -> Item:
        copied.append(item)
        return copy_item(item, memo)

    monkeypatch.setattr(Item, "__deepcopy__", counted)
    dynamodb.transact_write_items(TransactItems=[take("row-0", 1), take("row-1", 1)])
    # One copy to restore, and one that moto makes to report what the update changed.
    assert len(copied) == 2 * 2


def test_transactions_under_threads_do_not_oversell(dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(dynamodb, "hot", 30)
    pause_in(monkeypatch, Table, "get_item")

    def buy(number: int) -> bool:
        try:
            dynamodb.transact_write_items(TransactItems=[take("hot", 1), create(f"order-{number}")])
        except dynamodb.exceptions.TransactionCanceledException:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        sold = sum(threads.map(buy, range(48)))

    left = stored(dynamodb)
    assert sold == 30
    assert left.pop("hot") == "0"
    assert len(left) == 30


def test_a_long_poll_does_not_block_a_write(dynamodb: Any, sqs: Any, queue: str) -> None:
    poll = threading.Thread(target=sqs.receive_message, kwargs={"QueueUrl": queue, "WaitTimeSeconds": 2})
    poll.start()
    time.sleep(0.1)
    put(dynamodb, "row", 1)
    sqs.send_message(QueueUrl=sqs.create_queue(QueueName="other")["QueueUrl"], MessageBody="sent")
    assert poll.is_alive()
    sqs.send_message(QueueUrl=queue, MessageBody="the end")
    poll.join()


def test_a_long_poll_is_answered_as_soon_as_a_message_comes(sqs: Any, queue: str) -> None:
    with ThreadPoolExecutor(1) as threads:
        poll = threads.submit(sqs.receive_message, QueueUrl=queue, WaitTimeSeconds=20)
        sqs.send_message(QueueUrl=queue, MessageBody="sent")
        assert [message["Body"] for message in poll.result(5)["Messages"]] == ["sent"]


def test_no_message_is_received_twice_under_threads(sqs: Any, queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pause_in(monkeypatch, Message, "mark_received")
    received: list[str] = []

    def send(number: int) -> None:
        sqs.send_message(QueueUrl=queue, MessageBody=str(number))

    def drain(_: int) -> None:
        polling = {"QueueUrl": queue, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1}
        while messages := sqs.receive_message(**polling).get("Messages"):
            received.extend(message["Body"] for message in messages)
            for message in messages:
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])

    with ThreadPoolExecutor(6) as threads:
        drains = [threads.submit(drain, n) for n in range(2)]
        list(threads.map(send, range(40)))
        for one in drains:
            one.result()
    drain(0)

    assert sorted(received, key=int) == [str(number) for number in range(40)]


def test_a_message_that_is_sent_while_others_are_deleted_is_kept(
    sqs: Any, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause_in(monkeypatch, Message, "had_receipt_handle")

    def send(_: int) -> None:
        sqs.send_message(QueueUrl=queue, MessageBody="sent")

    def delete(message: dict[str, Any]) -> None:
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])

    for number in range(5):
        send(number)
    received = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    with ThreadPoolExecutor(6) as threads:
        deleted = threads.map(delete, received)
        list(threads.map(send, range(20)))
        list(deleted)

    left = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessages"])
    assert left["Attributes"]["ApproximateNumberOfMessages"] == "20"


def test_a_connection_serves_one_request_after_another(embedded_aws: EmbeddedAws) -> None:
    with closing(http.client.HTTPConnection(embedded_aws.url.removeprefix("http://"), timeout=5)) as connection:
        connection.connect()
        first = connection.sock
        for target in ("Nobody.ReadsThis", "DynamoDB_20120810.ListTables", "Nobody.ReadsThis"):
            connection.request("POST", "/", '{"some": "body"}', {"X-Amz-Target": target})
            connection.getresponse().read()
            assert connection.sock is first


@pytest.mark.parametrize("method", ["OPTIONS", "POST"])
@pytest.mark.parametrize("mark", [{"Origin": "https://shop.example"}, {"Sec-Fetch-Site": "cross-site"}], ids=str)
def test_no_web_page_can_call_it(embedded_aws: EmbeddedAws, method: str, mark: dict[str, str]) -> None:
    """A page that a browser shows could make operators' tokens, or change what DATA keeps."""
    headers = {"X-Amz-Target": "DynamoDB_20120810.ListTables", **mark}
    with closing(http.client.HTTPConnection(embedded_aws.url.removeprefix("http://"), timeout=30)) as connection:
        connection.request(method, "/", b"{}", headers)
        answer = connection.getresponse()
        answer.read()
    assert (answer.status, answer.getheader("Access-Control-Allow-Origin")) == (403, None)


def test_no_request_lists_a_directory(dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(dynamodb, "first", 1)
    monkeypatch.setattr(os, "listdir", None)
    put(dynamodb, "second", 1)


def test_an_event_after_the_first_parses_no_path(
    clients: Clients, outputs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"Source": "orderonce", "DetailType": "Tested", "Detail": "{}", "EventBusName": os.environ["EVENT_BUS"]}
    for _ in range(2):
        assert clients("events").put_events(Entries=[entry])["FailedEntryCount"] == 0
        monkeypatch.setattr("jsonpath_ng.ext.parser.ExtendedJsonPathParser.parse", None)
    assert len(clients("logs").filter_log_events(logGroupName="/aws/events/orderonce-local")["events"]) == 2


def test_each_start_is_empty(clients: Clients) -> None:
    assert clients("dynamodb").list_tables()["TableNames"] == []
    assert "QueueUrls" not in clients("sqs").list_queues()
