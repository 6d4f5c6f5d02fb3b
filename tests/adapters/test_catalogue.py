"""The catalogue is read when it must be, remembered for a minute, and never a refusal's only ground."""

from decimal import Decimal
from typing import Any

import boto3
import pytest

from chalicelib.adapters.catalogue import InventoryCatalogue
from chalicelib.domain.order import LineItem
from chalicelib.domain.pricing import IntakeRefusal, Priced
from chalicelib.domain.request import OrderRequest
from chalicelib.faults import Unavailable
from tests.support.aws_calls import AwsCalls
from tests.support.events import Clock
from tests.support.stage import Stage


def product(stage: Stage, product_id: str, **values: Any) -> None:
    stage.put_item("INVENTORY_TABLE", {"productId": product_id, "stock": 5, **values})


def asked(total: str, *product_ids: str) -> OrderRequest:
    lines = tuple(LineItem(product_id, 1, None, None) for product_id in product_ids)
    return OrderRequest("c1", lines, Decimal(total), "USD", None)


def catalogue_on(stage: Stage, calls: AwsCalls, clock: Clock) -> InventoryCatalogue:
    client = boto3.client("dynamodb")
    calls.watch(client)
    return InventoryCatalogue(client, stage["INVENTORY_TABLE"], "USD", clock)


@pytest.fixture
def catalogue(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> InventoryCatalogue:
    return catalogue_on(aws, aws_calls, clock)


def test_an_order_is_priced_in_one_read_whatever_it_holds(each_aws: Stage, aws_calls: AwsCalls, clock: Clock) -> None:
    product(each_aws, "p0", price=Decimal("10.50"))
    for n in range(1, 50):
        product(each_aws, f"p{n}", name=f"Product {n}", price=Decimal("10.50"))
    outcome = catalogue_on(each_aws, aws_calls, clock).price(asked("525.00", *(f"p{n}" for n in range(50))))
    assert isinstance(outcome, Priced)
    assert outcome.items[7] == LineItem("p7", 1, Decimal("10.50"), "Product 7")
    assert outcome.items[0].product_name == "p0"
    # DynamoDB gives 10.5 back.
    assert str(outcome.items[7].unit_price) == "10.50"
    assert aws_calls.operations() == ["BatchGetItem"]


def test_the_catalogue_is_read_consistently_so_no_refusal_relies_on_a_price_of_a_moment_ago(
    catalogue: InventoryCatalogue, aws_calls: AwsCalls
) -> None:
    assert isinstance(catalogue.price(asked("10.00", "p1")), IntakeRefusal)
    (read,) = (request for call in aws_calls.made for request in call.params["RequestItems"].values())
    assert read["ConsistentRead"] is True


def test_what_is_known_is_not_read_again_for_a_minute(
    aws: Stage, catalogue: InventoryCatalogue, aws_calls: AwsCalls, clock: Clock
) -> None:
    product(aws, "p1", price=10)
    for seconds in (0, 30, 29.9):
        clock.advance(seconds=seconds)
        assert isinstance(catalogue.price(asked("10.00", "p1")), Priced)
    assert aws_calls.operations() == ["BatchGetItem"]
    clock.advance(seconds=0.1)
    assert isinstance(catalogue.price(asked("10.00", "p1")), Priced)
    assert aws_calls.operations() == ["BatchGetItem"] * 2


def test_a_new_price_counts_at_once_for_who_asks_for_it_and_no_refusal_is_remembered(
    aws: Stage, catalogue: InventoryCatalogue, aws_calls: AwsCalls
) -> None:
    product(aws, "p1", price=10)
    catalogue.price(asked("10.00", "p1"))
    product(aws, "p1", price=12)
    # Who still asks for the remembered price gets it, for a minute at most.
    assert isinstance(catalogue.price(asked("10.00", "p1")), Priced)
    assert isinstance(catalogue.price(asked("12.00", "p1")), Priced)
    for n in (1, 2):
        refused = catalogue.price(asked("10.00", "p1"))
        assert isinstance(refused, IntakeRefusal)
        assert refused.errors[0].expected == Decimal("12.00")
        assert aws_calls.operations() == ["BatchGetItem"] * (2 + n)


def test_what_is_not_in_the_catalogue_or_has_no_price_is_never_remembered(
    aws: Stage, catalogue: InventoryCatalogue
) -> None:
    for _ in range(2):
        refused = catalogue.price(asked("10.00", "p1"))
        assert isinstance(refused, IntakeRefusal)
        assert refused.failure == "UNKNOWN_PRODUCT"
        product(aws, "p1", name="Given up, but it holds stock")
    product(aws, "p1", price=10)
    assert isinstance(catalogue.price(asked("10.00", "p1")), Priced)


def test_one_that_is_unknown_has_all_of_them_read(
    aws: Stage, catalogue: InventoryCatalogue, aws_calls: AwsCalls
) -> None:
    product(aws, "p1", price=10)
    product(aws, "p2", price=1)
    catalogue.price(asked("10.00", "p1"))
    assert isinstance(catalogue.price(asked("11.00", "p1", "p2")), Priced)
    assert aws_calls.operations() == ["BatchGetItem"] * 2


def test_what_is_remembered_serves_while_the_catalogue_is_down(
    aws: Stage, catalogue: InventoryCatalogue, aws_calls: AwsCalls
) -> None:
    product(aws, "p1", price=10)
    catalogue.price(asked("10.00", "p1"))
    aws_calls.drop_request(times=None, attempts=None)
    assert isinstance(catalogue.price(asked("10.00", "p1")), Priced)
    with pytest.raises(Unavailable):
        catalogue.price(asked("9.99", "p1"))
