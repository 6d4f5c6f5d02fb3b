"""What is left of a stage that was deleted: its tables, queues, log of events and key, imported into its next stack.

CloudFormation's own `ImportExistingResources` is not enough: it takes only names without functions in them, and no
queue or key (AWS CloudFormation User Guide, "Import AWS resources into a CloudFormation stack automatically").
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sqs import SQSClient

Identifiers = dict[str, dict[str, str]]
"""By logical id, how CloudFormation identifies an existing resource: `{"TableName": "orderonce-prod-orders"}`."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """The resources of a stage that exist, by name, in an account and region."""

    dynamodb: "DynamoDBClient"
    sqs: "SQSClient"
    logs: "CloudWatchLogsClient"

    def of(self, template: Mapping[str, Any], parameters: Mapping[str, str]) -> Identifiers:
        """Those of the template's retained resources that exist already."""
        retained = {n: r for n, r in template["Resources"].items() if r.get("DeletionPolicy") == "Retain"}
        found = {name: self._identifier(resource, parameters["Stage"]) for name, resource in retained.items()}
        if parameters["Encryption"] == "STAGE_KEY":
            tables = [each["TableName"] for each in found.values() if "TableName" in each]
            keys = {key for table in tables for key in self._key(table)}
            found["StageKey"] = {"KeyId": keys.pop()} if len(keys) == 1 else {}
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

    def _key(self, table: str) -> Iterator[str]:
        """The id of the key that a table is encrypted with, unless AWS owns it."""
        encryption = self.dynamodb.describe_table(TableName=table)["Table"].get("SSEDescription", {})
        if "KMSMasterKeyArn" in encryption:
            yield encryption["KMSMasterKeyArn"].rpartition("/")[2]


def import_template(template: Mapping[str, Any], found: Identifiers) -> dict[str, Any]:
    """The template of a stack of these resources alone: an import accepts nothing else, and no outputs.

    A property that refers to a resource that does not exist is left out: the deployment that follows sets it.
    """
    absent = template["Resources"].keys() - found.keys()
    resources = {
        name: {
            **template["Resources"][name],
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
