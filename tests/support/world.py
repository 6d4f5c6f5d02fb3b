"""A world in which everything happens at once: processes that die between any two calls, messages that come twice,
an event bus that drops entries, a provider that times out, and a clock that runs fast.

The tables are DynamoDB Local's. Queue and bus are small fakes here, since their visibility timeouts, redeliveries and
failures are to follow the fast clock and the seed.
"""

import json
import random
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import boto3
import pytest
from botocore.config import Config

from chalicelib import exact_json, service, times
from chalicelib.adapters.executions import StateMachine
from chalicelib.deadline import NO_DEADLINE
from chalicelib.domain.events import EVENTS
from chalicelib.domain.order import Refund, Status
from chalicelib.entrypoints import messages, saga_steps
from chalicelib.entrypoints.api import place_order
from chalicelib.entrypoints.exchange import Answer, Request
from chalicelib.service import Service
from chalicelib.settings import DEFAULT_MAX_RECEIVES, Settings
from chalicelib.use_cases.consuming import MessagesLeft
from chalicelib.use_cases.letters import Kind, order_id_in
from tests.support.aws_calls import Killed
from tests.support.events import sqs_record
from tests.support.faults import Life, MortalFake, strike
from tests.support.orders import NOW, a_body, an_event
from tests.support.payments import FlakyPayments
from tests.support.providers import Simulated, Stripe, WorldsProvider
from tests.support.stage import Stage
from tests.support.tables import stock_up
from tests.support.walker import ARN, Machine

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

P = ParamSpec("P")
T = TypeVar("T")

VISIBILITY = timedelta(seconds=60)
MAX_RECEIVES = DEFAULT_MAX_RECEIVES


class FastClock:
    """Real time, many times over, from a fixed day on; with a rate of 0 only `advance` moves it."""

    def __init__(self, rate: float) -> None:
        self._rate, self._began, self._ahead = rate, time.monotonic(), timedelta()

    def __call__(self) -> datetime:
        passed = timedelta(seconds=(time.monotonic() - self._began) * self._rate)
        return times.whole_milliseconds(NOW + passed + self._ahead)

    def advance(self, **duration: float) -> None:
        self._ahead += timedelta(**duration)

    def sleep(self, seconds: float) -> None:
        """In real time, unless only `advance` moves this clock."""
        if self._rate:
            time.sleep(seconds)
        else:
            self.advance(seconds=seconds)


# --- processes ---


class Process:
    """A process of the service: its clients live as long as its `life`, and a new one begins with the next."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.dynamodb = world.client()
        strike(self.dynamodb, self)
        self.provider = world.provider.payments(self.dynamodb, self)
        self.payments = FlakyPayments(self.provider)
        self.start(Life())

    def start(self, life: Life) -> None:
        """Begin this life without what the last one remembered: prices, the queues' addresses."""
        self.life = life
        world, nobody = self.world, cast(Any, None)
        queue, bus = cast(Any, MortalFake(world.queue, self)), cast(Any, MortalFake(world.bus, self))
        with pytest.MonkeyPatch.context() as patch:
            if world.rate == 0:
                patch.setattr(service, "ThreadPoolExecutor", InTurn)
            self.service: Service = service.compose(
                world.settings,
                self.dynamodb,
                queue,
                bus,
                nobody,
                payments=self.payments,
                clock=world.clock,
                sleep=world.clock.sleep,
                random=world.pauses.random,
                executions=StateMachine(cast(Any, MortalFake(world.machine, self)), ARN, InTurn()),
            )
            # They are made at first use, with their pools: here.
            _ = self.service.consumer, self.service.recovery

    def step(self, event: Any) -> Any:
        """As the function of the state machine's tasks. A process that dies is replaced."""
        try:
            return saga_steps.saga_step(self.service, event, NO_DEADLINE)
        except Killed:
            self.life = Life()
            raise

    def close(self) -> None:
        pool: Any = self.service.fulfilment.payments.pool
        pool.shutdown()
        self.dynamodb.close()


class InTurn(Executor):
    """A pool that does all at once and in order, so that the same calls have the same numbers each time."""

    def __init__(self, *_: object) -> None: ...

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(call(*args, **kwargs))
        except BaseException as raised:  # noqa: BLE001 - as a pool of threads: whatever it is, the future has it
            future.set_exception(raised)
        return future


# --- queue and bus ---


@dataclass
class _Message:
    body: str
    attributes: dict[str, Any]
    visible_at: datetime
    sent_at: datetime
    message_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    receives: int = 0
    receipt: str = ""

    @property
    def waits_for_people(self) -> bool:
        """A dead letter that nothing replays by itself."""
        return bool(self.attributes.get("kind", {}).get("StringValue") == Kind.NEVER)

    def received(self) -> dict[str, Any]:
        """As ReceiveMessage answers it."""
        sent_at = str(int(self.sent_at.timestamp() * 1000))
        return {
            "MessageId": self.message_id,
            "ReceiptHandle": self.receipt,
            "Body": self.body,
            "Attributes": {"ApproximateReceiveCount": str(self.receives), "SentTimestamp": sent_at},
            "MessageAttributes": self.attributes,
        }


class FakeQueues:
    """As much of SQS as the service asks for: at least once, in no order, hidden for a while, dead in the end."""

    def __init__(self, clock: Callable[[], datetime], chance: random.Random, dead_letters: str) -> None:
        self._clock, self._chance, self._dead_letters = clock, chance, dead_letters
        self._messages: dict[str, list[_Message]] = defaultdict(list)
        self._lock = threading.RLock()
        self.twice = 0.0
        self.sent: list[_Message] = []
        self.on_delete: Callable[[str, _Message], object] = lambda queue, message: None

    # What boto3 offers, as far as it is used.

    def get_queue_url(self, *, QueueName: str) -> dict[str, Any]:  # noqa: N803
        return {"QueueUrl": QueueName}

    def send_message(self, *, QueueUrl: str, MessageBody: str, MessageAttributes: Any = None) -> dict[str, Any]:  # noqa: N803
        with self._lock:
            now = self._clock()
            message = _Message(MessageBody, MessageAttributes or {}, now, now)
            self.sent.append(message)
            self._messages[QueueUrl].append(message)
        return {}

    def send_message_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> dict[str, Any]:  # noqa: N803
        for entry in Entries:
            self.send_message(QueueUrl=QueueUrl, **{name: value for name, value in entry.items() if name != "Id"})
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}

    def delete_message_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> dict[str, Any]:  # noqa: N803
        with self._lock:
            gone = {entry["ReceiptHandle"] for entry in Entries}
            for message in self._messages[QueueUrl]:
                if message.receipt in gone:
                    self.on_delete(QueueUrl, message)
            self._messages[QueueUrl] = [m for m in self._messages[QueueUrl] if m.receipt not in gone]
        return {"Successful": [], "Failed": []}

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> dict[str, Any]:  # noqa: N803
        with self._lock:
            delays = {entry["ReceiptHandle"]: entry["VisibilityTimeout"] for entry in Entries}
            for message in self._messages[QueueUrl]:
                if message.receipt in delays:
                    message.visible_at = self._clock() + timedelta(seconds=delays[message.receipt])
        return {"Successful": [], "Failed": []}

    def receive_message(
        self,
        *,
        QueueUrl: str,  # noqa: N803
        MaxNumberOfMessages: int,  # noqa: N803
        VisibilityTimeout: int,  # noqa: N803
        **_: object,
    ) -> dict[str, Any]:
        with self._lock:
            now = self._clock()
            visible = [message for message in self._messages[QueueUrl] if message.visible_at <= now]
            received = visible[:MaxNumberOfMessages]
            for message in received:
                message.receipt, message.visible_at = str(uuid.uuid4()), now + timedelta(seconds=VisibilityTimeout)
        return {"Messages": [message.received() for message in received]}

    # What Lambda does.

    def receive(self, queue: str, limit: int = 10) -> list[dict[str, Any]]:
        """Up to so many records of an SQS event; a dead letter is moved, as redrive does."""
        with self._lock:
            now = self._clock()
            visible = [message for message in self._messages[queue] if message.visible_at <= now]
            self._chance.shuffle(visible)
            return [self._record(message, now) for message in visible[:limit] if self._alive(queue, message)]

    def deliver_again(self, queue: str, message: _Message) -> None:
        """A message that was sent at some time comes again, whatever has become of it: SQS delivers at least once."""
        with self._lock:
            self._messages[queue].append(replace(message, visible_at=self._clock(), receives=0, receipt=""))

    def lose(self, queue: str, order_ids: Collection[str]) -> None:
        """The messages of these orders are gone, in flight or not."""
        with self._lock:
            messages = self._messages[queue]
            self._messages[queue] = [m for m in messages if json.loads(m.body)["orderId"] not in order_ids]

    def redrive(self, queue: str, order_id: str) -> None:
        """The messages of this order are dead letters, as after so many receives that each ended in a crash."""
        with self._lock:
            for message in self._of(queue, order_id):
                message.receives = MAX_RECEIVES
                self._alive(queue, message)

    def waiting(self) -> int:
        """How many messages there are, but for dead letters that wait for people."""
        with self._lock:
            return sum(not message.waits_for_people for each in self._messages.values() for message in each)

    def letters_for_people(self) -> set[str]:
        """The bodies of the dead letters that wait for people."""
        with self._lock:
            return {message.body for message in self._messages[self._dead_letters] if message.waits_for_people}

    def is_kept(self, message: _Message) -> bool:
        """Whether another message has its body, or one was sent since it was."""
        with self._lock:
            others = [other for each in self._messages.values() for other in each if other is not message]
            return any(other.body == message.body for other in others)

    def _of(self, queue: str, order_id: str) -> list[_Message]:
        return [message for message in self._messages[queue] if order_id in message.body]

    def _alive(self, queue: str, message: _Message) -> bool:
        if message.receives < MAX_RECEIVES:
            return True
        self._messages[queue].remove(message)
        self._messages[self._dead_letters].append(replace(message, receives=0))
        return False

    def _record(self, message: _Message, now: datetime) -> dict[str, Any]:
        message.receives += 1
        message.receipt = str(uuid.uuid4())
        if self._chance.random() >= self.twice:
            message.visible_at = now + VISIBILITY
        return sqs_record(
            message.body,
            message_id=message.message_id,
            receipt_handle=message.receipt,
            receive_count=message.receives,
            sent_at=message.sent_at,
            attributes={name: value["StringValue"] for name, value in message.attributes.items()},
        )


class FakeBus:
    """As much of EventBridge as the service asks for: every so often an entry fails in a call that succeeds."""

    def __init__(self, chance: random.Random) -> None:
        self._chance, self._lock = chance, threading.Lock()
        self.published: list[dict[str, Any]] = []
        self.fails = 0.0

    def put_events(self, *, Entries: Sequence[Any]) -> dict[str, Any]:  # noqa: N803
        assert 1 <= len(Entries) <= 10
        answers: list[dict[str, str]] = []
        with self._lock:
            for entry in Entries:
                if self._chance.random() < self.fails:
                    answers.append({"ErrorCode": "InternalFailure"})
                    continue
                answers.append({"EventId": str(len(self.published))})
                detail = json.loads(entry["Detail"], parse_float=Decimal)
                self.published.append({"name": entry["DetailType"], **detail})
        return {"FailedEntryCount": sum("ErrorCode" in answer for answer in answers), "Entries": answers}


# --- the world ---


class World:
    """Processes over one stage. `chance` decides all that is left to chance, but for what threads do to each other.

    `rate` is how much faster than real time the clock runs; with 0 only `advance` moves it, and a process makes its
    calls in turn. `engine` is the setting ENGINE: with `step-functions` each execution runs once its message is done.
    Payments are by `provider`, one of PROVIDERS.
    """

    def __init__(
        self, stage: Stage, seed: object, rate: float = 300, engine: str = "queue", provider: str = "simulated"
    ) -> None:
        self.stage = stage
        self.settings = replace(Settings.from_environment(), engine=engine)
        self.rate = rate
        self.chance = random.Random(str(seed))
        self.pauses = random.Random(f"{seed} pauses")
        self.clock = FastClock(rate)
        self.queue = FakeQueues(self.clock, random.Random(f"{seed} queue"), stage["ORDER_DEAD_LETTERS"])
        self.bus = FakeBus(random.Random(f"{seed} bus"))
        self.machine = Machine()
        self.stripe = Stripe(stage, self.clock, random.Random(f"{seed} cards")) if provider == "stripe" else None
        self.provider: WorldsProvider = self.stripe or Simulated(stage)
        self.unaccounted: list[str] = []
        self.queue.on_delete = self._account_for
        self._processes: list[Process] = []

    def client(self) -> "DynamoDBClient":
        """As `chalicelib/adapters/clients.py` makes it, but that it waits for a slow machine and many threads."""
        retries: Any = {"mode": "standard", "total_max_attempts": 3}
        config = Config(
            user_agent="orderonce",
            parameter_validation=False,
            read_timeout=20,
            retries=retries,
            max_pool_connections=96,
        )
        return boto3.client("dynamodb", config=config, endpoint_url=self.stage.dynamodb_endpoint)

    def process(self) -> Process:
        made = Process(self)
        self._processes.append(made)
        return made

    def close(self) -> None:
        for process in self._processes:
            process.life = Life()
            process.close()

    def switch(self, engine: str) -> None:
        """The stage is deployed with the other engine: processes begin again, and the state machine is another one."""
        self.settings = replace(self.settings, engine=engine)
        self.machine = Machine()
        for process in self._processes:
            process.start(Life())

    def deliver(self, process: Process, limit: int = 10) -> bool:
        """What Lambda does with the next batch: whether there was one."""
        records = self.queue.receive(self.stage["ORDER_QUEUE"], limit)
        if records:
            self.consume(process, records)
        return self.machine.run(process.step) > 0 or bool(records)

    def consume(self, process: Process, records: Sequence[dict[str, Any]]) -> bool:
        """Hand a batch to the consumer; when it returns, its messages are deleted, as Lambda does it.

        Then the executions that were started run.
        """
        try:
            service = process.service
            service.consumer.consume(messages.read_records(service, records), NO_DEADLINE)
        except (MessagesLeft, Killed):
            return False
        self.delete(records)
        self.machine.run(process.step)
        return True

    def delete(self, records: Sequence[dict[str, Any]]) -> None:
        """What Lambda does with the messages of a batch when the consumer returns."""
        entries = [{"ReceiptHandle": record["receiptHandle"]} for record in records]
        self.queue.delete_message_batch(QueueUrl=self.stage["ORDER_QUEUE"], Entries=entries)

    def _account_for(self, queue: str, message: _Message) -> None:
        """A message may be deleted once its order has ended and owes nothing, has an outbox entry, or it is kept."""
        if not (self.queue.is_kept(message) or self._is_handed_over(order_id_in(message.body))):
            self.unaccounted.append(f"deleted from {queue}: {message.body}")

    def _is_handed_over(self, order_id: str) -> bool:
        found = self.stage.item("ORDERS_TABLE", {"orderId": order_id}) if order_id else None
        if found is None:
            return False
        published = {event["sequence"] for event in self.bus.published if event["orderId"] == order_id}
        owed = {sequence for sequence, entry in enumerate(found["history"]) if entry["status"] in EVENTS}
        ended = found["status"] not in (Status.PENDING, Status.RESERVED) and found.get("refund") != Refund.PENDING
        return "outboxDueAt" in found or (ended and owed <= published)

    def come_to_rest(self) -> None:
        """Everything works again, whatever was late lands, and nobody does anything: how far does it go by itself?"""
        self.queue.twice = self.bus.fails = 0.0
        self.machine.throttled, self.machine.aborts_after = False, lambda: None
        for process in self._processes:
            process.life = Life()
            process.payments.over()
            process.payments.land()
        healthy = self._processes[0]
        quiet = 0
        for _ in range(60):
            # What the schedule does every minute, and every 15 minutes.
            sent = healthy.service.recovery.recover(NO_DEADLINE) + healthy.service.dead_letters.replay_due(NO_DEADLINE)
            while self.deliver(healthy):
                pass
            quiet = 0 if sent or self.queue.waiting() else quiet + 1
            if quiet == 2:
                return
            self.clock.advance(hours=7)
        raise AssertionError("it does not come to rest")


@contextmanager
def world_of(stage: Stage, seed: object, stock: dict[str, int], rate: float = 300, **how: str) -> Iterator[World]:
    """`how`: the engine and the provider."""
    stock_up(stage, **stock)
    world = World(stage, seed, rate, **how)
    try:
        yield world
    finally:
        world.close()


def ask(process: Process, key: str | None, quantities: dict[str, int], customer_id: str = "c1") -> Answer:
    """POST /orders, with a payment method of its own."""
    method = process.world.provider.method(customer_id)
    body = exact_json.dumps(a_body(quantities, customerId=customer_id, paymentMethod=method)).encode()
    headers = {"content-type": "application/json", **({"idempotency-key": key} if key else {})}
    return place_order(process.service, Request(headers, {}, body, "test"))


def produce(world: World, order_id: str, quantities: dict[str, int], **fields: Any) -> None:
    """An OrderCreated event of a producer's."""
    event = an_event(order_id, quantities, createdAt=None, **fields)
    method = world.provider.method(event["customerId"])
    body = exact_json.dumps(event | ({"paymentMethod": method} if method else {}))
    world.queue.send_message(QueueUrl=world.stage["ORDER_QUEUE"], MessageBody=body)


def check_messages(world: World, for_people: Collection[str] = ()) -> None:
    """Every message that was ever sent is accounted for, and `for_people` are the bodies of the letters that are left.

    Each was deleted once its order had ended, with its events published and its money given back, or had an outbox
    entry, or once it was kept elsewhere; the rest are dead letters that nothing but people can help.
    """
    assert not world.unaccounted, world.unaccounted
    letters = world.queue.letters_for_people()
    assert letters == set(for_people), letters.symmetric_difference(for_people)
    assert not world.queue.waiting(), "messages are left"
    stored = {order["orderId"] for order in world.stage.items("ORDERS_TABLE")}
    lost = [m.body for m in world.queue.sent if order_id_in(m.body) not in stored and m.body not in for_people]
    assert not lost, lost


def check_events(world: World) -> None:
    """Each history entry that bears an event has been published, under one id and always the same; and no other has."""
    published: dict[tuple[str, int], set[str]] = {}
    details: dict[str, str] = {}
    for event in world.bus.published:
        published.setdefault((event["orderId"], int(event["sequence"])), set()).add(event["eventId"])
        assert details.setdefault(event["eventId"], repr(event)) == repr(event)
    owed = {
        (order["orderId"], sequence)
        for order in world.stage.items("ORDERS_TABLE")
        for sequence, entry in enumerate(order["history"])
        if entry["status"] in EVENTS
    }
    assert published.keys() == owed
    assert len(details) == len(owed)
