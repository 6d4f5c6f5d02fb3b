"""What JSON leaves open is refused, and amounts keep their digits in both directions."""

import json
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.exact_json import InvalidJson, dumps, loads

SECRET = "4111-1111-1111-1111"


def refusal(text: str | bytes) -> str:
    with pytest.raises(InvalidJson) as refused:
        loads(text)
    return str(refused.value)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", '{"a": NaN}', "[Infinity]"])
def test_what_is_no_json_number_is_refused(text: str) -> None:
    assert "is not a JSON number" in refusal(text)


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "a": 1}', '{"a": 1, "b": 2, "a": 3}', '[{"x": {"a": 1, "a": 2}}]', '{"a": 1, "\\u0061": 2}'],
    ids=["alike", "apart", "nested", "escaped"],
)
def test_a_member_named_twice_is_refused(text: str) -> None:
    assert "has a duplicate key" in refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        *("1e400", "-1e400", "1e-400", "0e400", "1e99999999999999999999999", "1e21", "1e-21", "9" * 26, "-" + "9" * 25),
        *("9" * 5000, "-" + "9" * 5000, "0." + "1" * 24, "0." + "1" * 5000, "1" + "0" * 5000 + ".5"),
        "1e" + "0" * 5000 + "1",
    ],
    ids=lambda text: text[:12],
)
def test_a_number_out_of_range_is_refused_wherever_it_is(text: str) -> None:
    for document in (text, f"[{text}]", f'{{"totalAmount": {text}}}'):
        assert "out of range" in refusal(document)


@pytest.mark.parametrize("text", ["9" * 25, "-" + "9" * 24, "0." + "1" * 23, "1e20", "1e-20"])
def test_a_number_just_in_range_is_read_to_the_last_digit(text: str) -> None:
    assert loads(text) == Decimal(text)


@pytest.mark.parametrize("depth", [33, 100, 500, 20_000])
@pytest.mark.parametrize("inside", ["", "1", pytest.param("[1]", id="list"), pytest.param('{"a": 1}', id="object")])
def test_what_nests_deeper_than_32_is_refused(depth: int, inside: str) -> None:
    assert "nests too deeply" in refusal("[" * depth + inside + "]" * depth)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_what_nests_32_deep_is_read(opening: str, closing: str) -> None:
    text = opening * 32 + "1" + closing * 32
    assert dumps(loads(text)).replace(" ", "") == text
    with pytest.raises(InvalidJson, match="nests too deeply"):
        loads(opening + text + closing)


@pytest.mark.parametrize("text", ["[" * 20_000, '{"a":' * 20_000, '[{"a":' * 20_000])
def test_brackets_that_never_close_are_refused_and_nothing_worse(text: str) -> None:
    assert refusal(text)


@pytest.mark.parametrize(
    ("said", "bodies"),
    [
        ("not UTF-8", [b'{"a": "\xff"}', '{"a": 1}'.encode("utf-16"), b'"\xed\xa0\x80"', b'"\xc0\xaf"']),
        ("line 1, column 1", [b'\xef\xbb\xbf{"a": 1}', b""]),
        ("line 2, column 2", [b" \n "]),
        ("line 1, column 2", [b"{", b"{'a': 1}"]),
        ("Extra data", [b'{"a": 1} x']),
        ("line 1", [b'{"a": 01}', b'{"a": .5}', b'{"a": 1.}', b'{"a": +1}', b'{"a": 1,}', b"// no\n1"]),
        ("control character", [b'"a\nb"', b'"a\x00b"']),
    ],
)
def test_what_is_not_json_is_refused_with_the_place(said: str, bodies: list[bytes]) -> None:
    for body in bodies:
        assert said in refusal(body)


@pytest.mark.parametrize(
    "text", [f'{{"a": {SECRET}}}', f'["{SECRET}" "{SECRET}"]', f'{{"{SECRET}": 1, "{SECRET}": 2}}'], ids=range(3)
)
def test_a_refusal_never_quotes_the_text(text: str) -> None:
    assert "1111" not in refusal(text)


def test_whole_numbers_are_ints_and_all_others_decimals() -> None:
    value = loads("[1, -7, 109.90, 2.0, 1e2, true, null]")
    assert [type(item) for item in value] == [int, int, Decimal, Decimal, Decimal, bool, type(None)]
    assert [str(item) for item in value[:5]] == ["1", "-7", "109.90", "2.0", "1E+2"]


def test_what_is_written_is_ascii_with_all_digits_and_no_exponent() -> None:
    document = {"ключ": ('\ud800 \u2028 \n " \\ 東', Decimal("109.90")), "n": [Decimal("1E+3"), Decimal("-1E-7"), 2]}
    assert dumps(document) == (
        r'{"\u043a\u043b\u044e\u0447": ["\ud800 \u2028 \n \" \\ \u6771", 109.90], "n": [1000, -0.0000001, 2]}'
    )


numbers = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=2)
scalars = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text() | numbers
documents: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


@given(documents)
def test_what_is_written_is_read_back_exactly_by_this_and_by_other_readers(document: Any) -> None:
    text = dumps(document)
    again = loads(text)
    assert again == loads(text.encode()) == json.loads(text, parse_float=Decimal) == document
    assert dumps(again) == text


@given(
    st.binary(max_size=200) | st.text(max_size=200) | st.text(alphabet='{}[]",:\\u0123eE+-.truefalsnN \n', max_size=80)
)
def test_reading_anything_gives_a_value_or_invalid_json_and_nothing_else(text: str | bytes) -> None:
    value: Any = None
    with suppress(InvalidJson):
        value = loads(text)
    assert loads(dumps(value)) == value
