"""The sustained run counts what it placed, and asks what became of it."""

import os
import re
import subprocess
import sys

from tests.support.template import ROOT


def test_a_run_of_two_seconds_places_and_fulfils_and_keeps_every_promise(dynamodb_local: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    run = [sys.executable, "-m", "benchmarks.sustained", "--minutes", "0.03", "--endpoint", dynamodb_local]
    ended = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    placed = re.search(r"^\| 1 \| (\d+) \|", ended.stdout, re.MULTILINE)
    assert placed
    assert int(placed[1]) > 0
    assert ended.stdout.count("- kept: ") == 6
    assert f"{{'CONFIRMED': {placed[1]}}}" in ended.stdout
