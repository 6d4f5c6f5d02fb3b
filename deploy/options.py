"""Parameters that are off unless given: the condition that one is, and what holds only then."""

from typing import Any


def text(description: str) -> dict[str, Any]:
    """Such a parameter."""
    return {"Type": "String", "Default": "", "Description": description}


def is_given(parameter: str) -> dict[str, Any]:
    """The condition that the parameter, a text, is not empty."""
    return {"Fn::Not": [{"Fn::Equals": [{"Ref": parameter}, ""]}]}


def only_if(condition: str, value: Any) -> dict[str, Any]:
    """The value of a property if the condition of this name holds; otherwise the property is not there."""
    return {"Fn::If": [condition, value, {"Ref": "AWS::NoValue"}]}
