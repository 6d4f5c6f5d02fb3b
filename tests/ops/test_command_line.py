"""What every command does alike: its stage, its errors, Ctrl-C, the audit log and its output."""

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from chalicelib import telemetry
from ops import output
from ops.cli import ops
from ops.interrupts import finishing
from ops.stages import config, entered, stage_environment
from tests.ops.conftest import Operator
from tests.support.shop import Shop
from tests.support.template import ROOT

CONFIG = {
    "environment_variables": {"EVERYWHERE": "yes"},
    "stages": {"dev": {"environment_variables": {"STAGE": "dev", "ORDERS_TABLE": "orders-dev"}}, "local": {}},
}


def commands() -> list[list[str]]:
    """The words of each command."""
    return [
        [name, each]
        for name, group in ops.commands.items()
        if isinstance(group, click.Group)
        for each in group.commands
    ]


# --- its stage ---


def test_the_settings_are_the_stages_and_what_is_given_wins() -> None:
    settings = stage_environment("dev", {"ORDERS_TABLE": "mine", "HOME": "/h"}, CONFIG)
    assert settings["ORDERS_TABLE"] == "mine"
    assert (settings["STAGE"], settings["EVERYWHERE"], settings["HOME"]) == ("dev", "yes", "/h")
    assert settings["LOG_LEVEL"] == "WARNING"


@pytest.mark.parametrize(
    ("stage", "given", "error"),
    [
        ("local", {"STAGE": "dev"}, "The environment belongs to stage 'dev', not to 'local'"),
        ("prd", {}, "Stage 'prd' is not in config.json; its stages: dev, local"),
    ],
)
def test_an_environment_of_another_stage_and_an_unknown_stage_are_refused(
    stage: str, given: dict[str, str], error: str
) -> None:
    with pytest.raises(click.ClickException, match=re.escape(error)):
        stage_environment(stage, given, CONFIG)


def test_the_local_stage_leads_to_the_laptop_with_keys_that_open_nothing() -> None:
    settings = stage_environment("local", {}, config())
    assert settings["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    assert (settings["AWS_ACCESS_KEY_ID"], settings["AWS_SECRET_ACCESS_KEY"]) == ("local", "local")


def test_nothing_of_a_stage_is_left_behind(shop: Shop) -> None:
    before, level = dict(os.environ), telemetry.logger().level
    with entered("test") as service:
        assert service.settings.orders_table == shop.stage["ORDERS_TABLE"]
        assert os.environ["LOG_LEVEL"] == "INFO"
    assert (dict(os.environ), telemetry.logger().level) == (before, level)


def test_what_the_service_logs_is_not_part_of_the_answer(operator: Operator, shop: Shop) -> None:
    shop.produce("poison")
    shop.run_queue()
    assert operator("dead-letters", "replay", "--yes").stdout == "1 message replayed.\n"


# --- errors ---


def test_a_missing_setting_is_one_sentence(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORDERS_TABLE")
    assert operator.refused("orders", "stuck") == "This stage cannot be reached: the setting ORDERS_TABLE is missing."


def test_an_aws_that_is_down_is_one_sentence_with_region_and_table(operator: Operator, shop: Shop) -> None:
    operator.calls.drop_request(times=None, attempts=None)
    sentence = operator.refused("orders", "stuck")
    assert sentence.startswith("AWS did not answer: Could not connect")
    assert sentence.endswith(f" (account unknown, region us-east-1, table {shop.stage['ORDERS_TABLE']}).")


def test_what_may_not_be_done_is_one_sentence_with_account_region_and_table(operator: Operator, shop: Shop) -> None:
    operator.calls.refuse("AccessDeniedException", "Query")
    assert operator.refused("orders", "list", "CUST-1") == (
        "AWS refused: Query: AccessDeniedException: AccessDeniedException, as the test wants it "
        f"(account 123456789012, region us-east-1, table {shop.stage['ORDERS_TABLE']})."
    )


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (["orders", "stuck"], "table orderonce-test-orders"),
        (["catalogue", "list"], "table orderonce-test-inventory"),
        (["dead-letters", "list"], "queue orderonce-test-orders-dead-letters"),
    ],
)
def test_a_wrong_region_or_account_is_one_sentence(
    operator: Operator, words: list[str], missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert operator.refused(*words) == (
        f"The {missing} does not exist in account 123456789012, region eu-west-1: is that the right account and region?"
    )


EVERY_CALL = [
    ["orders", "list", "CUST-1"],
    ["orders", "show", "X"],
    ["orders", "cancel", "X"],
    ["orders", "stuck"],
    ["keys", "explain", "CUST-1", "key"],
    ["catalogue", "list"],
    ["catalogue", "load", "local/catalogue.json"],
    ["catalogue", "restock", "PROD-001", "+1"],
    ["dead-letters", "list"],
    ["dead-letters", "show", "X"],
    ["dead-letters", "replay"],
    ["dead-letters", "export", "never-written.jsonl"],
    ["dead-letters", "purge"],
    ["tables", "restore", "--to", "2026-11-22T02:59:00Z"],
    ["payments", "reconcile", "--since", "2026-11-22T02:59:00Z"],
    ["payments", "check", "X"],
    ["stage", "check", "test"],
]


def test_every_command_is_tried_without_credentials() -> None:
    """Those of `intake` need functions (`test_intake.py`), and `stage smoke` asks the API (`test_smoke.py`)."""
    tried = sorted(each for each in commands() if each[0] != "intake" and each != ["stage", "smoke"])
    assert sorted(words[:2] for words in EVERY_CALL) == tried


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("ExpiredTokenException", "Your AWS credentials have expired: renew them (account unknown, region us-east-1"),
        ("UnrecognizedClientException", "AWS does not know your access key (account unknown, region us-east-1"),
    ],
)
@pytest.mark.parametrize("words", EVERY_CALL, ids=" ".join)
def test_credentials_that_have_expired_are_one_sentence(
    operator: Operator, words: list[str], code: str, sentence: str
) -> None:
    operator.calls.refuse(code, times=None)
    result = operator(*words)
    assert result.exit_code == (2 if words[0] == "stage" else 1), result.output
    assert [line[: len(sentence)] for line in result.stderr.splitlines()] == [sentence], "and nothing else"


def test_no_credentials_and_no_region_are_one_sentence(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    sentence = operator.refused("orders", "stuck")
    assert sentence.startswith("You have no AWS credentials: set AWS_PROFILE (account unknown, region us-east-1")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    assert operator.refused("orders", "stuck") == (
        "AWS cannot be used: You must specify a region (account unknown, region none)."
    )


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["orders", "stuck", "--stage", "dev"], "It comes before the command: python -m ops --stage NAME COMMAND."),
        (["--yes", "dead-letters", "replay"], "It comes after the command that has it: dead-letters replay"),
        (["--older-than", "2h", "orders", "stuck"], "orders stuck"),
    ],
)
def test_an_option_in_the_wrong_place_gets_a_hint(operator: Operator, words: list[str], hint: str) -> None:
    sentence = operator.refused(*words, status=2)
    assert hint in sentence
    assert "--help.)" in sentence


@pytest.mark.parametrize(
    "words", [["orders", "show"], ["orders", "shwo", "x"], ["dead-letters", "list", "--older-than", "soon"], ["x"]]
)
def test_a_misspelt_command_is_one_sentence_and_status_2(operator: Operator, words: list[str]) -> None:
    result = operator(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert "--help.)" in result.stderr


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_explains_itself_within_eighty_columns(words: list[str]) -> None:
    result = CliRunner().invoke(ops, [*words, "--help"])
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80


# --- Ctrl-C ---


def interrupted(step: Callable[[], object]) -> None:
    """A step that must be finished, and Ctrl-C before it is."""
    with finishing():
        os.kill(os.getpid(), signal.SIGINT)
        step()


def test_a_step_is_finished_before_ctrl_c_takes_effect() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(lambda: done.append("step"))
    assert done == ["step"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_fault_is_not_hidden_by_a_ctrl_c() -> None:
    with pytest.raises(ZeroDivisionError):
        interrupted(lambda: 1 / 0)


def test_finishing_does_no_harm_on_another_thread() -> None:
    def work() -> str:
        with finishing():
            return "done"

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(work).result() == "done"


# --- the audit log ---


def test_the_audit_log_is_appended_to(operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "audit.log"
    monkeypatch.setenv("OPS_AUDIT_LOG", str(log))
    for _ in range(2):
        operator.does("catalogue", "restock", "PROD-001", "+1")
    operator.does("orders", "stuck")
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert [line["audit"] for line in lines] == ["catalogue restock"] * 2


# --- output ---


class Terminal:
    """What a person sees."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        """Nothing is buffered."""

    def isatty(self) -> bool:
        return True


@contextmanager
def at_a_terminal() -> Iterator[Terminal]:
    with pytest.MonkeyPatch.context() as patch:
        terminal = Terminal()
        patch.setattr(sys, "stdout", terminal)
        patch.setenv("COLUMNS", "80")
        yield terminal


def test_a_pipe_gets_whole_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("id", "why"), [("x" * 60, "y" * 60), ("z", "")])
    output.entry("head", {"name": "v" * 200})
    assert capsys.readouterr().out.splitlines() == [
        "id".ljust(60) + "  why",
        "x" * 60 + "  " + "y" * 60,
        "z",
        "head",
        "  name  " + "v" * 200,
    ]


def test_a_terminal_of_eighty_columns_is_enough() -> None:
    with at_a_terminal() as terminal:
        output.table(("id", "why"), [("x" * 60, "y" * 60)])
        output.entry("head", {"name": "v" * 200, "longer": "[red]w"})
    seen = re.sub(r"\x1b\[[0-9;]*m", "", terminal.text)
    assert max(map(len, seen.splitlines())) <= 80
    assert terminal.text.count("v") == 200
    assert "[red]w" in terminal.text


def test_what_could_steer_a_terminal_is_made_visible() -> None:
    with at_a_terminal() as terminal:
        output.say("a\x1b[2Jb\rc\u202ed")
        output.table(("x",), [("\x1b]0;title\x07",)])
    assert "a\\x1b[2Jb\\rc\\u202ed" in terminal.text
    assert "\x07" not in terminal.text


# --- the page ---


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_is_on_the_operators_page(words: list[str]) -> None:
    page = (ROOT / "docs" / "operating.md").read_text("utf-8")
    command = " ".join(words)
    assert f"$ ops {command}" in page or f"`{command} " in page
