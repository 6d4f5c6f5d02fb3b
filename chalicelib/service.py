"""The one place where the service is put together, once a process, at first use."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from chalicelib import settings as environment
from chalicelib.adapters import clients
from chalicelib.adapters.alerts import AlertTopic
from chalicelib.adapters.catalogue import InventoryCatalogue
from chalicelib.adapters.dynamodb.claims import ClaimTable
from chalicelib.adapters.dynamodb.last_alert import LastAlertRow
from chalicelib.adapters.dynamodb.repository import Repository
from chalicelib.adapters.dynamodb.writes import Writes
from chalicelib.adapters.event_bus import EventBridgeBus
from chalicelib.adapters.products import InventoryProducts
from chalicelib.adapters.queues import SqsQueue
from chalicelib.adapters.simulated_payments import SimulatedPayments
from chalicelib.settings import Settings
from chalicelib.times import Clock, utc_now
from chalicelib.use_cases.committing import BatchCommitter
from chalicelib.use_cases.completion import Completion
from chalicelib.use_cases.consuming import Consumer
from chalicelib.use_cases.dead_letters import DeadLetters
from chalicelib.use_cases.fulfilment import Fulfilment
from chalicelib.use_cases.monitoring import Monitor
from chalicelib.use_cases.operations import Operations
from chalicelib.use_cases.paying import TIMEOUT, BatchPayments
from chalicelib.use_cases.placing import Placing
from chalicelib.use_cases.ports import Orders, Payments, Products
from chalicelib.use_cases.recovery import SIDE_BY_SIDE, Recovery

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient


@dataclass(frozen=True)
class Service:
    """The use cases, with all that they need."""

    settings: Settings
    clock: Clock
    orders: Orders
    placing: Placing
    operations: Operations
    products: Products
    consumer: Consumer
    recovery: Recovery
    dead_letters: DeadLetters
    monitor: Monitor


def compose(
    settings: Settings,
    dynamodb: "DynamoDBClient",
    sqs: "SQSClient",
    events: "EventBridgeClient",
    sns: "SNSClient",
    payments: Payments | None = None,
    clock: Clock = utc_now,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = random.random,
    payment_timeout: float = TIMEOUT,
) -> Service:
    """A service of these parts; `payments` None: the simulated provider. `sleep` takes seconds, `random` is 0 to 1.

    `payment_timeout`: the seconds that a batch waits for its payments.
    """
    if payments is None:
        payments = SimulatedPayments(dynamodb, settings.payments_table, settings.fail_payment_percent)
    writes = Writes(settings.orders_table, settings.inventory_table, settings.order_ttl)
    orders = Repository(dynamodb, settings.orders_table, writes)
    claims = ClaimTable(dynamodb, settings.idempotency_table)
    catalogue = InventoryCatalogue(dynamodb, settings.inventory_table, settings.currency, clock)
    queue = SqsQueue(sqs, settings.order_queue)
    committer = BatchCommitter(orders, sleep, random)
    dead_letters = DeadLetters(SqsQueue(sqs, settings.order_dead_letters), queue, orders, committer, clock)
    batch_payments = BatchPayments(payments, ThreadPoolExecutor(clients.POOL_SIZE, "payment"), payment_timeout)
    completion = Completion(committer, batch_payments, EventBridgeBus(events, settings.event_bus), clock)
    fulfilment = Fulfilment(committer, catalogue, batch_payments, completion, clock)
    last_alert = LastAlertRow(dynamodb, settings.idempotency_table)
    return Service(
        settings,
        clock,
        orders,
        Placing(orders, claims, committer, catalogue, queue, clock, settings.idempotency_window),
        Operations(orders, committer, queue, clock),
        InventoryProducts(dynamodb, settings.inventory_table, clock),
        Consumer(fulfilment, orders, queue, dead_letters, clock, settings.max_receives, random),
        Recovery(orders, committer, queue, dead_letters, ThreadPoolExecutor(SIDE_BY_SIDE, "recovery"), clock),
        dead_letters,
        Monitor(queue, dead_letters, last_alert, AlertTopic(sns, settings.alerts_topic), clock, settings.stage),
    )


@cache
def service() -> Service:
    """The service of this process's environment. Raises BadSetting, with the setting's name."""
    settings = Settings.from_environment()
    events: Any = clients.AtFirstUse(clients.events)
    sns: Any = clients.AtFirstUse(clients.sns)
    return compose(settings, clients.dynamodb(), clients.sqs(), events, sns)


def reset() -> None:
    """Forget the service, its clients and its settings: the next call reads the environment again."""
    service.cache_clear()
    environment.app_settings.cache_clear()
    clients.forget()
