"""What the template of resources says should be there, with a stage's name filled in."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

TEMPLATE = Path(__file__).resolve().parent.parent / ".chalice" / "resources.json"

UNRESOLVED = object()
"""A value that depends on more than a stage's name and the defaults. It is not compared."""


class Template:
    """The resources of one stage."""

    def __init__(self, document: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
        declared: Mapping[str, Any] = document.get("Parameters", {})
        defaults = {name: spec["Default"] for name, spec in declared.items() if "Default" in spec}
        self._values = {**defaults, **parameters}
        self._resources: Mapping[str, Any] = document["Resources"]

    @classmethod
    def read(cls, parameters: Mapping[str, Any], path: Path = TEMPLATE) -> "Template":
        """Raises ClickException naming the file."""
        try:
            return cls(json.loads(path.read_text("utf-8")), parameters)
        except (OSError, ValueError, KeyError) as fault:
            raise click.ClickException(f"{path} cannot be read: {fault}.") from fault

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """The properties of each resource of a type."""
        found = (resource for resource in self._resources.values() if resource.get("Type") == kind)
        return [{name: self._resolve(value) for name, value in r.get("Properties", {}).items()} for r in found]

    def _resolve(self, value: Any) -> Any:
        match value:
            case {"Ref": str(name)}:
                return self._values[name] if name in self._values else self._name_of(name)
            case {"Fn::Sub": str(text)}:
                return self._substitute(text)
            case {"Fn::GetAtt": [str(name), "Arn" | "QueueName"]}:
                return self._name_of(name)
            case {"Fn::GetAtt": [str(name), "Version"]} if name in self._values:
                return self._values[name]
            case dict():
                resolved = {name: self._resolve(each) for name, each in value.items()}
                unresolved = UNRESOLVED in resolved.values() or any(name.startswith("Fn::") for name in resolved)
                return UNRESOLVED if unresolved else resolved
            case list():
                all_resolved = [self._resolve(each) for each in value]
                return UNRESOLVED if UNRESOLVED in all_resolved else all_resolved
        return value

    def _substitute(self, text: str) -> Any:
        names = set(re.findall(r"\$\{([^!}]+)\}", text))
        if not names <= self._values.keys():
            return UNRESOLVED
        return re.sub(r"\$\{([^!}]+)\}", lambda found: str(self._values[found[1]]), text)

    def _name_of(self, logical_id: str) -> Any:
        """The name of a resource, in place of its ARN or URL: the rest of these is account and region."""
        properties = self._resources.get(logical_id, {}).get("Properties", {})
        names = [value for name, value in properties.items() if name.endswith("Name")]
        return self._resolve(names[0]) if names else UNRESOLVED
