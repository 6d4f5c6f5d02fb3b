"""AWS's faults as this project's."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.faults import Rejected, Unavailable

CONFLICTS = frozenset(
    {
        "TransactionConflict",
        "ThrottlingError",
        "ProvisionedThroughputExceeded",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
"""Codes, of a cancelled transaction's reasons and of single writes, that mean: try the same write again.

botocore retries only TransactionInProgressException by itself.
"""

_THROTTLES = CONFLICTS | {
    "ThrottlingException",
    "Throttling",
    "Throttled",
    "RequestThrottled",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "KmsThrottled",
}
"""Codes with a status below 500 that pass by themselves, of all the services that are called."""


@contextmanager
def faults() -> Iterator[None]:
    """AWS's faults as this project's: Unavailable for what may pass, Rejected for what will not."""
    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        code = error.response["Error"]["Code"]
        if status < 500 and code not in _THROTTLES:
            raise Rejected(f"{error.operation_name}: {code}", code) from error
        raise Unavailable(f"{error.operation_name}: {code}") from error
    except BotoCoreError as error:
        raise Unavailable(str(error)) from error
