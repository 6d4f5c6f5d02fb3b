"""Digests of the settings: Lambda publishes no version for a setting that is a reference, whatever it refers to.

SAM names a version by the code and by the environment as the template has it, in which `{"Ref": "OrdersTable"}` stays
the same when a parameter gives the table another name. A digest stands as a literal beside it.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from deploy.merging import merged

SETTINGS_DIGEST = "SETTINGS_DIGEST"
"""The variable of a packaged function that has it. No code reads it."""

_OF_A_VERSION = ("Architectures", "Environment", "Handler", "MemorySize", "Runtime", "Timeout", "Tracing")
"""What Lambda keeps with a version. Nothing else may change the digest: Lambda refuses to publish an equal version."""


def stamped(template: Mapping[str, Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    """The template with a digest in the environment of each function, for these values of its parameters."""
    functions = {
        name: resource["Properties"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    return merged(
        template,
        {"Resources": {name: _variable(_digest(own, template, parameters)) for name, own in functions.items()}},
    )


def _variable(digest: str) -> dict[str, Any]:
    return {"Properties": {"Environment": {"Variables": {SETTINGS_DIGEST: digest}}}}


def _digest(function: Mapping[str, Any], template: Mapping[str, Any], parameters: Mapping[str, str]) -> str:
    kept = {name: function.get(name) for name in _OF_A_VERSION}
    values = {
        name: parameters.get(name, template["Parameters"][name].get("Default"))
        for name in parameters_behind(kept, template)
    }
    # A parameter's value is text; a default may be a number.
    texts = {name: str(value) for name, value in values.items()}
    return hashlib.sha256(json.dumps([kept, texts], sort_keys=True).encode()).hexdigest()[:16]


def parameters_behind(value: Any, template: Mapping[str, Any]) -> set[str]:
    """The parameters that a value depends on: by itself, by conditions, and by the names of resources."""
    found: set[str] = set()
    waiting = list(_references(value))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _references(template.get("Conditions", {}).get(name))
            properties = template["Resources"].get(name, {}).get("Properties", {})
            waiting += _references([own for property_, own in properties.items() if property_.endswith("Name")])
    return found & set(template["Parameters"])


def _references(value: Any) -> Iterator[str]:
    """The names of parameters, resources and conditions that a value refers to."""
    match value:
        case {"Ref": str(name)} | {"Condition": str(name)} | {"Fn::GetAtt": [str(name), *_]}:
            yield name
        case {"Fn::Sub": str(text)}:
            yield from re.findall(r"\$\{(\w+)", text)
        case {"Fn::Sub": [str(text), names]}:
            yield from _references([{"Fn::Sub": text}, names])
        case {"Fn::If": [str(condition), *values]}:
            yield from _references([{"Condition": condition}, *values])
        case dict():
            yield from _references(list(value.values()))
        case list():
            for each in value:
                yield from _references(each)
