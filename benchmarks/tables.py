"""Tables in Markdown, and the part of a document that a command computes."""

from collections.abc import Sequence


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
