"""Each creation of an order has a payment of its own, and no message can name the payment of another order."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import app as entry
from chalicelib import exact_json
from chalicelib.domain.outcomes import Declined
from chalicelib.domain.payment_key import fresh_payment_key
from chalicelib.use_cases.consuming import MessagesLeft
from tests.support.aws_calls import AwsCalls
from tests.support.events import Clock, FakeLambdaContext, sqs_event, sqs_event_received, sqs_record
from tests.support.faults import Life
from tests.support.orders import PRICE
from tests.support.payments import ConfirmsLate, TimesOut
from tests.support.providers import PROVIDERS, Simulated, Stripe, WorldsProvider
from tests.support.shop import STOCK, Shop, opened
from tests.support.stage import Stage
from tests.support.tables import books_in, forget_order

NOTHING = Decimal(0)


@pytest.fixture
def today(small_shop: Shop) -> Shop:
    """A shop whose clock shows the real time, as SQS's does."""
    small_shop.clock.now = datetime.now(UTC)
    return small_shop


@dataclass
class Paying:
    """A shop, and what it pays by."""

    shop: Shop
    provider: WorldsProvider

    def method(self) -> str | None:
        return self.provider.method("CUST-1")

    def payments(self) -> list[tuple[Decimal, Decimal, bool]]:
        """Of each payment: what was taken, what was given back, and whether it is closed."""
        return [(payment.taken, payment.given_back, payment.closed) for payment in self.provider.books().values()]


@pytest.fixture(params=PROVIDERS)
def paying(request: pytest.FixtureRequest, shop: Shop) -> Paying:
    if request.param == "simulated":
        return Paying(shop, Simulated(shop.stage))
    stripe = Stripe(shop.stage, shop.clock, random.Random(1))
    shop.payments.provider = stripe.payments(shop.stage.dynamodb, SimpleNamespace(life=Life()))
    return Paying(shop, stripe)


SOLD, GIVEN_BACK = (PRICE, NOTHING, False), (PRICE, PRICE, True)


def net(shop: Shop) -> Decimal:
    """What the provider's books say has been taken and not given back."""
    return sum((row["amount"] for row in books_in(shop.stage).values() if row["state"] == "CHARGED"), Decimal())


def receive(shop: Shop, body: object, sent_at: datetime, **attributes: str) -> None:
    """The consumer gets a message that was sent then."""
    text = body if isinstance(body, str) else exact_json.dumps(body)
    record = sqs_record(text, sent_at=sent_at, attributes=attributes)
    entry.order_consumer(sqs_event(record), FakeLambdaContext())


def placed(shop: Shop, key: str = "k1", **fields: Any) -> tuple[str, str, dict[str, str]]:
    """A new order that is CONFIRMED; its id, and the body and attributes of its message."""
    order_id = shop.place(shop.order("p1", **fields), key).order_id
    (message,) = shop.receive()
    assert shop.consume([message])
    assert shop.status(order_id) == "CONFIRMED"
    own = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    return order_id, message["Body"], own


# --- a payment for each creation ---


def test_a_key_used_again_after_its_order_was_deleted_is_a_new_order_with_a_charge_of_its_own(paying: Paying) -> None:
    shop = paying.shop
    order_id, *_ = placed(shop, paymentMethod=paying.method())
    shop.ship(order_id)
    shop.deliver(order_id)
    shop.drain()
    forget_order(shop.stage, order_id)

    assert shop.place(shop.order("p1", paymentMethod=paying.method()), "k1").order_id == order_id
    shop.drain()
    assert (shop.status(order_id), paying.payments()) == ("CONFIRMED", [SOLD, SOLD])


def test_the_key_is_in_the_item_and_in_the_message_and_nowhere_else(small_shop: Shop) -> None:
    shop = small_shop
    order_id, body, attributes = placed(shop)
    key = shop.stored(order_id)["paymentKey"]
    assert attributes == {"paymentKey": key}
    assert list(books_in(shop.stage)) == [key]
    events = [event["detail"] for event in shop.published()]
    for told in (body, shop.document(order_id), shop.cancel(order_id).json, events):
        assert key not in repr(told)


@pytest.mark.parametrize("lost", ["PENDING", "CONFIRMED"])
def test_an_order_that_a_restored_table_has_lost_is_created_again_on_the_same_payment(
    paying: Paying, lost: str
) -> None:
    shop = paying.shop
    order_id = shop.place(shop.order("p1", paymentMethod=paying.method()), "k1").order_id
    (message,) = shop.receive()
    key = shop.stored(order_id)["paymentKey"]
    if lost == "CONFIRMED":
        assert shop.consume([message])
        shop.set_product("p1", stock=STOCK)
    forget_order(shop.stage, order_id)
    assert shop.consume([message])
    assert (shop.status(order_id), shop.stored(order_id)["paymentKey"]) == ("CONFIRMED", key)
    assert (paying.payments(), shop.stock("p1")) == ([SOLD], STOCK - 1)
    assert any("order created again" in line for line in shop.lines)


def test_an_order_created_again_that_cannot_be_fulfilled_any_more_gets_its_money_back(paying: Paying) -> None:
    shop = paying.shop
    order_id, body, attributes = placed(shop, paymentMethod=paying.method())
    forget_order(shop.stage, order_id)
    shop.set_product("p1", stock=0)
    receive(shop, body, datetime.now(UTC), **attributes)
    assert (shop.status(order_id), paying.payments()) == ("FAILED", [GIVEN_BACK])


def test_a_message_of_a_producer_pays_once_though_its_order_was_lost_and_it_is_replayed(paying: Paying) -> None:
    """It carries no key; the one made of its id is the same on each receive, and after each replay."""
    shop = paying.shop
    record = sqs_record(exact_json.dumps(shop.event("ORD-1", "p1", paymentMethod=paying.method())))
    entry.order_consumer(sqs_event(record), FakeLambdaContext())
    forget_order(shop.stage, "ORD-1")
    shop.calls.refuse("InternalServerError", "PutItem", status=500, times=None)
    record["attributes"]["ApproximateReceiveCount"] = "14"
    entry.order_consumer(sqs_event(record), FakeLambdaContext())
    shop.calls.heal()
    assert shop.replay() == 1
    shop.drain()
    assert (shop.status("ORD-1"), paying.payments()) == ("CONFIRMED", [SOLD])


# --- messages of long ago ---


@pytest.mark.parametrize(("days", "outdated"), [(90, False), (91, True)])
def test_a_message_of_an_order_that_is_gone_counts_as_long_as_orders_are_kept(
    today: Shop, days: int, outdated: bool
) -> None:
    order_id, body, attributes = placed(today)
    forget_order(today.stage, order_id)
    receive(today, body, today.clock() - timedelta(days=days, minutes=-1), **attributes)
    assert len(today.orders()) == (not outdated)
    assert (today.metrics["MessagesOutdated"], today.dead_letters()) == (outdated, [])
    assert any("message outdated" in line for line in today.lines) == outdated


def test_where_orders_are_kept_forever_no_message_is_outdated(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> None:
    with opened(aws, aws_calls, clock, settings={"ORDER_TTL_DAYS": "0"}) as shop:
        order_id, body, attributes = placed(shop)
        forget_order(shop.stage, order_id)
        receive(shop, body, shop.clock() - timedelta(days=5000), **attributes)
        assert (shop.status(order_id), net(shop)) == ("CONFIRMED", PRICE)


def test_what_a_message_carries_survives_every_quarantine_and_replay(today: Shop) -> None:
    order_id = today.place(today.order("p1"), "k1").order_id
    key = today.stored(order_id)["paymentKey"]
    forget_order(today.stage, order_id)
    first: datetime | None = None
    for _ in range(3):
        (message,) = today.receive()
        message["Attributes"]["ApproximateReceiveCount"] = "14"
        today.calls.refuse("InternalServerError", status=500, times=None, when=lambda call: call.service == "dynamodb")
        assert today.consume([message])
        today.calls.heal()
        (letter,) = today.service.dead_letters.replay_all(100)
        first = first or letter.first_sent_at
        assert (letter.origin["paymentKey"], letter.first_sent_at) == (key, first)
    today.clock.advance(days=90, seconds=30)
    today.drain()
    assert (today.orders(), today.metrics["MessagesOutdated"]) == ([], 1)


@pytest.mark.parametrize(("days", "kept"), [(21, False), (22, True)])
def test_a_producers_message_that_is_older_than_any_order_can_be_deleted_is_for_people(
    today: Shop, days: int, kept: bool
) -> None:
    body = today.event("ORD-1", "p1")
    receive(today, body, today.clock() - timedelta(days=days) + timedelta(minutes=1))
    assert (len(today.orders()), len(letters := today.dead_letters())) == ((0, 1) if kept else (1, 0))
    assert all(letter["reason"] == "older than 21 days, and without a payment key" for letter in letters)


def test_a_message_of_an_earlier_order_with_this_id_is_done_and_not_a_conflict(shop: Shop) -> None:
    order_id, body, attributes = placed(shop, quantity=2)
    forget_order(shop.stage, order_id)
    shop.place(shop.order("p1", 1), "k1")
    shop.drain()
    before = shop.stored(order_id)
    receive(shop, body, datetime.now(UTC), **attributes)
    assert (shop.stored(order_id), shop.dead_letters(), shop.metrics["MessagesOutdated"]) == (before, [], 1)


def test_an_outdated_message_does_not_speak_for_a_young_one_of_the_same_batch(today: Shop) -> None:
    order_id, body, attributes = placed(today)
    forget_order(today.stage, order_id)
    long_ago = today.clock() - timedelta(days=100)
    old = sqs_record(body, sent_at=long_ago, attributes={"paymentKey": fresh_payment_key(order_id)})
    today.produce(body, attributes=attributes)
    (young,) = sqs_event_received(today.receive())["Records"]
    with pytest.raises(MessagesLeft):
        entry.order_consumer(sqs_event(old, young), FakeLambdaContext())
    today.come_again()
    today.drain()
    assert (today.status(order_id), today.metrics["MessagesOutdated"]) == ("CONFIRMED", 1)


# --- messages of others ---

ATTEMPT = count()
FOREIGN = st.tuples(
    st.sampled_from(["the victim's id", "an own id"]),
    st.sampled_from(["the victim's key", "a key of the same id", "an own key", "none", "nonsense", "", "."]),
    st.integers(1, 3),
    st.booleans(),
)


@given(messages=st.lists(FOREIGN, min_size=1, max_size=5), gone=st.booleans())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_foreign_message_moves_the_money_of_another_order(
    small_shop: Shop, messages: list[tuple[str, str, int, bool]], gone: bool
) -> None:
    """Whatever payment key it carries; also if the other order is deleted, and if its own order is cancelled.

    `gone` and the other's own id is the producer's own affair: then it is the same order, or a later one.
    """
    shop, attempt = small_shop, next(ATTEMPT)
    victim, *_ = placed(shop, f"victim-{attempt}")
    item = shop.stored(victim)
    key = item["paymentKey"]
    row = books_in(shop.stage)[key]
    if gone:
        forget_order(shop.stage, victim)
    for n, (named, carried, units, cancelled) in enumerate(messages):
        order_id = victim if named == "the victim's id" and not gone else f"FOREIGN-{attempt}-{n}"
        keys = {
            "the victim's key": key,
            "a key of the same id": fresh_payment_key(victim),
            "an own key": fresh_payment_key(order_id),
            "none": None,
        }
        attribute = keys.get(carried, carried)
        body = shop.event(order_id, "p1", units)
        receive(shop, body, shop.clock(), **({"paymentKey": attribute} if attribute is not None else {}))
        if cancelled and order_id != victim:
            shop.cancel(order_id)
    shop.drain()
    assert books_in(shop.stage)[key] == row
    if not gone:
        assert shop.stored(victim) == item
    shop.dead_letters()
    shop.set_product("p1", stock=STOCK)


# --- refunds ---


def test_a_declined_order_is_closed_so_that_a_late_confirmation_cannot_charge_it(small_shop: Shop) -> None:
    shop = small_shop
    late = ConfirmsLate(shop.provider)
    shop.payments.provider = late
    order_id = shop.place(shop.order("p1"), "k1").order_id
    shop.drain()
    assert shop.status(order_id) == "FAILED"
    assert isinstance(late.confirm(), Declined)
    assert net(shop) == NOTHING


def test_a_decline_whose_payment_is_not_known_to_be_closed_is_asked_about_again(small_shop: Shop) -> None:
    shop = small_shop
    late = ConfirmsLate(shop.provider)
    shop.payments.provider = late
    shop.payments.on("refund", TimesOut.BEFORE)
    order_id = shop.place(shop.order("p1"), "k1").order_id
    assert shop.run_queue() == 1
    late.confirm()
    assert (shop.status(order_id), shop.has_entry(order_id), net(shop)) == ("FAILED", True, PRICE)
    shop.come_again()
    shop.drain()
    assert (shop.has_entry(order_id), shop.ledger()[order_id], net(shop)) == (False, "REFUNDED", NOTHING)
