"""Waiting for what other processes and threads do."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(look: Callable[[], T | None], seconds: float = 20) -> T:
    """What it finds, once it finds something; AssertionError if that takes longer."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"it did not come within {seconds} s"
        time.sleep(0.1)
    return found
