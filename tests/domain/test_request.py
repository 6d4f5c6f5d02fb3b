"""What was asked for becomes an order, and an order says what was asked for."""

from decimal import Decimal

from chalicelib.domain.order import Address, HistoryEntry, LineItem, Order, Status
from chalicelib.domain.request import Content, FieldError, Invalid, OrderRequest
from tests.support.orders import NOW

LINES = (
    LineItem("b", 1, Decimal("2.00"), "first b"),
    LineItem("a", 2, Decimal("3.00"), "a"),
    LineItem("b", 4, Decimal("5.00"), "last b"),
)
ADDRESS = Address("s", "c", "DE", zip="z")
REQUEST = OrderRequest("c1", LINES, Decimal("28.00"), "USD", ADDRESS)
STORED = (LineItem("b", 5, Decimal("2.50"), "B"),)


def placed() -> Order:
    return REQUEST.to_order(
        order_id="o1",
        items=STORED,
        created_at=NOW,
        fingerprint="v1:f",
        payment_key="o1.key",
        request_id="r1",
        correlation_id="x1",
    )


def test_an_order_has_all_that_was_asked_for_with_the_lines_to_store() -> None:
    assert placed() == Order(
        order_id="o1",
        customer_id="c1",
        items=STORED,
        total_amount=Decimal("28.00"),
        currency="USD",
        created_at=NOW,
        fingerprint="v1:f",
        payment_key="o1.key",
        status=Status.PENDING,
        updated_at=NOW,
        history=(HistoryEntry(Status.PENDING, NOW),),
        shipping_address=ADDRESS,
        request_id="r1",
        correlation_id="x1",
    )


def test_what_an_order_asked_for_is_read_from_it() -> None:
    assert OrderRequest.from_order(placed()) == OrderRequest("c1", STORED, Decimal("28.00"), "USD", ADDRESS)
    assert Content.from_order(REQUEST) == Content("c1", {"b": 5, "a": 2}, Decimal("28.00"), "USD", ADDRESS)


def test_summed_lines_have_the_name_and_price_of_the_last_one_of_their_product() -> None:
    assert REQUEST.summed_items() == (
        LineItem("b", 5, Decimal("5.00"), "last b"),
        LineItem("a", 2, Decimal("3.00"), "a"),
    )


def test_all_that_is_wrong_is_in_one_text() -> None:
    errors = (FieldError("#/a", "is not this"), FieldError("#/b", "is not that", Decimal(1)))
    assert (str(Invalid(errors)), Invalid(errors).errors) == ("#/a: is not this; #/b: is not that", errors)
