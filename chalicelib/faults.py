"""AWS's faults as this project's: those that may pass, and those that will not."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.items import Unreadable
from chalicelib.refusals import CONFLICTS


class Unavailable(Exception):
    """A service did not answer, or throttled past the retries. What was asked for may or may not have been done."""


class Rejected(Exception):
    """A service refuses the call as such (too large, not allowed …): the same call would be refused again."""


@contextmanager
def faults() -> Iterator[None]:
    """AWS's faults as this project's: Unavailable for what may pass, Rejected for what will not."""
    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        code = error.response["Error"]["Code"]
        if status < 500 and code not in _THROTTLES:
            raise Rejected(f"{error.operation_name}: {code}") from error
        raise Unavailable(f"{error.operation_name}: {code}") from error
    except (BotoCoreError, Unreadable) as error:
        raise Unavailable(str(error)) from error


_THROTTLES = CONFLICTS | {
    "ThrottlingException",
    "Throttling",
    "Throttled",
    "RequestThrottled",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "KmsThrottled",
}
"""Codes below 500 that pass by themselves, of all the services that are called."""
