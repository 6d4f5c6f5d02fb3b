"""What an order costs is the catalogue's word; a refusal has the right figures."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.order import CENT, LineItem
from chalicelib.domain.pricing import IntakeRefusal, Priced, Product, price
from chalicelib.domain.request import FieldError, OrderRequest

PRODUCTS = {
    "mouse": Product("mouse", "Wireless Mouse", Decimal("29.99")),
    "hub": Product("hub", "USB-C Hub", Decimal("49.99")),
}


def line(product_id: str, quantity: int = 1, unit_price: str | None = None) -> LineItem:
    return LineItem(product_id, quantity, Decimal(unit_price) if unit_price else None, "as the client calls it")


def asked(*lines: LineItem, total: str, **fields: Any) -> OrderRequest:
    whole: dict[str, Any] = {"currency": "USD", "shipping_address": None} | fields
    return OrderRequest("c1", lines, Decimal(total), **whole)


def refused(request: OrderRequest) -> tuple[str, list[tuple[str, object]]]:
    """The failure in a word, and pointer and right figure of each error."""
    outcome = price(request, PRODUCTS, "USD")
    assert isinstance(outcome, IntakeRefusal)
    return outcome.failure, [(error.pointer, error.expected) for error in outcome.errors]


def test_the_lines_stored_are_the_catalogues_one_for_each_product() -> None:
    lines = (line("mouse", 1, "29.99"), line("hub"), line("mouse", 2))
    assert price(asked(*lines, total="139.96"), PRODUCTS, "USD") == Priced(
        (LineItem("mouse", 3, Decimal("29.99"), "Wireless Mouse"), LineItem("hub", 1, Decimal("49.99"), "USB-C Hub"))
    )


@pytest.mark.parametrize("claimed", ["29.98", "30.00", "0.00", "2999.00"])
def test_a_unit_price_that_disagrees_is_refused_at_each_line_with_the_right_one(claimed: str) -> None:
    lines = (line("hub", 1, "49.99"), line("mouse", 1, claimed), line("mouse", 1, "29.99"), line("mouse", 1, claimed))
    wrong = [(f"#/items/{n}/unitPrice", Decimal("29.99")) for n in (1, 3)]
    assert refused(asked(*lines, total="139.96")) == ("PRICE_MISMATCH", wrong)


def test_a_total_that_agrees_with_the_clients_own_wrong_prices_is_refused_all_the_same() -> None:
    wrong = [("#/items/0/unitPrice", Decimal("29.99")), ("#/totalAmount", Decimal("59.98"))]
    assert refused(asked(line("mouse", 2, "1.00"), total="2.00")) == ("PRICE_MISMATCH", wrong)


def test_an_unknown_product_is_refused_and_no_total_is_made_up() -> None:
    outcome = refused(asked(line("mouse"), line("gone", 3, "1.00"), total="0.01"))
    assert outcome == ("UNKNOWN_PRODUCT", [("#/items/1/productId", None)])


def test_another_currency_is_refused_with_the_catalogues() -> None:
    outcome = refused(asked(line("mouse"), total="29.99", currency="EUR"))
    assert outcome == ("CURRENCY_MISMATCH", [("#/currency", "USD")])


def test_all_disagreements_come_at_once_and_in_one_text() -> None:
    outcome = price(asked(line("gone"), line("mouse", 1, "1.00"), total="1.00", currency="EUR"), PRODUCTS, "USD")
    assert isinstance(outcome, IntakeRefusal)
    assert outcome.reason == (
        "#/items/0/productId: product gone is not in the catalogue; "
        "#/items/1/unitPrice: is not the catalogue's price (29.99); "
        "#/currency: is not the catalogue's currency (USD)"
    )


def test_an_order_without_lines_costs_nothing_to_two_decimals() -> None:
    outcome = price(asked(total="1.00"), PRODUCTS, "USD")
    assert isinstance(outcome, IntakeRefusal)
    assert outcome.reason == "#/totalAmount: is not the sum of the lines (0.00)"


def test_the_largest_order_is_added_up_exactly() -> None:
    dear = {"dear": Product("dear", "dear", Decimal("9999.99"))}
    lines = [line("dear", 1_000_000) for _ in range(50)]
    assert isinstance(price(asked(*lines, total="499999500000.00"), dear, "USD"), Priced)
    assert price(asked(*lines, total="499999500000.01"), dear, "USD") == IntakeRefusal(
        "TOTAL_MISMATCH", (FieldError("#/totalAmount", "is not the sum of the lines", Decimal("499999500000.00")),)
    )


@given(st.lists(st.tuples(st.sampled_from(sorted(PRODUCTS)), st.integers(1, 1_000_000)), min_size=1, max_size=50))
def test_the_right_total_is_always_taken_and_a_cent_off_never(lines: list[tuple[str, int]]) -> None:
    total = sum((PRODUCTS[p].price * n for p, n in lines), Decimal(0))
    request = asked(*(line(p, n) for p, n in lines), total=str(total))
    priced = price(request, PRODUCTS, "USD")
    assert isinstance(priced, Priced)
    assert {item.product_id: item.quantity for item in priced.items} == request.quantities
    for cents in (CENT, -CENT):
        off = replace(request, total_amount=total + cents)
        assert refused(off) == ("TOTAL_MISMATCH", [("#/totalAmount", total)])
