"""The one place where the service is put together, once a process, at first use."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from chalicelib import clients
from chalicelib.aftermath import Aftermath
from chalicelib.cashier import Cashier
from chalicelib.catalogue import Catalogue
from chalicelib.consumer import Consumer
from chalicelib.dead_letters import DeadLetters
from chalicelib.events import Events
from chalicelib.fulfilment import Fulfilment
from chalicelib.monitoring import Alerts, Monitor
from chalicelib.operations import Operations
from chalicelib.payments import Payments
from chalicelib.placing import Placing
from chalicelib.queues import Queue
from chalicelib.recovery import Recovery
from chalicelib.repository import Repository
from chalicelib.settings import Settings, settings_of
from chalicelib.settlement import Settlement
from chalicelib.simulated_payments import SimulatedPayments
from chalicelib.times import Clock, utc_now
from chalicelib.writes import Writes

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient


@dataclass(frozen=True)
class Service:
    """The use cases, with all that they need."""

    settings: Settings
    repository: Repository
    placing: Placing
    operations: Operations
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
) -> Service:
    """A service of these parts; `payments` None is the simulated provider."""
    if payments is None:
        payments = SimulatedPayments(dynamodb, settings.payments_table, settings.fail_payment_percent)
    writes = Writes(settings.orders_table, settings.inventory_table, settings.order_ttl)
    repository = Repository(dynamodb, settings.orders_table, settings.idempotency_table, writes)
    settlement = Settlement(repository)
    catalogue = Catalogue(dynamodb, settings.inventory_table, settings.currency, clock)
    queue = Queue(sqs, settings.order_queue)
    dead_letters = DeadLetters(Queue(sqs, settings.order_dead_letters), queue)
    cashier = Cashier(payments, ThreadPoolExecutor(clients.POOL, "payment"))
    aftermath = Aftermath(settlement, cashier, Events(events, settings.event_bus), clock)
    fulfilment = Fulfilment(settlement, catalogue, cashier, aftermath, clock)
    return Service(
        settings,
        repository,
        Placing(repository, settlement, catalogue, queue, clock, settings.idempotency_window),
        Operations(repository, settlement, queue, clock),
        Consumer(fulfilment, queue, dead_letters, clock, settings.currency, settings.max_receives),
        Recovery(repository, queue, clock),
        dead_letters,
        Monitor(queue, dead_letters, repository, Alerts(sns, settings.alerts_topic), clock, settings.stage),
    )


@cache
def service() -> Service:
    """The service of this process's environment. Raises BadSetting, with the setting's name."""
    return compose(settings_of(), clients.dynamodb(), clients.sqs(), clients.events(), clients.sns())


def reset() -> None:
    """Forget the service and its clients: the next call reads the environment anew."""
    service.cache_clear()
    clients.dynamodb.cache_clear()
    clients.sns.cache_clear()
    clients.sqs.cache_clear()
    clients.events.cache_clear()
