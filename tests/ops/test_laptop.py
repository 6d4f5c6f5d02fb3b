"""Each command as a person runs it: a process of its own, against the running laptop stack."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from tests.support.laptop import Laptop, running_laptop
from tests.support.snippets import snippet
from tests.support.template import ROOT
from tests.support.waiting import until

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

QUEUE = "orderonce-local-orders"
Ops = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def laptop() -> Iterator[Laptop]:
    with running_laptop() as laptop:
        yield laptop


def run(aws: str, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    command, environment = [sys.executable, "-m", "ops", *words], os.environ | {"AWS_PORT": aws.rpartition(":")[2]}
    return subprocess.run(
        command, cwd=ROOT, env=environment, input=typed, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.fixture
def ops(laptop: Laptop) -> Ops:
    return partial(run, laptop.aws, "--stage", "local")


def does(ops: Ops, *words: str, typed: str = "") -> str:
    """The output of a command that succeeds."""
    result = ops(*words, typed=typed)
    assert result.returncode == 0, result.stderr
    return result.stdout


def placed(laptop: Laptop, key: str) -> str:
    body = {"customerId": "CUST-9", "items": [{"productId": "PROD-001", "quantity": 2}], "totalAmount": 59.98}
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    request = urllib.request.Request(f"{laptop.api}/orders", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(json.load(answer)["orderId"])


def get(laptop: Laptop, order_id: str) -> Any:
    with urllib.request.urlopen(f"{laptop.api}/orders/{order_id}", timeout=10) as answer:
        return json.load(answer)


@pytest.fixture
def sqs(laptop: Laptop) -> Iterator["SQSClient"]:
    client = boto3.client("sqs", endpoint_url=laptop.aws)
    yield client
    client.close()


def dead(sqs: "SQSClient") -> bool:
    """Whether there are dead letters."""
    url = sqs.get_queue_url(QueueName=f"{QUEUE}-dead-letters")["QueueUrl"]
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    return answer["Attributes"]["ApproximateNumberOfMessages"] != "0"


def test_an_order_is_shown_listed_explained_and_cancelled(laptop: Laptop, ops: Ops) -> None:
    order_id = placed(laptop, "ops-1")
    until(lambda: get(laptop, order_id)["status"] == "CONFIRMED")
    assert order_id in does(ops, "orders", "show", order_id)
    assert order_id in does(ops, "orders", "list", "CUST-9")
    assert order_id in does(ops, "keys", "explain", "CUST-9", "ops-1")
    assert does(ops, "orders", "stuck", "--json") == "[]\n"
    result = ops("orders", "cancel", order_id, "--reason", "by hand")
    assert (result.returncode, json.loads(result.stderr)["ids"]) == (0, [order_id])
    until(lambda: get(laptop, order_id)["refund"] == "DONE")


def test_dead_letters_are_listed_shown_replayed_exported_and_purged(sqs: "SQSClient", ops: Ops, tmp_path: Path) -> None:
    url = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody='{"orderId": "ops-2", "quantity": "many"}')
    until(lambda: dead(sqs))
    (letter,) = json.loads(does(ops, "dead-letters", "list", "--json"))
    assert letter["orderId"] == "ops-2"
    assert '"quantity": "many"' in does(ops, "dead-letters", "show", letter["messageId"])
    assert "Nothing was sent" in does(ops, "dead-letters", "replay")
    assert "1 message replayed" in does(ops, "dead-letters", "replay", "--yes", letter["messageId"])
    # It still cannot be handled, so it comes back, with a new id.
    until(lambda: dead(sqs))
    does(ops, "dead-letters", "export", str(tmp_path / "export.jsonl"))
    again = json.loads((tmp_path / "export.jsonl").read_text("utf-8"))
    assert (again["orderId"], again["messageId"] != letter["messageId"]) == ("ops-2", True)
    purge = ("dead-letters", "purge", "--to", str(tmp_path / "purged.jsonl"))
    assert ops(*purge, typed="no\n").returncode == 1
    assert "1 message deleted" in does(ops, *purge, typed=f"{QUEUE}-dead-letters\n")
    assert not dead(sqs)


def test_the_catalogue_is_listed_loaded_and_restocked(ops: Ops) -> None:
    assert "Wireless Mouse" in does(ops, "catalogue", "list")
    answer = does(ops, "catalogue", "load", "local/catalogue.json")
    assert answer == "11 products loaded: 0 new, 11 known (their stock is unchanged).\n"
    assert does(ops, "catalogue", "restock", "PROD-002", "+5") == "5 units added to the stock of PROD-002.\n"
    assert ops("catalogue", "restock", "NOPE", "+5").returncode == 1


def test_the_stage_is_as_it_should_be_and_as_the_page_shows_it(ops: Ops) -> None:
    answer = does(ops, "stage", "check", "local")
    assert f"$ ops stage check local\n{answer}" == snippet("docs/operating.md", "$ ops stage check local").text


def test_an_aws_that_is_down_is_one_sentence() -> None:
    result = run("http://127.0.0.1:1", "orders", "stuck")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "Could not connect" in result.stderr
