"""A stage is not deployed unless its orders are paid, by a provider that has what it needs."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from click.testing import CliRunner
from moto import mock_aws

from chalicelib.adapters import clients
from chalicelib.adapters.stripe_account import read_secret
from chalicelib.providers import PROVIDERS
from chalicelib.settings import BadSetting, Settings
from deploy import __main__ as command
from deploy import stages
from deploy.payments import check_payments, refusals
from deploy.stages import DEPLOYED, stage_parameters
from deploy.template import resources_template
from tests.deploy.packages import packaged
from tests.deploy.support.commands import call_of_aws
from tests.deploy.test_package import lint
from tests.support.snippets import commands, snippet

DOCUMENT = stages.ROOT / "docs" / "deploying.md"
PUT_KEY = snippet("docs/deploying.md", "aws secretsmanager create-secret")
KEY = "secretsmanager:orderonce/prod/stripe"
STRIPE = {"PAYMENTS": "stripe", "STRIPE_KEY": KEY}
WAYS = {"package": ("package", "--out", "out"), "deploy": ("stack", "--bucket", "b"), "resources": ("resources",)}
NOBODY_PAYS = (
    "prod has PAYMENTS=simulated: nobody would pay for its orders. In .chalice/config.json set PAYMENTS and what its "
    'provider needs (docs/deploying.md, "Who takes the money"), or, to try the stage without money, '
    "PAYMENTS_SIMULATED_ON_PROD to yes."
)


@pytest.fixture(params=DEPLOYED)
def stage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def configured(stage: str, settings: Mapping[str, str], timeout: int = 30) -> Any:
    """The stage with other settings, and with another time limit of its consumer."""
    own = stages.config()["stages"][stage]
    consumer = own["lambda_functions"]["order_consumer"] | {"lambda_timeout": timeout}
    functions = own["lambda_functions"] | {"order_consumer": consumer, "reconcile_payments": {"lambda_timeout": 300}}
    environment = {**own["environment_variables"], **settings}
    changed = own | {"environment_variables": environment, "lambda_functions": functions}
    return patch.dict(stages.config()["stages"], {stage: changed})


@pytest.mark.parametrize("number", [0, 1])
def test_the_key_is_put_where_the_settings_say(number: int) -> None:
    """By the commands of the page, and read as the consumer reads it."""
    text = DOCUMENT.read_text("utf-8")
    (place,) = re.findall(r"`((?:secretsmanager|ssm):\S+)`", text)[number : number + 1]
    with mock_aws():
        clients.forget()
        call_of_aws(commands(PUT_KEY)[number].replace("$STRIPE_SECRET_KEY", "sk_live_1"))
        assert Settings.from_environment(STRIPE | {"STRIPE_KEY": place}, complete=False).stripe_key == place
        assert read_secret(place) == "sk_live_1"
    clients.forget()


@pytest.mark.parametrize("way", WAYS)
def test_whoever_deploys_prod_as_it_comes_is_told_both_ways_out(way: str) -> None:
    result = CliRunner().invoke(command.main, [*WAYS[way], "--stage", "prod"])
    assert (result.exit_code, result.output) == (1, f"Error: {NOBODY_PAYS}\n")


def test_dev_may_simulate_payments_and_prod_only_if_it_says_so(stage: str) -> None:
    assert list(refusals(stage)) == ([NOBODY_PAYS] if stage == "prod" else [])
    with configured(stage, {"PAYMENTS_SIMULATED_ON_PROD": "yes"}):
        check_payments(stage)


def test_a_stage_with_a_provider_its_key_and_its_time_is_let_through(stage: str) -> None:
    with configured(stage, STRIPE):
        check_payments(stage)


def test_a_provider_without_a_key_is_refused(stage: str) -> None:
    with configured(stage, {"PAYMENTS": "stripe"}):
        assert list(refusals(stage)) == [
            f"{stage} has PAYMENTS=stripe, but no STRIPE_KEY in .chalice/config.json: it says where the key is."
        ]


def test_a_key_in_the_place_of_its_place_is_refused_and_not_repeated(stage: str) -> None:
    the_key = STRIPE | {"STRIPE_KEY": "sk_live_SeCrEt"}
    with configured(stage, the_key), pytest.raises(BadSetting) as refused:
        check_payments(stage)
    assert "SeCrEt" not in str(refused.value)


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_a_consumer_that_would_be_ended_before_a_payment_is_refused(provider: Any, stage: str) -> None:
    needed = provider.consumer_timeout
    settings = STRIPE | {"PAYMENTS": provider.name, "PAYMENTS_SIMULATED_ON_PROD": "yes"}
    with configured(stage, settings, needed - 1):
        (sentence,) = refusals(stage)
    assert sentence == (
        f"{stage} has PAYMENTS={provider.name}, but order_consumer has {needed - 1} s in .chalice/config.json: "
        f"a payment may take long, so its lambda_timeout must be {needed} or more."
    )
    with configured(stage, settings, needed):
        check_payments(stage)


def test_messages_stay_hidden_for_as_long_as_payments_may_take(stage: str) -> None:
    """The visibility timeout follows the consumer's time limit, and so does the alarm of its duration."""
    before = int(stage_parameters(stage)["VisibilityTimeout"])
    with configured(stage, {}, 40):
        assert int(stage_parameters(stage)["VisibilityTimeout"]) == before + 6 * (40 - 10)
        alarm = resources_template(stage)["Resources"]["OrderConsumerDurationAlarm"]["Properties"]
    assert (alarm["Threshold"], "time limit of 40 s" in alarm["AlarmDescription"]) == (32_000, True)


def test_a_package_has_the_place_of_the_key_and_a_role_that_may_read_it(packages_folder: Path) -> None:
    package = packaged("prod", packages_folder, STRIPE_KEY=KEY)
    assert lint(package.path) == ""
    roles = package.of_type("AWS::IAM::Role")
    assert [name for name, role in roles.items() if "secretsmanager" in json.dumps(role)] == ["OrderConsumerRole"]
    assert package.function("order_consumer")["Environment"]["Variables"]["STRIPE_KEY"] == KEY
