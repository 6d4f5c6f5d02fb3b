"""How much time is left."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_AND_A_BIT = 1.25
"""Times the margin: the next step must find the margin whole."""


@dataclass(frozen=True)
class Deadline:
    """How much time is left; `remaining` and `margin` in seconds."""

    remaining: Callable[[], float]
    margin: float = 4.0

    @classmethod
    def from_context(cls, context: Any) -> "Deadline":
        """The time that a Lambda context says is left; 4 s of it are kept, or 40 % where there is little in all."""
        in_all = context.get_remaining_time_in_millis() / 1000
        return cls(lambda: context.get_remaining_time_in_millis() / 1000, min(4.0, 0.4 * in_all))

    @property
    def has_passed(self) -> bool:
        """Whether no further step may begin: what begins must be able to end."""
        return self.remaining() < self.margin

    def patience(self, most: float) -> float:
        """Seconds to wait for somebody else, `most` at most: so few that the next step can begin after them."""
        return min(most, self.remaining() - _AND_A_BIT * self.margin)


NO_DEADLINE = Deadline(lambda: float("inf"))
