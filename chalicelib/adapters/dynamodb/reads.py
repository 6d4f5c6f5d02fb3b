"""Reading many items at once."""

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.aws_faults import faults
from chalicelib.adapters.dynamodb.items import Item
from chalicelib.faults import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_MAX_TRIES = 6


def batch_get(
    client: "DynamoDBClient", table: str, wanted: dict[str, Any], sleep: Callable[[float], None] = time.sleep
) -> list[Item]:
    """The items of at most 100 keys of a table that exist: `wanted` is what BatchGetItem takes for it.

    DynamoDB may leave some keys unprocessed; they are asked for again after a pause with full jitter. Raises
    Unavailable, Rejected.
    """
    found: list[Item] = []
    requests: Any = {table: wanted} if wanted["Keys"] else {}
    for tries in range(_MAX_TRIES):
        if not requests:
            return found
        sleep(random.random() * 0.05 * 2**tries if tries else 0)
        with faults():
            answer = client.batch_get_item(RequestItems=requests)
        found += answer["Responses"].get(table, ())
        requests = answer.get("UnprocessedKeys")
    if requests:
        raise Unavailable("BatchGetItem: keys are left unprocessed")
    return found
