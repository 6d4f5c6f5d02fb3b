"""The settings of the environment: read once, cast once, here. A missing or bad one is named."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta


class BadSetting(Exception):
    """A setting is missing or makes no sense; the message names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What differs between stages. README.md describes each."""

    orders_table: str
    inventory_table: str
    idempotency_table: str
    order_queue: str
    order_dead_letters: str
    payments_table: str
    event_bus: str
    alerts_topic: str
    stage: str
    currency: str
    idempotency_window: timedelta
    require_idempotency_key: bool
    max_receives: int
    order_ttl: timedelta
    fail_payment_percent: int


def settings_of(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings that an environment holds. Raises BadSetting."""

    def required(name: str) -> str:
        value = environment.get(name, "").strip()
        if not value:
            raise BadSetting(f"the setting {name} is missing")
        return value

    def number(name: str, default: int, least: int = 0, most: int = 1_000_000) -> int:
        value = environment.get(name, str(default))
        if not re.fullmatch("[0-9]{1,7}", value) or not least <= int(value) <= most:
            raise BadSetting(f"the setting {name} must be a whole number from {least} to {most}, not {value!r}")
        return int(value)

    def currency() -> str:
        value = required("CURRENCY")
        if not re.fullmatch("[A-Z]{3}", value):
            raise BadSetting(f"the setting CURRENCY must be three capital letters (ISO 4217), not {value!r}")
        return value

    def flag(name: str) -> bool:
        value = environment.get(name, "false").lower()
        if value not in ("true", "false"):
            raise BadSetting(f"the setting {name} must be true or false, not {value!r}")
        return value == "true"

    _check_choice(environment, "LOG_FORMAT", "json", "text")
    _check_choice(environment, "LOG_LEVEL", "INFO", "DEBUG", "WARNING", "ERROR", "CRITICAL")
    return Settings(
        orders_table=required("ORDERS_TABLE"),
        inventory_table=required("INVENTORY_TABLE"),
        idempotency_table=required("IDEMPOTENCY_TABLE"),
        order_queue=required("ORDER_QUEUE"),
        order_dead_letters=required("ORDER_DEAD_LETTERS"),
        payments_table=required("PAYMENTS_TABLE"),
        event_bus=required("EVENT_BUS"),
        alerts_topic=required("ALERTS_TOPIC"),
        stage=required("STAGE"),
        currency=currency(),
        idempotency_window=timedelta(seconds=number("IDEMPOTENCY_WINDOW_SECONDS", 3600, least=1)),
        require_idempotency_key=flag("REQUIRE_IDEMPOTENCY_KEY"),
        max_receives=number("MAX_RECEIVES", 6, least=1),
        order_ttl=timedelta(days=number("ORDER_TTL_DAYS", 90)),
        fail_payment_percent=number("FAIL_PAYMENT_PERCENT", 0, most=100),
    )


def _check_choice(environment: Mapping[str, str], name: str, *values: str) -> None:
    # Not kept here: the logger reads it by itself, but would fail, or fall back without a word.
    if environment.get(name, values[0]) not in values:
        raise BadSetting(f"the setting {name} must be one of {', '.join(values)}, not {environment[name]!r}")
