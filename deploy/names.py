"""The names of functions and their logs in alarms, dashboard and queries; another tool may have created them."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from deploy.stages import EVER, function_name, log_group


@dataclass(frozen=True, slots=True)
class Names:
    """By reference in a package; by convention beside `chalice deploy`, which names its functions by app and stage.

    `functions` are those of the stage.
    """

    packaged: bool
    functions: Collection[str]

    def in_text(self, function: str) -> str:
        """A function's name, for a text inside Fn::Sub."""
        return f"${{{EVER[function]}}}" if self.packaged else function_name(function)

    def function(self, function: str) -> dict[str, Any]:
        """A function's name."""
        return {"Ref": EVER[function]} if self.packaged else {"Fn::Sub": function_name(function)}

    def logs(self, function: str) -> dict[str, Any]:
        """The name of a function's log group."""
        return {"Ref": log_group_id(function)} if self.packaged else {"Fn::Sub": log_group(function)}


OPERATIONS_TABLE = "orderonce-${Stage}-operations"
"""The table of `python -m ops`, with `${Stage}` in it. No function may use it."""


def operations_table(stage: str) -> str:
    """Its name in a stage."""
    return OPERATIONS_TABLE.replace("${Stage}", stage)


def log_group_id(function: str) -> str:
    """The logical id that Chalice gives a function's log group in a package."""
    return "ApiHandlerLogGroup" if function == "api_handler" else f"{EVER[function]}LogGroup"


def role_id(function: str) -> str:
    """The logical id that Chalice gives a function's role in a package."""
    return "ApiHandlerRole" if function == "api_handler" else f"{EVER[function]}Role"
