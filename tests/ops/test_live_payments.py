"""`stage check` of who takes the money: green if the provider can be asked, red if orders would wait or be free."""

import json
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import boto3
import pytest

from deploy.stages import stage_config
from ops.findings import Aws
from ops.provider import payments
from tests.ops.live_stage import Answers, live_stage, operate

PLACES = ("secretsmanager:orderonce/prod/stripe", "ssm:/orderonce/prod/stripe")
KEY = "sk_live_" + "SeCrEt" * 4
READS = {"secretsmanager": "GetSecretValue", "ssm": "GetParameter"}


@pytest.fixture(scope="module", params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def way(place: str) -> Iterator[tuple[str, Answers]]:
    """`prod`, with a key at this place."""
    with live_stage("prod", packaged=True, settings={"PAYMENTS": "stripe", "STRIPE_KEY": place}) as answers:
        keep(place, KEY)
        yield "prod", answers


def keep(place: str, key: str, kind: str = "SecureString") -> None:
    """What is kept at the place from now on."""
    store, _, name = place.partition(":")
    client: Any = boto3.client(store)  # type: ignore[call-overload]
    if store == "ssm":
        client.put_parameter(Name=name, Value=key, Type=kind, Overwrite=True)
    elif name in [secret["Name"] for secret in client.list_secrets()["SecretList"]]:
        client.put_secret_value(SecretId=name, SecretString=key)
    else:
        client.create_secret(Name=name, SecretString=key)


@pytest.fixture
def changed(place: str) -> Iterator[str]:
    """The place, whose secret is put back afterwards."""
    yield place
    keep(place, KEY)


def differences(stage: str) -> set[tuple[str, str]]:
    """What is wrong with the payments alone."""
    return {(finding.kind, text) for finding in payments(Aws(), stage) for text in finding.differences}


def test_a_stage_whose_key_is_there_is_green_and_nobody_is_told_the_key(stage: str, answers: Answers) -> None:
    result = operate("stage", "check", stage)
    assert result.exit_code == 0, result.output
    assert "\nok  secret " in result.stdout
    assert "SeCrEt" not in result.output


def test_an_operator_who_may_not_read_the_key_is_told_where_to_look(stage: str, place: str, answers: Answers) -> None:
    """It is as it should be that few people may: this alone is not a difference."""
    answers.refuse(READS[place.partition(":")[0]], "AccessDeniedException")
    result = operate("stage", "check", stage)
    assert result.exit_code == 0, result.output
    assert "what it is cannot be seen (AccessDeniedException): the consumer's log says it" in result.stdout


def test_whether_the_key_is_there_must_be_seen(stage: str, place: str, answers: Answers) -> None:
    looks = {"secretsmanager": "DescribeSecret", "ssm": "DescribeParameters"}
    answers.refuse(looks[place.partition(":")[0]], "AccessDeniedException")
    result = operate("stage", "check", stage)
    assert (result.exit_code, "\ndiffers" in result.stdout) == (2, False), result.output


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("sk_test_" + "SeCrEt" * 4, "what is there is a test key, and the stage is prod"),
        ("SeCrEt", "what is there is not a secret key of Stripe"),
    ],
)
def test_a_key_that_the_consumer_would_refuse_is_red(key: str, why: str, stage: str, changed: str) -> None:
    keep(changed, key)
    result = operate("stage", "check", stage, "--json")
    assert result.exit_code == 1
    found = {each["name"]: each["differences"] for each in json.loads(result.stdout)}
    assert found[changed] == [why]
    assert "SeCrEt" not in result.output


def test_a_key_that_is_not_there_is_red(stage: str, place: str) -> None:
    with patch.dict(stage_config(stage)["environment_variables"], STRIPE_KEY=f"{place}-other"):
        assert differences(stage) == {("secret", "does not exist")}


@pytest.mark.parametrize("place", PLACES[:1], indirect=True, scope="module")
def test_a_key_that_will_be_deleted_is_red(stage: str, place: str, answers: Answers) -> None:
    answers.change("DescribeSecret", lambda answer: answer.update(DeletedDate="2026-12-24"))
    assert differences(stage) == {("secret", "will be deleted")}


@pytest.mark.parametrize("place", PLACES[1:], indirect=True, scope="module")
def test_a_key_that_is_kept_as_plain_text_is_red(stage: str, place: str, answers: Answers) -> None:
    answers.change("DescribeParameters", lambda answer: answer["Parameters"][0].update(Type="String"))
    assert differences(stage) == {("secret", "type: String, should be SecureString")}


def test_a_key_under_another_key_than_awss_own_is_remarked(stage: str, place: str, answers: Answers) -> None:
    own = "arn:aws:kms:us-east-1:123456789012:key/1"
    answers.change("DescribeSecret", lambda answer: answer.update(KmsKeyId=own))
    answers.change("DescribeParameters", lambda answer: answer["Parameters"][0].update(KeyId=own))
    (finding,) = payments(Aws(), stage)
    assert (finding.differences, len(finding.remarks)) == ((), 1)
    assert "decrypt" in finding.remarks[0]


def test_a_consumer_that_reads_another_place_than_the_configuration_says_is_red(
    stage: str, place: str, answers: Answers
) -> None:
    def elsewhere(answer: dict[str, Any]) -> None:
        answer["Environment"]["Variables"] |= {"STRIPE_KEY": "ssm:/elsewhere", "PAYMENTS": "simulated"}

    answers.change("GetFunctionConfiguration", elsewhere)
    result = operate("stage", "check", stage, "--json")
    found = {text for each in json.loads(result.stdout) for text in each["differences"]}
    assert {f"STRIPE_KEY: 'ssm:/elsewhere', should be '{place}'", "PAYMENTS: 'simulated', should be 'stripe'"} <= found


def test_a_prod_without_money_is_red_unless_it_says_so(stage: str) -> None:
    settings = stage_config(stage)["environment_variables"]
    with patch.dict(settings, PAYMENTS="simulated"):
        assert differences(stage) == set()
    with patch.dict(settings, PAYMENTS="simulated", PAYMENTS_SIMULATED_ON_PROD=""):
        ((kind, sentence),) = differences(stage)
        assert (kind, sentence.partition(":")[0]) == ("payments", "prod has PAYMENTS=simulated")
        assert operate("stage", "check", stage).exit_code == 1


def test_a_consumer_that_may_be_ended_before_a_payment_is_red(stage: str) -> None:
    """The time limits of the functions, and so the queue's, are compared with the configuration."""
    with patch.dict(stage_config(stage)["lambda_functions"]["order_consumer"], lambda_timeout=29):
        ((kind, sentence),) = differences(stage)
    assert (kind, "lambda_timeout must be 30 or more" in sentence) == ("payments", True)


def test_the_address_of_a_fake_is_red(stage: str) -> None:
    with patch.dict(stage_config(stage)["environment_variables"], STRIPE_URL="http://127.0.0.1:8020"):
        assert differences(stage) == {("payments", "STRIPE_URL is for tests: nobody takes the money there")}
