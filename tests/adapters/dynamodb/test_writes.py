"""What is asked of DynamoDB where no engine can show it, and how its reasons for refusing are read."""

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.adapters.dynamodb.items import order_to_item
from chalicelib.adapters.dynamodb.reasons import own_reason, read_cancellation
from chalicelib.adapters.dynamodb.writes import Writes
from chalicelib.domain import changes
from chalicelib.domain.changes import Change, Create, OutboxUpdate, total_stock_delta
from chalicelib.domain.order import Status
from chalicelib.domain.outcomes import Conflict, InsufficientStock, ItemError, NotFound, Reason, Refused, StatusChanged
from tests.support.changes import LATER
from tests.support.orders import NOW, an_order, standing

NONE: dict[str, Any] = {"Code": "None"}
FAILED: dict[str, Any] = {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}
CONFLICT: dict[str, Any] = {"Code": "TransactionConflict"}
MOVED = standing(Status.CANCELLED, "o0")
MEETS_MOVED = FAILED | {"Item": order_to_item(MOVED)}


def test_zero_switches_expiry_off() -> None:
    writes = Writes("orders", "inventory", timedelta(0))
    reject = writes.action(changes.reject(standing(Status.PENDING), LATER, "OUT_OF_STOCK", "why"))["Update"]
    assert ":expiresAt" not in reject["ExpressionAttributeValues"]
    create = writes.action(changes.create_failed(standing(Status.PENDING), LATER, "PRICE_MISMATCH", "why"))["Put"]
    assert "expiresAt" not in create["Item"]


def stock_row(left: int | None) -> dict[str, Any]:
    return FAILED | ({"Item": {"productId": {"S": "p"}, "stock": {"N": str(left)}}} if left is not None else {})


def reserves(*wanted: dict[str, int]) -> list[Change]:
    return [changes.reserve(standing(Status.PENDING, f"o{n}", units), LATER) for n, units in enumerate(wanted)]


def read(batch: list[Change], *codes: dict[str, Any]) -> Refused:
    return read_cancellation(batch, total_stock_delta(batch), codes)


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (MEETS_MOVED, StatusChanged(MOVED)),
        (FAILED, NotFound()),
        (FAILED | {"Item": {}}, NotFound()),
        (CONFLICT, Conflict()),
    ],
    ids=["moved", "absent", "an empty item", "conflict"],
)
def test_what_is_against_the_order_comes_before_whatever_its_products_say(own: dict[str, Any], reason: Reason) -> None:
    for row in (NONE, stock_row(0), stock_row(None), CONFLICT, {"Code": "ValidationError"}):
        assert read(reserves({"p1": 9}), own, row).reasons == (reason,)
    assert read(reserves({"p1": 1}, {"p1": 1}), own, NONE, NONE) == Refused((reason, None))


def test_short_is_who_alone_needs_more_than_there_is() -> None:
    refused = read(reserves({"p1": 3}, {"p1": 6}, {"p1": 5}, {"p2": 9}), NONE, NONE, NONE, NONE, stock_row(5), NONE)
    assert refused == Refused((None, InsufficientStock("p1", 6, 5), None, None), {"p1": 5})


@pytest.mark.parametrize(
    ("row", "left"),
    [(stock_row(None), None), (FAILED | {"Item": {"productId": {"S": "p1"}}}, None), (stock_row(0), 0)],
    ids=["missing", "without stock", "none left"],
)
def test_a_product_that_is_missing_or_has_no_stock_is_short_of_all(row: dict[str, Any], left: int | None) -> None:
    assert read(reserves({"p1": 1}), NONE, row) == Refused((InsufficientStock("p1", 1, left),), {"p1": 0})


def test_one_short_product_is_enough_and_comes_before_a_conflict_at_another() -> None:
    for other in (NONE, CONFLICT):
        refused = read(reserves({"p1": 1, "p2": 2}, {"p3": 1}), NONE, NONE, other, stock_row(1), NONE)
        assert refused == Refused((InsufficientStock("p2", 2, 1), None), {"p2": 1})


CONFLICTING = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"]
OWN_FAULTS = ["ValidationError", "ItemCollectionSizeLimitExceeded", "SomethingNew"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [*((code, Conflict()) for code in CONFLICTING), *((code, ItemError(code)) for code in OWN_FAULTS)],
)
def test_any_other_reason_is_that_orders_or_of_all_who_want_that_product(code: str, reason: Reason) -> None:
    batch = reserves({"p1": 1}, {"p2": 1}, {"p2": 1, "p1": 1})
    assert read(batch, {"Code": code}, NONE, NONE, NONE, NONE) == Refused((reason, None, None))
    assert read(batch, NONE, NONE, NONE, {"Code": code}, NONE) == Refused((reason, None, reason))


@pytest.mark.parametrize("code", ["TransactionConflictException", "TransactionInProgressException"])
def test_the_codes_of_single_writes_are_conflicts_too(code: str) -> None:
    assert own_reason({"Code": code}) == Conflict()


def test_an_order_that_another_release_wrote_is_named() -> None:
    unreadable = FAILED | {"Item": order_to_item(MOVED) | {"status": {"S": "RETURNED"}}}
    assert own_reason(unreadable) == ItemError("order o0 cannot be read by this release")


def test_creations_and_marks_have_no_stock_to_be_short_of() -> None:
    batch: list[Change] = [Create(an_order("o1")), Create(an_order("o0")), OutboxUpdate(an_order("o2"), NOW, None)]
    assert read(batch, NONE, MEETS_MOVED, FAILED) == Refused((None, StatusChanged(MOVED), NotFound()))
