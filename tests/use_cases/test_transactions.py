"""Whatever the orders are, no transaction has too many actions or bytes, and each order is whole in one of them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.adapters.dynamodb.items import Item, order_to_item
from chalicelib.deadline import NO_DEADLINE
from chalicelib.domain import changes
from chalicelib.domain.changes import Change, Create, total_stock_delta
from chalicelib.domain.order import TRANSITIONS, Address, LineItem, Order, OutboxEntry, Refund, Status
from chalicelib.faults import Rejected
from chalicelib.use_cases.committing import Applied, BatchCommitter
from chalicelib.use_cases.ports import MAX_ACTIONS, MAX_BYTES
from chalicelib.use_cases.transactions import max_bytes, transactions
from tests.support.aws_calls import AwsCalls
from tests.support.changes import MOVES
from tests.support.orders import NOW, an_order, standing
from tests.support.stage import Stage
from tests.support.tables import repository_on, statuses_in

LATER = NOW + timedelta(seconds=5)
WIDE = "\U0001f6d2"  # four bytes
TEXT = WIDE * 256
LARGEST: dict[str, Any] = {
    "customer_id": WIDE * 128,
    "shipping_address": Address(TEXT, TEXT, TEXT, TEXT, TEXT),
    "total_amount": Decimal("999999999999.99"),
    "request_id": "r" * 128,
    "correlation_id": "c" * 128,
    "failure_reason": "PAYMENT_DECLINED",
    "payment_id": f"pay-{'x' * 60}",
    "refund": Refund.PENDING,
    "carrier": TEXT,
    "tracking_number": TEXT,
    "outbox": OutboxEntry(NOW, 20, "f" * 500),
}
"""Each field but the lines as long as the schemas allow."""


def size(value: Item) -> int:
    """Of a typed item (Amazon DynamoDB Developer Guide, "DynamoDB item sizes and formats"); a number at its largest."""

    def of(typed: Any) -> int:
        ((kind, inner),) = typed.items()
        if kind == "M":
            return 3 + len(inner) + size(inner)
        if kind == "L":
            return 3 + sum(1 + of(one) for one in inner)
        return len(inner.encode()) if kind == "S" else 21

    return sum(len(name.encode()) + of(typed) for name, typed in value.items())


def an_order_of(order_id: str, lines: Sequence[tuple[str, str]], largest: bool) -> Order:
    items = tuple(LineItem(product_id, 1_000_000, Decimal("999999999999.99"), name) for product_id, name in lines)
    return replace(an_order(order_id[:64]), items=items, **(LARGEST if largest else {}))


def largest_orders(count: int) -> list[Order]:
    lines = [(f"{n}{WIDE * 62}", TEXT) for n in range(10, 60)]
    return [an_order_of(f"o{n}", lines, largest=True) for n in range(count)]


ids = st.sampled_from([f"p{n}" for n in range(40)] + [f"{n}{WIDE * 62}" for n in range(10, 60)])
orders = st.builds(
    lambda lines, largest: (list(lines.items()), largest),
    st.dictionaries(ids, st.sampled_from(["", "a name", TEXT]), min_size=1, max_size=50),
    st.booleans(),
)
makes = st.sampled_from(["reserve", "create", "reject", "ensure"])


@settings(max_examples=40)
@given(st.lists(st.tuples(orders, makes), max_size=8), st.integers(1, 25))
def test_no_transaction_is_too_large_and_each_change_is_in_one(
    made: list[tuple[tuple[list[tuple[str, str]], bool], str]], times: int
) -> None:
    batch: list[Change] = []
    for n, ((lines, largest), what) in enumerate(made * times):
        order = an_order_of(f"o{n}", lines, largest)
        if what == "create":
            batch.append(Create(order))
        else:
            batch.append(changes.ensure_entry(order, LATER) if what == "ensure" else MOVES[what](order))
    parts = list(transactions(batch))
    assert [change for part in parts for change in part] == batch
    for part in parts:
        assert len(part) + len(total_stock_delta(part)) <= MAX_ACTIONS
        assert sum(size(order_to_item(change.after)) for change in part) <= MAX_BYTES
    # As few as fit: no part could have taken the first change of the next one too.
    for part, following in pairwise(parts):
        assert len(list(transactions([*part, following[0]]))) == 2


@pytest.mark.parametrize("verb", MOVES)
def test_no_item_is_larger_than_its_bound_along_the_whole_life_cycle(verb: str) -> None:
    (order,) = largest_orders(1)
    source = next(arrow.source for arrow in TRANSITIONS if arrow.verb == verb)
    path = standing(source).history
    reasons = tuple(replace(entry, reason=WIDE * 500 if n == len(path) - 1 else None) for n, entry in enumerate(path))
    order = replace(order, status=source, history=reasons, reserved=order.quantities)
    move = MOVES[verb](order)
    for item in (order_to_item(order), order_to_item(move.after)):
        assert size(item) <= max_bytes(move)


def test_sixty_of_the_largest_orders_take_as_many_transactions_as_dynamodb_asks_for(
    real_aws: Stage, aws_calls: AwsCalls
) -> None:
    """Without regard to bytes the engine refuses the batch as a whole, and each order would be a call of its own."""
    repository = repository_on(real_aws, aws_calls)
    batch: list[Change] = [Create(order) for order in largest_orders(60)]
    with pytest.raises(Rejected):
        repository.commit(batch)
    assert statuses_in(real_aws) == {}
    aws_calls.forget()
    results = BatchCommitter(repository).commit_each(batch, NO_DEADLINE)
    assert all(isinstance(result, Applied) for result in results)
    assert aws_calls.operations() == ["TransactWriteItems"] * 2
    assert set(statuses_in(real_aws).values()) == {Status.PENDING}


def test_bytes_are_counted_to_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    batch: list[Change] = [changes.reserve(standing(Status.PENDING, f"o{n}", {f"p{n}": 1}), LATER) for n in range(4)]
    # A line: 150, and four for each character of its id, twice, and of "name of p0".
    size = 16_384 + 150 + 4 * (2 * 2 + 10)
    assert [max_bytes(change) for change in batch] == [size] * 4
    for limit, parts in ((2 * (size + 4_096), [2, 2]), (2 * (size + 4_096) - 1, [1, 1, 1, 1])):
        monkeypatch.setattr("chalicelib.use_cases.transactions.MAX_BYTES", limit)
        assert [len(part) for part in transactions(batch)] == parts
