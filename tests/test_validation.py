"""What is asked for is either taken as it is, or refused with all that is wrong and where."""

import json
from collections.abc import Sequence
from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from chalicelib import validation
from chalicelib.exact_json import dumps, loads
from chalicelib.order import Address
from chalicelib.validation import Error, Invalid, order_created, order_request

SAMPLES = Path(__file__).parent / "samples"
SCHEMAS = Path(validation.__file__).parent / "schemas"


def sample(name: str) -> Any:
    return loads((SAMPLES / name).read_bytes())


def body(**fields: Any) -> dict[str, Any]:
    return {"customerId": "c1", "items": [{"productId": "p1", "quantity": 1}], "totalAmount": 10} | fields


def line(**fields: Any) -> dict[str, Any]:
    return body(items=[{"productId": "p1", "quantity": 1} | fields])


def address(**fields: Any) -> dict[str, Any]:
    return body(shippingAddress={"street": "s", "city": "c", "country": "US"} | fields)


def event(**fields: Any) -> dict[str, Any]:
    return body(orderId="o1") | fields


def wrong(document: Any) -> dict[str, str]:
    """What is wrong with a body, by pointer."""
    with pytest.raises(Invalid) as refused:
        order_request(document, "USD")
    return {error.pointer: error.detail for error in refused.value.errors}


def wrong_event(document: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as refused:
        order_created(document, "USD")
    return {error.pointer: error.detail for error in refused.value.errors}


# --- what is taken ---


def test_the_sample_order_is_taken_as_it_is() -> None:
    request = order_request(sample("api_order.json"), "EUR")
    assert request.customer_id == "CUST-42"
    assert request.quantities == {"PROD-001": 2, "PROD-003": 1}
    assert [str(line.unit_price) for line in request.lines] == ["29.99", "49.99"]
    assert (str(request.total_amount), request.currency, request.shipping_address) == ("109.97", "USD", None)


def test_the_short_sample_order_is_taken_as_it_is() -> None:
    request = order_request(sample("short_order.json"), "USD")
    assert request.customer_id == "user-123"
    assert request.quantities == {"PROD-001": 2, "PROD-003": 1}
    assert [line.unit_price for line in request.lines] == [None, None]
    assert (str(request.total_amount), request.currency) == ("109.97", "USD")


def test_the_sample_event_is_taken_as_it_is() -> None:
    created = order_created(sample("order_created_event.json"), "EUR")
    assert created.order_id == "ORD-20260420-001"
    assert created.created_at == datetime(2026, 4, 20, 14, 30, tzinfo=UTC)
    assert created.correlation_id is None
    assert created.request.lines[0].product_name == "Mechanical Keyboard"
    assert created.request.shipping_address == Address("123 Dev Lane", "Portland", "US", "OR", "97201")
    assert created.request.currency == "USD"


def test_the_sample_event_is_no_request_body() -> None:
    assert wrong(sample("order_created_event.json")) == {
        "#/orderId": "is not a known field",
        "#/createdAt": "is not a known field",
    }


def test_two_lines_of_one_product_count_as_one() -> None:
    lines = [{"productId": p, "quantity": n} for p, n in (("b", 2), ("a", 1), ("b", 3))]
    assert list(order_request(body(items=lines), "USD").quantities.items()) == [("b", 5), ("a", 1)]


@pytest.mark.parametrize("quantity", [1, 2, 1_000_000, Decimal("2.0"), Decimal("1e3"), Decimal("1000000.00")])
def test_a_whole_quantity_is_taken_however_it_is_written(quantity: Any) -> None:
    (only,) = order_request(line(quantity=quantity), "USD").lines
    assert only.quantity == quantity
    assert type(only.quantity) is int


@pytest.mark.parametrize("amount", ["0.01", "10", "10.0", "10.5", "10.5000", "1e2", "999999999999.99"])
def test_an_amount_of_at_most_two_decimals_is_taken_and_written_with_two(amount: str) -> None:
    document = loads(dumps(body()).replace("10}", f"{amount}}}"))
    taken = order_request(document, "USD").total_amount
    assert taken == Decimal(amount)
    assert taken.as_tuple().exponent == -2


def test_what_is_for_nothing_may_cost_nothing() -> None:
    assert order_request(line(unitPrice=0), "USD").lines[0].unit_price == Decimal("0.00")


@pytest.mark.parametrize(
    "document",
    [
        body(customerId="c" * 128),
        body(customerId="Zoë@東京:1"),
        line(productId="p" * 64),
        line(productName="n" * 256),
        line(productName=""),
        body(items=[{"productId": f"p{n}", "quantity": 1} for n in range(50)]),
        address(street="s" * 256, state="", zip="1"),
        body(currency="JPY"),
    ],
    ids=["customer", "letters", "product", "name", "no name", "50 lines", "address", "currency"],
)
def test_what_is_just_within_bounds_is_taken(document: Any) -> None:
    order_request(document, "USD")
    order_created(document | {"orderId": "x" * 64}, "USD")


# --- what is refused ---

REFUSED: list[tuple[Any, str, str]] = [
    (body(customerId=""), "#/customerId", "must not be empty"),
    (body(customerId="c" * 129), "#/customerId", "must have at most 128 characters"),
    (body(customerId=7), "#/customerId", "must be a text"),
    (body(customerId=None), "#/customerId", "must be a text"),
    (body(items=[]), "#/items", "must have at least 1 entry"),
    (body(items={}), "#/items", "must be a list"),
    (body(items="p1"), "#/items", "must be a list"),
    (body(items=[{"productId": f"p{n}", "quantity": 1} for n in range(51)]), "#/items", "at most 50 entries"),
    (body(items=[1]), "#/items/0", "must be an object"),
    (line(productId=""), "#/items/0/productId", "must not be empty"),
    (line(productId="p" * 65), "#/items/0/productId", "must have at most 64 characters"),
    (line(quantity=0), "#/items/0/quantity", "must be at least 1"),
    (line(quantity=-1), "#/items/0/quantity", "must be at least 1"),
    (line(quantity=1_000_001), "#/items/0/quantity", "must be at most 1000000"),
    (line(quantity=Decimal("1.5")), "#/items/0/quantity", "must be a whole number"),
    (line(quantity=True), "#/items/0/quantity", "must be a whole number"),
    (line(quantity="1"), "#/items/0/quantity", "must be a whole number"),
    (line(quantity=None), "#/items/0/quantity", "must be a whole number"),
    (line(quantity=[]), "#/items/0/quantity", "must be a whole number"),
    (line(unitPrice=Decimal("1.999")), "#/items/0/unitPrice", "at most two decimals"),
    (line(unitPrice=-1), "#/items/0/unitPrice", "must be at least 0"),
    (line(unitPrice=None), "#/items/0/unitPrice", "must be a number"),
    (line(unitPrice=True), "#/items/0/unitPrice", "must be a number"),
    (line(productName="n" * 257), "#/items/0/productName", "must have at most 256 characters"),
    (line(colour="red"), "#/items/0/colour", "is not a known field"),
    (body(totalAmount=0), "#/totalAmount", "must be at least 0.01"),
    (body(totalAmount=Decimal("0.001")), "#/totalAmount", "at most two decimals"),
    (body(totalAmount=Decimal("109.975")), "#/totalAmount", "at most two decimals"),
    (body(totalAmount=10**12), "#/totalAmount", "must be less than 1000000000000"),
    (body(totalAmount=10**25 - 1), "#/totalAmount", "must be less than 1000000000000"),
    (body(totalAmount=Decimal("1e20")), "#/totalAmount", "must be less than 1000000000000"),
    (body(totalAmount=Decimal("1e-20")), "#/totalAmount", "at most two decimals"),
    (body(totalAmount="10.00"), "#/totalAmount", "must be a number"),
    (body(totalAmount=True), "#/totalAmount", "must be a number"),
    (body(currency="usd"), "#/currency", "three capital letters"),
    (body(currency="USDT"), "#/currency", "three capital letters"),
    (body(currency="ÜSD"), "#/currency", "three capital letters"),
    (body(currency=None), "#/currency", "must be a text"),
    (body(shippingAddress=None), "#/shippingAddress", "must be an object"),
    (body(shippingAddress={}), "#/shippingAddress/street", "is required"),
    (address(street="s" * 257), "#/shippingAddress/street", "must have at most 256 characters"),
    (address(floor="3"), "#/shippingAddress/floor", "is not a known field"),
    (address(zip=97201), "#/shippingAddress/zip", "must be a text"),
    (body(note="hi"), "#/note", "is not a known field"),
    (body(status="CONFIRMED"), "#/status", "is not a known field"),
]


@pytest.mark.parametrize(("document", "pointer", "detail"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_is_out_of_bounds_is_refused_where_it_stands(document: Any, pointer: str, detail: str) -> None:
    assert detail in wrong(document)[pointer]


@pytest.mark.parametrize("document", [None, True, 1, Decimal("1.5"), "text", [], [{}]], ids=repr)
def test_a_body_that_is_no_object_is_refused_as_a_whole(document: Any) -> None:
    assert wrong(document) == {"#": "must be an object"}


@pytest.mark.parametrize("missing", ["customerId", "items", "totalAmount"])
def test_each_required_field_is_required(missing: str) -> None:
    document = body()
    del document[missing]
    assert wrong(document) == {f"#/{missing}": "is required"}


def test_all_problems_come_at_once_each_with_its_pointer() -> None:
    document = {
        "items": [{"productId": "p1", "quantity": 0}, {"quantity": "2", "unitPrice": Decimal("0.005")}, 3],
        "totalAmount": Decimal("-1.001"),
        "currency": "dollars",
        "shippingAddress": {"street": 1, "city": "c", "planet": "Mars"},
        "coupon": "X",
    }
    with pytest.raises(Invalid) as refused:
        order_request(document, "USD")
    assert sorted((error.pointer, error.detail) for error in refused.value.errors) == [
        ("#/coupon", "is not a known field"),
        ("#/currency", "must be a currency code of three capital letters (ISO 4217)"),
        ("#/customerId", "is required"),
        ("#/items/0/quantity", "must be at least 1"),
        ("#/items/1/productId", "is required"),
        ("#/items/1/quantity", "must be a whole number"),
        ("#/items/1/unitPrice", "must be an amount of at most two decimals"),
        ("#/items/2", "must be an object"),
        ("#/shippingAddress/country", "is required"),
        ("#/shippingAddress/planet", "is not a known field"),
        ("#/shippingAddress/street", "must be a text"),
        ("#/totalAmount", "must be an amount of at most two decimals"),
        ("#/totalAmount", "must be at least 0.01"),
    ]


@pytest.mark.parametrize("bad", ["\ud800", "a\udfffb", "\x00", "a\nb", "a\x7f", "\x1f"], ids=ascii)
def test_no_text_has_lone_surrogates_or_control_characters(bad: str) -> None:
    documents = {
        "#/customerId": body(customerId=bad),
        "#/items/0/productId": line(productId=bad),
        "#/items/0/productName": line(productName=bad),
        "#/currency": body(currency=bad),
        **{f"#/shippingAddress/{name}": address(**{name: bad}) for name in Address.__slots__},
    }
    for pointer, document in documents.items():
        assert list(wrong(loads(dumps(document)))) == [pointer]


def test_a_name_with_a_lone_surrogate_is_an_unknown_field() -> None:
    (detail,) = wrong(loads(dumps(body(**{"\ud800": 1})))).values()
    assert detail == "is not a known field"


@pytest.mark.parametrize("bad", ["a b", "a/b", "a%2Fb", "a\u00a0b", " a", "a\t"])
def test_ids_have_neither_blanks_nor_what_a_path_would_take_apart(bad: str) -> None:
    assert list(wrong(body(customerId=bad))) == ["#/customerId"]
    assert list(wrong(line(productId=bad))) == ["#/items/0/productId"]


@pytest.mark.parametrize(
    ("pointer", "document"),
    [
        ("#/currency", body(currency="USD\n")),
        ("#/customerId", body(customerId="c1\n")),
        ("#/items/0/productId", line(productId="p1\n")),
        ("#/shippingAddress/city", address(city="c\n")),
    ],
)
def test_a_line_feed_at_the_end_does_not_pass_a_pattern(pointer: str, document: Any) -> None:
    assert list(wrong(document)) == [pointer]


# --- the accepted spellings ---


def test_errors_point_at_the_spelling_that_the_client_wrote() -> None:
    document = {"userId": "", "items": [{"productId": "p1", "qty": 0}, {"productId": "p1"}], "totalAmount": 10}
    assert wrong(document) == {
        "#/userId": "must not be empty",
        "#/items/0/qty": "must be at least 1",
        "#/items/1/quantity": "is required",
    }


def test_of_both_spellings_the_proper_one_counts_and_the_other_is_unknown() -> None:
    document = body(userId="c2", items=[{"productId": "p1", "quantity": 1, "qty": 0}])
    assert wrong(document) == {"#/userId": "is not a known field", "#/items/0/qty": "is not a known field"}
    created = order_created(document | {"orderId": "o1"}, "USD")
    assert (created.request.customer_id, created.request.quantities) == ("c1", {"p1": 1})


def test_a_spelling_is_accepted_whichever_comes_first() -> None:
    for pair in ({"qty": 5, "quantity": 1}, {"quantity": 1, "qty": 5}):
        created = order_created(event(items=[{"productId": "p1", **pair}]), "USD")
        assert created.request.quantities == {"p1": 1}


def test_the_document_is_left_as_it_was() -> None:
    document = sample("short_order.json")
    before = deepcopy(document)
    order_request(document, "USD")
    assert document == before


def test_pointers_escape_what_a_pointer_takes_apart() -> None:
    assert list(wrong(body(**{"a/b~c": 1}))) == ["#/a~1b~0c"]


def test_a_pointer_is_a_uri_fragment_of_one_line() -> None:
    assert list(wrong(body(**{"a b%\n": 1}))) == ["#/a%20b%25%0A"]


# --- errors tell, but do not echo ---

LONG = "4111111111111111" * 2000


@pytest.mark.parametrize(
    "document",
    [
        LONG,
        [LONG],
        body(customerId=LONG),
        body(customerId=[LONG]),
        body(currency=LONG),
        body(totalAmount=LONG),
        body(items=LONG),
        body(items=[LONG]),
        line(quantity=LONG),
        line(productId={LONG: LONG}),
        address(city=LONG),
        address(city=LONG + "\n"),
    ],
    ids=range(12),
)
def test_an_error_never_quotes_the_clients_values(document: Any) -> None:
    for refuse in (wrong, wrong_event):
        for pointer, detail in refuse(document).items():
            assert "4111" not in pointer + detail
            assert len(detail) < 100


def test_an_error_never_quotes_a_name_at_length() -> None:
    (pointer,) = wrong(body(**{LONG: 1}))
    assert len(pointer) < 300


def test_there_is_an_end_to_the_errors_of_one_document() -> None:
    with pytest.raises(Invalid) as refused:
        order_request(body(**{f"f{n}": n for n in range(5000)}), "USD")
    assert len(refused.value.errors) == 200


def test_the_text_of_a_refusal_names_pointer_and_problem() -> None:
    with pytest.raises(Invalid, match="#/items/0/quantity: must be at least 1"):
        order_request(line(quantity=0), "USD")


# --- events ---


def test_an_event_may_have_unknown_fields_at_any_depth() -> None:
    document = event(
        items=[{"productId": "p1", "quantity": 1, "colour": {"red": [1]}}],
        shippingAddress={"street": "s", "city": "c", "country": "US", "floor": 3},
        loyalty={"points": 7, "items": [{"quantity": "none"}]},
        version=2,
        payment=None,
    )
    assert order_created(document, "USD") == order_created(
        event(shippingAddress={"street": "s", "city": "c", "country": "US"}), "USD"
    )


def test_what_an_event_does_name_is_held_to_the_same_bounds() -> None:
    assert wrong_event({"items": [{"productId": "p1", "qty": 0, "x": 1}], "totalAmount": 1, "userId": "a b"}) == {
        "#/orderId": "is required",
        "#/items/0/qty": "must be at least 1",
        "#/userId": "must be made of visible characters, without / and %",
    }


@pytest.mark.parametrize(
    ("document", "pointer", "detail"),
    [case for case in REFUSED if "not a known field" not in case[2]],
    ids=lambda value: str(value)[:40],
)
def test_an_event_out_of_bounds_is_refused_where_it_stands(document: Any, pointer: str, detail: str) -> None:
    assert detail in wrong_event(document | {"orderId": "o1"})[pointer]


@pytest.mark.parametrize("document", [None, True, 1, "text", [], [{}]], ids=repr)
def test_an_event_that_is_no_object_is_refused_once(document: Any) -> None:
    assert wrong_event(document) == {"#": "must be an object"}


@pytest.mark.parametrize("order_id", ["o", "ORD-20260420-001", "_-", "x" * 64, "0b7e1100-6c0e-5c56-9d1c-0d3a5f0b7e11"])
def test_a_producer_names_its_order(order_id: str) -> None:
    assert order_created(event(orderId=order_id), "USD").order_id == order_id


@pytest.mark.parametrize("order_id", ["", "x" * 65, "a b", "a/b", "é", "a\n", "o1\n", "٣", 7, None, ["o"]], ids=repr)
def test_an_order_id_is_1_to_64_letters_digits_underscores_and_hyphens(order_id: Any) -> None:
    assert list(wrong_event(event(orderId=order_id))) == ["#/orderId"]


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-04-20T14:30:00Z", datetime(2026, 4, 20, 14, 30, tzinfo=UTC)),
        ("2026-04-20T14:30:00.123456Z", datetime(2026, 4, 20, 14, 30, 0, 123000, tzinfo=UTC)),
        ("2026-04-20T16:30:00+02:00", datetime(2026, 4, 20, 14, 30, tzinfo=UTC)),
        ("2026-04-20T14:30:00.1-00:00", datetime(2026, 4, 20, 14, 30, 0, 100000, tzinfo=UTC)),
        ("2026-04-19T23:00-15:30", datetime(2026, 4, 20, 14, 30, tzinfo=UTC)),
    ],
)
def test_the_time_of_an_event_is_an_instant_in_utc(text: str, instant: datetime) -> None:
    created_at = order_created(event(createdAt=text), "USD").created_at
    assert created_at == instant
    assert created_at.tzinfo is UTC


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "yesterday",
        "2026-04-20",
        "2026-04-20T14:30:00",
        "2026-13-20T14:30:00Z",
        "2026-02-30T14:30:00Z",
        "2026-04-20T25:00:00Z",
        "2026-04-20T14:30:00Z\n",
        " 2026-04-20T14:30:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2026-04-20T14:30:00\ud800",
        "２０２６-04-20T14:30:00Z",
        "2" * 5000,
        1776695400,
        None,
        {},
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_time_without_offset_or_out_of_range_is_refused(bad: Any) -> None:
    assert set(wrong_event(event(createdAt=bad))) == {"#/createdAt"}


def test_an_event_without_a_time_has_none() -> None:
    assert order_created(event(), "USD").created_at is None


@pytest.mark.parametrize("bad", ["c" * 129, "a b", "é", "a\n", 7])
def test_a_correlation_id_is_visible_ascii(bad: Any) -> None:
    assert order_created(event(correlationId="c" * 128), "USD").correlation_id == "c" * 128
    assert list(wrong_event(event(correlationId=bad))) == ["#/correlationId"]


# --- whatever comes ---

numbers = st.decimals(-(10**20), 10**20, allow_nan=False) | st.integers(-(10**25) + 1, 10**25 - 1)
names = st.sampled_from(
    [
        *("customerId", "userId", "items", "productId", "quantity", "qty", "totalAmount", "unitPrice", "orderId"),
        *("shippingAddress", "street", "currency", "createdAt", "correlationId", "productName", "x"),
    ]
)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=5)
documents: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.text(max_size=3), inner),
    max_leaves=15,
)
nearly = st.builds(lambda fields: event() | fields, st.dictionaries(names, documents, max_size=4))


@given(documents | nearly)
def test_any_json_document_is_taken_or_invalid_and_nothing_else(document: Any) -> None:
    for read in (order_request, order_created):
        errors: Sequence[Error] | None = None
        try:
            read(document, "USD")
        except Invalid as refused:
            errors = refused.errors
        assert errors is None or errors
        assert all(error.pointer.startswith("#") and error.detail for error in errors or ())


@given(nearly)
def test_what_is_taken_is_within_bounds(document: Any) -> None:
    try:
        request = order_created(document, "USD").request
    except Invalid:
        return
    assert 1 <= len(request.lines) <= 50
    assert all(type(line.quantity) is int and 1 <= line.quantity <= 1_000_000 for line in request.lines)
    assert Decimal("0.01") <= request.total_amount < 10**12
    assert request.total_amount.as_tuple().exponent == -2


# --- the schema files ---


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.name)
def test_the_schemas_are_json_schema_2020_12(path: Path) -> None:
    schema = json.loads(path.read_text("utf-8"))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", ["api_order.json", "order_created_event.json"])
def test_any_other_validator_takes_the_samples_too(name: str) -> None:
    document = json.loads((SAMPLES / name).read_text("utf-8"))
    if "orderId" in document:
        schema = json.loads((SCHEMAS / "order_created.json").read_text("utf-8"))
    else:
        schema = json.loads((SCHEMAS / "order_request.json").read_text("utf-8"))
        # A binary reader's floats have no exact hundredths.
        del schema["$defs"]["amount"]["multipleOf"]
    Draft202012Validator(schema).validate(document)
