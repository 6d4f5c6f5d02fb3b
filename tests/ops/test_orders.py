"""`orders` and `keys`."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from chalicelib import times
from chalicelib.domain.idempotency import order_id_from_key
from tests.ops.conftest import Operator, audit_of
from tests.support.orders import ANYBODY
from tests.support.shop import Shop


def placed(shop: Shop, key: str = "k1", run: bool = True) -> str:
    order_id = shop.place(key=key).order_id
    if run:
        shop.run_queue()
    return order_id


# --- show ---


def test_an_order_is_shown_with_its_history_and_what_it_took(operator: Operator, shop: Shop) -> None:
    order_id = placed(shop)
    answer = operator.does("orders", "show", order_id)
    assert answer.startswith(f"{order_id}\n  customer     CUST-1\n  status       CONFIRMED\n  total        29.99 USD\n")
    assert "PROD-001  1         29.99       1\n" in answer
    assert [line.split()[2] for line in answer.splitlines()[-3:]] == ["PENDING", "RESERVED", "CONFIRMED"]
    assert "waits for" not in answer


def test_an_order_for_programs_has_exact_amounts(operator: Operator, shop: Shop) -> None:
    order_id = placed(shop)
    document = operator.json("orders", "show", order_id)
    assert document["totalAmount"] == Decimal("29.99")
    assert document["reserved"] == {"PROD-001": 1}
    assert document["fingerprint"].startswith("v1:")


def test_an_order_with_work_left_says_what_it_waits_for(operator: Operator, shop: Shop) -> None:
    order_id = placed(shop, run=False)
    assert "waits for    its stock to be reserved" in operator.does("orders", "show", order_id)


@pytest.mark.parametrize("command", ["show", "cancel"])
@pytest.mark.parametrize("order_id", ["nope", "no/such id", "x" * 300])
def test_an_order_that_does_not_exist_is_one_sentence(operator: Operator, command: str, order_id: str) -> None:
    assert operator.refused("orders", command, order_id) == f"Order {order_id[:64]!r} does not exist."


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_no_operator_is_shown_a_payment_method(operator: Operator, shop: Shop, how: tuple[str, ...]) -> None:
    order_id = shop.place(shop.order(paymentMethod="pm_planted"), "k1").order_id
    age(shop, order_id)
    shown = [operator.does("orders", *words, *how) for words in (("show", order_id), ("list", "CUST-1"), ("stuck",))]
    assert all(order_id in text for text in shown)
    assert shop.stored(order_id)["paymentMethod"] == "pm_planted"
    assert "pm_planted" not in repr(shown)


# --- list ---


def test_a_customers_orders_newest_first(operator: Operator, shop: Shop) -> None:
    made: list[str] = []
    for key in ("k1", "k2", "k3"):
        made.insert(0, placed(shop, key))
        shop.clock.advance(minutes=1)
    answer = operator.does("orders", "list", "CUST-1").splitlines()
    assert answer[0].split("  ")[0] == "order"
    assert [line.split()[0] for line in answer[1:]] == made
    assert answer[1].endswith("CONFIRMED  29.99 USD  2026-01-15 12:02")
    assert [order["orderId"] for order in operator.json("orders", "list", "CUST-1")] == made
    result = operator("orders", "list", "CUST-1", "--limit", "2")
    assert (result.stdout.count("CONFIRMED"), "there are more" in result.stderr) == (2, True)


def test_a_customer_without_orders(operator: Operator) -> None:
    result = operator("orders", "list", "CUST-0")
    assert (result.exit_code, "0 orders." in result.stderr) == (0, True)


# --- cancel ---


def test_a_cancelled_order_gives_back_its_stock_and_then_its_money(operator: Operator, shop: Shop) -> None:
    order_id = placed(shop)
    result = operator("orders", "cancel", order_id, "--reason", "the customer called")
    assert result.stdout == f"Order {order_id} is cancelled; refund: PENDING.\n"
    (line,) = audit_of(result)
    assert (line["audit"], line["ids"], line["reason"]) == ("orders cancel", [order_id], "the customer called")
    assert (shop.stored(order_id)["status"], shop.stock()) == ("CANCELLED", 500)
    shop.run_queue()
    assert shop.stored(order_id)["refund"] == "DONE"
    assert shop.stored(order_id)["history"][-1]["reason"] == "the customer called"


@pytest.mark.parametrize(
    ("words", "typed", "status"),
    [
        ((), "prod\n", "CANCELLED"),
        ((), "y\n", "CONFIRMED"),
        ((), "", "CONFIRMED"),
        (("--yes", "prod"), None, "CANCELLED"),
        (("--yes", "dev"), "prod\n", "CONFIRMED"),
    ],
)
def test_in_prod_nothing_is_cancelled_until_the_stage_is_named(
    operator: Operator,
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    typed: str | None,
    status: str,
) -> None:
    order_id = placed(shop)
    monkeypatch.setenv("STAGE", "prod")
    result = operator("--stage", "prod", "orders", "cancel", order_id, *words, typed=typed)
    assert shop.stored(order_id)["status"] == status
    assert len(audit_of(result)) == (status == "CANCELLED")
    assert (result.exit_code, "nothing was done" in result.stderr) == (
        (0, False) if status == "CANCELLED" else (1, True)
    )


def test_a_second_cancel_changes_nothing(operator: Operator, shop: Shop) -> None:
    order_id = placed(shop)
    operator.does("orders", "cancel", order_id)
    before = shop.stored(order_id)
    operator.does("orders", "cancel", order_id, "--reason", "again")
    assert (shop.stored(order_id), shop.stock()) == (before, 500)


def test_an_order_that_is_shipped_is_not_cancelled(operator: Operator, shop: Shop) -> None:
    order_id = placed(shop)
    shop.service.operations.ship(order_id, None, None, ANYBODY)
    result = operator("orders", "cancel", order_id)
    assert (result.exit_code, audit_of(result)) == (1, [])
    assert "The order is SHIPPED; allowed actions: deliver." in result.stderr


@pytest.mark.parametrize("reason", ["x" * 257, "a\nb"])
def test_a_reason_that_the_api_would_refuse_is_refused(operator: Operator, shop: Shop, reason: str) -> None:
    order_id = placed(shop)
    assert "The reason is invalid" in operator.refused("orders", "cancel", order_id, "--reason", reason)
    assert shop.stored(order_id)["status"] == "CONFIRMED"


# --- stuck ---


def age(shop: Shop, order_id: str, retries: int = 3, **fields: Any) -> None:
    """The order has work left, and nothing has happened to it for three hours; the next retry is not due yet."""
    now = datetime.now(UTC)
    entry = {"outbox": 0, "outboxDueAt": times.to_text(now + timedelta(minutes=4)), "outboxTries": retries}
    shop.change_stored(order_id, updatedAt=times.to_text(now - timedelta(hours=3)), **(entry | fields))


@pytest.mark.parametrize(
    ("fields", "waits_for"),
    [
        ({"status": "PENDING"}, "its stock to be reserved"),
        ({"status": "RESERVED"}, "the payment provider, then to be confirmed"),
        ({"status": "CONFIRMED"}, "its events to be published"),
        ({"status": "CANCELLED", "refund": "PENDING"}, "its refund, and its event to be published"),
        (
            {"status": "CANCELLED", "refund": "PENDING", "outbox": 200},
            "its refund, which is pending at the payment provider",
        ),
        ({"status": "FAILED", "outbox": 201}, "its refund, which is pending at the payment provider"),
        ({"status": "CANCELLED", "refund": "NONE"}, "its events to be published"),
        ({"status": "FAILED"}, "its payment to be closed, and its event to be published"),
        ({"status": "FAILED", "reserved": None}, "its payment to be closed, and its event to be published"),
    ],
)
def test_an_order_that_is_stuck_says_what_it_waits_for(
    operator: Operator, shop: Shop, fields: dict[str, Any], waits_for: str
) -> None:
    order_id = placed(shop)
    age(shop, order_id, **fields)
    answer = operator.does("orders", "stuck")
    assert f"{order_id}\n  status     {fields['status']}, since " in answer
    assert ", 3 hours ago\n" in answer
    assert f"  waits for  {waits_for}\n" in answer
    assert "  retries    3, the next at " in answer


def test_an_order_is_stuck_once_nothing_has_happened_for_that_long(operator: Operator, shop: Shop) -> None:
    stuck, _ = placed(shop, "k1"), placed(shop, "k2")
    age(shop, stuck)
    assert [order["orderId"] for order in operator.json("orders", "stuck")] == [stuck]
    assert operator.json("orders", "stuck", "--older-than", "4h") == []


def test_an_order_that_waits_for_hours_between_retries_is_still_seen(operator: Operator, shop: Shop) -> None:
    order_id = placed(shop)
    far = times.to_text(datetime.now(UTC) + timedelta(hours=6))
    age(shop, order_id, retries=20)
    shop.change_stored(order_id, outbox=100, outboxDueAt=far)
    assert len(operator.json("orders", "stuck")) == 1


def test_an_order_that_this_release_cannot_read_is_listed_by_its_id(operator: Operator, shop: Shop) -> None:
    order_id, gone = placed(shop, "k1"), placed(shop, "k2")
    age(shop, order_id, status="RETURNED")
    age(shop, gone)
    table, key = shop.stage["ORDERS_TABLE"], {"orderId": {"S": gone}}
    operator.calls.meanwhile(lambda: shop.stage.dynamodb.delete_item(TableName=table, Key=key), "BatchGetItem")
    assert operator.json("orders", "stuck") == [{"orderId": order_id, "readable": False}]
    assert f"{order_id}\n  status  cannot be read by this release" in operator.does("orders", "stuck")


def test_an_order_that_met_an_unexpected_fault_shows_it(operator: Operator, shop: Shop) -> None:
    order_id = placed(shop)
    age(shop, order_id, outboxFault="an unexpected fault: KeyError")
    assert "  fault      an unexpected fault: KeyError\n" in operator.does("orders", "stuck")
    assert operator.json("orders", "show", order_id)["fault"] == "an unexpected fault: KeyError"


# --- keys ---


def test_a_key_that_names_an_existing_order(operator: Operator, shop: Shop) -> None:
    order_id = placed(shop, "k1")
    answer = operator.does("keys", "explain", "CUST-1", "k1")
    assert f"order        {order_id}" in answer
    assert "exists       yes: CONFIRMED, placed 2026-01-15 12:00:00Z" in answer
    assert "items        1 x PROD-001" in answer
    assert f"fingerprint  {shop.stored(order_id)['fingerprint']}" in answer


@pytest.mark.parametrize("key", ["k1", '"k1"'])
def test_a_key_is_read_as_the_api_reads_it(operator: Operator, shop: Shop, key: str) -> None:
    order_id = placed(shop, "k1")
    document = operator.json("keys", "explain", "CUST-1", key)
    assert (document["orderId"], document["exists"], document["status"]) == (order_id, True, "CONFIRMED")


def test_a_key_that_is_free(operator: Operator) -> None:
    document = operator.json("keys", "explain", "CUST-1", "k9")
    assert document == {
        "customerId": "CUST-1",
        "key": "k9",
        "orderId": order_id_from_key("CUST-1", "k9"),
        "exists": False,
    }
    assert "no: the key is free" in operator.does("keys", "explain", "CUST-1", "k9")


def test_what_is_not_a_key_is_refused(operator: Operator) -> None:
    assert "1 to 255 visible ASCII" in operator.refused("keys", "explain", "CUST-1", "a key")
