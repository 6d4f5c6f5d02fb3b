"""A run of this folder ends with how many schedules were tried."""

from collections import Counter

import pytest

SCHEDULES = "schedules"
"""The property in which a test records what it strikes with, and how many schedules it tries."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A table (a hook: pytest takes it from here if it is told to run this folder)."""
    scenarios, schedules, failed = Counter[str](), Counter[str](), Counter[str]()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            if recorded := dict(report.user_properties).get(SCHEDULES):
                kind, tried = recorded
                scenarios[kind] += 1
                schedules[kind] += tried
                failed[kind] += outcome == "failed"
    if scenarios:
        terminalreporter.section("schedules tried")
        terminalreporter.line("| what strikes | scenarios | schedules | scenarios with a violation |")
        terminalreporter.line("| --- | ---: | ---: | ---: |")
    for kind in scenarios:
        terminalreporter.line(f"| {kind} | {scenarios[kind]} | {schedules[kind]:,} | {failed[kind]} |")
