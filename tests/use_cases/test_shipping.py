"""Carrier and tracking number: said with the shipment or later, as often as one likes, and never changed."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.order import Status
from chalicelib.use_cases.operations import OperationResult, Reached, ShipmentDiffers
from tests.support.aws_calls import AwsCalls
from tests.support.customer import Reply
from tests.support.events import Clock
from tests.support.orders import ANYBODY, standing
from tests.support.shop import Shop, opened
from tests.support.stage import Stage
from tests.support.tables import store

NAMES = ("carrier", "trackingNumber")
details = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["a", "b"]), max_size=2)
steps = st.lists(st.one_of(details, details, st.just("deliver")), min_size=2, max_size=6)


@dataclass
class Expected:
    """What must be true of one order."""

    status: str = "CONFIRMED"
    details: dict[str, str] = field(default_factory=dict)

    def ship(self, said: dict[str, str]) -> bool:
        """Whether it is possible; if so, it has happened."""
        if any(self.details.get(name, value) != value for name, value in said.items()):
            return False
        self.details |= said
        self.status = "SHIPPED" if self.status == "CONFIRMED" else self.status
        return True

    def deliver(self) -> bool:
        possible = self.status != "CONFIRMED"
        self.status = "DELIVERED" if possible else self.status
        return possible


def shown(document: Any) -> dict[str, str]:
    return {name: document[name] for name in NAMES if name in document}


def test_details_are_filled_in_once_and_kept_whatever_is_shipped_and_delivered_in_whatever_order(
    small_shop: Shop,
) -> None:
    shop = small_shop

    @settings(max_examples=25)
    @given(steps)
    def check(sequence: list[Any]) -> None:
        store(shop.stage, standing(Status.CONFIRMED))
        expected, after = Expected(), shop.stored("o1")
        for step in sequence:
            before, was = after, expected.status
            shop.clock.advance(seconds=1)
            if step == "deliver":
                possible, reply = expected.deliver(), shop.deliver("o1")
            else:
                possible, reply = expected.ship(step), shop.ship("o1", **step)
            after = shop.stored("o1")
            assert reply.status == (200 if possible else 409), reply
            if not possible and step != "deliver":
                assert reply.kind == "shipment-differs"
                assert shown(reply.json) == expected.details
            if possible:
                assert shown(reply.json) == expected.details
            assert (after["status"], shown(after)) == (expected.status, expected.details)
            if was == expected.status:  # no transition: nothing changes but what was missing
                assert after == before | shown(after)
        path = ["PENDING", "RESERVED", "CONFIRMED", "SHIPPED", "DELIVERED"]
        assert shop.path("o1") == path[: path.index(expected.status) + 1]

    check()


def stored(shop: Shop, status: Status, **fields: Any) -> None:
    store(shop.stage, standing(status, **fields))
    shop.calls.forget()


@pytest.mark.parametrize("status", [Status.SHIPPED, Status.DELIVERED])
def test_of_two_who_fill_in_different_values_one_wins_and_the_other_is_told(shop: Shop, status: Status) -> None:
    stored(shop, status, carrier="ACME")
    inner: list[Reply] = []
    shop.calls.meanwhile(lambda: inner.append(shop.ship("o1", trackingNumber="1")), "UpdateItem")
    second = shop.ship("o1", trackingNumber="2")
    assert (inner[0].status, inner[0].json["trackingNumber"]) == (200, "1")
    assert (second.status, second.kind) == (409, "shipment-differs")
    assert (second.json["orderStatus"], second.json["trackingNumber"]) == (status, "1")
    assert "trackingNumber" in second.json["detail"]
    assert shop.document("o1")["trackingNumber"] == "1"


def test_two_who_fill_in_the_same_or_different_details_both_succeed(shop: Shop) -> None:
    for order_id, theirs, mine in (("o1", {"carrier": "ACME"}, {"carrier": "ACME"}), ("o2", NAMED, OTHER)):
        store(shop.stage, standing(Status.SHIPPED, order_id))
        shop.calls.meanwhile(lambda o=order_id, t=theirs: shop.ship(o, **t), "UpdateItem")  # type: ignore[misc]
        assert shop.ship(order_id, **mine).status == 200
        assert shown(shop.document(order_id)) == theirs | mine


NAMED, OTHER = {"carrier": "ACME"}, {"trackingNumber": "1"}


def test_details_come_though_the_order_is_delivered_in_between(shop: Shop) -> None:
    stored(shop, Status.SHIPPED)
    shop.calls.meanwhile(lambda: shop.deliver("o1"), "UpdateItem")
    reply = shop.ship("o1", carrier="ACME")
    assert (reply.status, reply.json["status"], reply.json["carrier"]) == (200, "DELIVERED", "ACME")
    assert shop.has_entry("o1"), "the event of the delivery is still owed"


def test_details_whose_answer_was_lost_meet_themselves(shop: Shop) -> None:
    stored(shop, Status.DELIVERED)
    shop.calls.lose_answer("UpdateItem")
    assert shop.ship("o1", carrier="ACME").json["carrier"] == "ACME"


def test_a_shipment_filled_in_publishes_and_sends_nothing(small_shop: Shop) -> None:
    stored(small_shop, Status.SHIPPED)
    small_shop.ship("o1", carrier="ACME")
    assert small_shop.calls.operations() == ["GetItem", "UpdateItem"]
    assert (small_shop.messages(), small_shop.published(), small_shop.has_entry("o1")) == ([], [], False)


def test_details_that_come_with_the_shipment_are_written_with_it(small_shop: Shop) -> None:
    for said in ({}, {"carrier": "ACME"}, {"trackingNumber": "1Z"}):
        stored(small_shop, Status.CONFIRMED)
        assert shown(small_shop.ship("o1", **said).json) == said
        assert small_shop.counted() == {"GetItem": 1, "UpdateItem": 1, "SendMessage": 1}


def test_of_many_who_fill_in_at_once_all_but_one_are_told(real_aws: Stage, aws_calls: AwsCalls, clock: Clock) -> None:
    with opened(real_aws, aws_calls, clock, patient=True) as shop:
        store(shop.stage, standing(Status.SHIPPED))

        def fill_in(n: int) -> OperationResult:
            return shop.service.operations.ship("o1", f"carrier {n}", None, ANYBODY)

        with ThreadPoolExecutor(16) as pool:
            outcomes = list(pool.map(fill_in, range(16)))
        (won,) = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Reached)]
        assert sum(isinstance(outcome, ShipmentDiffers) for outcome in outcomes) == 15
        assert shop.stored("o1")["carrier"] == f"carrier {won}"
