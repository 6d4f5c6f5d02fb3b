"""OrderOnce keeps every rule that can be tried: as `make run` serves it, in an outage, and if it requires keys."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from conformance.profile import Hook
from conformance.reading import DEFAULT, read_profile
from conformance.reports import as_json
from conformance.rule import Result
from conformance.rules import ALL
from conformance.run import run
from tests.support.laptop import Laptop, running_laptop
from tests.support.snippets import commands, snippet
from tests.support.template import ROOT

NEVER_SEEN = {
    "concurrent-conflict",  # concurrent requests all get the one answer
    "head-fields",  # there is no HEAD
}
NEEDS_TOKENS = {"challenge"}
NEEDS_AN_OUTAGE = {"failure-forgotten", "failure-says-when", "retry-after"}
NEEDS_A_REQUIRED_KEY = {"missing-key", "missing-key-link"}


CUSTOMERS = DEFAULT.parent / "orderonce-customers.toml"


@pytest.fixture(scope="module")
def strict_laptop() -> Iterator[Laptop]:
    """It asks for tokens and for keys, and its DynamoDB can be made to fail."""
    settings = {"AUTH": "cognito", "REQUIRE_IDEMPOTENCY_KEY": "true"}
    with running_laptop("tests.conformance.failing_laptop", **settings) as laptop:
        yield laptop


def token(laptop: Laptop, customer: str) -> str:
    command = [sys.executable, "-m", "local", "token", "--customer", customer]
    environment = os.environ | {"AWS_PORT": laptop.aws.rpartition(":")[2]}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def test_every_rule_is_kept_with_tokens_outages_and_keys_that_are_required(strict_laptop: Laptop) -> None:
    tokens = {"TOKEN": token(strict_laptop, "alice"), "ANOTHER_TOKEN": token(strict_laptop, "bob")}
    profile = replace(
        read_profile(CUSTOMERS, tokens | {"CUSTOMER": "alice"}),
        key_required=True,
        fail=Hook(url=f"{strict_laptop.aws}/outage/begins"),
        recover=Hook(url=f"{strict_laptop.aws}/outage/ends"),
    )
    found = run(profile, strict_laptop.api, ALL, time_limit=120)
    results = {one.rule.id: (one.result, one.reason) for one in found.verdicts}
    assert {rule: why for rule, (result, why) in results.items() if result is Result.FAIL} == {}
    assert {rule for rule, (result, _) in results.items() if result is Result.NOT_APPLICABLE} == NEVER_SEEN
    assert not any(secret in as_json(found, strict=True) for secret in tokens.values())


def test_the_command_finds_nothing_on_the_laptop_stack(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    (command,) = commands(snippet("docs/conformance.md", ".venv/bin/python -m conformance"))
    with running_laptop() as laptop:
        _, *words = command.replace("http://127.0.0.1:8000", laptop.api).split()
        words = [sys.executable, *words, "--strict", "--format", "json", "--out", str(out)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "requests" in done.stderr
    rules = json.loads(out.read_text("utf-8"))["rules"]
    results = {rule["id"]: rule["result"] for rule in rules}
    expected = dict.fromkeys(NEVER_SEEN | NEEDS_TOKENS | NEEDS_AN_OUTAGE | NEEDS_A_REQUIRED_KEY, "not applicable")
    assert results == {rule.id: "pass" for rule in ALL} | expected
