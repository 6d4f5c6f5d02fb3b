"""The schedules fire at their rates, and a failing one continues."""

import threading
from typing import Any

import pytest
from chalice.app import Chalice, Cron, Rate, ScheduleExpression

from local.invoking import Function
from local.schedules import Schedule, rate_seconds, schedules
from tests.local.conftest import stage_config


@pytest.mark.parametrize(
    ("expression", "seconds"),
    [
        (Rate(1, unit=Rate.MINUTES), 60),
        (Rate(2, unit=Rate.HOURS), 7200),
        ("rate(5 minutes)", 300),
        ("rate(1 day)", 86400),
        (Cron(0, 12, "*", "*", "?", "*"), None),
    ],
)
def test_a_rate_is_read_in_seconds(expression: str | ScheduleExpression, seconds: int | None) -> None:
    assert rate_seconds(expression) == seconds


def test_every_rate_that_the_app_registers_has_a_schedule(config_json: dict[str, Any]) -> None:
    app = Chalice("orderonce")
    app.schedule(Rate(1, unit=Rate.MINUTES), name="recover")(lambda event: None)
    app.schedule(Rate(5, unit=Rate.MINUTES), name="monitor")(lambda event: None)
    app.schedule(Cron(0, 12, "*", "*", "?", "*"), name="noon")(lambda event: None)
    found = schedules(app, stage_config(app, config_json))
    assert [(schedule.name, schedule.period) for schedule in found] == [("recover", 60), ("monitor", 300)]


def test_a_failing_schedule_fires_again_until_it_is_stopped(config_json: dict[str, Any]) -> None:
    fired: list[dict[str, Any]] = []
    thrice = threading.Event()
    app = Chalice("orderonce")

    @app.schedule("rate(1 minute)")
    def recover(event: Any) -> None:
        fired.append(event.to_dict())
        if len(fired) == 3:
            thrice.set()
        raise RuntimeError("not today")

    function = Function.from_app(app, stage_config(app, config_json), "recover")
    schedule = Schedule(app, function, period=0.01)
    schedule.start()
    assert thrice.wait(5)
    schedule.stop()
    assert schedule.join(1.0)
    assert fired[0]["detail-type"] == "Scheduled Event"
    assert fired[0]["resources"] == ["arn:aws:events:us-east-1:123456789012:rule/orderonce-local-recover"]
    assert len({event["id"] for event in fired}) == len(fired)
