"""From one order a second to 100,000: what each part must bear, where its limit is, and what to turn then.

`make capacity` prints the tables of docs/scale.md; `--write` writes them there. Computed from the calls that
tests/deploy/test_cost.py counts, published limits and the settings of the stage `prod`; nothing is simulated here.
"""

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from benchmarks.simulation import MIDDLE, seconds_after_reserve
from benchmarks.tables import print_or_write, table
from chalicelib.adapters.dynamodb.items import LATE_SHARD, SHARDS
from chalicelib.use_cases.ports import BATCH_SIZE
from deploy import cost
from deploy.stages import stage_config

NAME = "python -m benchmarks.capacity"
RATES = (1, 10, 100, 1_000, 10_000, 100_000)
BATCHES = (10, 99)

PARTITION_WRITES = 1_000
NEW_TABLE_WRITES = 4_000
TABLE_WRITES = 40_000
"""Write units a second of a partition, of a new table on demand, and of a table before the quota is raised; an index
has its own (Amazon DynamoDB Developer Guide, "Quotas", "Initial throughput for on-demand capacity mode")."""

ORDER_WRITES = cost.POST["PutItem"] + 2 * cost.FULFIL["TransactWriteItems"]
INDEX_WRITES = cost.INDEXES + 1
OUTBOX_WRITES = 2
"""Write units of an order: its item, its entries in both indexes, and of these the outbox's: set, and removed."""

STOCK_WRITES = 2
"""Of a product's row, a transaction."""

API_GATEWAY_REQUESTS = 10_000
LAMBDA_FUNCTIONS = 1_000
MAPPING_BATCHES = 1_000
IN_FLIGHT = 120_000
PUT_EVENTS = 10_000
"""A second, or at a time: requests of an account and region; functions of an account; batches of an event source
mapping; messages of a queue; calls of PutEvents in us-east-1 (each service's developer guide, "Quotas")."""


def seconds_of(batch: int) -> float:
    """Of the consumer, for a batch that meets nobody: as in the simulation."""
    return 2 * MIDDLE.travel + MIDDLE.holds(min(batch + 1, 100)) + seconds_after_reserve(batch)


def consumers(rate: float, batch: int) -> int:
    """Batches at a time: at least two, as the mapping has it."""
    return max(2, math.ceil(rate * seconds_of(batch) / batch))


def dollars_a_million(batch: int, rate: int) -> Decimal:
    """A million orders with a key, at so many a second, fulfilled in full batches."""
    price = cost.prices(cost.DOCUMENT.read_text("utf-8"))
    seconds = Decimal(str(round(seconds_of(batch), 3)))
    return cost.dollars(cost.order_bill(batch, seconds, Decimal(rate)), price) * 1_000_000


def loads() -> Iterator[tuple[str, ...]]:
    """A row for each rate."""
    for rate in RATES:
        yield tuple(
            f"{cell:,}"
            for cell in (
                rate,
                math.ceil(rate * float(cost.API_SECONDS)),
                *(consumers(rate, batch) for batch in BATCHES),
                rate * ORDER_WRITES,
                rate * INDEX_WRITES,
                math.ceil(rate * ORDER_WRITES / PARTITION_WRITES),
                shards(rate),
                math.ceil(rate / BATCH_SIZE),
                *(round(rate * 3600 * dollars_a_million(batch, rate) / 1_000_000, 2) for batch in BATCHES),
            )
        )


def shards(rate: float) -> int:
    """Outbox shards that bear it."""
    return max(SHARDS, math.ceil(rate * OUTBOX_WRITES / PARTITION_WRITES))


@dataclass(frozen=True, slots=True)
class Limit:
    """Something that ends at a rate of orders a second, and what moves it."""

    what: str
    limit: str
    rate: float
    turn: str


def limits() -> Iterator[Limit]:
    """Each limit of the stage `prod` as it is configured."""
    stage = stage_config("prod")
    variables, functions = stage["environment_variables"], stage["lambda_functions"]
    concurrency, batch = int(variables["CONSUMER_MAX_CONCURRENCY"]), int(variables["CONSUMER_BATCH_SIZE"])
    api = functions["api_handler"]["reserved_concurrency"]
    yield Limit(
        "Orders, a new table on demand",
        f"{NEW_TABLE_WRITES:,} write units/s",
        NEW_TABLE_WRITES / ORDER_WRITES,
        "DynamoDB grows by itself to twice the last peak; before a sale, set its warm throughput",
    )
    yield Limit(
        "the consumer",
        f"{concurrency} batches of {batch}",
        concurrency * batch / seconds_of(batch),
        "`CONSUMER_MAX_CONCURRENCY`, with `reserved_concurrency`; `CONSUMER_BATCH_SIZE`",
    )
    yield Limit(
        "the outbox index",
        f"{SHARDS} shards of {PARTITION_WRITES:,} write units/s",
        SHARDS * PARTITION_WRITES / OUTBOX_WRITES,
        f"`SHARDS` in `adapters/dynamodb/items.py`, up to {LATE_SHARD}: only ever up, since `recover` asks these",
    )
    yield Limit(
        "the API's function",
        f"{api} at a time",
        api / float(cost.API_SECONDS),
        "`reserved_concurrency` of `api_handler`",
    )
    yield Limit(
        "Orders, a table's quota",
        f"{TABLE_WRITES:,} write units/s",
        TABLE_WRITES / ORDER_WRITES,
        "a quota: ask for more",
    )
    yield Limit("API Gateway", f"{API_GATEWAY_REQUESTS:,} requests/s", API_GATEWAY_REQUESTS, "a quota: ask for more")
    for size in BATCHES:
        yield Limit(
            f"the event source mapping, batches of {size}",
            f"{MAPPING_BATCHES:,} at a time",
            MAPPING_BATCHES * size / seconds_of(size),
            "a quota: ask for more" if size == BATCHES[-1] else "`CONSUMER_BATCH_SIZE`",
        )
        yield Limit(
            f"one product's row, batches of {size}: by its write units",
            f"{PARTITION_WRITES:,} write units/s",
            size * PARTITION_WRITES / STOCK_WRITES,
            "conflicts end it before: see the simulation",
        )
    yield Limit(
        "functions of the account",
        f"{LAMBDA_FUNCTIONS:,} at a time",
        LAMBDA_FUNCTIONS / (float(cost.API_SECONDS) + seconds_of(BATCHES[-1]) / BATCHES[-1]),
        "a quota: ask for more",
    )
    yield Limit(
        "SQS, messages in flight",
        f"{IN_FLIGHT:,}",
        IN_FLIGHT / seconds_of(BATCHES[-1]),
        "shorter batches: those of a slow provider are in flight the longest",
    )
    yield Limit(
        f"EventBridge, calls of {BATCH_SIZE} events",
        f"{PUT_EVENTS:,} calls/s",
        PUT_EVENTS * BATCH_SIZE,
        "a quota: ask for more",
    )
    yield Limit(
        "the outbox index, with as many shards as there can be",
        f"{LATE_SHARD} shards",
        LATE_SHARD * PARTITION_WRITES / OUTBOX_WRITES,
        "`LATE_SHARD` and `REFUND_SHARD` too, after `recover` has emptied the late shards",
    )


LOAD_COLUMNS = (
    "orders/s", "API functions", *(f"consumers, batches of {batch}" for batch in BATCHES), "Orders, write units/s",
    "its indexes", "partitions", "outbox shards", "PutEvents/s",
    *(f"$ an hour, batches of {batch}" for batch in BATCHES),
)  # fmt: skip
LIMIT_COLUMNS = ("ends at, orders/s", "what", "limit", "what to turn")


def computed() -> str:
    """The part of the document."""
    ending = sorted(limits(), key=lambda limit: limit.rate)
    rows = [(f"{limit.rate:,.0f}", limit.what, limit.limit, limit.turn) for limit in ending]
    return "\n\n".join(
        [
            table("What each part must bear", LOAD_COLUMNS, list(loads())),
            table("Which limit comes first", LIMIT_COLUMNS, rows),
        ]
    )


def main() -> int:
    """Print the tables, or write them into the document."""
    return print_or_write(__doc__, NAME, [computed()])


if __name__ == "__main__":
    sys.exit(main())
