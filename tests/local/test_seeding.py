"""`make seed`: orders for a running stack."""

import json
import os
import subprocess
import sys
import urllib.request

import pytest

from local.faults import StartError
from local.seeding import number_of_orders
from local.settings import ROOT
from tests.support.laptop import running_laptop


def seeded(**settings: str) -> subprocess.CompletedProcess[str]:
    command, environment = [sys.executable, "-m", "local.seeding"], os.environ | settings
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_running_stack_gets_as_many_orders_as_were_asked_for_with_progress_shown() -> None:
    with running_laptop(LOG_LEVEL="ERROR") as laptop:
        said = seeded(N="60", PORT=laptop.api.rpartition(":")[2])
        assert (said.returncode, said.stdout) == (0, "")
        lines = said.stderr.splitlines()
        assert (lines[0], lines[-1]) == ("1 of 60 orders placed", "60 of 60 orders placed")
        with urllib.request.urlopen(f"{laptop.api}/customers/CUST-7/orders") as answer:
            assert len(json.load(answer)["orders"]) == 2  # of fifty customers in turn


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "1000001", "²", "9" * 5000])
def test_a_bad_number_is_refused_by_name(value: str) -> None:
    with pytest.raises(StartError, match=r"^N must be a whole number from 1 to 1000000, not "):
        number_of_orders({"N": value})


def test_a_stack_that_is_not_running_is_one_sentence_and_status_1() -> None:
    said = seeded(N="3", PORT="1")
    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (1, "", 1)
    assert "No stack answers on 127.0.0.1:1" in said.stderr
