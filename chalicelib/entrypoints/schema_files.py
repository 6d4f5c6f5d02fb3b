"""The JSON Schemas as they are in their files, and the formats that no pattern of JSON Schema can say."""

import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from chalicelib import times
from chalicelib.domain import ids, payment_method

SCHEMAS = Path(__file__).parent / "schemas"


def _is_instant(text: str) -> bool:
    try:
        times.from_text(text)
    except ValueError:
        return False
    return True


FORMATS: Mapping[str, Callable[[str], bool]] = {
    "visible": ids.is_visible,
    "nfc": ids.is_composed,
    "path-segment": ids.is_path_segment,
    "payment-method": payment_method.has_no_card_number,
    "date-time": _is_instant,
}
"""Each `format` that the schemas use, for text; anything else has every format."""


@cache
def schema(name: str) -> Any:
    """The schema of a file, with each `$ref` replaced by what it names; numbers with a fraction are Decimals."""
    document = json.loads((SCHEMAS / f"{name}.json").read_text("utf-8"), parse_float=Decimal)
    return _inlined(document, document.get("$defs", {}))


def pattern(text: str) -> re.Pattern[str]:
    """A `pattern` as ECMA 262 has it, which JSON Schema refers to: `$` is the very end, not before a line feed."""
    return re.compile(text.replace("$", r"\Z"))


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {name: _inlined(item, definitions) for name, item in schema.items() if name not in ("$ref", "$defs")}
    if "$ref" in schema:
        target = definitions[re.sub(r"^#/\$defs/", "", schema["$ref"])]
        return _inlined(target, definitions) | parts
    return parts
