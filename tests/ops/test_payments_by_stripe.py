"""`payments reconcile` and `payments check` where Stripe takes the money: its books, the ledger and the orders."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from chalicelib import exact_json, times
from chalicelib.adapters.stripe_books import StripeBooks
from chalicelib.service import Service
from tests.ops.conftest import Operator, audit_of
from tests.ops.test_documented import steps
from tests.support.events import Clock
from tests.support.shop import Shop
from tests.support.snippets import snippet
from tests.support.stripe_fake import LOCKED, Refused, StripeFake
from tests.support.stripe_shop import direct_api, direct_payments, pay_by_stripe
from tests.support.tables import books_in, forget_order

Row = dict[str, Any]


@pytest.fixture
def now(clock: Clock) -> datetime:
    """The shop is two days behind the operator: whatever it has left alone is old."""
    clock.now = times.whole_milliseconds(datetime.now(UTC)) - timedelta(days=2)
    return clock.now


@pytest.fixture
def fake(now: datetime) -> StripeFake:
    return StripeFake(now)


@pytest.fixture(autouse=True)
def pays_by_stripe(shop: Shop, fake: StripeFake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shop, and the operator's commands."""

    pay_by_stripe(shop, fake)
    by_stripe = property(lambda service: service.given_payments or direct_payments(shop.stage, fake))
    monkeypatch.setattr(Service, "payments", by_stripe)
    monkeypatch.setattr(Service, "books", property(lambda _: {"stripe": StripeBooks(direct_api(fake))}))


@pytest.fixture
def reconcile(now: datetime) -> tuple[str, ...]:
    return ("payments", "reconcile", "--since", (now - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ"))


def placed(shop: Shop, key: str = "k1") -> str:
    return shop.place(key=key).order_id


def sold(shop: Shop, key: str = "k1") -> str:
    order_id = placed(shop, key)
    shop.run_queue()
    assert shop.status(order_id) == "CONFIRMED"
    return order_id


def cancelled(shop: Shop, key: str = "k1") -> str:
    order_id = sold(shop, key)
    shop.cancel(order_id)
    shop.run_queue()
    return order_id


def failed(shop: Shop, key: str = "k1") -> str:
    """An order whose card was declined."""
    order_id = placed(shop, key)
    provider: Any = shop.payments.provider
    provider.pays_with(shop.stored(order_id)["paymentKey"], "declines")
    shop.run_queue()
    assert shop.status(order_id) == "FAILED"
    return order_id


def row_of(shop: Shop, order_id: str) -> Row:
    return next(row for key, row in books_in(shop.stage).items() if key.startswith(order_id))


def lose_row(shop: Shop, order_id: str) -> Row:
    row = row_of(shop, order_id)
    key = {"paymentKey": {"S": row["paymentKey"]}}
    shop.stage.dynamodb.delete_item(TableName=shop.stage["PAYMENTS_TABLE"], Key=key)
    return row


def money(fake: StripeFake, order_id: str) -> Decimal:
    intents = [each for each in fake.intents.values() if each["metadata"]["orderId"] == order_id]
    return sum((fake.money(key) for key in {each["metadata"]["paymentKey"] for each in intents}), Decimal(0))


def test_orders_that_ended_in_every_way_agree_with_stripe(shop: Shop, operator: Operator, reconcile: Any) -> None:
    sold(shop, "k1"), cancelled(shop, "k2"), failed(shop, "k3")
    placed(shop, "k4")  # its message waits
    given_up = placed(shop, "k5")
    shop.cancel(given_up)
    assert operator.json(*reconcile) == []


# --- each thing that has one right answer ---


def with_a_refund_that_failed(shop: Shop, fake: StripeFake) -> str:
    order_id = cancelled(shop)
    fake.fail_refunds(row_of(shop, order_id)["paymentId"])
    return order_id


def with_a_closed_row(shop: Shop, fake: StripeFake) -> str:
    """It has failed, and was paid all the same."""
    order_id = sold(shop)
    shop.stage.put_item("PAYMENTS_TABLE", row_of(shop, order_id) | {"state": "CLOSED"})
    shop.change_stored(order_id, status="FAILED")
    return order_id


def cancelled_without_a_row(shop: Shop, fake: StripeFake) -> str:
    order_id = with_a_refund_that_failed(shop, fake)
    lose_row(shop, order_id)
    return order_id


def lost(shop: Shop, fake: StripeFake) -> str:
    order_id = sold(shop)
    forget_order(shop.stage, order_id)
    return order_id


def open_for_an_order_that_failed(shop: Shop, fake: StripeFake) -> str:
    order_id = failed(shop)
    row = row_of(shop, order_id)
    fake.intents[row["paymentId"]]["status"] = "requires_payment_method"
    shop.stage.put_item("PAYMENTS_TABLE", row | {"state": "OPEN"})
    return order_id


@pytest.mark.parametrize(
    "given_up",
    [with_a_refund_that_failed, with_a_closed_row, cancelled_without_a_row, lost, open_for_an_order_that_failed],
)
def test_what_was_given_up_is_refunded_once_and_closed(
    shop: Shop, fake: StripeFake, operator: Operator, reconcile: Any, given_up: Callable[[Shop, StripeFake], str]
) -> None:
    order_id = given_up(shop, fake)
    before = money(fake, order_id)
    (found,) = operator.json(*reconcile)
    assert (found["orderId"], found["remedy"]) == (order_id, "REFUND")
    assert money(fake, order_id) == before, "without --repair nothing is done"
    (line,) = audit_of(operator(*reconcile, "--repair"))
    assert [key.partition(".")[0] for key in line["ids"]] == [order_id]
    assert money(fake, order_id) == 0
    assert {each["status"] for each in fake.intents.values()} <= {"succeeded", "canceled"}
    assert row_of(shop, order_id)["state"] in ("REFUNDING", "CLOSED")
    assert operator.json(*reconcile) == []


def test_the_lost_row_of_a_sold_order_is_written_again_as_it_was(
    shop: Shop, fake: StripeFake, operator: Operator, reconcile: Any
) -> None:
    order_id = sold(shop)
    row = lose_row(shop, order_id)
    (found,) = operator.json(*reconcile)
    assert (found["remedy"], found["paymentIds"]) == ("REBUILD", [row["paymentId"]])
    operator.does(*reconcile, "--repair")
    assert {**row_of(shop, order_id), "at": row["at"]} == row
    assert operator.json(*reconcile) == []
    shop.cancel(order_id)
    shop.run_queue()
    assert money(fake, order_id) == 0


@pytest.mark.parametrize("waits", [True, False])
def test_the_lost_row_of_an_order_on_its_way_is_written_again_and_its_money_taken_once(
    shop: Shop, fake: StripeFake, operator: Operator, reconcile: Any, waits: bool
) -> None:
    """Paid, and not confirmed yet: without its row the next charge would take the money again."""
    order_id = placed(shop)
    stored = shop.stored(order_id)
    shop.run_queue()
    paid = shop.stored(order_id)
    shop.stage.put_item(
        "ORDERS_TABLE",
        (stored if waits else {k: v for k, v in stored.items() if not k.startswith("outbox")})
        | {"status": "RESERVED", "reserved": paid["reserved"], "history": paid["history"][:2]},
    )
    lose_row(shop, order_id)
    assert [each["remedy"] for each in operator.json(*reconcile)] == ["REBUILD"]
    operator.does(*reconcile, "--repair")
    shop.run_queue()
    assert shop.status(order_id) == "CONFIRMED"
    assert list(fake.paid.values()) == [1]
    assert operator.json(*reconcile) == []


def test_an_order_that_was_left_behind_is_sent_to_the_consumer(
    shop: Shop, fake: StripeFake, operator: Operator, reconcile: Any
) -> None:
    order_id = placed(shop)
    shop.lose_messages()
    stored = shop.stored(order_id)
    shop.stage.put_item("ORDERS_TABLE", {k: v for k, v in stored.items() if not k.startswith("outbox")})
    assert [each["remedy"] for each in operator.json(*reconcile)] == ["SEND"]
    operator.does(*reconcile, "--repair")
    shop.run_queue()
    assert shop.status(order_id) == "CONFIRMED"
    assert operator.json(*reconcile) == []


def test_an_intent_that_is_in_no_row_is_cancelled(
    shop: Shop, fake: StripeFake, operator: Operator, reconcile: Any
) -> None:
    order_id = sold(shop)
    key = row_of(shop, order_id)["paymentKey"]
    stray = direct_api(fake).create(key, Decimal("59.98"), "USD", None)
    (found,) = operator.json(*reconcile)
    assert (found["remedy"], found["paymentIds"]) == ("END", [stray])
    operator.does(*reconcile, "--repair")
    assert fake.intents[stray]["status"] == "canceled"
    assert money(fake, order_id) == row_of(shop, order_id)["amount"]
    assert operator.json(*reconcile) == []


# --- what is left to people ---


def disputed(shop: Shop, fake: StripeFake, intent: str) -> None:
    fake.dispute(intent)


def lost_in_a_dispute(shop: Shop, fake: StripeFake, intent: str) -> None:
    fake.dispute(intent, "lost")


def refunded_in_part(shop: Shop, fake: StripeFake, intent: str) -> None:
    fake.refund_by_hand(intent, 100)


def refunded_whole(shop: Shop, fake: StripeFake, intent: str) -> None:
    fake.refund_by_hand(intent)


def over_another_amount(shop: Shop, fake: StripeFake, intent: str) -> None:
    fake.intents[intent]["amount"] += 1


def paid_twice(shop: Shop, fake: StripeFake, intent: str) -> None:
    fake.intents["pi_again"] = fake.intents[intent] | {"id": "pi_again"}


@pytest.mark.parametrize(
    ("happens", "what"),
    [
        (disputed, "is disputed"),
        (lost_in_a_dispute, "was lost in a dispute"),
        (refunded_in_part, "1.00 of"),
        (refunded_whole, "was refunded by hand"),
        (over_another_amount, "but the order is over"),
        (paid_twice, "MONEY IS TAKEN TWICE, and the order is CONFIRMED"),
    ],
)
def test_the_money_of_a_sold_order_is_left_to_people(
    shop: Shop, fake: StripeFake, operator: Operator, reconcile: Any, happens: Any, what: str
) -> None:
    order_id = sold(shop)
    intent = row_of(shop, order_id)["paymentId"]
    happens(shop, fake, intent)
    before = money(fake, order_id), row_of(shop, order_id), shop.stored(order_id)
    result = operator(*reconcile, "--repair")
    assert (result.exit_code, audit_of(result)) == (0, [])
    assert what in result.stdout
    assert result.stdout.rstrip().endswith("yours to decide")
    assert (money(fake, order_id), row_of(shop, order_id), shop.stored(order_id)) == before
    fake.intents[intent]["metadata"]["reconciled"] = "yes"
    assert (operator.json(*reconcile) == []) is (happens is not paid_twice), "people have said that they know"


def test_what_neither_ledger_nor_orders_know_may_be_another_stages(
    shop: Shop, fake: StripeFake, operator: Operator, reconcile: Any
) -> None:
    order_id = sold(shop)
    lose_row(shop, order_id)
    forget_order(shop.stage, order_id)
    (found,) = operator.json(*reconcile)
    assert found["remedy"] == "PEOPLE"
    operator.does(*reconcile, "--repair")
    assert money(fake, order_id) > 0


def test_work_that_goes_on_meanwhile_is_not_a_difference(
    shop: Shop, fake: StripeFake, operator: Operator, reconcile: Any
) -> None:
    """Stripe is read before the orders: an order is sold between, and one cancelled."""
    first, second = sold(shop, "k1"), placed(shop, "k2")
    listed: list[str] = []

    def meanwhile() -> None:
        listed.append("")
        shop.cancel(first)
        shop.run_queue()

    operator.calls.meanwhile(meanwhile, "Scan")
    assert operator.json(*reconcile) == []
    assert listed
    assert (shop.status(first), shop.status(second)) == ("CANCELLED", "CONFIRMED")


def test_a_provider_that_does_not_answer_is_one_sentence(
    shop: Shop, fake: StripeFake, operator: Operator, reconcile: Any
) -> None:
    with_a_refund_that_failed(shop, fake)
    fake.spoil("intents", LOCKED)
    assert operator.refused(*reconcile) == (
        "There is no clear answer: Stripe: RateLimitError (429, None). Repeat this."
    )
    assert operator.json(*reconcile)[0]["remedy"] == "REFUND"


def test_payments_of_a_provider_that_cannot_be_asked_are_counted_and_left_alone(
    shop: Shop, operator: Operator, reconcile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = sold(shop)
    monkeypatch.setattr(Service, "books", property(lambda _: {}))
    result = operator(*reconcile, "--repair")
    assert (result.exit_code, audit_of(result)) == (0, [])
    assert "1 payment of a provider that this stage cannot ask: not compared." in result.stderr
    said = operator.refused("payments", "check", order_id, status=2)
    assert said == "The provider of 1 payment cannot be asked by this stage."


# --- one order ---


def test_a_check_says_what_each_says_of_an_order(shop: Shop, fake: StripeFake, operator: Operator) -> None:
    order_id = sold(shop)
    intent = row_of(shop, order_id)["paymentId"]
    total = f"{shop.stored(order_id)['totalAmount']} USD"
    result = operator("payments", "check", order_id)
    assert [line.split(maxsplit=1) for line in result.stdout.splitlines()[1:]] == [
        ["order", f"CONFIRMED, {total}"],
        ["ledger", f"OPEN, by stripe, {intent}"],
        ["provider", f"{intent}: paid, {total}"],
    ]
    assert (result.exit_code, result.stderr) == (0, "They agree.\n")
    fake.refund_by_hand(intent, 100)
    result = operator("payments", "check", order_id)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].endswith(", refunded 1.00 USD")
    assert result.stderr == f"CONFIRMED, but 1.00 of {total} was refunded by hand: yours to decide.\n"
    document = exact_json.loads(operator("payments", "check", order_id, "--json").stdout)
    assert document["differences"][0]["remedy"] == "PEOPLE"
    assert document["payments"][0]["intents"][0]["refunded"] == Decimal("1.00")


def test_a_check_without_an_answer_says_neither_that_they_agree_nor_that_they_differ(
    shop: Shop, fake: StripeFake, operator: Operator
) -> None:
    order_id, before = sold(shop), len(fake.requests)
    operator("payments", "check", order_id)
    asked = len(fake.requests) - before
    assert asked
    for answered in range(asked):
        fake.spoil(None, None, times=answered)
        fake.spoil(None, LOCKED)
        said = operator.refused("payments", "check", order_id, status=2)
        assert said.startswith("There is no clear answer: ")


def test_the_page_shows_a_check(shop: Shop, fake: StripeFake, operator: Operator) -> None:
    fake.refund_by_hand(row_of(shop, sold(shop, "k1"))["paymentId"], 1000)
    ((command, shown),) = steps(snippet("docs/operating.md", "$ ops payments check"))
    result = operator(*command.split())
    printed = result.stdout + result.stderr
    assert re.sub(r"pi_\w+", "pi", shown).split() == re.sub(r"pi_\w+", "pi", printed).split()


def test_a_check_finds_what_only_the_search_does(shop: Shop, fake: StripeFake, operator: Operator) -> None:
    order_id = sold(shop)
    fake.advance(timedelta(minutes=2))
    paid_twice(shop, fake, row_of(shop, order_id)["paymentId"])
    assert operator.refused("payments", "check", order_id).startswith("MONEY IS TAKEN TWICE")


def test_a_check_does_without_the_search_where_stripe_has_none(
    shop: Shop, fake: StripeFake, operator: Operator
) -> None:
    """As for merchants of some countries (Stripe documentation, "Search")."""
    order_id = sold(shop)
    fake.spoil("search", Refused(400, None, "Search is not available in your region."))
    assert operator("payments", "check", order_id).exit_code == 0


def test_a_check_of_an_order_that_does_not_exist_looks_for_its_payments(
    shop: Shop, fake: StripeFake, operator: Operator
) -> None:
    order_id = sold(shop)
    forget_order(shop.stage, order_id)
    assert operator.refused("payments", "check", order_id) == (
        "charged, but the order does not exist: refund the payment."
    )
    assert operator.refused("payments", "check", "X") == "Order 'X' does not exist, and no payment has its id."
