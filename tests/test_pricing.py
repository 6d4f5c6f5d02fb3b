"""What an order costs is the catalogue's word; a refusal has the right figures."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.order import LineItem
from chalicelib.pricing import Priced, Product, Refused, price
from chalicelib.validation import Error, OrderRequest, RequestedLine

PRODUCTS = {
    "mouse": Product("mouse", "Wireless Mouse", Decimal("29.99")),
    "hub": Product("hub", "USB-C Hub", Decimal("49.99")),
}


def line(product_id: str, quantity: int = 1, unit_price: str | None = None) -> RequestedLine:
    return RequestedLine(product_id, quantity, Decimal(unit_price) if unit_price else None, "as the client calls it")


def asked(*lines: RequestedLine, total: str, **fields: Any) -> OrderRequest:
    whole: dict[str, Any] = {"currency": "USD", "shipping_address": None} | fields
    return OrderRequest("c1", lines, Decimal(total), **whole)


def refused(request: OrderRequest) -> Refused:
    outcome = price(request, PRODUCTS, "USD")
    assert isinstance(outcome, Refused)
    return outcome


def test_the_lines_stored_are_the_catalogues() -> None:
    assert price(asked(line("mouse", 2), line("hub", 1, "49.99"), total="109.97"), PRODUCTS, "USD") == Priced(
        (LineItem("mouse", 2, Decimal("29.99"), "Wireless Mouse"), LineItem("hub", 1, Decimal("49.99"), "USB-C Hub"))
    )


def test_two_lines_of_one_product_become_one() -> None:
    lines = (line("mouse", 1, "29.99"), line("hub"), line("mouse", 2))
    assert price(asked(*lines, total="139.96"), PRODUCTS, "USD") == Priced(
        (LineItem("mouse", 3, Decimal("29.99"), "Wireless Mouse"), LineItem("hub", 1, Decimal("49.99"), "USB-C Hub"))
    )


@pytest.mark.parametrize("claimed", ["29.98", "30.00", "0.00", "2999.00"])
def test_a_unit_price_that_disagrees_is_refused_with_the_right_one(claimed: str) -> None:
    outcome = refused(asked(line("hub", 1, "49.99"), line("mouse", 2, claimed), total="109.97"))
    assert outcome == Refused(
        "PRICE_MISMATCH", (Error("#/items/1/unitPrice", "is not the catalogue's price", Decimal("29.99")),)
    )


@pytest.mark.parametrize("total", ["109.96", "109.98", "0.01", "1099.70"])
def test_a_total_that_disagrees_is_refused_with_the_right_one(total: str) -> None:
    outcome = refused(asked(line("mouse", 2), line("hub"), total=total))
    assert outcome == Refused(
        "TOTAL_MISMATCH", (Error("#/totalAmount", "is not the sum of the lines", Decimal("109.97")),)
    )


def test_a_total_that_agrees_with_the_clients_own_wrong_prices_is_refused_all_the_same() -> None:
    outcome = refused(asked(line("mouse", 2, "1.00"), total="2.00"))
    assert [(error.pointer, error.expected) for error in outcome.errors] == [
        ("#/items/0/unitPrice", Decimal("29.99")),
        ("#/totalAmount", Decimal("59.98")),
    ]
    assert outcome.failure == "PRICE_MISMATCH"


def test_each_line_of_one_product_is_compared() -> None:
    outcome = refused(asked(line("mouse", 1, "29.99"), line("mouse", 1, "29.00"), total="59.98"))
    assert [error.pointer for error in outcome.errors] == ["#/items/1/unitPrice"]


def test_an_unknown_product_is_refused_and_no_total_is_made_up() -> None:
    outcome = refused(asked(line("mouse"), line("gone", 3, "1.00"), total="0.01"))
    assert outcome == Refused(
        "UNKNOWN_PRODUCT", (Error("#/items/1/productId", "product gone is not in the catalogue"),)
    )


def test_another_currency_is_refused_with_the_catalogues() -> None:
    outcome = refused(asked(line("mouse"), total="29.99", currency="EUR"))
    assert outcome == Refused("CURRENCY_MISMATCH", (Error("#/currency", "is not the catalogue's currency", "USD"),))


def test_all_disagreements_come_at_once_and_in_one_text() -> None:
    outcome = refused(asked(line("gone"), line("mouse", 1, "1.00"), total="1.00", currency="EUR"))
    assert [error.pointer for error in outcome.errors] == ["#/items/0/productId", "#/items/1/unitPrice", "#/currency"]
    assert outcome.reason == (
        "#/items/0/productId: product gone is not in the catalogue; "
        "#/items/1/unitPrice: is not the catalogue's price (29.99); "
        "#/currency: is not the catalogue's currency (USD)"
    )


def test_the_largest_order_is_added_up_exactly() -> None:
    dear = {"dear": Product("dear", "dear", Decimal("9999.99"))}
    lines = [line("dear", 1_000_000) for _ in range(50)]
    assert isinstance(price(asked(*lines, total="499999500000.00"), dear, "USD"), Priced)
    assert isinstance(price(asked(*lines, total="499999500000.01"), dear, "USD"), Refused)


@given(st.lists(st.tuples(st.sampled_from(sorted(PRODUCTS)), st.integers(1, 1_000_000)), min_size=1, max_size=50))
def test_the_right_total_is_always_taken_and_a_cent_more_never(lines: list[tuple[str, int]]) -> None:
    total = sum((PRODUCTS[p].price * n for p, n in lines), Decimal(0))
    request = asked(*(line(p, n) for p, n in lines), total=str(total))
    priced = price(request, PRODUCTS, "USD")
    assert isinstance(priced, Priced)
    assert {item.product_id: item.quantity for item in priced.items} == request.quantities
    more = asked(*(line(p, n) for p, n in lines), total=str(total + Decimal("0.01")))
    assert refused(more).errors[0].expected == total
