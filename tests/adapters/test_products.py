"""The catalogue page by page: each product once, nothing that cannot be bought, and at most a minute old."""

from decimal import Decimal
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import telemetry
from chalicelib.adapters.products import InventoryProducts
from chalicelib.domain import ids
from chalicelib.domain.pricing import Product
from chalicelib.entrypoints.schema import validator
from chalicelib.faults import Unavailable
from tests.support.aws_calls import AwsCalls
from tests.support.events import Clock
from tests.support.stage import Stage


def product(stage: Stage, product_id: str, **values: Any) -> None:
    row = {"productId": product_id, "name": product_id, "price": Decimal(10), "stock": 5, **values}
    stage.put_item("INVENTORY_TABLE", {name: value for name, value in row.items() if value is not None})


def products_on(stage: Stage, calls: AwsCalls, clock: Clock) -> InventoryProducts:
    client = boto3.client("dynamodb")
    calls.watch(client)
    return InventoryProducts(client, stage["INVENTORY_TABLE"], clock)


def walk(products: InventoryProducts, limit: int) -> list[Product]:
    found: list[Product] = []
    start = None
    while True:
        page = products.page(limit, start)
        assert len(page.products) <= limit
        found += page.products
        start = page.next_start
        if start is None:
            return found


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_walking_along_the_pages_meets_each_product_once(
    each_aws: Stage, aws_calls: AwsCalls, clock: Clock, limit: int
) -> None:
    for n in range(7):
        product(each_aws, f"p{n}", name=f"Product {n}", price=Decimal("10.5"))
    product(each_aws, "given-back", name=None, price=None)
    found = walk(products_on(each_aws, aws_calls, clock), limit)
    assert sorted(found, key=lambda p: p.product_id) == [
        Product(f"p{n}", f"Product {n}", Decimal("10.50")) for n in range(7)
    ]
    assert {str(each.price) for each in found} == {"10.50"}


def test_what_no_order_can_name_or_pay_is_hidden_and_logged(
    aws: Stage, aws_calls: AwsCalls, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    product(aws, "good")
    product(aws, "unpriced", price=None)
    broken: dict[str, dict[str, Any]] = {
        "a b": {},
        "a/b": {},
        "a\u200bb": {},
        "p" * 65: {},
        "cents": {"price": Decimal("0.001")},
        "dear": {"price": 10**12},
        "text": {"price": "10"},
        "control": {"name": "a\nb"},
    }
    for product_id, values in broken.items():
        product(aws, product_id, **values)
    warned: list[tuple[str, str]] = []
    monkeypatch.setattr(telemetry, "warning", lambda event, productId: warned.append((event, productId)))  # noqa: N803
    assert [each.product_id for each in walk(products_on(aws, aws_calls, clock), 100)] == ["good"]
    assert set(warned) == {("invalid catalogue row", product_id) for product_id in broken}


def test_a_page_is_remembered_for_a_minute(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> None:
    products = products_on(aws, aws_calls, clock)
    product(aws, "p1")
    for seconds in (0, 30, 29.9):
        clock.advance(seconds=seconds)
        assert [each.price for each in products.page(20, None).products] == [Decimal("10.00")]
        product(aws, "p1", price=Decimal(12))
    assert aws_calls.operations() == ["Scan"]
    clock.advance(seconds=0.1)
    assert [each.price for each in products.page(20, None).products] == [Decimal("12.00")]
    assert aws_calls.operations() == ["Scan"] * 2


def test_however_many_pages_are_asked_for_few_are_remembered(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> None:
    products = products_on(aws, aws_calls, clock)
    for n in range(1, 300):
        products.page(1, f"p{n}")
        assert len(products._pages) <= 128


def test_while_dynamodb_is_down_a_page_that_is_not_remembered_is_unavailable(
    aws: Stage, aws_calls: AwsCalls, clock: Clock
) -> None:
    products = products_on(aws, aws_calls, clock)
    products.page(20, None)
    aws_calls.drop_request(times=None, attempts=None)
    assert products.page(20, None).products == ()
    with pytest.raises(Unavailable):
        products.page(10, None)


LINE: Any = validator("order_request").schema
OF_ORDERS = validator("order_request").evolve(schema=LINE["properties"]["items"]["items"]["properties"]["productId"])


@given(st.text(min_size=1, max_size=70))
def test_a_product_is_shown_if_an_order_may_name_it(product_id: str) -> None:
    assert ids.is_product_id(product_id) is OF_ORDERS.is_valid(product_id)
