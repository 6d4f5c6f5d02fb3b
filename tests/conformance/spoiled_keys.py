"""How a key is read, and all that can be wrong with it."""

import re
from collections.abc import Sequence

_STRING = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"(;.*)?')
MAX_CHARACTERS = 255


class BadKey(Exception):
    """The header is not one key that this service takes."""


def read_key(fault: str, values: Sequence[str]) -> str | None:
    """The key in the values of the header; None: the request is handled as one without a key. Raises BadKey."""
    if len(values) > 1 and fault != "takes the first of two keys":
        raise BadKey
    value = values[0].strip()
    if value in ("", '""'):
        if fault == "takes an empty key":
            return "empty"
        raise BadKey
    if not value.startswith('"'):
        return _bare(fault, value)
    if fault == "takes only keys without quotes":
        raise BadKey
    return _string(fault, value)


def _bare(fault: str, value: str) -> str | None:
    if fault == "ignores a key without quotes":
        return None
    if fault in ("takes only keys without quotes", "takes any key as it is"):
        return value
    raise BadKey


def _string(fault: str, value: str) -> str:
    found = _STRING.fullmatch(value)
    if not found and fault == "takes a malformed key":
        return value
    if not found or (found[2] and fault != "takes a parameter for a part of the key"):
        raise BadKey
    key = found[1] + (found[2] or "")
    match fault:
        case "cuts a key off":
            return key[:64]
        case "splits a key at a comma":
            return key.partition(",")[0]
        case "takes a key in any case":
            return key.lower()
    if len(key) > MAX_CHARACTERS and fault != "takes a key of any length":
        raise BadKey
    return key
