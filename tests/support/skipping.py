"""What a run skipped, why, and how to run it: at the end of its output."""

import os
from collections import Counter
from typing import NoReturn

import pytest

_TO_RUN = "\nto run it: "


def skip(why: str, to_run: str) -> NoReturn:
    """Skip this test. `why` is what is missing here; `to_run`, what to type or install."""
    pytest.skip(f"{why}{_TO_RUN}{to_run}")


def skip_or_fail(variable: str, why: str, to_run: str) -> NoReturn:
    """Skip this test, or fail it where the environment variable is 1: no build passes without it by mistake."""
    if os.environ.get(variable) == "1":
        pytest.fail(why)
    skip(why, to_run)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Every reason once, with the number of its tests and their files (a hook: conftest.py takes it from here)."""
    files: dict[str, Counter[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        files.setdefault(reason, Counter())[report.nodeid.partition("::")[0]] += 1
    if files:
        terminalreporter.section("skipped")
    for reason, counted in files.items():
        why, _, to_run = reason.partition(_TO_RUN)
        terminalreporter.line(f"{counted.total()} skipped: {why}")
        terminalreporter.line(f"    in {', '.join(counted)}")
        if to_run:
            terminalreporter.line(f"    to run: {to_run}")
