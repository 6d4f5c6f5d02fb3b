"""A missing or bad setting stops the first call, and is named."""

import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest
from chalice.test import Client

import app as entry
from chalicelib import service, telemetry
from chalicelib.providers import PROVIDERS
from chalicelib.settings import MESSAGE_LIFE, AppSettings, BadSetting, Settings, check
from tests.support.stage import settings_for
from tests.support.template import ROOT, TEMPLATE

HAVE_DEFAULTS = {"AUTH", "CUSTOMER_CLAIM", "ENGINE", "STATE_MACHINE", "STRIPE_KEY", "STRIPE_URL"}
REQUIRED = [
    field.name.upper() for field in fields(Settings) if field.type is str and field.name.upper() not in HAVE_DEFAULTS
]
WHOLE = {name: name.replace("_", "-") for name in REQUIRED} | {"CURRENCY": "USD"}


def test_what_is_required_is_enough_and_each_is_read_from_its_own_name() -> None:
    required = {"ORDERS_TABLE", "INVENTORY_TABLE", "IDEMPOTENCY_TABLE", "ORDER_QUEUE", "CURRENCY"}
    assert required <= set(REQUIRED)
    settings = Settings.from_environment(WHOLE)
    assert {name: getattr(settings, name.lower()) for name in REQUIRED} == WHOLE
    assert (settings.idempotency_window, settings.order_ttl) == (timedelta(hours=1), timedelta(days=90))
    assert (settings.require_idempotency_key, settings.max_receives) == (False, 14)
    assert settings.fail_payment_percent == 0


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_setting_is_named(name: str, value: str | None) -> None:
    environment = {n: v for n, v in WHOLE.items() if n != name} | ({name: value} if value is not None else {})
    with pytest.raises(BadSetting, match=f"^the setting {name} is missing$"):
        Settings.from_environment(environment)


def test_numbers_and_flags_are_cast() -> None:
    numbers = {"IDEMPOTENCY_WINDOW_SECONDS": "60", "MAX_RECEIVES": "1", "ORDER_TTL_DAYS": "0"}
    settings = Settings.from_environment(WHOLE | numbers | {"FAIL_PAYMENT_PERCENT": "100"})
    assert (settings.idempotency_window, settings.order_ttl) == (timedelta(minutes=1), timedelta(0))
    assert (settings.max_receives, settings.fail_payment_percent) == (1, 100)
    for value in ("true", "True", "TRUE", "false"):
        flag = Settings.from_environment(WHOLE | {"REQUIRE_IDEMPOTENCY_KEY": value}).require_idempotency_key
        assert flag is (value != "false")


def test_a_batch_of_more_than_ten_needs_a_window_as_sqs_does() -> None:
    assert AppSettings.from_environment({}).batch_size == 10
    for size, window in [("1", "0"), ("10", "0"), ("11", "1"), ("100", "40")]:
        given = {"CONSUMER_BATCH_SIZE": size, "CONSUMER_BATCHING_WINDOW_SECONDS": window}
        settings = AppSettings.from_environment(given)
        assert (settings.batch_size, settings.batching_window) == (int(size), int(window))
    with pytest.raises(BadSetting) as bad:
        check(WHOLE | {"CONSUMER_BATCH_SIZE": "11"})
    assert str(bad.value) == (
        "the setting CONSUMER_BATCHING_WINDOW_SECONDS must be a whole number from 1 to 40, not '0':"
        " CONSUMER_BATCH_SIZE is 11, and SQS has no batches over 10 without it"
    )


POOL = {
    "AUTH": "cognito",
    "USER_POOL_ARN": "arn:aws:cognito-idp:us-east-1:123456789012:userpool/us-east-1_Abc",
    "USER_POOL_CLIENTS": "people,services",
}


def test_a_stage_of_customers_needs_its_user_pool_and_the_clients_that_it_accepts() -> None:
    settings = Settings.from_environment(WHOLE | POOL)
    assert (settings.auth, settings.user_pool_clients) == ("cognito", frozenset({"people", "services"}))
    assert settings.customer_claim == "sub"
    for name in ("USER_POOL_ARN", "USER_POOL_CLIENTS"):
        check(WHOLE | POOL | {name: ""})  # packaging has none
        with pytest.raises(BadSetting, match=f"^the setting {name} is missing$"):
            Settings.from_environment(WHOLE | POOL | {name: ""})
    assert Settings.from_environment(WHOLE).user_pool_clients == frozenset()
    for given in ({}, {"USER_POOL_SCOPES": " "}):
        scopes = AppSettings.from_environment(given).user_pool_scopes
        assert scopes == ("aws.cognito.signin.user.admin", "orderonce/service")


def test_a_stage_that_pays_by_stripe_needs_the_place_of_its_key() -> None:
    assert Settings.from_environment(WHOLE).provider is PROVIDERS["simulated"]
    for place in ("secretsmanager:orderonce/prod/stripe", "ssm:/orderonce/prod/stripe"):
        settings = Settings.from_environment(WHOLE | {"PAYMENTS": "stripe", "STRIPE_KEY": place})
        assert (settings.provider, settings.stripe_key) == (PROVIDERS["stripe"], place)
    check(WHOLE | {"PAYMENTS": "stripe"})  # packaging has none
    with pytest.raises(BadSetting, match=r"^the setting STRIPE_KEY is missing$"):
        Settings.from_environment(WHOLE | {"PAYMENTS": "stripe"})


@pytest.mark.parametrize("key", ["sk_live_51abc", "sk_test_51abc", "rk_live_1", "secretsmanager:", "ssm:a b", "a"])
def test_a_key_in_place_of_its_place_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(BadSetting) as bad:
        check(WHOLE | {"STRIPE_KEY": key})
    told = "secretsmanager:NAME or ssm:NAME: the place of the key, and not the key"
    assert str(bad.value) == f"the setting STRIPE_KEY must be {told}"


def test_currencies_of_two_decimals_are_taken_and_a_stage_of_prod_may_simulate() -> None:
    for currency in ("USD", "EUR", "GBP", "HUF", "TWD", "MRU", "CNY"):
        assert Settings.from_environment(WHOLE | {"CURRENCY": currency}).currency == currency
    for allowed in ("yes", ""):
        check(WHOLE | {"STAGE": "prod", "PAYMENTS_SIMULATED_ON_PROD": allowed})
    # Whether it may is for deploying to say: orders that are under way must not stop.
    Settings.from_environment(WHOLE | {"STAGE": "prod", "LAMBDA_TASK_ROOT": "/var/task"})


@pytest.mark.parametrize("auth", ["iam", "cognito", "none"])
def test_a_deployed_stage_on_which_nobody_is_verified_does_not_start(auth: str) -> None:
    environment = {"PATH": os.environ["PATH"], "AUTH": auth, "LAMBDA_TASK_ROOT": "/var/task"}
    run = [sys.executable, "-c", "import app"]
    ended = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    said = "OrderOnce cannot start: the setting AUTH must be iam or cognito on a deployed stage, not 'none'.\n"
    assert (ended.returncode, ended.stderr) == ((1, said) if auth == "none" else (0, ""))


URL = "a URL that begins with http:// or https://"
LOCAL_URL = "a URL of this machine, such as http://127.0.0.1:8020"
TABLES = [name for name in REQUIRED if name.endswith("_TABLE")]
QUEUES = ["ORDER_QUEUE", "ORDER_DEAD_LETTERS"]
NO_NUMBERS = ["", "one", "-1", "1.5", "1e3", " 1", "1\n", "٣", "²", "1000001", "9" * 11, "9" * 5000]


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("IDEMPOTENCY_WINDOW_SECONDS", ["0", *NO_NUMBERS], "a whole number from 1 to 1000000"),
        ("MAX_RECEIVES", ["0", "1001", *NO_NUMBERS], "a whole number from 1 to 1000"),
        ("ORDER_TTL_DAYS", ["1", "21", *NO_NUMBERS], "0 or a whole number from 22 to 1000000"),
        ("FAIL_PAYMENT_PERCENT", ["101", *NO_NUMBERS], "a whole number from 0 to 100"),
        ("REQUIRE_IDEMPOTENCY_KEY", ["", "yes", "1", "0", " true", "on"], "true or false"),
        (
            "CURRENCY",
            ["usd", "US", "USDX", "U$D", "840", "JPY", "ISK", "KWD", "CLF", "MGA"],
            "a currency of two decimals, in three capital letters (ISO 4217)",
        ),
        ("PAYMENTS_SIMULATED_ON_PROD", ["no", "true", "YES"], "yes or nothing"),
        *((name, ["my table", "a/b", "ab", "é" * 3], "the name of a table") for name in TABLES),
        *((name, ["a b", "a.b", "a" * 81], "the name or the URL of a queue") for name in QUEUES),
        ("EVENT_BUS", ["a bus", "a,b"], "a name or an ARN"),
        ("ALERTS_TOPIC", ["a topic", "a:b"], "a name or an ARN"),
        ("STAGE", ["a stage", "a.b"], "a name of letters, digits, _ and -"),
        ("CONSUMER_BATCHING_WINDOW_SECONDS", ["41", *NO_NUMBERS], "a whole number from 0 to 40"),
        ("CONSUMER_MAX_CONCURRENCY", ["1", "1001", *NO_NUMBERS], "a whole number from 2 to 1000"),
        ("CONSUMER_BATCH_SIZE", ["0", "101", *NO_NUMBERS], "a whole number from 1 to 100"),
        ("AUTH", ["", "IAM", "all"], "one of iam, cognito, none"),
        (
            "USER_POOL_ARN",
            ["us-east-1_abc", "arn:aws:iam::1:user/a", POOL["USER_POOL_ARN"] + "/x"],
            "the ARN of a Cognito user pool",
        ),
        ("USER_POOL_CLIENTS", ["a b", ",", "a,", "a,,b", "a" * 129], "ids of app clients, separated by commas"),
        ("USER_POOL_SCOPES", ["a b", "a,", 'a"b'], "scopes of access tokens, separated by commas"),
        ("CUSTOMER_CLAIM", ["", "email", "cognito:username"], "one of sub, username"),
        (
            "CORS_ORIGIN",
            ["shop.example", "https://a.example/", "https://a, https://b", "null"],
            "an origin such as https://shop.example, or *",
        ),
        ("PROBLEM_BASE_URL", ["/problems/", "https://a", "https://a/problems", "http:///"], f"{URL} and ends with /"),
        ("PAYMENTS", ["", "Stripe", "paypal"], "one of simulated, stripe"),
        ("STRIPE_URL", ["https://api.stripe.com", "http://127.0.0.1.example"], LOCAL_URL),
        ("ENGINE", ["", "sqs"], "one of queue, step-functions"),
        ("STATE_MACHINE", ["saga", "arn:aws:states:us-east-1:1:stateMachine:saga"], "the ARN of a state machine"),
        ("LOG_FORMAT", ["", "xml"], "one of json, text"),
        ("LOG_LEVEL", ["", "loud"], "one of INFO, DEBUG, WARNING, ERROR, CRITICAL"),
        ("AWS_ENDPOINT_URL", ["127.0.0.1:8010", "ftp://a", "http://"], URL),
        ("AWS_PORT", ["0", "65536", *(value for value in NO_NUMBERS if value)], "a whole number from 1 to 65535"),
    ],
)
def test_an_invalid_setting_is_named(name: str, values: list[str], said: str) -> None:
    for value in values:
        with pytest.raises(BadSetting) as bad:
            check(WHOLE | {name: value})
        assert str(bad.value) == f"the setting {name} must be {said}, not {value!r}"


@pytest.mark.parametrize(
    ("endpoint", "led_to"),
    [
        ("http://127.0.0.1:8010", "http://127.0.0.1:9000"),
        ("http://localhost", "http://127.0.0.1:9000"),
        ("http://127.0.0.1.example:8010", None),
        ("https://dynamodb.us-east-1.amazonaws.com", None),
        ("", None),
    ],
)
def test_aws_port_moves_the_laptops_aws_and_no_other(endpoint: str, led_to: str | None) -> None:
    given = {"AWS_PORT": "9000"} | ({"AWS_ENDPOINT_URL": endpoint} if endpoint else {})
    assert AppSettings.from_environment(given).laptop_url == led_to
    assert AppSettings.from_environment(given | {"AWS_PORT": ""}).laptop_url is None


def test_no_order_is_deleted_while_a_queue_may_hold_its_message() -> None:
    kept = [
        timedelta(seconds=resource["Properties"]["MessageRetentionPeriod"])
        for resource in json.loads(TEMPLATE.read_text("utf-8"))["Resources"].values()
        if resource["Type"] == "AWS::SQS::Queue"
    ]
    assert (len(kept), sum(kept, timedelta())) == (2, MESSAGE_LIFE)
    assert Settings.from_environment(WHOLE | {"ORDER_TTL_DAYS": "22"}).order_ttl > MESSAGE_LIFE


@pytest.mark.parametrize("stage", ["dev", "local", "prod"])
def test_every_stages_configuration_is_whole(stage: str) -> None:
    assert Settings.from_environment(settings_for(stage)).orders_table == f"orderonce-{stage}-orders"


def test_the_environment_is_read_when_asked_not_when_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in WHOLE.items():
        monkeypatch.setenv(name, value)
    assert Settings.from_environment().currency == "USD"
    monkeypatch.delenv("CURRENCY")
    with pytest.raises(BadSetting, match="CURRENCY"):
        Settings.from_environment()


def variables_of_the_readme() -> list[str]:
    table = (ROOT / "README.md").read_text("utf-8").partition("## Configuration")[2].partition("\n## ")[0]
    return re.findall(r"`([A-Z][A-Z_]+)`(?=[^|]*\|)", "\n".join(re.findall(r"^\|[^|]*\|", table, re.MULTILINE)))


@pytest.mark.parametrize("name", variables_of_the_readme())
def test_a_bad_value_of_any_setting_ends_the_import_of_the_app_with_one_sentence(name: str) -> None:
    environment = {"PATH": os.environ["PATH"], name: "not / this, surely"}
    run = [sys.executable, "-c", "import app"]
    ended = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    # What is not repeated may be a secret.
    value = "" if name == "STRIPE_KEY" else ", not 'not / this, surely'"
    assert re.fullmatch(rf"OrderOnce cannot start: the setting {name} must be [^\n]+{value}\.\n", ended.stderr)
    assert name != "STRIPE_KEY" or "surely" not in ended.stderr


def test_chalice_local_ends_with_one_sentence_too() -> None:
    run = [str(Path(sys.executable).with_name("chalice")), "local", "--stage", "local", "--port", "0"]
    environment = os.environ | {"ORDER_TTL_DAYS": "soon"}
    ended = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    sentence = "the setting ORDER_TTL_DAYS must be 0 or a whole number from 22 to 1000000, not 'soon'"
    assert ended.stderr == f"OrderOnce cannot start: {sentence}.\n"


# The app has an authorizer or none, by the environment in which it was first imported.
@pytest.mark.filterwarnings("ignore:IAMAuthorizer is not a supported in local mode")
def test_a_missing_setting_ends_an_invocation_with_one_line_and_a_request_with_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in WHOLE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "test-missing-setting")
    service.reset()
    telemetry.logger.cache_clear()
    client = Client(entry.app, project_dir=str(ROOT / "tests"))
    with pytest.raises(SystemExit):
        client.lambda_.invoke("recover", client.events.generate_cw_event("aws.events", "Scheduled Event", {}, []))
    assert client.http.get("/orders/o1").status_code == 500
    service.reset()
    telemetry.logger.cache_clear()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["message"] for line in lines] == ["OrderOnce cannot run: the setting ORDERS_TABLE is missing."] * 2
    assert not any("exception" in line for line in lines)
