"""What the gateway refuses, the function would refuse too."""

import json
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from jsonschema import Draft4Validator

from chalicelib import exact_json
from chalicelib.domain.request import Invalid
from chalicelib.entrypoints.validation import customers_named, order_request
from deploy.model import order_model, required_types

GATEWAY = Draft4Validator(order_model())
FOR_CUSTOMERS = Draft4Validator(order_model(customer_named=False))
"""Of a stage with access tokens."""

texts = st.text(max_size=5) | st.sampled_from(["CUST-1", "PROD-1", "USD"])
numbers = st.integers(-1, 5) | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([2.0, 1e2, 29.99])
anything: st.SearchStrategy[Any] = st.none() | st.booleans() | numbers | texts | st.just([]) | st.just({})


def mostly(otherwise: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Nearly always valid, so that whole orders occur; now and then anything at all."""
    return st.integers(0, 39).flatmap(lambda n: anything if n == 23 else otherwise)


amounts = st.integers(0, 10**6).map(lambda cents: cents / 100) | st.integers(0, 100)
ids = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)


def members(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    wanted = {name: mostly(value) for name, value in required.items()}
    more = {name: mostly(value) for name, value in optional.items()}
    whole = st.fixed_dictionaries(wanted, optional=more)
    return st.integers(0, 39).flatmap(
        lambda n: st.fixed_dictionaries({}, optional=wanted | more | {"more": anything}) if n == 23 else whole
    )


def spelt(strategy: st.SearchStrategy[dict[str, Any]], name: str, other: str) -> st.SearchStrategy[dict[str, Any]]:
    """Some of them with the other spelling of a field, or with both."""

    def other_too(document: dict[str, Any], how: int) -> dict[str, Any]:
        if how == 0 or name not in document:
            return document
        kept = document if how == 1 else {n: value for n, value in document.items() if n != name}
        return {**kept, other: document[name]}

    return st.builds(other_too, strategy, st.sampled_from([0, 2, 0, 2, 0, 2, 0, 2, 1]))


lines = spelt(
    members(
        {"productId": ids, "quantity": st.integers(1, 9) | st.just(2.0)}, {"productName": ids, "unitPrice": amounts}
    ),
    "quantity",
    "qty",
)
addresses = members({"street": ids, "city": ids, "country": ids}, {"state": ids, "zip": ids})
orders = spelt(
    members(
        {"customerId": ids, "items": st.lists(lines, min_size=1, max_size=3), "totalAmount": amounts},
        {"currency": st.just("USD"), "shippingAddress": addresses},
    ),
    "customerId",
    "userId",
)


@given(orders | anything)
def test_the_gateway_refuses_nothing_that_the_function_would_accept(document: Any) -> None:
    text = json.dumps(document)
    try:
        order_request(exact_json.loads(text.encode()), "USD")
        accepted = True
    except (Invalid, exact_json.InvalidJson):
        accepted = False
    event(f"accepted: {accepted}")
    if accepted:
        assert GATEWAY.is_valid(json.loads(text)), text


@given(orders | anything)
def test_it_refuses_no_customer_whom_the_function_would_accept_named_or_not(document: Any) -> None:
    if isinstance(document, dict) and not customers_named(document):
        asked = document | {"customerId": "the-caller"}
    else:
        asked = document
    try:
        order_request(exact_json.loads(json.dumps(asked).encode()), "USD")
    except (Invalid, exact_json.InvalidJson):
        return
    event(f"named: {asked is document}")
    assert FOR_CUSTOMERS.is_valid(json.loads(json.dumps(document))), document


LINES = [{"productId": "p", "quantity": 1}]
UNNAMED = {"items": LINES, "totalAmount": 1}


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"customerId": "c", "totalAmount": 1},
        {"customerId": "c", "items": LINES},
        UNNAMED,
        {"customerId": 7, "items": LINES, "totalAmount": 1},
        {"userId": 7, "items": LINES, "totalAmount": 1},
        {"customerId": "c", "items": {}, "totalAmount": 1},
        {"customerId": "c", "items": LINES, "totalAmount": "1"},
    ],
)
def test_the_gateway_refuses_what_cannot_be_an_order(document: Any) -> None:
    assert not GATEWAY.is_valid(document)
    assert FOR_CUSTOMERS.is_valid(document) is (document == UNNAMED)


@pytest.mark.parametrize(
    "document",
    [
        {"customerId": "", "items": [], "totalAmount": -1, "currency": 7, "unknown": None},
        {"customerId": "c", "items": [{}, 7], "totalAmount": 1, "shippingAddress": "at home"},
    ],
)
def test_all_that_is_finer_is_left_to_the_function_whose_errors_list_it(document: Any) -> None:
    assert GATEWAY.is_valid(document)
    with pytest.raises(Invalid) as refused:
        order_request(document, "USD")
    assert len(refused.value.errors) > 1


@pytest.mark.parametrize("customer", ["customerId", "userId"])
@pytest.mark.parametrize("units", ["quantity", "qty"])
def test_both_spellings_pass(customer: str, units: str) -> None:
    document = {customer: "c", "items": [{"productId": "p", units: 1}], "totalAmount": 1}
    assert GATEWAY.is_valid(document)
    assert order_request(exact_json.loads(json.dumps(document).encode()), "USD").customer_id == "c"


def test_the_model_is_draft_4_with_keywords_that_the_gateway_knows() -> None:
    """And no deeper than the body's own members: what is in them is the function's."""
    Draft4Validator.check_schema(order_model())
    assert order_model().keys() <= {"title", "type", "properties", "required", "allOf"}
    assert all(member.keys() == {"type"} for member in order_model()["properties"].values())
    # Drafts differ in whether 2.0 is an integer; it is a number in all of them.
    assert set(required_types().values()) <= {"string", "array", "number"}
