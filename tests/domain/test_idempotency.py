"""Which order a request names. The golden values hold between releases: orders in the tables hang on them."""

import re
import uuid
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.domain.idempotency import (
    InvalidKey,
    UnknownVersion,
    agrees,
    claim_id,
    fingerprint,
    fresh_order_id,
    order_id_from_key,
    parse_key,
)
from chalicelib.domain.order import Address
from chalicelib.domain.request import Content
from chalicelib.entrypoints.validation import order_request

GOLDEN_ORDER_ID = "abe7fc5a-76e9-5b4a-9670-985e6fed5342"
GOLDEN_RESERVATION_ID = "0ab6f409-7556-5675-b662-64b9fa82d231"
GOLDEN_FINGERPRINT = "v1:32934083aae7d1c6b06ca8b19851f4c3aa7a4778497453d8285acde172adb677"
GOLDEN_FINGERPRINT_WITHOUT_ADDRESS = "v1:daa265f39e25722c081ff51f7f4a8bbd6c9db5458d806a8157f520840bfcd4cf"

ADDRESS = Address("123 Dev Lane", "Portland", "US", "OR", "97201")
CONTENT = Content("CUST-42", {"PROD-001": 2, "PROD-003": 1}, Decimal("109.97"), "USD", ADDRESS)

visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)


def quoted(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def test_the_golden_values_hold() -> None:
    assert order_id_from_key("CUST-42", "8e03978e-40d5-43e8-bc93-6894a57f9324") == GOLDEN_ORDER_ID
    assert claim_id("CUST-42", GOLDEN_FINGERPRINT) == GOLDEN_RESERVATION_ID
    assert fingerprint(CONTENT) == GOLDEN_FINGERPRINT
    assert fingerprint(replace(CONTENT, shipping_address=None)) == GOLDEN_FINGERPRINT_WITHOUT_ADDRESS


# --- the key ---


@given(visible, st.text(" \t", max_size=2), st.text(" \t", max_size=2))
@example("~" * 255, "", "")
@example('"' * 255, "", "")
@example('a"b\\c;d=1', " ", "\t")
@example("a,b", "", "")
def test_a_bare_and_a_quoted_value_name_the_same_key(key: str, before: str, after: str) -> None:
    assert parse_key(before + quoted(key) + after) == key
    if not key.startswith('"') and "," not in key:
        assert parse_key(before + key + after) == key


@given(visible, visible)
def test_a_bare_key_has_no_comma_since_proxies_join_two_headers_by_one(key: str, other: str) -> None:
    if not key.startswith('"'):
        with pytest.raises(InvalidKey):
            parse_key(f"{key},{other}")


@pytest.mark.parametrize(
    "header",
    [
        *("", " ", '""', '"', '"abc', 'abc def"', '"abc\\"', '"a\\bc"', '"a"b"', "a b", '"a b"'),
        *("a,b", "a, b", ",", '"a", "b"', '"a","b"', '"a";p=1', '"a" ;p', "a\tb", "a\nb", "abc\n", '"abc"\n'),
        *("a\x00b", "a\x7fb", '"a\x7fb"', "clé", '"clé"', "\u00a0abc", "ａｂｃ", "🔑"),
        *("~" * 256, quoted("~" * 256), quoted('"' * 256)),
    ],
    ids=lambda header: ascii(header)[:20],
)
def test_what_is_not_1_to_255_visible_ascii_characters_is_no_key(header: str) -> None:
    with pytest.raises(InvalidKey):
        parse_key(header)


@given(st.text(max_size=300))
def test_no_header_names_anything_but_a_visible_key(header: str) -> None:
    with suppress(InvalidKey):
        assert re.fullmatch(r"[!-~]{1,255}", parse_key(header))


# --- the order id ---


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_no_two_pairs_of_customer_and_key_share_an_order(customer: str, key: str, other: str, its_key: str) -> None:
    order_id, same = order_id_from_key(customer, key), (customer, key) == (other, its_key)
    assert (order_id == order_id_from_key(other, its_key)) is same
    assert order_id == order_id_from_key(customer, key) == str(uuid.UUID(order_id))
    # A key and a body never name the same.
    assert order_id != claim_id(customer, key)


@given(st.text(max_size=20), st.text(min_size=1, max_size=10), st.text(max_size=10))
def test_customer_and_key_never_run_together(customer: str, head: str, tail: str) -> None:
    assert order_id_from_key(customer + head, tail) != order_id_from_key(customer, head + tail)
    assert order_id_from_key(customer, f'{head}", "{tail}') != order_id_from_key(f'{customer}", "{head}', tail)


def test_the_same_body_of_another_customer_is_another_order() -> None:
    assert claim_id("a", GOLDEN_FINGERPRINT) != claim_id("b", GOLDEN_FINGERPRINT)


def test_no_two_fresh_order_ids_are_alike() -> None:
    assert len({fresh_order_id() for _ in range(1000)}) == 1000


# --- the fingerprint ---


def lines(**quantities: Any) -> dict[str, Any]:
    return {"items": [{"productId": f"PROD-{n[1:]}", "quantity": units} for n, units in quantities.items()]}


def address(**fields: Any) -> dict[str, Any]:
    whole = {"street": "123 Dev Lane", "city": "Portland", "state": "OR", "zip": "97201", "country": "US"}
    return {"shippingAddress": whole | fields}


BODY: dict[str, Any] = {
    "customerId": "CUST-42",
    **lines(p001=2, p003=1),
    "totalAmount": Decimal("109.97"),
    **address(),
}


def of_body(fields: Any, default_currency: str = "USD") -> str:
    document = {name: value for name, value in (BODY | fields).items() if value is not None}
    return fingerprint(order_request(document, default_currency))


ALIKE: dict[str, dict[str, Any]] = {
    "names and unit prices": {
        "items": [line | {"unitPrice": Decimal("29.99"), "productName": "Mouse"} for line in BODY["items"]]
    },
    "the order of lines": lines(p003=1, p001=2),
    "the splitting of lines": {"items": lines(p001=1, p003=1)["items"] + lines(p001=1)["items"]},
    "2.0 for 2": lines(p001=Decimal("2.0"), p003=1),
    "the short spelling": {"items": [{"productId": "PROD-001", "qty": 2}, {"productId": "PROD-003", "qty": 1}]},
    "trailing zeros": {"totalAmount": Decimal("109.9700")},
    "the explicit default currency": {"currency": "USD"},
}
UNLIKE: dict[str, dict[str, Any]] = {
    "customer": {"customerId": "CUST-43"},
    "quantity": lines(p001=3, p003=1),
    "quantities swapped": lines(p001=1, p003=2),
    "product": lines(p002=2, p003=1),
    "one product less": lines(p001=2),
    "total": {"totalAmount": Decimal("109.98")},
    "currency": {"currency": "EUR"},
    "no address": {"shippingAddress": None},
    "street": address(street="124 Dev Lane"),
    "letter case": address(city="portland"),
    "fields swapped": address(state="97201", zip="OR"),
}


@pytest.mark.parametrize("fields", ALIKE.values(), ids=ALIKE.keys())
def test_requests_that_ask_for_the_same_have_one_fingerprint(fields: dict[str, Any]) -> None:
    assert of_body(fields) == GOLDEN_FINGERPRINT


def test_requests_that_ask_for_something_else_have_another() -> None:
    fingerprints = {name: of_body(fields) for name, fields in UNLIKE.items()} | {"the same": GOLDEN_FINGERPRINT}
    assert len({*fingerprints.values()}) == len(fingerprints), fingerprints


def test_the_default_currency_is_part_of_the_fingerprint() -> None:
    assert of_body({}, "EUR") == of_body({"currency": "EUR"})


def test_a_stored_fingerprint_is_compared_under_its_own_version() -> None:
    assert agrees(GOLDEN_FINGERPRINT, replace(CONTENT, total_amount=Decimal("109.970")))
    assert not agrees(GOLDEN_FINGERPRINT, replace(CONTENT, total_amount=Decimal("109.98")))


@pytest.mark.parametrize("stored", ["v2:" + "0" * 64, "0" * 64, ""])
def test_a_version_that_this_release_does_not_know_is_never_answered(stored: str) -> None:
    with pytest.raises(UnknownVersion) as refused:
        agrees(stored, CONTENT)
    version = stored.partition(":")[0]
    assert refused.value.args == (f"the fingerprint's version {version!r} is unknown to this release",)


def test_the_version_is_what_comes_before_the_first_colon() -> None:
    assert not agrees("v1:v2:" + "0" * 64, CONTENT)
