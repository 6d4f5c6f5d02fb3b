"""Who may do what: each cell of the table in docs/security.md, and what the others may learn, which is nothing."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import app as entry
from chalicelib import exact_json
from chalicelib.domain.idempotency import order_id_from_key
from tests.support import gateway
from tests.support.aws_calls import AwsCalls
from tests.support.callers import ALICE, ARN, BOB, OPERATOR, POOL, SERVICE, Claims
from tests.support.customer import Reply
from tests.support.events import Clock
from tests.support.orders import a_body
from tests.support.shop import Shop, opened
from tests.support.stage import Stage
from tests.support.template import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text("utf-8").partition("| route | customer |")[2].partition("\n\n")[0]
ROWS = re.findall(r"^\| `((?:GET|POST) /[^`]*)` \| (.+) \|$", PAGE, re.MULTILINE)
TABLE: Mapping[str, list[str]] = {route: cells.split(" | ") for route, cells in ROWS}
ROLES: Mapping[str, Claims | None] = {"customer": ALICE, "operator": OPERATOR, "service": SERVICE, "nobody": None}
CELLS = [(route, role, cell) for route, cells in TABLE.items() for role, cell in zip(ROLES, cells, strict=True)]
WITH_ORDER = [route for route in TABLE if "{orderId}" in route]
UNKNOWN = "00000000-0000-5000-8000-000000000000"


@pytest.fixture
def shop(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> Iterator[Shop]:
    """Of a stage with AUTH=cognito."""
    with opened(aws, aws_calls, clock, settings=POOL) as one:
        yield one


def ask(
    caller: Claims | str | None,
    route: str,
    body: object = None,
    *,
    order_id: str = "",
    customer_id: str = "",
    query: str = "",
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"), ("X-Correlation-Id", "c")),
) -> Reply:
    """A request as API Gateway hands it on, which has verified the caller."""
    method, _, resource = route.partition(" ")
    path = resource.replace("{orderId}", order_id).replace("{customerId}", customer_id) + query
    sent = None if body is None else exact_json.dumps(body).encode()
    given = gateway.event(method, path, headers, sent, resource=named_as_chalice(resource), caller=caller)
    return gateway.invoke(given)


def named_as_chalice(resource: str) -> str:
    return resource.replace("{orderId}", "{order_id}").replace("{customerId}", "{customer_id}")


def place(caller: Claims, key: str = "k", **fields: Any) -> Reply:
    headers = (("Content-Type", "application/json"), ("X-Correlation-Id", "c"), ("Idempotency-Key", key))
    return ask(caller, "POST /orders", a_body({"p1": 1}, **fields), headers=headers)


def id_of(claims: Claims) -> str:
    return str(claims["sub"])


def orders_of_both(shop: Shop, route: str) -> dict[str, str]:
    """An order of Alice and one of Bob, each in a status in which the route is possible."""
    ids = {id_of(one): place(one, customerId=None).order_id for one in (ALICE, BOB)}
    shop.run_queue()
    if route.endswith("/deliver"):
        for order_id in ids.values():
            assert ask(OPERATOR, "POST /orders/{orderId}/ship", order_id=order_id).status == 200
    shop.calls.forget()
    return ids


def test_the_table_has_every_route() -> None:
    routes = {f"{method} {path}" for path, methods in entry.app.routes.items() for method in methods}
    assert {named_as_chalice(route) for route in TABLE} == routes
    assert len(CELLS) == 4 * len(routes)


@pytest.mark.parametrize(("route", "role", "cell"), CELLS, ids=str)
def test_each_cell_of_the_table(shop: Shop, route: str, role: str, cell: str) -> None:
    caller = ROLES[role]
    ids = orders_of_both(shop, route)
    for owner in (ALICE, BOB):
        body = a_body({"p2": 1}, customerId=id_of(owner)) if route == "POST /orders" else None
        reply = ask(caller, route, body, order_id=ids[id_of(owner)], customer_id=id_of(owner))
        allowed = 201 if route == "POST /orders" else 200
        expected = {
            "all": allowed,
            "401": 401,
            "403": 403,
            "own, others 403": allowed if owner == caller else 403,
            "own, others 404": allowed if owner == caller else 404,
        }[cell]
        assert reply.status == expected, reply
        if expected in (401, 403):
            assert shop.calls.operations() == []
            assert reply.kind == {401: "unauthenticated", 403: "forbidden"}[expected]
        shop.calls.forget()


# --- what a customer may name, and learn ---


def test_a_customer_need_not_say_who_orders(shop: Shop) -> None:
    reply = place(ALICE, customerId=None)
    assert (reply.status, reply.json["customerId"]) == (201, id_of(ALICE))
    same = place(ALICE, customerId=id_of(ALICE))
    assert (same.replayed, same.body) == (True, reply.body)


@pytest.mark.parametrize("caller", [OPERATOR, SERVICE], ids=["operator", "service"])
def test_whoever_may_order_for_every_customer_must_name_one(shop: Shop, caller: Claims) -> None:
    reply = place(caller, customerId=None)
    assert (reply.status, reply.kind) == (400, "invalid-order")
    assert [error["pointer"] for error in reply.json["errors"]] == ["#/customerId"]


@pytest.mark.parametrize(
    "naming",
    [
        {"customerId": "sub-bob"},
        {"customerId": None, "userId": "sub-bob"},
        {"userId": "sub-bob"},
        {"customerId": "sub-bob", "userId": "sub-alice"},
        {"customerId": ""},
        {"customerId": ["sub-alice"]},
        {"customerId": "SUB-ALICE"},
        {"customerId": "sub-alice "},
    ],
    ids=str,
)
def test_naming_somebody_else_is_refused_without_a_lookup_and_leaves_the_key_free(
    shop: Shop, naming: dict[str, Any]
) -> None:
    own = {"customerId": id_of(ALICE)} | naming
    reply = place(ALICE, **own)
    assert (reply.status, reply.kind) == (403, "forbidden")
    assert shop.calls.operations() == []
    again = place(ALICE, customerId=None)
    assert (again.status, again.replayed) == (201, False)


@pytest.mark.parametrize("route", WITH_ORDER)
@pytest.mark.parametrize("status", ["PENDING", "CONFIRMED", "CANCELLED", "SHIPPED"])
@pytest.mark.parametrize("body", [None, {"reason": "x"}, {"reason": 1}, {"other": True}], ids=str)
def test_an_order_of_somebody_else_is_answered_like_one_that_does_not_exist(
    shop: Shop, route: str, status: str, body: object
) -> None:
    order_id = place(BOB, customerId=None).order_id
    if status != "PENDING":
        shop.run_queue()
    if status == "CANCELLED":
        ask(BOB, "POST /orders/{orderId}/cancel", order_id=order_id)
    if status == "SHIPPED":
        ask(OPERATOR, "POST /orders/{orderId}/ship", order_id=order_id)
    assert shop.status(order_id) == status
    seen = []
    for asked in (order_id, UNKNOWN):
        shop.calls.forget()
        reply = ask(ALICE, route, body if route.startswith("POST") else None, order_id=asked)
        answer = reply.body.replace(asked.encode(), b"ID")
        seen.append((reply.status, sorted(reply.headers.items()), answer, shop.calls.operations()))
    assert seen[0] == seen[1]
    assert seen[0][0] in (400, 403, 404)
    assert shop.status(order_id) == status


def test_two_customers_with_one_key_have_two_orders_and_neither_sees_the_others(shop: Shop) -> None:
    alices, bobs = place(ALICE, customerId=None).order_id, place(BOB, customerId=None).order_id
    assert alices != bobs
    for caller, own in ((ALICE, alices), (BOB, bobs)):
        found = ask(caller, "GET /customers/{customerId}/orders", customer_id=id_of(caller), query="?idempotencyKey=k")
        assert found.json["orderId"] == own
        listed = ask(caller, "GET /customers/{customerId}/orders", customer_id=id_of(caller))
        assert [order["orderId"] for order in listed.json["orders"]] == [own]


def test_a_key_or_a_cursor_leads_to_nobody_elses_orders(shop: Shop) -> None:
    route = "GET /customers/{customerId}/orders"
    for number in range(3):
        for caller in (ALICE, BOB):
            place(caller, f"k{number}", customerId=None)
            shop.clock.advance(seconds=1)
    bobs = ask(BOB, route, customer_id=id_of(BOB), query="?limit=1").json["cursor"]
    shop.calls.forget()
    for query in ("", "?idempotencyKey=k0", f"?cursor={bobs}", "?limit=nonsense", "?cursor=nonsense"):
        reply = ask(ALICE, route, customer_id=id_of(BOB), query=query)
        assert (reply.status, reply.kind) == (403, "forbidden")
    assert shop.calls.operations() == []
    listed = ask(ALICE, route, customer_id=id_of(ALICE), query=f"?cursor={bobs}").json["orders"]
    assert {order["customerId"] for order in listed} <= {id_of(ALICE)}


def test_a_key_names_nobody_elses_order_though_a_producer_chose_its_id(shop: Shop) -> None:
    taken = order_id_from_key(id_of(ALICE), "k")
    shop.produce(shop.event(taken, "p1", customerId=id_of(BOB)))
    shop.run_queue()
    route = "GET /customers/{customerId}/orders"
    found = ask(ALICE, route, customer_id=id_of(ALICE), query="?idempotencyKey=k")
    assert found.json == {"idempotencyKey": "k", "used": False}
    refused = place(ALICE, customerId=None)
    assert (refused.status, refused.json["orderId"]) == (422, taken)
    assert b"sub-bob" not in refused.body


def test_a_list_has_nobody_elses_order_though_the_index_lags(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the id of an order of Alice had been deleted, and used again by a producer for Bob."""
    mine, bobs = place(ALICE, customerId=None).order_id, place(BOB, customerId=None).order_id
    repository = type(shop.service.orders)
    read = repository.get_all
    monkeypatch.setattr(repository, "get_all", lambda self, ids: read(self, [*ids, bobs]))
    listed = ask(ALICE, "GET /customers/{customerId}/orders", customer_id=id_of(ALICE)).json["orders"]
    assert [order["orderId"] for order in listed] == [mine]


def test_an_encoded_or_a_differently_spelled_customer_is_compared_as_it_is_read(shop: Shop) -> None:
    route = "GET /customers/{customerId}/orders"
    assert ask(ALICE, route, customer_id="sub%2Dalice").status == 200
    for other in ("sub%2Dbob", "SUB-ALICE", "sub-alice%20", "sub-alice%00", "sub-alic%C3%A9"):
        assert ask(ALICE, route, customer_id=other).status == 403


# --- in which order, and with what left behind ---


def test_the_form_of_the_key_then_who_asks_then_the_body(shop: Shop) -> None:
    def refused(caller: Claims | None, key: str, body: object) -> str:
        headers = (("Content-Type", "application/json"), ("Idempotency-Key", key))
        return ask(caller, "POST /orders", body, headers=headers).kind

    assert refused(None, "a b", {}) == "idempotency-key-invalid"
    assert refused(None, "k", {}) == "unauthenticated"
    assert refused(ALICE, "k", {"customerId": "sub-bob"}) == "forbidden"
    assert refused(ALICE, "k", {}) == "invalid-order"
    assert shop.calls.operations() == []
    assert not place(ALICE, customerId=None).replayed


# --- who did it ---


def histories(shop: Shop, order_id: str) -> dict[str, list[Any]]:
    shown = {role: ask(caller, "GET /orders/{orderId}", order_id=order_id) for role, caller in ROLES.items() if caller}
    return {role: [entry.get("by") for entry in reply.json["history"]] for role, reply in shown.items()}


def test_the_history_says_who_did_it_to_operators_and_services_only(shop: Shop) -> None:
    order_id = place(ALICE, customerId=None).order_id
    shop.run_queue()
    shipped = ask(OPERATOR, "POST /orders/{orderId}/ship", order_id=order_id)
    assert shipped.json["history"][-1]["by"] == "sub-olga"
    ask(SERVICE, "POST /orders/{orderId}/deliver", order_id=order_id)
    shop.run_queue()
    did = ["sub-alice", None, None, "sub-olga", "services"]
    assert histories(shop, order_id) == {"customer": [None] * 5, "operator": did, "service": did}
    given_up = place(SERVICE, "k2", customerId=id_of(ALICE)).order_id
    ask(ALICE, "POST /orders/{orderId}/cancel", {"reason": "no more"}, order_id=given_up)
    assert histories(shop, given_up)["operator"] == ["services", "sub-alice"]
    listed = ask(ALICE, "GET /customers/{customerId}/orders", customer_id=id_of(ALICE))
    assert b'"by"' not in listed.body
    shop.run_queue()
    said = {"sub-olga", "services", '"by"'}
    published = shop.published()
    assert len(published) >= 4
    assert not [name for name in said if name in exact_json.dumps([event["detail"] for event in published])]


def test_who_did_it_is_logged_with_what_was_done_or_refused(shop: Shop) -> None:
    order_id = place(ALICE, customerId=None).order_id
    ask(ALICE, "POST /orders/{orderId}/ship", order_id=order_id)
    shop.run_queue()
    ask(OPERATOR, "POST /orders/{orderId}/ship", order_id=order_id)
    lines = [exact_json.loads(line.encode()) for line in shop.lines]
    by = [(line["message"], line["by"]) for line in lines if "by" in line]
    assert by == [("order placed", "sub-alice"), ("request forbidden", "sub-alice"), ("order shipped", "sub-olga")]


def test_an_iam_stage_names_the_identity_that_signed(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> None:
    with opened(aws, aws_calls, clock, settings={"AUTH": "iam"}) as shop:
        reply = ask(ARN, "POST /orders", a_body({"p1": 1}))
        shown = ask(ARN, "GET /orders/{orderId}", order_id=reply.order_id).json
        assert shown["history"][0]["by"] == ARN
        unsigned = ask(None, "POST /orders", a_body({"p2": 1}))
        assert (unsigned.status, unsigned.kind) == (403, "forbidden")
        assert len(shop.orders()) == 1
