"""Digests of the settings: Lambda publishes no version for a setting that is a reference, whatever it refers to.

SAM names a version by the code and by the environment as the template has it, in which `{"Ref": "OrdersTable"}` stays
the same when a parameter gives the table another name. A digest stands as a literal beside it.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from chalicelib.domain.idempotency import claim_id, fingerprint, order_id_from_key
from chalicelib.domain.order import Address, LineItem
from chalicelib.domain.request import OrderRequest
from deploy.merging import merged

SETTINGS_DIGEST = "SETTINGS_DIGEST"
"""The variable of a packaged function that has it. No code reads it."""

_OF_A_VERSION = ("Architectures", "Environment", "Handler", "MemorySize", "Runtime", "Timeout", "Tracing")
"""What Lambda keeps with a version. Nothing else may change the digest: Lambda refuses to publish an equal version."""


SHARED_SETTINGS = "SharedSettings"
"""The output of the stack that has the digest of what all versions which run at once must agree on."""

MAY_DIFFER = (
    "CONSUMER_BATCHING_WINDOW_SECONDS",
    "CONSUMER_BATCH_SIZE",
    "CONSUMER_MAX_CONCURRENCY",
    "CORS_ORIGIN",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "MAX_RECEIVES",
    "ORDER_TTL_DAYS",
    "PAYMENTS_SIMULATED_ON_PROD",
    "POWERTOOLS_METRICS_NAMESPACE",
    "POWERTOOLS_SERVICE_NAME",
    "PROBLEM_BASE_URL",
)
"""Settings in which an old and a new version may differ while both run. In all others they must agree: with tables of
its own, each would take an order that the other one has; with another provider, each would charge it; with another
pool, client or claim, one would let in whom the other refuses, or take somebody for another customer."""


def stamped(template: Mapping[str, Any], parameters: Mapping[str, str], failure: str = "") -> dict[str, Any]:
    """The template with a digest in the environment of each function, and the shared one among its outputs, for these
    values of its parameters.

    `failure`: when the update before was rolled back, if it was. Lambda has the versions that it published: the same
    settings and code again would be refused as equal to the last one.
    """
    functions = {
        name: resource["Properties"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }

    def digest(value: Any) -> str:
        return _digest(value, template, parameters)

    shared = {name: _shared(properties) for name, properties in functions.items()}
    description = "Digest of tables, identity, provider and whatever else all versions must agree on."
    return merged(
        template,
        {
            "Resources": {name: _variable(digest([_kept(own), failure])) for name, own in functions.items()},
            "Outputs": {
                SHARED_SETTINGS: {"Description": description, "Value": digest([shared, _names_of_orders()])},
            },
        },
    )


def _variable(digest: str) -> dict[str, Any]:
    return {"Properties": {"Environment": {"Variables": {SETTINGS_DIGEST: digest}}}}


def _kept(function: Mapping[str, Any]) -> dict[str, Any]:
    return {name: function.get(name) for name in _OF_A_VERSION}


def _shared(function: Mapping[str, Any]) -> dict[str, Any]:
    """The role too: an alias cannot have versions of two roles (AWS Lambda Developer Guide, "Implement Lambda canary
    deployments using a weighted alias")."""
    variables = function.get("Environment", {}).get("Variables", {})
    return {"Role": function["Role"], **{name: value for name, value in variables.items() if name not in MAY_DIFFER}}


def _names_of_orders() -> list[str]:
    """What the code makes of a key and of a body: two versions that differ in it would create an order twice."""
    line = LineItem("product", 1, Decimal("1.00"), "name")
    request = OrderRequest("customer", (line,), Decimal("1.00"), "USD", Address("street", "city", "country"))
    return [order_id_from_key("customer", "key"), claim_id("customer", "fingerprint"), fingerprint(request)]


def _digest(value: Any, template: Mapping[str, Any], parameters: Mapping[str, str]) -> str:
    """Of a value, and of the parameters that it depends on."""
    defaults = {name: declared.get("Default") for name, declared in template["Parameters"].items()}
    given = {**defaults, **parameters}
    # A parameter's value is text; a default may be a number.
    texts = {name: str(given[name]) for name in parameters_behind(value, template)}
    return hashlib.sha256(json.dumps([value, texts], sort_keys=True).encode()).hexdigest()[:16]


def parameters_behind(value: Any, template: Mapping[str, Any]) -> set[str]:
    """The parameters that a value depends on: by itself, by conditions, and by the names of resources."""
    found: set[str] = set()
    waiting = list(references(value))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += references(template.get("Conditions", {}).get(name))
            properties = template["Resources"].get(name, {}).get("Properties", {})
            waiting += references([own for property_, own in properties.items() if property_.endswith("Name")])
    return found & set(template["Parameters"])


def references(value: Any) -> Iterator[str]:
    """The names of parameters, resources and conditions that a value refers to."""
    match value:
        case {"Ref": str(name)} | {"Condition": str(name)} | {"Fn::GetAtt": [str(name), *_]} if len(value) == 1:
            yield name
        case {"Fn::Sub": str(text)}:
            yield from re.findall(r"\$\{(\w+)", text)
        case {"Fn::Sub": [str(text), names]}:
            yield from references([{"Fn::Sub": text}, names])
        case {"Fn::If": [str(condition), *values]}:
            yield from references([{"Condition": condition}, *values])
        case dict():
            yield from references(list(value.values()))
        case list():
            for each in value:
                yield from references(each)
