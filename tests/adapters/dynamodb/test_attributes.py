"""Typed attributes are boto3's, to the last digit: what it writes, reads or refuses is so here too."""

from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from boto3.dynamodb.types import Binary, TypeDeserializer, TypeSerializer
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.adapters.dynamodb.attributes import plain, typed


class Colour(StrEnum):
    RED = "red"


numbers = (
    st.integers()
    | st.sampled_from([10**38 - 1, 10**38, 1 - 10**38, -(10**38)])
    | st.decimals()
    | st.decimals(allow_nan=False, allow_infinity=False, places=2)
)
scalars = st.none() | st.booleans() | st.text(max_size=5) | numbers | st.floats()
others = st.sampled_from([Colour.RED, b"x", Binary(b"x"), {"a", "b"}, {1, 2}, object(), MappingProxyType({"a": 1})])
values = st.recursive(
    scalars | others,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def outcome(convert: Callable[[Any], Any], value: Any) -> object:
    """What comes of it: the representation shows types and digits, which `==` would not."""
    try:
        return repr(convert(value))
    except Exception as fault:  # noqa: BLE001 - whatever boto3 raises
        return type(fault)


@given(values)
def test_a_value_is_written_and_read_back_as_boto3_does(value: Any) -> None:
    assert outcome(typed, value) == outcome(TypeSerializer().serialize, value)
    try:
        attribute = typed(value)
    except Exception:  # noqa: BLE001 - as boto3, see above
        return
    assert outcome(plain, attribute) == outcome(TypeDeserializer().deserialize, attribute)


@pytest.mark.parametrize(
    "attribute",
    [
        *({}, {"X": 1}, {"N": "x"}, {"N": "1" * 39}, {"N": "1e200"}, {"N": 1}, {"L": [{}]}, {"M": {"a": {"X": 1}}}),
        *({"NULL": True}, {"NULL": False}, {"BOOL": True}, {"B": b"x"}, {"SS": ["a"]}, {"NS": ["1", "2"]}),
        *({"N": "10"}, {"N": "10.00"}, {"N": "1E+3"}, {"N": "-0"}, {"S": ""}, {"L": []}, {"M": {}}, {"S": 1}),
        {"M": {"a": {"L": [{"N": "1"}, {"BS": [b"x"]}]}}},
    ],
    ids=repr,
)
def test_an_attribute_is_read_or_refused_as_boto3_does(attribute: Any) -> None:
    assert outcome(plain, attribute) == outcome(TypeDeserializer().deserialize, attribute)


def test_what_dynamodb_cannot_hold_is_refused() -> None:
    for value in (Decimal("NaN"), Decimal("Infinity"), 10**38 + 1, Decimal("1." + "1" * 38)):
        with pytest.raises((TypeError, ArithmeticError)):
            typed(value)
