"""The one place where the service is put together, once a process. Each part is imported and made at its first use:

the API's cold start has nothing of the consumer in it, and the consumer's nothing of the monitor.
"""

import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, cast

from chalicelib import settings as environment
from chalicelib.adapters import clients
from chalicelib.faults import PaymentUnknown
from chalicelib.providers import SIMULATED, STRIPE
from chalicelib.settings import BadSetting, Settings
from chalicelib.times import Clock, utc_now

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

    from chalicelib.adapters.stripe_api import StripeApi
    from chalicelib.use_cases.committing import BatchCommitter
    from chalicelib.use_cases.consuming import Consumer
    from chalicelib.use_cases.dead_letters import DeadLetters
    from chalicelib.use_cases.fulfilment import Fulfilment
    from chalicelib.use_cases.intake import Intake
    from chalicelib.use_cases.monitoring import Monitor
    from chalicelib.use_cases.operations import Operations
    from chalicelib.use_cases.paying import BatchPayments
    from chalicelib.use_cases.placing import Placing
    from chalicelib.use_cases.ports import Books, Executions, Orders, Payments, Products, Queue
    from chalicelib.use_cases.reconciling import Reconciling
    from chalicelib.use_cases.recovery import Recovery
    from chalicelib.use_cases.starting import Starting
    from chalicelib.use_cases.stepping import Stepping


@dataclass(frozen=True)
class Service:
    """The use cases, with all that they need.

    `given_payments` None: those of the settings; `given_executions` None: those of the state machine in the settings.
    `sleep` takes seconds, `random` is 0 to 1. `payment_timeout`: the seconds that a batch waits for its payments; None:
    those of the provider.
    """

    settings: Settings
    dynamodb: "DynamoDBClient"
    sqs: "SQSClient"
    events: "EventBridgeClient"
    sns: "SNSClient"
    given_payments: "Payments | None"
    clock: Clock
    sleep: Callable[[float], None]
    random: Callable[[], float]
    payment_timeout: float | None
    given_executions: "Executions | None"

    @cached_property
    def orders(self) -> "Orders":
        from chalicelib.adapters.dynamodb.repository import Repository
        from chalicelib.adapters.dynamodb.writes import Writes

        writes = Writes(self.settings.orders_table, self.settings.inventory_table, self.settings.order_ttl)
        return Repository(self.dynamodb, self.settings.orders_table, writes)

    @cached_property
    def placing(self) -> "Placing":
        from chalicelib.adapters.dynamodb.claims import ClaimTable
        from chalicelib.use_cases.placing import Placing

        claims, window = ClaimTable(self.dynamodb, self.settings.idempotency_table), self.settings.idempotency_window
        return Placing(self.orders, claims, self._committer, self._intake, self.queue, self.clock, window)

    @cached_property
    def operations(self) -> "Operations":
        from chalicelib.use_cases.operations import Operations

        return Operations(self.orders, self._committer, self.queue, self.clock)

    @cached_property
    def products(self) -> "Products":
        from chalicelib.adapters.products import InventoryProducts

        return InventoryProducts(self.dynamodb, self.settings.inventory_table, self.clock)

    @cached_property
    def consumer(self) -> "Consumer":
        from chalicelib.use_cases.consuming import Consumer

        engine = self.fulfilment if self.settings.engine == "queue" else self._starting
        shared, receives = (self._committer, self.orders, self.queue, self.dead_letters), self.settings.max_receives
        return Consumer(engine, *shared, self.clock, receives, self.random)

    @cached_property
    def fulfilment(self) -> "Fulfilment":
        from chalicelib.adapters.event_bus import EventBridgeBus
        from chalicelib.use_cases.completion import Completion
        from chalicelib.use_cases.fulfilment import Fulfilment

        bus, payments = EventBridgeBus(self.events, self.settings.event_bus, self._calls), self._batch_payments
        completion = Completion(self._committer, payments, bus, self.clock)
        return Fulfilment(self._committer, self._intake, payments, completion, self.clock)

    @cached_property
    def stepping(self) -> "Stepping":
        from chalicelib.use_cases.stepping import Stepping

        return Stepping(self.orders, self.fulfilment)

    @cached_property
    def recovery(self) -> "Recovery":
        from chalicelib.use_cases.recovery import SIDE_BY_SIDE, Recovery

        pool = ThreadPoolExecutor(SIDE_BY_SIDE, "recovery")
        return Recovery(self.orders, self._committer, self.queue, self.dead_letters, pool, self.clock)

    @cached_property
    def dead_letters(self) -> "DeadLetters":
        from chalicelib.adapters.queues import SqsQueue
        from chalicelib.use_cases.dead_letters import DeadLetters

        kept = SqsQueue(self.sqs, self.settings.order_dead_letters, self._calls)
        return DeadLetters(kept, self.queue, self.orders, self._committer, self.clock)

    @cached_property
    def monitor(self) -> "Monitor":
        from chalicelib.adapters.alerts import AlertTopic
        from chalicelib.adapters.dynamodb.last_alert import LastAlertRow
        from chalicelib.use_cases.monitoring import Monitor

        last_alert = LastAlertRow(self.dynamodb, self.settings.idempotency_table)
        topic = AlertTopic(self.sns, self.settings.alerts_topic)
        return Monitor(self.queue, self.dead_letters, last_alert, topic, self.clock, self.settings.stage)

    @cached_property
    def payments(self) -> "Payments":
        from chalicelib.adapters.payment_router import PaymentRouter

        if self.given_payments is not None:
            return self.given_payments
        return PaymentRouter(self._payments_by(self.settings.provider.name), self._payments_by)

    @cached_property
    def stripe(self) -> "StripeApi":
        """Stripe, by the key that is known at each call. PaymentUnknown: there is none."""
        from chalicelib.adapters.stripe_account import StripeAccount
        from chalicelib.adapters.stripe_api import ADDRESS

        settings = self.settings
        account = StripeAccount(settings.stripe_key, settings.stage, settings.stripe_url or ADDRESS, self.clock)
        return cast("StripeApi", clients.AtFirstUse(account.api))

    @cached_property
    def books(self) -> "Mapping[str, Books]":
        """The books of the providers that can be asked, by name."""
        from chalicelib.adapters.stripe_books import StripeBooks

        return {STRIPE: StripeBooks(self.stripe)} if self.settings.stripe_key else {}

    @cached_property
    def reconciling(self) -> "Reconciling":
        from chalicelib.adapters.dynamodb.payment_rows import LedgerRows
        from chalicelib.use_cases.reconciling import Reconciling

        rows = LedgerRows(self.dynamodb, self.settings.payments_table, self.clock)
        return Reconciling(self.orders, rows, self.books, self.clock)

    @cached_property
    def queue(self) -> "Queue":
        from chalicelib.adapters.queues import SqsQueue

        return SqsQueue(self.sqs, self.settings.order_queue, self._calls)

    # --- what several of them share, and what few stages have ---

    @cached_property
    def _starting(self) -> "Starting":
        from chalicelib.use_cases.starting import Starting

        return Starting(self.orders, self.fulfilment, self.given_executions or self._state_machine)

    @cached_property
    def _state_machine(self) -> "Executions":
        from chalicelib.adapters.executions import StateMachine

        if not self.settings.state_machine:
            raise BadSetting("the setting STATE_MACHINE is missing")
        return StateMachine(clients.stepfunctions(), self.settings.state_machine, self._calls)

    def _payments_by(self, provider: str) -> "Payments":
        table = self.settings.payments_table
        if provider == SIMULATED:
            from chalicelib.adapters.simulated_payments import SimulatedPayments

            return SimulatedPayments(self.dynamodb, table, self.settings.fail_payment_percent, self.clock)
        if provider == STRIPE:
            from chalicelib.adapters.dynamodb.payment_ledger import PaymentLedger
            from chalicelib.adapters.stripe_payments import StripePayments

            return StripePayments(self.stripe, PaymentLedger(self.dynamodb, table, provider, self.clock))
        raise PaymentUnknown(f"this release does not know the payment provider {provider}")

    @cached_property
    def _committer(self) -> "BatchCommitter":
        from chalicelib.use_cases.committing import BatchCommitter

        return BatchCommitter(self.orders, self.sleep, self.random)

    @cached_property
    def _intake(self) -> "Intake":
        from chalicelib.adapters.catalogue import InventoryCatalogue
        from chalicelib.use_cases.intake import Intake

        settings = self.settings
        catalogue = InventoryCatalogue(self.dynamodb, settings.inventory_table, settings.currency, self.clock)
        return Intake(catalogue, settings.provider)

    @cached_property
    def _calls(self) -> Executor:
        """Not the payments' pool: a provider that hangs holds every thread of that."""
        from chalicelib.adapters.side_by_side import WIDTH

        return ThreadPoolExecutor(WIDTH, "call")

    @cached_property
    def _batch_payments(self) -> "BatchPayments":
        from chalicelib.use_cases.paying import BatchPayments

        patience = self.settings.provider.patience if self.payment_timeout is None else self.payment_timeout
        return BatchPayments(self.payments, ThreadPoolExecutor(clients.POOL_SIZE, "payment"), patience)


def compose(
    settings: Settings,
    dynamodb: "DynamoDBClient",
    sqs: "SQSClient",
    events: "EventBridgeClient",
    sns: "SNSClient",
    payments: "Payments | None" = None,
    clock: Clock = utc_now,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = random.random,
    payment_timeout: float | None = None,
    executions: "Executions | None" = None,
) -> Service:
    """A service of these parts; `Service` says what each means."""
    return Service(settings, dynamodb, sqs, events, sns, payments, clock, sleep, random, payment_timeout, executions)


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
