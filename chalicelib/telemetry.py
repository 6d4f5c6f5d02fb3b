"""What the service reports: structured log lines and metrics (CloudWatch's embedded metric format).

Keys and metrics are the invocation's own, also where several run in one process, as they do on a laptop.
"""

import re
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from threading import Lock
from typing import Any

from aws_lambda_powertools import Logger, single_metric
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from chalicelib.settings import BadSetting, app_settings

_CORRELATION_ID = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)
_metrics: ContextVar[EphemeralMetrics | None] = ContextVar("metrics", default=None)
_counting = Lock()


_CALLER = 3
"""Frames from the log's own line to the one that called `info`, `warning` …: that is the line's location."""


def _as_text() -> bool:
    return app_settings().log_format == "text"


@cache
def logger() -> "Logger":
    """The one logger. LOG_FORMAT `json` (the default) is what CloudWatch wants, `text` what a person reads."""
    return Logger(service=_service(), json_serializer=_line) if _as_text() else Logger(service=_service())


def _line(record: Mapping[str, Any]) -> str:
    shown = {"timestamp", "level", "message", "location", "service", "exception", "exception_name", "stack_trace"}
    keys = " ".join(f"{name}={_shown(value)}" for name, value in record.items() if name not in shown)
    trace = f"\n{record['exception']}" if "exception" in record else ""
    return f"{record['timestamp'][11:23]} {record['level']:7} {record['message']:28} {keys}{trace}"


def _shown(value: Any) -> str:
    """As it is, unless it could end the line or break it up: then a client could write log lines of its own."""
    text = str(value)
    return text if text.isprintable() else repr(text)


@contextmanager
def invocation(**keys: str | None) -> Iterator[None]:
    """Every line logged inside has these keys; the metrics are written when it ends, however it ends."""
    metrics = EphemeralMetrics(namespace=_namespace(), service=_service())
    token = _metrics.set(metrics)
    logger().thread_safe_clear_keys()
    try:
        with bound(**keys):
            yield
    finally:
        _metrics.reset(token)
        if metrics.metric_set:
            metrics.flush_metrics()


@contextmanager
def bound(**keys: str | None) -> Iterator[None]:
    """Every line logged inside has these keys too."""
    present = {name: value for name, value in keys.items() if value is not None}
    before = dict(logger().thread_safe_get_current_keys())
    logger().thread_safe_append_keys(**present)
    try:
        yield
    finally:
        logger().thread_safe_clear_keys()
        logger().thread_safe_append_keys(**before)


def info(event: str, **keys: Any) -> None:
    """One event, as it should be."""
    logger().info(event, extra=_present(keys), stacklevel=_CALLER)


def warning(event: str, **keys: Any) -> None:
    """One event that somebody may have to look at."""
    logger().warning(event, extra=_present(keys), stacklevel=_CALLER)


def exception(event: str, **keys: Any) -> None:
    """A fault that nobody expected, with its traceback."""
    logger().exception(event, extra=_present(keys), stacklevel=_CALLER)


def error(event: str, **keys: Any) -> None:
    """A fault that an operator must fix, without a traceback."""
    logger().error(event, extra=_present(keys), stacklevel=_CALLER)


def count(name: str, value: int = 1, reason: str | None = None) -> None:
    """Add to a metric of this invocation; with a reason, in all and once more by that reason."""
    metrics = _metrics.get()
    if metrics is not None and not _as_text():
        with _counting:  # an invocation may have threads
            metrics.add_metric(name, MetricUnit.Count, value)
    if reason and not _as_text():
        with single_metric(name, MetricUnit.Count, value, namespace=_namespace()) as metric:
            metric.add_dimension("service", _service())
            metric.add_dimension("reason", reason)


def correlation_id(header: str | None, otherwise: str | None) -> str:
    """The client's correlation id if it is 1 to 128 visible ASCII characters, else the request's id, else a new one."""
    if header and _CORRELATION_ID.fullmatch(header):
        return header
    return otherwise or str(uuid.uuid4())


def per_invocation(event: Any, get_response: Callable[[Any], Any]) -> Any:
    """Chalice middleware: each invocation, of whatever kind, logs its request id and writes its metrics.

    A missing setting ends the process with one log line (the API answers 500): messages stay on their queue.
    """
    context = getattr(event, "lambda_context", None) or getattr(event, "context", None)
    with invocation(requestId=getattr(context, "aws_request_id", None)):
        try:
            return get_response(event)
        except BadSetting as fault:
            error(f"OrderOnce cannot run: {fault}.")
            sys.exit(1)


def _service() -> str:
    return app_settings().service_name


def _namespace() -> str:
    return app_settings().metrics_namespace


def _present(keys: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in keys.items() if value is not None}
