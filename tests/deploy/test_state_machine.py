"""A stage with ENGINE=step-functions: its state machine, and what its functions have besides. No other stage has it."""

import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner
from moto import mock_aws

from chalicelib.settings import AppSettings, Settings
from deploy import __main__ as command
from deploy import stages, state_machine
from deploy.canary import RELEASED, why_all_at_once
from deploy.digests import SHARED_SETTINGS, stamped
from deploy.packaging import PackagingFailed, package
from deploy.policies import files, packaged_policy, static_policy
from deploy.stages import CHALICE, DEPLOYED, config, functions_of, stage_config, stage_parameters
from deploy.state_machine import LOG, MACHINE, ROLE, SETTING
from deploy.tables import by_name
from deploy.template import resources_template
from tests.deploy.packages import Package, packaged, without_dependencies
from tests.deploy.support.iam import ACCOUNT, REGION, filled
from tests.deploy.test_package import lint, stage_name
from tests.support.snippets import snippet
from tests.support.step_functions import step_functions

ALIAS = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:orderonce-prod-SagaStep-X:live"


def values(stage: str) -> dict[str, str]:
    """What the references of the machine are."""
    arns = {"SagaStep.Alias": ALIAS, f"{ROLE}.Arn": "the-role", f"{LOG}.Arn": "the-log"}
    return {"Stage": stage, **arns}


def machine_arn(stage: str) -> str:
    return f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:orderonce-{stage}-saga"


@pytest.fixture(params=DEPLOYED)
def beside(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The resources of each stage in turn, beside `chalice deploy`."""
    with step_functions(request.param):
        return resources_template(request.param)


# --- the machine ---


def test_it_runs_the_definition_as_a_standard_machine_and_invokes_the_alias(with_state_machine: Package) -> None:
    machine = filled(with_state_machine.properties(MACHINE), values(stage_name(with_state_machine)))
    assert machine["StateMachineType"] == "STANDARD"
    text: str = machine["DefinitionString"]
    for name, value in machine["DefinitionSubstitutions"].items():
        text = text.replace(f"${{{name}}}", value)
    assert "${" not in text
    wanted = (CHALICE / "saga.asl.json").read_text("utf-8").replace("${SagaStep}", ALIAS)
    assert json.loads(text) == json.loads(wanted)


def test_beside_chalice_deploy_it_invokes_the_function_by_its_name(beside: dict[str, Any]) -> None:
    stage = beside["Parameters"]["Stage"]["Default"]
    machine = filled(beside["Resources"][MACHINE]["Properties"], values(stage))
    function = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:orderonce-{stage}-saga_step"
    assert machine["DefinitionSubstitutions"] == {"SagaStep": function}
    assert machine["StateMachineName"] == f"orderonce-{stage}-saga"


def test_cloudformation_gets_no_null(with_state_machine: Package, beside: dict[str, Any]) -> None:
    """It refuses a template with one; the definition has some, which are within a text."""

    def nulls(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return (value is None) + sum(map(nulls, inner))

    assert (nulls(with_state_machine.template), nulls(beside)) == (0, 0)
    assert nulls(state_machine.definition()) > 0


def test_cfn_lint_finds_no_error(with_state_machine: Package, beside: dict[str, Any], tmp_path: Path) -> None:
    assert lint(with_state_machine.path) == ""
    (tmp_path / "resources.json").write_text(json.dumps(beside), encoding="utf-8")
    assert lint(tmp_path / "resources.json") == ""


def test_its_log_has_no_execution_data_and_is_kept_and_encrypted_as_the_others(with_state_machine: Package) -> None:
    stage = stage_name(with_state_machine)
    machine = filled(with_state_machine.properties(MACHINE), values(stage))
    logging = machine["LoggingConfiguration"]
    assert (logging["Level"], logging["IncludeExecutionData"]) == ("ERROR", False)
    assert logging["Destinations"] == [{"CloudWatchLogsLogGroup": {"LogGroupArn": "the-log"}}]
    log = with_state_machine.properties(LOG)
    assert log["RetentionInDays"] == stage_config(stage)["log_retention_in_days"]
    assert log["KmsKeyId"] == with_state_machine.properties("OrderEventsLog")["KmsKeyId"]
    (key,) = (s for s in with_state_machine.properties("StageKey")["KeyPolicy"]["Statement"] if s["Sid"] == "Logs")
    assert "log-group:*orderonce-${Stage}*" in str(key["Condition"])
    assert f"orderonce-{stage}" in filled(log["LogGroupName"], values(stage))


def test_its_runs_are_traced(with_state_machine: Package) -> None:
    assert with_state_machine.properties(MACHINE)["TracingConfiguration"] == {"Enabled": True}


def test_only_this_machine_may_have_its_role(with_state_machine: Package, beside: dict[str, Any]) -> None:
    for resources in (with_state_machine.resources, beside["Resources"]):
        (trust,) = resources[ROLE]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Principal"] == {"Service": "states.amazonaws.com"}
        assert filled(trust["Condition"], values("prod")) == {
            "StringEquals": {"aws:SourceAccount": ACCOUNT},
            "ArnEquals": {"aws:SourceArn": machine_arn("prod")},
        }


def test_its_role_may_invoke_what_it_invokes_and_write_its_log_and_traces(with_state_machine: Package) -> None:
    (policy,) = with_state_machine.properties(ROLE)["Policies"]
    granted = {
        action: filled(statement["Resource"], values("prod"))
        for statement in policy["PolicyDocument"]["Statement"]
        for action in statement["Action"]
    }
    assert granted.pop("lambda:InvokeFunction") == ALIAS
    assert set(granted.values()) == {"*"}
    assert {action.partition(":")[0] for action in granted} == {"logs", "xray"}


# --- the functions ---


def test_the_consumer_alone_knows_the_machine_by_its_name(with_state_machine: Package) -> None:
    """The alias that the machine invokes waits for the alarms of each function's version: none may wait for it."""
    stage = stage_name(with_state_machine)
    functions = with_state_machine.of_type("AWS::Serverless::Function")
    variables = {name: properties["Environment"]["Variables"] for name, properties in functions.items()}
    assert [name for name, own in variables.items() if SETTING in own] == ["OrderConsumer"]
    named = filled(variables["OrderConsumer"][SETTING], values(stage))
    assert named == machine_arn(stage)
    assert Settings.from_environment({SETTING: named}, complete=False).state_machine == named
    assert {own["ENGINE"] for own in variables.values()} == {"step-functions"}
    assert MACHINE not in json.dumps([with_state_machine.resources[name] for name in ("OrderConsumer", ROLE)])


def test_the_page_has_what_such_a_stage_is_configured_with() -> None:
    page = json.loads(snippet("docs/engines.md", '"environment_variables": {"ENGINE"').text)
    with step_functions("dev"):
        own = stage_config("dev")
        assert own["environment_variables"].items() >= page["environment_variables"].items()
        assert own["lambda_functions"]["saga_step"] == page["lambda_functions"]["saga_step"]
        assert f"{own['lambda_functions']['saga_step']['iam_policy_file']}" in dict(files())
        assert AppSettings.from_environment(own["environment_variables"]).engine == "step-functions"


def test_the_function_of_its_steps_is_as_its_stage_says(with_state_machine: Package) -> None:
    stage = stage_name(with_state_machine)
    with step_functions(stage):
        own = stage_config(stage)["lambda_functions"]["saga_step"]
        policy = by_name(packaged_policy("saga_step", stage))
    made = with_state_machine.function("saga_step")
    assert (made["Timeout"], made["AutoPublishAlias"], made["Tracing"]) == (own["lambda_timeout"], "live", "Active")
    assert with_state_machine.properties("SagaStepLogGroup")["LogGroupName"]["Fn::Sub"] == "/aws/lambda/${SagaStep}"
    (packaged_role,) = with_state_machine.properties("SagaStepRole")["Policies"]
    assert packaged_role["PolicyDocument"] == policy
    assert with_state_machine.template["Outputs"]["SagaStepName"]["Value"] == {"Ref": "SagaStep"}


def test_a_release_by_canary_is_of_its_function_too(packages_folder: Path) -> None:
    with_machine = packaged("prod", packages_folder, ENGINE="step-functions")
    released = {f"Release{functions_of('prod')[name]}Alarm" for name in RELEASED} | {"ReleaseSagaStepAlarm"}
    preference = with_machine.function("saga_step")["DeploymentPreference"]
    assert {alarm["Ref"] for alarm in preference["Alarms"]} == released
    assert "SagaStep" in json.dumps(with_machine.properties("CanaryRole"))


def test_another_engine_is_no_release_by_canary(prod: Package, packages_folder: Path) -> None:
    """For these minutes both would be there: nothing is lost, but nobody could say which one an order was run by."""

    def shared(package: Package) -> str:
        made = stamped(package.template, stage_parameters("prod"))
        digest: str = made["Outputs"][SHARED_SETTINGS]["Value"]
        return digest

    switched = shared(packaged("prod", packages_folder, ENGINE="step-functions"))
    assert why_all_at_once({SHARED_SETTINGS: shared(prod)}, switched, asked=False)


@pytest.mark.parametrize("stage", DEPLOYED)
def test_a_stage_that_does_not_ask_for_it_has_none_of_it(stage: str, package: Package) -> None:
    for resources in (resources_template(stage)["Resources"], package.resources):
        assert not {MACHINE, ROLE, LOG, "SagaStep", "SagaStepRole"} & resources.keys()
        assert "AWS/States" not in json.dumps(resources)
    assert "saga_step" not in functions_of(stage)
    assert "states:" not in json.dumps([static_policy(function, stage) for function in functions_of(stage)])


@pytest.mark.parametrize("stage", DEPLOYED)
def test_beside_chalice_deploy_the_consumer_may_start_this_machine_and_no_other(stage: str) -> None:
    with step_functions(stage):
        policies = {function: static_policy(function, stage)["Statement"] for function in functions_of(stage)}
    starting = {
        (function, str(statement["Resource"]))
        for function, statements in policies.items()
        for statement in statements
        if any(action.startswith("states:") for action in statement["Action"])
    }
    assert starting == {("order_consumer", f"arn:*:states:*:*:stateMachine:orderonce-{stage}-saga")}


# --- what is refused before it is deployed ---

WAYS = {"package": ("package", "--out", "out"), "deploy": ("stack", "--bucket", "b"), "resources": ("resources",)}


def refused(*words: str) -> str:
    result = CliRunner().invoke(command.main, [*words, "--stage", "dev"])
    assert result.exit_code == 1, result.output
    return result.output.removeprefix("Error: ").rstrip()


@pytest.mark.parametrize("way", WAYS)
def test_a_stage_without_the_function_of_the_steps_is_refused(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(config()["stages"]["dev"]["environment_variables"], "ENGINE", "step-functions")
    assert refused(*WAYS[way]) == (
        "dev has ENGINE=step-functions, but no saga_step among the lambda_functions of .chalice/config.json: "
        "docs/engines.md has what to put there."
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_step_that_ends_before_the_payment_provider_answers_is_refused(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with step_functions("dev"):
        variables = stage_config("dev")["environment_variables"]
        monkeypatch.setitem(variables, "PAYMENTS", "stripe")
        monkeypatch.setitem(variables, "STRIPE_KEY", "ssm:/orderonce/dev/stripe")
        functions = stage_config("dev")["lambda_functions"]
        monkeypatch.setitem(functions, "order_consumer", functions["order_consumer"] | {"lambda_timeout": 30})
        monkeypatch.setitem(functions, "reconcile_payments", {"lambda_timeout": 300})
        assert "saga_step of dev has 10 s, but payments by stripe need 30 s" in refused(*WAYS[way])


def test_a_policy_that_was_not_written_is_named(tmp_path: Path) -> None:
    """By `python -m deploy policies`: Chalice reads a file for each function."""
    without_dependencies(tmp_path)
    with step_functions("dev"):
        (tmp_path / ".chalice" / "config.json").write_text(json.dumps(config()), encoding="utf-8")
        with pytest.raises(PackagingFailed, match=r"policy-dev-saga_step\.json"):
            package("dev", tmp_path / "out", tmp_path)


def test_beside_chalice_deploy_the_consumer_must_be_told_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with step_functions("dev"):
        monkeypatch.delitem(stages.stage_config("dev")["lambda_functions"]["order_consumer"], "environment_variables")
        said = refused("resources")
        assert said.startswith("dev has ENGINE=step-functions, but its order_consumer has no STATE_MACHINE")
        assert said.endswith("arn:aws:states:REGION:ACCOUNT:stateMachine:orderonce-dev-saga.")
        state_machine.check_engine("dev")


def test_a_template_that_is_too_long_for_a_call_goes_to_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    deployed: list[dict[str, str]] = []
    monkeypatch.setattr(command, "_deploy", lambda name, where, parameters: deployed.append(where))
    monkeypatch.setattr(command, "_parameters", lambda name, given: given)
    with step_functions("dev"), mock_aws():
        assert "make resources STAGE=dev BUCKET=my-bucket" in refused("resources")
        assert "The bucket artifacts does not exist" in refused("resources", "--bucket", "artifacts")
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="artifacts")
        done = CliRunner().invoke(command.main, ["resources", "--stage", "dev", "--bucket", "artifacts"])
        assert done.exit_code == 0, done.output
        (uploaded,) = s3.list_objects_v2(Bucket="artifacts")["Contents"]
        assert deployed[0]["TemplateURL"].endswith(f"/{uploaded['Key']}")
        body = s3.get_object(Bucket="artifacts", Key=uploaded["Key"])["Body"].read()
        assert json.loads(body) == resources_template("dev")
        assert len(body) > 51_200
