"""HTTP: every refusal is a problem document, browsers are served, and Chalice's real server keeps all promises."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest
from chalice.app import Request

from chalicelib import exact_json
from chalicelib.entrypoints.api import place_order
from chalicelib.entrypoints.http import answered
from tests.support.aws_calls import AwsCalls
from tests.support.customer import Reply
from tests.support.events import Clock
from tests.support.orders import sample
from tests.support.shop import Shop, opened
from tests.support.stage import Stage

LOOPBACK = "127.0.0.1"
JSON = {"Content-Type": "application/json"}
KEY = {"Idempotency-Key": "k1"}
LARGEST = 64 * 1024


@pytest.fixture
def shop(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> Iterator[Shop]:
    with opened(aws, aws_calls, clock, patient=True) as shop:
        yield shop


def ask(
    port: int, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None, times: int = 1
) -> list[Reply]:
    """The same request so many times on one connection."""
    replies = []
    with closing(http.client.HTTPConnection(LOOPBACK, port, timeout=30)) as connection:
        for _ in range(times):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            replies.append(Reply(answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read()))
    return replies


def names_in(header: str) -> set[str]:
    return {name.strip().lower() for name in header.split(",")}


# --- the body ---

ORDER = sample("api_order")
WHOLE = exact_json.dumps(ORDER).encode()
BODIES: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"", 400, "invalid-json"),
    "cut off": (WHOLE[:-1], 400, "invalid-json"),
    "not UTF-8": (WHOLE.replace(b"CUST-42", b"CUST-\xff"), 400, "invalid-json"),
    "a name twice": (WHOLE[:-1] + b', "customerId": "CUST-43"}', 400, "invalid-json"),
    "20,000 brackets": (b"[" * 20_000 + b"]" * 20_000, 400, "invalid-json"),
    "6,000 objects in each other": (b'{"a":' * 6_000 + b"1" + b"}" * 6_000, 400, "invalid-json"),
    "a lone surrogate for a name": (b'{"\\udfff": 1}', 400, "invalid-order"),
    "a list": (b"[]", 400, "invalid-order"),
    "one byte over 64 KB": (WHOLE.ljust(LARGEST + 1), 413, "body-too-large"),
}


def test_a_body_that_is_not_an_order_is_refused_with_the_right_problem(shop: Shop, port: int) -> None:
    for name, (body, status, kind) in BODIES.items():
        for reply in (shop.post(body, "k1"), *ask(port, "POST", "/orders", JSON | KEY, body)):
            assert (reply.status, reply.kind) == (status, kind), name
            assert {"type", "title", "status", "detail"} <= reply.json.keys(), name
            assert reply.json["status"] == status, name
    assert shop.calls.operations() == []


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/json;v=1"]
)
def test_json_of_up_to_64_kb_is_taken_however_it_and_its_type_are_written(shop: Shop, content_type: str) -> None:
    escaped = WHOLE.replace(b"CUST-42", b"\\u0043UST-\\ud83d\\ude00").replace(b"109.97", b"1.0997e2")
    reply = shop.post((b"\r\n\t " + escaped).ljust(LARGEST), "k1", content_type=content_type)
    assert reply.status == 201
    assert (reply.json["customerId"], reply.json["totalAmount"]) == ("CUST-😀", Decimal("109.97"))


def test_a_body_that_is_not_the_base64_it_claims_to_be_is_refused(shop: Shop) -> None:
    context = {"httpMethod": "POST", "resourcePath": "/orders"}
    event = {"headers": JSON, "body": "not", "isBase64Encoded": True, "requestContext": context}
    absent = dict.fromkeys(("multiValueQueryStringParameters", "pathParameters", "stageVariables"))
    response = answered(Request(event | absent), lambda request: place_order(shop.service, request))
    assert (response.status_code, "invalid-json" in response.body) == (400, True)


OTHER_TYPES = ["text/plain", "", "application/xml", "application/jsonp", "application/x-www-form-urlencoded", ";", "é"]


def test_another_content_type_or_none_is_refused(shop: Shop, port: int) -> None:
    replies = [shop.post(WHOLE, "k1", content_type=content_type) for content_type in OTHER_TYPES]
    replies += [shop.ask("POST", "/orders", WHOLE, KEY), *ask(port, "POST", "/orders", KEY, WHOLE)]
    for reply in replies:
        assert (reply.status, reply.kind) == (415, "unsupported-media-type")
    assert shop.calls.operations() == []


# --- what goes wrong besides ---


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("POST", "/orders/x/y/z", 404),
        ("GET", "/customers/C", 404),
        ("GET", "/ORDERS/x", 404),
        ("PUT", "/orders", 405),
        ("DELETE", "/orders/x", 405),
        ("PATCH", "/customers/C/orders", 405),
        ("TRACE", "/orders", 405),
        ("QUERY", "/products", 405),
    ],
)
def test_what_chalice_itself_refuses_is_a_problem_too(
    shop: Shop, port: int, method: str, path: str, status: int
) -> None:
    replies = ask(port, method, path, JSON, b"{}" if method != "GET" else None)
    if status == 405:
        replies.append(shop.ask(method, path, b"{}", JSON))
    for reply in replies:
        assert (reply.status, reply.kind, reply.json["status"]) == (status, "about:blank", status)
        assert status == 404 or reply.headers["allow"]


def test_an_unexpected_fault_is_logged_and_answered_without_its_details(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("secret innards")

    monkeypatch.setattr(type(shop.service.placing.queue), "try_enqueue", broken)
    address = {"street": "221B Baker Street", "city": "London", "country": "GB"}
    reply = shop.post(ORDER | {"shippingAddress": address}, "k1", x_correlation_id="corr-1")
    assert (reply.status, reply.kind) == (500, "about:blank")
    assert b"innards" not in reply.body
    (line,) = [line for line in shop.lines if "secret innards" in line]
    assert "corr-1" in line
    assert "Baker" not in "\n".join(shop.lines)


# --- browsers ---

PREFLIGHT = {
    "Origin": "https://shop.example",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type,idempotency-key,x-correlation-id",
}


@pytest.mark.parametrize(
    ("path", "method"), [("/orders", "POST"), ("/orders/x", "GET"), ("/customers/C/orders", "GET")]
)
def test_a_browser_may_send_what_the_api_needs(port: int, path: str, method: str) -> None:
    (reply,) = ask(port, "OPTIONS", path, PREFLIGHT)
    assert reply.status == 200
    assert reply.headers["access-control-allow-origin"] == PREFLIGHT["Origin"]
    assert method in reply.headers["access-control-allow-methods"]
    wanted = names_in(PREFLIGHT["Access-Control-Request-Headers"])
    assert wanted <= names_in(reply.headers["access-control-allow-headers"])
    assert int(reply.headers["access-control-max-age"]) > 0


def test_a_browser_may_read_what_the_api_answers(shop: Shop) -> None:
    replies = [shop.post(ORDER, "k1"), shop.post(b"", "k1"), shop.get("/orders/x"), shop.get("/customers/C/orders")]
    assert [reply.status for reply in replies] == [201, 400, 404, 200]
    for reply in replies:
        assert reply.headers["access-control-allow-origin"] == PREFLIGHT["Origin"]
        exposed = names_in(reply.headers["access-control-expose-headers"])
        assert {"location", "idempotent-replayed", "retry-after", "x-correlation-id"} <= exposed


# --- correlation ---


def test_every_answer_has_the_correlation_id_of_its_request_or_one_of_its_own(shop: Shop) -> None:
    def id_of(path: str, **headers: str) -> str:
        return shop.ask("GET", path, headers=headers).headers["x-correlation-id"]

    paths = ("/orders/x", "/customers/C/orders", "/customers/C/orders?limit=no")
    assert {id_of(path, **{"X-Correlation-Id": "corr-1"}) for path in paths} == {"corr-1"}
    own = {id_of(path, **headers) for path in paths for headers in ({}, {"X-Correlation-Id": "two words"})}
    assert len(own - {"", "two words"}) == 6


def test_a_correlation_id_goes_from_the_request_to_the_message_the_logs_and_the_consumer(shop: Shop) -> None:
    reply = shop.place(ORDER, "k1", x_correlation_id="corr-1")
    assert shop.stored(reply.order_id)["correlationId"] == reply.headers["x-correlation-id"] == "corr-1"
    shop.run_queue()
    logged = {line["message"]: line for line in map(json.loads, shop.lines)}
    ids = {"correlationId": "corr-1", "orderId": reply.order_id, "customerId": "CUST-42"}
    for event in ("order placed", "order confirmed"):
        assert ids.items() <= logged[event].items()


# --- the real server ---


def test_of_many_clients_at_once_each_gets_its_own_answer_and_equal_orders_are_one(shop: Shop, port: int) -> None:
    """Sixteen clients, two of each customer, each with two requests on its connection."""
    together = threading.Barrier(16)

    def client(n: int) -> list[Reply]:
        together.wait()
        order = exact_json.dumps(ORDER | {"customerId": f"CUST-{n // 2}"}).encode()
        return ask(port, "POST", "/orders", JSON | KEY | {"X-Correlation-Id": f"corr-{n}"}, order, times=2)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(client, range(16)))

    for n, replies in enumerate(answers):
        assert {reply.headers["x-correlation-id"] for reply in replies} == {f"corr-{n}"}
    for customer in range(8):
        replies = answers[2 * customer] + answers[2 * customer + 1]
        assert {(reply.status, reply.json["customerId"]) for reply in replies} == {(201, f"CUST-{customer}")}
        assert len({reply.body for reply in replies}) == 1
        assert [reply.replayed for reply in replies].count(False) == 1
    assert len(shop.orders()) == len(shop.messages()) == 8


def test_a_client_that_hangs_up_early_disturbs_nobody(shop: Shop, port: int) -> None:
    with socket.create_connection((LOOPBACK, port)) as client:
        client.sendall(
            b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{"
        )
    (reply,) = ask(port, "POST", "/orders", JSON | KEY, WHOLE)
    assert reply.status == 201
    assert len(shop.orders()) == 1
