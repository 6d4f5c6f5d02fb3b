"""An environment is installed completely or not at all."""

from pathlib import Path

import pytest

from tests.support.environments import NotInstalled, python_with


def test_an_installation_that_fails_says_why_and_is_repeated(tmp_path: Path) -> None:
    wrong = tmp_path / "requirements.txt"
    wrong.write_text("no requirement at all\n")
    for _ in range(2):
        with pytest.raises(NotInstalled, match="Invalid requirement"):
            python_with(wrong, tmp_path / "cache")
