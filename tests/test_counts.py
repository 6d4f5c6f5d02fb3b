"""What an order costs never grows unnoticed. Counted, not timed: the same on every machine, however busy."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from benchmarks.counts import FILE, PYTHON, size
from tests.support.skipping import skip

STORED = json.loads(FILE.read_text("utf-8"))
OF_ONE_PYTHON = {"function calls", "modules"}
SLACK = 1.01
"""A call more or less is chance: an id that is hashed again, a thread that is woken."""


@pytest.fixture(scope="module")
def counted() -> dict[str, Any]:
    run = [sys.executable, "-m", "benchmarks.counts"]
    # Not with the tests' own settings: they validate each parameter of a call.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    ended = subprocess.run(run, cwd=FILE.parents[1], env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize("what", sorted(STORED.keys() - OF_ONE_PYTHON - {"python"}))
def test_an_order_makes_the_calls_units_and_bytes_that_it_did(what: str, counted: dict[str, Any]) -> None:
    assert counted[what] == STORED[what], "on purpose? python -m benchmarks.counts --write"


@pytest.mark.parametrize("what", sorted(OF_ONE_PYTHON))
def test_python_does_no_more_for_an_order_than_it_did(what: str, counted: dict[str, Any]) -> None:
    if STORED["python"] != PYTHON:
        skip(f"it was counted on Python {STORED['python']}", to_run=f"make test with PYTHON=python{STORED['python']}")
    grown = {name: (counted[what][name], n) for name, n in STORED[what].items() if counted[what][name] > n * SLACK}
    assert not grown, "on purpose? python -m benchmarks.counts --write"
    shrunk = {name: (counted[what][name], n) for name, n in STORED[what].items() if counted[what][name] < n / SLACK}
    assert not shrunk, "better: python -m benchmarks.counts --write"


def test_each_function_imports_less_than_all_functions_together(counted: dict[str, Any]) -> None:
    assert counted["modules"]["api_handler"] < counted["modules"]["order_consumer"]


@pytest.mark.parametrize(
    ("item", "bytes_"),
    [
        ({"ab": {"S": "é"}}, 4),
        ({"a": {"N": "12345"}}, 1 + 4),
        ({"a": {"L": [{"S": "x"}]}}, 1 + 3 + 2),
        ({"a": {"M": {"b": {"S": "x"}}}}, 1 + 3 + 3),
    ],
)
def test_bytes_of_an_item_are_those_of_names_and_values(item: dict[str, Any], bytes_: int) -> None:
    assert size(item) == bytes_
