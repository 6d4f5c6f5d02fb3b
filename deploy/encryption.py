"""Encryption at rest, with keys that AWS owns or with a key of the stage (parameter Encryption), and in transit (TLS).

An overlay on the resources, which the stacks of the laptop and of the tests do not have.
"""

from collections.abc import Iterable
from typing import Any

_TABLES = ("OrdersTable", "InventoryTable", "IdempotencyTable", "PaymentsTable", "OperationsTable")
_QUEUES = ("OrderQueue", "OrderDeadLetters", "OrderEventsDeadLetters")
_KEY = {"Fn::GetAtt": ["StageKey", "Arn"]}
_NONE = {"Ref": "AWS::NoValue"}


def overlay(log_groups: Iterable[str]) -> dict[str, Any]:
    """The key, and every resource that is encrypted with it; `log_groups` by logical id."""
    tables = {"SSESpecification": _if({"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": _KEY}, _NONE)}
    # A day, the maximum: SQS asks KMS for a data key once in that time, not once in five minutes.
    queues = {
        "SqsManagedSseEnabled": _if(_NONE, True),
        "KmsMasterKeyId": _if(_KEY, _NONE),
        "KmsDataKeyReusePeriodSeconds": _if(86400, _NONE),
    }
    return {
        "Parameters": {
            "Encryption": {
                "Type": "String",
                "AllowedValues": ["AWS_OWNED", "STAGE_KEY"],
                "Default": "AWS_OWNED",
                "Description": "Encrypt at rest with keys that AWS owns, or with a KMS key of the stage.",
            }
        },
        "Conditions": {"OwnKey": {"Fn::Equals": [{"Ref": "Encryption"}, "STAGE_KEY"]}},
        "Resources": {
            "StageKey": _key(),
            "StageKeyAlias": {
                "Type": "AWS::KMS::Alias",
                "Condition": "OwnKey",
                "Properties": {
                    "AliasName": {"Fn::Sub": "alias/orderonce-${Stage}"},
                    "TargetKeyId": {"Ref": "StageKey"},
                },
            },
            **{name: {"Properties": tables} for name in _TABLES},
            **{name: {"Properties": queues} for name in _QUEUES},
            **{f"{name}Policy": _tls_only(name) for name in _QUEUES},
            "AlertsTopic": {"Properties": {"KmsMasterKeyId": _if(_KEY, _NONE)}},
            **{name: {"Properties": {"KmsKeyId": _if(_KEY, _NONE)}} for name in log_groups},
        },
    }


def tls_statement(queue: str) -> dict[str, Any]:
    """The statement of a queue's policy that refuses whoever does not use TLS."""
    return {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:*",
        "Resource": {"Fn::GetAtt": [queue, "Arn"]},
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def _tls_only(queue: str) -> dict[str, Any]:
    document = {"Version": "2012-10-17", "Statement": [tls_statement(queue)]}
    return {"Type": "AWS::SQS::QueuePolicy", "Properties": {"Queues": [{"Ref": queue}], "PolicyDocument": document}}


def _if(own_key: Any, otherwise: Any) -> dict[str, Any]:
    return {"Fn::If": ["OwnKey", own_key, otherwise]}


def _key() -> dict[str, Any]:
    # Retained: without it the retained tables could never be read again.
    return {
        "Type": "AWS::KMS::Key",
        "Condition": "OwnKey",
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "Description": {"Fn::Sub": "OrderOnce ${Stage}: tables, queues, topic and logs"},
            "EnableKeyRotation": True,
            "KeyPolicy": {"Version": "2012-10-17", "Statement": _key_policy()},
        },
    }


def _key_policy() -> list[dict[str, Any]]:
    use = ["kms:Decrypt", "kms:GenerateDataKey*"]
    more = ["kms:CreateGrant", "kms:DescribeKey", "kms:Encrypt", "kms:ReEncrypt*"]
    account = {"Fn::Sub": "${AWS::AccountId}"}
    services = [{"Fn::Sub": f"{name}.${{AWS::Region}}.amazonaws.com"} for name in ("dynamodb", "sqs", "sns")]
    logs_of_stage = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:*orderonce-${Stage}*"
    return [
        _statement(
            "Administration", {"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}, ["kms:*"]
        ),
        # As with the keys that AWS manages: whoever may use the table or queue may use the key through it.
        # So no function's policy mentions keys.
        _statement(
            "ThroughTheServices",
            {"AWS": "*"},
            [*use, *more],
            {"StringEquals": {"kms:CallerAccount": account, "kms:ViaService": services}},
        ),
        _statement("AlarmsToTheTopic", {"Service": "cloudwatch.amazonaws.com"}, use, _from_account(account)),
        _statement("EventsToTargets", {"Service": "events.amazonaws.com"}, use, _from_account(account)),
        _statement(
            "Logs",
            {"Service": {"Fn::Sub": "logs.${AWS::Region}.amazonaws.com"}},
            [*use, "kms:DescribeKey", "kms:Encrypt", "kms:ReEncrypt*"],
            {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": {"Fn::Sub": logs_of_stage}}},
        ),
    ]


def _from_account(account: Any) -> dict[str, Any]:
    return {"StringEquals": {"aws:SourceAccount": account}}


def _statement(sid: str, principal: Any, actions: list[str], condition: Any = None) -> dict[str, Any]:
    limited = {"Condition": condition} if condition else {}
    # In a key's policy `*` means that key.
    return {"Sid": sid, "Effect": "Allow", "Principal": principal, "Action": actions, "Resource": "*", **limited}
