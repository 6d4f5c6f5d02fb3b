"""Whom AWS takes the caller for, and AWS's faults as one sentence that says where they happened."""

from dataclasses import dataclass

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, HTTPClientError, NoCredentialsError

AWS_FAULTS = (BotoCoreError, ClientError, Boto3Error)

_EXPIRED = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "UnauthorizedSSOTokenError"}
)
_UNKNOWN = frozenset({"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"})
_WRONG_KEY = frozenset({"SignatureDoesNotMatch", "InvalidSignatureException"})
NOT_FOUND = frozenset(
    {
        "ResourceNotFoundException",
        "QueueDoesNotExist",
        "StateMachineDoesNotExist",
        "AWS.SimpleQueueService.NonExistentQueue",
        "NoSuchBucket",
        "NoSuchEntity",
        "NotFound",
        "NotFoundException",
        "ParameterNotFound",
    }
)
"""What the services say of a thing that does not exist."""

_QUICK = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1})


@dataclass(frozen=True, slots=True)
class Caller:
    """An identity of AWS's: its account and its ARN."""

    account: str
    arn: str


def caller(endpoint_url: str | None = None) -> Caller | None:
    """The identity of the present credentials; None if AWS does not say it."""
    try:
        answer = boto3.client("sts", endpoint_url=endpoint_url, config=_QUICK).get_caller_identity()
    except AWS_FAULTS:
        return None
    return Caller(answer["Account"], answer["Arn"])


def region() -> str:
    """The region of the present environment."""
    return boto3.Session().region_name or "none"


def explained(fault: BaseException, resource: str = "", endpoint_url: str | None = None) -> str:
    """A fault of AWS's in one sentence, with account, region and the resource, such as `table orders`."""
    cause = _innermost(fault)
    # Who does not answer, or does not know the caller, does not know the account either.
    code = str(cause.response["Error"]["Code"]) if isinstance(cause, ClientError) else type(cause).__name__
    known = code not in _EXPIRED | _UNKNOWN | _WRONG_KEY and isinstance(cause, ClientError)
    who = caller(endpoint_url) if known else None
    where = f"account {who.account if who else 'unknown'}, region {region()}"
    if resource and code in NOT_FOUND:
        return f"The {resource} does not exist in {where}: is that the right account and region?"
    return f"{_reason(cause, code)} ({where}{', ' if resource else ''}{resource})."


def _innermost(fault: BaseException) -> BaseException:
    """What botocore raised: others wrap it."""
    while not isinstance(fault, (BotoCoreError, ClientError)) and (fault.__cause__ or fault.__context__):
        fault = fault.__cause__ or fault.__context__  # type: ignore[assignment]
    return fault


def _reason(cause: BaseException, code: str) -> str:
    if code in _EXPIRED:
        return "Your AWS credentials have expired: renew them"
    if code in _UNKNOWN:
        return "AWS does not know your access key"
    if code in _WRONG_KEY:
        return "Your AWS secret key does not belong to your access key"
    if isinstance(cause, NoCredentialsError):
        return "You have no AWS credentials: set AWS_PROFILE"
    if isinstance(cause, ClientError):
        failed = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400) >= 500
        message = cause.response["Error"].get("Message", "")
        text = f"AWS {'failed' if failed else 'refused'}: {cause.operation_name}: {code}: {message}"
    elif isinstance(cause, (EndpointConnectionError, HTTPClientError)):
        text = f"AWS did not answer: {cause}"
    else:
        text = f"AWS cannot be used: {cause}"
    return " ".join(text.split()).rstrip(".: ")
