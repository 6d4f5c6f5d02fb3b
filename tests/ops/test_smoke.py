"""`stage smoke` is green on a service that works, and red on one that breaks any promise it looks at."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.credentials import Credentials
from click.testing import CliRunner

from chalicelib import exact_json
from ops.audit import Record
from ops.cli import ops
from ops.smoke import CUSTOMER, Answer, Api, Broken, HttpApi, steps
from tests.support.laptop import Laptop, running_laptop
from tests.support.orders import ANYBODY
from tests.support.shop import Shop
from tests.support.signed_gateway import REGION, TEMPORARY, signed_gateway
from tests.support.snippets import snippet
from tests.support.tables import stock_in
from tests.support.template import ROOT

PAGE = snippet("docs/operating.md", "$ ops stage smoke local")
GREEN = [
    "the API answers",
    "order {} is placed",
    "the same request is answered with the same order",
    "it is CONFIRMED",
    "it is cancelled and refunded, once",
    "a message that is not JSON is kept with its reason, and was deleted",
]
Spoil = Callable[[Answer], Answer]


class Client:
    """The API of a shop; `spoil` may change what it answers, by the number of the request."""

    def __init__(self, shop: Shop, spoil: Callable[[int, str, str, Answer], Answer] = lambda *given: given[-1]) -> None:
        self.shop, self.spoil, self.asked = shop, spoil, 0

    def __call__(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        reply = self.shop.ask(method, path, body, headers)
        self.asked += 1
        return self.spoil(self.asked, method, path, Answer(reply.status, reply.headers, reply.body))


def smoke(shop: Shop, api: Api, pause: Callable[[], object] | None = None) -> list[str]:
    """What was shown; meanwhile the queue is worked on."""
    record = Record(ANYBODY)
    shown = steps(shop.service, api, record, pause or shop.run_queue, 3)
    return [line.replace(record.ids[-1], "{}") if record.ids else line for line in shown]


def letters(shop: Shop) -> int:
    depth = shop.service.dead_letters.queue.depth()
    return depth.waiting + depth.in_flight


def test_a_service_that_works_is_green_and_keeps_nothing_of_it(shop: Shop) -> None:
    before = stock_in(shop.stage)
    shop.service.dead_letters.queue.send("somebody else's", {})
    assert smoke(shop, Client(shop)) == GREEN
    (order,) = shop.stage.items("ORDERS_TABLE")
    assert (order["customerId"], order["status"], order["refund"]) == (CUSTOMER, "CANCELLED", "DONE")
    assert stock_in(shop.stage) == before
    assert letters(shop) == 1


SPOILED: dict[str, Spoil] = {
    "fails": lambda answer: replace(answer, status=500),
    "is cut off": lambda answer: replace(answer, body=answer.body[:-1]),
    "is empty": lambda answer: replace(answer, body=b"{}"),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_it_is_red_whichever_answer_is_spoiled(shop: Shop, spoil: Spoil) -> None:
    good = Client(shop)
    smoke(shop, good)
    for number in range(1, good.asked + 1):

        def one(asked: int, _: str, __: str, answer: Answer, number: int = number) -> Answer:
            return spoil(answer) if asked == number else answer

        spoiled = Client(shop, one)
        with pytest.raises(Broken):
            smoke(shop, spoiled)
        assert spoiled.asked >= number


def changed(answer: Answer, **members: Any) -> Answer:
    return replace(answer, body=exact_json.dumps(exact_json.loads(answer.body) | members).encode())


BROKEN: dict[str, Callable[[int, str, str, Answer], Answer]] = {
    "The same request with the key": lambda _, m, p, a: replace(a, headers={}) if (m, p) == ("POST", "/orders") else a,
    "is not decided": lambda _, m, p, a: changed(a, status="RESERVED") if (m, p[:8]) == ("GET", "/orders/") else a,
    "is FAILED: OUT_OF_STOCK": lambda _, m, p, a: (
        changed(a, status="FAILED", failureReason="OUT_OF_STOCK") if (m, p[:8]) == ("GET", "/orders/") else a
    ),
    "was cancelled, and is CONFIRMED": lambda _, m, p, a: (
        replace(a, body=a.body.replace(b'"CANCELLED"', b'"CONFIRMED"')) if m == "GET" else a
    ),
    "is not refunded": lambda _, m, p, a: changed(a, refund="PENDING") if (m, p[:8]) == ("GET", "/orders/") else a,
    "The catalogue is empty": lambda _, m, p, a: changed(a, products=[]) if p == "/products" else a,
    "Instead of order": lambda _, m, p, a: changed(a, orderId="other") if (m, p[:8]) == ("GET", "/orders/") else a,
}


@pytest.mark.parametrize("sentence", BROKEN)
def test_it_says_what_is_broken(shop: Shop, sentence: str) -> None:
    with pytest.raises(Broken, match=sentence):
        smoke(shop, Client(shop, BROKEN[sentence]))


def test_a_message_that_is_lost_is_red(shop: Shop) -> None:
    def work_and_lose() -> None:
        shop.run_queue()
        for letter in shop.stage.receive_all("ORDER_DEAD_LETTERS"):
            shop.stage.delete("ORDER_DEAD_LETTERS", letter)

    with pytest.raises(Broken, match="is not among the dead letters"):
        smoke(shop, Client(shop), work_and_lose)


def test_a_declined_payment_is_a_decision_and_another_order_is_tried(shop: Shop) -> None:
    shop.provider.decline_percent = 100

    def work() -> None:
        shop.run_queue()
        shop.provider.decline_percent = 0

    shown = smoke(shop, Client(shop), work)
    assert (shown[3], shown[6:]) == ("it is FAILED", GREEN[3:])
    assert sorted(shop.statuses().items()) == [("CANCELLED", 1), ("FAILED", 1)]

    shop.provider.decline_percent = 100
    with pytest.raises(Broken, match="The payments of 5 orders were declined"):
        smoke(shop, Client(shop))


def test_a_consumer_that_does_not_run_is_red(shop: Shop) -> None:
    with pytest.raises(Broken, match="is not decided"):
        smoke(shop, Client(shop), lambda: None)


@pytest.fixture(scope="module")
def laptop() -> Iterator[Laptop]:
    with running_laptop() as laptop:
        yield laptop


def command(laptop: Laptop, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"AWS_PORT": laptop.aws.rpartition(":")[2]}
    run = [sys.executable, "-m", "ops", "stage", "smoke", "local", *words]
    return subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_laptop_stack_is_green_and_an_api_that_is_away_is_red(laptop: Laptop) -> None:
    done = command(laptop, "--api", f"{laptop.api}/")
    assert done.returncode == 0, done.stderr
    shown = [line.removeprefix("ok  ") for line in done.stdout.splitlines()]
    assert (shown[0], shown[2:]) == (GREEN[0], GREEN[2:])
    page = [line.removeprefix("ok  ") for line in PAGE.text.splitlines()[1:]]
    assert (page[0], page[2:]) == (GREEN[0], GREEN[2:])
    assert '"audit": "stage smoke"' in done.stderr
    away = command(laptop, "--api", "http://127.0.0.1:1")
    assert (away.returncode, away.stdout) == (1, "")
    assert "GET /health: http://127.0.0.1:1 does not answer" in away.stderr


def test_requests_are_signed_where_the_stage_requires_it(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    signed_by: Credentials = TEMPORARY
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", signed_by.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", signed_by.secret_key)
    monkeypatch.setenv("AWS_SESSION_TOKEN", str(signed_by.token))
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    body, headers = b'{"reason": "smoke test"}', {"Content-Type": "application/json"}
    with signed_gateway(laptop.api, signed_by) as gateway:
        assert HttpApi(gateway.url, signed=True)("GET", "/products", b"", {}).status == 200
        assert HttpApi(gateway.url, signed=True)("POST", "/orders/none/cancel", body, headers).status == 404
        assert HttpApi(gateway.url, signed=False)("GET", "/products", b"", {}).status == 403


class Verifying(BaseHTTPRequestHandler):
    """A gateway that lets one token through, to nothing."""

    def do_GET(self) -> None:
        let_in = self.headers["Authorization"] == "Bearer the-token"
        self.send_response(200 if let_in else 401)
        self.end_headers()
        self.wfile.write(b'{"status": "closed"}')

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def test_an_access_token_is_sent_where_the_stage_requires_one(monkeypatch: pytest.MonkeyPatch, shop: Shop) -> None:
    monkeypatch.setenv("AUTH", "cognito")
    monkeypatch.setenv("USER_POOL_ARN", "arn:aws:cognito-idp:us-east-1:123456789012:userpool/us-east-1_AbC")
    monkeypatch.setenv("USER_POOL_CLIENTS", "one")
    monkeypatch.delenv("TOKEN", raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Verifying) as server:
        threading.Thread(target=server.serve_forever).start()
        words = ["stage", "smoke", "test", "--api", f"http://127.0.0.1:{server.server_port}"]
        said = [
            CliRunner().invoke(ops, words, env={"TOKEN": token}).stderr.splitlines()[-1]
            for token in ("", "another", "the-token")
        ]
        server.shutdown()
    assert said[0] == ("test takes access tokens: put one of a service into TOKEN (docs/deploying.md, Who may call).")
    assert "GET /health was answered 401 instead of 200" in said[1]
    assert said[2] == "The API says that it is closed."
