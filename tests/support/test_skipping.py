"""A run says what it skipped, and how to run it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.template import ROOT


def run_tests(*words: str, **environment: str) -> str:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=True
    ).stdout


@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_end_of_a_run_names_each_reason_with_its_tests_and_how_to_run_them(tmp_path: Path, workers: str) -> None:
    without_java = {"PATH": str(tmp_path), "REQUIRE_EMULATOR": "", "REQUIRE_DYNAMODB_LOCAL": ""}
    files = ("tests/deploy/test_emulator.py", "tests/adapters/dynamodb/test_claims.py")
    output = run_tests("-n", workers, *files, **without_java)
    (said,) = re.findall(r"^=+ skipped =+\n(.*?)^=", output, re.MULTILINE | re.DOTALL)
    reasons = re.findall(r"(\d+) skipped: (.*)\n    in (\S+)\n    to run: (.*)\n", said)
    found = {file: (int(number), why.partition(",")[0], to_run) for number, why, file, to_run in reasons}
    assert found.keys() == set(files)
    assert found[files[0]][1:] == (
        "deploys to an emulator of AWS",
        'REQUIRE_EMULATOR=1 make test ARGS="-n 0 -x -m deploy"',
    )
    assert found[files[1]][1].startswith("DynamoDB Local needs Java")
    assert "make test" in found[files[1]][2]
    (skipped,) = re.findall(r"(\d+) skipped.* in ", output.splitlines()[-1])
    assert sum(number for number, _, _ in found.values()) == int(skipped)


def test_every_test_that_skips_says_how_to_run_it() -> None:
    own = {ROOT / "tests" / "support" / name for name in ("skipping.py", "test_skipping.py")}
    bare = re.compile(r"pytest\.skip\(|mark\.skip|skipif|importorskip")
    others = set((ROOT / "tests").rglob("*.py")) - own
    assert {path for path in others if bare.search(path.read_text("utf-8"))} == set()
