"""What is asked of DynamoDB for each change, and how its reasons for refusing are read."""

from datetime import timedelta
from typing import Any

import pytest

from chalicelib import changes
from chalicelib.changes import Change, Create, Remark, stock_of
from chalicelib.items import item_of
from chalicelib.order import Mark, Status
from chalicelib.refusals import Absent, Conflict, Faulty, Moved, Refused, Short, own_reason, refusal
from chalicelib.writes import Writes
from tests.test_order import NOW, an_order, standing

LATER = NOW + timedelta(seconds=5)
TTL = timedelta(days=90)
EXPIRY = {"N": str(int((LATER + TTL).timestamp()))}
WRITES = Writes("orders", "inventory", TTL)
OLD = Mark(NOW + timedelta(seconds=60), 2)


def update_of(change: Change, writes: Writes = WRITES) -> dict[str, Any]:
    (action,) = writes.action(change).items()
    assert action[0] == "Update"
    return action[1]


def assigned(change: Change, writes: Writes = WRITES) -> dict[str, Any]:
    """What an update leaves in each attribute that it touches; None: nothing."""
    update = update_of(change, writes)
    names, values = update["ExpressionAttributeNames"], update.get("ExpressionAttributeValues", {})
    sets, _, removes = update["UpdateExpression"].partition("REMOVE ")
    found: dict[str, Any] = {names[name.strip()]: None for name in removes.split(",") if name}
    for part in sets.removeprefix("SET ").replace("list_append(#history, ", "").replace(")", "").split(","):
        if part.strip():
            name, value = part.split("=")
            found[names[name.strip()]] = values[value.strip()]
    return found


# --- conditions ---


def test_an_order_is_created_only_where_there_is_none() -> None:
    (put,) = WRITES.action(changes.create(standing(Status.PENDING), NOW)).values()
    assert put["ConditionExpression"] == "attribute_not_exists(orderId)"
    assert put["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"
    assert put["TableName"] == "orders"


def test_a_transition_asks_for_one_exact_status_and_the_fingerprint() -> None:
    order = standing(Status.RESERVED)
    update = update_of(changes.confirm(order, LATER, "pay-1"))
    assert update["ConditionExpression"] == "#status = :old_status AND #fingerprint = :old_fingerprint"
    assert update["ExpressionAttributeValues"][":old_status"] == {"S": "RESERVED"}
    assert update["ExpressionAttributeValues"][":old_fingerprint"] == {"S": order.fingerprint}
    assert update["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"
    assert update["Key"] == {"orderId": {"S": "o1"}}


def test_a_new_mark_asks_for_the_mark_seen_or_for_the_order() -> None:
    seen = update_of(changes.pushed_on(an_order(), OLD, LATER))
    assert seen["ConditionExpression"] == "#outboxDueAt = :old_outboxDueAt"
    assert seen["ExpressionAttributeValues"][":old_outboxDueAt"] == {"S": "2026-01-15T12:01:00.000Z"}
    unseen = update_of(Remark(an_order(), None, OLD))
    assert unseen["ConditionExpression"] == "attribute_exists(#orderId)"


def test_every_name_and_value_of_an_expression_is_used() -> None:
    """DynamoDB refuses a request with one that is not."""
    changes_of_all_kinds: list[Change] = [
        changes.reserve(standing(Status.PENDING), LATER),
        changes.reject(standing(Status.PENDING), LATER, "OUT_OF_STOCK", "why"),
        changes.confirm(standing(Status.RESERVED), LATER, "pay-1"),
        changes.cancel(standing(Status.RESERVED), LATER, None),
        changes.pushed_on(an_order(), OLD, LATER),
        Remark(an_order(), OLD.due_at, None),
        Remark(an_order(), None, OLD),
    ]
    for change in changes_of_all_kinds:
        update = update_of(change)
        text = update["UpdateExpression"] + " " + update["ConditionExpression"]
        for name in (*update["ExpressionAttributeNames"], *update.get("ExpressionAttributeValues", ())):
            assert name in text


def test_stock_is_taken_on_condition_and_given_back_without() -> None:
    taking = WRITES.stock_action("p1", -3)["Update"]
    assert taking["ConditionExpression"] == "stock >= :units"
    assert taking["UpdateExpression"] == "SET stock = stock - :units"
    giving = WRITES.stock_action("p1", 3)["Update"]
    assert "ConditionExpression" not in giving
    assert giving["UpdateExpression"] == "ADD stock :units"
    for update in (taking, giving):
        assert update["ExpressionAttributeValues"] == {":units": {"N": "3"}}
        assert (update["TableName"], update["Key"]) == ("inventory", {"productId": {"S": "p1"}})


# --- what is written ---


def test_a_creation_writes_the_whole_order_with_its_mark() -> None:
    create = changes.create(standing(Status.PENDING), LATER)
    (put,) = WRITES.action(create).values()
    assert put["Item"] == item_of(create.after)
    assert put["Item"]["outboxDueAt"] == {"S": "2026-01-15T12:01:05.000Z"}


def test_reserve_writes_status_history_and_record_and_leaves_the_mark() -> None:
    assert assigned(changes.reserve(standing(Status.PENDING, quantities={"p1": 2}), LATER)) == {
        "status": {"S": "RESERVED"},
        "updatedAt": {"S": "2026-01-15T12:00:05.000Z"},
        "history": {"L": [{"M": {"status": {"S": "RESERVED"}, "at": {"S": "2026-01-15T12:00:05.000Z"}}}]},
        "reserved": {"M": {"p1": {"N": "2"}}},
        "expiresAt": None,
    }


def test_confirm_removes_the_mark_and_never_expires() -> None:
    written = assigned(changes.confirm(standing(Status.RESERVED), LATER, "pay-1"))
    assert written.items() >= dict.fromkeys(("outbox", "outboxDueAt", "outboxTries", "expiresAt")).items()


def test_reject_removes_the_mark_and_says_why() -> None:
    written = assigned(changes.reject(standing(Status.PENDING), LATER, "OUT_OF_STOCK", "3 of p1 wanted"))
    assert written["failureReason"] == {"S": "OUT_OF_STOCK"}
    assert written["history"]["L"][0]["M"]["reason"] == {"S": "3 of p1 wanted"}
    assert written.items() >= dict.fromkeys(("outbox", "outboxDueAt", "outboxTries")).items()


# --- how long it is kept ---

ENDED = (Status.DELIVERED, Status.FAILED, Status.CANCELLED)


@pytest.mark.parametrize("status", Status)
def test_only_an_ended_order_without_a_mark_expires(status: Status) -> None:
    order = standing(status, updated_at=LATER)
    assert assigned(Remark(order, OLD.due_at, None))["expiresAt"] == (EXPIRY if status in ENDED else None)
    assert assigned(Remark(order, OLD.due_at, OLD))["expiresAt"] is None


def test_an_order_that_failed_with_nothing_owed_expires_from_its_failure_on() -> None:
    assert assigned(changes.reject(standing(Status.PENDING), LATER, "OUT_OF_STOCK", "why"))["expiresAt"] == EXPIRY
    (put,) = WRITES.action(changes.create_failed(standing(Status.PENDING), LATER, "PRICE_MISMATCH", "why")).values()
    assert put["Item"]["expiresAt"] == EXPIRY


def test_an_order_that_is_given_up_with_work_left_does_not_expire() -> None:
    assert assigned(changes.cancel(standing(Status.CONFIRMED), LATER, None))["expiresAt"] is None


def test_a_new_order_does_not_expire() -> None:
    (put,) = WRITES.action(changes.create(standing(Status.PENDING), NOW)).values()
    assert "expiresAt" not in put["Item"]


def test_zero_switches_expiry_off() -> None:
    writes = Writes("orders", "inventory", timedelta(0))
    rejected = assigned(changes.reject(standing(Status.PENDING), LATER, "OUT_OF_STOCK", "why"), writes)
    assert rejected["expiresAt"] is None
    (put,) = writes.action(changes.create_failed(standing(Status.PENDING), LATER, "PRICE_MISMATCH", "why")).values()
    assert "expiresAt" not in put["Item"]


# --- reasons for refusing ---

NONE: dict[str, Any] = {"Code": "None"}
FAILED: dict[str, Any] = {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}


def stock_row(left: int | None) -> dict[str, Any]:
    return FAILED | ({"Item": {"productId": {"S": "p"}, "stock": {"N": str(left)}}} if left is not None else {})


def reserves(*wanted: dict[str, int]) -> list[Change]:
    return [changes.reserve(standing(Status.PENDING, f"o{n}", units), LATER) for n, units in enumerate(wanted)]


def read(batch: list[Change], *codes: dict[str, Any]) -> Refused:
    return refusal(batch, stock_of(batch), codes)


def test_a_failed_condition_with_an_item_means_moved() -> None:
    stands = standing(Status.CONFIRMED, "o0")
    refused = read(reserves({"p1": 1}, {"p1": 1}), FAILED | {"Item": item_of(stands)}, NONE, NONE)
    assert refused == Refused((Moved(stands), None))


def test_a_failed_condition_without_an_item_means_absent() -> None:
    assert read(reserves({"p1": 1}), FAILED, NONE) == Refused((Absent(),))
    assert read(reserves({"p1": 1}), FAILED | {"Item": {}}, NONE) == Refused((Absent(),))


def test_moved_comes_before_whatever_its_products_say() -> None:
    stands = standing(Status.CANCELLED, "o0")
    moved = FAILED | {"Item": item_of(stands)}
    for row in (stock_row(0), stock_row(None), {"Code": "TransactionConflict"}, {"Code": "ValidationError"}):
        assert read(reserves({"p1": 9}), moved, row).reasons == (Moved(stands),)
        assert read(reserves({"p1": 9}), FAILED, row).reasons == (Absent(),)


def test_short_is_who_alone_needs_more_than_there_is() -> None:
    refused = read(reserves({"p1": 3}, {"p1": 6}, {"p1": 5}, {"p2": 9}), NONE, NONE, NONE, NONE, stock_row(5), NONE)
    assert refused.reasons == (None, Short("p1", 6, 5), None, None)
    assert refused.stock == {"p1": 5}


def test_a_product_that_is_missing_or_has_no_stock_is_short_of_all() -> None:
    assert read(reserves({"p1": 1}), NONE, stock_row(None)) == Refused((Short("p1", 1, None),), {"p1": 0})
    bare = FAILED | {"Item": {"productId": {"S": "p1"}}}
    assert read(reserves({"p1": 1}), NONE, bare) == Refused((Short("p1", 1, None),), {"p1": 0})
    assert read(reserves({"p1": 1}), NONE, stock_row(0)) == Refused((Short("p1", 1, 0),), {"p1": 0})


def test_one_short_product_is_enough() -> None:
    refused = read(reserves({"p1": 1, "p2": 2}, {"p1": 1}), NONE, NONE, NONE, stock_row(1))
    assert refused == Refused((Short("p2", 2, 1), None), {"p2": 1})


CONFLICTING = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"]


@pytest.mark.parametrize("code", CONFLICTING)
def test_a_conflict_at_the_order_is_that_orders(code: str) -> None:
    assert read(reserves({"p1": 1}, {"p1": 1}), {"Code": code}, NONE, NONE).reasons == (Conflict(), None)


@pytest.mark.parametrize("code", CONFLICTING)
def test_a_conflict_at_a_product_is_of_all_who_want_it(code: str) -> None:
    refused = read(reserves({"p1": 1}, {"p2": 1}, {"p2": 1, "p1": 1}), NONE, NONE, NONE, {"Code": code}, NONE)
    assert refused.reasons == (Conflict(), None, Conflict())
    assert refused.stock == {}


def test_short_comes_before_a_conflict_at_another_product() -> None:
    batch = reserves({"p1": 1, "p2": 9})
    assert read(batch, NONE, {"Code": "TransactionConflict"}, stock_row(1)).reasons == (Short("p2", 9, 1),)
    assert read(batch, {"Code": "TransactionConflict"}, NONE, stock_row(1)).reasons == (Conflict(),)


@pytest.mark.parametrize("code", ["ValidationError", "ItemCollectionSizeLimitExceeded", "SomethingNew"])
def test_any_other_reason_is_that_orders_own_fault(code: str) -> None:
    batch = reserves({"p1": 1}, {"p2": 1})
    assert read(batch, {"Code": code}, NONE, NONE, NONE).reasons == (Faulty(code), None)
    assert read(batch, NONE, NONE, NONE, {"Code": code}).reasons == (None, Faulty(code))


@pytest.mark.parametrize("code", ["TransactionConflictException", "TransactionInProgressException"])
def test_the_codes_of_single_writes_are_conflicts_too(code: str) -> None:
    assert own_reason({"Code": code}) == Conflict()


def test_creations_and_marks_have_no_stock_to_be_short_of() -> None:
    stands = standing(Status.PENDING, "o1")
    batch: list[Change] = [Create(an_order("o0")), Create(an_order("o1")), Remark(an_order("o2"), NOW, None)]
    refused = read(batch, NONE, FAILED | {"Item": item_of(stands)}, FAILED)
    assert refused == Refused((None, Moved(stands), Absent()))
