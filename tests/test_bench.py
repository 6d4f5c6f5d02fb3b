"""The benchmark compares what it says, and prints each figure beside its goal."""

import os
import subprocess
import sys

import pytest

from benchmarks.parts import pairs
from benchmarks.speed import COLUMNS, GOALS, Candidate, Race, printed
from tests.support.template import ROOT


def test_a_run_of_one_round_prints_every_row_and_every_goal() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    run = [sys.executable, "-m", "benchmarks.speed", "--rounds", "1"]
    ended = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    lines = ended.stdout.splitlines()
    assert lines[0] == f"| | {' | '.join(COLUMNS)} |"
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines[2:7]}
    assert rows.keys() == {*GOALS, "ten fresh messages, ms an order"}
    assert [bool(cell) for cell in rows["duplicate, ms"]] == [column != "own code" for column in COLUMNS]
    assert [bool(cell) for cell in rows["new order, ms"]] == [column != "cached" for column in COLUMNS]
    compared = [line for line in lines if line.startswith(tuple(f"| {name}" for name in GOALS))][len(GOALS) :]
    assert len(compared) == sum(map(len, GOALS.values()))
    assert "TransactWriteItems, TransactWriteItems, PutEvents, one after another" in lines[-1]


def test_each_takes_its_turn_and_has_the_median_of_its_second_calls() -> None:
    now = 0.0
    turns: list[str] = []

    def candidate(name: str, *seconds: float) -> Candidate:
        left = [second for timed in seconds for second in (7, timed)]

        def call(_: object) -> None:
            nonlocal now
            turns.append(name)
            now += left.pop(0)

        return Candidate(name, call, dict)

    race = Race([candidate("a", 9, 0.001, 0.005, 0.002), candidate("b", 9, 0.5, 0.25, 1)], clock=lambda: now)
    assert race.run(3, warm_up=1) == pytest.approx({"a": 2.0, "b": 500.0})
    assert turns == ["a", "a", "b", "b"] * 4


def test_the_parts_that_are_compared_do_the_same() -> None:
    accept, write, read, to_json = pairs().values()
    assert accept[0]() is True
    assert accept[1]() == []
    assert write[0]() == write[1]()
    assert read[0]() == read[1]()
    assert str(to_json[0]()) == str(to_json[1]())


def test_a_part_is_this_divided_by_the_peer() -> None:
    row = dict.fromkeys(COLUMNS, 4.0) | {"this": 1.0}
    assert "| duplicate, ms | tuned | 0.25 | 1.75 |" in list(printed(dict.fromkeys(GOALS, row)))
