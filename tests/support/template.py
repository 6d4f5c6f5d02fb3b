"""The project's CloudFormation template, read far enough to make its tables without CloudFormation.

DynamoDB Local has no CloudFormation. What this cannot resolve is refused by name, never guessed.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from botocore.model import ListShape, Shape, StructureShape

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / ".chalice" / "resources.json"

_PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::URLSuffix": "amazonaws.com",
}
_NAME_OF = {
    "AWS::DynamoDB::Table": "TableName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::Events::EventBus": "Name",
}
_ARN_OF = {
    "AWS::DynamoDB::Table": "arn:aws:dynamodb:us-east-1:123456789012:table/{}",
    "AWS::SQS::Queue": "arn:aws:sqs:us-east-1:123456789012:{}",
    "AWS::Events::EventBus": "arn:aws:events:us-east-1:123456789012:event-bus/{}",
}


class Template:
    """A template with its parameters filled in."""

    def __init__(self, document: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
        self.resources: Mapping[str, Any] = document["Resources"]
        declared: Mapping[str, Any] = document.get("Parameters", {})
        unknown = parameters.keys() - declared.keys()
        if unknown:
            raise KeyError(f"the template has no parameter {', '.join(sorted(unknown))}")
        defaults = {name: spec["Default"] for name, spec in declared.items() if "Default" in spec}
        self._values = {**_PSEUDO, **defaults, **parameters}

    @classmethod
    def load(cls, parameters: Mapping[str, Any], path: Path = TEMPLATE) -> "Template":
        return cls(json.loads(path.read_text(encoding="utf-8")), parameters)

    def properties(self, kind: str) -> dict[str, dict[str, Any]]:
        """Logical id -> resolved Properties, of every resource of this type."""
        return {
            logical_id: self.resolve(resource.get("Properties", {}))
            for logical_id, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def resolve(self, value: Any) -> Any:
        match value:
            case {"Ref": name}:
                return self._ref(name)
            case {"Fn::Sub": [text, extra]}:
                return self._sub(text, self.resolve(extra))
            case {"Fn::Sub": str(text)}:
                return self._sub(text, {})
            case {"Fn::GetAtt": [logical_id, attribute]}:
                return self._attribute(logical_id, attribute)
            case {"Fn::GetAtt": str(dotted)}:
                return self._attribute(*dotted.split(".", 1))
            case dict():
                for key in value:
                    if key.startswith("Fn::"):
                        raise NotImplementedError(f"{key} in the template: teach tests/support/template.py")
                return {key: self.resolve(each) for key, each in value.items()}
            case list():
                return [self.resolve(each) for each in value]
            case _:
                return value

    def _ref(self, name: str) -> Any:
        return self._values[name] if name in self._values else self._name(name)

    def _sub(self, text: str, extra: Mapping[str, Any]) -> str:
        def value(found: re.Match[str]) -> str:
            name = found[1]
            if name in extra:
                return str(extra[name])
            return str(self._attribute(*name.split(".", 1)) if "." in name else self._ref(name))

        return re.sub(r"\$\{([^!}][^}]*)\}", value, text).replace("${!", "${")

    def _name(self, logical_id: str) -> str:
        resource = self.resources[logical_id]
        return str(self.resolve(resource["Properties"][_NAME_OF[resource["Type"]]]))

    def _attribute(self, logical_id: str, attribute: str) -> str:
        if attribute == "Arn":
            return _ARN_OF[self.resources[logical_id]["Type"]].format(self._name(logical_id))
        if attribute == _NAME_OF.get(self.resources[logical_id]["Type"]):
            return self._name(logical_id)
        raise NotImplementedError(f"{logical_id}.{attribute} in the template: teach tests/support/template.py")


def create_tables(client: Any, template: Template) -> list[str]:
    """Make every table of the template, as far as CreateTable knows its properties (backups, TTL and tags are
    other calls on AWS, and nothing that a conditional write depends on). Returns their names."""
    shape = client.meta.service_model.operation_model("CreateTable").input_shape
    names = []
    for properties in template.properties("AWS::DynamoDB::Table").values():
        wanted = {key: value for key, value in properties.items() if key not in ("SSESpecification", "Tags")}
        client.create_table(**_known(wanted, shape))
        names.append(properties["TableName"])
    return names


def _known(value: Any, shape: Shape) -> Any:
    """The part of `value` that this shape of the API has members for."""
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        return {key: _known(each, shape.members[key]) for key, each in value.items() if key in shape.members}
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_known(each, shape.member) for each in value]
    return value
