"""A missing or bad setting stops the first call, and is named."""

from dataclasses import fields
from datetime import timedelta

import pytest

from chalicelib.settings import BadSetting, Settings, settings_of
from tests.support.stage import settings_for

REQUIRED = [field.name.upper() for field in fields(Settings) if field.type is str]
WHOLE = {name: f"the {name}" for name in REQUIRED} | {"CURRENCY": "USD"}


def refused(**environment: str) -> str:
    with pytest.raises(BadSetting) as bad:
        settings_of(WHOLE | environment)
    return str(bad.value)


def test_tables_queues_and_currency_are_required() -> None:
    assert {"ORDERS_TABLE", "INVENTORY_TABLE", "IDEMPOTENCY_TABLE", "ORDER_QUEUE", "CURRENCY"} <= set(REQUIRED)


def test_what_is_required_is_enough() -> None:
    settings = settings_of(WHOLE)
    assert settings.orders_table == "the ORDERS_TABLE"
    assert settings.idempotency_window == timedelta(hours=1)
    assert (settings.require_idempotency_key, settings.max_receives) == (False, 6)
    assert settings.order_ttl == timedelta(days=90)


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_setting_is_named(name: str, value: str | None) -> None:
    environment = {n: v for n, v in WHOLE.items() if n != name} | ({name: value} if value is not None else {})
    with pytest.raises(BadSetting, match=f"^the setting {name} is missing$"):
        settings_of(environment)


@pytest.mark.parametrize("name", REQUIRED)
def test_each_required_setting_is_read_from_its_own_name(name: str) -> None:
    value = "EUR" if name == "CURRENCY" else "a value of its own"
    settings = settings_of(WHOLE | {name: value})
    assert [field for field in REQUIRED if getattr(settings, field.lower()) == value] == [name]


@pytest.mark.parametrize("name", ["IDEMPOTENCY_WINDOW_SECONDS", "MAX_RECEIVES", "ORDER_TTL_DAYS"])
@pytest.mark.parametrize("value", ["", "one", "-1", "1.5", "1e3", " 1", "1\n", "٣", "²", "9" * 11, "9" * 5000])
def test_a_setting_that_is_no_whole_number_in_bounds_is_named(name: str, value: str) -> None:
    assert refused(**{name: value}).startswith(f"the setting {name} must be ")


@pytest.mark.parametrize("name", ["IDEMPOTENCY_WINDOW_SECONDS", "MAX_RECEIVES"])
def test_zero_is_too_little(name: str) -> None:
    assert name in refused(**{name: "0"})


def test_numbers_are_cast() -> None:
    settings = settings_of(WHOLE | {"IDEMPOTENCY_WINDOW_SECONDS": "60", "MAX_RECEIVES": "3", "ORDER_TTL_DAYS": "0"})
    assert (settings.idempotency_window, settings.max_receives) == (timedelta(minutes=1), 3)
    assert settings.order_ttl == timedelta(0)


@pytest.mark.parametrize(("value", "meant"), [("true", True), ("True", True), ("TRUE", True), ("false", False)])
def test_a_flag_is_true_or_false(value: str, *, meant: bool) -> None:
    assert settings_of(WHOLE | {"REQUIRE_IDEMPOTENCY_KEY": value}).require_idempotency_key is meant


@pytest.mark.parametrize("value", ["", "yes", "1", "0", " true", "on"])
def test_a_flag_that_is_neither_is_named(value: str) -> None:
    assert refused(REQUIRE_IDEMPOTENCY_KEY=value).startswith(
        "the setting REQUIRE_IDEMPOTENCY_KEY must be true or false"
    )


@pytest.mark.parametrize("stage", ["dev", "local", "prod"])
def test_every_stages_configuration_is_whole(stage: str) -> None:
    assert settings_of(settings_for(stage)).orders_table == f"orderonce-{stage}-orders"


def test_the_environment_is_read_when_asked_not_when_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in WHOLE.items():
        monkeypatch.setenv(name, value)
    assert settings_of().currency == "USD"
    monkeypatch.delenv("CURRENCY")
    with pytest.raises(BadSetting, match="CURRENCY"):
        settings_of()


@pytest.mark.parametrize("currency", ["usd", "US", "USDX", "U$D", "840"])
def test_a_currency_that_no_event_could_bear_is_named(currency: str) -> None:
    assert "CURRENCY" in refused(CURRENCY=currency)


@pytest.mark.parametrize(("name", "value"), [("LOG_FORMAT", "xml"), ("LOG_LEVEL", "loud")])
def test_a_way_of_logging_that_there_is_not_is_named(name: str, value: str) -> None:
    assert name in refused(**{name: value})
