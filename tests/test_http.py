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
from chalice import Chalice
from chalice.config import Config

import app as entry
from chalicelib import exact_json
from local.server import ApiServer, listen
from tests.support.aws_calls import AwsCalls
from tests.support.events import Clock
from tests.support.shop import Reply, Shop, opened, sample
from tests.support.stage import Stage

LOOPBACK = "127.0.0.1"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def shop(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> Iterator[Shop]:
    with opened(aws, aws_calls, clock, patient=True) as shop:
        yield shop


@pytest.fixture
def port(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Chalice's local server, serving the shop."""
    monkeypatch.setattr(entry.app, "__class__", Chalice)  # which the server changes, and the test's end sets back
    config = Config(chalice_stage="local", user_provided_params={"chalice_app": entry.app})
    with closing(listen(LOOPBACK, 0, "PORT")) as listener, ApiServer(entry.app, config, listener):
        yield listener.getsockname()[1]


def ask(
    port: int, method: str, path: str, headers: dict[str, str] | None = None, body: object = None, times: int = 1
) -> list[Reply]:
    """The same request so many times on one connection."""
    sent = body if isinstance(body, bytes) or body is None else exact_json.dumps(body).encode()
    replies = []
    with closing(http.client.HTTPConnection(LOOPBACK, port, timeout=30)) as connection:
        for _ in range(times):
            connection.request(method, path, sent, headers or {})
            answer = connection.getresponse()
            replies.append(Reply(answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read()))
    return replies


# --- bodies that are none ---

TAKEN = sample("api_order")
WHOLE = exact_json.dumps(TAKEN).encode()


def _with_amount(text: str) -> bytes:
    return exact_json.dumps({**TAKEN, "totalAmount": 0}).replace('"totalAmount": 0', f'"totalAmount": {text}').encode()


BODIES: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"", 400, "invalid-json"),
    "not JSON": (b"customerId=CUST-42", 400, "invalid-json"),
    "cut off": (WHOLE[:-1], 400, "invalid-json"),
    "two documents": (WHOLE * 2, 400, "invalid-json"),
    "not UTF-8": (WHOLE.replace(b"CUST-42", b"CUST-\xff"), 400, "invalid-json"),
    "UTF-16": (WHOLE.decode().encode("utf-16"), 400, "invalid-json"),
    "a byte order mark": (b"\xef\xbb\xbf" + WHOLE, 400, "invalid-json"),
    "a name twice": (WHOLE[:-1] + b', "customerId": "CUST-43"}', 400, "invalid-json"),
    "a name twice, deep inside": (
        WHOLE.replace(b'"quantity": 2', b'"quantity": 2, "quantity": 3'),
        400,
        "invalid-json",
    ),
    "NaN": (_with_amount("NaN"), 400, "invalid-json"),
    "Infinity": (_with_amount("Infinity"), 400, "invalid-json"),
    "-Infinity": (_with_amount("-Infinity"), 400, "invalid-json"),
    "1e400": (_with_amount("1e400"), 400, "invalid-json"),
    "1e999999999999999999999": (_with_amount("1e999999999999999999999"), 400, "invalid-json"),
    "1e-400": (_with_amount("1e-400"), 400, "invalid-json"),
    "a number of 5,000 digits": (_with_amount("1" * 5_000), 400, "invalid-json"),
    "a fraction of 5,000 digits": (_with_amount("1." + "1" * 5_000), 400, "invalid-json"),
    "20,000 brackets": (b"[" * 20_000 + b"]" * 20_000, 400, "invalid-json"),
    "20,000 open brackets": (b"[" * 20_000, 400, "invalid-json"),
    "6,000 objects in each other": (b'{"a":' * 6_000 + b"1" + b"}" * 6_000, 400, "invalid-json"),
    "100 brackets": (b"[" * 100 + b"]" * 100, 400, "invalid-json"),
    "a lone surrogate": (WHOLE.replace(b"CUST-42", b"\\ud800"), 400, "invalid-order"),
    "a lone surrogate for a name": (b'{"\\udfff": 1}', 400, "invalid-order"),
    "a lone surrogate in a name of a product": (
        WHOLE.replace(b'"quantity": 2', b'"quantity": 2, "productName": "\\ud800"'),
        400,
        "invalid-order",
    ),
    "a NUL": (WHOLE.replace(b"CUST-42", b"CUST\\u0000"), 400, "invalid-order"),
    "three decimals": (_with_amount("109.971"), 400, "invalid-order"),
    "20 decimals": (_with_amount("109.97000000000000000001"), 400, "invalid-order"),
    "25 digits": (_with_amount("9" * 25), 400, "invalid-order"),
    "minus zero": (_with_amount("-0.0"), 400, "invalid-order"),
    "null": (b"null", 400, "invalid-order"),
    "a list": (b"[]", 400, "invalid-order"),
    "a text": (b'"order"', 400, "invalid-order"),
    "a number": (b"5", 400, "invalid-order"),
    "over 64 KB": (b" " * (64 * 1024) + WHOLE, 413, "body-too-large"),
    "one byte over 64 KB": (WHOLE + b" " * (64 * 1024 + 1 - len(WHOLE)), 413, "body-too-large"),
}


def test_a_body_that_is_no_order_is_refused_with_the_right_problem_and_nothing_is_stored(shop: Shop) -> None:
    replies = {name: shop.post(body, "k1") for name, (body, _, _) in BODIES.items()}
    answers = {name: (reply.status, reply.kind) for name, reply in replies.items()}
    assert answers == {name: (status, kind) for name, (_, status, kind) in BODIES.items()}
    assert shop.calls.operations() == []
    for name, reply in replies.items():
        assert {"type", "title", "status", "detail"} <= reply.json.keys(), name
        assert reply.json["status"] == reply.status, name


def test_such_a_body_is_refused_over_the_wire_as_well(shop: Shop, port: int) -> None:
    for name, (body, status, kind) in BODIES.items():
        (reply,) = ask(port, "POST", "/orders", {**JSON, "Idempotency-Key": "k1"}, body)
        assert (reply.status, reply.kind) == (status, kind), name
    assert shop.calls.operations() == []


def test_a_body_of_64_kb_is_taken(shop: Shop) -> None:
    assert shop.post(WHOLE + b" " * (64 * 1024 - len(WHOLE)), "k1").status == 201


def test_unheard_of_but_valid_json_is_taken(shop: Shop) -> None:
    escaped = WHOLE.replace(b"CUST-42", b"\\u0043UST-\\ud83d\\ude00").replace(b"109.97", b"1.0997e2")
    reply = shop.post(b"\r\n\t " + escaped, "k1")
    assert reply.status == 201
    assert (reply.json["customerId"], reply.json["totalAmount"]) == ("CUST-😀", Decimal("109.97"))


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/json;v=1"]
)
def test_json_is_taken_under_each_spelling_of_its_name(shop: Shop, content_type: str) -> None:
    assert shop.post(WHOLE, "k1", content_type=content_type).status == 201


OTHER_TYPES = ["text/plain", "", "application/xml", "application/jsonp", "application/x-www-form-urlencoded", ";", "é"]


def test_another_content_type_is_refused(shop: Shop) -> None:
    for content_type in OTHER_TYPES:
        reply = shop.post(WHOLE, "k1", content_type=content_type)
        assert (reply.status, reply.kind) == (415, "unsupported-media-type"), content_type
    assert shop.calls.operations() == []


def test_no_content_type_is_refused(shop: Shop, port: int) -> None:
    replies = [shop.ask("POST", "/orders", WHOLE, {"Idempotency-Key": "k1"})]
    replies += ask(port, "POST", "/orders", {"Idempotency-Key": "k1"}, WHOLE)
    for reply in replies:
        assert (reply.status, reply.kind) == (415, "unsupported-media-type")
    assert shop.calls.operations() == []


# --- what Chalice itself refuses ---

UNKNOWN = [("GET", "/"), ("GET", "/nowhere"), ("POST", "/orders/x/y/z"), ("GET", "/customers/C"), ("GET", "/ORDERS/x")]


@pytest.mark.parametrize(("method", "path"), UNKNOWN)
def test_an_unknown_route_is_a_problem_too(port: int, method: str, path: str) -> None:
    (reply,) = ask(port, method, path, JSON, b"{}" if method == "POST" else None)
    assert (reply.status, reply.kind, reply.json["status"]) == (404, "about:blank", 404)


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/orders"), ("DELETE", "/orders/x"), ("PATCH", "/customers/C/orders")]
)
def test_a_method_that_a_route_does_not_have_is_a_problem_that_names_those_it_has(
    shop: Shop, port: int, method: str, path: str
) -> None:
    for reply in (shop.ask(method, path, b"{}", JSON), *ask(port, method, path, JSON, b"{}")):
        assert (reply.status, reply.kind, reply.json["status"]) == (405, "about:blank", 405)
        assert reply.headers["allow"]


def test_a_fault_that_nobody_expected_is_a_problem_without_its_innards(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Any:
        raise RuntimeError("secret innards")

    monkeypatch.setattr(entry, "service", broken)
    reply = shop.post(TAKEN, "k1", x_correlation_id="corr-1")
    assert (reply.status, reply.kind) == (500, "about:blank")
    assert b"innards" not in reply.body
    (line,) = [line for line in shop.lines if "secret innards" in line]
    assert "corr-1" in line


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
    assert reply.headers["access-control-allow-origin"] == "*"
    assert method in reply.headers["access-control-allow-methods"]
    allowed = {name.strip().lower() for name in reply.headers["access-control-allow-headers"].split(",")}
    assert {"content-type", "idempotency-key", "x-correlation-id"} <= allowed
    assert int(reply.headers["access-control-max-age"]) > 0


def test_a_browser_may_read_what_the_api_answers(shop: Shop) -> None:
    replies = [
        shop.post(TAKEN, "k1"),
        shop.post(TAKEN, "k1"),
        shop.post({**TAKEN, "shippingAddress": None}, "k1"),
        shop.post(b"", "k1"),
        shop.post(TAKEN, "two words"),
        shop.get("/orders/nothing"),
        shop.get("/customers/CUST-42/orders"),
    ]
    assert [reply.status for reply in replies] == [201, 201, 400, 400, 400, 404, 200]
    for reply in replies:
        assert reply.headers["access-control-allow-origin"] == "*"
        exposed = {name.strip().lower() for name in reply.headers["access-control-expose-headers"].split(",")}
        assert {"location", "idempotent-replayed", "retry-after", "x-correlation-id"} <= exposed


# --- correlation ---


@pytest.mark.parametrize("path", ["/orders/nothing", "/customers/C/orders", "/customers/C/orders?limit=no"])
def test_a_correlation_id_is_echoed(shop: Shop, path: str) -> None:
    assert shop.ask("GET", path, headers={"X-Correlation-Id": "corr-1"}).headers["x-correlation-id"] == "corr-1"


def test_a_correlation_id_goes_from_the_request_to_the_message_the_logs_and_the_consumer(shop: Shop) -> None:
    reply = shop.place(TAKEN, "k1", x_correlation_id="corr-1")
    assert reply.headers["x-correlation-id"] == "corr-1"
    assert shop.stored(reply.order_id)["correlationId"] == "corr-1"
    shop.run_queue()
    told = {line["message"]: line for line in map(json.loads, shop.lines)}
    for event in ("order placed", "order confirmed"):
        assert told[event]["correlationId"] == "corr-1"
        assert told[event]["orderId"] == reply.order_id
        assert told[event]["customerId"] == "CUST-42"


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, "é", "a\tb"])
def test_a_correlation_id_that_is_none_is_replaced(shop: Shop, given: str) -> None:
    answered = shop.place(TAKEN, "k1", x_correlation_id=given).headers["x-correlation-id"]
    assert answered
    assert answered != given


def test_each_request_has_a_correlation_id_of_its_own(shop: Shop) -> None:
    assert len({shop.get("/orders/nothing").headers["x-correlation-id"] for _ in range(5)}) == 5


# --- the real server ---


def test_a_double_click_over_the_wire_is_one_order(shop: Shop, port: int) -> None:
    first, again = ask(port, "POST", "/orders", {**JSON, "Idempotency-Key": "k1"}, TAKEN, times=2)
    assert (first.status, first.replayed, again.status, again.replayed) == (201, False, 201, True)
    assert again.body == first.body
    assert len(shop.orders()) == 1
    (read,) = ask(port, "GET", first.headers["location"])
    assert read.json["orderId"] == first.order_id


def test_many_clients_at_once_each_get_their_own_answer(shop: Shop, port: int) -> None:
    together = threading.Barrier(8)

    def client(n: int) -> list[Reply]:
        together.wait()
        headers = {**JSON, "Idempotency-Key": f"k{n}", "X-Correlation-Id": f"corr-{n}"}
        return ask(port, "POST", "/orders", headers, {**TAKEN, "customerId": f"CUST-{n}"}, times=5)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(client, range(8)))

    for n, replies in enumerate(answers):
        assert {reply.status for reply in replies} == {201}
        assert {reply.json["customerId"] for reply in replies} == {f"CUST-{n}"}
        assert {reply.headers["x-correlation-id"] for reply in replies} == {f"corr-{n}"}
        assert [reply.replayed for reply in replies] == [False, True, True, True, True]
        assert len({reply.body for reply in replies}) == 1
    assert len(shop.orders()) == 8


@pytest.mark.parametrize("key", ["k1", None])
def test_many_clients_at_once_with_one_order_get_one(shop: Shop, port: int, key: str | None) -> None:
    together = threading.Barrier(16)

    def client(_: int) -> Reply:
        together.wait()
        return ask(port, "POST", "/orders", {**JSON, **({"Idempotency-Key": key} if key else {})}, TAKEN)[0]

    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(client, range(16)))

    assert {reply.status for reply in replies} == {201}
    assert len({reply.body for reply in replies}) == 1
    assert [reply.replayed for reply in replies].count(False) == 1
    assert (len(shop.orders()), len(shop.messages())) == (1, 1)


def test_a_client_that_hangs_up_early_disturbs_nobody(shop: Shop, port: int) -> None:
    with socket.create_connection((LOOPBACK, port)) as client:
        client.sendall(
            b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{"
        )
    (reply,) = ask(port, "POST", "/orders", {**JSON, "Idempotency-Key": "k1"}, TAKEN)
    assert reply.status == 201
    assert len(shop.orders()) == 1
