"""The daily comparison of payments, ledger and orders: what it reports, and that it says what it has not seen."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.adapters.dynamodb.payment_rows import LedgerRows
from chalicelib.adapters.stripe_books import StripeBooks
from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.faults import PaymentUnknown
from chalicelib.use_cases.reconciling import Reconciling
from tests.support.shop import Shop
from tests.support.stripe_fake import LOCKED, StripeFake
from tests.support.stripe_shop import direct_api, pay_by_stripe
from tests.support.tables import books_in, forget_order
from tests.use_cases.test_reports import said

PAYMENT_DIFFERENCES = "PaymentDifferences"


@pytest.fixture
def shop(small_shop: Shop, fake: StripeFake) -> Shop:
    pay_by_stripe(small_shop, fake)
    return small_shop


@pytest.fixture
def fake(small_shop: Shop) -> StripeFake:
    return StripeFake(small_shop.clock.now)


@pytest.fixture
def reconciling(shop: Shop, fake: StripeFake) -> Reconciling:
    service = shop.service
    rows = LedgerRows(service.dynamodb, service.settings.payments_table, service.clock)
    return Reconciling(service.orders, rows, {"stripe": StripeBooks(direct_api(fake))}, service.clock)


def sold(shop: Shop, key: str = "k1") -> str:
    order_id = shop.place(key=key).order_id
    shop.run_queue()
    return order_id


def intent_of(shop: Shop, order_id: str) -> str:
    name: str = shop.stored(order_id)["paymentId"]
    return name


def pass_time(shop: Shop, fake: StripeFake, **time: int) -> None:
    shop.clock.advance(**time)
    fake.advance(timedelta(**time))


def with_a_refund_that_failed(shop: Shop, fake: StripeFake, key: str = "k1") -> str:
    order_id = sold(shop, key)
    shop.cancel(order_id)
    shop.run_queue()
    fake.fail_refunds(intent_of(shop, order_id))
    return order_id


def test_where_all_agree_it_counts_none(shop: Shop, fake: StripeFake, reconciling: Reconciling) -> None:
    sold(shop, "k1")
    shop.cancel(sold(shop, "k2"))
    shop.run_queue()
    shop.place(key="k3")
    shop.lines.clear()
    assert reconciling.report(NO_DEADLINE) == []
    assert shop.metrics.keys() >= {PAYMENT_DIFFERENCES}
    assert (shop.metrics[PAYMENT_DIFFERENCES], said(shop)) == (0, [])


def test_each_difference_is_a_line_with_ids_and_nothing_is_mended(
    shop: Shop, fake: StripeFake, reconciling: Reconciling
) -> None:
    order_id = with_a_refund_that_failed(shop, fake)
    key = shop.stored(order_id)["paymentKey"]
    twice = sold(shop, "k2")
    fake.intents["pi_again"] = fake.intents[intent_of(shop, twice)] | {"id": "pi_again"}
    before = fake.money(key), books_in(shop.stage), shop.stored(order_id)
    shop.lines.clear()
    found = reconciling.report(NO_DEADLINE)
    assert shop.metrics[PAYMENT_DIFFERENCES] == len(found) == 2
    first, second = said(shop, "payment differs")
    assert (first[2]["orderId"], first[2]["remedy"]) == (twice, "PEOPLE"), "the worst first"
    assert second == (
        "WARNING",
        "payment differs",
        {
            "orderId": order_id,
            "paymentKey": key,
            "paymentIds": [intent_of(shop, order_id)],
            "difference": "charged, but the order is CANCELLED",
            "remedy": "REFUND",
        },
    )
    assert (fake.money(key), books_in(shop.stage), shop.stored(order_id)) == before


def test_an_order_that_is_lost_and_one_that_cannot_be_read(
    shop: Shop, fake: StripeFake, reconciling: Reconciling
) -> None:
    lost, unreadable = sold(shop, "k1"), sold(shop, "k2")
    forget_order(shop.stage, lost)
    shop.change_stored(unreadable, status="NEWER")
    assert [(each.order_id, each.remedy.name) for each in reconciling.report(NO_DEADLINE)] == [(lost, "REFUND")]


def test_a_refund_is_watched_for_weeks_and_what_is_older_is_let_be(
    shop: Shop, fake: StripeFake, reconciling: Reconciling
) -> None:
    order_id, quiet = with_a_refund_that_failed(shop, fake, "k1"), sold(shop, "k2")
    shop.change_stored(quiet, totalAmount=1)
    assert {each.order_id for each in reconciling.report(NO_DEADLINE)} == {order_id, quiet}
    pass_time(shop, fake, days=30)
    assert {each.order_id for each in reconciling.report(NO_DEADLINE)} == {order_id}
    pass_time(shop, fake, days=30)
    assert reconciling.report(NO_DEADLINE) == []


def test_payments_of_another_provider_are_its_own_affair(
    shop: Shop, fake: StripeFake, reconciling: Reconciling
) -> None:
    """A stage that has changed its provider: the row is the other's."""
    order_id = sold(shop)
    row = books_in(shop.stage)[shop.stored(order_id)["paymentKey"]]
    shop.stage.put_item("PAYMENTS_TABLE", row | {"provider": "other"})
    assert reconciling.report(NO_DEADLINE) == []
    shop.stage.put_item("PAYMENTS_TABLE", row | {"state": "NEWER"})
    assert reconciling.report(NO_DEADLINE) == []


def test_what_goes_on_while_it_looks_is_not_a_difference(
    shop: Shop, fake: StripeFake, reconciling: Reconciling
) -> None:
    """Stripe is listed, then an order is cancelled and its money given back; and another is on its way."""
    order_id = sold(shop)

    def cancel() -> None:
        shop.cancel(order_id)
        shop.run_queue()

    shop.calls.meanwhile(cancel, "BatchGetItem")
    assert reconciling.report(NO_DEADLINE) == []
    assert shop.status(order_id) == "CANCELLED"


def test_an_order_that_changes_under_the_second_look_is_left_to_the_next_run(
    shop: Shop, fake: StripeFake, reconciling: Reconciling
) -> None:
    """The order is read, then it is cancelled, then Stripe is asked: the two do not belong together."""
    order_id = sold(shop)
    fake.refund_by_hand(intent_of(shop, order_id), 100)

    def cancel() -> None:
        shop.cancel(order_id)
        shop.run_queue()

    fake.spoil("retrieve", cancel)
    assert reconciling.report(NO_DEADLINE) == []
    assert shop.status(order_id) == "CANCELLED"


def left(*seconds: float) -> Deadline:
    """A deadline that is looked at so many times, and the last value stays."""
    values: Iterator[float] = iter(seconds)
    last = [0.0]

    def remaining() -> float:
        last[0] = next(values, last[0])
        return last[0]

    return Deadline(remaining, 1)


@pytest.mark.parametrize(
    ("seconds", "seen", "reported"),
    [
        ((50,), 0, None),  # the lists must end a minute before the run does
        ((300, 300, 50), 1, 1),  # what they had until then is compared
        ((300, 300, 300, 0), 1, None),  # before the comparison
        ((300, 300, 300, 300, 0), 1, None),  # before what was found is looked at again
        ((300, 300, 300, 300, 300, 0), 1, 1),  # after that
        ((300,), None, 1),
    ],
)
def test_what_it_could_not_see_in_its_time_is_said_and_never_a_zero(
    shop: Shop, fake: StripeFake, reconciling: Reconciling, seconds: Any, seen: int | None, reported: int | None
) -> None:
    with_a_refund_that_failed(shop, fake)
    shop.lines.clear()
    reconciling.report(left(*seconds))
    assert shop.metrics.get(PAYMENT_DIFFERENCES) == reported
    lines = [] if seen is None else [("ERROR", "payments not compared in time", {"count": seen})]
    assert said(shop, "payments not compared in time") == lines


def test_a_provider_that_does_not_answer_ends_the_run_without_a_count(
    shop: Shop, fake: StripeFake, reconciling: Reconciling
) -> None:
    fake.spoil("intents", LOCKED)
    with pytest.raises(PaymentUnknown):
        reconciling.report(NO_DEADLINE)
    assert PAYMENT_DIFFERENCES not in shop.metrics
