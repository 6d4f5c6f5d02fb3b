"""What a million orders cost: the calls that the tests count, at the prices at the beginning of docs/cost.md."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from deploy.stages import ROOT, config, stage_config

DOCUMENT = ROOT / "docs" / "cost.md"
_BEGIN, _END = "<!-- computed: python -m deploy cost -->", "<!-- end of what is computed -->"
_MILLION = 1_000_000

BATCH_SIZE = 10
"""Orders in a batch at full load, all of one product; in a quiet hour batches are smaller, and orders cost more."""

POST = {"PutItem": 1, "SendMessage": 1}
"""Calls of AWS for a new order with a key, the catalogue warm."""

DUPLICATE = {"PutItem": 1}
"""Calls for the same request again."""

FULFIL = {"TransactWriteItems": 2, "PutEvents": 1}
"""Calls for a batch of ten orders, from fresh to CONFIRMED; without the payment provider's own."""

STRIPE = {"GetItem": 1, "PutItem": 1}
"""Calls for an order that is paid by Stripe, beside those: its row of the payments table."""

STRIPE_REQUESTS = 3
"""Of Stripe for such an order, one after the other. The orders of a batch are paid side by side."""

PRODUCTS = {"Scan": 1}
"""Calls for a page of the catalogue that is not remembered."""

PAGE_READ_UNITS = Decimal("0.5")
"""Of a page of twenty products, up to 4 KB, read eventually consistently."""

RECOVER = {"Query": 24}
"""Calls of a run that finds nothing overdue."""

INDEXES = 2
"""Entries that a new order has in indexes: its customer's, and the outbox's. Once confirmed, it leaves the outbox's."""

API_SECONDS = Decimal("0.025")
BATCH_SECONDS = Decimal("0.150")
STRIPE_SECONDS = Decimal("0.5")
"""Of one request, for which the consumer waits."""
LOG_BYTES = 3_000
"""Assumed, not counted: times and log lines of an order."""

MONTH = 30 * 24 * 60
"""Minutes. Each schedule runs once in one."""

A_MILLION_A_MONTH = Decimal(_MILLION) / (60 * MONTH)
"""Requests a second, evenly spread."""

ALARM_METRICS = 36
"""Metrics that the alarms of a stage look at."""

IDLE_METRICS = ("DeadLetters", "MessagesInFlight", "MessagesWaiting", "OrdersOverdue", "RefundsPending")
"""The service's own metrics that a stage reports every minute, whatever happens."""

ORDER_METRICS = ("EventsPublished", "OrdersConfirmed", "OrdersPlaced", "OrdersReserved", "PaymentsCharged")
"""Those that are there too while orders come, and all are confirmed."""


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the bill: a number of units at a price."""

    what: str
    units: Decimal
    price: str


def traced(rate: Decimal) -> Decimal:
    """The share of so many requests a second that X-Ray records: the first of each second, and a twentieth of the rest.

    (AWS X-Ray Developer Guide, "Configuring sampling rules"; the API and each function count on their own.)
    """
    return min(Decimal(1), (1 + (rate - 1) / 20) / rate)


def order_bill(
    batch: int = BATCH_SIZE, batch_seconds: Decimal = BATCH_SECONDS, rate: Decimal = A_MILLION_A_MONTH
) -> Iterator[Item]:
    """What a new order with a key is billed, by the published rules; an item of up to 1 KB is one write unit.

    `rate`: orders a second, on which only X-Ray's share depends.
    """
    memory = gigabytes("api_handler"), gigabytes("order_consumer")
    invocations = 1 + Decimal(1) / batch
    # A write in a transaction costs two units. Reserve writes the orders and a batch's product, confirm the orders.
    created = POST["PutItem"] + INDEXES
    fulfilled = 2 * FULFIL["TransactWriteItems"] + Decimal(2) / batch + 1
    # The mapping receives and deletes up to ten at a time.
    messages = POST["SendMessage"] + Decimal(2) / min(batch, 10)
    yield Item("API Gateway: a request", Decimal(1), "api-request")
    yield Item("Lambda: invocations", invocations, "lambda-request")
    yield Item("Lambda: GB-seconds", API_SECONDS * memory[0] + batch_seconds / batch * memory[1], "lambda-gb-second")
    yield Item("DynamoDB: write units", created + fulfilled, "dynamodb-write")
    yield Item("SQS: requests", messages, "sqs-request")
    yield Item("EventBridge: events", Decimal(1), "event")
    yield Item("CloudWatch Logs: GB", Decimal(LOG_BYTES) / 10**9, "log-gb")
    yield Item("X-Ray: traces", traced(rate) + traced(rate / batch) / batch, "xray-trace")


def stripe_bill() -> Iterator[Item]:
    """What AWS bills an order more that is paid by Stripe; a consistent read of up to 4 KB is one unit."""
    yield Item("DynamoDB: read units", Decimal(STRIPE["GetItem"]), "dynamodb-read")
    yield Item("DynamoDB: write units", Decimal(STRIPE["PutItem"]), "dynamodb-write")
    waiting = STRIPE_REQUESTS * STRIPE_SECONDS / BATCH_SIZE
    yield Item("Lambda: GB-seconds", waiting * gigabytes("order_consumer"), "lambda-gb-second")


def duplicate_bill() -> Iterator[Item]:
    """What a repeated request is billed; a refused write costs its unit too."""
    yield Item("API Gateway: a request", Decimal(1), "api-request")
    yield Item("Lambda: invocations", Decimal(1), "lambda-request")
    yield Item("Lambda: GB-seconds", API_SECONDS * gigabytes("api_handler"), "lambda-gb-second")
    yield Item("DynamoDB: write units", Decimal(DUPLICATE["PutItem"]), "dynamodb-write")
    yield Item("CloudWatch Logs: GB", Decimal(LOG_BYTES) / 3 / 10**9, "log-gb")
    yield Item("X-Ray: traces", traced(A_MILLION_A_MONTH), "xray-trace")


def products_bill() -> Iterator[Item]:
    """What a page of the catalogue is billed at most; a remembered one has no read units."""
    yield Item("API Gateway: a request", Decimal(1), "api-request")
    yield Item("Lambda: invocations", Decimal(1), "lambda-request")
    yield Item("Lambda: GB-seconds", API_SECONDS * gigabytes("api_handler"), "lambda-gb-second")
    yield Item("DynamoDB: read units", PRODUCTS["Scan"] * PAGE_READ_UNITS, "dynamodb-read")
    yield Item("X-Ray: traces", traced(A_MILLION_A_MONTH), "xray-trace")


def idle_month_bill() -> Iterator[Item]:
    """What a stage is billed a month in which nothing happens (thirty days, one run of each schedule a minute)."""
    runs = Decimal(MONTH)
    # A query that finds nothing is half a read unit, as an eventually consistent one; the monitor reads one item.
    yield Item("Lambda: invocations", 2 * runs, "lambda-request")
    seconds = runs * (Decimal("0.2") * gigabytes("recover") + Decimal("0.1") * gigabytes("dead_letter_monitor"))
    yield Item("Lambda: GB-seconds", seconds, "lambda-gb-second")
    yield Item("DynamoDB: read units", runs * (Decimal(RECOVER["Query"]) / 2 + 1), "dynamodb-read")
    # The monitor asks for two depths; each of the mapping's five pollers waits ten seconds each time. Every 15 minutes
    # three empty receives say that there are no dead letters to replay.
    yield Item("SQS: requests", runs * (2 + 5 * 6 + Decimal(3) / 15), "sqs-request")
    # Two runs a minute are far from one a second.
    yield Item("X-Ray: traces of the schedules", 2 * runs, "xray-trace")
    yield Item("CloudWatch: metrics of the service", Decimal(len(IDLE_METRICS)), "metric-month")
    yield Item("CloudWatch: metrics that alarms look at", Decimal(ALARM_METRICS), "alarm-month")
    yield Item("CloudWatch: a dashboard", Decimal(1), "dashboard-month")
    yield Item("KMS: the stage's key", Decimal(1), "kms-key-month")


def prices(text: str) -> dict[str, Decimal]:
    """The prices of a unit, from the table of the document."""
    rows = re.findall(r"^\| `([a-z-]+)` \| ([0-9.]+) \| ([0-9,]+) \|", text, re.MULTILINE)
    return {name: Decimal(dollars) / int(units.replace(",", "")) for name, dollars, units in rows}


def dollars(items: Iterator[Item], price: Mapping[str, Decimal]) -> Decimal:
    """The sum."""
    return sum((item.units * price[item.price] for item in items), Decimal(0))


def computed(price: Mapping[str, Decimal]) -> str:
    """The part of the document that follows from its prices."""
    return "\n\n".join(
        [
            _table(
                "A million orders with a key, evenly over a month, fulfilled in full batches",
                order_bill(),
                price,
                _MILLION,
            ),
            _traces(price),
            _table("What a million orders cost more on AWS if they are paid by Stripe", stripe_bill(), price, _MILLION),
            _table("A million duplicates, evenly over a month", duplicate_bill(), price, _MILLION),
            _table("A million pages of twenty products, evenly over a month", products_bill(), price, _MILLION),
            _table("A month in which nothing happens", idle_month_bill(), price, 1),
        ]
    )


def updated(text: str) -> str:
    """The document with its computed part computed again from its prices."""
    return replaced(text, computed(prices(text)))


def replaced(text: str, computed: str) -> str:
    """A document with this as its computed part."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n\n{computed}\n\n{_END}{after}"


def update(path: Path = DOCUMENT) -> None:
    """Compute the document again."""
    path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")


def _table(title: str, items: Iterator[Item], price: Mapping[str, Decimal], times: int) -> str:
    listed = list(items)
    rows = [f"| {i.what} | {_number(i.units * times)} | {i.units * price[i.price] * times:,.2f} |" for i in listed]
    total = dollars(iter(listed), price) * times
    return "\n".join(
        [
            f"### {title}",
            "",
            "| what | units | dollars |",
            "| --- | ---: | ---: |",
            *rows,
            f"| **together** | | **{total:,.2f}** |",
        ]
    )


def _traces(price: Mapping[str, Decimal]) -> str:
    """X-Ray's part of a million orders, which depends on how fast they come."""
    rows = []
    for rate in (A_MILLION_A_MONTH, Decimal(1), Decimal(10), Decimal(100)):
        (units,) = (item.units for item in order_bill(rate=rate) if item.price == "xray-trace")
        rows.append(f"| {rate:.1f} | {_number(units * _MILLION)} | {units * price['xray-trace'] * _MILLION:,.2f} |")
    head = [
        "### X-Ray's part of it, by orders a second",
        "",
        "| orders/s | traces | dollars |",
        "| ---: | ---: | ---: |",
    ]
    return "\n".join([*head, *rows])


def _number(value: Decimal) -> str:
    return f"{value:,.0f}" if value == value.to_integral_value() else f"{value:,.1f}"


def gigabytes(function: str) -> Decimal:
    """The memory of a function in `prod`."""
    own = stage_config("prod")["lambda_functions"].get(function, {})
    return Decimal(own.get("lambda_memory_size", config()["lambda_memory_size"])) / 1024
