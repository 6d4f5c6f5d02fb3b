"""Batch calls of SQS and EventBridge: ten entries each, side by side, and each with a fault of its own."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextvars import copy_context
from typing import TypeVar

from chalicelib.faults import Rejected, Unavailable
from chalicelib.use_cases.ports import BATCH_SIZE

T = TypeVar("T")
R = TypeVar("R")

WIDTH = 10
"""Calls at a time: a batch of a hundred messages has ten. (The clients keep more connections than that.)"""


def in_tens(
    pool: Executor, call: Callable[[Sequence[T]], R], entries: Sequence[T]
) -> list[tuple[Sequence[T], R | Unavailable | Rejected]]:
    """`call` with ten entries at a time, and what it answered or raised to each ten. A call alone needs no thread."""

    def one(ten: Sequence[T]) -> R | Unavailable | Rejected:
        try:
            return call(ten)
        except (Unavailable, Rejected) as fault:
            return fault

    tens = [entries[start : start + BATCH_SIZE] for start in range(0, len(entries), BATCH_SIZE)]
    if len(tens) < 2:
        return [(ten, one(ten)) for ten in tens]
    calls = [pool.submit(copy_context().run, one, ten) for ten in tens]
    return [(ten, made.result()) for ten, made in zip(tens, calls, strict=True)]
