"""The fenced blocks of the documents: what a reader copies."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.template import ROOT

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Snippet:
    """One block. `document` is its path from the checkout's root; `language` is "" if the fence names none."""

    document: str
    language: str
    text: str

    @property
    def first_words(self) -> str:
        """The first line that has a letter, without its indentation: it names the block within its document."""
        return next(line.strip() for line in self.text.splitlines() if re.search(r"[^\W\d_]", line))


def documents(root: Path = ROOT) -> list[Path]:
    """What people read: the README, the pages in docs/ and of the problems, those about the clients and the tests."""
    pages = [*sorted((root / "docs").glob("*.md")), *sorted((root / "docs" / "problems").glob("*.md"))]
    return [root / "README.md", *pages, *(root / folder / "README.md" for folder in ("clients", "tests"))]


def snippets(document: Path, root: Path = ROOT) -> Iterator[Snippet]:
    """Every block of a document, in its order."""
    for language, text in _FENCE.findall(document.read_text("utf-8")):
        yield Snippet(document.relative_to(root).as_posix(), language, text)


@cache
def snippet(document: str, first_words: str) -> Snippet:
    """The one block of a document that begins with these words."""
    found = [one for one in snippets(ROOT / document) if one.first_words.startswith(first_words)]
    assert len(found) == 1, f"{len(found)} blocks of {document} begin with {first_words!r}"
    return found[0]


def commands(block: Snippet) -> list[str]:
    """The commands of a shell block, one for each line, without their comments."""
    lines = (line.partition("  #")[0].partition(" # ")[0].strip() for line in block.text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]
