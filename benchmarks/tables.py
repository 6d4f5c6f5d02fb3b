"""Tables in Markdown, and the part of a document that a command computes."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

DOCUMENT = Path(__file__).parents[1] / "docs" / "scale.md"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table under its title."""
    lines = [f"### {title}", "", f"| {' | '.join(columns)} |", "| ---: " * len(columns) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def written(text: str, command: str, computed: str) -> str:
    """The document with what this command computes in its place."""
    begin, end = f"<!-- computed: {command} -->", "<!-- end of what is computed -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{computed}\n\n{end}{after}"


def print_or_write(description: str | None, command: str, tables: Iterable[str]) -> int:
    """A command: print the tables as they come; with `--write` they replace those of this command in the document."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--write", action="store_true", help=f"write them into {DOCUMENT.name}")
    given = parser.parse_args()
    made: list[str] = []
    for one in tables:
        made.append(one)
        print(one, end="\n\n", flush=True)
    if given.write:
        DOCUMENT.write_text(written(DOCUMENT.read_text("utf-8"), command, "\n\n".join(made)), "utf-8")
    return 0
