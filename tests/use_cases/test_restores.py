"""Money and stock are conserved over crashes, over tables restored to an earlier second, and over expired orders.

The payment provider's books are never restored: what they say has happened. Rounds by seed; ROUNDS (1 unless set) says
how many times over: `ROUNDS=20 make test ARGS="-k restored"`.
"""

import os
from typing import Any

import pytest

from chalicelib import exact_json
from chalicelib.deadline import NO_DEADLINE
from chalicelib.domain.idempotency import order_id_from_key
from chalicelib.entrypoints.api import place_order
from chalicelib.entrypoints.exchange import Request
from tests.support.aws_calls import Killed
from tests.support.conservation import SOLD, check_order
from tests.support.faults import Life
from tests.support.orders import ANYBODY, a_body, an_event
from tests.support.payments import TimesOut
from tests.support.stage import Stage
from tests.support.tables import Snapshot, forget_order, restore, snapshot_of, stock_in, stock_up
from tests.support.world import World

pytestmark = pytest.mark.usefixtures("quiet")

ROUNDS = int(os.environ.get("ROUNDS", "1"))
STOCK = 7
METHOD = "pm_1"
STEPS = {"place": 4, "produce": 2, "deliver": 6, "land": 1, "recover": 1, "message_comes_again": 3, "snapshot": 2}
"""How often each is chosen, beside `restore` and `expire`."""


class Restores:
    """Orders of one product, of the API and of a producer. Each message that was ever sent may come again at any time.

    `expired` has the items of orders that were deleted after their time to live: their goods and their money are gone.
    """

    def __init__(self, stage: Stage, seed: int, engine: str = "queue", provider: str = "simulated") -> None:
        self.stage = stage
        stock_up(stage, p1=STOCK)
        self.world = World(stage, f"restores {seed}", rate=0, engine=engine, provider=provider)
        if self.world.stripe:
            self.world.stripe.save(METHOD, "c1")
        self.chance = self.world.chance
        self.people, self.consumer = self.world.process(), self.world.process()
        self.consumer.provider.decline_percent = self.people.provider.decline_percent = 20
        self.snapshots: list[Snapshot] = [snapshot_of(stage)]
        self.produced: set[str] = set()
        self.expired: list[dict[str, Any]] = []
        self.again: set[str] = set()
        self.lost_charges = 0

    def life(self) -> Life:
        """One time in three it is cut off at one of its calls."""
        return Life(self.chance.randrange(12), self.chance.random() < 0.5) if self.chance.random() < 0.3 else Life()

    def run(self) -> None:
        steps = {**STEPS, "restore": 2, "expire": 1}
        for step in self.chance.choices([*steps], [*steps.values()], k=40):
            getattr(self, step)()
            self.check_payment_methods()
        self.everything_comes_to_an_end()
        self.check_payment_methods()

    def orders(self) -> dict[str, dict[str, Any]]:
        return {item["orderId"]: item for item in self.stage.items("ORDERS_TABLE")}

    def check_payment_methods(self) -> None:
        """An order has its payment method exactly until its charge is decided: so the provider gets no other.

        Unless it was lost, and created again by a message that was sent once it had been decided.
        """
        decided = {
            order["orderId"]
            for order in (exact_json.loads(message.body) for message in self.world.queue.sent)
            if "paymentMethod" not in order
        }
        for order_id, order in self.orders().items():
            expected = METHOD if order["status"] in ("PENDING", "RESERVED") else None
            assert order.get("paymentMethod") == expected or (order_id in decided and "paymentMethod" not in order)
        charged = self.consumer.payments.methods
        assert {method for order_id, method, _ in charged if order_id not in decided} <= {METHOD}

    def orders_of_messages(self) -> set[str]:
        return {exact_json.loads(message.body)["orderId"] for message in self.world.queue.sent}

    def place(self) -> None:
        """The process may die; the client repeats its request.

        Not for an order that only a message knows: two creations are two payments, and to find the first one among the
        provider's books is the operator's part of a restore (docs/deploying.md).
        """
        number = self.chance.randrange(5)
        key = f"key-{number}"
        order_id = order_id_from_key("c1", key)
        if order_id not in self.orders() and order_id in self.orders_of_messages() - self.again:
            return
        body = exact_json.dumps(a_body({"p1": 1 + number % 2}, customerId="c1", paymentMethod=METHOD)).encode()
        request = Request({"content-type": "application/json", "idempotency-key": key}, {}, body, "test")
        self.people.life = self.life()
        try:
            place_order(self.people.service, request)
        except Killed:
            self.people.life = Life()
            place_order(self.people.service, request)
        self.again.discard(order_id)

    def produce(self) -> None:
        order_id = f"ORD-{self.chance.randrange(5)}"
        if order_id not in self.produced:
            self.produced.add(order_id)
            event = an_event(order_id, {"p1": 1}, createdAt=None, customerId="c1", paymentMethod=METHOD)
            body = exact_json.dumps(event)
            self.world.queue.send_message(QueueUrl=self.stage["ORDER_QUEUE"], MessageBody=body)

    def deliver(self) -> None:
        """A batch; the process may die at any call, and the provider may not answer."""
        trouble = self.chance.choice([None, None, None, *TimesOut])
        self.consumer.life = self.life()
        self.consumer.payments.trouble = lambda *_: trouble
        self.world.machine.aborts_after = lambda: self.chance.choice([None, *range(6)])
        self.world.deliver(self.consumer, self.chance.randint(1, 4))
        self.consumer.life = Life()
        self.consumer.payments.over()
        self.world.machine.aborts_after = lambda: None
        self.world.clock.advance(seconds=61)

    def land(self) -> None:
        """What timed out takes effect after all."""
        self.consumer.payments.land()

    def recover(self) -> None:
        self.people.life = self.life()
        try:
            self.people.service.recovery.recover(NO_DEADLINE)
        except Killed:
            self.people.life = Life()

    def message_comes_again(self) -> None:
        if sent := self.world.queue.sent:
            self.world.queue.deliver_again(self.stage["ORDER_QUEUE"], self.chance.choice(sent))

    def snapshot(self) -> None:
        self.snapshots.append(snapshot_of(self.stage))

    def restore(self) -> None:
        before = self.orders()
        restore(self.stage, self.chance.choice(self.snapshots))
        self.lost_charges += sum(o["status"] in SOLD and n not in self.orders() for n, o in before.items())

    def expire(self) -> None:
        """All is quiet, the goods arrive, and three months pass. Nobody restores anything from before."""
        self.everything_comes_to_an_end()
        operations = self.people.service.operations
        for order_id in self.orders():
            operations.ship(order_id, None, None, ANYBODY)
            operations.deliver(order_id, ANYBODY)
        self.world.come_to_rest()
        self.world.clock.advance(days=92)
        now = self.world.clock().timestamp()
        gone = {n: o for n, o in self.orders().items() if "expiresAt" in o and int(str(o["expiresAt"])) < now}
        for order_id, order in gone.items():
            forget_order(self.stage, order_id)
            self.expired.append(order)
        self.again |= gone.keys()
        self.snapshots = [snapshot_of(self.stage)]
        # A producer's own message would be a dead letter now, for people.
        self.world.queue.sent = [message for message in self.world.queue.sent if message.attributes]

    def everything_comes_to_an_end(self) -> None:
        """Twenty days later, the most for a producer's, each message that was ever sent comes again.

        Then all is as the orders and the books say.
        """
        self.world.clock.advance(days=20)
        queue = self.stage["ORDER_QUEUE"]
        self.consumer.payments.land()
        for message in list(self.world.queue.sent):
            self.world.queue.deliver_again(queue, message)
        self.world.come_to_rest()
        orders, books = self.orders(), self.world.provider.books()
        assert orders.keys() >= self.orders_of_messages() - self.again, "an order is lost, though its message is not"
        for order in orders.values():
            check_order(order, books.get(str(order["paymentKey"])))
        for order in self.expired:
            assert bool(books[str(order["paymentKey"])].kept) == (order["status"] in SOLD)
        sold = [order for order in (*orders.values(), *self.expired) if order["status"] in SOLD]
        kept = {key for key, payment in books.items() if payment.kept}
        assert kept == {order["paymentKey"] for order in sold}, "one charge for each order that was sold, and no other"
        taken = sum(int(n) for order in sold for n in order["reserved"].values())
        assert stock_in(self.stage) == {"p1": STOCK - taken}


@pytest.mark.parametrize(
    ("engine", "provider", "seed"),
    [
        *(("queue", "simulated", n) for n in range(8 * ROUNDS)),
        *(("step-functions", "simulated", n) for n in range(5 * ROUNDS)),
        *(("queue", "stripe", n) for n in range(4 * ROUNDS)),
    ],
)
def test_money_and_stock_are_conserved_over_crashes_and_restored_tables(
    real_tables: Stage, engine: str, provider: str, seed: int
) -> None:
    restores = Restores(real_tables, seed, engine, provider)
    try:
        restores.run()
    finally:
        restores.world.close()
    assert restores.lost_charges + len(restores.expired), "too peaceful to show anything"
