"""The catalogue is read when it must be, remembered for a minute, and never a refusal's only ground."""

from decimal import Decimal
from typing import Any

import boto3
import pytest

from chalicelib.catalogue import Catalogue
from chalicelib.faults import Rejected, Unavailable
from chalicelib.order import LineItem
from chalicelib.pricing import Priced, Refused
from chalicelib.validation import OrderRequest, RequestedLine
from tests.support.aws_calls import AwsCalls
from tests.support.events import Clock
from tests.support.stage import Stage


def product(stage: Stage, product_id: str, **values: Any) -> None:
    stage.put_item("INVENTORY_TABLE", {"productId": product_id, "stock": 5, **values})


def asked(total: str, *product_ids: str) -> OrderRequest:
    lines = tuple(RequestedLine(product_id, 1, None, None) for product_id in product_ids)
    return OrderRequest("c1", lines, Decimal(total), "USD", None)


def catalogue_on(stage: Stage, calls: AwsCalls, clock: Clock) -> Catalogue:
    client = boto3.client("dynamodb")
    calls.watch(client)
    return Catalogue(client, stage["INVENTORY_TABLE"], "USD", clock)


@pytest.fixture
def catalogue(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> Catalogue:
    return catalogue_on(aws, aws_calls, clock)


def test_an_order_is_priced_in_one_read_whatever_it_holds(each_aws: Stage, aws_calls: AwsCalls, clock: Clock) -> None:
    for n in range(50):
        product(each_aws, f"p{n}", name=f"Product {n}", price=Decimal("10.50"))
    outcome = catalogue_on(each_aws, aws_calls, clock).price(asked("525.00", *(f"p{n}" for n in range(50))))
    assert isinstance(outcome, Priced)
    assert outcome.items[7] == LineItem("p7", 1, Decimal("10.50"), "Product 7")
    # DynamoDB gives 10.5 back.
    assert str(outcome.items[7].unit_price) == "10.50"
    assert aws_calls.operations() == ["BatchGetItem"]


def test_a_product_without_a_name_goes_by_its_id(aws: Stage, catalogue: Catalogue) -> None:
    product(aws, "p1", price=10)
    assert catalogue.price(asked("10.00", "p1")) == Priced((LineItem("p1", 1, Decimal("10.00"), "p1"),))


def test_what_is_known_is_not_read_again_for_a_minute(
    aws: Stage, catalogue: Catalogue, aws_calls: AwsCalls, clock: Clock
) -> None:
    product(aws, "p1", price=10)
    for seconds in (0, 30, 29.9):
        clock.advance(seconds=seconds)
        assert isinstance(catalogue.price(asked("10.00", "p1")), Priced)
    assert aws_calls.operations() == ["BatchGetItem"]
    clock.advance(seconds=0.1)
    assert isinstance(catalogue.price(asked("10.00", "p1")), Priced)
    assert aws_calls.operations() == ["BatchGetItem"] * 2


def test_a_new_price_counts_within_the_minute_and_at_once_for_who_asks_for_it(aws: Stage, catalogue: Catalogue) -> None:
    product(aws, "p1", price=10)
    catalogue.price(asked("10.00", "p1"))
    product(aws, "p1", price=12)
    # Who still asks for the remembered price gets it, for a minute at most; no refusal rests on it.
    assert isinstance(catalogue.price(asked("10.00", "p1")), Priced)
    assert isinstance(catalogue.price(asked("12.00", "p1")), Priced)
    refused = catalogue.price(asked("10.00", "p1"))
    assert isinstance(refused, Refused)
    assert refused.errors[0].expected == Decimal("12.00")


def test_a_refusal_is_always_read_afresh(aws: Stage, catalogue: Catalogue, aws_calls: AwsCalls) -> None:
    product(aws, "p1", price=10)
    for _ in range(3):
        assert isinstance(catalogue.price(asked("9.99", "p1")), Refused)
    assert aws_calls.operations() == ["BatchGetItem"] * 3


def test_what_is_not_in_the_catalogue_is_never_remembered(aws: Stage, catalogue: Catalogue) -> None:
    refused = catalogue.price(asked("10.00", "p1"))
    assert isinstance(refused, Refused)
    assert refused.failure == "UNKNOWN_PRODUCT"
    product(aws, "p1", price=10)
    assert isinstance(catalogue.price(asked("10.00", "p1")), Priced)


def test_one_that_is_unknown_has_all_of_them_read(aws: Stage, catalogue: Catalogue, aws_calls: AwsCalls) -> None:
    product(aws, "p1", price=10)
    product(aws, "p2", price=1)
    catalogue.price(asked("10.00", "p1"))
    assert isinstance(catalogue.price(asked("11.00", "p1", "p2")), Priced)
    assert aws_calls.operations() == ["BatchGetItem"] * 2


def test_a_row_without_a_price_holds_stock_but_is_no_product(aws: Stage, catalogue: Catalogue) -> None:
    product(aws, "given-up", name="Gone")
    refused = catalogue.price(asked("10.00", "given-up"))
    assert isinstance(refused, Refused)
    assert refused.failure == "UNKNOWN_PRODUCT"


def test_what_dynamodb_leaves_unread_is_asked_for_again(aws: Stage, catalogue: Catalogue, aws_calls: AwsCalls) -> None:
    for n in range(3):
        product(aws, f"p{n}", price=10)

    def leave(parsed: dict[str, Any], **_: Any) -> None:
        rows = parsed["Responses"][catalogue.table]
        if len(rows) > 1:
            keys = [{"productId": row["productId"]} for row in rows[1:]]
            projection = {
                "ProjectionExpression": "productId, #name, price",
                "ExpressionAttributeNames": {"#name": "name"},
            }
            parsed["UnprocessedKeys"] = {catalogue.table: {"Keys": keys, **projection}}
            del rows[1:]

    catalogue.client.meta.events.register("after-call.dynamodb.BatchGetItem", leave)
    assert isinstance(catalogue.price(asked("30.00", "p0", "p1", "p2")), Priced)
    assert aws_calls.operations() == ["BatchGetItem"] * 3


def test_a_catalogue_that_cannot_be_read_is_unavailable_never_a_refusal(
    catalogue: Catalogue, aws_calls: AwsCalls
) -> None:
    aws_calls.drop_request(times=3, attempts=None)
    with pytest.raises(Unavailable):
        catalogue.price(asked("10.00", "p1"))
    aws_calls.heal()
    aws_calls.refuse("ThrottlingException")
    with pytest.raises(Unavailable):
        catalogue.price(asked("10.00", "p1"))
    aws_calls.refuse("AccessDeniedException")
    with pytest.raises(Rejected):
        catalogue.price(asked("10.00", "p1"))


def test_what_is_remembered_serves_while_the_catalogue_is_down(
    aws: Stage, catalogue: Catalogue, aws_calls: AwsCalls
) -> None:
    product(aws, "p1", price=10)
    catalogue.price(asked("10.00", "p1"))
    aws_calls.drop_request(times=None, attempts=None)
    assert isinstance(catalogue.price(asked("10.00", "p1")), Priced)
    with pytest.raises(Unavailable):
        catalogue.price(asked("9.99", "p1"))
