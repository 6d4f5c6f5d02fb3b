"""The list `equivalents.txt`: mutants that change nothing that anybody could observe, with the reason of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutant import Mutant

LIST = Path(__file__).with_name("equivalents.txt")


@dataclass(frozen=True)
class Equivalent:
    """One row: a mutant by file, function and difference."""

    key: str
    reason: str

    @property
    def path(self) -> str:
        return self.key.partition(":")[0]

    @property
    def function(self) -> str:
        return self.key.partition("\n")[0].partition(":")[2]

    @property
    def removed(self) -> list[str]:
        """The lines of the function that it changes, without indentation."""
        return [line[2:] for line in self.key.splitlines() if line.startswith("- ")]


def key_of(mutant: Mutant) -> str:
    """How the list names a mutant: no line numbers, since every edit moves them."""
    changed = [f"- {line}".rstrip() for line in mutant.removed] + [f"+ {line}".rstrip() for line in mutant.added]
    return "\n".join([f"{mutant.path}:{mutant.function}", *changed])


def equivalents(text: str) -> Iterator[Equivalent]:
    """The rows. A line that begins with `## ` is the reason of all that follow, until the next one."""
    reason = ""
    for block in text.split("\n\n"):
        if block.startswith("## "):
            reason = " ".join(line.removeprefix("## ") for line in block.splitlines())
        elif block.strip() and not block.startswith("# "):
            yield Equivalent(block.strip(), reason)


def reasons() -> dict[str, str]:
    """The reason of each row, by what names its mutant."""
    return {row.key: row.reason for row in equivalents(LIST.read_text("utf-8"))}
