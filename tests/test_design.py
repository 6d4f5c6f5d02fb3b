"""docs/design.md is one page, and each promise in it leads to the code that keeps it and the test that shows it."""

import re

import pytest

from tests.support.template import ROOT

DESIGN = (ROOT / "docs" / "design.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
ROWS = [line for line in DESIGN.splitlines() if re.search(r"\]\(\.\./tests/", line)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_each_promise_has_its_code_and_its_test(row: str) -> None:
    links = re.findall(r"\[([^\]]+)\]\(\.\./([^)]+)\)", row)
    assert [target.partition("/")[0] for _, target in links] in (["chalicelib", "tests"], ["deploy", "tests"])
    for symbol, target in links:
        source = (ROOT / target).read_text("utf-8")
        for name in symbol.split("."):
            assert re.search(rf"^\s*(def|class) {name}\b|^{name}\b.* = ", source, re.MULTILINE), (target, name)


def test_every_promise_is_in_the_table() -> None:
    assert len(ROWS) >= 20
    promises = re.findall(r"^\d\. \*\*([^*]+)\.\*\*", DESIGN, re.MULTILINE)
    assert len(promises) == 4
    assert [p for p in promises if any(row.startswith(f"| **{p}**") for row in ROWS)] == promises


def test_the_design_is_one_page() -> None:
    assert len(DESIGN.split()) < 2500


def test_ten_files_of_fifteen_hundred_lines_have_every_promise() -> None:
    chapter = README.partition("## Read it in an hour")[2].partition("\n## ")[0]
    files = re.findall(r"^\| \d+ \| \[[^\]]+\]\((chalicelib/[^)]+)\)", chapter, re.MULTILINE)
    assert len(files) == len(set(files)) == 10
    assert sum(len((ROOT / file).read_text("utf-8").splitlines()) for file in files) <= 1500
