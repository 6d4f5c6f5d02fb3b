"""Stacks are created, updated and deleted by the operator's commands, on moto."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import boto3
import pytest
from botocore.exceptions import ClientError, WaiterError
from click.testing import CliRunner, Result
from moto import mock_aws
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.responses import EmptyResult

from deploy import __main__ as command
from deploy import packaging, tables
from deploy.digests import SHARED_SETTINGS
from deploy.stacks import StackFailed, Stacks, upload
from deploy.stages import stage_parameters
from deploy.template import resources_template
from tests.deploy.packages import Package

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS:UserWarning")  # moto does not know all resources

Run = Callable[..., Result]
TABLES = ("idempotency", "inventory", "operations", "orders", "payments")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, simulated_prod: None) -> Any:
    def done(_: CloudFormationResponse) -> EmptyResult:
        return EmptyResult()

    monkeypatch.setattr(CloudFormationResponse, "update_termination_protection", done, raising=False)  # moto has none
    with mock_aws(config={"core": {"mock_credentials": False}, "lambda": {"use_docker": False}}):
        runner = CliRunner()
        yield lambda *arguments, typed="": runner.invoke(command.main, arguments, input=typed)


def table_names() -> list[str]:
    return sorted(boto3.client("dynamodb").list_tables()["TableNames"])


def stacks() -> list[str]:
    return [stack["StackName"] for stack in boto3.client("cloudformation").describe_stacks()["Stacks"]]


def test_make_resources_creates_all_that_the_stage_needs(run: Run) -> None:
    result = run("resources", "--stage", "dev")
    assert result.exit_code == 0, result.output
    assert table_names() == [f"orderonce-dev-{name}" for name in TABLES]
    (board,) = boto3.client("cloudwatch").list_dashboards()["DashboardEntries"]
    assert board["DashboardName"] == "orderonce-dev"


def test_make_resources_can_be_repeated(run: Run) -> None:
    first, second = run("resources", "--stage", "dev"), run("resources", "--stage", "dev")
    assert (first.exit_code, second.exit_code) == (0, 0), second.output
    assert second.output == first.output


@pytest.fixture(params=["resources", "stack"])
def deployed(request: pytest.FixtureRequest, run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Each way of deploying `dev` in turn; gives who is alerted then.

    CloudFormation gives a parameter that an update leaves out its default, moto the value before: what is sent counts.
    """
    arguments = [request.param, "--stage", "dev"]
    if request.param == "stack":  # moto cannot transform a package: the stack of resources is deployed in its place
        arguments += ["--bucket", "a-bucket"]
        template = resources_template("dev")
        template["Parameters"]["CodeBucket"] = {"Type": "String"}
        monkeypatch.setattr(command, "_uploaded", lambda *_: ({"TemplateBody": json.dumps(template)}, "shared"))
    client = boto3.client("cloudformation")
    sent: list[dict[str, str]] = []

    def record(params: Any, **_: Any) -> None:
        sent.append({each["ParameterKey"]: each["ParameterValue"] for each in params["Parameters"]})

    client.meta.events.register("provide-client-params.cloudformation.CreateChangeSet", record)
    monkeypatch.setattr(command, "_stacks", lambda: Stacks(client))

    def deploy() -> str:
        result = run(*arguments)
        assert result.exit_code == 0, result.output
        default: str = resources_template("dev")["Parameters"]["AlertsEmail"]["Default"]
        return sent[-1].get("AlertsEmail", default)

    return deploy


def test_who_is_alerted_stays_as_it_is_unless_the_deployment_says_otherwise(
    deployed: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALERTS_EMAIL", raising=False)
    assert deployed() == ""
    monkeypatch.setenv("ALERTS_EMAIL", "ann@example.com")
    assert deployed() == "ann@example.com"
    monkeypatch.delenv("ALERTS_EMAIL")
    assert deployed() == "ann@example.com"
    monkeypatch.setenv("ALERTS_EMAIL", "")  # as CI has a variable that nobody set
    assert deployed() == "ann@example.com"
    monkeypatch.setenv("ALERTS_EMAIL", "none")
    assert deployed() == ""


def test_a_release_goes_by_canary_unless_it_is_asked_otherwise_or_changes_what_versions_share(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs: dict[str, str] = {}
    stacks = Mock(
        **{"parameters.return_value": {}, "outputs.side_effect": lambda _: dict(outputs), "deploy.return_value": {}}
    )
    monkeypatch.setattr(command, "_stacks", lambda: stacks)

    def deploy(shared_settings: str, *words: str) -> str:
        """A package with this digest; the parameter, and what is said of it."""
        monkeypatch.setattr(command, "_uploaded", lambda *_: ({}, shared_settings))
        result = run("stack", "--stage", "prod", "--bucket", "a-bucket", *words)
        assert result.exit_code == 0, result.output
        outputs[SHARED_SETTINGS] = shared_settings
        canary: str = stacks.deploy.call_args.args[2]["Canary"]
        return canary + "".join(line for line in result.output.splitlines() if "canary" in line)

    assert deploy("one set of tables") == "true"
    assert deploy("one set of tables") == "true"
    assert deploy("another").startswith(
        "falseAll at once, not by canary: old and new versions would disagree on tables"
    )
    assert deploy("another") == "true", "the release after it"
    assert deploy("another", "--all-at-once") == "falseAll at once, not by canary: as asked."


@pytest.mark.parametrize(
    ("status", "failure"), [("UPDATE_ROLLBACK_COMPLETE", "2026-11-22 03:00:00+00:00"), ("UPDATE_COMPLETE", "")]
)
def test_a_release_that_was_rolled_back_is_known(status: str, failure: str) -> None:
    described = {"StackStatus": status, "LastUpdatedTime": datetime(2026, 11, 22, 3, tzinfo=UTC)}
    client = Mock(describe_stacks=Mock(return_value={"Stacks": [described]}))
    assert Stacks(client).failure("s") == failure


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--stage", "dev", "resources"], "It comes after the command that has it: template, resources,"),
        (["resources", "--stage", "dev", "--artifact", "b"], "It comes after the command that has it: stack. "),
        (["resources", "--stage", "dev", "--nonsense"], "(See python -m deploy resources --help.)"),
    ],
)
def test_an_option_in_the_wrong_place_gets_a_hint(arguments: list[str], hint: str, run: Run) -> None:
    result = CliRunner().invoke(command.main, arguments, prog_name="python -m deploy")
    assert (result.exit_code, stacks()) == (2, [])
    assert hint in result.output


def test_restored_tables_are_used_until_the_deployment_says_otherwise(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deploys(restored: str | None) -> Result:
        monkeypatch.delenv("RESTORED", raising=False)
        if restored is not None:
            monkeypatch.setenv("RESTORED", restored)
        return run("resources", "--stage", "dev")

    def in_use() -> str:
        (stack,) = boto3.client("cloudformation").describe_stacks()["Stacks"]
        given = {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]}
        return given.get(tables.PARAMETER, "")

    assert deploys(None).exit_code == 0
    refused = deploys("monday")
    assert (refused.exit_code, in_use()) == (1, "")
    assert "The table orderonce-dev-orders-monday does not exist in account 123456789012" in refused.output
    key: Any = {
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    }
    for table in tables.table_names("dev", "-monday").values():
        hashed: Any = [{"AttributeName": "id", "KeyType": "HASH"}]
        boto3.client("dynamodb").create_table(TableName=table, KeySchema=hashed, **key)
    for restored in ("monday", None, ""):
        assert (deploys(restored).exit_code, in_use()) == (0, "-monday")
    assert (deploys("none").exit_code, in_use()) == (0, "")
    assert deploys("monday").exit_code == 0
    assert (
        "Restored tables were in use: deploy again with RESTORED=monday."
        in run("destroy", "--stage", "dev", "--yes", "dev").output.splitlines()
    )


@pytest.mark.parametrize("arguments", [["package", "--out", "out"], ["stack", "--bucket", "a-bucket"]])
def test_another_python_than_the_functions_own_is_refused_in_one_sentence(
    arguments: list[str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaging, "PYTHON", "3.9")
    result = run(*arguments, "--stage", "prod")
    assert result.exit_code == 1
    assert result.output.startswith("Error: The functions of prod run on Python 3.9, but this is Python 3.")
    assert result.output.count("\n") == 1
    monkeypatch.setattr(packaging, "PYTHON", f"{sys.version_info[0]}.{sys.version_info[1]}")
    packaging.check_python("prod")


def test_an_unknown_stage_is_refused_in_one_sentence(run: Run) -> None:
    for words in (("resources",), ("destroy", "--yes", "local")):
        result = run(*words, "--stage", "local")
        assert result.exit_code == 1
        assert result.output == "Error: 'local' is not a deployed stage; choose dev or prod\n"


def test_make_destroy_says_what_is_kept(run: Run) -> None:
    run("resources", "--stage", "dev")
    logs = boto3.client("logs")
    functions = ["/aws/lambda/orderonce-dev-order_consumer", "/aws/lambda/orderonce-dev-recover"]
    for group in (*functions, "/aws/lambda/orderonce-development"):
        logs.create_log_group(logGroupName=group)
    result = run("destroy", "--stage", "dev", "--yes", "dev")
    assert result.exit_code == 0, result.output
    assert {f"deleted: {group}" for group in functions} <= set(result.output.splitlines())
    left = [group["logGroupName"] for group in logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]]
    assert left == ["/aws/lambda/orderonce-development"]
    kept = [line for line in result.output.splitlines() if line.startswith("kept: ")]
    assert sum("AWS::DynamoDB::Table orderonce-dev-" in line for line in kept) == len(TABLES)
    assert sum("AWS::SQS::Queue" in line for line in kept) == 3
    assert not boto3.client("cloudformation").list_stacks(StackStatusFilter=["CREATE_COMPLETE"])["StackSummaries"]


def test_destroying_a_stage_that_does_not_exist_succeeds(run: Run) -> None:
    assert run("destroy", "--stage", "prod", "--yes", "prod").exit_code == 0


@pytest.mark.parametrize(
    ("words", "typed", "done"),
    [
        ((), "dev\n", True),
        ((), "prod\n", False),
        ((), "\n", False),
        ((), "", False),
        (("--yes", "prod"), "dev\n", False),
    ],
)
def test_nothing_is_destroyed_until_the_stage_is_named(
    run: Run, words: tuple[str, ...], typed: str, done: bool
) -> None:
    run("resources", "--stage", "dev")
    result = run("destroy", "--stage", "dev", *words, typed=typed)
    assert (result.exit_code, len(stacks())) == ((0, 0) if done else (1, 1)), result.output
    assert ("account 123456789012, region us-east-1 (dev): " in result.output) is (not words)
    assert ("nothing was done" in result.output) is (not done)


def test_a_stage_is_not_destroyed_under_the_functions_of_chalice(run: Run) -> None:
    run("resources", "--stage", "dev")
    role = boto3.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    boto3.client("lambda").create_function(
        FunctionName="orderonce-dev", Runtime="python3.11", Role=role, Handler="app.app", Code={"ZipFile": b""}
    )
    result = run("destroy", "--stage", "dev", "--yes", "dev")
    assert result.exit_code == 1
    assert "chalice delete --stage dev" in result.output
    assert len(table_names()) == len(TABLES)
    assert len(stacks()) == 1


def test_what_aws_refuses_is_one_sentence_with_account_and_region(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    denied = {"Error": {"Code": "AccessDenied", "Message": "not authorized to perform cloudformation:CreateChangeSet"}}
    monkeypatch.setattr(Stacks, "deploy", Mock(side_effect=ClientError(denied, "CreateChangeSet")))  # type: ignore[arg-type]
    result = run("resources", "--stage", "dev")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == (
        "Error: AWS refused: CreateChangeSet: AccessDenied: not authorized to perform cloudformation:CreateChangeSet"
        " (account 123456789012, region us-east-1)."
    )


@pytest.mark.parametrize(
    ("bucket", "sentence"),
    [
        (
            "nobody-has-made-it",
            "The bucket nobody-has-made-it does not exist in account 123456789012, region us-east-1:",
        ),
        (
            "not a bucket",
            'AWS cannot be used: Parameter validation failed: Invalid bucket name "not a bucket"',
        ),
    ],
)
def test_a_bad_bucket_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch, bucket: str, sentence: str) -> None:
    def package(_: str, out: Path, __: None) -> None:
        (out / "deployment.zip").write_bytes(b"zip")
        (out / "sam.json").write_text('{"Resources": {}, "Parameters": {}}', "utf-8")

    monkeypatch.setattr(command, "_package", package)
    result = run("stack", "--stage", "dev", "--bucket", bucket)
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {sentence}"), result.output
    assert result.output.count("\n") == 1
    assert "region us-east-1" in result.output
    assert f"bucket {bucket}" in result.output


class _FailedChangeSet:
    """A CloudFormation whose change sets fail for this reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(**_: Any) -> Any:
            self.calls.append(name)
            return {
                "describe_stacks": {"Stacks": [{"StackStatus": "CREATE_COMPLETE", "Outputs": []}]},
                "describe_change_set": {"StatusReason": self.reason},
            }.get(name, {})

        return call

    def get_waiter(self, name: str) -> Any:
        return Mock(wait=Mock(side_effect=WaiterError(name, "Waiter encountered a terminal failure state", {})))


def test_a_change_set_without_changes_is_not_a_failure() -> None:
    client = _FailedChangeSet("The submitted information didn't contain changes. Submit different information.")
    assert Stacks(client).deploy("s", {"TemplateBody": "{}"}, stage_parameters("dev")) == {}  # type: ignore[arg-type]
    assert "execute_change_set" not in client.calls
    assert "delete_change_set" in client.calls


def test_a_change_set_that_fails_says_why() -> None:
    client = _FailedChangeSet("Transform AWS::Serverless-2016-10-31 failed")
    with pytest.raises(StackFailed, match="Transform"):
        Stacks(client).deploy("s", {"TemplateBody": "{}"}, stage_parameters("dev"))  # type: ignore[arg-type]


def test_the_uploaded_template_names_the_uploaded_zip(prod: Package) -> None:
    put: dict[str, Path] = {}
    key, path = upload(prod.path.parent, stage_parameters("prod"), put.__setitem__)
    assert put[key] == path
    (code,) = put.keys() - {key}
    template = json.loads(path.read_text(encoding="utf-8"))
    functions = [r for r in template["Resources"].values() if r["Type"] == "AWS::Serverless::Function"]
    assert {json.dumps(f["Properties"]["CodeUri"]) for f in functions} == {
        json.dumps({"Bucket": {"Ref": "CodeBucket"}, "Key": code})
    }
    assert path.stat().st_size < 1_000_000  # the maximum of CloudFormation
    assert upload(prod.path.parent, stage_parameters("prod"), put.__setitem__)[0] == key
