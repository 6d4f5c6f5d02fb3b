"""The lists match the code, a sample of the own mutants is killed, and a mutant that survives is seen."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.equivalents import LIST, equivalents, key_of
from tests.mutants.meeting import MEET
from tests.mutants.mutant import Mutant, Stale, functions_in
from tests.mutants.own import OWN, Own
from tests.mutants.run import report
from tests.mutants.session import Verdict
from tests.support.template import ROOT

SAMPLE_SIZE = 15

TILL = """
class Till:
    def __init__(self):
        self.coins = 1

    @property
    def full(self):
        return self.coins > 3

    def add(self, coins=2):
        if coins > 0:
            self.coins += coins
        return self.coins
"""


def mutant(old: str, new: str) -> Mutant:
    return Mutant("a mutant", "a_till.py", TILL, TILL.replace(old, new))


@pytest.mark.parametrize("row", OWN, ids=lambda row: row.name)
def test_each_own_mutant_changes_code_that_is_there_and_names_tests_that_are(row: Own) -> None:
    assert row.mutant().function
    for test in row.tests:
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text("utf-8")


def test_no_two_own_mutants_are_the_same() -> None:
    assert len({row.name for row in OWN}) == len({(row.path, row.old, row.new) for row in OWN}) == len(OWN)


def test_each_condition_that_is_sent_to_dynamodb_has_an_own_mutant() -> None:
    """Where an expression or a part of one is written, a row of the table loosens it."""
    written = re.compile(
        r"(?<!Key)ConditionExpression\": |condition = |\.require\(|\.require_existence\(|\.require_absence\("
    )
    for path in sorted((ROOT / "chalicelib" / "adapters" / "dynamodb").glob("*.py")):
        lines = path.read_text("utf-8").splitlines()
        loosened = {line for row in OWN if ROOT / row.path == path for line in row.mutant().lines}
        for number, line in enumerate(lines, 1):
            assert number in loosened or not written.search(line), f"{path}:{number}: {line}"


def test_each_function_of_the_three_folders_is_in_a_file_that_mutmut_is_given() -> None:
    folders = ("domain", "use_cases", "adapters/dynamodb")
    files = [path for folder in folders for path in (ROOT / "chalicelib" / folder).glob("*.py")]
    with_functions = {str(path.relative_to(ROOT)) for path in files if functions_in(path.read_text("utf-8"))}
    assert with_functions <= set(MEET)
    assert all((ROOT / test.partition("::")[0]).is_file() for tests in MEET.values() for test in tests)


def test_each_row_of_the_equivalents_is_about_lines_that_are_there_and_has_a_reason() -> None:
    rows = list(equivalents(LIST.read_text("utf-8")))
    assert len({row.key for row in rows}) == len(rows)
    for row in rows:
        assert len(row.reason) > 20, row
        source = (ROOT / row.path).read_text("utf-8")
        function = functions_in(source)[row.function]
        lines = [line.strip() for line in source.splitlines()[function.lineno - 1 : function.end_lineno]]
        assert "\n".join(row.removed) in "\n".join(lines), row


def test_a_sample_of_the_own_mutants_is_killed() -> None:
    """Another one for each commit; `make mutants` takes all of them."""
    seed = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    command = [sys.executable, "-m", "tests.mutants.run", "--own", "--sample", str(SAMPLE_SIZE), "--seed", seed.strip()]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"own mutants: {SAMPLE_SIZE}, killed {SAMPLE_SIZE}, survived 0" in ran.stdout


def test_a_mutant_that_survives_is_printed_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    killed, survives = mutant("> 3", "> 4"), mutant("coins=2", "coins=1")
    assert report({killed: Verdict("tests/test_till.py::test_full")})
    assert not report({killed: Verdict("tests/test_till.py::test_full"), survives: Verdict(None)})
    printed = capsys.readouterr().out
    assert key_of(survives) == "a_till.py:Till.add\n- def add(self, coins=2):\n+ def add(self, coins=1):"
    assert key_of(survives) in printed
    assert "all                                              2       1           0         1    50.0%" in printed


def test_a_row_that_is_stale_or_changes_no_function_is_refused() -> None:
    with pytest.raises(Stale, match="0 times"):
        Own("stale", "chalicelib/times.py", "not there", "", ()).mutant()
    with pytest.raises(Stale, match="no function"):
        Mutant("a comment", "chalicelib/times.py", "x = 1\n", "x = 2\n").become()


def test_a_process_becomes_the_mutant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_till.py").write_text(TILL)
    monkeypatch.syspath_prepend(tmp_path)
    from a_till import Till  # type: ignore[import-not-found]

    till = Till()
    assert (till.add(), till.full) == (3, False)
    mutant("> 3", ">= 3").become()
    assert till.full
    mutant("coins=2", "coins=5").become()
    assert till.add() == 8


def test_a_mutant_is_seen_where_its_statement_runs() -> None:
    assert (list(mutant("> 0", ">= 0").lines), mutant("> 0", ">= 0").seen_on()) == ([11], {11})
    assert mutant("coins=2", "coins=1").seen_on() == {10, 11, 12, 13}
    assert mutant("> 3", "> 4").function == "Till.full"
