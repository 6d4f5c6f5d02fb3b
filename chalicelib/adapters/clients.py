"""The AWS clients: made once, low level, with the time limits that the rest relies on; traced where X-Ray is."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.loaders import Loader
from botocore.session import Session, get_session

from chalicelib.adapters.dynamodb.hooks import take_typed_values
from chalicelib.settings import app_settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_stepfunctions import SFNClient

POOL_SIZE = 16
"""Connections a client keeps; as many as threads may use it at once."""


def trace_aws_calls() -> bool:
    """From now on each call of AWS is a subsegment of X-Ray, in Lambda and if the X-Ray SDK is there; whether it is.

    The SDK is not a requirement: it asks for botocore, 17 MB that the Lambda runtime has already. `make vendor` puts
    the SDK alone into the package.
    """
    if not app_settings().in_lambda:
        return False
    try:
        from aws_xray_sdk.core import patch, xray_recorder  # type: ignore[import-untyped]
    except ImportError:
        return False
    # Outside of an invocation (an import, a thread that outlived one) there is no segment: that is not a fault.
    xray_recorder.configure(context_missing="IGNORE_ERROR")
    # botocore alone, which is below every client. Everything that the SDK can patch would take 100 ms more.
    patch(("botocore",))
    return True


def _config(validates: bool) -> Config:
    trace_aws_calls()
    # A fixed user agent (else botocore builds it twice a call) and no validation of parameters (this code's own,
    # and validated in the tests) take a third of botocore's CPU off each call.
    # Three tries of a second each: the Lambda outlives its calls. `max_attempts: 3` would make four.
    return Config(
        user_agent="orderonce",
        parameter_validation=validates,
        connect_timeout=1,
        read_timeout=1,
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=POOL_SIZE,
    )


class _Loader(Loader):
    """Reads the descriptions of services, and knows those that are called: looking for all opens a thousand folders."""

    def list_available_services(self, type_name: str) -> list[str]:
        return ["dynamodb", "events", "secretsmanager", "sns", "sqs", "ssm", "stepfunctions"]


_loader = cache(_Loader)
"""One for each process, for it remembers what it has read."""


@cache
def _session() -> Session:
    """botocore's own: boto3 would add nothing to these clients but a tenth of a cold start."""
    session = get_session()
    session.register_component("data_loader", _loader())
    return session


def _client(service: str, validates: bool) -> Any:
    return _session().create_client(service, endpoint_url=app_settings().laptop_url, config=_config(validates))


@cache
def dynamodb() -> "DynamoDBClient":
    """The client of DynamoDB."""
    client: DynamoDBClient = _client("dynamodb", validates=False)
    take_typed_values(client, validates=app_settings().validates_parameters)
    return client


@cache
def events() -> "EventBridgeClient":
    """The client of EventBridge."""
    client: EventBridgeClient = _client("events", app_settings().validates_parameters)
    return client


@cache
def secretsmanager() -> "SecretsManagerClient":
    """The client of Secrets Manager."""
    client: SecretsManagerClient = _client("secretsmanager", app_settings().validates_parameters)
    return client


@cache
def sns() -> "SNSClient":
    """The client of SNS."""
    client: SNSClient = _client("sns", app_settings().validates_parameters)
    return client


@cache
def sqs() -> "SQSClient":
    """The client of SQS."""
    client: SQSClient = _client("sqs", app_settings().validates_parameters)
    return client


@cache
def ssm() -> "SSMClient":
    """The client of Systems Manager, for its parameters."""
    client: SSMClient = _client("ssm", app_settings().validates_parameters)
    return client


@cache
def stepfunctions() -> "SFNClient":
    """The client of Step Functions."""
    client: SFNClient = _client("stepfunctions", app_settings().validates_parameters)
    return client


class AtFirstUse:
    """A client that is made when it is used: the API publishes no events, and only the monitor wakes people."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def __getattr__(self, name: str) -> Any:
        return getattr(self._make(), name)


def forget() -> None:
    """The next clients are made of the environment as it is then."""
    for made in (dynamodb, events, secretsmanager, sns, sqs, ssm, stepfunctions, _session):
        made.cache_clear()
