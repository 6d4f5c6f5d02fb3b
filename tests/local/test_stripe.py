"""`make run PAYMENTS=stripe`: with the key that was given an order is paid, and its money given back."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.request import Request, urlopen

import pytest

from local.banner import METHOD
from local.settings import ROOT
from tests.support.laptop import Laptop, running_laptop
from tests.support.stripe_fake import SECRET_KEY, StripeFake
from tests.support.stripe_server import serving
from tests.support.waiting import until

ORDER = {"customerId": "CUST-42", "totalAmount": 59.98, "items": [{"productId": "PROD-001", "quantity": 2}]}


@pytest.fixture
def fake() -> StripeFake:
    made = StripeFake()
    made.add_method(method=METHOD)
    return made


@pytest.fixture
def laptop(fake: StripeFake) -> Iterator[Laptop]:
    with serving(fake) as url, running_laptop(PAYMENTS="stripe", STRIPE_URL=url) as one:
        yield one


def give(aws: str, key: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "local", "stripe-key"]
    environment = os.environ | {"AWS_PORT": aws.rpartition(":")[2]}
    return subprocess.run(
        command, input=key, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def ask(laptop: Laptop, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(laptop.api + path, data, {"Content-Type": "application/json"})) as answer:
        return json.loads(answer.read())


def test_an_order_is_paid_by_stripe_and_a_cancelled_one_gets_its_money_back(laptop: Laptop, fake: StripeFake) -> None:
    given = give(laptop.aws, f"{SECRET_KEY}\n")
    assert (given.returncode, given.stdout, given.stderr) == (0, "", "")
    assert f'"paymentMethod": "{METHOD}"' in laptop.banner
    path = f"/orders/{ask(laptop, '/orders', ORDER | {'paymentMethod': METHOD})['orderId']}"
    until(lambda: ask(laptop, path)["status"] == "CONFIRMED")
    (intent,) = fake.intents.values()
    assert (intent["status"], intent["amount"], intent["metadata"]["orderId"]) == ("succeeded", 5998, path[8:])
    ask(laptop, f"{path}/cancel", {})
    until(lambda: ask(laptop, path).get("refund") == "DONE")
    assert fake.money(intent["metadata"]["paymentKey"]) == Decimal(0)


@pytest.mark.parametrize("key", ["", "sk_live_planted", "planted"])
def test_what_is_not_a_test_key_is_not_kept_and_not_repeated(key: str) -> None:
    given = give("http://127.0.0.1:1", key)
    assert (given.returncode, given.stdout) == (1, "")
    assert given.stderr.startswith("Nothing was changed: what is there is ")
    assert "planted" not in given.stderr


def test_without_a_stack_the_command_says_so_in_one_sentence() -> None:
    given = give("http://127.0.0.1:1", SECRET_KEY)
    assert (given.returncode, given.stdout) == (1, "")
    assert given.stderr == "No stack answers on AWS_PORT 1: start one with make run PAYMENTS=stripe.\n"
