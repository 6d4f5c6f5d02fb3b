"""The schedules: what EventBridge does with `rate(...)`."""

import logging
import re
import threading
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from chalice.app import Chalice, ScheduledEventConfig, ScheduleExpression
from chalice.config import Config

from local.invoking import ACCOUNT, Function, region
from local.settings import STAGE

log = logging.getLogger(__name__)

_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_SECONDS = {"minute": 60, "hour": 3600, "day": 86400}


def rate_seconds(expression: str | ScheduleExpression) -> float | None:
    """The period of a rate in seconds; None for anything else (a cron expression)."""
    text = expression if isinstance(expression, str) else expression.to_string()
    match = _RATE.fullmatch(text)
    return int(match[1]) * _SECONDS[match[2]] if match else None


class Schedule:
    """Fires one function at its rate, the first time one period after the start.

    A run that raises is logged, and the next one fires on time. Runs never overlap: after one that took longer than the
    period the next starts at once, and the others that were missed are skipped.
    """

    def __init__(self, app: Chalice, function: Function, period: float) -> None:
        self._app_name = app.app_name
        self._function = function
        self.name = function.name
        self.period = period
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=function.name, daemon=True)

    def start(self) -> None:
        """Start the first period."""
        self._thread.start()

    def stop(self) -> None:
        """Fire no more. A run under way continues to its end."""
        self._stop.set()

    def join(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for a run under way. False: it is still busy."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        due = time.monotonic() + self.period
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            self.fire()
            due = max(due + self.period, time.monotonic())

    def fire(self) -> None:
        """One run, now."""
        try:
            self._function.invoke(self._event(), self._app_name)
        except Exception as error:
            log.warning("%s raised %s: %s", self._function.name, type(error).__name__, error)
            log.debug("raised by %s", self._function.name, exc_info=True)

    def _event(self) -> dict[str, Any]:
        """The event as in EventBridge's schedules."""
        rule = f"{self._app_name}-{STAGE}-{self._function.name}"
        return {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": ACCOUNT,
            "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": region(),
            "resources": [f"arn:aws:events:{region()}:{ACCOUNT}:rule/{rule}"],
            "detail": {},
        }


def schedules(app: Chalice, config: Config) -> list[Schedule]:
    """One schedule for each function that the app registered with a rate; a cron expression is logged and skipped."""
    found = []
    for source in app.event_sources:
        if not isinstance(source, ScheduledEventConfig):
            continue
        period = rate_seconds(source.schedule_expression)
        if period is None:
            log.warning("%s is not fired here: only rates are supported", source.name)
            continue
        found.append(Schedule(app, Function.from_app(app, config, source.name), period))
    return found
