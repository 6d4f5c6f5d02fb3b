"""`payments reconcile` on a shop: what it shows, what it does, and what it must never touch."""

import json
import shlex
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib import times
from tests.ops.conftest import Operator, audit_of
from tests.ops.test_documented import alike, steps
from tests.support.events import Clock
from tests.support.shop import Shop
from tests.support.snippets import snippet
from tests.support.tables import books_in, forget_order

PAGE = snippet("docs/operating.md", "$ ops payments reconcile")
RECONCILE = ("payments", "reconcile", "--since")


@pytest.fixture
def since(clock: Clock) -> str:
    """A second before everything."""
    clock.now = times.whole_milliseconds(datetime.now(UTC))
    return (clock.now - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def sold(shop: Shop, key: str) -> str:
    order_id = shop.place(key=key).order_id
    shop.run_queue()
    return order_id


def states(shop: Shop) -> dict[str, str]:
    return {key.partition(".")[0]: row["state"] for key, row in books_in(shop.stage).items()}


def test_without_repair_nothing_is_done(since: str, operator: Operator, shop: Shop) -> None:
    lost = sold(shop, "k1")
    forget_order(shop.stage, lost)
    result = operator(*RECONCILE, since)
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == [lost]
    assert (audit_of(result), states(shop)) == ([], {lost: "CHARGED"})
    assert result.stderr.endswith("1 difference. Without --repair nothing is done.\n")
    (document,) = operator.json(*RECONCILE, since)
    assert (document["orderId"], document["remedy"]) == (lost, "REFUND")


def test_a_repair_is_audited_and_can_be_repeated(since: str, operator: Operator, shop: Shop) -> None:
    lost = sold(shop, "k1")
    forget_order(shop.stage, lost)
    result = operator(*RECONCILE, since, "--repair")
    (line,) = audit_of(result)
    assert (line["audit"], [key.partition(".")[0] for key in line["ids"]]) == ("payments reconcile", [lost])
    assert states(shop) == {lost: "REFUNDED"}
    assert operator.does(*RECONCILE, since, "--repair").splitlines()[1:] == []


def test_nothing_is_repaired_while_messages_may_bring_orders_back(since: str, operator: Operator, shop: Shop) -> None:
    lost = sold(shop, "k1")
    forget_order(shop.stage, lost)
    shop.place(key="k2")
    said = operator.refused(*RECONCILE, since, "--repair")
    assert said.startswith("1 message of the order queue may still bring orders back: nothing was done.")
    assert states(shop)[lost] == "CHARGED"


def test_an_order_that_came_back_meanwhile_keeps_its_money(since: str, operator: Operator, shop: Shop) -> None:
    """It was created again between the look and the repair."""
    lost = sold(shop, "k1")
    item = shop.stored(lost)
    forget_order(shop.stage, lost)
    operator.calls.meanwhile(lambda: shop.stage.put_item("ORDERS_TABLE", item), "GetQueueAttributes")
    result = operator(*RECONCILE, since, "--repair")
    assert (result.exit_code, audit_of(result), states(shop)) == (0, [], {lost: "CHARGED"})


def test_an_order_that_cannot_be_read_keeps_its_money(since: str, operator: Operator, shop: Shop) -> None:
    unreadable = sold(shop, "k1")
    shop.change_stored(unreadable, status="NEWER")
    result = operator(*RECONCILE, since, "--repair")
    assert (result.exit_code, states(shop)) == (0, {unreadable: "CHARGED"})
    assert f"order {unreadable} cannot be read by this release, and is left out." in result.stderr


def test_the_payments_of_expired_orders_are_kept(operator: Operator, shop: Shop, since: str) -> None:
    """They are older than the restore; so are those that do not say when they were made."""
    for key in ("k1", "k2"):
        forget_order(shop.stage, sold(shop, key))
    row: dict[str, Any] = next(iter(books_in(shop.stage).values()))
    shop.stage.put_item("PAYMENTS_TABLE", {name: value for name, value in row.items() if name != "at"})
    later = (shop.clock.now + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert operator.json(*RECONCILE, later) == []
    assert len(operator.json(*RECONCILE, since)) == 1


def test_a_table_that_does_not_exist_is_one_sentence(since: str, operator: Operator) -> None:
    said = operator.refused(*RECONCILE, since, "--from", "orderonce-typo-orders")
    assert said.startswith("The table orderonce-typo-orders does not exist in account 123456789012")


def test_what_is_left_to_people_is_said(since: str, operator: Operator, shop: Shop) -> None:
    order_id = sold(shop, "k1")
    key = shop.stored(order_id)["paymentKey"]
    shop.stage.dynamodb.delete_item(TableName=shop.stage["PAYMENTS_TABLE"], Key={"paymentKey": {"S": key}})
    result = operator(*RECONCILE, since, "--repair", "--json")
    assert json.loads(result.stdout)[0]["difference"] == "CONFIRMED, but not charged"
    assert result.stderr.endswith("0 differences of 1 repaired.\n")


def test_the_page_shows_what_differs(operator: Operator, shop: Shop, clock: Clock) -> None:
    clock.now = datetime(2026, 11, 22, 3, tzinfo=UTC)
    forget_order(shop.stage, sold(shop, "k1"))
    ((command, shown),) = steps(PAGE)
    result = operator(*shlex.split(command))
    assert sorted(alike(shown)) == sorted(alike(result.stdout) + alike(result.stderr))
