"""What commands print: at a terminal with a frame and a progress bar, to a pipe as plain lines of full length."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from chalicelib import exact_json


def clean(text: str) -> str:
    """The text with control characters made visible: anybody may have written a message or a reason."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def say(text: str = "") -> None:
    """A line of the answer."""
    print(clean(text))


def hint(text: str) -> None:
    """A line about the answer, on stderr, so that a pipe carries the answer alone."""
    print(clean(text), file=sys.stderr)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows under their headings."""
    cleaned = [[clean(cell).replace("\n", " ") for cell in row] for row in rows]
    if not sys.stdout.isatty():
        everything = [list(columns), *cleaned]
        widths = [max(len(row[i]) for row in everything) for i in range(len(columns))]
        for row in everything:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    framed = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        framed.add_column(name, overflow="fold")
    for row in cleaned:
        framed.add_row(*map(Text, row))
    _console().print(framed)


def entry(heading: str, fields: Mapping[str, str]) -> None:
    """One thing with its fields below it, an indented line each (more at a terminal that is too narrow)."""
    say(heading)
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        shown = clean(value).replace("\n", " ")
        if sys.stdout.isatty():
            _console().print(Padding(_hanging(name.ljust(width), shown), (0, 0, 0, 2)))
        else:
            print(f"  {name.ljust(width)}  {shown}")


def as_json(value: Any) -> None:
    """The answer as a JSON document; amounts keep their digits."""
    print(pretty(value))


def pretty(value: Any, indent: str = "") -> str:
    """JSON over several lines, as exact as `exact_json`: no amount becomes a float on the way."""
    deeper = indent + "  "
    if isinstance(value, Mapping) and value:
        inside = (f"{deeper}{exact_json.dumps(name)}: {pretty(item, deeper)}" for name, item in value.items())
        return "{\n" + ",\n".join(inside) + f"\n{indent}}}"
    if isinstance(value, (list, tuple)) and value:
        return "[\n" + ",\n".join(deeper + pretty(item, deeper) for item in value) + f"\n{indent}]"
    return exact_json.dumps(value)


def moment(instant: datetime) -> str:
    """An instant, to the second."""
    return instant.strftime("%Y-%m-%d %H:%M:%SZ")


def ago(duration: timedelta) -> str:
    """A duration in its largest unit: `3 days`."""
    seconds = max(0, int(duration.total_seconds()))
    for name, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return counted(seconds // length, name)
    return counted(seconds, "second")


def counted(number: int, noun: str) -> str:
    """`1 order`, `2 orders`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def money(amount: Decimal, currency: str) -> str:
    """`59.98 USD`."""
    return f"{amount} {currency}"


@contextmanager
def progress(doing: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr, if that is a terminal; call what it yields after each step."""
    console = Console(stderr=True, highlight=False)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda: bar.advance(task)


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)


def _hanging(name: str, value: str) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(name), Text(value))
    return grid
