"""What is wrong with a document, in sentences of our own: jsonschema's quote the client's input back at length.

Importing it takes longer than an order, so nothing does before the first refusal: `acceptance.py` accepts.
"""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Any, cast

from jsonschema import Draft202012Validator, FormatChecker, ValidationError, validators
from jsonschema.protocols import Validator

from chalicelib.entrypoints.schema_files import FORMATS, pattern, schema

_TYPES = {
    "integer": "a whole number",
    "object": "an object",
    "array": "a list",
    "string": "text",
    "number": "a number",
}
_SENTENCES: Mapping[str, Callable[[Any, Mapping[str, Any]], str]] = {
    "type": lambda expected, _: f"must be {_TYPES[expected]}",
    "minimum": lambda bound, _: f"must be at least {bound}",
    "maximum": lambda bound, _: f"must be at most {bound}",
    "exclusiveMaximum": lambda bound, _: f"must be less than {bound}",
    "multipleOf": lambda _, schema: f"must be {schema['description']}",
    "pattern": lambda _, schema: f"must be {schema['description']}",
    "format": lambda _, schema: f"must be {schema['description']}",
    "minLength": lambda _, __: "must not be empty",
    "maxLength": lambda bound, _: f"must have at most {bound} characters",
    "minItems": lambda bound, _: f"must have at least {bound} entry",
    "maxItems": lambda bound, _: f"must have at most {bound} entries",
}


def _matches(_: Any, expected: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not pattern(expected).search(instance):
        yield ValidationError("does not match")


def _in_words(keyword: str) -> Callable[..., Iterator[ValidationError]]:
    check = _matches if keyword == "pattern" else Draft202012Validator.VALIDATORS[keyword]

    def worded(validator: Validator, value: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[ValidationError]:
        for _ in check(validator, value, instance, schema) or ():
            yield ValidationError(_SENTENCES[keyword](value, schema))

    return worded


def _required(validator: Validator, names: list[str], instance: Any, _: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "object"):
        yield from (ValidationError("is required", path=[name]) for name in names if name not in instance)


def _additional(validator: Validator, _: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[ValidationError]:
    if validator.is_type(instance, "object"):
        unknown = (name for name in instance if name not in schema["properties"])
        yield from (ValidationError("is not a known field", path=[name]) for name in unknown)


def _is_integer(_: Any, value: Any) -> bool:
    # JSON Schema: 2.0 is an integer. Numbers are bounded when they are parsed, so this cannot blow up.
    if isinstance(value, Decimal):
        return value == value.to_integral_value()
    return isinstance(value, int) and not isinstance(value, bool)


_Validator = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {keyword: _in_words(keyword) for keyword in _SENTENCES}
    | {"required": _required, "additionalProperties": _additional},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)

_formats = FormatChecker(formats=())
for _format, _check in FORMATS.items():
    _formats.checks(_format)(lambda value, check=_check: not isinstance(value, str) or check(value))


@cache
def validator(name: str, is_new: bool = True) -> Validator:
    """The compiled schema of a file; `format`s are only for what is new, not for what is stored already."""
    return cast("Validator", _Validator(schema(name), format_checker=_formats if is_new else None))
