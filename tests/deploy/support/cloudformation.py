# ruff: noqa: N803 - the names are those of AWS
"""CloudFormation as far as `deploy/stacks.py` calls it, with its rules for what fails: names that exist, rollbacks,
change sets of one name, protection (AWS CloudFormation User Guide)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError, WaiterError

from deploy.leftovers import Identifiers


@dataclass
class Stack:
    status: str
    template: dict[str, Any] = field(default_factory=lambda: {"Resources": {}})
    parameters: dict[str, str] = field(default_factory=dict)
    protected: bool = False
    events: list[dict[str, str]] = field(default_factory=list)


@dataclass
class FakeCloudFormation:
    """`left` are the retained resources that exist outside of every stack, by logical id."""

    stacks: dict[str, Stack] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    change_sets: dict[str, dict[str, Any]] = field(default_factory=dict)
    failing: str = ""
    """The logical id that cannot be created; the empty one is of no resource."""
    stuck: bool = False
    """Whether every operation goes on for ever."""
    rolls_back_slowly: bool = False
    """Whether the rollback of a creation is still going on when the creation is known to have failed."""
    kinds: list[str] = field(default_factory=list)
    """The kinds of the change sets that were executed."""

    def of(self, template: Mapping[str, Any], parameters: Mapping[str, str]) -> Identifiers:
        """As Leftovers.of."""
        assert parameters["Stage"]
        return {name: {"Name": name} for name in template["Resources"] if name in self.left}

    # --- the calls ---

    def describe_stacks(self, StackName: str) -> Any:
        if StackName not in self.stacks:
            raise _refused(f"Stack with id {StackName} does not exist")
        stack = self.stacks[StackName]
        parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in stack.parameters.items()]
        described = {"StackStatus": stack.status, "Parameters": parameters}
        return {"Stacks": [described | {"EnableTerminationProtection": stack.protected}]}

    def create_change_set(self, StackName: str, ChangeSetName: str, ChangeSetType: str, **request: Any) -> None:
        status = self.stacks.setdefault(StackName, Stack("REVIEW_IN_PROGRESS")).status
        if ChangeSetName in self.change_sets:
            raise _refused(f"ChangeSet {ChangeSetName} already exists")
        if status.startswith("ROLLBACK") or (status == "REVIEW_IN_PROGRESS") == (ChangeSetType == "UPDATE"):
            raise _refused(f"Stack {StackName} is in {status} state and can not be updated")
        if ChangeSetType == "IMPORT" and "Tags" in request:
            raise _refused("As part of the import operation, you cannot modify or add [Tags]")
        declared = json.loads(request["TemplateBody"]).get("Parameters", {})
        if unknown := [each["ParameterKey"] for each in request["Parameters"] if each["ParameterKey"] not in declared]:
            raise _refused(f"Parameters: [{', '.join(unknown)}] do not exist in the template")
        self.change_sets[ChangeSetName] = {"kind": ChangeSetType, **request}

    def execute_change_set(self, StackName: str, ChangeSetName: str, RetainExceptOnCreate: bool = False) -> None:
        stack, request = self.stacks[StackName], self.change_sets.pop(ChangeSetName)
        self.kinds.append(request["kind"])
        stack.parameters = {each["ParameterKey"]: each["ParameterValue"] for each in request["Parameters"]}
        template = json.loads(request["TemplateBody"])
        if request["kind"] == "IMPORT":
            imported = {each["LogicalResourceId"] for each in request["ResourcesToImport"]}
            assert imported == set(template["Resources"])
            assert imported <= self.left
            self.left -= imported
            stack.status, stack.template = "IMPORT_COMPLETE", template
            return
        created: set[str] = set()
        for name in template["Resources"].keys() - stack.template["Resources"].keys():
            if name in self.left or name == self.failing:
                reason = "already exists" if name in self.left else "no"
                stack.events.append(_event(name, reason))
                self._roll_back(stack, template, created, RetainExceptOnCreate)
                return
            created.add(name)
        stack.status, stack.template = f"{request['kind']}_COMPLETE", template

    def _roll_back(self, stack: Stack, template: Mapping[str, Any], created: set[str], all_of_it: bool) -> None:
        protected = stack.parameters.get("Protected") == "true"
        update = "UPDATE_" if stack.template["Resources"] else ""
        stack.status = f"{update}ROLLBACK_{'IN_PROGRESS' if self.rolls_back_slowly else 'COMPLETE'}"
        for name in created:
            resource = template["Resources"][name]
            if protected and resource["Type"] == "AWS::DynamoDB::Table":
                stack.status = f"{update}ROLLBACK_FAILED"
            elif resource.get("DeletionPolicy") == "Retain" and not all_of_it:
                self.left.add(name)

    def delete_stack(self, StackName: str) -> None:
        if self.stacks[StackName].protected:
            raise _refused(f"Stack [{StackName}] cannot be deleted while TerminationProtection is enabled")
        resources = self.stacks.pop(StackName).template["Resources"]
        self.left |= {name for name, resource in resources.items() if resource.get("DeletionPolicy") == "Retain"}

    def update_termination_protection(self, StackName: str, EnableTerminationProtection: bool) -> None:
        self.stacks[StackName].protected = EnableTerminationProtection

    def describe_stack_events(self, StackName: str) -> Any:
        return {"StackEvents": self.stacks[StackName].events}

    def describe_change_set(self, **_: Any) -> Any:
        return {}

    def get_template(self, StackName: str, **_: Any) -> Any:
        return {"TemplateBody": self.stacks[StackName].template}

    def get_paginator(self, _: str) -> "FakeCloudFormation":
        return self

    def paginate(self, StackName: str) -> Any:
        resources = self.stacks[StackName].template["Resources"].items()
        return [{"StackResourceSummaries": [{"LogicalResourceId": n, "ResourceType": r["Type"]} for n, r in resources]}]

    def get_waiter(self, name: str) -> "_Waiter":
        return _Waiter(self, name)


@dataclass
class _Waiter:
    of: FakeCloudFormation
    name: str

    def wait(self, StackName: str, WaiterConfig: Any, **_: Any) -> None:
        assert WaiterConfig["MaxAttempts"] >= 1
        stack = self.of.stacks.get(StackName)
        if stack and self.of.stuck and self.name.startswith("stack"):
            stack.status = "UPDATE_IN_PROGRESS"
            raise WaiterError(self.name, "Max attempts exceeded", {})
        if stack and "ROLLBACK" in stack.status and self.name != "change_set_create_complete":
            raise WaiterError(self.name, "Waiter encountered a terminal failure state", {})


def _event(name: str, reason: str) -> dict[str, str]:
    return {"LogicalResourceId": name, "ResourceStatus": "CREATE_FAILED", "ResourceStatusReason": reason}


def _refused(message: str) -> ClientError:
    return ClientError({"Error": {"Code": "ValidationError", "Message": message}}, "CloudFormation")
