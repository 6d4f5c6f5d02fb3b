"""A stage that takes real money compares its payments each day: its function, its role, its alarms."""

import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from chalicelib.adapters import clients
from chalicelib.deadline import NO_DEADLINE
from chalicelib.service import compose
from chalicelib.settings import Settings
from deploy import policies, stages
from deploy.names import role_id
from deploy.payments import refusals
from deploy.stages import DEPLOYED, EVER, RECONCILING, ROOT, functions_of
from tests.deploy.packages import Package, configured, packaged
from tests.deploy.test_watching import ALARMS, WITH_A_PROVIDER, alarms, board
from tests.support.aws_calls import AwsCalls
from tests.support.events import Clock
from tests.support.permissions import granted, permissions
from tests.support.shop import opened
from tests.support.stage import Stage
from tests.support.stripe_fake import SECRET_KEY, StripeFake
from tests.support.stripe_server import serving
from tests.support.stripe_shop import pay_by_stripe

SCHEDULED = "import app; print([source.name for source in app.app.event_sources if 'reconcile' in source.name])"


def stripe(stage: str) -> dict[str, str]:
    return {"PAYMENTS": "stripe", "STRIPE_KEY": f"secretsmanager:orderonce/{stage}/stripe"}


@pytest.fixture(params=DEPLOYED)
def stage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def paying(stage: str, packages_folder: Path) -> Package:
    """The package of a stage that pays by Stripe."""
    return packaged(stage, packages_folder, **stripe(stage))


@pytest.mark.parametrize(("payments", "declared"), [("simulated", []), ("stripe", [RECONCILING])])
def test_only_an_app_with_a_provider_has_the_schedule(payments: str, declared: list[str]) -> None:
    environment = os.environ | {"PAYMENTS": payments}
    run = subprocess.run(
        [sys.executable, "-c", SCHEDULED], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout == f"{declared}\n"


def test_the_package_of_such_a_stage_runs_it_each_day_with_its_own_role(stage: str, paying: Package) -> None:
    function = paying.properties(EVER[RECONCILING])
    (schedule,) = function["Events"].values()
    assert (function["Timeout"], schedule["Properties"]["Schedule"]) == (300, "rate(1 day)")
    (policy,) = paying.properties(role_id(RECONCILING))["Policies"]
    allowed = [action for each in policy["PolicyDocument"]["Statement"] for action in each["Action"]]
    wanted = [action for grant in policies.grants(RECONCILING, stripe(stage)) for action in grant.actions]
    assert [action for action in allowed if not action.startswith(("logs:", "xray:"))] == wanted


def test_its_policy_file_is_written_where_the_stage_asks_for_it(stage: str) -> None:
    name = f"policy-{stage}-{RECONCILING}.json"
    assert name not in dict(policies.files())
    with configured(stage, stripe(stage)):
        assert json.loads(dict(policies.files())[name]) == policies.static_policy(RECONCILING, stage)


def test_it_has_its_alarms_and_what_it_counts_is_on_the_dashboard(paying: Package) -> None:
    found = alarms(paying)
    assert found.keys() >= WITH_A_PROVIDER
    assert found.keys() >= ALARMS
    rings = found["payment-differences"]
    assert (rings["MetricName"], rings["Statistic"], rings["Period"]) == ("PaymentDifferences", "Maximum", 86_400)
    assert (rings["Threshold"], rings["EvaluationPeriods"]) == (0, 1)
    assert rings["TreatMissingData"] == "breaching", "nobody compares them"
    slow = found["reconcile-payments-duration"]
    assert (slow["Threshold"], slow["EvaluationPeriods"]) == (240_000, 1), "one run a day"
    assert '"PaymentDifferences"' in json.dumps(board(paying))


def test_a_stage_without_the_time_for_it_is_not_deployed(stage: str) -> None:
    with configured(stage, stripe(stage)):
        assert list(refusals(stage)) == []
        assert RECONCILING in functions_of(stage)
        stages.config()["stages"][stage]["lambda_functions"][RECONCILING]["lambda_timeout"] = 119
        (refused,) = refusals(stage)
    assert refused == (
        f"{stage} has PAYMENTS=stripe, but reconcile_payments has 119 s in .chalice/config.json: "
        "it compares the payments of days, so its lambda_timeout must be 120 or more."
    )


def test_its_role_allows_what_it_does_and_nothing_else(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> None:
    """A payment whose order is there, and one whose order is lost; by a cold start, over HTTP."""
    boto3.client("secretsmanager").create_secret(Name="orderonce/test/stripe", SecretString=SECRET_KEY)
    fake = StripeFake(clock.now)
    with opened(aws, AwsCalls(), clock) as shop, serving(fake) as url:
        pay_by_stripe(shop, fake)
        orders = [shop.place(key=key).order_id for key in ("k1", "k2")]
        shop.run_queue()
        aws.dynamodb.delete_item(TableName=aws["ORDERS_TABLE"], Key={"orderId": {"S": orders[0]}})
        clients.forget()
        made = clients.dynamodb(), clients.sqs(), clients.events(), clients.sns()
        aws_calls.watch(*made, clients.secretsmanager())
        settings = Settings.from_environment(aws.settings | {"PAYMENTS": "stripe", "STRIPE_URL": url})
        found = compose(settings, *made, clock=clock).reconciling.report(NO_DEADLINE)
    assert [each.order_id for each in found] == [orders[0]]
    used = {permission for call in aws_calls.made for permission in permissions(call, aws)}
    assert used == granted(RECONCILING, aws)
