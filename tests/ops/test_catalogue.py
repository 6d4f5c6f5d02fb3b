"""`catalogue list`, `load` and `restock`."""

import json
import os
import signal
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chalicelib import exact_json
from ops.products import BadCatalogue, read_products
from tests.ops.conftest import Operator, audit_of
from tests.support.shop import Shop
from tests.support.template import ROOT

LAMP = {"productId": "LAMP", "name": "Lamp", "price": Decimal("12.50"), "stock": 7}


def a_file(folder: Path, *rows: Any) -> str:
    path = folder / "catalogue.json"
    path.write_text(exact_json.dumps(rows), "utf-8")
    return str(path)


def row(shop: Shop, product: str) -> dict[str, Any]:
    (item,) = (item for item in shop.stage.items("INVENTORY_TABLE") if item["productId"] == product)
    return item


# --- list ---


def test_the_products_are_listed_by_id_with_their_stock(operator: Operator, shop: Shop, tmp_path: Path) -> None:
    operator.does("catalogue", "load", a_file(tmp_path, LAMP))
    shop.set_product("A-REMOVED-ONE", stock=3)  # what cancelled orders gave back
    heading, *rows, total = operator.does("catalogue", "list").splitlines()
    assert heading.split() == ["product", "name", "price", "stock", "category"]
    assert rows[0].split() == ["LAMP", "Lamp", "12.50", "USD", "7"]
    assert [line.split()[0] for line in rows] == sorted(line.split()[0] for line in rows)
    assert "A-REMOVED-ONE" not in "".join(rows)
    assert total == f"{len(rows)} products."
    assert operator.json("catalogue", "list")[0] == LAMP


# --- load ---


def test_a_new_product_is_on_sale(operator: Operator, shop: Shop, tmp_path: Path) -> None:
    result = operator("catalogue", "load", a_file(tmp_path, LAMP))
    assert result.stdout == "1 product loaded: 1 new, 0 known (their stock is unchanged).\n"
    assert (audit_of(result)[0]["audit"], audit_of(result)[0]["ids"]) == ("catalogue load", ["LAMP"])
    assert row(shop, "LAMP") == LAMP
    order = {"customerId": "C", "items": [{"productId": "LAMP", "quantity": 2}], "totalAmount": Decimal("25.00")}
    order_id = shop.place(order, key="k").order_id
    shop.run_queue()
    assert (shop.stored(order_id)["status"], shop.stock("LAMP")) == ("CONFIRMED", 5)


def test_the_stock_of_a_known_product_is_left_alone(operator: Operator, shop: Shop, tmp_path: Path) -> None:
    shop.place(key="k1")
    shop.run_queue()
    mouse = {"productId": "PROD-001", "name": "Mouse, better", "price": Decimal("31.00"), "stock": 9999}
    answer = operator.does("catalogue", "load", a_file(tmp_path, mouse))
    assert answer == "1 product loaded: 0 new, 1 known (their stock is unchanged).\n"
    assert row(shop, "PROD-001") == {**mouse, "stock": 499}


def test_stock_that_a_removed_product_got_back_is_left_alone(operator: Operator, shop: Shop, tmp_path: Path) -> None:
    shop.set_product("LAMP", stock=3)
    operator.does("catalogue", "load", a_file(tmp_path, LAMP))
    assert row(shop, "LAMP") == {**LAMP, "stock": 3}


def test_the_sample_catalogue_can_be_loaded_any_number_of_times(operator: Operator, shop: Shop) -> None:
    for _ in range(2):
        operator.does("catalogue", "load", str(ROOT / "local" / "catalogue.json"))
    assert row(shop, "PROD-001")["price"] == Decimal("29.99")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"price": Decimal("29.995")}, "row 2 (LAMP): price must be an amount of at most two decimals"),
        ({"price": -1}, "row 2 (LAMP): price must be at least 0"),
        ({"price": "12.50"}, "row 2 (LAMP): price must be a number"),
        ({"stock": -1}, "row 2 (LAMP): stock must be at least 0"),
        ({"stock": Decimal("1.5")}, "row 2 (LAMP): stock must be a whole number"),
        ({"stock": True}, "row 2 (LAMP): stock must be a whole number"),
        ({"name": ""}, "row 2 (LAMP): name must not be empty"),
        ({"colour": "red"}, "row 2 (LAMP): colour is not a known field"),
        ({"productId": "a/b"}, "row 2 (a/b): productId must be made of visible characters, without / and %"),
        ({"productId": "a b"}, "row 2 (a b): productId must be made of visible characters, without / and %"),
        ({"productId": "e\u0301"}, "row 2 (e\u0301): productId must be in Unicode normalization form C (NFC)"),
        ({"productId": 3}, "row 2: productId must be text"),
        ({"name": None}, "row 2 (LAMP): name must be text"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_of_that_row(
    operator: Operator, shop: Shop, tmp_path: Path, fields: dict[str, Any], error: str
) -> None:
    before = shop.stage.items("INVENTORY_TABLE")
    path = a_file(tmp_path, {**LAMP, "productId": "GOOD"}, {**LAMP, **fields})
    result = operator("catalogue", "load", path)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [error, f"{path} is invalid, 1 error: nothing was loaded."]
    assert shop.stage.items("INVENTORY_TABLE") == before


def test_everything_that_is_wrong_is_said_at_once(operator: Operator, tmp_path: Path) -> None:
    result = operator("catalogue", "load", a_file(tmp_path, {}, "x", {**LAMP, "stock": -1}))
    assert "row 1: productId is required" in result.stderr
    assert "row 2: must be an object" in result.stderr
    assert "row 3 (LAMP): stock must be at least 0" in result.stderr
    assert "6 errors" in result.stderr


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("{}", "must be a JSON list"),
        ("[]", "not empty"),
        ('[{"price": NaN}]', "NaN is not a JSON number"),
        ('[{"price": 1, "price": 2}]', "has a duplicate key"),
        (
            exact_json.dumps([LAMP, {**LAMP, "productId": "L2"}, LAMP]),
            r"row 3 \(LAMP\): the product is already in row 1",
        ),
    ],
)
def test_what_is_not_a_catalogue_or_names_a_product_twice_is_refused(text: str, error: str) -> None:
    with pytest.raises(BadCatalogue, match=error):
        read_products(text)


def test_a_file_that_is_not_there_is_one_sentence(operator: Operator) -> None:
    assert "does not exist" in operator.refused("catalogue", "load", "no.json", status=2)


def test_ctrl_c_while_it_loads_leaves_whole_products(operator: Operator, shop: Shop, tmp_path: Path) -> None:
    rows = [{**LAMP, "productId": f"L{n}"} for n in range(5)]
    operator.calls.meanwhile(lambda: os.kill(os.getpid(), signal.SIGINT), "UpdateItem", nth=2, after=True)
    result = operator("catalogue", "load", a_file(tmp_path, *rows))
    assert (result.exit_code, audit_of(result)[0]["ids"]) == (130, ["L0", "L1"])
    loaded = {item["productId"] for item in shop.stage.items("INVENTORY_TABLE")}
    assert {product for product in loaded if product.startswith("L")} == {"L0", "L1"}


# --- restock ---


def test_units_are_added(operator: Operator, shop: Shop) -> None:
    result = operator("catalogue", "restock", "PROD-001", "+25")
    assert result.stdout == "25 units added to the stock of PROD-001.\n"
    (line,) = audit_of(result)
    assert (line["audit"], line["ids"], line["units"]) == ("catalogue restock", ["PROD-001"], "+25")
    assert shop.stock() == 525


def test_an_order_that_comes_between_keeps_its_units(operator: Operator, shop: Shop) -> None:
    shop.place(key="k1")
    operator.calls.meanwhile(shop.run_queue, "TransactWriteItems")
    operator.does("catalogue", "restock", "PROD-001", "+25")
    assert shop.stock() == 524


@pytest.mark.parametrize("product", ["NOPE", "REMOVED"])
def test_a_product_that_is_not_in_the_catalogue_is_refused(operator: Operator, shop: Shop, product: str) -> None:
    shop.set_product("REMOVED", stock=3)
    before = shop.stage.items("INVENTORY_TABLE")
    result = operator("catalogue", "restock", product, "+1")
    assert (result.exit_code, audit_of(result)) == (1, [])
    assert f"Product '{product}' is not in the catalogue: nothing was added." in result.stderr
    assert shop.stage.items("INVENTORY_TABLE") == before


@pytest.mark.parametrize("units", ["25", "+0", "+-5", "+1.5", "many", "+9999999999"])
def test_only_an_addition_is_taken(operator: Operator, shop: Shop, units: str) -> None:
    assert "write +25 for 25 units more" in operator.refused("catalogue", "restock", "PROD-001", units, status=2)
    assert shop.stock() == 500


def test_a_lost_answer_is_retried_with_the_same_token(operator: Operator) -> None:
    operator.calls.drop_request("TransactWriteItems", attempts=2)
    operator.does("catalogue", "restock", "PROD-001", "+1")
    (call,) = operator.calls.of("TransactWriteItems")
    tokens = {json.loads(body)["ClientRequestToken"] for body in call.bodies}
    assert (len(call.bodies), len(tokens)) == (3, 1)


def test_without_an_answer_the_operator_is_asked_to_check(operator: Operator) -> None:
    operator.calls.drop_request("TransactWriteItems", attempts=None)
    error = operator.refused("catalogue", "restock", "PROD-001", "+1")
    assert error.startswith("It may have taken effect. Check the stock before you repeat it: ")
