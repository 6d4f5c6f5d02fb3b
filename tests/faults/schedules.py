"""A schedule: what happens, one step after the other. It is text, so that it can be printed and replayed.

    place key=1 units=2 fault=lost@1; later seconds=61; deliver limit=3 twice; cancel which=0

Steps are separated by semicolons or line ends. An argument is a number or a word; one that is true is its name alone,
and one that has its default may be left out.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Argument = int | str | bool | None

_NAME = re.compile("[a-z_]+")
_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*(?:@[0-9]+)?")


class InvalidSchedule(Exception):
    """The text is not a schedule; the message says which of its steps is at fault."""


@dataclass(frozen=True)
class Step:
    """What happens, and to whom. Arguments that are None or False are as good as left out."""

    name: str
    arguments: Mapping[str, Argument]

    def __str__(self) -> str:
        shown = [
            name if value is True else f"{name}={value}"
            for name, value in self.arguments.items()
            if value is not None and value is not False
        ]
        return " ".join([self.name, *shown])


Schedule = Sequence[Step]


def to_text(schedule: Schedule) -> str:
    """One line."""
    return "; ".join(map(str, schedule))


def from_text(text: str) -> list[Step]:
    """Raises InvalidSchedule."""
    return [_step(line) for line in re.split(r"[;\n]", text) if line.strip()]


def _step(line: str) -> Step:
    name, *rest = line.split()
    if not _NAME.fullmatch(name):
        raise InvalidSchedule(f"not a step: {line.strip()!r}")
    return Step(name, dict(_argument(word, line) for word in rest))


def _argument(text: str, line: str) -> tuple[str, Argument]:
    name, equals, value = text.partition("=")
    if not equals and _NAME.fullmatch(text):
        return name, True
    if value.isascii() and value.isdigit():
        return name, int(value)
    if not _WORD.fullmatch(value):
        raise InvalidSchedule(f"not an argument: {text!r} in {line.strip()!r}")
    return name, value
