"""What an order costs with either engine: the tables of docs/engines.md, computed from calls that the tests count."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path

from deploy import cost
from deploy.cost import A_MILLION_A_MONTH, BATCH_SIZE, INDEXES, Item, traced
from deploy.stages import ROOT, SAGA_STEP

DOCUMENT = ROOT / "docs" / "engines.md"

START = {"BatchGetItem": 1, "StartExecution": 10}
"""Calls of the consumer for a batch of ten new orders."""

STEPS = {"GetItem": 4, "TransactWriteItems": 1, "UpdateItem": 2, "PutEvents": 1}
"""Calls of the tasks of one order, from fresh to CONFIRMED; without the payment provider's own."""

TRANSITIONS = {
    "confirmed": ("Reserve", "AfterReserve", "Charge", "AfterCharge", "Confirm", "Complete"),
    "declined": ("Reserve", "AfterReserve", "Charge", "AfterCharge", "Decline", "Complete"),
    "out of stock": ("Reserve", "AfterReserve", "Complete"),
}
"""The states that an order enters on its way to each end. Each is a transition, and so is each try again (AWS Step
Functions pricing)."""

TASKS = 4
"""Invocations of `saga_step` for an order that is confirmed."""

INDEX_WRITES = 3
"""Of the outbox's index: the entry moves when the order is confirmed, and goes when all is done."""

STEP_SECONDS = Decimal("0.020")
START_SECONDS = Decimal("0.060")
STEP_LOG_BYTES = 500
"""Assumed, not counted: the time of a task, and of a batch that starts ten executions; log lines of a task."""


def order_bill(rate: Decimal = A_MILLION_A_MONTH) -> Iterator[Item]:
    """What a new order with a key is billed where a state machine runs its saga, in full batches."""
    queue = {item.what: item for item in cost.order_bill(rate=rate)}
    batch = Decimal(BATCH_SIZE)
    memory = [cost.gigabytes(name) for name in ("api_handler", "order_consumer", SAGA_STEP)]
    seconds = cost.API_SECONDS * memory[0] + START_SECONDS / batch * memory[1] + TASKS * STEP_SECONDS * memory[2]
    # The transaction writes the order and its product, each of which costs two units.
    writes = cost.POST["PutItem"] + INDEXES + 2 * 2 * STEPS["TransactWriteItems"] + STEPS["UpdateItem"] + INDEX_WRITES
    # One is read by the consumer as it was a moment ago, which costs half.
    reads = STEPS["GetItem"] + Decimal("0.5")
    yield queue["API Gateway: a request"]
    yield Item("Lambda: invocations", 1 + 1 / batch + TASKS, "lambda-request")
    yield Item("Lambda: GB-seconds", seconds, "lambda-gb-second")
    yield Item("Step Functions: state transitions", Decimal(len(TRANSITIONS["confirmed"])), "state-transition")
    yield Item("DynamoDB: write units", Decimal(writes), "dynamodb-write")
    yield Item("DynamoDB: read units", reads, "dynamodb-read")
    yield queue["SQS: requests"]
    yield queue["EventBridge: events"]
    logged = Decimal(cost.LOG_BYTES + TASKS * STEP_LOG_BYTES)
    yield Item("CloudWatch Logs: GB", logged / 10**9, "log-gb")
    # An execution and its tasks are one trace.
    yield Item("X-Ray: traces", queue["X-Ray: traces"].units + traced(rate), "xray-trace")


def computed(price: Mapping[str, Decimal]) -> str:
    """The part of the page that follows from the counts and prices."""
    queue, machine = ({item.what: item for item in bill} for bill in (cost.order_bill(), order_bill()))
    rows = []
    for what in machine:
        dollars = [
            bill[what].units * price[bill[what].price] if what in bill else Decimal(0) for bill in (queue, machine)
        ]
        rows.append(f"| {what} | {_dollars(dollars[0])} | {_dollars(dollars[1])} |")
    total = [_dollars(cost.dollars(iter(bill.values()), price)) for bill in (queue, machine)]
    return "\n".join(
        [
            "| calls for ten new orders, all confirmed | `queue` | `step-functions` |",
            "| --- | ---: | ---: |",
            *(f"| {name} | {number} | {other} |" for name, number, other in _calls()),
            "",
            "| states that an order enters, to its end | number |",
            "| --- | ---: |",
            *(f"| {end} | {len(states)} |" for end, states in TRANSITIONS.items()),
            "",
            "| a million orders, dollars | `queue` | `step-functions` |",
            "| --- | ---: | ---: |",
            *rows,
            f"| **together** | **{total[0]}** | **{total[1]}** |",
        ]
    )


def _calls() -> Iterator[tuple[str, int, int]]:
    queue: Mapping[str, int] = cost.FULFIL
    machine = {name: START.get(name, 0) + 10 * STEPS.get(name, 0) for name in (*START, *STEPS)}
    for name in sorted(queue.keys() | machine.keys()):
        yield name, queue.get(name, 0), machine.get(name, 0)
    yield "Lambda invocations", 1, 1 + 10 * TASKS


def _dollars(each: Decimal) -> str:
    return f"{each * 1_000_000:,.2f}"


def updated(text: str) -> str:
    """The page with its computed part computed again from the prices of docs/cost.md."""
    prices = cost.prices(cost.DOCUMENT.read_text(encoding="utf-8"))
    return cost.replaced(text, computed(prices))


def update(path: Path = DOCUMENT) -> None:
    """Compute the page again."""
    path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")
