"""The tables in use: a stage's own, or those that were restored beside them under other names.

A table cannot be restored in place, nor be renamed. So whatever refers to the tables of orders, stock and claims does
so by a name that ends in the parameter RestoredTables: empty, or a dash and the name of the restore. These three are
always restored together; the payments never are.
"""

import re
from collections.abc import Mapping
from typing import Any

from deploy.stages import RESOURCES, read

RESTORABLE = {
    "OrdersTable": "ORDERS_TABLE",
    "InventoryTable": "INVENTORY_TABLE",
    "IdempotencyTable": "IDEMPOTENCY_TABLE",
}
"""The tables that are restored together, by logical id, and the settings that name them."""

PARAMETER = "RestoredTables"
_ARN = "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/"


def table_names(stage: str, ending: str = "") -> dict[str, str]:
    """The names of the three tables with this ending, by setting."""
    return {setting: _own(table).replace("${Stage}", stage) + ending for table, setting in RESTORABLE.items()}


def ending_of(stage: str, settings: Mapping[str, str]) -> str | None:
    """What the names of all three tables in these settings end in; None: they do not go together."""
    own = table_names(stage)
    endings = {settings.get(setting, "").removeprefix(name) for setting, name in own.items()}
    ending = endings.pop()
    return ending if not endings and table_names(stage, ending).items() <= settings.items() else None


def with_tables_in_use(template: Mapping[str, Any]) -> dict[str, Any]:
    """The template with the parameter, and each reference `by_name`."""
    parameter = {
        "Type": "String",
        "Default": "",
        "AllowedPattern": "(-[A-Za-z0-9_.-]{1,60})?",
        "Description": "What the names of restored tables in use end in; empty: the stack's own tables are in use.",
    }
    used: dict[str, Any] = by_name(template)
    return {**used, "Parameters": {**used["Parameters"], PARAMETER: parameter}}


def _own(table: str) -> str:
    name: str = read(RESOURCES)["Resources"][table]["Properties"]["TableName"]["Fn::Sub"]
    return name


def by_name(value: Any) -> Any:
    """A part of a template with each reference to one of the three tables by its name in use."""
    match value:
        case {"Ref": str(table)} if table in RESTORABLE:
            return {"Fn::Sub": _in_use(table)}
        case {"Fn::GetAtt": [str(table), "Arn"]} if table in RESTORABLE:
            return {"Fn::Sub": _ARN + _in_use(table)}
        case {"Fn::Sub": str(text)}:
            return {"Fn::Sub": _in_text(text)}
        case dict():
            return {name: by_name(each) for name, each in value.items()}
        case list():
            return [by_name(each) for each in value]
    return value


def _in_text(text: str) -> str:
    def name(found: re.Match[str]) -> str:
        return (_ARN if found[2] else "") + _in_use(found[1])

    return re.sub(rf"\$\{{({'|'.join(RESTORABLE)})(\.Arn)?\}}", name, text)


def _in_use(table: str) -> str:
    return f"{_own(table)}${{{PARAMETER}}}"
