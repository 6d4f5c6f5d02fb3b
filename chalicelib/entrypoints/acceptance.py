"""Accept quickly: whether a document fits a schema, yes or no. What is wrong with one, `schema.py` says, slowly.

Each schema becomes one function, once. A thirtieth of jsonschema's time, and none of its import. A property holds the
two together: what is accepted here has no error there, and the other way round.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from chalicelib.entrypoints.schema_files import FORMATS, pattern, schema

Check = Callable[[Any], bool]

_SAYS_NOTHING = {"$schema", "$id", "$comment", "title", "description"}


@cache
def acceptance(name: str, is_new: bool = True) -> Check:
    """Whether a document fits the schema of this name; `format`s are only for what is new, not for what is stored."""
    return _check(schema(name), is_new)


def _check(node: Mapping[str, Any], is_new: bool) -> Check:
    """Raises KeyError for a schema that says more than is understood here."""
    rest = {keyword: value for keyword, value in node.items() if keyword not in _SAYS_NOTHING}
    return _TYPES[rest.pop("type")](rest, is_new)


def _all_used(rest: Mapping[str, Any]) -> None:
    if rest:
        raise KeyError(f"keywords that are not understood: {', '.join(rest)}")


def _text(rest: dict[str, Any], is_new: bool) -> Check:
    shortest, longest = rest.pop("minLength", 0), rest.pop("maxLength", float("inf"))
    matches = pattern(rest.pop("pattern", "")).search
    formats = _formats(rest) if is_new else []
    for keyword in ("format", "allOf"):
        rest.pop(keyword, None)
    _all_used(rest)

    def accepts(value: Any) -> bool:
        if type(value) is not str or not shortest <= len(value) <= longest or not matches(value):
            return False
        for has_format in formats:  # noqa: SIM110 - a generator would cost as much as the checks
            if not has_format(value):
                return False
        return True

    return accepts


def _formats(node: Mapping[str, Any]) -> list[Callable[[str], bool]]:
    """The formats of a schema of text, each once; the parts of an `allOf` have nothing else."""
    parts = [node, *node.get("allOf", ())]
    for part in parts[1:]:
        _all_used({keyword: value for keyword, value in part.items() if keyword not in _SAYS_NOTHING | {"format"}})
    return list(dict.fromkeys(FORMATS[part["format"]] for part in parts if "format" in part))


def _number(rest: dict[str, Any], _: bool) -> Check:
    least, most = rest.pop("minimum", Decimal("-Infinity")), rest.pop("maximum", Decimal("Infinity"))
    below, step = rest.pop("exclusiveMaximum", Decimal("Infinity")), rest.pop("multipleOf", None)
    _all_used(rest)

    def accepts(value: Any) -> bool:
        if type(value) is not Decimal and type(value) is not int:
            return False
        return least <= value <= most and value < below and (step is None or not value % step)

    return accepts


def _integer(rest: dict[str, Any], is_new: bool) -> Check:
    # JSON Schema: 2.0 is an integer. That of each whole number the remainder by one is 0 says no more.
    return _number({"multipleOf": 1} | rest, is_new)


def _list(rest: dict[str, Any], is_new: bool) -> Check:
    fewest, most = rest.pop("minItems", 0), rest.pop("maxItems", float("inf"))
    each = _check(rest.pop("items"), is_new)
    _all_used(rest)

    def accepts(value: Any) -> bool:
        if type(value) is not list or not fewest <= len(value) <= most:
            return False
        for item in value:  # noqa: SIM110 - see above
            if not each(item):
                return False
        return True

    return accepts


def _object(rest: dict[str, Any], is_new: bool) -> Check:
    members = {name: _check(member, is_new) for name, member in rest.pop("properties").items()}
    required, is_open = frozenset(rest.pop("required", ())), rest.pop("additionalProperties", True)
    _all_used(rest)

    def accepts(value: Any) -> bool:
        if type(value) is not dict or not required <= value.keys():
            return False
        for name, item in value.items():
            check = members.get(name)
            if not (check(item) if check else is_open):
                return False
        return True

    return accepts


_TYPES: Mapping[str, Callable[[dict[str, Any], bool], Check]] = {
    "string": _text,
    "number": _number,
    "integer": _integer,
    "array": _list,
    "object": _object,
}
