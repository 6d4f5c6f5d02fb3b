"""How long there is still time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Deadline:
    """How long there is still time; `remaining` in seconds."""

    remaining: Callable[[], float]
    margin: float = 4.0

    @property
    def has_come(self) -> bool:
        """Whether no further step may be begun: what is begun must be able to end."""
        return self.remaining() < self.margin


NO_DEADLINE = Deadline(lambda: float("inf"))


def deadline_of(context: Any) -> Deadline:
    """The time that a Lambda context says is left; 4 s of it are kept, or 40 % where there is little in all."""
    there_was = context.get_remaining_time_in_millis() / 1000
    return Deadline(lambda: context.get_remaining_time_in_millis() / 1000, min(4.0, 0.4 * there_was))
