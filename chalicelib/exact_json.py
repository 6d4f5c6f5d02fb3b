"""JSON without loss: amounts are Decimals in both directions, and what JSON leaves open is refused.

Python's own reader accepts NaN, lets the last of two equal names win, and fails in ways of its own on hostile input.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from json.encoder import encode_basestring_ascii
from typing import Any, NoReturn

_MAX_NUMBER_LENGTH = 25
_MAX_EXPONENT = 20
_MAX_DEPTH = 32


class InvalidJson(ValueError):
    """The text is not JSON that this service accepts; the message says why, fit for a client."""


def loads(text: str | bytes) -> Any:
    """The value of a JSON text (RFC 8259); numbers with a fraction or an exponent are Decimals.

    Raises InvalidJson for what is not UTF-8, not JSON, has a duplicate key, NaN or Infinity, a number of more
    than 25 characters or beyond 1e20, or nests too deeply.
    """
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        value = _DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise InvalidJson("the text is not UTF-8") from error
    except RecursionError:
        raise InvalidJson("the text nests too deeply") from None
    except json.JSONDecodeError as error:
        raise InvalidJson(f"{error.msg} at line {error.lineno}, column {error.colno}") from error
    if text.count("{") + text.count("[") > _MAX_DEPTH:  # otherwise it cannot be too deep
        _check_depth(value)
    return value


def dumps(value: Any) -> str:
    """JSON text of dicts, lists, strings, ints, booleans, None and Decimals; a Decimal keeps its digits.

    Unlike `json`, which would need floats: 109.90 stays 109.90.
    """
    write = _WRITERS.get(type(value))
    return write(value) if write else _of_another_type(value)


def _object(members: Mapping[str, Any]) -> str:
    # Most of an order is text: no call for each.
    text = encode_basestring_ascii
    written = [f"{text(name)}: {text(item) if type(item) is str else dumps(item)}" for name, item in members.items()]
    return "{" + ", ".join(written) + "}"


def _array(items: Sequence[Any]) -> str:
    return "[" + ", ".join([dumps(item) for item in items]) + "]"


def _digits(number: Decimal) -> str:
    return format(number, "f")


_WRITERS: Mapping[type, Callable[[Any], str]] = {
    str: encode_basestring_ascii,
    dict: _object,
    list: _array,
    tuple: _array,
    Decimal: _digits,
    int: str,
}


def _of_another_type(value: Any) -> str:
    """Of a subtype, such as a StrEnum, or of a type that is rare."""
    if isinstance(value, Mapping):
        return _object(value)
    if isinstance(value, (list, tuple)):
        return _array(value)
    return _digits(value) if isinstance(value, Decimal) else json.dumps(value)


def _check_depth(value: Any) -> None:
    # Without recursion: whoever walks the value later may recurse.
    level = [value]
    for _ in range(_MAX_DEPTH + 1):
        containers = [item for item in level if isinstance(item, (dict, list))]
        if not containers:
            return
        level = [item for one in containers for item in (one.values() if isinstance(one, dict) else one)]
    raise InvalidJson("the text nests too deeply")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise InvalidJson("an object has a duplicate key")
    return members


def _constant(name: str) -> NoReturn:
    raise InvalidJson(f"{name} is not a JSON number")


def _decimal(text: str) -> Decimal:
    # Bounded here, once: no later arithmetic meets an exponent of a billion.
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise InvalidJson("a number is out of range") from error
    if len(text) > _MAX_NUMBER_LENGTH or abs(number.adjusted()) > _MAX_EXPONENT:
        raise InvalidJson("a number is out of range")
    return number


def _integer(text: str) -> int:
    if len(text) > _MAX_NUMBER_LENGTH:
        raise InvalidJson("a number is out of range")
    return int(text)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_constant=_constant, parse_float=_decimal, parse_int=_integer
)
