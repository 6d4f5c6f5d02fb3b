"""What `make` says when the machine lacks something."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.template import ROOT


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`make` in a folder that has what the Makefile needs to make .venv, and no .venv yet."""
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, folder)
    return subprocess.run(
        ["make", *words], cwd=folder, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )


@pytest.mark.parametrize("target", ["run", "test"])
def test_a_missing_or_old_interpreter_is_one_sentence(tmp_path: Path, target: str) -> None:
    old = tmp_path / "python-of-old"
    old.write_text("#!/bin/sh\nexit 1\n", "utf-8")  # what `sys.exit(sys.version_info < (3, 11))` comes to
    old.chmod(0o755)
    for python in (str(old), str(tmp_path / "not-there")):
        said = make(tmp_path, target, f"PYTHON={python}")
        assert said.returncode != 0
        assert "OrderOnce needs Python 3.11 or newer" in said.stderr
        assert "Traceback" not in said.stderr
        assert not (tmp_path / ".venv").exists()


def test_help_names_the_two_commands(tmp_path: Path) -> None:
    said = make(tmp_path, "help")
    assert "make run" in said.stdout
    assert "make test" in said.stdout


def test_a_schedule_is_handed_on_as_one_word(tmp_path: Path) -> None:
    said = make(tmp_path, "-n", "chaos", "SCHEDULE=place key=1 fault=lost@1; cancel", "SEED=7")
    assert "--schedule 'place key=1 fault=lost@1; cancel'" in said.stdout
    assert "--seed '7'" in said.stdout


def test_destroy_hands_on_the_name_that_answers_its_question(tmp_path: Path) -> None:
    asks = make(tmp_path, "-n", "destroy", "STAGE=prod")
    assert "deploy destroy --stage 'prod'" in asks.stdout
    assert "--yes" not in asks.stdout
    assert "--yes 'prod'" in make(tmp_path, "-n", "destroy", "STAGE=prod", "YES=prod").stdout


@pytest.mark.parametrize("target", ["bench", "chaos", "clients", "mutants", "reliability", "soak", "sustained"])
def test_what_is_not_said_is_left_to_the_command(tmp_path: Path, target: str) -> None:
    said = make(tmp_path, "-n", target)
    (command,) = re.findall(r"python -m (?:benchmarks|tests)\..*", said.stdout)
    assert "''" not in command
