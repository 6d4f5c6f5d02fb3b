"""Stacks of CloudFormation: created or updated by a change set, watched until they are complete, deleted."""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, WaiterError

from deploy.packaging import TEMPLATE_NAME, ZIP_NAME
from deploy.stages import read

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

_CHANGE_SET = "deploy"
_NO_CHANGES = ("didn't contain changes", "No updates are to be performed")


class StackFailed(Exception):
    """With CloudFormation's reasons for the resources that failed."""


@dataclass(frozen=True)
class Stacks:
    """The stacks of an account in a region."""

    client: "CloudFormationClient"
    wait_seconds: int = 5

    def deploy(
        self, name: str, where: Mapping[str, str], parameters: Mapping[str, str], kept: Collection[str] = ()
    ) -> dict[str, str]:
        """Create or update the stack from a template (TemplateBody or TemplateURL); its outputs. Raises StackFailed.

        A parameter of `kept` that is not among `parameters` has the value that the stack has, if there is one.
        """
        stack = self._described(name)
        before = {each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", ())}
        parameters = {key: before[key] for key in kept if key in before} | dict(parameters)
        status = stack.get("StackStatus")
        kind: Any = "CREATE" if status in (None, "REVIEW_IN_PROGRESS") else "UPDATE"
        request: Any = {
            **where,
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            # The SAM transform needs a change set, and creates roles.
            "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            "Tags": [{"Key": "application", "Value": "orderonce"}, {"Key": "stage", "Value": parameters["Stage"]}],
        }
        self.client.create_change_set(StackName=name, ChangeSetName=_CHANGE_SET, ChangeSetType=kind, **request)
        if self._has_changes(name):
            self.client.execute_change_set(StackName=name, ChangeSetName=_CHANGE_SET)
            self._wait(name, "stack_create_complete" if kind == "CREATE" else "stack_update_complete")
        return self.outputs(name)

    def delete(self, name: str) -> list[str]:
        """Delete the stack, if it exists; the names of its retained resources. Raises StackFailed."""
        if self._status(name) is None:
            return []
        template: Any = self.client.get_template(StackName=name, TemplateStage="Original")["TemplateBody"]
        document = json.loads(template) if isinstance(template, str) else template
        retained = {n for n, resource in document["Resources"].items() if resource.get("DeletionPolicy") == "Retain"}
        pages = self.client.get_paginator("list_stack_resources").paginate(StackName=name)
        kept = [
            f"{resource['ResourceType']} {resource.get('PhysicalResourceId', '')}"
            for page in pages
            for resource in page["StackResourceSummaries"]
            if resource["LogicalResourceId"] in retained
        ]
        self.client.delete_stack(StackName=name)
        self._wait(name, "stack_delete_complete")
        return kept

    def outputs(self, name: str) -> dict[str, str]:
        """The stack's outputs, by name."""
        (stack,) = self.client.describe_stacks(StackName=name)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    def _described(self, name: str) -> Mapping[str, Any]:
        """The stack as CloudFormation describes it; empty if it does not exist."""
        try:
            (stack,) = self.client.describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError":
                return {}
            raise
        return stack

    def _status(self, name: str) -> str | None:
        return self._described(name).get("StackStatus")

    def _has_changes(self, name: str) -> bool:
        waiter = self.client.get_waiter("change_set_create_complete")
        try:
            waiter.wait(StackName=name, ChangeSetName=_CHANGE_SET, WaiterConfig=self._patience)
        except WaiterError as error:
            found = self.client.describe_change_set(StackName=name, ChangeSetName=_CHANGE_SET)
            reason = found.get("StatusReason", str(error))
            self.client.delete_change_set(StackName=name, ChangeSetName=_CHANGE_SET)
            if any(words in reason for words in _NO_CHANGES):
                return False
            raise StackFailed(f"{name}: {reason}") from error
        return True

    def _wait(self, name: str, until: Any) -> None:
        try:
            self.client.get_waiter(until).wait(StackName=name, WaiterConfig=self._patience)
        except WaiterError as error:
            events = self.client.describe_stack_events(StackName=name)["StackEvents"]
            faults = [
                f"{event.get('LogicalResourceId')}: {event.get('ResourceStatusReason', '')}"
                for event in events
                if event.get("ResourceStatus", "").endswith("FAILED")
            ]
            raise StackFailed("\n".join([f"{name} {self._status(name)}", *faults])) from error

    @property
    def _patience(self) -> Any:
        return {"Delay": self.wait_seconds, "MaxAttempts": 360}


def upload(folder: Path, stage: str, put: Callable[[str, Path], None]) -> tuple[str, Path]:
    """Upload the zip by `put`, under a key by its content, and the template with that key; the template's key and file.

    By content: an unchanged zip does not change any function.
    """
    zipped = folder / ZIP_NAME
    code = f"orderonce/{stage}/{_digest(zipped)}.zip"
    put(code, zipped)
    template = read(folder / TEMPLATE_NAME)
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = {"Bucket": {"Ref": "CodeBucket"}, "Key": code}
    template["Parameters"]["CodeBucket"] = {"Type": "String", "Description": "Where the functions' zip is."}
    path = folder / "deployed.json"
    path.write_text(json.dumps(template, separators=(",", ":")), encoding="utf-8")
    key = f"orderonce/{stage}/{_digest(path)}.json"
    put(key, path)
    return key, path


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]
