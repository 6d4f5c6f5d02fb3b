"""What the documents say about deploying. What needs an account is run on the embedded AWS as far as that goes; the
rest is parsed here, and run by `tests/deploy`: `chalice deploy` on an emulator, the packages, the stack."""

import json
import shlex
from pathlib import Path
from re import fullmatch

import click
import pytest
from chalice.cli import cli as chalice

from deploy.__main__ import main as deploy
from tests.docs.conftest import Reader
from tests.support.checkout import checkout
from tests.support.laptop import Laptop
from tests.support.snippets import Snippet, commands, snippet
from tests.support.template import ROOT

README = snippet("README.md", "make resources STAGE=dev")
CHALICE = snippet("docs/deploying.md", "make resources STAGE=dev")
ONE_STACK = snippet("docs/deploying.md", "make package STAGE=prod")
ROLL_BACK = snippet("docs/runbook.md", "git switch --detach HEAD~1")
BOOTSTRAP = snippet("docs/deploying.md", "aws cloudformation deploy")

WITHOUT_FUNCTIONS = ".venv/bin/python -m ops stage check dev"
"""It must find that all which runs is missing: the embedded AWS has neither functions nor alarms."""
RUN = ("make resources ", ".venv/bin/python -m ops ")
PROGRAMS: dict[str, click.Group] = {" -m deploy ": deploy, ".venv/bin/chalice ": chalice}
REHEARSED = ("make vendor", "make package ", "make deploy ", ".venv/bin/chalice deploy ")


@pytest.fixture
def operator(tmp_path: Path, laptop: Laptop) -> Reader:
    """Somebody in a checkout, whose AWS is the embedded one."""
    return Reader(checkout(tmp_path / "orderonce"), laptop)


@pytest.mark.parametrize("block", [README, CHALICE, ONE_STACK], ids=lambda block: block.document)
def test_each_command_is_run_or_understood(operator: Reader, laptop: Laptop, block: Snippet) -> None:
    credentials = {"AWS_ACCESS_KEY_ID": "an", "AWS_SECRET_ACCESS_KEY": "operator", "AWS_DEFAULT_REGION": "us-east-1"}
    for command in commands(block):
        if command.startswith(RUN):
            status = 1 if command == WITHOUT_FUNCTIONS else 0
            aws = credentials | {"AWS_ENDPOINT_URL": laptop.aws}
            printed = operator.runs("sh", "-c", command, also=aws, status=status)
            if status:
                differences = [line.split()[1:3] for line in printed.splitlines() if line.startswith("differs")]
                assert {kind for kind, _ in differences} == {"function", "mapping", "schedule", "API", "alarm"}
        else:
            assert command.startswith(REHEARSED), f"nothing shows {command!r}"
            rehearse(operator, command)


def rehearse(operator: Reader, command: str) -> None:
    """The command, or what make would run for it, exists with these options."""
    make, *arguments = shlex.split(command)
    lines = operator.runs("make", "-n", *arguments).replace("\\\n", "") if make == "make" else command
    found = [(group, line.partition(program)[2]) for line in lines.splitlines() for program, group in PROGRAMS.items()]
    understood = [(group, shlex.split(words)) for group, words in found if words]
    assert understood, f"{command!r} runs nothing that is known"
    for group, (name, *options) in understood:
        group.commands[name].make_context(name, options)


def test_rolling_back_deploys_the_commit_before(operator: Reader) -> None:
    def git(*words: str) -> str:
        return operator.runs("git", "-c", "user.name=ann", "-c", "user.email=ann@example.com", *words).strip()

    git("init", "-q", "-b", "main")
    for release in ("before", "now"):
        (operator.folder / "release").write_text(release, "utf-8")
        git("add", "release", "Makefile", "deploy")
        git("commit", "-q", "-m", release)
    before, deploy_it, back = commands(ROLL_BACK)
    operator.runs("sh", "-c", before)
    assert (operator.folder / "release").read_text("utf-8") == "before"
    rehearse(operator, deploy_it)
    operator.runs("sh", "-c", back)
    assert (operator.folder / "release").read_text("utf-8") == "now"
    assert git("branch", "--show-current") == "main"


def test_the_stack_for_an_account_is_made_with_parameters_that_it_has() -> None:
    words = shlex.split(BOOTSTRAP.text.replace("\\\n", ""))
    given = dict(word.split("=", 1) for word in words[words.index("--parameter-overrides") + 1 :])
    template = json.loads((ROOT / words[words.index("--template-file") + 1]).read_text("utf-8"))
    declared = template["Parameters"]
    assert (
        {name for name, parameter in declared.items() if "Default" not in parameter} <= given.keys() <= declared.keys()
    )
    assert given["Stage"] in declared["Stage"]["AllowedValues"]
    assert fullmatch(declared["Repository"]["AllowedPattern"], given["Repository"])
    named = [r for r in template["Resources"].values() if "RoleName" in r["Properties"]]
    assert (words[words.index("--capabilities") + 1] == "CAPABILITY_NAMED_IAM") == bool(named)
    # Not a stack that the deploy role may change.
    assert words[words.index("--stack-name") + 1] == "orderonce-bootstrap-dev"
