"""`make docs` writes pages that lead nowhere else, and that a browser shows from a disk."""

import re
import subprocess
import sys
from pathlib import Path
from posixpath import dirname, join, normpath

import pytest

from chalicelib.domain.events import EVENTS
from docs import site
from tests.support.browser import visited
from tests.support.openapi import operations
from tests.support.template import ROOT

PAGES = {path: content.decode() for path, content in site.files().items() if path.endswith(".html")}


@pytest.mark.parametrize("path", PAGES)
def test_every_link_leads_to_a_file_that_is_there(path: str) -> None:
    for link in re.findall(r'(?:href|src)="(.*?)"', PAGES[path]):
        assert normpath(join(dirname(path), link)) in site.files(), link


def test_every_problem_and_every_event_has_its_place() -> None:
    problems = {page.stem for page in (ROOT / "docs" / "problems").glob("*.md")}
    for problem in problems:
        assert f"<h1>{problem}</h1>" in PAGES[f"problems/{problem}/index.html"]
        assert f'href="problems/{problem}/index.html"' in PAGES["index.html"]
    assert 'href="../invalid-order/index.html"' in PAGES["problems/not-an-order/index.html"]
    for name in (*EVENTS.values(), "OrderCreated"):
        assert f"<h3>{name}: " in PAGES["events/index.html"]


def test_a_browser_shows_every_operation_from_the_disk_alone(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "docs.site", str(tmp_path)], cwd=ROOT, check=True, timeout=60)
    seen = visited((tmp_path / "api" / "index.html").as_uri())
    assert seen.errors == []
    assert seen.operations == operations()
    assert [url for url in seen.requests if not url.startswith(("file:", "data:"))] == []
