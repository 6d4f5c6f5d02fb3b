"""Calls side by side, each with a fault of its own; of SQS and EventBridge, with ten entries each."""

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
    """`call` with ten entries at a time, and what it answered or raised to each ten."""
    tens = [entries[start : start + BATCH_SIZE] for start in range(0, len(entries), BATCH_SIZE)]
    return one_by_one(pool, call, tens)


def one_by_one(
    pool: Executor, call: Callable[[T], R], entries: Sequence[T]
) -> list[tuple[T, R | Unavailable | Rejected]]:
    """`call` with each entry, and what it answered or raised. A call alone needs no thread."""

    def one(entry: T) -> R | Unavailable | Rejected:
        try:
            return call(entry)
        except (Unavailable, Rejected) as fault:
            return fault

    if len(entries) < 2:
        return [(entry, one(entry)) for entry in entries]
    calls = [pool.submit(copy_context().run, one, entry) for entry in entries]
    return [(entry, made.result()) for entry, made in zip(entries, calls, strict=True)]
