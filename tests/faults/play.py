"""Plays a schedule: each method that is a step does one thing to a world of its own; `end` asks every promise.

The same schedule always comes to the same end: the clock is virtual, and whatever is left to chance begins alike.
"""

import json
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from chalicelib import exact_json, times
from chalicelib.adapters.dynamodb.items import from_item, outbox_attributes
from chalicelib.deadline import NO_DEADLINE
from chalicelib.domain import idempotency
from chalicelib.domain.order import OutboxEntry, Status
from chalicelib.entrypoints import api
from chalicelib.entrypoints.exchange import Answer, Request
from chalicelib.entrypoints.problems import Problem
from chalicelib.faults import Rejected, Unavailable
from chalicelib.use_cases.letters import order_id_in
from tests.faults.promises import Clients, quantities_of
from tests.faults.schedules import Schedule, Step
from tests.support.aws_calls import Killed
from tests.support.conservation import SOLD, check_conserved
from tests.support.faults import FAULTS, Life, life
from tests.support.orders import ANYBODY, NOW, an_event
from tests.support.payments import TimesOut
from tests.support.stage import Stage
from tests.support.tables import stock_up
from tests.support.template import ROOT
from tests.support.world import MAX_RECEIVES, FakeQueues, Process, World, ask, check_events

CUSTOMER = "c1"
CONTENTS: Mapping[int, dict[str, int]] = {
    0: {"p1": 1},
    1: {"p1": 2},
    2: {"p2": 1},
    3: {"p1": 1, "p2": 1},
    4: {"none": 1},
}
"""What can be ordered. Of p1 there is little; `none` is not in the catalogue, so only producers ask for it."""

REFUSED = 4
STOCK = {"p1": 3, "p2": 1000, "PROD-100": 10, "PROD-003": 10}
PRICES = {"PROD-100": "149.90", "PROD-003": "50.00"}
GOLDEN = ROOT / "tests" / "golden"

STRIKES = tuple(fault.replace(" ", "-") for fault in FAULTS)
MEANWHILE = ("cancel", "deliver", "recover")
"""What somebody else does just before a call: cancels an order, gets the same messages, recovers."""

QUEUE_LIFE, LETTER_LIFE = timedelta(days=7), timedelta(days=14)
TABLE_KEYS = {
    "ORDERS_TABLE": "orderId",
    "INVENTORY_TABLE": "productId",
    "IDEMPOTENCY_TABLE": "id",
    "PAYMENTS_TABLE": "paymentKey",
}
FAULTED = (Unavailable, Rejected, Killed)


class Picked(random.Random):
    """The chance of queues and bus, as the schedule says: after `skip` of those that wait; and half of a chance."""

    skip = 0

    def random(self) -> float:
        return 0.5

    def shuffle(self, x: Any) -> None:
        first = self.skip % len(x) if x else 0
        x[:] = x[first:] + x[:first]


class Queues(FakeQueues):
    """The queues, as somebody sees them who sees all of a queue."""

    def held(self, queue: str) -> list[Any]:
        return list(self._messages[queue])

    def drop(self, queue: str, gone: Callable[[Any], bool]) -> None:
        self._messages[queue] = [message for message in self._messages[queue] if not gone(message)]


@dataclass
class Tally:
    """What was played, in all."""

    examples: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    rests: int = 0


@contextmanager
def known_ids() -> Iterator[None]:
    """The order ids that the service makes up are always the same ones."""
    numbers = random.Random(0)

    def fresh() -> str:
        return str(uuid.UUID(int=numbers.getrandbits(128), version=4))

    with patch.object(idempotency, "fresh_order_id", fresh):
        yield


class Play:
    """A world, and those who act in it; they pay by `provider`. The stage is empty before and after."""

    def __init__(self, stage: Stage, tally: Tally | None = None, provider: str = "simulated") -> None:
        self.stage, self.tally = stage, tally or Tally()
        self.schedule: list[Step] = []
        self.world = World(stage, "chaos", rate=0, provider=provider)
        self.pick = Picked()
        self.queue = self.world.queue = Queues(self.world.clock, self.pick, stage["ORDER_DEAD_LETTERS"])
        self.world.bus._chance = self.pick
        stock_up(stage, **STOCK)
        for product_id, price in PRICES.items():
            stage.put_item("INVENTORY_TABLE", self._product(product_id) | {"price": exact_json.loads(price)})
        self._ending = ExitStack()
        self._ending.callback(self.world.close)
        self._ending.enter_context(known_ids())
        self.struck, self.healthy = self.world.process(), self.world.process()
        self.clients = Clients(CUSTOMER, self.healthy.service.settings)
        self.named: list[str] = []
        self.expected: set[str] = set()
        self.produced: dict[str, list[int]] = {}
        self.cancelled: dict[str, str] = {}
        self.reached: dict[str, set[Status]] = {}
        self.to_purge: set[str] = set()
        self.purged: list[str] = []
        self.newer: dict[tuple[str, str], Any] = {}
        self.stock_before = dict(STOCK)
        self.in_hand: list[dict[str, Any]] = []
        self.since_rest = timedelta()
        self.golden = ""
        self.late: list[Life] = []

    # --- playing ---

    def play(self, schedule: Schedule) -> None:
        """All of it, to its end. Raises AssertionError where a promise is broken."""
        try:
            for step in schedule:
                self.do(step)
            self.end()
        finally:
            self.close()

    def do(self, step: Step) -> None:
        self.schedule.append(step)
        self.tally.steps[step.name] += 1
        getattr(self, step.name)(**step.arguments)

    def end(self) -> None:
        """All that was asked for is answered and done, and every promise is asked."""
        self.tally.ends.update(self.conclude())
        self.tally.examples += 1

    def conclude(self) -> Counter[str]:
        """Clients repeat what had no answer; then nobody does anything more. How many orders came to which end."""
        for key, content in list(self.clients.unanswered):
            self.understood()
            self._place(self.healthy, key, content, certain=False)
        self.come_to_rest()
        return self.check()

    def close(self) -> None:
        """Leave nothing behind."""
        self._ending.close()
        for table, key in TABLE_KEYS.items():
            items = self.stage.items(table)
            for start in range(0, len(items), 25):
                keys = [{key: {"S": item[key]}} for item in items[start : start + 25]]
                deletes: Any = [{"DeleteRequest": {"Key": one}} for one in keys]
                self.stage.dynamodb.batch_write_item(RequestItems={self.stage[table]: deletes})

    @contextmanager
    def _fault(self, fault: str | None) -> Iterator[Process]:
        """The process that a fault such as `lost@3` strikes at its call 3; a new one takes its place if it dies."""
        process = self.struck
        kind, _, at = (fault or "none@0").partition("@")
        number = int(at)
        if kind in MEANWHILE:
            struck = Life(at={number: lambda: self._meanwhile(kind, number)})
        else:
            struck = life(kind.replace("-", " "), number) if fault else Life()
        process.life = struck
        try:
            yield process
        finally:
            if struck.struck or (kind in MEANWHILE and struck.made > number):
                self.tally.struck[kind] += 1
            if kind == "late" and struck.struck:
                self.late.append(struck)
            if struck.dead:
                process.start(Life())
            process.life = Life()

    def _meanwhile(self, kind: str, number: int) -> None:
        service = self.healthy.service
        with suppress(Unavailable):
            if kind == "deliver":
                self.world.consume(self.healthy, self.in_hand)
            elif kind == "recover":
                service.recovery.recover(NO_DEADLINE)
            elif self.named:
                service.operations.cancel(self.named[number % len(self.named)], None, ANYBODY)

    def _certain(self, fault: str | None) -> bool:
        """Whether nobody is in the way: then there is one right answer."""
        return not fault and not self.newer

    # --- clients ---

    def place(self, units: int = 0, key: int | None = None, fault: str | None = None) -> None:
        """POST /orders, with key number `key` or without; `units` is the number of the content."""
        with self._fault(fault) as process:
            self._place(process, None if key is None else f"key-{key}", units, self._certain(fault))

    def _place(self, process: Process, key: str | None, content: int, certain: bool) -> None:
        now, clients = self.world.clock(), self.clients
        claim = clients.claims.get(content)
        before = self._status(claim.order_id) if certain and not key and claim and claim.order_id else None
        clients.asks(key, content)
        if key:
            self._name(idempotency.order_id_from_key(CUSTOMER, key))
        try:
            answer = ask(process, key, CONTENTS[content], CUSTOMER)
        except FAULTED:
            assert not certain, "a request has no answer, though nothing is in its way"
            clients.hears_nothing(key, content, now)
        except Problem as problem:
            clients.is_refused(key, content, problem.status)
        else:
            order_id = clients.hears(key, content, answer, now, before)
            self._name(order_id)
            self.expected.add(order_id)

    # --- producers ---

    def produce(self, order: int = 0, units: int = 0) -> None:
        """An event about the producer's order number `order`; the same number with other units is another order."""
        order_id = f"ORD-{order}"
        method = self.world.provider.method(CUSTOMER)
        event = an_event(order_id, CONTENTS[units], createdAt=None, customerId=CUSTOMER, paymentMethod=method)
        self.produced.setdefault(order_id, []).append(units)
        self._send(exact_json.dumps(event))
        self.expected.add(order_id)
        self._name(order_id)

    def poison(self) -> None:
        """A message that is not an event."""
        self._send(f"poison {len(self.queue.sent)}")

    def again(self, which: int = 0) -> None:
        """A message that was sent at some time comes again, whatever has become of it."""
        if sent := self.queue.sent:
            self.queue.deliver_again(self.stage["ORDER_QUEUE"], sent[which % len(sent)])

    def _send(self, body: str) -> None:
        self.queue.send_message(QueueUrl=self.stage["ORDER_QUEUE"], MessageBody=body)

    # --- consumers ---

    def deliver(
        self,
        limit: int = 1,
        skip: int = 0,
        twice: bool = False,
        last: bool = False,
        decline: bool = False,
        payments: str | None = None,
        no_bus: bool = False,
        fault: str | None = None,
    ) -> None:
        """Up to `limit` messages, after `skip` of them, are consumed; with `twice` they stay visible.

        `last`: it is their last receive. The provider declines, or times out `before`, `after` or `later`; the bus
        fails.
        """
        self.pick.skip, self.queue.twice, self.world.bus.fails = skip, float(twice), float(no_bus)
        records = self.in_hand = self.queue.receive(self.stage["ORDER_QUEUE"], limit)
        if last:
            for record in records:
                record["attributes"]["ApproximateReceiveCount"] = str(MAX_RECEIVES)
            ids = {record["messageId"] for record in records}
            for message in self.queue.held(self.stage["ORDER_QUEUE"]):
                message.receives = MAX_RECEIVES if message.message_id in ids else message.receives
        if records:
            trouble = TimesOut(payments) if payments else None
            with self._fault(fault) as process:
                process.provider.decline_percent = 100 * decline
                process.payments.trouble = lambda *_: trouble
                self.world.consume(process, records)
                process.payments.over()
                process.provider.decline_percent = 0
        self.queue.twice = self.world.bus.fails = 0.0

    def work(self) -> None:
        """Nothing is wrong, and whatever is visible is consumed."""
        self.pick.skip = 0
        while self.world.deliver(self.healthy):
            pass

    def land(self) -> None:
        """Calls that timed out take effect after all."""
        self.struck.payments.land()
        with self._noting_purged():
            for process in self.late:
                process.land()
        self.late.clear()

    # --- operators ---

    def cancel(self, which: int = 0, fault: str | None = None) -> None:
        """However often, it answers the same."""
        if answer := self._act("cancel", Status.CANCELLED, which, fault):
            order_id = self.named[which % len(self.named)]
            assert self.cancelled.setdefault(order_id, answer.body) == answer.body

    def ship(self, which: int = 0, fault: str | None = None) -> None:
        self._act("ship", Status.SHIPPED, which, fault)

    def arrive(self, which: int = 0, fault: str | None = None) -> None:
        """POST /orders/{orderId}/deliver."""
        self._act("deliver", Status.DELIVERED, which, fault)

    def _act(self, verb: str, target: Status, which: int, fault: str | None) -> Answer | None:
        if not self.named:
            return None
        order_id = self.named[which % len(self.named)]
        request = Request({"content-type": "application/json"}, {}, b"", "test")
        act: Callable[..., Answer] = getattr(api, f"{verb}_order")
        with self._fault(fault) as process:
            try:
                answer = act(process.service, request, order_id)
            except Problem:
                assert target not in self.reached.get(order_id, ()), "what was granted before is refused"
            except FAULTED:
                assert not self._certain(fault)
            else:
                self.reached.setdefault(order_id, set()).add(target)
                return answer
        return None

    def replay(self, fault: str | None = None) -> None:
        """All dead letters are sent to the order queue again."""
        with self._fault(fault) as process, suppress(*FAULTED):
            process.service.dead_letters.replay_all(100)

    def purge(self, fault: str | None = None) -> None:
        """All dead letters are deleted. An order that only they know is the operator's loss."""
        with (
            self._noting_purged(),
            self._fault(fault) as process,
            suppress(*FAULTED),
            process.service.dead_letters.receiving(60) as in_flight,
        ):
            letters = list(in_flight.letters(1000))
            self.to_purge |= {letter.message_id for letter in letters}
            process.service.dead_letters.purge(in_flight, letters)

    @contextmanager
    def _noting_purged(self) -> Iterator[None]:
        """Of what somebody wanted to purge, what is deleted within this context."""
        before = self.letters()
        stored = self._orders()
        yield
        left = {message.message_id for message in self.letters()}
        gone = [m.body for m in before if m.message_id in self.to_purge - left]
        self.purged += gone
        self.expected -= {order_id for body in gone if (order_id := order_id_in(body)) not in stored}

    # --- schedules and clocks ---

    def recover(self, fault: str | None = None) -> None:
        with self._fault(fault) as process, suppress(*FAULTED):
            process.service.recovery.recover(NO_DEADLINE)

    def replay_due(self, fault: str | None = None) -> None:
        with self._fault(fault) as process, suppress(*FAULTED):
            process.service.dead_letters.replay_due(NO_DEADLINE)

    def later(self, seconds: int = 61) -> None:
        """Time passes, less than SQS keeps a message for. An hour or more ends every window of a body without a key."""
        passed = timedelta(seconds=seconds)
        if self.since_rest + passed < QUEUE_LIFE:
            self.since_rest += passed
            if passed > timedelta(minutes=15):
                self.land()  # no call is under way for longer
            self.world.clock.advance(seconds=seconds)
            if passed > self.clients.settings.idempotency_window:
                self.clients.windows_end()

    def sweep(self) -> None:
        """DynamoDB deletes what has expired: claims, and orders."""
        now = int(self.world.clock().timestamp())
        for table in ("IDEMPOTENCY_TABLE", "ORDERS_TABLE"):
            for item in self.stage.items(table):
                if int(item.get("expiresAt", now + 1)) <= now:
                    self._delete(table, item[TABLE_KEYS[table]])

    def months_pass(self) -> None:
        """All is answered, done and asked for; goods arrive; three months pass, and what has ended is deleted."""
        self.conclude()
        operations = self.healthy.service.operations
        for order_id in self._orders():
            operations.ship(order_id, None, None, ANYBODY)
            operations.deliver(order_id, ANYBODY)
        self.come_to_rest()
        self.check()
        before = self._orders()
        self.world.clock.advance(days=92)
        self.clients.windows_end()
        self.sweep()
        self.queue.drop(self.stage["ORDER_DEAD_LETTERS"], lambda message: self._age(message) > LETTER_LIFE)
        gone = before.keys() - self._orders().keys()
        self._forget({order_id: before[order_id] for order_id in gone})

    def _forget(self, gone: dict[str, Any]) -> None:
        """These orders were as they should be, and are deleted: nothing may ever be heard of them again."""
        for order in gone.values():
            if order["status"] in SOLD:
                for product_id, units in order["reserved"].items():
                    self.stock_before[product_id] -= int(units)
            self.world.provider.forget(order["paymentKey"])
        self.clients.forget(set(gone))
        self.expected -= gone.keys()
        for known in (self.cancelled, self.reached, self.produced):
            for order_id in gone:
                known.pop(order_id, None)
        self.named = [order_id for order_id in self.named if order_id not in gone]
        self.world.bus.published = [event for event in self.world.bus.published if event["orderId"] not in gone]
        # Whatever was sent three months ago is gone from SQS too, and from everybody's hands.
        self.queue.sent.clear()
        self.in_hand.clear()
        self.purged.clear()

    # --- releases ---

    def first_release(self, status: str = "pending", message: bool = False) -> None:
        """An order that the first release left in this status, with its outbox entry, and perhaps its message."""
        if not self.is_early():
            return
        sent = json.loads((GOLDEN / "message_v1.json").read_text("utf-8"))
        order = from_item(json.loads((GOLDEN / "order_v1.json").read_text("utf-8")))
        order_id = self.golden = order["orderId"]
        left = ("PENDING", "RESERVED", "CONFIRMED").index(status.upper()) + 1
        order |= {"status": status.upper(), "history": order["history"][:left]}
        if left == 1:
            del order["reserved"]
        else:
            for product_id, units in order["reserved"].items():
                product = self._product(product_id)
                self.stage.put_item("INVENTORY_TABLE", product | {"stock": product["stock"] - units})
        if left == 3:
            paid = {"paymentId": "pay-1", "currency": order["currency"]}
            row = {"paymentKey": order["paymentKey"], "state": "CHARGED", "amount": order["totalAmount"], **paid}
            self.stage.put_item("PAYMENTS_TABLE", row)
            order["paymentId"] = "pay-1"
        due = outbox_attributes(order_id, OutboxEntry(self.world.clock() + timedelta(seconds=60)))
        self.stage.put_item("ORDERS_TABLE", order | due)
        if message:
            own = {name: {"DataType": "String", "StringValue": value} for name, value in sent["attributes"].items()}
            self.queue.send_message(QueueUrl=self.stage["ORDER_QUEUE"], MessageBody=sent["body"], MessageAttributes=own)
        self.expected.add(order_id)
        self._name(order_id)

    def newer_release(self, which: int = 0, what: str = "fingerprint") -> None:
        """A newer release has written a status or a fingerprint that this one does not know."""
        order_id = self.named[which % len(self.named)] if self.named else None
        orders = self._orders()
        if order_id in orders and (order_id, what) not in self.newer:
            self.newer[order_id, what] = orders[order_id][what]
            self._set(order_id, what, {"fingerprint": "v2:0123", "status": "PACKED"}[what])

    def understood(self) -> None:
        """That release is everywhere now, or taken back: its orders can be read."""
        for (order_id, what), value in self.newer.items():
            self._set(order_id, what, value)
        self.newer.clear()

    # --- the end ---

    def come_to_rest(self) -> None:
        """Nothing goes wrong any more, and nobody does anything: how far does it go by itself?"""
        self.understood()
        self.land()
        self.tally.rests += 1
        service, began = self.healthy.service, self.world.clock()
        for _ in range(60):
            self.work()
            if not self._work_is_left():
                self.since_rest = timedelta()
                if self.world.clock() > began:
                    self.clients.windows_end()
                return
            self.world.clock.advance(hours=7)
            service.recovery.recover(NO_DEADLINE)
            service.dead_letters.replay_due(NO_DEADLINE)
        raise AssertionError("it does not come to rest")

    def _work_is_left(self) -> bool:
        if self.queue.held(self.stage["ORDER_QUEUE"]) or any("outboxDueAt" in o for o in self._orders().values()):
            return True
        if any(message.visible_at > self.world.clock() for message in self.letters()):
            return True  # hidden from whoever looks: it may be one to replay
        received = self.healthy.service.dead_letters
        with received.receiving(0) as in_flight:
            return any(letter.next_replay_at for letter in in_flight.letters(1000))

    def check(self) -> Counter[str]:
        """Every promise, now that all is quiet; how many orders have come to which end."""
        ends = check_conserved(self.stage, self.stock_before, books=self.world.provider.books())
        check_events(self.world)
        orders = self._orders()
        assert self.expected <= orders.keys(), f"lost: {self.expected - orders.keys()}"
        unknown = orders.keys() - self.expected - self.clients.of_keys() - self.produced.keys()
        self.clients.check_unknown({order_id: orders[order_id] for order_id in unknown}, CONTENTS)
        for order_id, contents in self.produced.items():
            if order_id in orders:
                assert quantities_of(orders[order_id]) in [CONTENTS[content] for content in contents]
        for order_id, statuses in self.reached.items():
            assert statuses <= {entry["status"] for entry in orders[order_id]["history"]}, "a 200 is lost"
        self._check_messages(orders)
        return ends

    def _check_messages(self, orders: dict[str, Any]) -> None:
        """Each message ever sent has brought its order to an end, is a dead letter that waits for people, or purged."""
        letters = [message.body for message in self.letters()]
        for message in self.queue.sent:
            assert self._is_done(message.body, orders) or message.body in letters or message.body in self.purged, (
                f"a message is lost: {message.body}"
            )
        for body in letters:
            assert not self._is_done(body, orders), f"a dead letter that could pass: {body}"

    @staticmethod
    def _is_done(body: str, orders: dict[str, Any]) -> bool:
        order = orders.get(order_id_in(body))
        return order is not None and quantities_of(exact_json.loads(body)) == quantities_of(order)

    # --- what is stored ---

    def _orders(self) -> dict[str, Any]:
        return {item["orderId"]: item for item in self.stage.items("ORDERS_TABLE")}

    def _status(self, order_id: str) -> str | None:
        order = self._orders().get(order_id)
        return str(order["status"]) if order else None

    def letters(self) -> list[Any]:
        return self.queue.held(self.stage["ORDER_DEAD_LETTERS"])

    def visible(self) -> bool:
        """Whether there is something to deliver."""
        now = self.world.clock()
        return any(message.visible_at <= now for message in self.queue.held(self.stage["ORDER_QUEUE"]))

    def overdue(self) -> bool:
        """Whether there is something to recover."""
        now = times.to_text(self.world.clock())
        return any(order.get("outboxDueAt", "9") <= now for order in self._orders().values())

    def is_early(self) -> bool:
        """Whether the order of the first release, which is as old as the world, may still be under way.

        That release had no provider but the simulation.
        """
        return not self.world.stripe and self.golden not in self.named and self.world.clock() < NOW + timedelta(days=1)

    def _age(self, message: Any) -> timedelta:
        age: timedelta = self.world.clock() - message.sent_at
        return age

    def _name(self, order_id: str) -> None:
        if order_id not in self.named:
            self.named.append(order_id)

    def _product(self, product_id: str) -> dict[str, Any]:
        return next(item for item in self.stage.items("INVENTORY_TABLE") if item["productId"] == product_id)

    def _set(self, order_id: str, name: str, value: str) -> None:
        self.stage.dynamodb.update_item(
            TableName=self.stage["ORDERS_TABLE"],
            Key={"orderId": {"S": order_id}},
            UpdateExpression="SET #name = :value",
            ExpressionAttributeNames={"#name": name},
            ExpressionAttributeValues={":value": {"S": value}},
        )

    def _delete(self, table: str, key: str) -> None:
        self.stage.dynamodb.delete_item(TableName=self.stage[table], Key={TABLE_KEYS[table]: {"S": key}})
