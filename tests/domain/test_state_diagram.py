"""The diagram in the documentation is the table of transitions, and says so when it no longer is."""

import re

from chalicelib.domain.order import TRANSITIONS
from docs import state_diagram
from tests.support.snippets import snippet


def test_the_page_is_not_stale() -> None:
    page = state_diagram.PAGE.read_text(encoding="utf-8")
    assert page == state_diagram.page(), "run `python -m docs.state_diagram`"


def test_every_transition_is_an_arrow_and_there_is_no_other() -> None:
    drawn = re.findall(r"^    (\w+) --> (\w+): (\w+)$", state_diagram.page(), re.MULTILINE)
    assert drawn == [(arrow.source, arrow.target, arrow.verb) for arrow in TRANSITIONS]


def test_the_design_draws_every_transition() -> None:
    """Of the figure in docs/design.md, the words: each verb and each status."""
    drawn = set(re.findall(r"\w+", snippet("docs/design.md", "PENDING ──reserve").text))
    words = {word for arrow in TRANSITIONS for word in (arrow.source.value, arrow.target.value, arrow.verb)}
    assert drawn - {"from", "or"} == words


def test_it_begins_where_nothing_leads_and_ends_where_nothing_leads_on() -> None:
    page = state_diagram.page()
    assert re.findall(r"^    \[\*\] --> (\w+)$", page, re.MULTILINE) == ["PENDING"]
    assert set(re.findall(r"^    (\w+) --> \[\*\]$", page, re.MULTILINE)) == {"DELIVERED", "FAILED", "CANCELLED"}
