"""The comparison by clients places orders with each design, and ends with a fault where one is not placed."""

import os
import subprocess
import sys

import pytest

from benchmarks.clients import window
from tests.support.template import ROOT


def test_each_design_places_orders(dynamodb_local: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    few = ["--clients", "2", "--rounds", "1", "--seconds", "0.2", "--endpoint", dynamodb_local]
    run = [sys.executable, "-m", "benchmarks.clients", *few]
    ended = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    clients, *rates = ended.stdout.splitlines()[-1].strip("| ").split(" | ")
    assert clients == "2"
    assert len(rates) == 5
    assert all(float(rate.replace(",", "")) > 0 for rate in rates)


def test_an_order_that_is_refused_ends_it() -> None:
    with pytest.raises(SystemExit, match=r"an order was not placed: \{'statusCode': 503\}"):
        window(lambda _: {"statusCode": 503}, clients=2, seconds=0.1)
