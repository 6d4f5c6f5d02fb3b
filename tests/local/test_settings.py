"""What the laptop stack takes from its environment, and what it ignores."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.faults import StartError
from local.settings import Settings, enter_stage, read_json, stage_variables


@pytest.mark.parametrize("port", ["x", "-1", "65536", "8000.5", "²", " 1", "1\n", "9" * 5000])
@pytest.mark.parametrize("name", ["PORT", "AWS_PORT"])
def test_a_bad_port_is_refused_by_name(name: str, port: str) -> None:
    with pytest.raises(StartError, match=f"^{name} "):
        Settings.read({name: port})


@given(name=st.sampled_from(["HOST", "PORT", "AWS_PORT", "DATA"]), value=st.text())
def test_whatever_is_given_is_taken_or_refused_in_one_sentence_that_names_it(name: str, value: str) -> None:
    refused = ""
    try:
        Settings.read({name: value})
    except StartError as error:
        refused = str(error)
    assert not refused or refused.startswith(f"{name} must be ")
    assert len(refused.splitlines()) <= 1


@pytest.mark.parametrize("host", ["nowhere", "127.0.0", "http://127.0.0.1", "127.0.0.1:80", " "])
def test_a_host_that_is_not_an_address_is_refused_by_name(host: str) -> None:
    with pytest.raises(StartError, match=r"^HOST must be an IP address of this machine, or localhost"):
        Settings.read({"HOST": host})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::1", "localhost"])
def test_an_address_is_taken_as_host(host: str) -> None:
    assert Settings.read({"HOST": host}).host == host


def test_an_engine_that_the_laptop_has_not_is_refused_in_one_sentence() -> None:
    with pytest.raises(StartError, match=r"^ENGINE=step-functions runs on AWS only: .*\.$"):
        Settings.read({"ENGINE": "step-functions"})
    assert Settings.read({"ENGINE": "queue"}) == Settings.read({})


def test_nothing_given_is_the_documented_default() -> None:
    assert Settings.read({"PORT": ""}) == Settings(host="127.0.0.1", port=8000, aws_port=8010)


def test_a_setting_that_was_given_wins(config_json: dict[str, Any]) -> None:
    environ = {"LOG_FORMAT": "json", "FAIL_PAYMENT_PERCENT": "100"}
    enter_stage(environ, stage_variables(config_json), "orderonce", 1234)
    assert environ["LOG_FORMAT"] == "json"
    assert environ["FAIL_PAYMENT_PERCENT"] == "100"
    assert environ["CURRENCY"] == "USD"


def test_no_real_account_is_ever_reached(config_json: dict[str, Any]) -> None:
    environ = {
        "AWS_PROFILE": "production",
        "AWS_ACCESS_KEY_ID": "real",
        "AWS_SESSION_TOKEN": "real",
        "AWS_ENDPOINT_URL_DYNAMODB": "https://dynamodb.us-east-1.amazonaws.com",
        "ORDERS_TABLE": "orderonce-prod-orders",
        "STAGE": "prod",
    }
    enter_stage(environ, stage_variables(config_json), "orderonce", 1234)
    aws = {name: value for name, value in environ.items() if name.startswith("AWS_")}
    assert aws == {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1234",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }
    assert environ["STAGE"] == "local"
    assert environ["ORDERS_TABLE"] == "orderonce-local-orders"


def test_a_proxy_is_not_asked_for_the_embedded_aws(config_json: dict[str, Any]) -> None:
    environ = {"NO_PROXY": "intranet"}
    enter_stage(environ, stage_variables(config_json), "orderonce", 1234)
    assert environ["NO_PROXY"] == "intranet,127.0.0.1"


@pytest.mark.parametrize("content", [None, "{", "[]", b"\xff"])
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, content: str | bytes | None) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(StartError, match=r"config\.json"):
        read_json(path)


def test_every_stage_has_the_same_settings(config_json: dict[str, Any]) -> None:
    stages = config_json["stages"]
    names = {stage: set(stages[stage]["environment_variables"]) for stage in stages}
    assert names["dev"] == names["prod"]
    assert {name for name in names["local"] - names["dev"] if not name.startswith("AWS_")} == {
        "CORS_ORIGIN",
        "LOG_FORMAT",
    }
    assert names["dev"] <= names["local"]
