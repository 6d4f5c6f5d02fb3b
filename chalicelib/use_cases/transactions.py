"""Which changes fit into one transaction: by its actions, and by the bytes of its items."""

from collections.abc import Iterator, Sequence

from chalicelib.domain.changes import Change, Move, stock_delta
from chalicelib.domain.order import Order
from chalicelib.use_cases.ports import MAX_ACTIONS, MAX_BYTES

_LINE_BYTES = 150
"""Of a line in an item, and of its entry in `reserved`, without their texts: names of attributes, numbers, overhead."""

_ORDER_BYTES = 16_384
"""Of all the rest of an order, each text as long as the schemas allow, in characters of four bytes each."""

_PRODUCT_BYTES = 4_096
"""Assumed of a product's row, which operators write. A transaction that is too large is refused as a whole, and each
of its changes is then committed alone (`BatchCommitter`)."""


def transactions(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """The changes in as few parts as fit into a transaction each, in their order; a change is never split."""
    part: list[Change] = []
    products: set[str] = set()
    order_bytes = 0
    for change in changes:
        wanted, size = products | stock_delta(change).keys(), order_bytes + max_bytes(change)
        if part and (len(part) + 1 + len(wanted) > MAX_ACTIONS or size + len(wanted) * _PRODUCT_BYTES > MAX_BYTES):
            yield part
            part, wanted, size = [], set(stock_delta(change)), max_bytes(change)
        part.append(change)
        products, order_bytes = wanted, size
    if part:
        yield part


def max_bytes(change: Change) -> int:
    """Of the order's item, at most, before and after the change. Counted by characters: measuring costs more."""
    order: Order = change.before if isinstance(change, Move) else change.order
    characters = sum(2 * len(line.product_id) + len(line.product_name or "") for line in order.items)
    return _ORDER_BYTES + len(order.items) * _LINE_BYTES + 4 * characters
