"""DATA: what was answered is there after a SIGKILL; what cannot be read is refused, and left alone."""

import http.client
import json
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest

from local.data import APPLICATION_ID, FILE, VERSION, Data
from local.faults import StartError
from tests.support.laptop import Laptop, running_laptop
from tests.support.waiting import until

PRODUCT, PRICE = "PROD-001", 29.99
ORDERS, ANSWERED_BEFORE = 30, 10


# --- the file ---


def test_what_was_saved_is_there_for_the_next_stack(tmp_path: Path) -> None:
    with Data.opened(tmp_path / "new" / "folder") as data:
        data.save([("sqs", "queue", "1", "one"), ("sqs", "queue", "2", "two"), ("dynamodb", "table", "1", "row")])
        data.save([("sqs", "queue", "1", None), ("sqs", "queue", "2", "changed")])
    with Data.opened(tmp_path / "new" / "folder") as data:
        assert data.load("sqs", "queue") == ["changed"]
        assert data.load("dynamodb", "table") == ["row"]
        assert data.names() == {("sqs", "queue"), ("dynamodb", "table")}


def test_changes_are_saved_together_or_not_at_all(tmp_path: Path) -> None:
    bad: Any = object()
    with Data.opened(tmp_path) as data:
        with pytest.raises(sqlite3.Error):
            data.save([("sqs", "queue", "1", "one"), ("sqs", "queue", "2", bad)])
        assert data.load("sqs", "queue") == []


def filled(folder: Path) -> Path:
    with Data.opened(folder) as data:
        data.save(("dynamodb", "table", str(number), "x" * 500) for number in range(100))
    return folder / FILE


def changed(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "another version": (lambda path: changed(path, f"PRAGMA user_version = {VERSION + 1}"), "version 2"),
    "of another program": (lambda path: changed(path, "PRAGMA application_id = 7"), "not data of OrderOnce"),
    "not a database": (lambda path: path.write_bytes(b"Dear diary, today " * 100), "not a database"),
    "cut off": (lambda path: os.truncate(path, path.stat().st_size // 2), "malformed|damaged"),
    "overwritten in the middle": (
        lambda path: path.write_bytes(path.read_bytes()[:5000] + b"\xff" * 9000 + path.read_bytes()[14000:]),
        "malformed|damaged",
    ),
    "empty beside its log": (
        lambda path: (path.with_name(path.name + "-wal").write_bytes(b"log"), path.write_bytes(b"")),
        "damaged",
    ),
}


@pytest.mark.parametrize("how", SPOILED)
def test_data_that_cannot_be_read_is_refused_in_one_sentence_and_left_alone(tmp_path: Path, how: str) -> None:
    path = filled(tmp_path)
    spoil, reason = SPOILED[how]
    spoil(path)
    before = path.read_bytes()
    sentence = rf"^DATA cannot be used, .*{FILE}: .*({reason}).*Nothing in it was changed\.$"
    with pytest.raises(StartError, match=sentence), Data.opened(tmp_path):
        pass
    assert path.read_bytes() == before


def test_data_that_another_stack_uses_is_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    with Data.opened(tmp_path), pytest.raises(StartError, match="another stack is using it"), Data.opened(tmp_path):
        pass


@pytest.mark.parametrize("folder", ["file", "file/below", "/proc/nowhere", "n" * 300])
def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match=r"^DATA cannot be used, "), Data.opened(tmp_path / folder):
        pass


def test_a_file_that_was_just_begun_is_new(tmp_path: Path) -> None:
    """A stack that was killed at its first start."""
    (tmp_path / FILE).touch()
    with Data.opened(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


# --- the stack ---


def ask(laptop: Laptop, path: str, body: dict[str, Any] | None = None, key: str = "") -> tuple[int, Any]:
    with closing(http.client.HTTPConnection(laptop.api.removeprefix("http://"), timeout=20)) as connection:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key} if body else {}
        connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def order(number: int) -> dict[str, Any]:
    items = [{"productId": PRODUCT, "quantity": 1}]
    return {"customerId": f"CUST-{number}", "items": items, "totalAmount": PRICE}


def created(laptop: Laptop, number: int) -> dict[str, Any] | None:
    """The order, unless the laptop was too slow: a client repeats such a request."""
    status, body = ask(laptop, "/orders", order(number), f"key-{number}")
    assert status in (201, 503), body
    return body if status == 201 else None


def stock(laptop: Laptop) -> int:
    with closing(boto3.Session().client("dynamodb", endpoint_url=laptop.aws)) as dynamodb:
        key = {"productId": {"S": PRODUCT}}
        return int(dynamodb.get_item(TableName="orderonce-local-inventory", Key=key)["Item"]["stock"]["N"])


def dead_letters(laptop: Laptop) -> str:
    with closing(boto3.Session().client("sqs", endpoint_url=laptop.aws)) as sqs:
        url = sqs.get_queue_url(QueueName="orderonce-local-orders-dead-letters")["QueueUrl"]
        answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        return answer["Attributes"]["ApproximateNumberOfMessages"]


def send_poison(laptop: Laptop) -> None:
    with closing(boto3.Session().client("sqs", endpoint_url=laptop.aws)) as sqs:
        url = sqs.get_queue_url(QueueName="orderonce-local-orders")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="not JSON")


def test_every_order_that_was_answered_201_is_there_after_the_stack_was_killed_and_ends(tmp_path: Path) -> None:
    """Both at the same time: what the killed stack had taken from its queue stays hidden for a minute."""
    ways = [signal.SIGKILL, signal.SIGTERM]
    with ThreadPoolExecutor(len(ways)) as threads:
        list(threads.map(lambda how: check_that_all_is_there_after(how, tmp_path / how.name), ways))


def check_that_all_is_there_after(how: signal.Signals, folder: Path) -> None:
    answered: dict[str, int] = {}

    def place(laptop: Laptop, number: int) -> None:
        try:
            status, body = ask(laptop, "/orders", order(number), f"key-{number}")
        except (OSError, http.client.HTTPException):
            return  # killed: nobody knows
        if status == 201:
            answered[body["orderId"]] = number
        if len(answered) == ANSWERED_BEFORE:
            laptop.process.send_signal(how)  # while others are being placed and fulfilled

    with running_laptop(DATA=str(folder), LOG_LEVEL="ERROR") as laptop:
        before = stock(laptop)
        send_poison(laptop)
        until(lambda: dead_letters(laptop) == "1", seconds=60)
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda number: place(laptop, number), range(ORDERS)))
    assert len(answered) >= ANSWERED_BEFORE
    assert how == signal.SIGTERM or len(answered) < ORDERS

    with running_laptop(DATA=str(folder), LOG_LEVEL="ERROR") as laptop:
        assert dead_letters(laptop) == "1"
        # The same key still names the same order; those that were never answered are placed now.
        for number in range(ORDERS):
            body = until(partial(created, laptop, number), seconds=60)
            assert answered.setdefault(body["orderId"], number) == number
        assert len(answered) == ORDERS

        def ended() -> bool:
            statuses = Counter(ask(laptop, f"/orders/{order_id}")[1]["status"] for order_id in answered)
            return statuses == {"CONFIRMED": ORDERS}

        until(ended, seconds=120)
        assert stock(laptop) == before - ORDERS
        assert dead_letters(laptop) == "1"


def test_data_that_does_not_fit_the_tables_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with Data.opened(tmp_path) as data:
        data.save([("dynamodb", "orderonce-local-orders", "1", '{"id": {"S": "of another release"}}')])
    before = (tmp_path / FILE).read_bytes()
    refused = pytest.raises(AssertionError, match=r"DATA cannot be used.* does not fit this release")
    with refused, running_laptop(DATA=str(tmp_path)):
        pass
    assert (tmp_path / FILE).read_bytes() == before
