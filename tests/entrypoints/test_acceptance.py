"""What is accepted quickly is what jsonschema finds nothing wrong with, and no request is read in another way."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.request import Invalid
from chalicelib.entrypoints import acceptance as quick
from chalicelib.entrypoints import validation
from chalicelib.entrypoints.acceptance import acceptance
from chalicelib.entrypoints.schema import validator
from chalicelib.entrypoints.schema_files import schema
from chalicelib.entrypoints.validation import details, order_created, order_request

NAMES = ("order_request", "order_created", "cancel_request", "ship_request", "deliver_request")
TEXT = "text"
LINE = {"productId": "PROD-1", "quantity": 2, "productName": "Mouse", "unitPrice": Decimal("29.99")}
ADDRESS = {"street": "s", "city": "c", "state": "st", "zip": "z", "country": "DE"}
DOCUMENTS: list[dict[str, Any]] = [
    {"customerId": "c1", "items": [LINE], "totalAmount": Decimal("59.98")},
    {"customerId": "c1", "items": [LINE, LINE], "totalAmount": 120, "currency": "USD", "shippingAddress": ADDRESS},
    {"customerId": "c1", "items": [LINE], "totalAmount": 60, "paymentMethod": "pm_1MqLiJLkdIwHu7ixUEgbFdYl"},
    {"userId": "c1", "items": [{"productId": "p", "qty": 1}], "totalAmount": 1},
    {"orderId": "o1", "customerId": "c1", "items": [LINE], "totalAmount": 60, "createdAt": "2026-04-20T14:30:00Z"},
    {"orderId": "o1", "userId": "c1", "items": [LINE], "totalAmount": 60, "correlationId": "k", "shop": {"a": [1]}},
    {"orderId": "o1", "customerId": "c1", "items": [LINE], "totalAmount": 60, "paymentMethod": "tok_visa"},
    {"reason": TEXT},
    {"carrier": TEXT, "trackingNumber": TEXT},
    {},
]
NASTY: list[Any] = [
    *("", " ", "a b", "a/b", "a%b", ".", "..", "\n", "x\n", "é", "e\u0301", "\u200b", "\ud800", "東", "usd", "USD\n"),
    *("x" * 64, "x" * 65, "x" * 128, "x" * 129, "x" * 256, "x" * 257, "2026-04-20T14:30:00", "2026-04-20", "o1"),
    *("4111111111111111", "pm_4111-1111-1111-1111", "4111 1111 1111 1111", "4111111111111112", "x" * 255),
    *(0, 1, -1, 1_000_000, 1_000_001, 10**12 - 1, 10**12, 10**24, True, False, None),
    *map(Decimal, ("0.01", "0", "0.00", "0.009", "-0.01", "1.0", "1.50", "1E+2", "999999999999.99", "1E+12", "1E-20")),
    *(0.5, 1.0, [], {}, [1], {"a": 1}, [LINE] * 50, [LINE] * 51, [LINE, {}], {**LINE, "qty": 1}, {**ADDRESS, "x": "y"}),
]
NAMED = ["orderId", "createdAt", "correlationId", "customerId", "userId", "qty", "quantity", "items", "unknown", "shop"]


def places(document: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value inside."""
    inside = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for name, item in inside:
        yield (*way, name)
        yield from places(item, (*way, name))


def put(value: Any) -> Callable[[Any, Any], None]:
    """The change to another value."""

    def change(inside: Any, name: Any) -> None:
        inside[name] = value

    return change


def changed(document: Any, way: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    """A copy that is changed at a place: `change` gets what holds it and its name there."""
    copy = deepcopy(document)
    inside = copy
    for step in way[:-1]:
        inside = inside[step]
    change(inside, way[-1])
    return copy


@st.composite
def spoilt(draw: st.DrawFn) -> Any:
    """A document that fits one of the schemas, changed at up to three places."""
    document = draw(st.sampled_from(DOCUMENTS))
    for _ in range(draw(st.integers(0, 3))):
        value = draw(st.sampled_from(NASTY) | st.text(max_size=4))
        ways = list(places(document))
        if not ways or draw(st.integers(0, 4)) == 0:
            document = {**document, draw(st.sampled_from(NAMED)): value}
            continue
        way = draw(st.sampled_from(ways))
        if draw(st.integers(0, 3)) == 0:
            document = changed(document, way, lambda inside, name: inside.__delitem__(name))
        else:
            document = changed(document, way, put(value))
    return document


documents = spoilt() | st.sampled_from(NASTY)


def fits(name: str, document: Any, is_new: bool) -> bool:
    return next(iter(validator(name, is_new).iter_errors(document)), None) is None


def has_float(document: Any) -> bool:
    return isinstance(document, float) or (
        any(map(has_float, document.values() if isinstance(document, dict) else document))
        if isinstance(document, dict | list)
        else False
    )


@given(documents, st.sampled_from(NAMES), st.booleans())
@settings(max_examples=400)
def test_a_document_is_accepted_exactly_if_jsonschema_finds_nothing_wrong(
    document: Any, name: str, is_new: bool
) -> None:
    accepted = acceptance(name, is_new)(document)
    if accepted or not has_float(document):  # no JSON has floats here: they are left to jsonschema
        assert accepted == fits(name, document, is_new)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("is_new", [True, False])
def test_each_nasty_value_at_each_place_is_accepted_exactly_if_it_fits(name: str, is_new: bool) -> None:
    both = set()
    for document in DOCUMENTS:
        for way in places(document):
            for value in NASTY:
                spoiled = changed(document, way, put(value))
                accepted = acceptance(name, is_new)(spoiled)
                both.add(accepted)
                if accepted or not has_float(value):
                    assert accepted == fits(name, spoiled, is_new), spoiled
    assert name == "deliver_request" or both == {True, False}


def outcome(read: Callable[[Any], object], document: Any) -> object:
    try:
        return repr(read(document))
    except Invalid as refused:
        return refused.errors


READERS: Mapping[str, Callable[[Any], object]] = {
    "a request": lambda document: order_request(document, "EUR"),
    "an event": lambda document: order_created(document, "EUR"),
    "an own message": lambda document: order_created(document, "EUR", is_new=False),
    "a shipment": lambda document: details("ship_request", document),
}


def check_read_alike(documents: Sequence[Any], readers: Collection[str]) -> None:
    """Each is read, or refused, as it is by jsonschema alone."""

    def outcomes() -> list[Any]:
        return [(document, name, outcome(READERS[name], document)) for document in documents for name in readers]

    quickly = outcomes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "acceptance", lambda *_: lambda _: False)
        for quick, slow in zip(quickly, outcomes(), strict=True):
            assert quick == slow


@given(documents.filter(lambda document: not has_float(document)))  # jsonschema itself fails on one beside Decimals
@settings(max_examples=100)
def test_a_request_is_read_or_refused_as_jsonschema_alone_would_have_it(document: Any) -> None:
    check_read_alike([document], READERS)


@pytest.mark.parametrize(
    ("document", "readers"),
    [
        *((document, ("an event", "an own message")) for document in DOCUMENTS if "orderId" in document),
        *((document, ("a request",)) for document in DOCUMENTS if "items" in document and "orderId" not in document),
        *((document, ("a shipment",)) for document in DOCUMENTS if "carrier" in document),
    ],
)
def test_with_each_nasty_value_at_each_place_it_is_read_or_refused_alike(
    document: dict[str, Any], readers: tuple[str, ...]
) -> None:
    values = [value for value in NASTY if not has_float(value)]
    check_read_alike([changed(document, way, put(value)) for way in places(document) for value in values], readers)


@pytest.mark.parametrize(
    "node",
    [
        {"type": "string", "enum": ["a"]},
        {"type": "string", "allOf": [{"minLength": 1}]},
        {"type": "number", "exclusiveMinimum": 1},
        {"type": "integer", "format": "x"},
        {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        {"type": "object", "properties": {}, "minProperties": 1},
        {"type": "boolean"},
        {"minimum": 1},
    ],
    ids=json.dumps,
)
def test_a_schema_that_says_more_than_is_understood_is_not_taken(node: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        quick._check(node, is_new=True)


def test_a_schema_is_not_changed_by_being_taken() -> None:
    before = deepcopy(schema("order_request"))
    quick._check(schema("order_request"), is_new=True)
    assert schema("order_request") == before
