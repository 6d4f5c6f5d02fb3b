"""Random schedules keep every promise, find a mistake that is planted, and are printed as they are replayed."""

import re
from collections.abc import Callable
from datetime import datetime
from types import SimpleNamespace
from typing import cast
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.changes import Create
from chalicelib.domain.order import Order
from tests.faults.chaos import again
from tests.faults.machine import STEPS, Violation, read, search
from tests.faults.planted import PLANTED, Planted
from tests.faults.play import Tally
from tests.faults.processes import running
from tests.faults.scenarios import WITH
from tests.faults.schedules import InvalidSchedule, Step, to_text
from tests.support.providers import PROVIDERS
from tests.support.stage import Stage
from tests.support.tables import forget_order
from tests.support.template import ROOT

EXAMPLES, STEPS_EACH = 10, 20
LOST_MESSAGE = "place key=1 fault=dropped@2"
"""The order is stored; its message is never sent."""

each_step = st.one_of(
    [st.builds(Step, st.just(name), st.fixed_dictionaries(dict(STEPS[name].arguments))) for name in STEPS]
)


def without_entry(order: Order, at: datetime) -> Create:
    return Create(order)


def shown(schedule: list[Step]) -> list[tuple[str, dict[str, object]]]:
    return [
        (step.name, {n: v for n, v in step.arguments.items() if v is not None and v is not False}) for step in schedule
    ]


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(("provider", "examples"), [("simulated", EXAMPLES), ("stripe", EXAMPLES // 2)])
def test_whatever_happens_in_whatever_order_every_promise_is_kept(
    real_tables: Stage, provider: str, examples: int, record_property: Callable[[str, object], None]
) -> None:
    tally = Tally()
    search(real_tables, tally, examples=examples, steps=STEPS_EACH, seeded=1, provider=provider)
    record_property("schedules", (f"random schedules{WITH[provider]}", tally.examples))
    assert tally.struck.total() > examples / 2, f"too peaceful to show anything: {tally}"
    assert len(tally.ends) >= 3


@pytest.mark.usefixtures("quiet")
def test_a_schedule_is_replayed_and_shows_a_mistake_that_is_there(
    real_tables: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert again(real_tables, LOST_MESSAGE) == 0
    assert "1 steps: every promise is kept." in capsys.readouterr().out
    with patch("chalicelib.use_cases.placing.create", without_entry):
        assert again(real_tables, LOST_MESSAGE) == 1
    assert "A promise is broken." in capsys.readouterr().out


class Brittle:
    """In place of a play: a promise breaks when an order with a key is placed, and some time later one is cancelled."""

    def __init__(self, *_: object) -> None:
        self.schedule: list[Step] = []
        self.named = self.late = self.newer = ["something"]
        self.queue = SimpleNamespace(sent=self.named)
        self.clients = SimpleNamespace(own=self.named)
        self.visible = self.overdue = self.is_early = self.letters = self.end = self.close = lambda: True

    def do(self, step: Step) -> None:
        self.schedule.append(step)
        if step.name == "cancel" and any(one.arguments.get("key") for one in self.schedule):
            raise AssertionError("broken")


def test_a_schedule_that_breaks_a_promise_is_made_short() -> None:
    with patch("tests.faults.machine.Play", Brittle), pytest.raises(Violation) as found:
        search(cast(Stage, None), Tally(), examples=500, steps=20, seeded=1)
    assert found.value.schedule == "place key=1 units=0; cancel which=0"
    assert found.value.examples >= 1


@given(st.lists(each_step, max_size=5))
@settings(max_examples=25)
def test_a_schedule_is_read_as_it_is_printed(schedule: list[Step]) -> None:
    assert shown(read(to_text(schedule))) == shown(schedule)


@pytest.mark.parametrize(
    "text", ["place key=", "place key=A", "Place", "place fault=lost@", "place key=1 2;", "close", "place which=1"]
)
def test_what_is_not_a_schedule_is_refused(text: str) -> None:
    with pytest.raises(InvalidSchedule):
        read(text)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.mistake)
def test_each_planted_mistake_can_still_be_planted(planted: Planted) -> None:
    assert (ROOT / "chalicelib" / planted.file).read_text("utf-8").count(planted.right) == 1


def test_the_page_has_every_step_and_every_planted_mistake() -> None:
    page = " ".join((ROOT / "docs" / "reliability.md").read_text("utf-8").split())
    chapter = page.partition("## Random schedules")[2].partition(" ## ")[0]
    assert [name for name in STEPS if f"`{name}`" not in chapter] == []
    rows = re.findall(r"\| ([^|]+) \| (\d+) \|", chapter)
    assert [mistake for mistake, _ in rows] == [planted.mistake for planted in PLANTED]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_real_processes_that_are_killed_keep_every_promise_and_what_is_broken_is_noticed(
    dynamodb_local: str, provider: str
) -> None:
    said: list[str] = []
    with running(dynamodb_local, orders=40, seed=1, say=said.append, provider=provider) as run:
        ends = run.run()
        assert ends.total() == 40
        assert run.counts["killed"]
        assert said
        assert [line for line in run.summary(ends) if line == "0 violations in 40 orders."]
        forget_order(run.stage, next(iter(run.expected)))
        with pytest.raises(AssertionError, match="an order is lost"):
            run.check()
