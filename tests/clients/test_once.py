"""One order, always: the clients place orders on the laptop stack, through a proxy that drops, cuts and delays.

What is asked of the laptop stack afterwards is asked without the clients.
"""

import json
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clients.callers import EVERYBODY, Caller, Client, InPython, Outcome
from tests.clients.orders import PATIENT, an_order, stored
from tests.support.laptop import Laptop
from tests.support.lossy_proxy import BUSY, LIMITED, Step, Trouble, lossy_proxy
from tests.support.waiting import until

TROUBLES: list[Step] = [*(trouble for trouble in Trouble if trouble is not Trouble.NONE), BUSY, LIMITED]
SCHEDULES = st.lists(st.sampled_from(TROUBLES), max_size=6)
KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)


def placed_once(
    laptop: Laptop, client: Client, schedule: Sequence[Step], key: str | None = None, caller: Caller = EVERYBODY
) -> None:
    """Place an order while this happens. However it goes, there is one order, and every answer is the same bytes."""
    order = an_order()
    with lossy_proxy(laptop.api, schedule) as proxy:
        placed = client.call(proxy.url, "place", order, key, caller=caller, options=PATIENT).result
    orders = [one["orderId"] for one in stored(laptop, order["customerId"])]
    assert orders == [placed["order"]["orderId"]], f"{len(orders)} orders"
    assert set(proxy.answers) == {json.dumps(placed["order"], default=float).encode()}
    assert len(proxy.received) >= len(schedule) + 1
    assert len(set(proxy.keys)) == 1
    assert len({request.body for request in proxy.received}) == 1
    assert key in (None, placed["key"])


@settings(max_examples=25)
@given(schedule=SCHEDULES, key=st.none() | KEYS)
def test_one_order_whatever_the_network_does(laptop: Laptop, schedule: list[Step], key: str | None) -> None:
    placed_once(laptop, InPython(), schedule, key)


@pytest.mark.parametrize("seed", range(5))
def test_one_order_by_either_client(laptop: Laptop, client: Client, seed: int) -> None:
    random = Random(seed)
    placed_once(laptop, client, random.choices(TROUBLES, k=random.randint(1, 5)))


@pytest.mark.parametrize("trouble", [Trouble.LOST, Trouble.HALF, Trouble.LATE])
def test_a_client_that_made_a_key_for_each_try_would_be_found(laptop: Laptop, client: Client, trouble: Trouble) -> None:
    with pytest.raises(AssertionError, match="2 orders"):
        placed_once(laptop, client, [trouble], caller=Caller(forgetful=True))


def went_on(laptop: Laptop, client: Client, schedule: Sequence[Step]) -> None:
    """Give up after the last trouble, and go on later with the key of the failure: that is one order."""
    order = an_order()
    with lossy_proxy(laptop.api, schedule) as proxy:
        options = PATIENT | {"tries": len(schedule)}
        failed = client.call(proxy.url, "place", order, options=options).failed
    assert failed
    assert len(proxy.received) == len(schedule)
    again = client.call(laptop.api, "place", order, failed["key"]).result
    assert again["key"] == failed["key"]
    assert [one["orderId"] for one in stored(laptop, order["customerId"])] == [again["order"]["orderId"]]
    assert again["replayed"] == bool(proxy.answers)


@settings(max_examples=15)
@given(schedule=SCHEDULES.filter(bool))
def test_a_call_that_gave_up_goes_on_with_the_key_of_its_failure(laptop: Laptop, schedule: list[Step]) -> None:
    went_on(laptop, InPython(), schedule)


@pytest.mark.parametrize("schedule", [[Trouble.DROPPED], [Trouble.SLOW], [Trouble.LOST, BUSY]])
def test_either_client_goes_on_with_the_key_of_its_failure(
    laptop: Laptop, client: Client, schedule: list[Step]
) -> None:
    went_on(laptop, client, schedule)


@pytest.mark.parametrize("seed", range(3))
def test_customers_at_the_same_time_have_each_order_once(laptop: Laptop, seed: int) -> None:
    random, client = Random(seed), InPython()
    orders = [an_order() for _ in range(12)]
    customers = [order["customerId"] for order in orders]
    with lossy_proxy(laptop.api, random.choices([Trouble.NONE, Trouble.NONE, *TROUBLES], k=60)) as proxy:

        def buy_and_cancel(order: dict[str, Any]) -> None:
            first = place(order)
            assert place(order)["order"]["orderId"] != first["order"]["orderId"]  # a key for each purchase
            assert place(order, first["key"])["order"] == first["order"]
            assert done("cancel", first["order"]["orderId"])["status"] == "CANCELLED"

        def place(*given: Any) -> Any:
            return done("place", *given)

        def done(*given: Any) -> Any:
            return client.call(proxy.url, *given, options=PATIENT).result

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(buy_and_cancel, orders))
    for customer in customers:
        cancelled = [order["status"] == "CANCELLED" for order in stored(laptop, customer)]
        assert sorted(cancelled) == [False, True]


def test_every_other_call_is_repeated_too(laptop: Laptop, client: Client) -> None:
    order = an_order()
    customer = order["customerId"]

    def after_troubles(method: str, *given: Any) -> Any:
        with lossy_proxy(laptop.api, [Trouble.LOST, BUSY, Trouble.HALF, Trouble.DROPPED]) as proxy:
            outcome: Outcome = client.call(proxy.url, method, *given, options=PATIENT)
        assert len(proxy.received) >= 5
        return outcome.result

    placed = after_troubles("place", order, "bought")
    order_id = placed["order"]["orderId"]
    until(lambda: stored(laptop, customer)[0]["status"] == "CONFIRMED")
    assert after_troubles("get", order_id)["status"] == "CONFIRMED"
    assert after_troubles("ship", order_id, "DHL", "1Z/9")["trackingNumber"] == "1Z/9"
    assert after_troubles("ship", order_id)["carrier"] == "DHL"
    assert after_troubles("deliver", order_id)["status"] == "DELIVERED"
    assert after_troubles("find", customer, "bought") == {
        "idempotencyKey": "bought",
        "used": True,
        "orderId": order_id,
        "status": "DELIVERED",
    }
    second = client.call(laptop.api, "place", order).result["order"]["orderId"]
    assert after_troubles("cancel", second, "too many")["status"] == "CANCELLED"
    assert after_troubles("get", second)["history"][-1]["reason"] == "too many"
    assert [one["orderId"] for one in after_troubles("orders", customer)] == [second, order_id]


def test_every_page_is_followed(laptop: Laptop, client: Client) -> None:
    order = an_order()
    customer = order["customerId"] = f"Zoë&Söhne+a@b:(c) {uuid.uuid4()}".replace(" ", "~")
    placed = [InPython().call(laptop.api, "place", order).result["order"]["orderId"] for _ in range(5)]
    for limit in (1, 2, 5):
        with lossy_proxy(laptop.api, [Trouble.NONE, Trouble.LOST, BUSY, Trouble.NONE, Trouble.HALF]) as proxy:
            listed = client.call(proxy.url, "orders", customer, limit, options=PATIENT).result
        assert [one["orderId"] for one in listed] == placed[::-1]
    assert client.call(laptop.api, "orders", "nobody").result == []


def test_a_key_may_have_every_visible_character(laptop: Laptop, client: Client) -> None:
    order = an_order()
    key = "".join(map(chr, range(0x21, 0x7F)))
    placed = client.call(laptop.api, "place", order, key).result
    assert placed["key"] == key
    found = client.call(laptop.api, "find", order["customerId"], key).result
    assert (found["idempotencyKey"], found["orderId"]) == (key, placed["order"]["orderId"])
    assert client.call(laptop.api, "find", order["customerId"], key[1:]).result["used"] is False
