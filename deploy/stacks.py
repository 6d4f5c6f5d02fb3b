"""Stacks of CloudFormation: created or updated by a change set, watched until they are complete, deleted."""

import json
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, WaiterError

from deploy.digests import stamped
from deploy.leftovers import Identifiers, import_template
from deploy.packaging import SBOM_NAME, TEMPLATE_NAME, ZIP_NAME, digest
from deploy.stages import read

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

PATIENCE_MINUTES = 20
"""For a command as a whole. The job of CI that deploys is ended after thirty, without a word."""

_NO_CHANGES = ("didn't contain changes", "No updates are to be performed")
_NOT_YET = (None, "REVIEW_IN_PROGRESS")
_NEVER_CREATED = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED")
"""What a creation that failed ends in. Such a stack can only be deleted."""

_END = {
    "CREATE": "stack_create_complete",
    "UPDATE": "stack_update_complete",
    "IMPORT": "stack_import_complete",
}
"""The waiter for each kind of change set."""


class StackFailed(Exception):
    """With CloudFormation's reasons for the resources that failed."""


@dataclass(frozen=True)
class Stacks:
    """The stacks of an account in a region, for one command."""

    client: "CloudFormationClient"
    wait_seconds: int = 5
    until: float = field(default_factory=lambda: time.monotonic() + 60 * PATIENCE_MINUTES)

    def parameters(self, name: str, wanted: Collection[str]) -> dict[str, str]:
        """The values that a stack has of these parameters, as far as it exists and has them."""
        known = self._described(name).get("Parameters", ())
        return {each["ParameterKey"]: each["ParameterValue"] for each in known if each["ParameterKey"] in wanted}

    def exists(self, name: str) -> bool:
        """Whether the stack exists, with resources."""
        return self._status(name) not in _NOT_YET

    def delete_failed(self, name: str) -> None:
        """Delete the stack if its creation failed: nothing else can follow. Raises StackFailed."""
        if self._status(name) in _NEVER_CREATED:
            self._delete(name)

    def deploy(self, name: str, where: Mapping[str, str], parameters: Mapping[str, str]) -> dict[str, str]:
        """Create or update the stack from a template (TemplateBody or TemplateURL); its outputs. Raises StackFailed."""
        # What is protected cannot be rolled back: the tables are protected once all of the stack exists.
        if not self.exists(name):
            self._change(name, "CREATE", where, {**parameters, "Protected": "false"})
        elif self._status(name) == "IMPORT_COMPLETE":
            self._change(name, "UPDATE", where, {**parameters, "Protected": "false"})
        self._change(name, "UPDATE", where, {**parameters, "Protected": "true"})
        return self.outputs(name)

    def protect(self, name: str) -> None:
        """Let nobody delete the stack by mistake; `delete` still does. Raises ClientError."""
        if not self._described(name).get("EnableTerminationProtection"):
            self.client.update_termination_protection(StackName=name, EnableTerminationProtection=True)

    def import_resources(
        self, name: str, template: Mapping[str, Any], found: Identifiers, parameters: Mapping[str, str]
    ) -> None:
        """Create the stack from resources that exist already. Raises StackFailed."""
        imported = [
            {"ResourceType": template["Resources"][n]["Type"], "LogicalResourceId": n, "ResourceIdentifier": identifier}
            for n, identifier in found.items()
        ]
        body = {"TemplateBody": json.dumps(import_template(template, found), separators=(",", ":"))}
        self._change(name, "IMPORT", body, {**parameters, "Protected": "false"}, ResourcesToImport=imported)

    def _change(
        self, name: str, kind: Any, where: Mapping[str, str], parameters: Mapping[str, str], **more: Any
    ) -> None:
        # A name of its own: a change set that was left over stands in nobody's way.
        change_set = f"deploy-{uuid.uuid4()}"
        request: Any = {
            **where,
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            # The SAM transform needs a change set, and creates roles.
            "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        }
        if kind == "IMPORT":  # it may not tag
            request |= more
        else:
            request["Tags"] = [
                {"Key": "application", "Value": "orderonce"},
                {"Key": "stage", "Value": parameters["Stage"]},
            ]
        self.client.create_change_set(StackName=name, ChangeSetName=change_set, ChangeSetType=kind, **request)
        if self._has_changes(name, change_set):
            # Without RetainExceptOnCreate a creation that fails leaves the tables, and the next one finds them there.
            creates: Any = {} if kind == "IMPORT" else {"RetainExceptOnCreate": True}
            self.client.execute_change_set(StackName=name, ChangeSetName=change_set, **creates)
            self._wait(name, _END[kind])

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
        if self._described(name).get("EnableTerminationProtection"):
            self.client.update_termination_protection(StackName=name, EnableTerminationProtection=False)
        self._delete(name)
        return kept

    def _delete(self, name: str) -> None:
        self.client.delete_stack(StackName=name)
        self._wait(name, "stack_delete_complete")

    def outputs(self, name: str) -> dict[str, str]:
        """The stack's outputs, by name; none if it does not exist."""
        return {output["OutputKey"]: output["OutputValue"] for output in self._described(name).get("Outputs", [])}

    def failure(self, name: str) -> str:
        """When the last update of the stack began, if it was rolled back; else empty."""
        rolled_back = self._status(name) == "UPDATE_ROLLBACK_COMPLETE"
        return str(self._described(name).get("LastUpdatedTime", "")) if rolled_back else ""

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

    def _has_changes(self, name: str, change_set: str) -> bool:
        waiter = self.client.get_waiter("change_set_create_complete")
        try:
            waiter.wait(StackName=name, ChangeSetName=change_set, WaiterConfig=self._patience)
        except WaiterError as error:
            if self._is_late():
                raise StackFailed(self._late(name, "its change set is not ready")) from error
            found = self.client.describe_change_set(StackName=name, ChangeSetName=change_set)
            reason = found.get("StatusReason", str(error))
            self.client.delete_change_set(StackName=name, ChangeSetName=change_set)
            if any(words in reason for words in _NO_CHANGES):
                return False
            raise StackFailed(f"{name}: {reason}") from error
        return True

    def _wait(self, name: str, until: Any) -> None:
        try:
            self.client.get_waiter(until).wait(StackName=name, WaiterConfig=self._patience)
        except WaiterError as error:
            status = self._settled(name)
            if status.endswith("_IN_PROGRESS"):
                raise StackFailed(self._late(name, f"it is {status}")) from error
            events = self.client.describe_stack_events(StackName=name)["StackEvents"]
            faults = [
                f"{event.get('LogicalResourceId')}: {event.get('ResourceStatusReason', '')}"
                for event in events
                if event.get("ResourceStatus", "").endswith("FAILED")
            ]
            raise StackFailed("\n".join([f"{name} {status}", *faults])) from error

    def _settled(self, name: str) -> str:
        """The status once nothing is in progress any more (a rollback follows a failure), or when it is late."""
        while (status := str(self._status(name))).endswith("_IN_PROGRESS") and not self._is_late():
            time.sleep(self.wait_seconds)
        return status

    @property
    def _patience(self) -> Any:
        left = self.until - time.monotonic()
        return {"Delay": self.wait_seconds, "MaxAttempts": max(1, int(left / self.wait_seconds))}

    def _is_late(self) -> bool:
        return time.monotonic() > self.until - self.wait_seconds

    def _late(self, name: str, why: str) -> str:
        return (
            f"{name} is not ready after {PATIENCE_MINUTES} minutes: {why}. CloudFormation goes on with it by itself. "
            "Look at the stack's events, and repeat this command when it has ended."
        )


def upload(
    folder: Path, parameters: Mapping[str, str], put: Callable[[str, Path], None], failure: str = ""
) -> tuple[str, Path]:
    """Upload by `put` the zip and its bill of materials, and the template; the template's key and file.

    The zip is named by its digest: every stage that runs it names the same object, and an unchanged zip does not change
    any function, unless the parameters change its settings, or the update before was rolled back (`failure`: when).
    """
    stage = parameters["Stage"]
    zipped = folder / ZIP_NAME
    code = f"orderonce/{digest(zipped)}.zip"
    put(code, zipped)
    if (bill := folder / SBOM_NAME).exists():
        put(f"orderonce/{digest(zipped)}.cdx.json", bill)
    template = stamped(read(folder / TEMPLATE_NAME), parameters, failure)
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = {"Bucket": {"Ref": "CodeBucket"}, "Key": code}
    template["Parameters"]["CodeBucket"] = {"Type": "String", "Description": "Where the functions' zip is."}
    path = folder / "deployed.json"
    path.write_text(json.dumps(template, separators=(",", ":")), encoding="utf-8")
    key = f"orderonce/{stage}/{digest(path)}.json"
    put(key, path)
    return key, path
