"""What is open to everybody: whether the API answers, and what can be bought."""

import json
import os
import subprocess
import sys
from decimal import Decimal
from urllib.parse import quote

import pytest

from chalicelib.entrypoints.schema import validator
from tests.support import gateway
from tests.support.customer import Reply
from tests.support.shop import Shop
from tests.support.template import ROOT


@pytest.fixture
def shop(small_shop: Shop) -> Shop:
    return small_shop


def products(path: str = "/products", *, base: str = "", **headers: str) -> Reply:
    lines = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return gateway.invoke(gateway.event("GET", path, lines, resource="/products", base=base))


# --- health ---


def test_health_needs_no_setting_and_calls_nothing(shop: Shop) -> None:
    reply = shop.get("/health")
    assert (reply.status, reply.json, reply.headers["cache-control"]) == (200, {"status": "ok"}, "no-store")
    assert shop.calls.operations() == []
    script = (
        "import app, json; from tests.support import gateway;"
        "reply = gateway.invoke(gateway.event('GET', '/health', resource='/health'));"
        "print(json.dumps([reply.status, reply.json]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, check=False
    )
    assert json.loads(ran.stdout.splitlines()[-1]) == [200, {"status": "ok"}], ran.stderr


# --- products ---


def test_the_catalogue_is_what_an_order_may_name_and_pay(shop: Shop) -> None:
    shop.set_product("unpriced", stock=3)
    reply = products()
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert list(validator("products").iter_errors(reply.json)) == []
    listed = {each["productId"]: each for each in reply.json["products"]}
    assert listed["PROD-001"] == {"productId": "PROD-001", "name": "Wireless Mouse", "price": Decimal("29.99")}
    assert "unpriced" not in listed
    assert b'"price": 10.00' in reply.body
    for each in listed.values():
        order = shop.order(each["productId"], totalAmount=each["price"], currency=reply.json["currency"])
        assert shop.post(order).status == 201


@pytest.mark.parametrize("base", ["", "/dev"])
def test_its_pages_are_walked_along_next(shop: Shop, base: str) -> None:
    path, met = "/products?limit=2", []
    while path:
        document = products(path, base=base).json
        met += [each["productId"] for each in document["products"]]
        assert ("cursor" in document) == ("next" in document)
        if "next" in document:
            assert document["next"] == f"{base}/products?limit=2&cursor={quote(document['cursor'])}"
        path = document.get("next", "").removeprefix(base)
    everything = [each["productId"] for each in products("/products?limit=100").json["products"]]
    assert met == everything
    assert len(set(met)) == len(met) > 2


def test_a_client_that_has_the_page_already_gets_304(shop: Shop) -> None:
    first = products()
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "public, max-age=60"
    for known in (tag, tag.removeprefix("W/"), f'"x", {tag}', "*"):
        again = products(If_None_Match=known)
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag), known
        assert again.headers["cache-control"] == "public, max-age=60"
    for other in ('"x"', tag.replace('"', ""), '"*"', ""):
        assert products(If_None_Match=other).body == first.body, other
    assert products("/products?limit=1").headers["etag"] != tag

    shop.set_product("PROD-001", price=Decimal("31.00"))
    assert products(If_None_Match=tag).status == 304, "remembered for a minute"
    shop.clock.advance(minutes=1)
    changed = products(If_None_Match=tag)
    assert (changed.status, changed.headers["etag"] != tag) == (200, True)


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        *((f"limit={limit}", "invalid-limit") for limit in ("0", "101", "ten", "")),
        *((f"cursor={cursor}", "invalid-cursor") for cursor in ("", "!", "WzFd", "IiI=", "Inw=", "%C3%A9")),
    ],
)
def test_what_no_page_gave_is_refused(shop: Shop, query: str, kind: str) -> None:
    reply = products(f"/products?{query}")
    assert (reply.status, reply.kind) == (400, kind)
    assert shop.calls.operations() == []


def test_a_catalogue_that_cannot_be_read_is_asked_for_again(shop: Shop) -> None:
    shop.calls.drop_request(times=None, attempts=None)
    reply = products()
    assert (reply.status, reply.kind, reply.headers["cache-control"]) == (503, "unavailable", "no-store")
