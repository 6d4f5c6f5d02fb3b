"""Headers: those of a request that are sent twice, and those that every answer has, in Lambda as on the laptop."""

import http.client
import json
from contextlib import closing
from typing import Any
from urllib.parse import quote

import pytest

import app as entry
from chalicelib import exact_json
from tests.support import gateway
from tests.support.customer import Reply
from tests.support.shop import Shop

LOOPBACK = "127.0.0.1"
JSON = ("Content-Type", "application/json")


@pytest.fixture
def shop(small_shop: Shop) -> Shop:
    return small_shop


def ask(port: int, method: str, path: str, headers: list[tuple[str, str]], body: bytes = b"") -> Reply:
    """One request to the laptop, with each header line as it is."""
    with closing(http.client.HTTPConnection(LOOPBACK, port, timeout=30)) as connection:
        connection.putrequest(method, path)
        for name, value in [*headers, ("Content-Length", str(len(body)))]:
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return Reply(answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read())


def body_of(shop: Shop, **fields: Any) -> bytes:
    return exact_json.dumps(shop.order(**fields)).encode()


# --- the key, sent twice ---

TWO_LINES = [
    [("Idempotency-Key", "k1"), ("Idempotency-Key", "k2")],
    [("Idempotency-Key", "k1"), ("Idempotency-Key", "k1")],
    [("Idempotency-Key", '"k1"'), ("Idempotency-Key", '"k2"')],
    [("Idempotency-Key", '"k1'), ("Idempotency-Key", 'k2"')],
    [("Idempotency-Key", ""), ("Idempotency-Key", "k1")],
    [("Idempotency-Key", "k1"), ("idempotency-key", "k2")],
]


@pytest.mark.parametrize("keys", TWO_LINES, ids=str)
def test_two_keys_are_refused_and_nothing_is_stored(shop: Shop, port: int, keys: list[tuple[str, str]]) -> None:
    lines, body = [JSON, *keys], body_of(shop)
    in_lambda = gateway.invoke(gateway.event("POST", "/orders", lines, body))
    for reply in (in_lambda, ask(port, "POST", "/orders", lines, body)):
        assert (reply.status, reply.kind) == (400, "idempotency-key-invalid")
    assert shop.calls.operations() == []


# --- where the answer leads ---


@pytest.mark.parametrize("base", ["", "/dev", "/shop/v1"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_location_and_next_lead_back_through_the_way_in(shop: Shop, base: str, slash: str) -> None:
    """The stage of execute-api, or the base path of a custom domain."""
    customer = "Ünïcode@shop.example"
    replies = []
    for key in ("k1", "k2", "k2"):
        lines = [JSON, ("Idempotency-Key", key)]
        asked = gateway.event("POST", "/orders", lines, body_of(shop, customerId=customer), base=base)
        asked["requestContext"]["path"] += slash
        replies.append(gateway.invoke(asked))
    for reply in replies:
        assert reply.headers["location"] == f"{base}/orders/{reply.order_id}"
    assert replies[2].replayed
    assert (replies[2].body, replies[2].headers["location"]) == (replies[1].body, replies[1].headers["location"])

    path = f"/customers/{quote(customer, safe='')}/orders"
    listed = gateway.event("GET", f"{path}?limit=1", resource="/customers/{customer_id}/orders", base=base)
    page = gateway.invoke(listed).json
    assert page["next"] == f"{base}{path}?limit=1&cursor={quote(page['cursor'])}"


def test_on_the_laptop_location_and_next_begin_with_the_route(shop: Shop, port: int) -> None:
    for key in ("k1", "k2"):
        reply = ask(port, "POST", "/orders", [JSON, ("Idempotency-Key", key)], body_of(shop))
        assert reply.headers["location"] == f"/orders/{reply.order_id}"
    page = ask(port, "GET", "/customers/CUST-1/orders?limit=1", []).json
    assert page["next"].startswith("/customers/CUST-1/orders?limit=1&cursor=")
    assert ask(port, "GET", page["next"], []).status == 200


# --- every answer ---

ANY = [
    ("POST", "/orders", "/orders"),
    ("GET", "/orders/o1", "/orders/{order_id}"),
    ("POST", "/orders/o1/cancel", "/orders/{order_id}/cancel"),
    ("POST", "/orders/o1/ship", "/orders/{order_id}/ship"),
    ("POST", "/orders/o1/deliver", "/orders/{order_id}/deliver"),
    ("GET", "/customers/c1/orders", "/customers/{customer_id}/orders"),
    ("GET", "/customers/c1/orders?idempotencyKey=k1", "/customers/{customer_id}/orders"),
    ("GET", "/customers/c1/orders?limit=none", "/customers/{customer_id}/orders"),
    # What Chalice refuses by itself.
    ("PATCH", "/orders", "/orders"),
]
MEDIA_TYPES = ["application/json", "text/plain"]


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@pytest.mark.parametrize(("method", "path", "resource"), ANY)
def test_every_answer_has_a_correlation_id(
    shop: Shop, port: int, method: str, path: str, resource: str, media_type: str
) -> None:
    headers = [("Content-Type", media_type)]
    body = b"{}" if method != "GET" else b""
    for mine in ("corr-1", "two words", None):
        lines = [*headers, *([("X-Correlation-Id", mine)] if mine else [])]
        asked = gateway.event(method, path, lines, body, resource=resource)
        got = gateway.invoke(asked).headers["x-correlation-id"]
        assert got == ("corr-1" if mine == "corr-1" else asked["requestContext"]["requestId"])
        on_laptop = ask(port, method, path, lines, body).headers["x-correlation-id"]
        assert on_laptop == "corr-1" if mine == "corr-1" else on_laptop not in ("", mine)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("OPTIONS", "/orders", 200), ("POST", "/orders", 400), ("BREW", "/orders", 501)],
)
def test_what_never_reaches_the_app_on_the_laptop_has_a_correlation_id_too(
    port: int, method: str, path: str, status: int
) -> None:
    length = [("Content-Length", "none")] if status == 400 else []
    with closing(http.client.HTTPConnection(LOOPBACK, port, timeout=30)) as connection:
        connection.putrequest(method, path)
        for name, value in [("X-Correlation-Id", "corr-1"), *length]:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        answer.read()
        assert (answer.status, answer.headers.get_all("X-Correlation-Id")) == (status, ["corr-1"])


def test_a_fault_that_nobody_expected_has_the_correlation_id_too(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "service", lambda: 1 // 0)
    reply = gateway.invoke(gateway.event("POST", "/orders", [("X-Correlation-Id", "corr-1")], b"{}"))
    assert (reply.status, reply.headers["x-correlation-id"]) == (500, "corr-1")


@pytest.mark.parametrize(("method", "path", "resource"), ANY[:-1])
def test_nothing_about_an_order_is_kept_by_a_cache(shop: Shop, method: str, path: str, resource: str) -> None:
    placed = shop.place(shop.order(customerId="c1"), "k1")
    path = path.replace("o1", placed.order_id)
    body = json.dumps({"customerId": "c1"}).encode() if method == "POST" else None
    for lines in ([JSON], []):
        reply = gateway.invoke(gateway.event(method, path, lines, body, resource=resource))
        assert reply.headers["cache-control"] == "no-store", reply


def test_a_reused_key_and_a_replay_are_kept_by_no_cache_either(shop: Shop) -> None:
    replies = [shop.place(key="k1"), shop.place(key="k1"), shop.post(shop.order(quantity=2), "k1")]
    assert [reply.status for reply in replies] == [201, 201, 422]
    assert {reply.headers["cache-control"] for reply in replies} == {"no-store"}


# --- how a body is encoded ---

READING = ["/orders", "/orders/{order_id}/cancel", "/orders/{order_id}/ship", "/orders/{order_id}/deliver"]


@pytest.mark.parametrize("resource", READING)
@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", "x", "deflate,identity"])
def test_a_body_in_another_content_encoding_is_refused(shop: Shop, resource: str, encoding: str) -> None:
    path = resource.replace("{order_id}", shop.place(key="k1").order_id)
    lines = [JSON, ("Content-Encoding", encoding)]
    reply = gateway.invoke(gateway.event("POST", path, lines, b"{}", resource=resource))
    assert (reply.status, reply.kind) == (415, "unsupported-content-encoding")
    assert reply.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("encoding", ["identity", "IDENTITY", "", " identity , identity "])
def test_identity_is_no_encoding(shop: Shop, encoding: str) -> None:
    lines = [JSON, ("Idempotency-Key", "k1"), ("Content-Encoding", encoding)]
    assert gateway.invoke(gateway.event("POST", "/orders", lines, body_of(shop))).status == 201


@pytest.mark.parametrize("verb", ["cancel", "ship", "deliver"])
@pytest.mark.parametrize(
    ("media_type", "body", "status"),
    [
        ("application/json", b"{}", 404),
        ("application/json", b"", 404),
        ("text/plain", b"", 404),
        ("text/plain", b"{}", 415),
        ("application/json", b"{", 400),
        ("application/json", b"[]", 400),
        ("application/json", b'{"colour": 1}', 400),
        ("application/json", b" " * 70_000, 413),
    ],
)
def test_the_operators_routes_treat_bodies_alike(
    shop: Shop, verb: str, media_type: str, body: bytes, status: int
) -> None:
    reply = shop.ask("POST", f"/orders/nobody/{verb}", body, {"Content-Type": media_type})
    assert reply.status == status
