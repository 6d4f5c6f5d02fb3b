"""What is asked for is either taken as it is, or refused with all that is wrong and where."""

import json
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from chalicelib.domain.order import Address
from chalicelib.domain.request import Invalid
from chalicelib.entrypoints import validation
from chalicelib.entrypoints.validation import order_created, order_request
from chalicelib.exact_json import dumps, loads

SAMPLES = Path(__file__).parents[1] / "samples"
SCHEMAS = Path(validation.__file__).parent / "schemas"

LINE = {"productId": "p1", "quantity": 1, "unitPrice": 10, "productName": "n"}
BODY = {
    "customerId": "c1",
    "items": [LINE],
    "totalAmount": 10,
    "currency": "USD",
    "shippingAddress": dict.fromkeys(Address.__slots__, "x"),
    "paymentMethod": "pm_1",
}
OF_EVENTS = {"orderId": "o1", "createdAt": "2026-04-20T14:30:00Z", "correlationId": "k1"}
EVENT = BODY | OF_EVENTS
NOTHING: Any = object()


def sample(name: str) -> Any:
    return loads((SAMPLES / name).read_bytes())


def with_value(document: Any, pointer: str, value: Any) -> Any:
    """The document with another value at this place, or without a value there."""
    if pointer == "#":
        return value
    document = deepcopy(document)
    *way, name = pointer.removeprefix("#/").split("/")
    inside = document
    for step in way:
        inside = inside[int(step) if isinstance(inside, list) else step]
    inside[int(name) if isinstance(inside, list) else name] = value
    if value is NOTHING:
        del inside[name]
    return document


def wrong(read: Callable[[Any, str], object], document: Any) -> list[tuple[str, str]]:
    """Pointer and detail of each error; none: the document is taken."""
    try:
        read(document, "USD")
    except Invalid as refused:
        return [(error.pointer, error.detail) for error in refused.errors]
    return []


def wrong_at(pointer: str, value: Any) -> list[str]:
    """What is wrong with a document that has this value at this place: the same in a body as in an event."""
    errors = wrong(order_created, with_value(EVENT, pointer, value))
    if pointer.removeprefix("#/") not in OF_EVENTS:
        assert wrong(order_request, with_value(BODY, pointer, value)) == errors
    assert {where for where, _ in errors} <= {pointer}
    return [detail for _, detail in errors]


# --- what is taken ---


def test_the_sample_order_is_taken_as_it_is() -> None:
    request = order_request(sample("api_order.json"), "EUR")
    assert request.customer_id == "CUST-42"
    assert request.quantities == {"PROD-001": 2, "PROD-003": 1}
    assert [str(line.unit_price) for line in request.items] == ["29.99", "49.99"]
    assert (str(request.total_amount), request.currency, request.shipping_address) == ("109.97", "USD", None)


def test_the_short_sample_order_is_taken_and_left_as_it_is() -> None:
    document = sample("short_order.json")
    request = order_request(document, "USD")
    assert document == sample("short_order.json")
    assert request.customer_id == "user-123"
    assert request.quantities == {"PROD-001": 2, "PROD-003": 1}
    assert [line.unit_price for line in request.items] == [None, None]
    assert (str(request.total_amount), request.currency) == ("109.97", "USD")


def test_the_sample_event_is_taken_as_it_is_but_not_as_a_body() -> None:
    document = sample("order_created_event.json")
    created = order_created(document, "EUR")
    assert created.order_id == "ORD-20260420-001"
    assert created.created_at == datetime(2026, 4, 20, 14, 30, tzinfo=UTC)
    assert created.correlation_id is None
    assert created.request.items[0].product_name == "Mechanical Keyboard"
    assert created.request.shipping_address == Address("123 Dev Lane", "Portland", "US", "OR", "97201")
    assert created.request.currency == "USD"
    assert wrong(order_request, document) == [
        (f"#/{name}", "is not a known field") for name in ("orderId", "createdAt")
    ]


@given(st.integers(1, 1_000_000), st.sampled_from(["{}", "{}.0", "{}.00e0", "{}0e-1"]))
def test_a_whole_quantity_is_taken_however_it_is_written(quantity: int, written: str) -> None:
    document = with_value(BODY, "#/items/0/quantity", loads(written.format(quantity)))
    (line,) = order_request(document, "USD").items
    assert line.quantity == quantity
    assert type(line.quantity) is int


@given(st.integers(1, 10**14 - 1), st.sampled_from(["{}e-2", "{}0e-3", "{}00e-4"]))
def test_an_amount_is_taken_with_two_decimals_however_it_is_written(cents: int, written: str) -> None:
    amount = loads(written.format(cents))
    request = order_request(BODY | {"totalAmount": amount, "items": [LINE | {"unitPrice": amount}]}, "USD")
    assert str(request.total_amount) == str(request.items[0].unit_price) == f"{cents // 100}.{cents % 100:02}"


# --- what is refused ---

TEXT = "must be text without control characters"
AMOUNT = "must be an amount of at most two decimals"
ID = "must be made of visible characters, without / and %"
ORDER_ID = "must be made of letters, digits, _ and -"
CURRENCY = "must be a currency code of three capital letters (ISO 4217)"
CARD = "must be a token of the payment provider, not a card number"
TOKEN = "must be visible ASCII characters"
TIME = "must be an ISO 8601 time with its UTC offset"
NO_TIMES = [
    *("", "yesterday", "2026-04-20", "2026-04-20T14:30:00", "2026-13-20T14:30:00Z", "2026-02-30T14:30:00Z"),
    *("2026-04-20T25:00:00Z", "2026-04-20T14:30:00Z\n", " 2026-04-20T14:30:00Z", "0001-01-01T00:00:00+14:00"),
    *("9999-12-31T23:59:59-14:00", "2026-04-20T14:30:00\ud800", "２０２６-04-20T14:30:00Z"),
]
ADDRESS = [f"#/shippingAddress/{name}" for name in Address.__slots__]
AMOUNTS = ["#/totalAmount", "#/items/0/unitPrice"]
SHAPES = {
    **dict.fromkeys(["#", "#/items/0", "#/shippingAddress"], "an object"),
    "#/items": "a list",
    "#/items/0/quantity": "a whole number",
    **dict.fromkeys(AMOUNTS, "a number"),
    **dict.fromkeys(["#/customerId", "#/items/0/productId", "#/items/0/productName", "#/currency"], "text"),
    **dict.fromkeys([*ADDRESS, "#/paymentMethod", "#/orderId", "#/createdAt", "#/correlationId"], "text"),
}
OF_EACH_SHAPE: list[tuple[str, Any]] = [
    *(("an object", {}), ("a list", []), ("a list", [{}]), ("text", ""), ("text", "1"), ("a flag", True)),
    *(("a number", Decimal("1.5")), ("a whole number", 1), ("null", None)),
]


@pytest.mark.parametrize("pointer", SHAPES)
def test_a_value_of_another_type_is_refused_where_it_is(pointer: str) -> None:
    expected = SHAPES[pointer]
    for shape, value in OF_EACH_SHAPE:
        if shape != expected and (shape, expected) != ("a whole number", "a number"):
            assert wrong_at(pointer, value) == [f"must be {expected}"]


@pytest.mark.parametrize("pointer", [pointer for pointer in SHAPES if pointer not in ("#", "#/items/0")])
def test_only_what_is_required_is_required(pointer: str) -> None:
    optional = {"currency", "shippingAddress", "unitPrice", "productName", "state", "zip", "paymentMethod"}
    optional |= {"createdAt", "correlationId"}
    assert wrong_at(pointer, NOTHING) == ([] if pointer.rpartition("/")[2] in optional else ["is required"])


@pytest.mark.parametrize(
    ("place", "name", "shown"),
    [
        *(("#", "status", "status"), ("#/items/0", "colour", "colour"), ("#/shippingAddress", "floor", "floor")),
        # Escaped as a pointer (RFC 6901), then as a URI fragment of one line.
        *(("#", "a/b~c", "a~1b~0c"), ("#", "a b%\n", "a%20b%25%0A"), ("#", "\ud800", "?")),
    ],
)
def test_a_body_has_no_unknown_fields(place: str, name: str, shown: str) -> None:
    inside: Any = {"#": BODY, "#/items/0": LINE, "#/shippingAddress": BODY["shippingAddress"]}[place]
    document = with_value(BODY, place, inside | {name: 1})
    assert wrong(order_request, document) == [(f"{place}/{shown}", "is not a known field")]


BOUNDS: list[tuple[str, list[str], list[Any]]] = [
    ("#/items", [], [[LINE], [LINE] * 50]),
    ("#/items", ["must have at least 1 entry"], [[]]),
    ("#/items", ["must have at most 50 entries"], [[LINE] * 51]),
    ("#/items/0/quantity", [], [1, 1_000_000]),
    ("#/items/0/quantity", ["must be at least 1"], [0, -1]),
    ("#/items/0/quantity", ["must be at most 1000000"], [1_000_001, 10**25 - 1, Decimal("1e20")]),
    *((pointer, [], [Decimal("0.01"), Decimal("999999999999.99")]) for pointer in AMOUNTS),
    *((pointer, [AMOUNT], [Decimal("109.975"), Decimal("0.011")]) for pointer in AMOUNTS),
    *((pointer, ["must be less than 1000000000000"], [10**12, 10**25 - 1, Decimal("1e20")]) for pointer in AMOUNTS),
    ("#/items/0/unitPrice", [], [0]),  # what is for nothing may cost nothing
    ("#/items/0/unitPrice", ["must be at least 0"], [Decimal("-0.01")]),
    ("#/totalAmount", ["must be at least 0.01"], [0, -1]),
    ("#/totalAmount", [AMOUNT, "must be at least 0.01"], [Decimal("0.001"), Decimal("1e-20")]),
    ("#/currency", [], ["USD", "JPY"]),
    ("#/currency", [CURRENCY], ["", "usd", "US", "USDT", "ÜSD", "USD\n"]),
    ("#/customerId", [], ["c", "c" * 128]),
    ("#/customerId", ["must have at most 128 characters"], ["c" * 129]),
    ("#/items/0/productId", [], ["p", "p" * 64]),
    ("#/items/0/productId", ["must have at most 64 characters"], ["p" * 65]),
    *((pointer, ["must not be empty"], [""]) for pointer in ("#/customerId", "#/items/0/productId")),
    *((pointer, [], ["", "x" * 256]) for pointer in ("#/items/0/productName", *ADDRESS)),
    *((p, ["must have at most 256 characters"], ["x" * 257]) for p in ("#/items/0/productName", *ADDRESS)),
    ("#/paymentMethod", [], ["p", "x" * 255, "pm_1MqLiJLkdIwHu7ixUEgbFdYl", "tok:visa|0123456789"]),
    ("#/paymentMethod", ["must not be empty"], [""]),
    ("#/paymentMethod", ["must have at most 255 characters"], ["x" * 256]),
    ("#/paymentMethod", [CARD], ["4111111111111111", "pm_5555-5555-5555-4444", "3782822463100051230"]),
    ("#/paymentMethod", [CARD, TOKEN], ["4111 1111 1111 1111", "6011111111111117\n"]),
    ("#/correlationId", [], ["", "c" * 128]),
    ("#/correlationId", ["must have at most 128 characters"], ["c" * 129]),
    ("#/orderId", [], ["o", "x" * 64, "ORD-20260420-001", "0b7e1100-6c0e-5c56-9d1c-0d3a5f0b7e11"]),
    ("#/orderId", [ORDER_ID], ["", "x" * 65]),
    ("#/createdAt", [TIME], NO_TIMES),
    ("#/createdAt", [TIME, "must have at most 40 characters"], ["2" * 41, "2" * 5000]),
]


@pytest.mark.parametrize(("pointer", "errors", "values"), BOUNDS)
def test_a_value_is_taken_within_its_bounds_and_refused_beyond(pointer: str, errors: list[str], values: Any) -> None:
    for value in values:
        assert sorted(wrong_at(pointer, value)) == errors


CHARACTERS = "Az09_-!~%/ \t\n\x00\x1f\x7f\x80\xa0\xa1é٣東🛒\ud7ff\ud800\udfff\ue000"
IN_NO_TEXT = "\t\n\x00\x1f\x7f\ud800\udfff"


@pytest.mark.parametrize("written", ["{}", "x{}", "{}x", "x{}x"])
@pytest.mark.parametrize(
    ("pointer", "refused", "error"),
    [
        *(
            (pointer, set(IN_NO_TEXT) | set(" \x80\xa0%/\ue000"), ID)
            for pointer in ("#/customerId", "#/items/0/productId")
        ),
        *((pointer, set(IN_NO_TEXT), TEXT) for pointer in ("#/items/0/productName", *ADDRESS)),
        *((pointer, set(CHARACTERS) - set("Az09_-!~%/"), TOKEN) for pointer in ("#/correlationId", "#/paymentMethod")),
        ("#/orderId", set(CHARACTERS) - set("Az09_-"), ORDER_ID),
    ],
)
def test_a_text_is_made_of_its_characters(pointer: str, refused: set[str], error: str, written: str) -> None:
    for character in CHARACTERS:
        text = loads(dumps(written.format(character)))
        assert wrong_at(pointer, text) == ([error] if character in refused else [])


IDS = ["#/customerId", "#/items/0/productId"]
NFC = "must be in Unicode normalization form C (NFC)"
UNSEEN = ("Cc", "Cf", "Zs", "Zl", "Zp", "Co", "Cs")
unseen_characters = st.characters(categories=("Cc", "Cf", "Zs", "Zl", "Zp", "Co"))


@pytest.mark.parametrize("pointer", IDS)
@given(st.characters() | unseen_characters, st.sampled_from(["{}", "x{}", "{}x"]))
def test_an_id_of_a_new_order_has_no_character_that_cannot_be_seen(pointer: str, character: str, written: str) -> None:
    """Two ids that look the same are the same: no person could tell them apart, and no log line shows why."""
    text = written.format(character)
    unseen = unicodedata.category(character) in UNSEEN or character in "/%"
    composed = unicodedata.normalize("NFC", text) == text
    only_dots = pointer == "#/customerId" and text == "."
    expected = [ID] * unseen + [NFC] * (not composed) + ["must be neither . nor .."] * only_dots
    assert wrong_at(pointer, text) == expected


@pytest.mark.parametrize("pointer", IDS)
@given(st.text(st.characters(min_codepoint=0x21, categories=("L", "M", "N", "P")), min_size=1, max_size=20))
def test_an_id_of_a_new_order_is_composed(pointer: str, text: str) -> None:
    assert (NFC in wrong_at(pointer, text)) is (unicodedata.normalize("NFC", text) != text)


@pytest.mark.parametrize(
    ("customer", "taken"), [(".", False), ("..", False), ("...", True), (".a", True), ("a.", True)]
)
def test_a_customer_is_no_relative_part_of_a_path(customer: str, taken: bool) -> None:
    assert (wrong_at("#/customerId", customer) == []) is taken


@pytest.mark.parametrize("unseen", ["\u200b", "\u00ad", "\ue000", "\u2028", "\u3000", "e\u0301"], ids=ascii)
def test_a_message_of_the_services_own_is_about_an_order_that_is_not_new(unseen: str) -> None:
    for pointer in IDS:
        document = with_value(EVENT, pointer, f"a{unseen}")
        assert wrong(order_created, document) != []
        assert wrong(lambda d, currency: order_created(d, currency, is_new=False), document) == []
    for pointer, value in (("#/customerId", ".."), ("#/paymentMethod", "4111111111111111")):
        document = with_value(EVENT, pointer, value)
        assert wrong(lambda d, currency: order_created(d, currency, is_new=False), document) == []


def test_all_problems_come_at_once_each_with_its_pointer() -> None:
    document = {
        "items": [{"productId": "p1", "quantity": 0}, {"quantity": "2", "unitPrice": Decimal("0.005")}, 3],
        "totalAmount": Decimal("-1.001"),
        "coupon": "X",
    }
    assert sorted(wrong(order_request, document)) == [
        ("#/coupon", "is not a known field"),
        ("#/customerId", "is required"),
        ("#/items/0/quantity", "must be at least 1"),
        ("#/items/1/productId", "is required"),
        ("#/items/1/quantity", "must be a whole number"),
        ("#/items/1/unitPrice", AMOUNT),
        ("#/items/2", "must be an object"),
        *(("#/totalAmount", AMOUNT), ("#/totalAmount", "must be at least 0.01")),
    ]


# --- the accepted spellings ---


def test_errors_point_at_the_spelling_that_the_client_wrote() -> None:
    document = {"userId": "", "items": [{"productId": "p1", "qty": 0}, {"productId": "p1"}], "totalAmount": 10}
    errors = {
        "#/userId": "must not be empty",
        "#/items/0/qty": "must be at least 1",
        "#/items/1/quantity": "is required",
    }
    assert dict(wrong(order_request, document)) == errors
    assert dict(wrong(order_created, document)) == errors | {"#/orderId": "is required"}


@pytest.mark.parametrize("line", [{"qty": 0, "quantity": 1}, {"quantity": 1, "qty": 0}])
def test_of_both_spellings_the_proper_one_counts_and_the_other_is_unknown(line: dict[str, int]) -> None:
    document = BODY | {"userId": "c2", "items": [{"productId": "p1", **line}]}
    assert dict(wrong(order_request, document)) == dict.fromkeys(["#/userId", "#/items/0/qty"], "is not a known field")
    request = order_created(document | {"orderId": "o1"}, "USD").request
    assert (request.customer_id, request.quantities) == ("c1", {"p1": 1})


# --- errors tell, but do not echo ---

LONG = "4111111111111111" * 2000


@pytest.mark.parametrize("value", [LONG, [LONG], {LONG: LONG}, LONG + "\n", [{LONG: LONG}]], ids=range(5))
def test_an_error_never_quotes_the_clients_values(value: Any) -> None:
    for pointer in SHAPES:
        for where, detail in wrong(order_created, with_value(EVENT, pointer, value)):
            assert "4111" not in where + detail
            assert len(detail) < 100


def test_an_error_never_quotes_a_name_at_length() -> None:
    errors = wrong(order_request, BODY | {LONG: 1, LONG[:64]: 1})
    assert [pointer for pointer, _ in errors] == [f"#/{LONG[:64]}%E2%80%A6", f"#/{LONG[:64]}"]


def test_there_is_an_end_to_the_errors_of_one_document() -> None:
    assert len(wrong(order_request, BODY | {f"f{n}": n for n in range(5000)})) == 200


def test_the_text_of_a_refusal_names_pointer_and_problem() -> None:
    with pytest.raises(Invalid, match=r"^#/customerId: must not be empty; #/items: must be a list$"):
        order_request(BODY | {"customerId": "", "items": 1}, "USD")


# --- events ---


def test_an_event_may_have_unknown_fields_at_any_depth() -> None:
    street = {"street": "s", "city": "c", "country": "US"}
    document = EVENT | {
        "items": [LINE | {"colour": {"red": [1]}}],
        "shippingAddress": street | {"floor": 3},
        "loyalty": {"points": 7, "items": [{"quantity": "none"}]},
        "version": 2,
        "payment": None,
    }
    assert order_created(document, "USD") == order_created(EVENT | {"shippingAddress": street}, "USD")


def test_an_event_without_its_optional_fields_has_none() -> None:
    created = order_created(BODY | {"orderId": "o1"}, "USD")
    assert (created.order_id, created.created_at, created.correlation_id) == ("o1", None, None)
    assert order_created(with_value(EVENT, "#/currency", NOTHING), "EUR").request.currency == "EUR"
    assert order_created(EVENT, "USD").correlation_id == "k1"


@pytest.mark.parametrize(
    ("microsecond", "texts"),
    [
        (0, ["2026-04-20T14:30:00Z", "2026-04-20T16:30:00+02:00", "2026-04-19T23:00-15:30"]),
        (123_000, ["2026-04-20T14:30:00.123456Z", "2026-04-20T14:30:00.123-00:00"]),
    ],
)
def test_the_time_of_an_event_is_an_instant_in_utc_to_the_millisecond(microsecond: int, texts: list[str]) -> None:
    for text in texts:
        created_at = order_created(EVENT | {"createdAt": text}, "USD").created_at
        assert created_at == datetime(2026, 4, 20, 14, 30, 0, microsecond, tzinfo=UTC)
        assert created_at.tzinfo is UTC


# --- whatever comes ---

numbers = st.decimals(-(10**20), 10**20, allow_nan=False) | st.integers(-(10**25) + 1, 10**25 - 1)
names = st.sampled_from([*EVENT, *LINE, *Address.__slots__, "userId", "qty", "x"])
scalars = st.none() | st.booleans() | numbers | st.text(max_size=5)
documents: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.text(max_size=3), inner),
    max_leaves=15,
)
nearly = st.builds(lambda fields: EVENT | fields, st.dictionaries(names, documents, max_size=4))


@settings(max_examples=50)
@given(documents | nearly)
def test_any_json_document_is_taken_within_bounds_or_invalid_and_nothing_else(document: Any) -> None:
    assert all(pointer.startswith("#") and detail for pointer, detail in wrong(order_request, document))
    with suppress(Invalid):
        request = order_created(document, "USD").request
        assert 1 <= len(request.items) <= 50
        assert all(type(line.quantity) is int and 1 <= line.quantity <= 1_000_000 for line in request.items)
        assert Decimal("0.01") <= request.total_amount < 10**12
        assert request.total_amount.as_tuple().exponent == -2


# --- the schema files ---


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.name)
def test_the_schemas_are_json_schema_2020_12(path: Path) -> None:
    schema = json.loads(path.read_text("utf-8"))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    ("name", "file"), [("api_order.json", "order_request.json"), ("order_created_event.json", "order_created.json")]
)
def test_any_other_validator_takes_the_samples_too(name: str, file: str) -> None:
    schema = json.loads((SCHEMAS / file).read_text("utf-8"))
    # A binary reader's floats have no exact hundredths.
    schema.get("$defs", {}).get("amount", {}).pop("multipleOf", None)
    Draft202012Validator(schema).validate(json.loads((SAMPLES / name).read_text("utf-8")))
