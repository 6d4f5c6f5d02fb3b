"""`intake`: a deployed stage is paused and resumed, in both ways of deployment."""

import json
import shlex
from collections.abc import Iterator

import boto3
import pytest
from click.testing import Result

from app import app
from deploy.policies import GRANTS
from ops.intake import PARTS
from tests.ops.conftest import audit_of
from tests.ops.live_stage import WAYS, Answers, live_stage, operate
from tests.ops.test_documented import alike, steps
from tests.support.snippets import commands, snippet

PAUSED = snippet("docs/operating.md", "$ ops intake status")
RUNBOOK = snippet("docs/runbook.md", ".venv/bin/python -m ops --stage prod intake status")
PAUSES = {"PutItem": 0, "PutFunctionConcurrency": 0, "UpdateEventSourceMapping": 1, "DisableRule": 2}
RESUMES = {
    "GetItem": 0,
    "EnableRule": 0,
    "UpdateEventSourceMapping": 1,
    "DeleteFunctionConcurrency": 2,
    "DeleteItem": 3,
}
"""The calls of a pause and of a resume, and how many parts are done before each."""


@pytest.fixture(scope="module", params=["chalice deploy", "make deploy, by alias"], autouse=True)
def way(request: pytest.FixtureRequest) -> Iterator[tuple[str, Answers]]:
    with live_stage(**WAYS[request.param]) as answers:
        yield WAYS[request.param]["stage"], answers


@pytest.fixture
def stage(way: tuple[str, Answers]) -> Iterator[str]:
    yield way[0]
    way[1].restore()


@pytest.fixture
def answers(way: tuple[str, Answers]) -> Answers:
    return way[1]


def intake(stage: str, command: str, *words: str) -> Result:
    return operate("--stage", stage, "intake", command, *words)


def red(stage: str) -> set[tuple[str, str]]:
    found = json.loads(operate("stage", "check", stage, "--json").stdout)
    return {(each["kind"], text) for each in found for text in each["differences"]}


def test_a_stage_is_paused_and_resumed(stage: str) -> None:
    paused = intake(stage, "pause", "--yes", stage)
    assert paused.exit_code == 0, paused.output
    assert [line.split()[0] for line in paused.stdout.splitlines()[1:]] == ["paused"] * 3
    (line,) = audit_of(paused)
    assert (line["audit"], line["ids"]) == ("intake pause", ["api", "consumer", "recover"])
    assert {kind for kind, _ in red(stage)} == {"function", "mapping", "schedule"}
    assert intake(stage, "status").stdout == paused.stdout

    resumed = intake(stage, "resume", "--yes", stage)
    assert [line.split()[0] for line in resumed.stdout.splitlines()[1:]] == ["open"] * 3
    (line,) = audit_of(resumed)
    assert (line["audit"], line["ids"]) == ("intake resume", ["recover", "consumer", "api"])
    assert red(stage) == set()


@pytest.mark.parametrize("way", ["chalice deploy"], indirect=True, scope="module")
def test_the_queue_can_be_worked_off_before_the_api_is_open(stage: str) -> None:
    """After a restore: messages create lost orders again on the same payment, before a client does it on another."""
    assert intake(stage, "pause").exit_code == 0
    shown = intake(stage, "resume", "consumer", "recover").stdout.splitlines()[1:]
    assert [line.split()[:2] for line in shown] == [["paused", "api"], ["open", "consumer"], ["open", "recover"]]
    assert intake(stage, "resume", "api").exit_code == 0
    assert red(stage) == set()


@pytest.mark.parametrize("way", ["chalice deploy"], indirect=True, scope="module")
def test_what_was_refused_halfway_says_what_is_done_and_is_repeated(stage: str, answers: Answers) -> None:
    """It ends with what was there before (test_pausing.py has every order of such things)."""
    for command, calls, parts in (("pause", PAUSES, PARTS), ("resume", RESUMES, PARTS[::-1])):
        for operation, done in calls.items():
            answers.refuse(operation, "AccessDeniedException")
            result = intake(stage, command)
            assert (result.exit_code, operation in result.stderr) == (1, True)
            assert [line["ids"] for line in audit_of(result)] == ([[*parts[:done]]] if done else [])
            answers.restore()
        assert intake(stage, command).stdout.count("paused") == (3 if command == "pause" else 0)
    assert red(stage) == set()


@pytest.mark.parametrize("way", ["make deploy, by alias"], indirect=True, scope="module")
def test_what_was_there_is_resumed_to_and_not_what_is_configured(stage: str) -> None:
    """The API was limited by hand, and the queue's mapping disabled. The second pause is not what was there."""
    lambdas = boto3.client("lambda")
    (api,) = [f["FunctionName"] for f in lambdas.list_functions()["Functions"] if f["Handler"] == "app.app"]
    (mapping,) = lambdas.list_event_source_mappings()["EventSourceMappings"]
    lambdas.put_function_concurrency(FunctionName=api, ReservedConcurrentExecutions=7)
    lambdas.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    before = intake(stage, "status").stdout
    for _ in range(2):
        assert intake(stage, "pause", "--yes", stage).stdout.count("paused") == 3
    resumed = intake(stage, "resume", "--yes", stage)
    assert resumed.stdout == before
    assert "consumer was closed before the pause, and stays so: `intake resume consumer` opens it." in resumed.stderr

    again = intake(stage, "resume", "--yes", stage)
    assert "No pause has recorded consumer: it is as .chalice/config.json says (Enabled)." in again.stderr
    assert red(stage) == {("function", "reserved concurrency: 7, should be 100")}
    lambdas.put_function_concurrency(FunctionName=api, ReservedConcurrentExecutions=100)


@pytest.mark.parametrize("way", ["chalice deploy"], indirect=True, scope="module")
def test_two_pauses_at_once_are_told(stage: str, answers: Answers) -> None:
    answers.change("GetItem", lambda answer: answer.update(Item={"states": {"M": {}}, "version": {"S": "older"}}))
    result = intake(stage, "pause")
    assert (result.exit_code, "Somebody else paused or resumed at the same time" in result.stderr) == (1, True)
    assert red(stage) == set()


MONITORS_MEMORY = ("dead_letter_monitor", "IdempotencyTable")
"""Of the last alert."""
WRITING = {"sqs:SendMessage", "sqs:DeleteMessage", "dynamodb:PutItem", "dynamodb:UpdateItem"}


@pytest.mark.parametrize("way", ["chalice deploy"], indirect=True, scope="module")
def test_whatever_changes_orders_by_itself_is_paused() -> None:
    """Dead letters too: `recover` replays them. Only people invoke `replay_dead_letters`."""
    by_themselves = {"api_handler"} | {source.name for source in app.event_sources}
    may_change = {
        function
        for function, grants in GRANTS.items()
        for grant in grants
        if WRITING.intersection(grant.actions) and (function, grant.resource) != MONITORS_MEMORY
    }
    assert may_change & by_themselves == {"api_handler", "order_consumer", "recover"}
    assert may_change - by_themselves == {"replay_dead_letters"}


def test_in_prod_the_stage_is_named_first(stage: str) -> None:
    result = operate("--stage", stage, "intake", "pause", typed="y\n")
    if stage == "prod":
        assert (result.exit_code, "nothing was done" in result.stderr) == (1, True)
        assert red(stage) == set()
    else:
        assert (result.exit_code, "Type the name" in result.stderr) == (0, False)
        assert intake(stage, "resume").exit_code == 0


def test_a_stage_without_functions_cannot_be_paused(stage: str, answers: Answers) -> None:
    answers.change("ListFunctions", lambda answer: answer["Functions"].clear())
    result = intake(stage, "pause", "--yes", stage)
    assert result.stderr == f"Not deployed: api, consumer, recover. See `stage check {stage}`.\n"


@pytest.mark.parametrize("command", ["status", "pause", "resume"])
def test_credentials_that_have_expired_are_one_sentence(stage: str, answers: Answers, command: str) -> None:
    answers.refuse("ListFunctions", "ExpiredTokenException")
    said = intake(stage, command).stderr
    assert said == "Your AWS credentials have expired: renew them (account unknown, region us-east-1).\n"


@pytest.mark.parametrize("way", ["make deploy, by alias"], indirect=True, scope="module")
def test_the_runbooks_commands_work_as_they_are(stage: str) -> None:
    results = [operate(*shlex.split(command)[3:], typed="prod\n") for command in commands(RUNBOOK)]
    assert [result.exit_code for result in results] == [0, 0, 0]
    assert ["paused" in result.stdout for result in results] == [False, True, False]


@pytest.mark.parametrize("way", ["chalice deploy"], indirect=True, scope="module")
def test_the_page_shows_what_the_commands_print(stage: str) -> None:
    for command, shown in steps(PAUSED):
        result = operate("--stage", "dev", *shlex.split(command))
        assert sorted(alike(shown)) == sorted(alike(result.stdout) + alike(result.stderr)), command
