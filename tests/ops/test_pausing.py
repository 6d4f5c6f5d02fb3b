"""A pause records what was there and a resume gives it back, wherever either of them is cut off."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from deploy.names import operations_table
from deploy.template import resources_template
from ops.pausing import Before, MeanwhileChanged, Record, RecordTable, Valve, pause, resume

CONFIGURED = {"api": "100", "consumer": "Enabled", "recover": "ENABLED"}
CLOSED = {"api": "0", "consumer": "Disabled", "recover": "DISABLED"}
OPEN = {"api": ["none", "1", "100"], "consumer": ["Enabled"], "recover": ["ENABLED"]}


class Crash(Exception):
    """The operator's process ends."""


@dataclass
class Stage:
    """A stage's states by part, and its record. It crashes before (even) or after (odd) a call; None: never."""

    states: dict[str, str] = field(default_factory=lambda: dict(CONFIGURED))
    recorded: Before = field(default_factory=lambda: Before({}))
    crash: int | None = None

    def call(self, effect: Callable[[], object]) -> None:
        for moment in (lambda: None, effect):
            moment()
            if self.crash == 0:
                raise Crash
            if self.crash is not None:
                self.crash -= 1

    def read(self) -> Before:
        self.call(lambda: None)
        return self.recorded

    def replace(self, before: Before, states: Mapping[str, str]) -> None:
        if before.version != self.recorded.version:
            raise MeanwhileChanged("as on DynamoDB")
        version = f"{self.recorded.version}+" if states else None
        self.call(lambda: setattr(self, "recorded", Before(states, version)))

    def valve(self, part: str) -> Valve:
        def turn(state: str) -> None:
            self.call(lambda: self.states.update({part: state}))

        state = self.states[part]
        return Valve(part, f"the {part}", state, CLOSED[part], CONFIGURED[part], state, turn)

    def does(self, command: Callable[..., object], parts: frozenset[str], crash: int | None = None) -> None:
        """The command; unless it ends, it is cut off."""
        self.crash = crash
        try:
            command([self.valve(part) for part in self.states], parts, self, [])
        except Crash:
            pass
        finally:
            self.crash = None


ALL = frozenset(CONFIGURED)
PARTS = st.frozensets(st.sampled_from(sorted(ALL)), min_size=1)
CRASHES = st.none() | st.integers(0, 11)
STATES = st.fixed_dictionaries({part: st.sampled_from([*OPEN[part], CLOSED[part]]) for part in CONFIGURED})
COMMANDS = st.lists(st.tuples(st.sampled_from([pause, resume]), PARTS, CRASHES), max_size=6)


@given(STATES, st.lists(st.tuples(PARTS, CRASHES), max_size=5))
def test_whatever_pauses_were_cut_off_a_resume_gives_back_what_was_there(
    states: dict[str, str], pauses: list[tuple[frozenset[str], int | None]]
) -> None:
    """Also what was closed before, on purpose."""
    stage = Stage(dict(states))
    for parts, crash in pauses:
        stage.does(pause, parts, crash)
    stage.does(pause, ALL)
    assert stage.states == CLOSED
    stage.does(resume, ALL)
    assert (stage.states, stage.recorded) == (states, Before({}))


@given(STATES, COMMANDS)
def test_whatever_was_cut_off_the_next_whole_pause_and_resume_end_right(
    states: dict[str, str], commands: list[tuple[Callable[..., object], frozenset[str], int | None]]
) -> None:
    """What was open is open as it was. What was closed is too, or as it is configured, if it was resumed twice."""
    stage = Stage(dict(states))
    for command, parts, crash in commands:
        stage.does(command, parts, crash)
    stage.does(pause, ALL)
    assert stage.states == CLOSED
    stage.does(resume, ALL)
    for part, state in states.items():
        assert stage.states[part] in ({state} if state != CLOSED[part] else {state, CONFIGURED[part]})
    assert stage.recorded == Before({})


@given(STATES, PARTS)
def test_nothing_is_closed_before_it_is_recorded(states: dict[str, str], parts: frozenset[str]) -> None:
    for crash in range(12):
        stage = Stage(dict(states))
        stage.does(pause, parts, crash)
        changed = {f"the {part}" for part, state in stage.states.items() if state != states[part]}
        assert changed <= stage.recorded.states.keys()


@given(STATES, PARTS)
def test_the_record_is_kept_until_all_of_it_is_resumed(states: dict[str, str], parts: frozenset[str]) -> None:
    for crash in range(12):
        stage = Stage(dict(states))
        stage.does(pause, ALL)
        stage.does(resume, parts, crash)
        differing = {f"the {part}" for part, state in stage.states.items() if state != states[part]}
        assert differing <= stage.recorded.states.keys()


def test_a_record_that_was_left_over_does_not_outlive_the_next_pause() -> None:
    """A resume was cut off before it could forget the record; then a deployment gave the API another number."""
    stage = Stage()
    stage.does(pause, ALL)
    stage.does(resume, ALL, crash=8)
    assert stage.states == CONFIGURED
    assert stage.recorded.states
    stage.states["api"] = "150"
    stage.does(pause, ALL)
    stage.does(resume, ALL)
    assert stage.states["api"] == "150"


def test_without_a_record_what_is_closed_is_opened_as_configured_and_what_is_open_stays() -> None:
    stage = Stage({"api": "7", "consumer": "Disabled", "recover": "ENABLED"})
    resumed = resume([stage.valve(part) for part in stage.states], ALL, stage, [])
    assert stage.states == CONFIGURED | {"api": "7"}
    assert [[valve.part for valve in each] for each in (resumed.unrecorded, resumed.left_closed)] == [["consumer"], []]


@pytest.fixture
def table() -> Any:
    with mock_aws():
        client = boto3.client("dynamodb")
        made = resources_template("dev", watched=False)["Resources"]["OperationsTable"]["Properties"]
        wanted = ("BillingMode", "AttributeDefinitions", "KeySchema")
        client.create_table(TableName=operations_table("dev"), **{name: made[name] for name in wanted})
        yield RecordTable(client, operations_table("dev"))


@pytest.fixture(params=["in memory", "table"])
def record(request: pytest.FixtureRequest) -> Record:
    found: Record = Stage() if request.param == "in memory" else request.getfixturevalue("table")
    return found


def test_a_record_is_what_was_written_last(record: Record) -> None:
    assert record.read() == Before({})
    record.replace(record.read(), {"a": "none"})
    record.replace(record.read(), {"a": "1", "b": "Enabled"})
    assert record.read().states == {"a": "1", "b": "Enabled"}
    record.replace(record.read(), {})
    record.replace(record.read(), {})
    assert record.read() == Before({})


@pytest.mark.parametrize("states", [{}, {"a": "2"}], ids=["forget", "record"])
def test_two_at_once_do_not_overwrite_each_other(record: Record, states: dict[str, str]) -> None:
    nothing = record.read()
    record.replace(nothing, {"a": "1"})
    seen = record.read()
    record.replace(seen, {"a": "1", "b": "1"})
    for before in (nothing, seen):
        if states or before.version:
            with pytest.raises(MeanwhileChanged):
                record.replace(before, states)
    assert record.read().states == {"a": "1", "b": "1"}


def test_a_write_whose_answer_was_lost_is_no_conflict(table: RecordTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore sends it again, and meets its own first try."""
    for call in ("put_item", "delete_item"):
        once = getattr(table.client, call)

        def twice(once: Callable[..., Any] = once, **request: Any) -> None:
            once(**request)
            once(**request)

        monkeypatch.setattr(table.client, call, twice)
    table.replace(table.read(), {"a": "1"})
    table.replace(table.read(), {"a": "2"})
    assert table.read().states == {"a": "2"}
    table.replace(table.read(), {})
    assert table.read() == Before({})
