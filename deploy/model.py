"""The model by which the gateway checks a POST /orders: only what every order has, of its type.

API Gateway's models are JSON Schema draft 4. What cannot be an order costs no invocation. All finer is the function's,
whose answer lists everything that is wrong.
"""

from typing import Any

from deploy.stages import ROOT, read

_OTHER_SPELLINGS = {"customerId": "userId"}
"""What the function accepts too (chalicelib/entrypoints/validation.py normalizes it before it checks the schema)."""

_SCHEMA = ROOT / "chalicelib" / "entrypoints" / "schemas" / "order_request.json"


def order_model(*, customer_named: bool = True) -> dict[str, Any]:
    """The model, derived from order_request.json. `customer_named`: it says for whom."""
    types = required_types()
    spelt = {other: types[name] for name, other in _OTHER_SPELLINGS.items()}
    either = [{"anyOf": [{"required": [name]}, {"required": [other]}]} for name, other in _OTHER_SPELLINGS.items()]
    return {
        "title": "OrderRequest",
        "type": "object",
        "properties": {name: {"type": type_} for name, type_ in (types | spelt).items()},
        "required": [name for name in types if name not in _OTHER_SPELLINGS],
    } | ({"allOf": either} if customer_named else {})


def required_types() -> dict[str, str]:
    """The members that every order has, by their proper names, and the JSON type of each."""
    schema = read(_SCHEMA)
    members = {name: schema["properties"][name] for name in schema["required"]}
    return {name: _resolved(member, schema["$defs"])["type"] for name, member in members.items()}


def _resolved(member: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = definitions[member["$ref"].removeprefix("#/$defs/")] if "$ref" in member else member
    return found
