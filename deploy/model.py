"""The model by which the gateway checks a POST /orders: a looser form of the project's own schema.

API Gateway's models are JSON Schema draft 4. It has only types and required fields, so the gateway refuses
what cannot be an order, without an invocation, and nothing that the function would accept.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.stages import ROOT, read

_OTHER_SPELLINGS = {"customerId": "userId", "quantity": "qty"}
"""What the function accepts too (chalicelib/entrypoints/validation.py normalizes it before it checks the schema)."""

_SCHEMA = ROOT / "chalicelib" / "entrypoints" / "schemas" / "order_request.json"


def order_model() -> dict[str, Any]:
    """The model, derived from order_request.json."""
    schema = read(_SCHEMA)
    return {"title": "OrderRequest", **_loosened(schema, schema["$defs"])}


def _loosened(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
    # Drafts differ in whether 2.0 is an integer; it is a number in all of them.
    loosened: dict[str, Any] = {"type": {"integer": "number"}.get(schema["type"], schema["type"])}
    if "items" in schema:
        loosened["items"] = _loosened(schema["items"], definitions)
    if "properties" in schema:
        own = {name: _loosened(each, definitions) for name, each in schema["properties"].items()}
        others = {other: own[name] for name, other in _OTHER_SPELLINGS.items() if name in own}
        loosened["properties"] = own | others
        loosened |= _required(schema.get("required", ()))
    return loosened


def _required(names: Sequence[str]) -> dict[str, Any]:
    """Each field, under its own name or its other spelling."""
    fixed = [name for name in names if name not in _OTHER_SPELLINGS]
    either = [
        {"anyOf": [{"required": [name]}, {"required": [_OTHER_SPELLINGS[name]]}]}
        for name in names
        if name in _OTHER_SPELLINGS
    ]
    return ({"required": fixed} if fixed else {}) | ({"allOf": either} if either else {})
