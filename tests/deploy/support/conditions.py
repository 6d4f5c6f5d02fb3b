"""A template with the values of its parameters: what CloudFormation makes of its conditions."""

from collections.abc import Mapping
from typing import Any

_NOTHING = object()


class Conditions:
    """The conditions of a template, evaluated. Parameters without a value have their default."""

    def __init__(self, template: Mapping[str, Any], **values: str | int) -> None:
        declared = template["Parameters"]
        unknown = values.keys() - declared.keys()
        assert not unknown, unknown
        self._template = template
        self._values = {name: values.get(name, spec.get("Default")) for name, spec in declared.items()}

    @property
    def resources(self) -> dict[str, Any]:
        """The resources that there are, with what is conditional resolved, and references to parameters."""
        return self._chosen("Resources")

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs that there are."""
        return self._chosen("Outputs")

    def _chosen(self, section: str) -> dict[str, Any]:
        found = self._template[section].items()
        return {n: self._resolved(each) for n, each in found if "Condition" not in each or self._holds(each)}

    def _holds(self, condition: Any) -> bool:
        match condition:
            case {"Condition": str(name)}:
                return self._holds(self._template["Conditions"][name])
            case {"Fn::Not": [inner]}:
                return not self._holds(inner)
            case {"Fn::Or": parts}:
                return any(map(self._holds, parts))
            case {"Fn::And": parts}:
                return all(map(self._holds, parts))
            case {"Fn::Equals": [one, other]}:
                # Parameters and what they are compared with are text to CloudFormation.
                return str(self._resolved(one)) == str(self._resolved(other))
        raise NotImplementedError(f"{condition}: teach tests/deploy/support/conditions.py")

    def _resolved(self, value: Any) -> Any:
        match value:
            case {"Ref": "AWS::NoValue"}:
                return _NOTHING
            case {"Ref": str(name)} if name in self._values:
                return self._values[name]
            case {"Fn::If": [name, then, otherwise]}:
                return self._resolved(then if self._holds({"Condition": name}) else otherwise)
            case dict():
                resolved = {name: self._resolved(each) for name, each in value.items()}
                return {name: each for name, each in resolved.items() if each is not _NOTHING}
            case list():
                return [each for each in map(self._resolved, value) if each is not _NOTHING]
        return value
