"""What the tables and their indexes take at most (parameters MaxReadUnits, MaxWriteUnits): a bound of the bill.

Off unless given. What is beyond it is throttled: requests get 503 or wait, and the alarms of throttles ring.
"""

from collections.abc import Iterable
from typing import Any

from deploy.options import is_given, only_if
from deploy.stages import RESOURCES, read

_CAPS = {"MaxReadUnits": "MaxReadRequestUnits", "MaxWriteUnits": "MaxWriteRequestUnits"}
"""The parameters, and DynamoDB's names."""


def overlay(tables: Iterable[str]) -> dict[str, Any]:
    """The overlay on the tables, by logical id. An index has a cap of its own: it is not part of its table's."""
    described = read(RESOURCES)["Resources"]
    return {
        "Parameters": {name: _number(name) for name in _CAPS},
        "Conditions": {
            **{f"Has{name}": is_given(name) for name in _CAPS},
            "IsCapped": {"Fn::Or": [{"Condition": f"Has{name}"} for name in _CAPS]},
        },
        "Resources": {name: {"Properties": _capped(described[name]["Properties"])} for name in tables},
    }


def _capped(table: dict[str, Any]) -> dict[str, Any]:
    caps = {of_dynamodb: only_if(f"Has{name}", {"Ref": name}) for name, of_dynamodb in _CAPS.items()}
    capped = {"OnDemandThroughput": only_if("IsCapped", caps)}
    # A list is replaced by the merge: the indexes as they are, with their caps.
    indexes = [{**index, **capped} for index in table.get("GlobalSecondaryIndexes", ())]
    return {**capped, **({"GlobalSecondaryIndexes": indexes} if indexes else {})}


def _number(name: str) -> dict[str, Any]:
    kind = "Read" if "Read" in name else "Write"
    return {
        "Type": "String",
        "Default": "",
        "AllowedPattern": "([1-9][0-9]*)?",
        "Description": f"{kind} units a second of each table and each index at most; empty: no cap.",
    }
