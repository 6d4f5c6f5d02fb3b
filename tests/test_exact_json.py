"""What JSON leaves open is refused, and amounts keep their digits in both directions."""

import json
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.exact_json import InvalidJson, dumps, loads

TOO_DEEP = "nests too deeply"
OUT_OF_RANGE = "out of range"


def nested(depth: int, inside: str = "1") -> str:
    return "[" * depth + inside + "]" * depth


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", '{"a": NaN}', "[Infinity]"])
def test_what_is_no_json_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidJson, match="is no JSON number"):
        loads(text)


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "a": 1}', '{"a": 1, "b": 2, "a": 3}', '[{"x": {"a": 1, "a": 2}}]', '{"a": 1, "\\u0061": 2}'],
    ids=["alike", "apart", "nested", "escaped"],
)
def test_a_member_named_twice_is_refused(text: str) -> None:
    with pytest.raises(InvalidJson, match="names a member twice"):
        loads(text)


@pytest.mark.parametrize(
    "text",
    [
        "1e400",
        "-1e400",
        "1e-400",
        "0e400",
        "1e99999999999999999999999",
        "1e21",
        "9" * 26,
        "9" * 5000,
        "-" + "9" * 5000,
        "0." + "1" * 5000,
        "1" + "0" * 5000 + ".5",
        "1e" + "0" * 5000 + "1",
    ],
    ids=lambda text: text[:12],
)
def test_a_number_out_of_range_is_refused_wherever_it_stands(text: str) -> None:
    for document in (text, f"[{text}]", f'{{"totalAmount": {text}}}'):
        with pytest.raises(InvalidJson, match=OUT_OF_RANGE):
            loads(document)


@pytest.mark.parametrize("depth", [33, 100, 500, 20_000])
@pytest.mark.parametrize("inside", ["1", pytest.param("[1]", id="list"), pytest.param('{"a": 1}', id="object")])
def test_what_nests_deeper_than_32_is_refused(depth: int, inside: str) -> None:
    with pytest.raises(InvalidJson, match=TOO_DEEP):
        loads(nested(depth, inside))


def test_what_nests_33_deep_is_refused_even_when_nothing_is_inside() -> None:
    with pytest.raises(InvalidJson, match=TOO_DEEP):
        loads(nested(33, ""))


@pytest.mark.parametrize("text", ["[" * 20_000, '{"a":' * 20_000, '[{"a":' * 20_000])
def test_brackets_that_never_close_are_refused_and_nothing_worse(text: str) -> None:
    with pytest.raises(InvalidJson):
        loads(text)


def test_what_nests_32_deep_is_read() -> None:
    value = loads(nested(32))
    for _ in range(32):
        (value,) = value
    assert value == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"a": "\xff"}', "not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (b'"\xc0\xaf"', "not UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "line 1, column 1"),
        (b"", "line 1, column 1"),
        (b" \n ", "line 2, column 2"),
        (b"{", "line 1, column 2"),
        (b'{"a": 1} x', "Extra data"),
        (b"{'a': 1}", "line 1, column 2"),
        (b'{"a": 01}', "line 1"),
        (b'{"a": .5}', "line 1"),
        (b'{"a": 1.}', "line 1"),
        (b'{"a": +1}', "line 1"),
        (b'{"a": 1,}', "line 1"),
        (b'"a\nb"', "control character"),
        (b'"a\x00b"', "control character"),
        (b"// no\n1", "line 1"),
    ],
)
def test_what_is_not_json_is_refused_with_the_place(body: bytes, said: str) -> None:
    with pytest.raises(InvalidJson, match=said):
        loads(body)


def test_a_refusal_never_quotes_the_text() -> None:
    secret = "4111-1111-1111-1111"
    for text in (f'{{"a": {secret}}}', f'["{secret}" "{secret}"]', f'{{"{secret}": 1, "{secret}": 2}}'):
        with pytest.raises(InvalidJson) as refused:
            loads(text)
        assert "1111" not in str(refused.value)


def test_whole_numbers_are_ints_and_all_others_decimals_to_the_last_digit() -> None:
    text = "[1, -7, 109.90, 0.1, 2.0, 1e2, 12345678901234567890.25, true, null]"
    value = loads(text)
    assert value == [
        1,
        -7,
        Decimal("109.90"),
        Decimal("0.1"),
        Decimal(2),
        Decimal(100),
        Decimal("12345678901234567890.25"),
        True,
        None,
    ]
    assert [type(item) for item in value[:6]] == [int, int, Decimal, Decimal, Decimal, Decimal]
    assert str(value[2]) == "109.90"


def test_text_and_bytes_read_alike() -> None:
    text = '{"city": "Besançon 東京 🛒", "n": 1.50}'
    assert loads(text) == loads(text.encode()) == {"city": "Besançon 東京 🛒", "n": Decimal("1.50")}


def test_an_amount_keeps_its_two_decimals_when_written() -> None:
    document = {"totalAmount": Decimal("109.90"), "items": [{"unitPrice": Decimal("30.00"), "quantity": 2}]}
    assert dumps(document) == '{"totalAmount": 109.90, "items": [{"unitPrice": 30.00, "quantity": 2}]}'


def test_a_decimal_is_never_written_with_an_exponent() -> None:
    assert dumps([Decimal("1E+3"), Decimal("1E-7"), Decimal("-0.50")]) == "[1000, 0.0000001, -0.50]"


def test_what_is_written_is_ascii_so_that_no_text_can_break_it() -> None:
    text = dumps({"ключ": '\ud800 \u2028 \n " \\ 東'})
    assert text.isascii()
    assert json.loads(text) == {"ключ": '\ud800 \u2028 \n " \\ 東'}


numbers = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=2)
scalars = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text() | numbers
documents: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


@given(documents)
def test_what_is_written_is_read_back_exactly(document: Any) -> None:
    again = loads(dumps(document))
    assert again == document
    assert dumps(again) == dumps(document)
    assert again == loads(dumps(document).encode())


@given(documents)
def test_other_readers_read_the_same(document: Any) -> None:
    assert json.loads(dumps(document), parse_float=Decimal) == document


@given(
    st.binary(max_size=200) | st.text(max_size=200) | st.text(alphabet='{}[]",:\\u0123eE+-.truefalsnN \n', max_size=80)
)
def test_reading_anything_gives_a_value_or_invalid_json_and_nothing_else(text: str | bytes) -> None:
    value: Any = None
    with suppress(InvalidJson):
        value = loads(text)
    assert loads(dumps(value)) == value
