"""A dependency is away for minutes or hours, on a virtual clock: every order ends, and no person is needed."""

from collections.abc import Callable

import pytest

from chalicelib import exact_json
from chalicelib.deadline import NO_DEADLINE
from chalicelib.faults import Unavailable
from tests.support.conservation import check_conserved
from tests.support.faults import Life
from tests.support.payments import TimesOut
from tests.support.stage import Stage
from tests.support.world import Process, World, ask, check_events, check_messages, produce, world_of

STOCK = {"p1": 1000}
DYNAMODB = {"put_item", "update_item", "transact_write_items", "get_item", "batch_get_item", "query"}
SQS = {"send_message", "send_message_batch", "delete_message_batch", "change_message_visibility_batch"}
AWAY: dict[str, Callable[[str], bool]] = {
    "DynamoDB": lambda call: call in DYNAMODB,
    "SQS": lambda call: call in SQS,
    "EventBridge": lambda call: call == "put_events",
    "the payment provider": lambda call: call.startswith("stripe "),
    "everything": lambda _: True,
}


class Outage:
    """An hour or two of a stage. Each minute the schedule fires and the queue is polled, as far as they work."""

    def __init__(self, world: World, away: str, batch_size: int = 10) -> None:
        self.world, self.away, self.batch_size = world, away, batch_size
        self.process: Process = world.process()
        self.orders: set[str] = set()

    def begin(self) -> None:
        self.process.life = Life(spoils=lambda call: "dropped" if AWAY[self.away](call) else None)
        if self.away in ("the payment provider", "everything") and not self.world.stripe:
            self.process.payments.trouble = lambda *_: TimesOut.BEFORE

    def end(self) -> None:
        self.process.life = Life()
        self.process.payments.over()

    @property
    def queue_works(self) -> bool:
        return not AWAY[self.away]("send_message") or self.process.life.spoils("send_message") is None

    def minute(self) -> None:
        self.world.clock.advance(minutes=1)
        try:
            self.process.service.recovery.recover(NO_DEADLINE)
        except Unavailable:
            assert not self.is_quiet(), "nothing is away any more"
        if self.queue_works:
            while self.world.deliver(self.process, self.batch_size):
                pass

    def is_quiet(self) -> bool:
        """Everything works, and nothing is left to do."""
        healthy = self.process.life.spoils("query") is None
        items = self.world.stage.items("ORDERS_TABLE")
        return healthy and not self.world.queue.waiting() and not any("outboxDueAt" in item for item in items)

    def place(self, number: int) -> None:
        """A client and a producer; a client that gets no 2xx gives up."""
        try:
            answer = ask(self.process, f"key-{number}", {"p1": 1})
            self.orders.add(exact_json.loads(answer.body)["orderId"])
        except Unavailable:
            pass
        if self.queue_works:
            produce(self.world, f"ORD-{number}", {"p1": 2})
            self.orders.add(f"ORD-{number}")


@pytest.mark.parametrize(
    ("away", "minutes", "batch_size", "provider"),
    [
        *((away, minutes, 10, "simulated") for away in AWAY for minutes in (2, 90)),
        *(("everything", minutes, 100, "simulated") for minutes in (2, 90)),
        ("the payment provider", 2, 10, "stripe"),
        ("everything", 90, 10, "stripe"),
    ],
)
def test_every_order_ends_after_an_outage_without_anybody(
    real_tables: Stage, away: str, minutes: int, batch_size: int, provider: str
) -> None:
    with world_of(real_tables, away, STOCK, rate=0, provider=provider) as world:
        outage = Outage(world, away, batch_size)
        outage.place(0)
        outage.begin()
        for number in range(12 if batch_size > 10 else 0):
            if outage.queue_works:
                produce(world, f"ORD-more-{number}", {"p1": 1})
                outage.orders.add(f"ORD-more-{number}")
        for minute in range(minutes):
            if minute % 30 == 1:
                outage.place(minute)
            outage.minute()
        outage.end()
        outage.place(minutes)
        for _ in range(8 * 60):
            if outage.is_quiet():
                break
            outage.minute()
        assert outage.is_quiet()
        ended = check_conserved(real_tables, STOCK, books=world.provider.books())
        assert set(ended) == {"CONFIRMED"}
        assert outage.orders <= {item["orderId"] for item in real_tables.items("ORDERS_TABLE")}
        check_events(world)
        check_messages(world)
