"""What is left of a stage that was deleted (tables, queues, log of events, key, pool), imported into its next stack.

CloudFormation's own `ImportExistingResources` is not enough: it takes only names without functions in them, and no
queue or key (AWS CloudFormation User Guide, "Import AWS resources into a CloudFormation stack automatically").
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sqs import SQSClient

Identifiers = dict[str, dict[str, str]]
"""By logical id, how CloudFormation identifies an existing resource: `{"TableName": "orderonce-prod-orders"}`."""


_IN_POOL = {
    "AWS::Cognito::UserPoolClient": ("list_user_pool_clients", "UserPoolClients", "ClientName", "ClientId"),
    "AWS::Cognito::UserPoolGroup": ("list_groups", "Groups", "GroupName", "GroupName"),
    "AWS::Cognito::UserPoolResourceServer": ("list_resource_servers", "ResourceServers", "Identifier", "Identifier"),
}
"""What is in a pool: the call that lists it, under which member, which property names it, and which identifies it."""


class TwoPools(Exception):
    """Nobody knows which pool is the stage's: names of pools are not unique."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """The resources of a stage that exist, by name, in an account and region."""

    dynamodb: "DynamoDBClient"
    sqs: "SQSClient"
    logs: "CloudWatchLogsClient"
    cognito: "CognitoIdentityProviderClient"

    def of(self, template: Mapping[str, Any], parameters: Mapping[str, str]) -> Identifiers:
        """Those of the template's retained resources that exist already. Raises TwoPools."""
        stage = parameters["Stage"]
        retained = {n: r for n, r in template["Resources"].items() if r.get("DeletionPolicy") == "Retain"}
        found = {name: self._identifier(resource, stage) for name, resource in retained.items()}
        if parameters["Encryption"] == "STAGE_KEY":
            tables = [each["TableName"] for each in found.values() if "TableName" in each]
            keys = {key for table in tables for key in self._key(table)}
            found["StageKey"] = {"KeyId": keys.pop()} if len(keys) == 1 else {}
        if "UserPool" in retained and not parameters.get("UserPoolArn"):
            found |= self._pool(f"orderonce-{stage}", retained)
        return {name: identifier for name, identifier in found.items() if identifier}

    def _identifier(self, resource: Mapping[str, Any], stage: str) -> dict[str, str]:
        """Empty if it does not exist."""

        def name(property_: str) -> str:
            text: str = resource["Properties"][property_]["Fn::Sub"]
            return text.replace("${Stage}", stage)

        match resource["Type"]:
            case "AWS::DynamoDB::Table":
                try:
                    self.dynamodb.describe_table(TableName=name("TableName"))
                except self.dynamodb.exceptions.ResourceNotFoundException:
                    return {}
                return {"TableName": name("TableName")}
            case "AWS::SQS::Queue":
                try:
                    return {"QueueUrl": self.sqs.get_queue_url(QueueName=name("QueueName"))["QueueUrl"]}
                except self.sqs.exceptions.QueueDoesNotExist:
                    return {}
            case "AWS::Logs::LogGroup":
                groups = self.logs.describe_log_groups(logGroupNamePrefix=name("LogGroupName"))["logGroups"]
                exists = any(group["logGroupName"] == name("LogGroupName") for group in groups)
                return {"LogGroupName": name("LogGroupName")} if exists else {}
        return {}

    def _pool(self, name: str, retained: Mapping[str, Any]) -> Identifiers:
        """The pool of this name, and what is in it of the retained resources."""
        pages = self.cognito.get_paginator("list_user_pools").paginate(PaginationConfig={"PageSize": 60})
        pools = [pool["Id"] for page in pages for pool in page["UserPools"] if pool["Name"] == name]
        if len(pools) > 1:
            raise TwoPools(f"There are {len(pools)} user pools named {name}: say which one to use, by UserPoolArn.")
        found: Identifiers = {}
        for pool in pools:
            found["UserPool"] = {"UserPoolId": pool}
            for logical_id, resource in retained.items():
                if resource["Type"] in _IN_POOL:
                    found[logical_id] = self._in_pool(pool, resource)
        return found

    def _in_pool(self, pool: str, resource: Mapping[str, Any]) -> dict[str, str]:
        """Empty if it does not exist."""
        operation, member, named_by, identifier = _IN_POOL[resource["Type"]]
        pages: Any = self.cognito.get_paginator(operation).paginate(UserPoolId=pool)  # type: ignore[call-overload]
        for each in (each for page in pages for each in page[member]):
            if each[named_by] == resource["Properties"][named_by]:
                return {"UserPoolId": pool, identifier: each[identifier]}
        return {}

    def _key(self, table: str) -> Iterator[str]:
        """The id of the key that a table is encrypted with, unless AWS owns it."""
        encryption = self.dynamodb.describe_table(TableName=table)["Table"].get("SSEDescription", {})
        if "KMSMasterKeyArn" in encryption:
            yield encryption["KMSMasterKeyArn"].rpartition("/")[2]


def import_template(template: Mapping[str, Any], found: Identifiers) -> dict[str, Any]:
    """The template of a stack of these resources alone: an import accepts nothing else, and no outputs.

    A property that refers to a resource that does not exist is left out: the deployment that follows sets it. So is
    what a resource waits for: none of them is made.
    """
    absent = template["Resources"].keys() - found.keys()
    resources = {
        name: {
            **{part: value for part, value in template["Resources"][name].items() if part != "DependsOn"},
            "Properties": {
                property_: value
                for property_, value in template["Resources"][name]["Properties"].items()
                if not absent & set(_references(value))
            },
        }
        for name in found
    }
    kept = ("AWSTemplateFormatVersion", "Description", "Parameters", "Conditions")
    return {part: template[part] for part in kept} | {"Resources": resources}


def _references(value: Any) -> Iterator[str]:
    """The logical ids, parameters and pseudo parameters that a value names."""
    match value:
        case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), _]}:
            yield name
        case {"Fn::Sub": str(text)}:
            yield from (name.partition(".")[0] for name in re.findall(r"\$\{([^}]+)\}", text))
        case dict():
            for each in value.values():
                yield from _references(each)
        case list():
            for each in value:
                yield from _references(each)
