"""Races, on a real engine with real threads: whatever the interleaving, one order, one reservation, one end.

Rounds are seeded; a failure names its seed.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chalicelib import api, exact_json, telemetry
from chalicelib.consumer import MessagesLeft
from chalicelib.deadline import NO_DEADLINE
from tests.support.aws_calls import AwsCalls
from tests.support.events import Clock, sqs_event_received
from tests.support.shop import Shop, killed, opened
from tests.support.stage import Stage

ENDED = {"CONFIRMED", "FAILED", "CANCELLED"}


@pytest.fixture
def shop(real_aws: Stage, aws_calls: AwsCalls, clock: Clock) -> Iterator[Shop]:
    with opened(real_aws, aws_calls, clock, patient=True) as shop:
        yield shop


def at_once(count: int, action: Callable[[int], Any]) -> list[Any]:
    """Do it in as many threads, which begin together."""
    together = threading.Barrier(count)

    def begin(n: int) -> Any:
        together.wait()
        return action(n)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def ask(shop: Shop, order: dict[str, Any], key: str | None) -> api.Answer:
    """POST /orders as the API has it, without Chalice's test client, which is for one thread."""
    headers = {"content-type": "application/json", **({"idempotency-key": key} if key else {})}
    request = api.Request(headers, {}, exact_json.dumps(order).encode(), "corr")
    with telemetry.invocation():
        return api.place_order(shop.service, request)


def consume_in_thread(shop: Shop, messages: list[Any]) -> bool:
    """The consumer without Chalice; what it raises for stays on the queue."""
    try:
        with telemetry.invocation():
            shop.service.consumer.consume(sqs_event_received(messages)["Records"], NO_DEADLINE)
    except MessagesLeft:
        return False
    for message in messages:
        shop.stage.delete("ORDER_QUEUE", message)
    return True


# --- 200 requests at once ---


@pytest.mark.parametrize("key", ["k1", None], ids=["with one key", "without a key"])
def test_two_hundred_equal_requests_at_once_are_one_order_and_two_hundred_equal_answers(
    shop: Shop, key: str | None
) -> None:
    shop.warm_up()
    answers = at_once(200, lambda _: ask(shop, shop.order(), key))

    assert {answer.status for answer in answers} == {201}
    assert len({answer.body for answer in answers}) == 1
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert (len(shop.orders()), len(shop.messages())) == (1, 1)
    shop.run_queue()
    assert (shop.statuses(), shop.stock()) == ({"CONFIRMED": 1}, 499)


@pytest.mark.parametrize("seed", range(3))
def test_a_lost_answer_among_many_equal_requests_is_still_one_first_at_most(shop: Shop, seed: int) -> None:
    shop.warm_up()
    shop.calls.lose_answer("PutItem", nth=random.Random(seed).randint(1, 4), times=2)
    answers = at_once(16, lambda _: ask(shop, shop.order(), "k1"))
    assert len({answer.body for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert (len(shop.orders()), len(shop.messages())) == (1, 1)


def test_of_unlike_orders_at_once_under_one_key_one_stands_and_the_others_are_told(shop: Shop) -> None:
    shop.warm_up()

    def place(n: int) -> str:
        outcome = shop.place_directly(shop.order(quantity=1 + n % 4), "k1")
        return type(outcome).__name__

    outcomes = Counter(at_once(32, place))
    assert outcomes == {"Placed": 1, "Replayed": 7, "KeyReused": 24}
    assert (len(shop.orders()), len(shop.messages())) == (1, 1)


def test_many_at_once_after_an_order_without_a_key_was_given_up_are_one_new_order(shop: Shop) -> None:
    first = shop.place().order_id
    shop.change_stored(first, status="FAILED")
    shop.lose_messages()
    answers = at_once(32, lambda _: ask(shop, shop.order(), None))
    assert len({answer.body for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert (len(shop.orders()), len(shop.messages())) == (2, 1)


# --- one hot product ---


@pytest.mark.parametrize("seed", range(6))
def test_fifty_orders_of_a_stock_of_thirty_end_as_thirty_confirmed_and_twenty_failed(shop: Shop, seed: int) -> None:
    dice = random.Random(seed)
    shop.set_product("PROD-001", stock=30)
    # Each is sent twice: a client retries.
    requests = [(shop.order(customerId=f"C{n}"), f"k{n}") for n in range(50)] * 2
    dice.shuffle(requests)
    all_placed = threading.Event()

    def client(n: int) -> None:
        for order, key in requests[n::6]:
            ask(shop, order, key)

    def consumer(n: int) -> None:
        sizes = random.Random(f"{seed} {n}")
        while not all_placed.is_set():
            if messages := shop.stage.receive("ORDER_QUEUE", limit=sizes.randint(1, 10)):
                consume_in_thread(shop, messages)

    with ThreadPoolExecutor(10) as pool:
        consumers = [pool.submit(consumer, n) for n in range(4)]
        for placed in [pool.submit(client, n) for n in range(6)]:
            placed.result()
        all_placed.set()
        for finished in consumers:
            finished.result()
    _to_the_end(shop)

    assert (shop.statuses(), shop.stock()) == ({"CONFIRMED": 30, "FAILED": 20}, 0)
    assert {order["failureReason"] for order in shop.orders() if order["status"] == "FAILED"} == {"OUT_OF_STOCK"}


def _to_the_end(shop: Shop) -> None:
    """What is left of the queue, and what recover finds, until every order has ended."""
    for _ in range(20):
        shop.run_queue()
        if shop.statuses().keys() <= ENDED:
            return
        shop.recover_later(hours=7)
    raise AssertionError(f"not all orders came to an end: {shop.statuses()}")


# --- delivered more than once ---


def _end_state(shop: Shop) -> tuple[dict[str, int], int, int]:
    return dict(shop.statuses()), shop.stock(), shop.stock("PROD-100")


@pytest.mark.parametrize("seed", range(6))
def test_every_message_delivered_three_times_in_random_order_is_as_good_as_once(shop: Shop, seed: int) -> None:
    dice = random.Random(seed)
    shop.set_product("PROD-001", stock=8)
    for n in range(12):
        shop.place(shop.order(customerId=f"C{n}"), f"k{n}")
    shop.produce(*(shop.event(f"ORD-{n}", "PROD-100", 6) for n in range(6)))
    deliveries = [message for message in shop.stage.receive_all("ORDER_QUEUE") for _ in range(3)]
    dice.shuffle(deliveries)

    batches: list[list[Any]] = []
    while deliveries:
        size = dice.randint(1, 10)
        batches.append([dict(m, MessageId=f"{len(batches)}-{i}") for i, m in enumerate(deliveries[:size])])
        del deliveries[:size]
    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(lambda batch: consume_in_thread(shop, batch), batches))

    assert _end_state(shop) == ({"CONFIRMED": 8 + 4, "FAILED": 4 + 2}, 0, 1)
    for order in shop.orders():
        path = [entry["status"] for entry in order["history"]]
        assert path in (["PENDING", "RESERVED", "CONFIRMED"], ["PENDING", "FAILED"]), path


# --- killed anywhere ---


@pytest.mark.parametrize("moment", ["kill_before", "kill_after"])
@pytest.mark.parametrize("producers", [False, True], ids=["orders of the API", "orders of a producer"])
def test_killed_at_any_of_its_calls_and_its_messages_lost_the_orders_come_to_their_end(
    shop: Shop, moment: str, producers: bool
) -> None:
    """A producer's message that is lost before its order is created is the producer's to send again."""
    shop.set_product("PROD-100", stock=4)
    died, nth = True, 0
    while died:
        nth += 1
        assert nth < 60, "it never gets through"
        before = shop.stock()
        if producers:
            events = [shop.event(f"ORD-{nth}-{n}") for n in range(2)] + [shop.event(f"SHORT-{nth}", "PROD-100", 5)]
            shop.produce(*events)
        else:
            for n in range(2):
                shop.place(shop.order(customerId=f"C{n}"), f"k{nth}")
            shop.place(shop.order("PROD-100", 5, customerId="C2"), f"k{nth}")
        messages = shop.receive()
        getattr(shop.calls, moment)(nth=nth)
        died = killed(lambda batch=messages: shop.consume(batch))  # type: ignore[misc]
        shop.calls.revive()
        shop.lose_messages()
        if producers:
            created = {order["orderId"] for order in shop.orders()}
            shop.produce(*(event for event in events if event["orderId"] not in created))

        shop.recover_later(hours=7)
        shop.run_queue()

        assert (shop.statuses(), before - shop.stock()) == ({"CONFIRMED": 2 * nth, "FAILED": nth}, 2), nth
        assert shop.stock("PROD-100") == 4
    assert nth > 4, "there was hardly a call to be killed at"


@pytest.mark.parametrize("moment", ["kill_before", "kill_after"])
def test_placing_killed_at_any_of_its_calls_leaves_one_order_at_most_and_the_retry_makes_it_one(
    shop: Shop, moment: str
) -> None:
    for key in ("k", None):
        died, nth = True, 0
        while died:
            nth += 1
            order = shop.order(customerId=f"{key}-{nth}")
            getattr(shop.calls, moment)(nth=nth)
            died = killed(lambda order=order, key=key: shop.post(order, key))  # type: ignore[misc]
            shop.calls.revive()
            shop.place(order, key)
            shop.recover_later()
            shop.run_queue()
            mine = [o["status"] for o in shop.orders() if o["customerId"] == order["customerId"]]
            assert mine == ["CONFIRMED"], nth
        assert nth > 2


@pytest.mark.parametrize("seed", range(2))
def test_with_crashes_and_lost_messages_everywhere_each_order_ends_once(shop: Shop, seed: int) -> None:
    """A storm: clients retry until they get an answer, consumers die at random, and messages are lost with them."""
    dice = random.Random(seed)
    shop.set_product("PROD-001", stock=15)
    for n in range(20):
        order, key = shop.order(customerId=f"C{n}"), f"k{n}"
        if dice.random() < 0.3:
            getattr(shop.calls, dice.choice(["kill_before", "kill_after"]))(nth=dice.randint(1, 2))
            killed(lambda order=order, key=key: shop.post(order, key))  # type: ignore[misc]
            shop.calls.revive()
        shop.place(order, key)
        if dice.random() < 0.5 and (messages := shop.receive()):
            getattr(shop.calls, dice.choice(["kill_before", "kill_after"]))(nth=dice.randint(1, 6))
            killed(lambda batch=messages: shop.consume(batch))  # type: ignore[misc]
            shop.calls.revive()
            if dice.random() < 0.5:
                shop.lose_messages()
        shop.clock.advance(seconds=dice.choice([0, 30, 90]))
        shop.recover()
    _to_the_end(shop)

    assert (shop.statuses(), shop.stock()) == ({"CONFIRMED": 15, "FAILED": 5}, 0)
    assert sorted(order["customerId"] for order in shop.orders()) == sorted(f"C{n}" for n in range(20))
