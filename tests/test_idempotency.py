"""Which order a request names. The golden values hold between releases: orders in the tables hang on them."""

import re
import uuid
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.idempotency import (
    InvalidKey,
    agrees,
    fingerprint,
    fresh_order_id,
    order_id_of_key,
    parse_key,
    reservation_id,
)
from chalicelib.order import Address, Content
from chalicelib.validation import order_request

GOLDEN_ORDER_ID = "abe7fc5a-76e9-5b4a-9670-985e6fed5342"
GOLDEN_RESERVATION_ID = "0ab6f409-7556-5675-b662-64b9fa82d231"
GOLDEN_FINGERPRINT = "v1:32934083aae7d1c6b06ca8b19851f4c3aa7a4778497453d8285acde172adb677"
GOLDEN_FINGERPRINT_WITHOUT_ADDRESS = "v1:daa265f39e25722c081ff51f7f4a8bbd6c9db5458d806a8157f520840bfcd4cf"

ADDRESS = Address("123 Dev Lane", "Portland", "US", "OR", "97201")
CONTENT = Content("CUST-42", {"PROD-001": 2, "PROD-003": 1}, Decimal("109.97"), "USD", ADDRESS)

visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)


def quoted(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def test_the_golden_key_names_the_golden_order() -> None:
    assert order_id_of_key("CUST-42", "8e03978e-40d5-43e8-bc93-6894a57f9324") == GOLDEN_ORDER_ID


def test_the_golden_body_names_the_golden_reservation() -> None:
    assert reservation_id("CUST-42", GOLDEN_FINGERPRINT) == GOLDEN_RESERVATION_ID


def test_the_golden_order_has_the_golden_fingerprint() -> None:
    assert fingerprint(CONTENT) == GOLDEN_FINGERPRINT
    assert fingerprint(replace(CONTENT, shipping_address=None)) == GOLDEN_FINGERPRINT_WITHOUT_ADDRESS
    assert re.fullmatch(r"v1:[0-9a-f]{64}", GOLDEN_FINGERPRINT)


# --- the key ---


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("abc", "abc"),
        ('"abc"', "abc"),
        ("  abc\t", "abc"),
        (' "abc" ', "abc"),
        ('"a\\"b"', 'a"b'),
        ('a"b', 'a"b'),
        ('"a\\\\b"', "a\\b"),
        ("a\\b", "a\\b"),
        ("a,b;c=1", "a,b;c=1"),
        ('"a,b;c=1"', "a,b;c=1"),
        ("!", "!"),
        ("~" * 255, "~" * 255),
        ('"' + "~" * 255 + '"', "~" * 255),
        ('"' + '\\"' * 255 + '"', '"' * 255),
    ],
)
def test_a_bare_and_a_quoted_value_name_the_same_key(header: str, key: str) -> None:
    assert parse_key(header) == key


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        '""',
        '"',
        '"abc',
        'abc def"',
        '"abc\\"',
        '"a\\bc"',
        '"a"b"',
        "a b",
        '"a b"',
        "a, b",
        '"a", "b"',
        '"a","b"',
        '"a";p=1',
        '"a" ;p',
        "a\tb",
        "a\nb",
        "abc\n",
        '"abc"\n',
        "a\x00b",
        "a\x7fb",
        '"a\x7fb"',
        "clé",
        '"clé"',
        "\u00a0abc",
        "ａｂｃ",
        "🔑",
        "~" * 256,
        '"' + "~" * 256 + '"',
        '"' + '\\"' * 256 + '"',
    ],
)
def test_what_is_not_1_to_255_visible_ascii_characters_is_no_key(header: str) -> None:
    with pytest.raises(InvalidKey):
        parse_key(header)


@given(visible)
def test_every_visible_key_has_a_quoted_form_that_names_it(key: str) -> None:
    assert parse_key(quoted(key)) == key
    if not key.startswith('"'):
        assert parse_key(key) == key


@given(st.text(max_size=300))
def test_no_header_names_anything_but_a_visible_key(header: str) -> None:
    try:
        key = parse_key(header)
    except InvalidKey:
        return
    assert re.fullmatch(r"[!-~]{1,255}", key)


# --- the order id ---


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_no_two_pairs_of_customer_and_key_share_an_order(customer: str, key: str, other: str, its_key: str) -> None:
    same = (customer, key) == (other, its_key)
    assert (order_id_of_key(customer, key) == order_id_of_key(other, its_key)) is same


@given(st.text(max_size=20), st.text(max_size=10), st.text(max_size=10))
def test_customer_and_key_never_run_together(customer: str, head: str, tail: str) -> None:
    if head:
        assert order_id_of_key(customer + head, tail) != order_id_of_key(customer, head + tail)
    assert order_id_of_key(customer, f'{head}", "{tail}') != order_id_of_key(f'{customer}", "{head}', tail)


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_key_and_a_body_never_name_the_same(customer: str, text: str) -> None:
    assert order_id_of_key(customer, text) != reservation_id(customer, text)


@given(st.text(), st.text())
def test_the_same_request_always_names_the_same_order_and_a_uuid(customer: str, key: str) -> None:
    order_id = order_id_of_key(customer, key)
    assert order_id == order_id_of_key(customer, key)
    assert str(uuid.UUID(order_id)) == order_id


def test_the_same_body_of_another_customer_is_another_order() -> None:
    assert reservation_id("a", GOLDEN_FINGERPRINT) != reservation_id("b", GOLDEN_FINGERPRINT)


def test_no_two_fresh_order_ids_are_alike() -> None:
    assert len({fresh_order_id() for _ in range(1000)}) == 1000


# --- the fingerprint ---


def body(**fields: Any) -> dict[str, Any]:
    lines = [{"productId": "PROD-001", "quantity": 2}, {"productId": "PROD-003", "quantity": 1}]
    address = {"street": "123 Dev Lane", "city": "Portland", "state": "OR", "zip": "97201", "country": "US"}
    whole = {"customerId": "CUST-42", "items": lines, "totalAmount": Decimal("109.97"), "shippingAddress": address}
    return whole | fields


def of_body(document: Any, default_currency: str = "USD") -> str:
    return fingerprint(order_request(document, default_currency).content)


ALIKE: dict[str, dict[str, Any]] = {
    "names and unit prices": {
        "items": [
            {"productId": "PROD-001", "quantity": 2, "unitPrice": Decimal("29.99"), "productName": "Mouse"},
            {"productId": "PROD-003", "quantity": 1, "unitPrice": Decimal("1.00"), "productName": "Hub"},
        ]
    },
    "the order of lines": {
        "items": [{"productId": "PROD-003", "quantity": 1}, {"productId": "PROD-001", "quantity": 2}]
    },
    "the splitting of lines": {
        "items": [
            {"productId": "PROD-001", "quantity": 1},
            {"productId": "PROD-003", "quantity": 1},
            {"productId": "PROD-001", "quantity": 1},
        ]
    },
    "2.0 for 2": {
        "items": [{"productId": "PROD-001", "quantity": Decimal("2.0")}, {"productId": "PROD-003", "quantity": 1}]
    },
    "the short spelling": {"items": [{"productId": "PROD-001", "qty": 2}, {"productId": "PROD-003", "qty": 1}]},
    "trailing zeros": {"totalAmount": Decimal("109.9700")},
    "the explicit default currency": {"currency": "USD"},
}
UNLIKE: dict[str, dict[str, Any]] = {
    "customer": {"customerId": "CUST-43"},
    "quantity": {"items": [{"productId": "PROD-001", "quantity": 3}, {"productId": "PROD-003", "quantity": 1}]},
    "quantities swapped": {
        "items": [{"productId": "PROD-001", "quantity": 1}, {"productId": "PROD-003", "quantity": 2}]
    },
    "product": {"items": [{"productId": "PROD-002", "quantity": 2}, {"productId": "PROD-003", "quantity": 1}]},
    "one product less": {"items": [{"productId": "PROD-001", "quantity": 2}]},
    "total": {"totalAmount": Decimal("109.98")},
    "currency": {"currency": "EUR"},
    "no address": {"shippingAddress": None},
    "street": {"shippingAddress": body()["shippingAddress"] | {"street": "124 Dev Lane"}},
    "letter case": {"shippingAddress": body()["shippingAddress"] | {"city": "portland"}},
    "fields swapped": {"shippingAddress": body()["shippingAddress"] | {"state": "97201", "zip": "OR"}},
}


@pytest.mark.parametrize("fields", ALIKE.values(), ids=ALIKE.keys())
def test_requests_that_ask_for_the_same_have_one_fingerprint(fields: dict[str, Any]) -> None:
    assert of_body(body(**fields)) == of_body(body()) == GOLDEN_FINGERPRINT


@pytest.mark.parametrize("fields", UNLIKE.values(), ids=UNLIKE.keys())
def test_requests_that_ask_for_something_else_have_another(fields: dict[str, Any]) -> None:
    document = {name: value for name, value in body(**fields).items() if value is not None}
    assert of_body(document) != of_body(body())


def test_no_two_of_the_unlike_are_alike() -> None:
    documents = [{n: v for n, v in body(**fields).items() if v is not None} for fields in UNLIKE.values()]
    assert len({of_body(document) for document in documents}) == len(UNLIKE)


def test_the_default_currency_is_part_of_the_fingerprint() -> None:
    assert of_body(body(), "EUR") == of_body(body(currency="EUR")) != of_body(body())


def test_a_stored_fingerprint_is_compared_under_its_own_version() -> None:
    assert agrees(GOLDEN_FINGERPRINT, CONTENT)
    assert not agrees(GOLDEN_FINGERPRINT, replace(CONTENT, total_amount=Decimal("109.98")))
    assert agrees(GOLDEN_FINGERPRINT, replace(CONTENT, total_amount=Decimal("109.970")))


@pytest.mark.parametrize("stored", ["v2:" + "0" * 64, "0" * 64, ""])
def test_a_version_that_this_release_does_not_know_is_never_answered(stored: str) -> None:
    with pytest.raises(KeyError):
        agrees(stored, CONTENT)
