"""One order's trouble is its own: the others of its batch, and of a replay, go on."""

import time
from decimal import Decimal

import pytest

from chalicelib.adapters.queues import SqsQueue
from chalicelib.entrypoints.replays import replay_dead_letters
from tests.support.shop import Shop


def test_an_invalid_stock_row_costs_the_other_orders_nothing(small_shop: Shop) -> None:
    good = small_shop.place(small_shop.order("PROD-001"), "good").order_id
    bad = small_shop.place(small_shop.order("PROD-002"), "bad").order_id
    small_shop.set_product("PROD-002", stock=Decimal("0.5"))
    small_shop.run_queue()
    assert small_shop.status(good) == "CONFIRMED"
    assert small_shop.stored(bad)["failureReason"] == "OUT_OF_STOCK"


def test_a_replay_meets_each_dead_letter_once_however_soon_it_comes_back(
    small_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shop.produce("no json")
    small_shop.run_queue()
    letters = small_shop.service.dead_letters
    send = type(letters.order_queue).send
    sent: list[str] = []

    def and_the_consumer_is_quick(queue: SqsQueue, body: str, attributes: dict[str, str]) -> None:
        send(queue, body, attributes)
        if queue.url == letters.order_queue.url:
            sent.append(body)
            time.sleep(0.002)
            small_shop.run_queue()

    monkeypatch.setattr(type(letters.order_queue), "send", and_the_consumer_is_quick)
    time.sleep(0.002)
    assert replay_dead_letters(small_shop.service, {})["replayed"] == 1
    assert sent == ["no json"]
