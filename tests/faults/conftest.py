"""A run of this folder ends with how many schedules were tried."""

from collections import Counter

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A table of what each test recorded as `schedules`: what strikes, and how often.

    (A hook: pytest takes it from here if it is told to run this folder.)
    """
    scenarios, schedules, failed = Counter[str](), Counter[str](), Counter[str]()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            if recorded := dict(report.user_properties).get("schedules"):
                kind, tried = recorded
                scenarios[kind] += 1
                schedules[kind] += tried
                failed[kind] += outcome == "failed"
    if scenarios:
        terminalreporter.section("schedules tried")
        terminalreporter.line("| what strikes | scenarios | schedules | scenarios with a violation |")
        terminalreporter.line("| --- | ---: | ---: | ---: |")
    for kind in sorted(scenarios):
        terminalreporter.line(f"| {kind} | {scenarios[kind]} | {schedules[kind]:,} | {failed[kind]} |")
