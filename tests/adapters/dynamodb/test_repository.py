"""Every write of an order is conditional, whole, and answered with what exists: on moto and on a real engine."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import chain, product
from typing import Any

import pytest

from chalicelib.adapters.dynamodb.items import from_item, order_to_item
from chalicelib.adapters.dynamodb.reads import batch_get
from chalicelib.adapters.dynamodb.repository import Repository
from chalicelib.domain import changes
from chalicelib.domain.changes import Change, Create, Move, OutboxUpdate, total_stock_delta
from chalicelib.domain.order import Order, OutboxEntry, Refund, Status
from chalicelib.domain.outcomes import Committed, Conflict, InsufficientStock, NotFound, Refused, StatusChanged
from chalicelib.domain.pending_refunds import refund_pending
from chalicelib.domain.shipments import ShipmentDetails
from chalicelib.faults import Rejected, Unavailable
from chalicelib.use_cases.ports import Page, Waiting
from tests.support.aws_calls import AwsCalls
from tests.support.changes import LATER, OLD, before, every_move
from tests.support.orders import NOW, standing
from tests.support.stage import Stage
from tests.support.tables import claims_beside, repository_on, statuses_in, stock_in, stock_up, store

WINDOW = timedelta(hours=1)


@pytest.fixture
def repository(each_aws: Stage, aws_calls: AwsCalls) -> Repository:
    return repository_on(each_aws, aws_calls)


@pytest.fixture
def on_moto(aws: Stage, aws_calls: AwsCalls) -> Repository:
    """For what the code makes of an answer, whichever engine gave it."""
    return repository_on(aws, aws_calls)


# --- what is written ---


def every_change() -> Iterator[Change]:
    """One of each kind, each of an order of its own; of the entry alone, in every status."""
    yield changes.create(standing(Status.PENDING, "new"), LATER)
    yield changes.create_failed(standing(Status.PENDING, "failed"), LATER, "PRICE_MISMATCH", "why")
    yield from every_move()
    yield ShipmentDetails(before(Status.DELIVERED, "filled-in"), {"carrier": "UPS", "tracking_number": "1Z"})
    for status in Status:
        yield changes.back_off(before(status, f"{status}-retried"), OLD, LATER)
        yield changes.work_done(before(status, f"{status}-done"), OLD, Refund.DONE)
        left = replace(before(status, f"{status}-left"), outbox=None)
        pending = before(status, f"{status}-refund-pending")
        yield from filter(None, (changes.work_left(left, LATER), refund_pending(pending, LATER)))


def test_each_change_is_one_call_and_writes_the_order_as_it_is_after(
    repository: Repository, each_aws: Stage, aws_calls: AwsCalls
) -> None:
    written = {}
    for change in every_change():
        stock_up(each_aws, p1=10, p2=10)
        if not isinstance(change, Create):
            was = change.before if isinstance(change, Move) else change.order
            each_aws.put_item("ORDERS_TABLE", from_item(order_to_item(was)) | {"expiresAt": 1})
        aws_calls.forget()
        assert repository.commit([change]) == Committed((change.after,))
        alone = "PutItem" if isinstance(change, Create) else "UpdateItem"
        assert aws_calls.operations() == ["TransactWriteItems" if total_stock_delta([change]) else alone]
        assert stock_in(each_aws) == {p: 10 + total_stock_delta([change]).get(p, 0) for p in ("p1", "p2")}
        assert repository.get(change.order_id) == change.after
        expires = {"expiresAt": 1} if isinstance(change, ShipmentDetails) else expiry(change)
        written[change.order_id] = from_item(order_to_item(change.after)) | expires
    assert {item["orderId"]: item for item in each_aws.items("ORDERS_TABLE")} == written


def expiry(change: Change) -> dict[str, int]:
    """An order expires once it has ended and nothing is left to do, and never before.

    It outlives the last message that was sent for it by 90 days, and a day for clocks that differ.
    """
    order, seen = change.after, change.seen if isinstance(change, OutboxUpdate) else None
    ended = order.status in (Status.DELIVERED, Status.FAILED, Status.CANCELLED)
    expires_at = (seen or order.updated_at) + timedelta(days=91)
    return {"expiresAt": int(expires_at.timestamp())} if ended and not order.outbox else {}


@pytest.mark.parametrize("source", [Status.RESERVED, Status.PENDING], ids=["alone", "with stock"])
def test_a_transition_happens_only_from_its_exact_status_fingerprint_and_payment_key(
    repository: Repository, each_aws: Stage, source: Status
) -> None:
    stock_up(each_aws, p1=10)
    others = [standing(status, outbox=OutboxEntry(NOW)) for status in Status if status is not source]
    others += [replace(standing(source), fingerprint="v1:another"), replace(standing(source), payment_key="another")]
    for other in others:
        store(each_aws, other)
        believed = standing(source)
        pending = source is Status.PENDING
        change = changes.reserve(believed, LATER) if pending else changes.confirm(believed, LATER, "pay-1")
        assert repository.commit([change]) == Refused((StatusChanged(other),))
        assert repository.get("o1") == other
    assert stock_in(each_aws) == {"p1": 10}


def test_details_of_a_shipment_are_written_only_where_there_are_none_and_nothing_else_has_changed(
    repository: Repository, each_aws: Stage
) -> None:
    shipped = standing(Status.SHIPPED)
    change = ShipmentDetails(shipped, {"carrier": "UPS", "tracking_number": "1Z"})
    others = [
        replace(shipped, carrier="UPS"),
        replace(shipped, tracking_number="1Z"),
        replace(shipped, fingerprint="v1:another"),
        *(standing(status) for status in Status if status is not Status.SHIPPED),
    ]
    for other in others:
        store(each_aws, other)
        assert repository.commit([change]) == Refused((StatusChanged(other),))
        assert repository.get("o1") == other
    only_one = ShipmentDetails(others[0], {"tracking_number": "1Z"})
    store(each_aws, others[0])
    assert repository.commit([only_one]) == Committed((change.after,))


def test_no_change_but_a_creation_creates_an_order(repository: Repository, each_aws: Stage) -> None:
    stock_up(each_aws, p1=10)
    for change in every_change():
        if not isinstance(change, Create):
            assert repository.commit([change]).reasons == (NotFound(),)  # type: ignore[union-attr]
    assert statuses_in(each_aws) == {}
    assert stock_in(each_aws) == {"p1": 10}


def test_a_transition_alone_answers_with_what_exists(repository: Repository, each_aws: Stage) -> None:
    # Its correlation id was written since the order was read: the answer has it.
    store(each_aws, standing(Status.RESERVED, correlation_id="k1", outbox=OutboxEntry(LATER, 3)))
    change = changes.confirm(standing(Status.RESERVED, outbox=OutboxEntry(NOW)), LATER, "pay-1")
    order = replace(change.after, correlation_id="k1")
    assert repository.commit([change]) == Committed((order,))
    assert repository.get("o1") == order


def test_a_move_that_keeps_the_mark_keeps_the_one_that_is_stored(repository: Repository, each_aws: Stage) -> None:
    stock_up(each_aws, p1=1)
    store(each_aws, standing(Status.PENDING, outbox=OutboxEntry(LATER, 4)))
    change = changes.reserve(standing(Status.PENDING), LATER)
    repository.commit([change])
    assert repository.get("o1") == replace(change.after, outbox=OutboxEntry(LATER, 4))


def test_a_transition_whose_answer_was_lost_finds_its_target_reached(
    repository: Repository, each_aws: Stage, aws_calls: AwsCalls
) -> None:
    store(each_aws, standing(Status.RESERVED))
    aws_calls.lose_answer("UpdateItem")
    change = changes.confirm(standing(Status.RESERVED), LATER, "pay-1")
    assert repository.commit([change]) == Refused((StatusChanged(change.after),))


# --- creation ---


def test_a_refused_creation_brings_the_order_that_exists(repository: Repository, each_aws: Stage) -> None:
    first = standing(Status.CONFIRMED, "o1")
    store(each_aws, first)
    batch: list[Change] = [Create(standing(Status.PENDING, f"o{n}", {"p9": 9})) for n in range(3)]
    assert repository.commit([batch[1]]) == Refused((StatusChanged(first),))
    assert repository.commit(batch) == Refused((None, StatusChanged(first), None))
    assert statuses_in(each_aws) == {"o1": "CONFIRMED"}


def test_of_many_creations_at_once_one_succeeds(real_aws: Stage, aws_calls: AwsCalls) -> None:
    repository = repository_on(real_aws, aws_calls)
    orders = [standing(Status.PENDING, request_id=f"r{n}") for n in range(16)]
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(lambda order: repository.commit([Create(order)]), orders))
    (won,) = [outcome for outcome in outcomes if isinstance(outcome, Committed)]
    assert [outcome for outcome in outcomes if isinstance(outcome, Refused)] == 15 * [
        Refused((StatusChanged(won.orders[0]),))
    ]


def test_a_creation_whose_answer_was_lost_meets_its_own_order(repository: Repository, aws_calls: AwsCalls) -> None:
    order = standing(Status.PENDING, request_id="r1")
    aws_calls.lose_answer("PutItem")
    assert repository.commit([Create(order)]) == Refused((StatusChanged(order),))
    assert [call.attempts for call in aws_calls.made] == [2]


# --- many at once, and stock ---


def test_orders_and_stock_are_written_together_to_the_last_unit(
    repository: Repository, each_aws: Stage, aws_calls: AwsCalls
) -> None:
    stock_up(each_aws, p1=6, p2=10)
    orders = [standing(Status.PENDING, f"o{n}", {"p1": 2, "p2": 1}) for n in range(3)]
    store(each_aws, *orders)
    batch = [changes.reserve(order, LATER) for order in orders]
    assert repository.commit(batch) == Committed(tuple(change.after for change in batch))
    assert stock_in(each_aws) == {"p1": 0, "p2": 7}
    assert repository.get_all(["o0", "o1", "o2"]) == [change.after for change in batch]
    (call,) = [call for call in aws_calls.made if call.operation == "TransactWriteItems"]
    assert len(call.params["TransactItems"]) == 5


def test_one_order_in_the_way_and_nothing_is_written(repository: Repository, each_aws: Stage) -> None:
    stock_up(each_aws, p1=10)
    orders = [standing(Status.PENDING, f"o{n}") for n in range(3)]
    cancelled = standing(Status.CANCELLED, "o1")
    store(each_aws, orders[0], cancelled)
    refused = repository.commit([changes.reserve(order, LATER) for order in orders])
    assert refused == Refused((None, StatusChanged(cancelled), NotFound()))
    assert stock_in(each_aws) == {"p1": 10}
    assert statuses_in(each_aws) == {"o0": "PENDING", "o1": "CANCELLED"}


def test_stock_never_goes_below_zero_and_the_answer_says_what_is_left(repository: Repository, each_aws: Stage) -> None:
    stock_up(each_aws, p1=5, p2=9)
    wanted: list[dict[str, int]] = [{"p1": 3}, {"p1": 3, "p2": 1}, {"p1": 6}, {"gone": 1}]
    orders = [standing(Status.PENDING, f"o{n}", units) for n, units in enumerate(wanted)]
    store(each_aws, *orders)
    refused = repository.commit([changes.reserve(order, LATER) for order in orders])
    assert refused == Refused(
        (None, None, InsufficientStock("p1", 6, 5), InsufficientStock("gone", 1, None)), {"p1": 5, "gone": 0}
    )
    assert stock_in(each_aws) == {"p1": 5, "p2": 9}


def test_a_reservation_whose_answer_was_lost_takes_its_stock_once(real_aws: Stage, aws_calls: AwsCalls) -> None:
    repository = repository_on(real_aws, aws_calls)
    stock_up(real_aws, p1=10)
    store(real_aws, standing(Status.PENDING, quantities={"p1": 4}))
    change = changes.reserve(standing(Status.PENDING, quantities={"p1": 4}), LATER)
    aws_calls.lose_answer("TransactWriteItems", attempts=2)
    # botocore repeats it with the same token, and DynamoDB answers as it did the first time.
    assert repository.commit([change]) == Committed((change.after,))
    assert [call.attempts for call in aws_calls.made] == [3]
    # Another commit, even of the same change, has a token of its own.
    assert repository.commit([change]) == Refused((StatusChanged(change.after),))
    assert stock_in(real_aws) == {"p1": 6}


def test_stock_is_given_back_once_even_to_a_product_that_is_gone(repository: Repository, each_aws: Stage) -> None:
    stock_up(each_aws, p1=0)
    reserved = standing(Status.RESERVED, quantities={"p1": 2, "gone": 1})
    store(each_aws, reserved)
    change = changes.cancel(reserved, LATER, "changed my mind")
    assert repository.commit([change]) == Committed((change.after,))
    assert repository.commit([change]) == Refused((StatusChanged(change.after),))
    assert stock_in(each_aws) == {"p1": 2, "gone": 1}


def test_what_one_order_takes_and_another_gives_back_needs_no_stock(repository: Repository, each_aws: Stage) -> None:
    """Not even a product that is gone stops a compensation."""
    pending, reserved = standing(Status.PENDING, "o1"), standing(Status.RESERVED, "o2")
    store(each_aws, pending, reserved)
    batch = [changes.reserve(pending, LATER), changes.decline(reserved, LATER, "PAYMENT_DECLINED", "why")]
    assert repository.commit(batch) == Committed(tuple(change.after for change in batch))
    assert stock_in(each_aws) == {"p1": 0}


def test_under_threads_stock_is_taken_to_the_last_unit_and_no_further(real_aws: Stage, aws_calls: AwsCalls) -> None:
    repository = repository_on(real_aws, aws_calls)
    stock_up(real_aws, p1=7)
    orders = [standing(Status.PENDING, f"o{n}", {"p1": 2}) for n in range(12)]
    store(real_aws, *orders)
    with ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(lambda order: repository.commit([changes.reserve(order, LATER)]), orders))
    assert sum(isinstance(outcome, Committed) for outcome in outcomes) == 3
    assert stock_in(real_aws) == {"p1": 1}
    assert list(statuses_in(real_aws).values()).count("RESERVED") == 3


# --- the outbox entry ---

SEEN = OutboxEntry(NOW)


@pytest.mark.parametrize(
    ("stored", "change"),
    [
        (standing(Status.PENDING, outbox=OutboxEntry(LATER)), changes.back_off(standing(Status.PENDING), SEEN, LATER)),
        (standing(Status.CONFIRMED), changes.back_off(standing(Status.RESERVED), SEEN, LATER)),
        (standing(Status.CONFIRMED), changes.work_done(standing(Status.CONFIRMED), SEEN, None)),
        (standing(Status.CANCELLED, outbox=SEEN), changes.work_done(standing(Status.CONFIRMED), SEEN, None)),
    ],
    ids=["retried meanwhile", "removed meanwhile", "done by another", "new work with the same entry"],
)
def test_a_mark_is_changed_only_if_it_is_the_one_seen(
    repository: Repository, each_aws: Stage, stored: Order, change: OutboxUpdate
) -> None:
    store(each_aws, stored)
    assert repository.commit([change]) == Refused((StatusChanged(stored),))
    assert repository.get("o1") == stored


@pytest.mark.parametrize("seen", [None, NOW])
def test_a_new_mark_touches_neither_status_nor_history(repository: Repository, each_aws: Stage, seen: Any) -> None:
    shipped = standing(Status.SHIPPED, outbox=SEEN)
    store(each_aws, shipped)
    # Still believed to be CONFIRMED.
    repository.commit([OutboxUpdate(standing(Status.CONFIRMED), seen, OutboxEntry(LATER, 1))])
    assert repository.get("o1") == replace(shipped, outbox=OutboxEntry(LATER, 1))


def test_an_entry_is_ensured_and_one_that_exists_stays_but_for_the_fault(
    repository: Repository, each_aws: Stage
) -> None:
    """And nothing expires any more, though the order has ended: work may be left."""
    entries = [None, OutboxEntry(NOW, 9), OutboxEntry(NOW, 2, "another fault")]
    for entry, fault in product(entries, [None, "a fault"]):
        stored = standing(Status.DELIVERED, outbox=entry)
        each_aws.put_item("ORDERS_TABLE", from_item(order_to_item(stored)) | {"expiresAt": 1})
        change = changes.ensure_entry(standing(Status.PENDING), LATER, fault)
        kept = replace(stored, outbox=replace(entry, fault=fault or entry.fault) if entry else change.outbox)
        assert repository.commit([change]) == Committed((kept,))
        # With its shard, which may be one of the late ones.
        assert each_aws.items("ORDERS_TABLE") == [from_item(order_to_item(kept))]


def test_overdue_and_late_orders_are_found_over_all_shards(repository: Repository, each_aws: Stage) -> None:
    due = [
        standing(Status.PENDING, f"due{n}", outbox=OutboxEntry(NOW - timedelta(seconds=n), n % 9)) for n in range(30)
    ]
    later = [standing(Status.PENDING, f"later{n}", outbox=OutboxEntry(LATER, 30 * n)) for n in range(5)]
    done = [standing(Status.CONFIRMED, f"done{n}") for n in range(5)]
    long_ago = NOW - timedelta(hours=1)
    refused = [
        standing(Status.PENDING, f"r{n}", outbox=OutboxEntry(long_ago - timedelta(seconds=n), 0)) for n in (0, 1)
    ]
    due += refused
    store(each_aws, *due, *later, *done)
    assert sorted(chain.from_iterable(repository.overdue(NOW))) == sorted(order.order_id for order in due)
    # Due again or not: of the first 9, those that were tried 7 and 8 times, and so on. And the one that was never
    # retried, though it has been due for more than an hour.
    assert repository.count_waiting(NOW) == Waiting(6 + 4 + 1, 0)


def test_pending_refunds_are_found_when_they_are_due_and_counted_apart_unless_nobody_could_retry_them(
    repository: Repository, each_aws: Stage
) -> None:
    hours = {"later": -5, "due": 0, "for an hour": 1, "for longer": 1.001}
    for name, n in product(hours, range(10)):
        entry = OutboxEntry(NOW - timedelta(hours=hours[name]), refund_pending=True)
        store(each_aws, standing(Status.CANCELLED, f"{name[-3:]}{n}", outbox=entry))
    store(each_aws, standing(Status.FAILED, "late", outbox=OutboxEntry(LATER, 9)))
    assert len(list(chain.from_iterable(repository.overdue(NOW)))) == 30
    assert repository.count_waiting(NOW) == Waiting(10 + 1, 30)


def test_the_outbox_is_read_to_its_last_page(repository: Repository, each_aws: Stage) -> None:
    orders = [standing(Status.PENDING, f"o{n}", outbox=OutboxEntry(NOW, 10)) for n in range(460)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda order: store(each_aws, order), orders))
    found = list(repository.overdue(NOW))
    assert max(map(len, found)) == 100
    assert sorted(chain.from_iterable(found)) == sorted(order.order_id for order in orders)
    assert repository.count_waiting(NOW) == Waiting(460, 0)


# --- reading ---


def pages(repository: Repository, customer_id: str, limit: int) -> Iterator[list[str]]:
    page = repository.list_by_customer(customer_id, limit)
    yield [order.order_id for order in page.orders]
    while page.next_start:
        page = repository.list_by_customer(customer_id, limit, page.next_start)
        yield [order.order_id for order in page.orders]


def test_a_customers_orders_come_newest_first_page_by_page(repository: Repository, each_aws: Stage) -> None:
    orders = [standing(Status.PENDING, f"o{n}", created_at=NOW + timedelta(milliseconds=n)) for n in range(7)]
    of_one_instant = [standing(Status.PENDING, f"x{n}", customer_id="c2") for n in range(5)]
    store(each_aws, *orders, *of_one_instant)
    assert list(pages(repository, "c1", 3)) == [["o6", "o5", "o4"], ["o3", "o2", "o1"], ["o0"]]
    assert repository.list_by_customer("c1", 100).orders == tuple(reversed(orders))
    assert sorted(chain.from_iterable(pages(repository, "c2", 2))) == [f"x{n}" for n in range(5)]


def test_a_customer_without_orders_has_an_empty_page(repository: Repository, aws_calls: AwsCalls) -> None:
    assert repository.list_by_customer("nobody", 20) == Page((), None)
    assert aws_calls.operations() == ["Query"]


def test_what_is_no_id_names_nothing_and_is_not_even_asked_for(on_moto: Repository, aws_calls: AwsCalls) -> None:
    for order_id in ("", "a b", "a/b", "é", "o1\n", "x" * 65, "x" * 3000):
        assert on_moto.get(order_id) is None
    for customer_id in ("", "c" * 129, "c" * 3000):
        assert on_moto.list_by_customer(customer_id, 10) == Page((), None)
    assert aws_calls.made == []


def test_the_shortest_and_the_longest_ids_are_asked_for(repository: Repository, aws_calls: AwsCalls) -> None:
    for length in (1, 64):
        assert repository.get("o" * length) is None
    for length in (1, 128):
        assert repository.list_by_customer("c" * length, 10) == Page((), None)
    assert aws_calls.operations() == ["GetItem", "GetItem", "Query", "Query"]


def test_many_orders_are_read_in_the_order_asked_for(repository: Repository, each_aws: Stage) -> None:
    store(each_aws, *(standing(Status.PENDING, f"o{n}") for n in range(3)))
    assert [order.order_id for order in repository.get_all(["o2", "gone", "o0", "o1"])] == ["o2", "o0", "o1"]
    assert repository.get_all([]) == []
    assert repository.get("gone") is None


def test_what_dynamodb_leaves_unread_is_asked_for_again(on_moto: Repository, aws: Stage, aws_calls: AwsCalls) -> None:
    store(aws, *(standing(Status.PENDING, f"o{n}") for n in range(7)))

    def leave(parsed: dict[str, Any], **_: Any) -> None:
        read = parsed["Responses"][on_moto.table]
        if read[1:]:
            left = {"Keys": [{"orderId": item["orderId"]} for item in read[1:]]}
            parsed["UnprocessedKeys"] = {on_moto.table: left}
            del read[1:]

    on_moto.client.meta.events.register("after-call.dynamodb.BatchGetItem", leave)
    assert [order.order_id for order in on_moto.get_all(["o0", "o1", "o2"])] == ["o0", "o1", "o2"]
    assert aws_calls.operations() == ["BatchGetItem"] * 3
    wanted = {"Keys": [{"orderId": {"S": f"o{n}"}} for n in range(7)]}
    pauses: list[float] = []
    with pytest.raises(Unavailable, match="left unprocessed"):
        batch_get(on_moto.client, on_moto.table, wanted, pauses.append)
    assert len(pauses) == 6
    assert pauses[0] == 0


def test_an_order_is_read_consistently(on_moto: Repository, aws_calls: AwsCalls) -> None:
    on_moto.get("o1")
    assert [call.params["ConsistentRead"] for call in aws_calls.made] == [True]


# --- conflicts and faults ---

RESERVE: list[Change] = [changes.reserve(standing(Status.PENDING), LATER)]
CONFIRM: list[Change] = [changes.confirm(standing(Status.RESERVED), LATER, "pay-1")]
CREATE: list[Change] = [changes.create(standing(Status.PENDING), NOW)]
BOTH: list[Change] = [changes.reserve(standing(Status.PENDING, f"o{n}"), LATER) for n in range(2)]


@pytest.mark.parametrize("code", ["TransactionConflictException", "TransactionInProgressException"])
def test_a_conflict_is_not_a_refusal(on_moto: Repository, aws_calls: AwsCalls, code: str) -> None:
    aws_calls.refuse(code, times=None)
    for batch in (CREATE, CONFIRM, RESERVE, BOTH):
        assert on_moto.commit(batch) == Refused(tuple(Conflict() for _ in batch))
    assert aws_calls.operations() == ["PutItem", "UpdateItem", "TransactWriteItems", "TransactWriteItems"]


def test_a_conflict_among_the_reasons_is_read(on_moto: Repository, aws_calls: AwsCalls) -> None:
    reasons = [{"Code": "None"}, {"Code": "TransactionConflict", "Message": "…"}, {"Code": "None"}]
    aws_calls.refuse("TransactionCanceledException", "TransactWriteItems", CancellationReasons=reasons)
    assert on_moto.commit(BOTH) == Refused((None, Conflict()))


USES: dict[str, Callable[[Repository], object]] = {
    "PutItem": lambda repository: repository.commit(CREATE),
    "UpdateItem": lambda repository: repository.commit(CONFIRM),
    "TransactWriteItems": lambda repository: repository.commit(RESERVE),
    "PutItem of a claim": lambda repository: claims_beside(repository).claim_order_id("r", "o", NOW, WINDOW),
    "GetItem of a claim": lambda repository: claims_beside(repository).claimed_order_id("r", NOW),
    "GetItem": lambda repository: repository.get("o1"),
    "BatchGetItem": lambda repository: repository.get_all(["o1"]),
    "Query of a customer": lambda repository: repository.list_by_customer("c1", 10),
    "Query of the outbox": lambda repository: list(repository.overdue(NOW)),
    "Query of the late": lambda repository: repository.count_waiting(NOW),
}


@pytest.mark.parametrize(
    ("code", "status", "fault"),
    [
        *((f"{name}Exception", 400, Unavailable) for name in ("Throttling", "ProvisionedThroughputExceeded")),
        ("RequestLimitExceeded", 400, Unavailable),
        *(("InternalServerError", 500, Unavailable), ("ServiceUnavailable", 503, Unavailable)),
        *((f"{name}Exception", 400, Rejected) for name in ("Validation", "AccessDenied", "ResourceNotFound")),
    ],
)
def test_a_fault_is_one_that_may_pass_or_one_that_will_not(
    on_moto: Repository, aws_calls: AwsCalls, code: str, status: int, fault: type[Exception]
) -> None:
    aws_calls.refuse(code, times=None, status=status)
    for name, use in USES.items():
        # It names operation and code, but not the order.
        with pytest.raises(fault, match=f"^{name.split()[0]}: {code}$"):
            use(on_moto)


def test_a_connection_that_fails_past_the_retries_is_unavailable(on_moto: Repository, aws_calls: AwsCalls) -> None:
    aws_calls.drop_request(times=None, attempts=None)
    for use in USES.values():
        with pytest.raises(Unavailable):
            use(on_moto)
    assert [call.attempts for call in aws_calls.made] == [3] * len(USES)


def test_an_order_too_large_to_store_is_rejected_by_the_engine(real_aws: Stage, aws_calls: AwsCalls) -> None:
    repository = repository_on(real_aws, aws_calls)
    with pytest.raises(Rejected, match="ValidationException"):
        repository.commit([Create(standing(Status.PENDING, failure_reason="x" * 500_000))])
