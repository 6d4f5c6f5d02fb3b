"""The AWS clients: made once, low level, with the time limits that the rest counts on."""

import os
from functools import cache
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from chalicelib.tracing import trace_aws_calls

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

POOL = 16
"""Connections a client keeps; as many as threads may use it at once."""


def _config() -> Config:
    trace_aws_calls()
    # A fixed user agent (else botocore builds it twice a call) and no validation of parameters (this code's own,
    # and validated in the tests) take a third of boto3's CPU off each call.
    # Three tries of a second each: the Lambda outlives its calls. `max_attempts: 3` would make four.
    return Config(
        user_agent="orderonce",
        parameter_validation=os.environ.get("AWS_PARAMETER_VALIDATION", "false") == "true",
        connect_timeout=1,
        read_timeout=1,
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=POOL,
    )


@cache
def dynamodb() -> "DynamoDBClient":
    """The client of DynamoDB."""
    client: DynamoDBClient = boto3.client("dynamodb", config=_config())
    return client


@cache
def events() -> "EventBridgeClient":
    """The client of EventBridge."""
    client: EventBridgeClient = boto3.client("events", config=_config())
    return client


@cache
def sns() -> "SNSClient":
    """The client of SNS."""
    client: SNSClient = boto3.client("sns", config=_config())
    return client


@cache
def sqs() -> "SQSClient":
    """The client of SQS."""
    client: SQSClient = boto3.client("sqs", config=_config())
    return client
