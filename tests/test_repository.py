"""Every write of an order is conditional, whole, and answered with what stands: on moto and on a real engine."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from chalicelib import changes
from chalicelib.changes import Change, Create, Remark
from chalicelib.faults import Rejected, Unavailable
from chalicelib.items import LATE, item_of, plain
from chalicelib.order import Mark, Order, Status
from chalicelib.refusals import Absent, Committed, Conflict, Moved, Refused, Short
from chalicelib.repository import Page, Repository
from chalicelib.writes import Writes
from tests.support.aws_calls import AwsCalls
from tests.support.stage import Stage
from tests.test_order import NOW, standing

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

LATER = NOW + timedelta(seconds=5)
WINDOW = timedelta(hours=1)


def repository_on(stage: Stage, calls: AwsCalls) -> Repository:
    """A repository whose calls are watched. Its client retries as the service's does, but waits for a slow machine."""
    config = Config(retries={"mode": "standard", "total_max_attempts": 3}, read_timeout=30, max_pool_connections=16)
    client: DynamoDBClient = boto3.client("dynamodb", config=config)
    calls.watch(client)
    writes = Writes(stage["ORDERS_TABLE"], stage["INVENTORY_TABLE"], timedelta(days=90))
    return Repository(client, stage["ORDERS_TABLE"], stage["IDEMPOTENCY_TABLE"], writes)


def stock_up(stage: Stage, **units: int) -> None:
    for product_id, n in units.items():
        stage.put_item("INVENTORY_TABLE", {"productId": product_id, "stock": n})


def stock_in(stage: Stage) -> dict[str, int]:
    return {item["productId"]: int(item["stock"]) for item in stage.items("INVENTORY_TABLE")}


def store(stage: Stage, *orders: Order) -> None:
    for order in orders:
        stage.put_item("ORDERS_TABLE", plain(item_of(order)))


def stored(stage: Stage) -> dict[str, str]:
    return {item["orderId"]: item["status"] for item in stage.items("ORDERS_TABLE")}


@pytest.fixture
def repository(each_aws: Stage, aws_calls: AwsCalls) -> Repository:
    return repository_on(each_aws, aws_calls)


@pytest.fixture
def on_moto(aws: Stage, aws_calls: AwsCalls) -> Repository:
    """For what the code makes of an answer, whichever engine gave it."""
    return repository_on(aws, aws_calls)


# --- creation ---


def test_an_order_is_created_in_one_call_and_read_back_as_it_is(repository: Repository, aws_calls: AwsCalls) -> None:
    create = changes.create(standing(Status.PENDING), NOW)
    assert repository.commit([create]) == Committed((create.after,))
    assert aws_calls.operations() == ["PutItem"]
    assert repository.get("o1") == create.after
    assert repository.get("o2") is None


def test_a_refused_creation_brings_the_order_that_stands(repository: Repository, aws_calls: AwsCalls) -> None:
    first = changes.create(standing(Status.PENDING), NOW)
    repository.commit([first])
    aws_calls.forget()

    other = changes.create(standing(Status.PENDING, quantities={"p9": 9}), LATER)
    assert repository.commit([other]) == Refused((Moved(first.after),))
    assert aws_calls.operations() == ["PutItem"]
    assert repository.get("o1") == first.after


def test_of_many_creations_at_once_one_succeeds(real_aws: Stage, aws_calls: AwsCalls) -> None:
    repository = repository_on(real_aws, aws_calls)
    orders = [standing(Status.PENDING, request_id=f"r{n}") for n in range(16)]
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(lambda order: repository.commit([Create(order)]), orders))
    (won,) = [outcome for outcome in outcomes if isinstance(outcome, Committed)]
    assert [outcome for outcome in outcomes if isinstance(outcome, Refused)] == 15 * [Refused((Moved(won.orders[0]),))]


def test_a_creation_whose_answer_was_lost_meets_its_own_order(repository: Repository, aws_calls: AwsCalls) -> None:
    order = standing(Status.PENDING, request_id="r1")
    aws_calls.lose_answer("PutItem")
    outcome = repository.commit([Create(order)])
    assert outcome == Refused((Moved(order),))
    assert [call.attempts for call in aws_calls.made] == [2]


def test_many_creations_are_one_transaction(repository: Repository, each_aws: Stage, aws_calls: AwsCalls) -> None:
    stands = standing(Status.CONFIRMED, "o1")
    store(each_aws, stands)
    batch: list[Change] = [Create(standing(Status.PENDING, f"o{n}")) for n in range(3)]
    assert repository.commit(batch) == Refused((None, Moved(stands), None))
    assert stored(each_aws) == {"o1": "CONFIRMED"}
    assert isinstance(repository.commit([batch[0], batch[2]]), Committed)
    assert aws_calls.operations() == ["TransactWriteItems"] * 2


# --- transitions ---


def test_a_transition_alone_is_one_update_that_answers_with_what_stands(
    repository: Repository, each_aws: Stage, aws_calls: AwsCalls
) -> None:
    # The mark was pushed on since the order was read: what stands now says so.
    store(each_aws, standing(Status.RESERVED, mark=Mark(LATER, 3)))
    outcome = repository.commit([changes.confirm(standing(Status.RESERVED, mark=Mark(NOW)), LATER, "pay-1")])
    assert isinstance(outcome, Committed)
    (order,) = outcome.orders
    assert (order.status, order.payment_id, order.mark) == (Status.CONFIRMED, "pay-1", None)
    assert aws_calls.operations() == ["UpdateItem"]
    assert repository.get("o1") == order


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.RESERVED])
def test_a_transition_happens_only_from_its_exact_status(
    repository: Repository, each_aws: Stage, status: Status
) -> None:
    stands = standing(status, mark=Mark(NOW))
    store(each_aws, stands)
    outcome = repository.commit([changes.confirm(standing(Status.RESERVED), LATER, "pay-1")])
    assert outcome == Refused((Moved(stands),))
    assert repository.get("o1") == stands


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "with stock"])
def test_a_transition_happens_only_under_its_fingerprint(
    repository: Repository, each_aws: Stage, *, alone: bool
) -> None:
    stock_up(each_aws, p1=10)
    source = Status.RESERVED if alone else Status.PENDING
    stands = replace(standing(source), fingerprint="v1:another")
    store(each_aws, stands)
    believed = standing(source)
    change = changes.confirm(believed, LATER, "pay-1") if alone else changes.reserve(believed, LATER)
    assert repository.commit([change]) == Refused((Moved(stands),))
    assert repository.get("o1") == stands
    assert stock_in(each_aws) == {"p1": 10}


def test_a_transition_of_an_order_that_is_not_there_creates_none(repository: Repository, each_aws: Stage) -> None:
    stock_up(each_aws, p1=10)
    assert repository.commit([changes.confirm(standing(Status.RESERVED), LATER, "p")]) == Refused((Absent(),))
    assert repository.commit([changes.reserve(standing(Status.PENDING), LATER)]) == Refused((Absent(),))
    assert stored(each_aws) == {}
    assert stock_in(each_aws) == {"p1": 10}


def test_a_transition_whose_answer_was_lost_finds_its_target_reached(
    repository: Repository, each_aws: Stage, aws_calls: AwsCalls
) -> None:
    store(each_aws, standing(Status.RESERVED))
    aws_calls.lose_answer("UpdateItem")
    outcome = repository.commit([changes.confirm(standing(Status.RESERVED), LATER, "pay-1")])
    assert isinstance(outcome, Refused)
    (reason,) = outcome.reasons
    assert isinstance(reason, Moved)
    assert (reason.order.status, len(reason.order.history)) == (Status.CONFIRMED, 3)


def test_a_move_that_keeps_the_mark_keeps_the_one_that_is_stored(repository: Repository, each_aws: Stage) -> None:
    stock_up(each_aws, p1=1)
    store(each_aws, standing(Status.PENDING, mark=Mark(LATER, 4)))
    repository.commit([changes.reserve(standing(Status.PENDING), LATER)])
    order = repository.get("o1")
    assert order
    assert order.mark == Mark(LATER, 4)


def test_an_end_without_work_expires_and_leaves_the_outbox(repository: Repository, each_aws: Stage) -> None:
    store(each_aws, standing(Status.PENDING, mark=Mark(NOW)))
    repository.commit([changes.reject(standing(Status.PENDING), LATER, "OUT_OF_STOCK", "why")])
    (item,) = each_aws.items("ORDERS_TABLE")
    assert item["expiresAt"] == int((LATER + timedelta(days=90)).timestamp())
    assert not {"outbox", "outboxDueAt", "outboxTries"} & set(item)
    assert not any(repository.overdue(LATER + timedelta(days=1)))


# --- with stock ---


def test_orders_and_stock_are_written_together(repository: Repository, each_aws: Stage, aws_calls: AwsCalls) -> None:
    stock_up(each_aws, p1=10, p2=10)
    orders = [standing(Status.PENDING, f"o{n}", {"p1": 2, "p2": 1}) for n in range(3)]
    store(each_aws, *orders)
    batch = [changes.reserve(order, LATER) for order in orders]
    assert repository.commit(batch) == Committed(tuple(change.after for change in batch))
    assert stock_in(each_aws) == {"p1": 4, "p2": 7}
    assert repository.get_all(["o0", "o1", "o2"]) == [change.after for change in batch]
    (call,) = [call for call in aws_calls.made if call.operation == "TransactWriteItems"]
    assert len(call.params["TransactItems"]) == 5


def test_one_order_in_the_way_and_nothing_is_written(repository: Repository, each_aws: Stage) -> None:
    stock_up(each_aws, p1=10)
    orders = [standing(Status.PENDING, f"o{n}") for n in range(3)]
    stands = standing(Status.CANCELLED, "o1")
    store(each_aws, orders[0], stands)
    refused = repository.commit([changes.reserve(order, LATER) for order in orders])
    assert refused == Refused((None, Moved(stands), Absent()))
    assert stock_in(each_aws) == {"p1": 10}
    assert stored(each_aws) == {"o0": "PENDING", "o1": "CANCELLED"}


def test_stock_never_goes_below_zero_and_who_is_short_is_told_what_is_left(
    repository: Repository, each_aws: Stage
) -> None:
    stock_up(each_aws, p1=5, p2=9)
    wanted: list[dict[str, int]] = [{"p1": 3}, {"p1": 3, "p2": 1}, {"p1": 6}, {"gone": 1}]
    orders = [standing(Status.PENDING, f"o{n}", units) for n, units in enumerate(wanted)]
    store(each_aws, *orders)
    refused = repository.commit([changes.reserve(order, LATER) for order in orders])
    assert refused == Refused((None, None, Short("p1", 6, 5), Short("gone", 1, None)), {"p1": 5, "gone": 0})
    assert stock_in(each_aws) == {"p1": 5, "p2": 9}


def test_the_last_units_can_be_taken(repository: Repository, each_aws: Stage) -> None:
    stock_up(each_aws, p1=3)
    store(each_aws, standing(Status.PENDING, quantities={"p1": 3}))
    assert isinstance(
        repository.commit([changes.reserve(standing(Status.PENDING, quantities={"p1": 3}), LATER)]), Committed
    )
    assert stock_in(each_aws) == {"p1": 0}


def test_a_reservation_whose_answer_was_lost_takes_its_stock_once(real_aws: Stage, aws_calls: AwsCalls) -> None:
    repository = repository_on(real_aws, aws_calls)
    stock_up(real_aws, p1=10)
    store(real_aws, standing(Status.PENDING, quantities={"p1": 4}))
    aws_calls.lose_answer("TransactWriteItems", attempts=2)
    # botocore repeats it with the same token, and DynamoDB answers as it did the first time.
    outcome = repository.commit([changes.reserve(standing(Status.PENDING, quantities={"p1": 4}), LATER)])
    assert isinstance(outcome, Committed)
    assert [call.attempts for call in aws_calls.made] == [3]
    assert stock_in(real_aws) == {"p1": 6}


def test_no_two_commits_share_a_token(on_moto: Repository, aws: Stage, aws_calls: AwsCalls) -> None:
    stock_up(aws, p1=1)
    tokens: list[str] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        tokens.append(json.loads(params["body"])["ClientRequestToken"])

    on_moto.client.meta.events.register("before-call.dynamodb.TransactWriteItems", note)
    for _ in range(2):
        on_moto.commit([changes.reserve(standing(Status.PENDING), LATER)])
    assert len(set(tokens)) == 2


def cancelling(quantities: dict[str, int], status: Status = Status.RESERVED) -> Change:
    return changes.cancel(standing(status, quantities=quantities), LATER, "changed my mind")


@pytest.mark.parametrize("status", [Status.RESERVED, Status.CONFIRMED])
def test_what_was_taken_is_given_back_in_the_same_write(
    repository: Repository, each_aws: Stage, status: Status
) -> None:
    stock_up(each_aws, p1=0, p2=4)
    store(each_aws, standing(status, quantities={"p1": 2, "p2": 1}))
    assert isinstance(repository.commit([cancelling({"p1": 2, "p2": 1}, status)]), Committed)
    assert stock_in(each_aws) == {"p1": 2, "p2": 5}
    again = repository.commit([cancelling({"p1": 2, "p2": 1}, status)])
    assert isinstance(again, Refused)
    assert stock_in(each_aws) == {"p1": 2, "p2": 5}


def test_stock_goes_back_even_to_a_product_that_is_gone(repository: Repository, each_aws: Stage) -> None:
    store(each_aws, standing(Status.RESERVED, quantities={"gone": 2}))
    assert isinstance(repository.commit([cancelling({"gone": 2})]), Committed)
    assert stored(each_aws) == {"o1": "CANCELLED"}
    assert stock_in(each_aws) == {"gone": 2}


def test_under_threads_stock_is_taken_to_the_last_unit_and_no_further(real_aws: Stage, aws_calls: AwsCalls) -> None:
    repository = repository_on(real_aws, aws_calls)
    stock_up(real_aws, p1=7)
    orders = [standing(Status.PENDING, f"o{n}", {"p1": 2}) for n in range(12)]
    store(real_aws, *orders)
    with ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(lambda order: repository.commit([changes.reserve(order, LATER)]), orders))
    taken = sum(isinstance(outcome, Committed) for outcome in outcomes)
    assert taken == 3
    assert stock_in(real_aws) == {"p1": 1}
    assert list(stored(real_aws).values()).count("RESERVED") == 3


# --- the mark ---


def test_a_mark_is_pushed_on_only_if_it_is_the_one_seen(repository: Repository, each_aws: Stage) -> None:
    order = standing(Status.PENDING, mark=Mark(NOW))
    store(each_aws, order)
    push = changes.pushed_on(order, Mark(NOW), LATER)
    assert repository.commit([push]) == Committed((push.after,))
    assert repository.commit([push]) == Refused((Moved(push.after),))
    assert repository.get("o1") == push.after


def test_a_mark_that_was_removed_meanwhile_stays_removed(repository: Repository, each_aws: Stage) -> None:
    stands = standing(Status.CONFIRMED)
    store(each_aws, stands)
    push = changes.pushed_on(standing(Status.RESERVED, mark=Mark(NOW)), Mark(NOW), LATER)
    assert repository.commit([push]) == Refused((Moved(stands),))
    assert repository.get("o1") == stands


def test_a_mark_never_brings_an_order_back(repository: Repository, each_aws: Stage) -> None:
    order = standing(Status.PENDING, mark=Mark(NOW))
    assert repository.commit([changes.pushed_on(order, Mark(NOW), LATER)]) == Refused((Absent(),))
    assert repository.commit([Remark(order, None, Mark(LATER))]) == Refused((Absent(),))
    assert stored(each_aws) == {}


def test_a_mark_set_without_looking_asks_only_for_the_order(repository: Repository, each_aws: Stage) -> None:
    store(each_aws, standing(Status.CONFIRMED, mark=Mark(NOW, 5)))
    repository.commit([Remark(standing(Status.CONFIRMED), None, Mark(LATER))])
    order = repository.get("o1")
    assert order
    assert (order.status, order.mark) == (Status.CONFIRMED, Mark(LATER))


def test_a_new_mark_touches_neither_status_nor_history(repository: Repository, each_aws: Stage) -> None:
    stands = standing(Status.SHIPPED, mark=Mark(NOW))
    store(each_aws, stands)
    # Believed to be CONFIRMED still; the mark is the same one.
    repository.commit([Remark(standing(Status.CONFIRMED), NOW, Mark(LATER, 1))])
    assert repository.get("o1") == replace(stands, mark=Mark(LATER, 1))


# --- the outbox ---


def test_overdue_orders_are_found_over_all_shards_and_pages(repository: Repository, each_aws: Stage) -> None:
    due = [standing(Status.PENDING, f"due{n}", mark=Mark(NOW - timedelta(seconds=n), n % 9)) for n in range(30)]
    later = [standing(Status.PENDING, f"later{n}", mark=Mark(LATER)) for n in range(5)]
    done = [standing(Status.CONFIRMED, f"done{n}") for n in range(5)]
    store(each_aws, *due, *later, *done)
    found = [order_id for page in repository.overdue(NOW) for order_id in page]
    assert sorted(found) == sorted(order.order_id for order in due)


def test_the_outbox_is_read_to_its_last_page(repository: Repository, each_aws: Stage) -> None:
    orders = [standing(Status.PENDING, f"o{n}", mark=Mark(NOW, 10)) for n in range(460)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda order: store(each_aws, order), orders))
    pages = list(repository.overdue(NOW))
    assert max(map(len, pages)) == 100
    assert sorted(order_id for page in pages for order_id in page) == sorted(order.order_id for order in orders)
    assert repository.count_late() == 460


def test_only_those_that_wait_long_are_counted_late_due_again_or_not(repository: Repository, each_aws: Stage) -> None:
    tries = [0, 1, 5, 30, 31]
    store(
        each_aws,
        *(standing(Status.PENDING, f"o{n}", mark=Mark(NOW + timedelta(hours=n), t)) for n, t in enumerate(tries)),
    )
    assert repository.count_late() == 2
    assert all(item["outbox"] >= LATE for item in each_aws.items("ORDERS_TABLE") if item["outboxTries"] >= 30)


# --- reading ---


def test_a_customers_orders_come_newest_first_page_by_page(repository: Repository, each_aws: Stage) -> None:
    orders = [
        standing(Status.PENDING, f"o{n}", created_at=NOW + timedelta(milliseconds=n), updated_at=NOW) for n in range(7)
    ]
    store(each_aws, *orders, replace(standing(Status.PENDING, "other"), customer_id="c2"))
    pages = []
    start: tuple[str, str] | None = None
    while True:
        page = repository.of_customer("c1", 3, start)
        pages.append([order.order_id for order in page.orders])
        start = page.following
        if start is None:
            break
    assert [order_id for page in pages for order_id in page] == ["o6", "o5", "o4", "o3", "o2", "o1", "o0"]
    assert pages[:2] == [["o6", "o5", "o4"], ["o3", "o2", "o1"]]
    assert repository.of_customer("c1", 100).orders == tuple(reversed(orders))


def test_orders_of_one_instant_are_all_listed_once(repository: Repository, each_aws: Stage) -> None:
    store(each_aws, *(standing(Status.PENDING, f"o{n}") for n in range(5)))
    seen: list[str] = []
    start: tuple[str, str] | None = None
    while True:
        page = repository.of_customer("c1", 2, start)
        seen += [order.order_id for order in page.orders]
        start = page.following
        if start is None:
            break
    assert sorted(seen) == [f"o{n}" for n in range(5)]


def test_a_customer_without_orders_has_an_empty_page(repository: Repository, aws_calls: AwsCalls) -> None:
    page = repository.of_customer("nobody", 20)
    assert (page.orders, page.following) == ((), None)
    assert aws_calls.operations() == ["Query"]


@pytest.mark.parametrize("order_id", ["", "a b", "a/b", "é", "o1\n", "x" * 65, "x" * 3000], ids=lambda text: text[:8])
def test_what_is_no_order_id_names_no_order_and_is_not_even_asked_for(
    on_moto: Repository, aws_calls: AwsCalls, order_id: str
) -> None:
    assert on_moto.get(order_id) is None
    assert aws_calls.made == []


@pytest.mark.parametrize("customer_id", ["", "c" * 129, "c" * 3000], ids=len)
def test_what_is_no_customer_id_has_no_orders_and_is_not_even_asked_for(
    on_moto: Repository, aws_calls: AwsCalls, customer_id: str
) -> None:
    assert on_moto.of_customer(customer_id, 10) == Page((), None)
    assert aws_calls.made == []


def test_many_orders_are_read_in_the_order_asked_for(repository: Repository, each_aws: Stage) -> None:
    store(each_aws, *(standing(Status.PENDING, f"o{n}") for n in range(3)))
    assert [order.order_id for order in repository.get_all(["o2", "gone", "o0", "o1"])] == ["o2", "o0", "o1"]
    assert repository.get_all([]) == []


def test_what_dynamodb_leaves_unread_is_asked_for_again(on_moto: Repository, aws: Stage, aws_calls: AwsCalls) -> None:
    store(aws, *(standing(Status.PENDING, f"o{n}") for n in range(3)))

    def halve(parsed: dict[str, Any], **_: Any) -> None:
        read = parsed["Responses"][on_moto.orders_table]
        while len(read) > 1:
            left = {"Keys": [{"orderId": item["orderId"]} for item in read[1:]]}
            parsed["UnprocessedKeys"] = {on_moto.orders_table: left}
            del read[1:]

    on_moto.client.meta.events.register("after-call.dynamodb.BatchGetItem", halve)
    assert [order.order_id for order in on_moto.get_all(["o0", "o1", "o2"])] == ["o0", "o1", "o2"]
    assert aws_calls.operations() == ["BatchGetItem"] * 3


def test_an_order_is_read_consistently(on_moto: Repository, aws_calls: AwsCalls) -> None:
    on_moto.get("o1")
    on_moto.reserved_order_id("r1", NOW)
    assert [call.params["ConsistentRead"] for call in aws_calls.made] == [True, True]


# --- reservations of order ids ---


def test_a_free_reservation_stands_for_the_id_it_was_given(repository: Repository, aws_calls: AwsCalls) -> None:
    assert repository.reserve_order_id("r1", "o1", NOW, WINDOW) == "o1"
    assert aws_calls.operations() == ["PutItem"]
    assert repository.reserved_order_id("r1", NOW) == "o1"
    assert repository.reserved_order_id("r2", NOW) is None


def test_a_reservation_stands_until_its_window_is_over(repository: Repository) -> None:
    last = NOW + WINDOW - timedelta(seconds=1)
    repository.reserve_order_id("r1", "o1", NOW, WINDOW)
    assert repository.reserve_order_id("r1", "o2", last, WINDOW) == "o1"
    assert repository.reserved_order_id("r1", last) == "o1"


def test_an_expired_reservation_is_free_though_it_is_not_swept_up(repository: Repository) -> None:
    repository.reserve_order_id("r1", "o1", NOW, WINDOW)
    assert repository.reserved_order_id("r1", NOW + WINDOW) is None
    assert repository.reserve_order_id("r1", "o2", NOW + WINDOW, WINDOW) == "o2"
    assert repository.reserved_order_id("r1", NOW + WINDOW) == "o2"


def test_a_repeated_request_does_not_lengthen_the_window(repository: Repository) -> None:
    repository.reserve_order_id("r1", "o1", NOW, WINDOW)
    repository.reserve_order_id("r1", "o2", NOW + WINDOW / 2, WINDOW)
    assert repository.reserve_order_id("r1", "o3", NOW + WINDOW, WINDOW) == "o3"


def test_a_reservation_is_replaced_on_condition_of_the_old_id(repository: Repository) -> None:
    repository.reserve_order_id("r1", "o1", NOW, WINDOW)
    assert repository.reserve_order_id("r1", "o2", NOW, WINDOW, instead_of="o1") == "o2"
    assert repository.reserve_order_id("r1", "o3", NOW, WINDOW, instead_of="o1") == "o2"


@pytest.mark.parametrize("instead_of", [None, "o0"])
def test_a_reservation_whose_answer_was_lost_is_ones_own(
    repository: Repository, aws_calls: AwsCalls, instead_of: str | None
) -> None:
    if instead_of:
        repository.reserve_order_id("r1", instead_of, NOW, WINDOW)
    aws_calls.lose_answer("PutItem")
    assert repository.reserve_order_id("r1", "o1", NOW, WINDOW, instead_of) == "o1"
    assert aws_calls.made[-1].attempts == 2


def test_of_many_reservations_at_once_all_get_one_id(real_aws: Stage, aws_calls: AwsCalls) -> None:
    repository = repository_on(real_aws, aws_calls)
    with ThreadPoolExecutor(16) as pool:
        ids = set(pool.map(lambda n: repository.reserve_order_id("r1", f"o{n}", NOW, WINDOW), range(16)))
        assert len(ids) == 1
        (old,) = ids
        replaced = set(pool.map(lambda n: repository.reserve_order_id("r1", f"x{n}", NOW, WINDOW, old), range(16)))
    assert len(replaced) == 1
    assert not replaced & ids


# --- conflicts and faults ---

RESERVE: list[Change] = [changes.reserve(standing(Status.PENDING), LATER)]
CONFIRM: list[Change] = [changes.confirm(standing(Status.RESERVED), LATER, "pay-1")]
CREATE: list[Change] = [changes.create(standing(Status.PENDING), NOW)]
BOTH: list[Change] = [changes.reserve(standing(Status.PENDING, f"o{n}"), LATER) for n in range(2)]


@pytest.mark.parametrize("code", ["TransactionConflictException", "TransactionInProgressException"])
def test_a_conflict_is_no_refusal(on_moto: Repository, aws_calls: AwsCalls, code: str) -> None:
    aws_calls.refuse(code, times=None)
    for batch in (CREATE, CONFIRM, RESERVE, BOTH):
        assert on_moto.commit(batch) == Refused(tuple(Conflict() for _ in batch))
    assert aws_calls.operations() == ["PutItem", "UpdateItem", "TransactWriteItems", "TransactWriteItems"]


@pytest.mark.parametrize("code", ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"])
def test_a_conflict_among_the_reasons_is_read(on_moto: Repository, aws_calls: AwsCalls, code: str) -> None:
    reasons = [{"Code": "None"}, {"Code": code, "Message": "…"}, {"Code": "None"}]
    aws_calls.refuse("TransactionCanceledException", "TransactWriteItems", CancellationReasons=reasons)
    assert on_moto.commit(BOTH) == Refused((None, Conflict()))


USES: dict[str, Callable[[Repository], object]] = {
    "create": lambda repository: repository.commit(CREATE),
    "confirm": lambda repository: repository.commit(CONFIRM),
    "reserve": lambda repository: repository.commit(RESERVE),
    "reserve id": lambda repository: repository.reserve_order_id("r", "o", NOW, WINDOW),
    "reserved id": lambda repository: repository.reserved_order_id("r", NOW),
    "get": lambda repository: repository.get("o1"),
    "get all": lambda repository: repository.get_all(["o1"]),
    "list": lambda repository: repository.of_customer("c1", 10),
    "overdue": lambda repository: list(repository.overdue(NOW)),
    "late": lambda repository: repository.count_late(),
}


@pytest.mark.parametrize(
    "code", ["ThrottlingException", "ProvisionedThroughputExceededException", "RequestLimitExceeded"]
)
def test_throttled_past_the_retries_is_unavailable(on_moto: Repository, aws_calls: AwsCalls, code: str) -> None:
    aws_calls.refuse(code, times=None)
    for use in USES.values():
        with pytest.raises(Unavailable, match=code):
            use(on_moto)


@pytest.mark.parametrize(("code", "status"), [("InternalServerError", 500), ("ServiceUnavailable", 503)])
def test_a_server_error_is_unavailable(on_moto: Repository, aws_calls: AwsCalls, code: str, status: int) -> None:
    aws_calls.refuse(code, times=None, status=status)
    for use in USES.values():
        with pytest.raises(Unavailable, match=code):
            use(on_moto)


def test_a_connection_that_fails_past_the_retries_is_unavailable(on_moto: Repository, aws_calls: AwsCalls) -> None:
    aws_calls.drop_request(times=None, attempts=None)
    for use in USES.values():
        with pytest.raises(Unavailable):
            use(on_moto)
    assert [call.attempts for call in aws_calls.made] == [3] * len(USES)


@pytest.mark.parametrize("code", ["ValidationException", "AccessDeniedException", "ResourceNotFoundException"])
def test_what_would_be_refused_again_is_rejected(on_moto: Repository, aws_calls: AwsCalls, code: str) -> None:
    aws_calls.refuse(code, times=None)
    for use in USES.values():
        with pytest.raises(Rejected, match=code):
            use(on_moto)


def test_a_fault_names_operation_and_code_but_not_the_order(on_moto: Repository, aws_calls: AwsCalls) -> None:
    aws_calls.refuse("ValidationException")
    with pytest.raises(Rejected, match=r"^PutItem: ValidationException$"):
        on_moto.commit(CREATE)


def test_an_order_too_large_to_store_is_rejected_by_the_engine(real_aws: Stage, aws_calls: AwsCalls) -> None:
    repository = repository_on(real_aws, aws_calls)
    with pytest.raises(Rejected, match="ValidationException"):
        repository.commit([Create(standing(Status.PENDING, failure_reason="x" * 500_000))])
